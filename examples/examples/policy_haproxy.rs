//! What does the policy `haproxy` do?
//!
//! It picks as a backend of HAProxy 2.6 does, to the bit, for those who move over: the same turns while weights change, and
//! with an algorithm that hashes the same server for every key. Here it is compared with such a backend.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, Outcome, PolicyConfig, Request, Weight};
use evenkeel_balance::compat::haproxy::{
    Backend, BackendConfig, Balance, HaproxyConfig, HashType, Method, Server,
};

const SERVERS: [(&str, u32); 3] = [("10.0.0.1:80", 5), ("10.0.0.2:80", 1), ("10.0.0.3:80", 1)];

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = cluster(PolicyConfig::haproxy())?;
    println!("balance roundrobin, weights 5, 1, 1: {}", turns(&cluster, 14)?);
    cluster.set_weight(&SERVERS[0].0.parse()?, Weight::new(1))?;
    println!("set weight 1 for the first:          {}", turns(&cluster, 14)?);

    for (line, hash_type) in [
        ("hash-type map-based", HashType::bare(Method::MapBased)),
        ("hash-type consistent", HashType::bare(Method::Consistent)),
    ] {
        let balance = Balance::Hdr;
        let policy = PolicyConfig::Haproxy(HaproxyConfig { balance, hash_type, ..HaproxyConfig::default() });
        let cluster = self::cluster(policy)?;
        let servers = SERVERS.map(|(_, weight)| Server::weighing(weight));
        let mut backend =
            Backend::new(BackendConfig { balance, hash_type, ..BackendConfig::default() }, &servers)?;
        let mut alike = 0;
        for number in 0..1_000 {
            let key = format!("user:{number}");
            let ours = cluster.pick(&Request::with_key(&key))?.endpoint().address().to_string();
            let hash = backend.hash_key(key.as_bytes());
            let theirs = backend.choose(Some(hash)).map(|server| SERVERS[server].0);
            alike += u32::from(theirs == Some(ours.as_str()));
        }
        println!("{:37}{alike} of 1000 keys where the backend puts them", format!("{line}:"));
    }
    Ok(())
}

fn cluster(policy: PolicyConfig) -> Result<Cluster<()>, Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
    for (address, weight) in SERVERS {
        cluster.upsert(Endpoint::at(address.parse()?)?.with_weight(Weight::new(weight)))?;
    }
    Ok(cluster)
}

/// The last numbers of the addresses that the next `count` requests go to.
fn turns(cluster: &Cluster<()>, count: u32) -> Result<String, Box<dyn Error>> {
    let mut turns = Vec::new();
    for _ in 0..count {
        let pick = cluster.pick(&Request::new())?;
        let address = pick.endpoint().address().to_string();
        turns.extend(address.split(['.', ':']).nth(3).map(str::to_owned));
        pick.finish(Outcome::success());
    }
    Ok(turns.join(" "))
}
