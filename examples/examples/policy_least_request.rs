//! What does the policy `least_request` do?
//!
//! It draws two distinct endpoints and takes the one with fewer requests in flight, so that whoever is slow, for whatever
//! reason, gets less. Here time is simulated: a request leaves every millisecond, and one endpoint is ten times as slow.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{
    Choices, Cluster, Endpoint, EndpointId, LeastRequestConfig, Outcome, Pick, PolicyConfig, Request,
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("a, b and c answer within 4 ms, d within 40 ms");
    let all = LeastRequestConfig { choices: Choices::All, ..LeastRequestConfig::default() };
    for (name, policy) in [
        ("round_robin, for comparison", PolicyConfig::round_robin()),
        ("least_request, of two", PolicyConfig::least_request()),
        ("least_request, of all", PolicyConfig::LeastRequest(all)),
    ] {
        let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
        cluster.apply(["a", "b", "c", "d"].map(|name| endpoint(name).expect("a letter is a name")))?;
        println!("\n{name}:");
        run(&cluster, 10_000)?;
    }
    Ok(())
}

/// Sends a request each millisecond, and prints who got how many and how many were in flight at most.
fn run(cluster: &Cluster<()>, requests: u32) -> Result<(), Box<dyn Error>> {
    let mut in_flight: Vec<(u32, Pick<()>)> = Vec::new();
    let mut seen: BTreeMap<EndpointId, (u32, usize)> = BTreeMap::new();
    for now in 0..requests {
        for (_, done) in in_flight.extract_if(.., |(end, _)| *end <= now) {
            done.finish(Outcome::success());
        }
        let pick = cluster.pick(&Request::new())?;
        let id = pick.endpoint().id();
        let takes = if id.as_str() == "d" { 40 } else { 4 };
        let (picks, most) = seen.entry(id.clone()).or_default();
        *picks += 1;
        *most = (*most).max(cluster.in_flight(&id).unwrap_or(0));
        in_flight.push((now + takes, pick));
    }
    for (id, (picks, most)) in seen {
        println!(
            "  {id}: {:>4.1} %, at most {most:>2} in flight",
            100.0 * f64::from(picks) / f64::from(requests)
        );
    }
    Ok(())
}

fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?))
}
