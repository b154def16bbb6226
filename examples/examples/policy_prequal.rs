//! What does the policy `prequal` do?
//!
//! Of the endpoints that have not too much to do it takes the fastest; if all have, the one that has least. Here time is
//! simulated: of eight endpoints each does one thing after the other, and two have a noisy neighbour, that is, half the
//! speed.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Clock, Cluster, Endpoint, ManualClock, Outcome, Pick, PolicyConfig, Request, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "six endpoints need 8 ms for a request, two need 16 ms; a request each 1.3 ms, 88 % of what they can do"
    );
    for (name, policy) in [
        ("round_robin, for comparison", PolicyConfig::round_robin()),
        ("least_request, for comparison", PolicyConfig::least_request()),
        ("prequal", PolicyConfig::prequal()),
    ] {
        let (mean, p99, slow) = run(policy)?;
        println!("{name:>30}: mean {mean:>6.1} ms, p99 {p99:>6.0} ms, the slow two get {slow:.1} %");
    }
    Ok(())
}

/// Mean and 99th percentile of what requests took, in milliseconds, and the share of the slow two.
fn run(policy: PolicyConfig) -> Result<(f64, f64, f64), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::default());
    let cluster = Cluster::<()>::builder("users").policy(policy).clock(Arc::clone(&clock)).seed(1).build()?;
    cluster.apply((0..8).map(|number| endpoint(number).expect("a short name")))?;
    let mut idle_from = [Timestamp::ORIGIN; 8];
    let mut in_flight: Vec<(Timestamp, Pick<()>)> = Vec::new();
    let (mut took, mut slow) = (Vec::new(), 0_u32);
    for _ in 0..REQUESTS {
        let now = clock.now();
        for (_, done) in in_flight.extract_if(.., |(end, _)| *end <= now) {
            done.finish(Outcome::success());
        }
        let pick = cluster.pick(&Request::new())?;
        let number: usize = pick.endpoint().id().as_str().trim_start_matches('e').parse()?;
        let needs = if number < 2 { 16 } else { 8 };
        slow += u32::from(number < 2);
        let end = idle_from[number].max(now).saturating_add(Duration::from_millis(needs));
        idle_from[number] = end;
        took.push(end.saturating_since(now).as_secs_f64() * 1000.0);
        in_flight.push((end, pick));
        clock.advance(Duration::from_micros(1300));
    }
    took.sort_by(f64::total_cmp);
    let mean = took.iter().sum::<f64>() / took.len() as f64;
    Ok((mean, took[took.len() * 99 / 100], 100.0 * f64::from(slow) / f64::from(REQUESTS)))
}

fn endpoint(number: usize) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(format!("e{number}").parse()?, format!("10.0.0.{number}:80").parse()?))
}

const REQUESTS: u32 = 20_000;
