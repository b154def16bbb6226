//! What does the policy `ip_hash` do?
//!
//! It sends all requests of a client to one endpoint, by the client's address: sessions without cookies. Masks say what
//! one client is; an IPv4 client keeps its endpoint when it comes through an IPv6 socket.

use std::error::Error;
use std::net::IpAddr;

use evenkeel::{Cluster, Endpoint, EndpointId, IpHashConfig, PickError, PolicyConfig, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("shops").policy(PolicyConfig::ip_hash()).seed(1).build()?;
    cluster.apply([endpoint("a")?, endpoint("b")?, endpoint("c")?, endpoint("d")?])?;
    for client in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"] {
        println!("{client:16} goes to {}", place(&cluster, client.parse()?)?);
    }

    // A network of 256 addresses: each by itself, and as one client, as nginx takes it.
    for ipv4_prefix in [32, 24] {
        let policy = PolicyConfig::IpHash(IpHashConfig { ipv4_prefix, ..IpHashConfig::default() });
        cluster.set_policy(policy)?;
        let clients = (0..=255).map(|host| IpAddr::from([198, 51, 100, host]));
        let places: Result<Vec<_>, _> = clients.map(|client| place(&cluster, client)).collect();
        let (mut shares, places) = (Vec::new(), places?);
        for name in ["a", "b", "c", "d"] {
            shares.push(places.iter().filter(|id| id.as_str() == name).count());
        }
        println!("198.51.100.0 to .255 with a prefix of {ipv4_prefix}: {shares:?}");
    }
    Ok(())
}

fn place(cluster: &Cluster<()>, client: IpAddr) -> Result<EndpointId, PickError> {
    Ok(cluster.pick(&Request::new().from_address(client))?.endpoint().id().clone())
}

fn endpoint(name: &str) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, format!("{name}.example:80").parse()?))
}
