//! What does the policy `rendezvous` do?
//!
//! Every endpoint bids for a key and the best bid wins. Shares are exactly the weights, a change of weight moves the
//! difference and nothing else, and two balancers agree that have heard of the endpoints in another order.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let names = ["a", "b", "c", "d"];
    let cluster = Cluster::<()>::builder("caches").policy(PolicyConfig::rendezvous()).seed(1).build()?;
    cluster.apply(names.iter().filter_map(|name| endpoint(name).ok()))?;
    let before = places(&cluster)?;
    println!("equal weights:       {}", shares(&before));

    cluster.set_weight(&"a".parse()?, Weight::new(15))?;
    let after = places(&cluster)?;
    println!("a raised to 15:      {}", shares(&after));
    let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
    let to_a = moved.iter().filter(|(_, new)| new.as_str() == "a").count();
    println!("keys that moved:     {} of {KEYS}, {to_a} of them to a", moved.len());

    let other = Cluster::<()>::builder("caches").policy(PolicyConfig::rendezvous()).seed(1).build()?;
    for name in names.iter().rev() {
        other.upsert(endpoint(name)?)?;
    }
    let differ = before.iter().zip(places(&other)?).filter(|(one, other)| *one != other).count();
    println!("in another order:    {differ} keys differ");
    Ok(())
}

const KEYS: usize = 10_000;

/// Where each key goes.
fn places(cluster: &Cluster<()>) -> Result<Vec<EndpointId>, PickError> {
    let place = |key| Ok(cluster.pick(&Request::with_key(&format!("/page/{key}")))?.endpoint().id().clone());
    (0..KEYS).map(place).collect()
}

fn shares(places: &[EndpointId]) -> String {
    let keys_of = |name: &str| places.iter().filter(|id| id.as_str() == name).count();
    ["a", "b", "c", "d"].map(|name| format!("{name} {:.1} %", keys_of(name) as f64 / 100.0)).join(", ")
}

/// Of weight 10.
fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?).with_weight(Weight::new(10)))
}
