//! What does the policy `earliest_deadline_first` do?
//!
//! Whoever is due first is served, and due again 1 ÷ weight later. One order for all threads; an endpoint that comes back
//! from an outage has no credit for it.

use std::error::Error;

use evenkeel::{AdminState, Cluster, Endpoint, PickError, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let policy = PolicyConfig::earliest_deadline_first();
    let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
    cluster.apply([endpoint("a", 5)?, endpoint("b", 1)?, endpoint("c", 1)?])?;
    println!("weights 5, 1, 1 in order:  {}", sequence(&cluster, 14)?);

    let b = cluster.endpoint(&"b".parse()?)?;
    b.set_admin(AdminState::Maintenance);
    println!("while b is out:            {}", sequence(&cluster, 14)?);
    b.set_admin(AdminState::Ready);
    println!("b is back, without credit: {}", sequence(&cluster, 14)?);

    cluster.set_weight(&"c".parse()?, Weight::new(3))?;
    println!("weights 5, 1, 3:           {}", sequence(&cluster, 18)?);
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
