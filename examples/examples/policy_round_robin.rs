//! What does the policy `round_robin` do?
//!
//! Each usable endpoint in turn. One that is out is not in the walk, so the others share its part evenly. Where weights
//! differ it serves them, as `smooth_weighted_round_robin` does.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(PolicyConfig::round_robin()).seed(1).build()?;
    cluster.apply([endpoint("a", 1)?, endpoint("b", 1)?, endpoint("c", 1)?, endpoint("d", 1)?])?;
    println!("in order:           {}", sequence(&cluster, 12)?);
    println!("of 1200 requests:   {}", shares(&cluster, 1_200)?);

    cluster.drain(&"b".parse()?)?;
    println!("without b:          {}", shares(&cluster, 1_200)?);
    cluster.undrain(&"b".parse()?)?;

    cluster.set_weight(&"c".parse()?, Weight::new(3))?;
    println!("weights 1, 1, 3, 1: {}", shares(&cluster, 1_200)?);
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
    let share = |(id, picks): (&EndpointId, &u32)| {
        format!("{id} {:.1} %", 100.0 * f64::from(*picks) / f64::from(count))
    };
    Ok(picks.iter().map(share).collect::<Vec<_>>().join(", "))
}

fn endpoint(name: &str, weight: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?).with_weight(Weight::new(weight)))
}
