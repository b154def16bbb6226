//! How many requests should be in flight to a service?
//!
//! As many as it serves without a queue. A `Limiter` counts them and refuses more; with `vegas` it finds the number itself.
//! Here a service answers in 10 ms while it has no more than 40 requests, and slower in proportion above that.

use std::error::Error;
use std::time::Duration;

use evenkeel_limit::{LimitConfig, Limiter, Vegas};
use evenkeel_types::{Outcome, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    for (name, config) in [
        ("fixed", LimitConfig::fixed(200)),
        ("vegas", LimitConfig::Vegas(Vegas { initial: 10, max: 200, ..Vegas::default() })),
    ] {
        let limiter = Limiter::new(&config, 7)?;
        println!("{name}:\n  second   limit   in flight   latency   served");
        let mut now = Timestamp::ORIGIN;
        for second in 1..=5 {
            let end = Timestamp::from_secs(second);
            let (mut served, mut in_flight, mut latency) = (0, 0, Duration::ZERO);
            while now < end {
                // As many clients as can get a slot ask at once.
                let tokens: Vec<_> = std::iter::from_fn(|| limiter.try_acquire(now).ok()).collect();
                in_flight = tokens.len();
                latency = Duration::from_millis(10).mul_f64(in_flight.max(40) as f64 / 40.0);
                now = now.saturating_add(latency);
                served += in_flight;
                for token in tokens {
                    if let Some(change) = limiter.release(token, &Outcome::success(), now) {
                        debug_assert_ne!(change.from, change.to);
                    }
                }
            }
            println!(
                "  {second:>6}   {:>5}   {in_flight:>9}   {latency:>7.1?}   {served:>6}",
                limiter.limit()
            );
        }
        if let Err(refusal) = (0..1000).try_for_each(|_| limiter.try_acquire(now).map(drop)) {
            println!("  then: {refusal}; come back in {:?}\n", refusal.retry_hint);
        }
    }
    Ok(())
}
