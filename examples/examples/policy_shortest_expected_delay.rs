//! What does the policy `shortest_expected_delay` do?
//!
//! It takes weights for speeds: a request goes where it would be done soonest, itself counted. A fast endpoint with a short
//! queue can be better than a slow idle one. Here time is simulated, and `a` is eight times as fast as the others.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{
    Cluster, Endpoint, EndpointId, Outcome, Pick, PolicyConfig, Request, ShortestExpectedDelayConfig, Weight,
};

fn main() -> Result<(), Box<dyn Error>> {
    let speeds = [("a", 2), ("b", 16), ("c", 16)];
    let never_queue = ShortestExpectedDelayConfig { never_queue: true };
    for (name, policy) in [
        ("least_connections", PolicyConfig::least_connections()),
        ("shortest_expected_delay", PolicyConfig::shortest_expected_delay()),
        ("shortest_expected_delay, never_queue", PolicyConfig::ShortestExpectedDelay(never_queue)),
    ] {
        println!("{name}");
        let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
        cluster.apply([endpoint("a", 8)?, endpoint("b", 1)?, endpoint("c", 1)?])?;
        run(&cluster, &speeds, 10_000)?;
    }
    Ok(())
}

/// Sends three requests at once every 8 ms; tells who got how many, and how long they took, queues included.
fn run(cluster: &Cluster<()>, speeds: &[(&str, u32)], requests: u32) -> Result<(), Box<dyn Error>> {
    let mut in_flight: Vec<(u32, Pick<()>)> = Vec::new();
    let mut free_at: BTreeMap<EndpointId, u32> = BTreeMap::new();
    let mut picks: BTreeMap<EndpointId, u32> = BTreeMap::new();
    let mut waited = 0;
    for now in (0..requests).map(|request| request / 3 * 8) {
        for (_, done) in in_flight.extract_if(.., |(end, _)| *end <= now) {
            done.finish(Outcome::success());
        }
        let pick = cluster.pick(&Request::new())?;
        let id = pick.endpoint().id();
        let takes = speeds.iter().find(|(name, _)| *name == id.as_str()).map_or(1, |(_, takes)| *takes);
        // An endpoint serves one request after the other.
        let end = now.max(free_at.get(&id).copied().unwrap_or(0)) + takes;
        waited += end - now;
        free_at.insert(id.clone(), end);
        *picks.entry(id).or_default() += 1;
        in_flight.push((end, pick));
    }
    let picks: Vec<_> = picks.iter().map(|(id, picks)| format!("{id} {picks}")).collect();
    println!("  {:<32} {:>5.1} ms on average", picks.join(", "), f64::from(waited) / f64::from(requests));
    Ok(())
}

fn endpoint(name: &str, weight: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?).with_weight(Weight::new(weight)))
}
