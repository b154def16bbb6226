//! What does the policy `static_map` do?
//!
//! HAProxy's `static-rr`: a map of slots, filled by whole numbers and walked from the start. Weights that would need too
//! large a map are refused, with the old weights still in use.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(PolicyConfig::static_map()).seed(1).build()?;
    for weights in [[5, 1, 1], [10, 2, 2], [3, 2, 1]] {
        cluster.apply([
            endpoint("a", weights[0])?,
            endpoint("b", weights[1])?,
            endpoint("c", weights[2])?,
        ])?;
        println!("weights {weights:>2?}: {}", sequence(&cluster, 14)?);
    }
    let refused = cluster.set_weight(&"a".parse()?, Weight::new(4_000_000));
    println!("weight 4 000 000: {}", refused.err().ok_or("such a map would be too large")?);
    println!("it goes on:        {}", sequence(&cluster, 14)?);
    Ok(())
}

/// Where the next `count` requests go, in order.
fn sequence(cluster: &Cluster<()>, count: u32) -> Result<String, PickError> {
    let names = (0..count).map(|_| Ok(cluster.pick(&Request::new())?.endpoint().id().to_string()));
    Ok(names.collect::<Result<Vec<_>, PickError>>()?.join(" "))
}

fn endpoint(name: &str, weight: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?).with_weight(Weight::new(weight)))
}
