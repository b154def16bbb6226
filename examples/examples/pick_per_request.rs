//! How do I pick an endpoint for each request?
//!
//! Build a cluster, apply the endpoints, and ask it for each request. The pick counts as in flight until it is finished
//! or dropped, and tells the cluster how the request went.

use std::error::Error;
use std::io;

use evenkeel::{Address, Cluster, Endpoint, EndpointId, Outcome, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").seed(1).build()?;
    cluster.apply([
        Endpoint::new("users-1".parse()?, "10.0.0.1:8080".parse()?),
        Endpoint::new("users-2".parse()?, "10.0.0.2:8080".parse()?),
        Endpoint::new("users-3".parse()?, "10.0.0.3:8080".parse()?).with_weight(Weight::new(2)),
    ])?;

    for number in 1..=5 {
        let pick = cluster.pick(&Request::new())?;
        let answer = send(&pick.endpoint().address(), number);
        println!("request {number} went to {}: {answer:?}", pick.endpoint().id());
        pick.finish(Outcome::from(&answer));
    }

    // Whoever holds its picks sees them counted.
    let held = (0..8).map(|_| cluster.pick(&Request::new())).collect::<Result<Vec<_>, _>>()?;
    println!("\nwith {} requests in flight:", held.len());
    for endpoint in cluster.report().endpoints {
        println!("  {}: weight {}, {} in flight", endpoint.id, endpoint.weight.get(), endpoint.in_flight);
    }
    assert_eq!(cluster.report().endpoints.iter().map(|endpoint| endpoint.in_flight).sum::<usize>(), 8);
    drop(held);
    let first: EndpointId = "users-1".parse()?;
    assert_eq!(cluster.in_flight(&first), Some(0));
    println!("and when they have ended: {} in flight at {first}", cluster.in_flight(&first).unwrap_or(0));
    Ok(())
}

/// Stands for your client.
fn send(address: &Address, number: u32) -> Result<(), io::Error> {
    if number == 4 { Err(io::Error::other(format!("{address} is unplugged"))) } else { Ok(()) }
}
