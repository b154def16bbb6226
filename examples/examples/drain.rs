//! How do I take an endpoint out of service without losing a request?
//!
//! Drain it: it gets nothing new, what is in flight goes on. When nothing is in flight any more, remove it.

use std::error::Error;
use std::thread;
use std::time::Duration;

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").seed(1).build()?;
    for number in 1..=2 {
        let address = format!("10.0.0.{number}:8080").parse()?;
        cluster.upsert(Endpoint::new(format!("users-{number}").parse()?, address))?;
    }
    let leaving: EndpointId = "users-1".parse()?;

    let requests = (0..6).map(|_| cluster.pick(&Request::new())).collect::<Result<Vec<_>, _>>()?;
    println!(
        "{} requests in flight, {} of them at {leaving}",
        requests.len(),
        cluster.in_flight(&leaving).unwrap_or(0)
    );

    println!("drained: {leaving} is {}", cluster.drain(&leaving)?);
    for _ in 0..1_000 {
        let pick = cluster.pick(&Request::new())?;
        assert_ne!(pick.endpoint().id(), leaving, "a drained endpoint gets nothing new");
        pick.finish(Outcome::success());
    }
    println!("1000 more requests: none of them to {leaving}");

    let clients = thread::spawn(move || {
        for pick in requests {
            thread::sleep(Duration::from_millis(5));
            pick.finish(Outcome::success());
        }
    });
    while let Some(left @ 1..) = cluster.in_flight(&leaving) {
        println!("  waiting for {left}");
        thread::sleep(Duration::from_millis(5));
    }
    cluster.remove(&leaving)?;
    println!("dry, and removed: {} endpoint left", cluster.len());
    clients.join().map_err(|_| "a client panicked")?;
    Ok(())
}
