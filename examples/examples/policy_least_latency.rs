//! What does the policy `least_latency` do?
//!
//! It expects of each endpoint what it answered of late, the less so the older that is, and takes an answer that does not come for
//! evidence. Here time is simulated: one of four endpoints stalls for ten seconds, is left before its first slow answer is
//! there, tried by one request at a time, and taken back.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Clock, Cluster, Endpoint, ManualClock, Outcome, Pick, PolicyConfig, Request, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    println!("a, b and c answer within 20 ms; d too, but from 10 s to 20 s it takes 2 s");
    println!("requests for d in each ten seconds, of 1000, up to {SECONDS} s:");
    for (name, policy) in [
        ("round_robin, for comparison", PolicyConfig::round_robin()),
        ("least_request, for comparison", PolicyConfig::least_request()),
        ("peak_ewma, for comparison", PolicyConfig::peak_ewma()),
        ("least_latency", PolicyConfig::least_latency()),
    ] {
        println!("{name:>30}: {}", run(policy)?.map(|count| format!("{count:>3}")).join(" "));
    }
    Ok(())
}

/// Sends a request each 10 ms and counts those for d.
fn run(policy: PolicyConfig) -> Result<[u32; PARTS], Box<dyn Error>> {
    let clock = Arc::new(ManualClock::default());
    let cluster = Cluster::<()>::builder("users").policy(policy).clock(Arc::clone(&clock)).seed(1).build()?;
    cluster.apply(["a", "b", "c", "d"].map(|name| endpoint(name).expect("a letter is a name")))?;
    let mut in_flight: Vec<(Timestamp, Pick<()>)> = Vec::new();
    let mut counts = [0; PARTS];
    for tick in 0..100 * SECONDS {
        let now = clock.now();
        for (_, done) in in_flight.extract_if(.., |(end, _)| *end <= now) {
            done.finish(Outcome::success());
        }
        let pick = cluster.pick(&Request::new())?;
        let is_d = pick.endpoint().id().as_str() == "d";
        counts[tick / 1000] += u32::from(is_d);
        let takes = if is_d && (1000..2000).contains(&tick) { 2000 } else { 20 };
        in_flight.push((now.saturating_add(Duration::from_millis(takes)), pick));
        clock.advance(Duration::from_millis(10));
    }
    Ok(counts)
}

fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?))
}

const SECONDS: usize = 150;
const PARTS: usize = SECONDS / 10;
