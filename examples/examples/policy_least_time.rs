//! What does the policy `least_time` do?
//!
//! It takes whoever would be done soonest: average latency, in steps of 20 ms, times one more than what is in flight. Here
//! time is simulated. The latency is what you record: the response head or the last byte, which rank endpoints differently.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Cluster, Endpoint, EndpointId, ManualClock, Outcome, Pick, PolicyConfig, Request};

/// How long until the head of an answer, and until its end.
type Times = (u64, u64);

fn main() -> Result<(), Box<dyn Error>> {
    println!("a: head after 30 ms, end after 35 ms; b: 35 and 95; c: 90 and 92");
    println!("by the head:      {}", run(|(head, _)| head)?);
    println!("by the last byte: {}", run(|(_, end)| end)?);
    Ok(())
}

/// Sends 10 000 requests, one each 40 ms, and records after the time that `recorded` says.
fn run(recorded: fn(Times) -> u64) -> Result<String, Box<dyn Error>> {
    let clock = Arc::new(ManualClock::default());
    let builder = Cluster::<()>::builder("users").policy(PolicyConfig::least_time());
    let cluster = builder.clock(Arc::clone(&clock)).seed(1).build()?;
    cluster.apply(["a", "b", "c"].map(|name| endpoint(name).expect("a letter is a name")))?;
    let mut in_flight: Vec<(Times, u64, Pick<()>)> = Vec::new();
    let mut picks: BTreeMap<EndpointId, u32> = BTreeMap::new();
    for now in 0..400_000_u64 {
        for (times, start, pick) in &mut in_flight {
            if now == *start + recorded(*times) {
                // Only the first record counts.
                pick.record(Outcome::success());
            }
        }
        in_flight.retain(|((_, end), start, _)| now < start + end);
        if now % 40 == 0 {
            let pick = cluster.pick(&Request::new())?;
            let id = pick.endpoint().id();
            let times = match id.as_str() {
                "a" => (30, 35),
                "b" => (35, 95),
                _ => (90, 92),
            };
            *picks.entry(id).or_default() += 1;
            in_flight.push((times, now, pick));
        }
        clock.advance(Duration::from_millis(1));
    }
    let share = |(id, picks): (EndpointId, u32)| format!("{id} {:.1} %", f64::from(picks) / 100.0);
    Ok(picks.into_iter().map(share).collect::<Vec<_>>().join(", "))
}

fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?))
}
