//! How do I use a circuit breaker alone?
//!
//! A service fails for a while. The breaker of `payments` opens, refuses without asking, probes, and closes; its weight then
//! rises. A clock that the example turns by hand takes the place of `Instant::now`.

use std::cell::Cell;
use std::time::Duration;

use evenkeel_breaker::{BreakerConfig, BreakerSet, BreakerSetConfig, Ramp, Rule, Window};
use evenkeel_types::{HttpStatus, Ratio, Timestamp};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = BreakerConfig {
        rules: vec![
            Rule::Consecutive { failures: 5 },
            Rule::Ratio {
                failures: Ratio::HALF,
                min_requests: 20,
                window: Window::Time { span: Duration::from_secs(10), buckets: 10 },
            },
        ],
        ramp: Some(Ramp { over: Duration::from_secs(10), ..Ramp::default() }),
        ..BreakerConfig::default()
    };
    let breakers: BreakerSet<String> =
        BreakerSet::new(&BreakerSetConfig { breaker, ..BreakerSetConfig::default() })?;

    let now = Cell::new(Timestamp::from_secs(100));
    let (mut asked, mut refused) = (0, 0);
    let payments = breakers.get("payments", now.get()).breaker;
    for second in 0..20 {
        now.set(Timestamp::from_secs(100 + second));
        // The service is down from the third second to the twelfth.
        let answer = if (3..12).contains(&second) { 500 } else { 200 };
        let weight = payments.factor(now.get());
        match payments.call(|| now.get(), || HttpStatus(answer)) {
            Ok(called) => {
                asked += u32::from((3..12).contains(&second));
                print!("{second:2} s: answered {}, weight {weight:.2}", called.answer.0);
                for change in [called.before, called.after].into_iter().flatten() {
                    print!(", {:?} ({:?})", change.to, change.reason);
                }
                println!();
            }
            Err(refusal) => {
                refused += 1;
                println!("{second:2} s: {refusal}, ask again at {:?}", refusal.retry_at);
            }
        }
    }
    assert!(asked < 9 && refused > 0, "while it is down it is asked less: {asked}, {refused}");
    Ok(())
}
