//! What does the policy `weighted_random` do?
//!
//! A draw by weight from an alias table: O(1) for any number of endpoints, and no two processes in step.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(PolicyConfig::weighted_random()).seed(1).build()?;
    cluster.apply([endpoint("a", 10)?, endpoint("b", 5)?, endpoint("c", 4)?, endpoint("canary", 1)?])?;
    println!("weights 10, 5, 4, 1: {}", shares(&cluster, 100_000)?);

    cluster.drain(&"a".parse()?)?;
    println!("without a:           {}", shares(&cluster, 100_000)?);
    cluster.undrain(&"a".parse()?)?;

    cluster.set_weight(&"canary".parse()?, Weight::new(5))?;
    println!("canary raised to 5:  {}", shares(&cluster, 100_000)?);
    Ok(())
}

/// How many of `count` requests, one after the other, go where.
fn shares(cluster: &Cluster<()>, count: u32) -> Result<String, PickError> {
    let mut picks: BTreeMap<EndpointId, u32> = BTreeMap::new();
    for _ in 0..count {
        let pick = cluster.pick(&Request::new())?;
        *picks.entry(pick.endpoint().id()).or_default() += 1;
        pick.finish(Outcome::success());
    }
    let share = |(id, picks): (&EndpointId, &u32)| {
        format!("{id} {:.1} %", 100.0 * f64::from(*picks) / f64::from(count))
    };
    Ok(picks.iter().map(share).collect::<Vec<_>>().join(", "))
}

fn endpoint(name: &str, weight: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?).with_weight(Weight::new(weight)))
}
