//! What does the policy `pingora` do?
//!
//! It picks as a `LoadBalancer` of pingora does, to the bit, for those who move over: round robin serves each backend in one
//! burst, and the ring is nginx's, except that IPv6 addresses stand there without brackets.

use std::error::Error;

use evenkeel::{Address, Cluster, Endpoint, PolicyConfig, Request, Weight};
use evenkeel_balance::compat::nginx::{Method, NginxConfig};
use evenkeel_balance::compat::pingora::{PingoraConfig, Selection};

fn main() -> Result<(), Box<dyn Error>> {
    let v4 = ["10.0.0.3:80", "10.0.0.1:80", "10.0.0.2:80"];
    let cluster = cluster(PolicyConfig::pingora(), &v4)?;
    let turns = (0..14).map(|_| Ok(cluster.pick(&Request::new())?.endpoint().address().to_string()));
    let turns = turns.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    println!("weights 1, 5, 1 are sorted by address and served in bursts:\n  {}", turns.join(" "));

    let ring = Selection::Consistent { point_multiple: 160 };
    let pingora = PolicyConfig::Pingora(PingoraConfig { selection: ring, ..PingoraConfig::default() });
    let nginx = PolicyConfig::Nginx(NginxConfig { method: Method::HashConsistent, ..NginxConfig::default() });
    for addresses in [v4, ["[fd00::1]:80", "[fd00::2]:80", "[fd00::3]:80"]] {
        let (ours, theirs) = (places(pingora.clone(), &addresses)?, places(nginx.clone(), &addresses)?);
        let alike = ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
        println!("{}: {alike} of 1000 keys where nginx puts them", addresses.join(" "));
    }
    Ok(())
}

/// Where 1000 keys go.
fn places(policy: PolicyConfig, addresses: &[&str]) -> Result<Vec<Address>, Box<dyn Error>> {
    let cluster = cluster(policy, addresses)?;
    let place = |number: u32| {
        let pick = cluster.pick(&Request::with_key(&format!("user:{number}")))?;
        Ok(pick.endpoint().address().clone())
    };
    (0..1_000).map(place).collect()
}

fn cluster(policy: PolicyConfig, addresses: &[&str]) -> Result<Cluster<()>, Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
    for (address, weight) in addresses.iter().zip([1, 5, 1]) {
        cluster.upsert(Endpoint::at(address.parse()?)?.with_weight(Weight::new(weight)))?;
    }
    Ok(cluster)
}
