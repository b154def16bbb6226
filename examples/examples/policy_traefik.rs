//! What does the policy `traefik` do?
//!
//! It picks as Traefik does, for those who move over. The strategy `wrr` is a race of deadlines, whose rhythm depends on the
//! order in which servers enter; `hrw` gives each client address a server, and only the clients of one that leaves move.

use std::error::Error;
use std::net::IpAddr;

use evenkeel::{Address, Cluster, Endpoint, EndpointId, PolicyConfig, Request, Weight};
use evenkeel_balance::compat::traefik::{Strategy, TraefikConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let wrr = cluster(PolicyConfig::traefik(), &[5, 1, 1])?;
    let turns = (0..14).map(|_| Ok(wrr.pick(&Request::new())?.endpoint().id().to_string()));
    println!("wrr with weights 5, 1, 1: {}", turns.collect::<Result<Vec<_>, Box<dyn Error>>>()?.join(" "));

    let by_client = TraefikConfig { strategy: Strategy::Hrw, ..TraefikConfig::default() };
    let hrw = cluster(PolicyConfig::Traefik(by_client), &[1; 5])?;
    let before = places(&hrw)?;
    let leaving: EndpointId = "c".parse()?;
    let its = hrw.endpoint(&leaving)?.address().clone();
    hrw.remove(&leaving)?;
    let moved = before.iter().zip(places(&hrw)?).filter(|(before, after)| *before != after).count();
    let had = before.iter().filter(|address| **address == its).count();
    println!("hrw of 1000 clients: {had} went to c; when it leaves, {moved} go elsewhere");
    Ok(())
}

/// Where 1000 clients go.
fn places(cluster: &Cluster<()>) -> Result<Vec<Address>, Box<dyn Error>> {
    let place = |number: u32| {
        let client = IpAddr::from([192, 0, (number / 256) as u8, (number % 256) as u8]);
        Ok(cluster.pick(&Request::new().from_address(client))?.endpoint().address().clone())
    };
    (0..1_000).map(place).collect()
}

fn cluster(policy: PolicyConfig, weights: &[u32]) -> Result<Cluster<()>, Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
    for (name, &weight) in ["a", "b", "c", "d", "e"].iter().zip(weights) {
        let address = format!("{name}.example:80").parse()?;
        cluster.upsert(Endpoint::new(name.parse()?, address).with_weight(Weight::new(weight)))?;
    }
    Ok(cluster)
}
