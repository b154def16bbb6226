//! What does the policy `static_stride` do?
//!
//! Shares by weight from a counter and a comparison, with no schedule to lay out: a change of weights costs next to
//! nothing. The order is that of gRPC's weighted round robin.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(PolicyConfig::static_stride()).seed(1).build()?;
    cluster.apply([endpoint("a", 5)?, endpoint("b", 1)?, endpoint("c", 1)?])?;
    println!("weights 5, 1, 1 in order: {}", sequence(&cluster, 14)?);
    for weight in [5, 20, 300, 7_000] {
        cluster.set_weight(&"a".parse()?, Weight::new(weight))?;
        println!("a weighs {weight:>4}, 7002 picks:  {}", shares(&cluster, 7_002)?);
    }
    Ok(())
}

/// Where the next `count` requests go, in order.
fn sequence(cluster: &Cluster<()>, count: u32) -> Result<String, PickError> {
    let names = (0..count).map(|_| Ok(cluster.pick(&Request::new())?.endpoint().id().to_string()));
    Ok(names.collect::<Result<Vec<_>, PickError>>()?.join(" "))
}

/// How many of `count` requests, one after the other, go where.
fn shares(cluster: &Cluster<()>, count: u32) -> Result<String, PickError> {
    let mut picks: BTreeMap<EndpointId, u32> = BTreeMap::new();
    for _ in 0..count {
        let pick = cluster.pick(&Request::new())?;
        *picks.entry(pick.endpoint().id()).or_default() += 1;
        pick.finish(Outcome::success());
    }
    Ok(picks.iter().map(|(id, picks)| format!("{id} {picks}")).collect::<Vec<_>>().join(", "))
}

fn endpoint(name: &str, weight: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?).with_weight(Weight::new(weight)))
}
