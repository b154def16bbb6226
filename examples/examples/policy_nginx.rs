//! What does the policy `nginx` do?
//!
//! It picks as an `upstream` block of nginx does, to the bit, for those who move over: the same turns, the same memory of
//! failures, and with a hashing method the same server for every key. Here it is compared with such a block.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, Outcome, PolicyConfig, Request, Weight};
use evenkeel_balance::compat::nginx::{Method, NginxConfig, Server, Subject, Upstream};
use evenkeel_types::Timestamp;

const SERVERS: [(&str, u32); 3] = [("10.0.0.1:80", 5), ("10.0.0.2:80", 1), ("10.0.0.3:80", 1)];

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = cluster(PolicyConfig::nginx())?;
    println!("weights 5, 1, 1 in order:     {}", turns(&cluster, 14, None)?);
    println!("1 fails, and is left alone:   {}", turns(&cluster, 14, Some("10.0.0.1:80"))?);

    let by_key = NginxConfig { method: Method::HashConsistent, ..NginxConfig::default() };
    let cluster = self::cluster(PolicyConfig::Nginx(by_key))?;
    let lines = SERVERS.map(|(address, weight)| Server::new(address).with_weight(weight));
    let mut block = Upstream::new(Method::HashConsistent, &lines)?;
    let mut alike = 0;
    for number in 0..1_000 {
        let key = format!("user:{number}");
        let ours = cluster.pick(&Request::with_key(&key))?.endpoint().address().to_string();
        let mut request = block.begin(Subject::Key(key.as_bytes()));
        let theirs = block.pick(&mut request, Timestamp::ORIGIN).map(|place| SERVERS[place.server].0);
        alike += u32::from(theirs == Some(ours.as_str()));
    }
    println!("hash KEY consistent:          {alike} of 1000 keys where the block puts them");
    Ok(())
}

fn cluster(policy: PolicyConfig) -> Result<Cluster<()>, Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
    for (address, weight) in SERVERS {
        cluster.upsert(Endpoint::at(address.parse()?)?.with_weight(Weight::new(weight)))?;
    }
    Ok(cluster)
}

/// The last numbers of the addresses that the next `count` requests go to, of which one fails them.
fn turns(cluster: &Cluster<()>, count: u32, failing: Option<&str>) -> Result<String, Box<dyn Error>> {
    let mut turns = Vec::new();
    for _ in 0..count {
        let pick = cluster.pick(&Request::new())?;
        let address = pick.endpoint().address().to_string();
        turns.extend(address.split(['.', ':']).nth(3).map(str::to_owned));
        let fails = failing == Some(address.as_str());
        pick.finish(if fails { Outcome::failure() } else { Outcome::success() });
    }
    Ok(turns.join(" "))
}
