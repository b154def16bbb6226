//! What does the policy `pick_first` do?
//!
//! One endpoint gets everything until it is out. Which one it is differs from process to process, in proportion to the
//! weights: balance comes from there being many clients.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{AdminState, Cluster, Endpoint, EndpointId, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let client = client(1)?;
    println!("one client:           {}", sequence(&client, 8)?);
    let first = client.pick(&Request::new())?.endpoint().id();
    let first = client.endpoint(&first)?;
    first.set_admin(AdminState::Maintenance);
    println!("its endpoint is out:  {}", sequence(&client, 8)?);
    first.set_admin(AdminState::Ready);
    println!("and back, too late:   {}", sequence(&client, 8)?);

    let mut firsts: BTreeMap<EndpointId, u32> = BTreeMap::new();
    for seed in 0..1_000 {
        *firsts.entry(self::client(seed)?.pick(&Request::new())?.endpoint().id()).or_default() += 1;
    }
    let firsts: Vec<_> = firsts.iter().map(|(id, clients)| format!("{id} {clients}")).collect();
    println!("a thousand clients of weights 1, 1, 2: {}", firsts.join(", "));
    Ok(())
}

/// A process with a seed of its own, as each has by default.
fn client(seed: u64) -> Result<Cluster<()>, Box<dyn Error>> {
    let cluster = Cluster::builder("users").policy(PolicyConfig::pick_first()).seed(seed).build()?;
    cluster.apply([endpoint("a", 1)?, endpoint("b", 1)?, endpoint("c", 2)?])?;
    Ok(cluster)
}

/// Where the next `count` requests go, in order.
fn sequence(cluster: &Cluster<()>, count: u32) -> Result<String, PickError> {
    let names = (0..count).map(|_| Ok(cluster.pick(&Request::new())?.endpoint().id().to_string()));
    Ok(names.collect::<Result<Vec<_>, PickError>>()?.join(" "))
}

fn endpoint(name: &str, weight: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?).with_weight(Weight::new(weight)))
}
