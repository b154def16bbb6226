//! How does a cluster follow endpoints that come and go?
//!
//! Endpoints register under a lease and renew it; the cluster follows the registry. Here time is an argument, so ten
//! seconds pass at once.

use std::error::Error;
use std::time::Duration;

use evenkeel::{Cluster, Endpoint, Registry, Request, ServiceName, Timestamp, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    let (registry, users): (Registry, ServiceName) = (Registry::default(), "users".parse()?);
    let cluster = Cluster::<String>::builder("users").seed(1).build()?;
    // Made once for each incarnation of an endpoint: here a text, in a program of yours a connection pool.
    let following = cluster.follow(&registry, &users, |endpoint| {
        println!("  (a client for {} is made)", endpoint.address());
        format!("client of {}", endpoint.address())
    });
    println!("before anybody registers: {}", reason(&cluster));

    let ttl = Some(Duration::from_secs(10));
    println!("two register:");
    let (one, _) = registry.register(Timestamp::ORIGIN, &users, endpoint(1)?, ttl)?;
    let (two, _) = registry.register(Timestamp::ORIGIN, &users, endpoint(2)?, ttl)?;
    show(&cluster);

    println!("the first announces another weight, and keeps its client:");
    registry.update(Timestamp::from_secs(2), &one, endpoint(1)?.with_weight(Weight::new(3)))?;
    show(&cluster);

    println!("only the first renews; after ten seconds the second is gone:");
    registry.renew(Timestamp::from_secs(8), &one)?;
    registry.tick(Timestamp::from_secs(10));
    show(&cluster);
    println!("  a late renewal is told so: {:?}", registry.renew(Timestamp::from_secs(11), &two));

    println!("it registers again, as a new process with a new client:");
    let (two, _) = registry.register(Timestamp::from_secs(11), &users, endpoint(2)?, ttl)?;
    show(&cluster);

    println!("both say goodbye:");
    registry.deregister(Timestamp::from_secs(12), &one)?;
    registry.deregister(Timestamp::from_secs(12), &two)?;
    println!("  {}", reason(&cluster));
    println!("  anything refused on the way: {:?}", following.last_error());
    Ok(())
}

fn show(cluster: &Cluster<String>) {
    for endpoint in cluster.report().endpoints {
        println!("  {} weight {}: {}", endpoint.id, endpoint.weight.get(), endpoint.status);
    }
}

fn reason(cluster: &Cluster<String>) -> String {
    cluster.pick(&Request::new()).map_or_else(|error| error.to_string(), |pick| pick.payload().clone())
}

fn endpoint(number: u8) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(format!("users-{number}").parse()?, format!("10.0.0.{number}:8080").parse()?))
}
