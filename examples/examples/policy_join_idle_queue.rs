//! What does the policy `join_idle_queue` do?
//!
//! Whoever is idle stands in a queue, and a pick takes the first: no search, and no waiting while anybody is idle. Here time
//! is simulated: twelve endpoints, of which four are six times as slow as the others.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, Pick, PolicyConfig, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    for policy in [PolicyConfig::random(), PolicyConfig::least_request(), PolicyConfig::join_idle_queue()] {
        let name = policy.name();
        let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
        cluster.apply(names.map(|name| endpoint(name).expect("a letter is a name")))?;
        let (busy, most) = run(&cluster, 20_000)?;
        println!("{name:<16} {busy:>5.1} % went to a busy endpoint, at most {most} in flight at one");
    }
    Ok(())
}

/// Sends a request each millisecond: how many found their endpoint busy, and the most in flight at one.
fn run(cluster: &Cluster<()>, requests: u32) -> Result<(f64, usize), Box<dyn Error>> {
    let mut in_flight: Vec<(u32, Pick<()>)> = Vec::new();
    let mut load: BTreeMap<EndpointId, usize> = BTreeMap::new();
    let (mut busy, mut most) = (0, 0);
    for now in 0..requests {
        for (_, done) in in_flight.extract_if(.., |(end, _)| *end <= now) {
            *load.entry(done.endpoint().id()).or_default() -= 1;
            done.finish(Outcome::success());
        }
        let pick = cluster.pick(&Request::new())?;
        let id = pick.endpoint().id();
        let takes = if id.as_str() >= "i" { 18 } else { 3 };
        let before = load.entry(id).or_default();
        busy += u32::from(*before > 0);
        *before += 1;
        most = most.max(*before);
        in_flight.push((now + takes, pick));
    }
    Ok((100.0 * f64::from(busy) / f64::from(requests), most))
}

fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?))
}
