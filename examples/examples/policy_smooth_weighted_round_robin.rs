//! What does the policy `smooth_weighted_round_robin` do?
//!
//! In turn by weight, and evenly spaced: a heavy endpoint gets its requests spread over the cycle and not in a burst. The
//! order is nginx's.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let policy = PolicyConfig::smooth_weighted_round_robin();
    let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
    cluster.apply([endpoint("a", 5)?, endpoint("b", 1)?, endpoint("c", 1)?])?;
    println!("weights 5, 1, 1 in order: {}", sequence(&cluster, 14)?);
    println!("of 1400 requests:         {}", shares(&cluster, 1_400)?);

    cluster.set_weight(&"b".parse()?, Weight::new(4))?;
    println!("weights 5, 4, 1 in order: {}", sequence(&cluster, 20)?);
    println!("of 1400 requests:         {}", shares(&cluster, 1_400)?);

    cluster.set_weight(&"a".parse()?, Weight::new(0))?;
    println!("weight 0 drains a:        {}", shares(&cluster, 1_400)?);
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
