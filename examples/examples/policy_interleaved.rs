//! What does the policy `interleaved` do?
//!
//! It serves by levels of weight, as the Linux virtual server does: first whoever has a large weight, then all of them
//! together. The same shares as `smooth_weighted_round_robin`, in bursts.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    for (weights, picks) in [([5, 1, 1], 14), ([4, 3, 2], 18), ([1, 1, 1], 9)] {
        println!("weights {weights:?}");
        for (name, policy) in [
            ("interleaved", PolicyConfig::interleaved()),
            ("smooth", PolicyConfig::smooth_weighted_round_robin()),
        ] {
            let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
            cluster.apply([
                endpoint("a", weights[0])?,
                endpoint("b", weights[1])?,
                endpoint("c", weights[2])?,
            ])?;
            println!("  {name:<12} {}", sequence(&cluster, picks)?);
        }
    }
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
