//! What does the policy `least_connections` do?
//!
//! It finds the least loaded endpoint of all, where `least_request` finds the better of two. The fewer endpoints and the
//! longer the requests, the more that is worth. Here time is simulated; `d` is four times as slow as the others.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, Pick, PolicyConfig, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let speeds = [("a", 4), ("b", 4), ("c", 4), ("d", 16)];
    for policy in
        [PolicyConfig::round_robin(), PolicyConfig::least_request(), PolicyConfig::least_connections()]
    {
        println!("{}", policy.name());
        let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
        cluster.apply(speeds.map(|(name, _)| endpoint(name).expect("a letter is a name")))?;
        run(&cluster, &speeds, 1_000)?;
    }
    Ok(())
}

/// Sends three requests at once every 5 ms; tells who got how many, and how long they took, queues included.
fn run(cluster: &Cluster<()>, speeds: &[(&str, u32)], requests: u32) -> Result<(), Box<dyn Error>> {
    let mut in_flight: Vec<(u32, Pick<()>)> = Vec::new();
    let mut free_at: BTreeMap<EndpointId, u32> = BTreeMap::new();
    let mut picks: BTreeMap<EndpointId, u32> = BTreeMap::new();
    let mut waited = 0;
    for now in (0..requests).map(|request| request / 3 * 5) {
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

fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?))
}
