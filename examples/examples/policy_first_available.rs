//! What does the policy `first_available` do?
//!
//! It fills one endpoint after the other, so that the last ones stay idle and can be switched off. Here the number of
//! requests in flight rises and falls, and each endpoint has room for four.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, FirstAvailableConfig, PolicyConfig, Request};

fn main() -> Result<(), Box<dyn Error>> {
    println!("room by default: {:?}", PolicyConfig::first_available());
    let four = FirstAvailableConfig { max_in_flight: 4, ..FirstAvailableConfig::default() };
    let policy = PolicyConfig::FirstAvailable(four);
    let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
    let names = ["a", "b", "c", "d"];
    cluster.apply(names.map(|name| endpoint(name).expect("a letter is a name")))?;

    let mut in_flight = Vec::new();
    for wanted in [2, 5, 9, 16, 20, 6, 1] {
        in_flight.truncate(wanted);
        while in_flight.len() < wanted {
            in_flight.push(cluster.pick(&Request::new())?);
        }
        let loads = names.map(|name| {
            let id: EndpointId = name.parse().expect("a letter is a name");
            format!("{name} {}", cluster.in_flight(&id).unwrap_or(0))
        });
        println!("{wanted:>2} in flight: {}", loads.join(", "));
    }
    Ok(())
}

fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?))
}
