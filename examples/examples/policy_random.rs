//! What does the policy `random` do?
//!
//! A uniform draw: without any state, and even in the long run only. Where weights differ it draws by them, as
//! `weighted_random` does.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(PolicyConfig::random()).seed(1).build()?;
    cluster.apply([endpoint("a", 1)?, endpoint("b", 1)?, endpoint("c", 1)?, endpoint("d", 1)?])?;
    println!("in order:           {}", sequence(&cluster, 16)?);
    for count in [100, 10_000, 1_000_000] {
        println!("of {count:<17}{}", shares(&cluster, count)?);
    }

    cluster.drain(&"b".parse()?)?;
    println!("without b:          {}", shares(&cluster, 10_000)?);
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
