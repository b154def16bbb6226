//! What does the policy `c3` do?
//!
//! It scores latency times the cube of the queue: a fast server gets more than by requests in flight alone, and when it
//! stalls, a shorter queue than by latency times requests in flight. Here time is simulated: one of three endpoints is ten
//! times as fast, until it stalls for a second.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Clock, Cluster, Endpoint, ManualClock, Outcome, Pick, PolicyConfig, Request, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "a answers within 5 ms, b and c within 50 ms; a request each millisecond; a stalls at 5 s, for 1 s"
    );
    for (name, policy) in [
        ("least_request, for comparison", PolicyConfig::least_request()),
        ("peak_ewma, for comparison", PolicyConfig::peak_ewma()),
        ("c3", PolicyConfig::c3()),
    ] {
        let (share, waiting, mean) = run(policy)?;
        println!(
            "{name:>30}: a gets {share:>4.1} %, at most {waiting:>3} wait for it; all wait {mean:>4.1} ms on average"
        );
    }
    Ok(())
}

/// The share of the first endpoint, the most that were in flight there, and the mean latency.
fn run(policy: PolicyConfig) -> Result<(f64, usize, f64), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::default());
    let cluster = Cluster::<()>::builder("users").policy(policy).clock(Arc::clone(&clock)).seed(1).build()?;
    cluster.apply(["a", "b", "c"].map(|name| endpoint(name).expect("a letter is a name")))?;
    let a = "a".parse()?;
    let mut in_flight: Vec<(Timestamp, Pick<()>)> = Vec::new();
    let (mut picks, mut most, mut total) = (0_u32, 0, 0_u64);
    for millis in 0..REQUESTS {
        let now = clock.now();
        for (_, done) in in_flight.extract_if(.., |(end, _)| *end <= now) {
            done.finish(Outcome::success());
        }
        let pick = cluster.pick(&Request::new())?;
        let is_a = pick.endpoint().id() == a;
        let takes = match millis {
            5000..6000 if is_a => 6005 - millis,
            _ if is_a => 5,
            _ => 50,
        };
        picks += u32::from(is_a);
        total += takes;
        in_flight.push((now.saturating_add(Duration::from_millis(takes)), pick));
        most = most.max(cluster.in_flight(&a).unwrap_or(0));
        clock.advance(Duration::from_millis(1));
    }
    Ok((100.0 * f64::from(picks) / REQUESTS as f64, most, total as f64 / REQUESTS as f64))
}

fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?))
}

const REQUESTS: u64 = 20_000;
