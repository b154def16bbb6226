//! What does the policy `modulo` do?
//!
//! It takes the remainder of a key's hash: nothing is quicker or more even, as long as the set stays what it is. When it
//! changes almost every key moves, which this example counts; health alone moves the keys of the endpoint that is out.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("shards").policy(PolicyConfig::modulo()).seed(1).build()?;
    cluster.apply([endpoint("a", 1)?, endpoint("b", 1)?, endpoint("c", 2)?])?;
    let before = places(&cluster)?;
    let mut counts: BTreeMap<&EndpointId, usize> = BTreeMap::new();
    for id in &before {
        *counts.entry(id).or_default() += 1;
    }
    println!("weights 1, 1 and 2:      {counts:?} of {KEYS} keys");

    cluster.drain(&"b".parse()?)?;
    println!("b is drained:            {} keys move", moved(&before, &places(&cluster)?));
    cluster.undrain(&"b".parse()?)?;
    println!("b is back:               {} keys are elsewhere", moved(&before, &places(&cluster)?));

    cluster.upsert(endpoint("d", 1)?)?;
    println!("d comes, a fifth of all: {} keys move", moved(&before, &places(&cluster)?));
    Ok(())
}

const KEYS: usize = 10_000;

/// Where each key goes.
fn places(cluster: &Cluster<()>) -> Result<Vec<EndpointId>, PickError> {
    let place = |key| Ok(cluster.pick(&Request::with_key(&format!("/page/{key}")))?.endpoint().id().clone());
    (0..KEYS).map(place).collect()
}

fn moved(before: &[EndpointId], after: &[EndpointId]) -> usize {
    before.iter().zip(after).filter(|(old, new)| old != new).count()
}

fn endpoint(name: &str, weight: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?).with_weight(Weight::new(weight)))
}
