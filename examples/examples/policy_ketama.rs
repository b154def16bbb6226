//! What does the policy `ketama` do?
//!
//! It sends keys where nginx sends them, so that caches stay warm while a service moves from one to the other, or while
//! both are in front of it. The answers of nginx below are recorded from nginx 1.22.1 with
//!
//! ```text
//! upstream caches {
//!     hash $arg_key consistent;
//!     server 10.0.0.1:8080; … server 10.0.0.5:8080;
//! }
//! ```

use std::error::Error;

use evenkeel::{Cluster, Endpoint, PolicyConfig, Request};

/// The key, where nginx sends it, and where it does with `down` for 10.0.0.3.
const RECORDED: [(&str, u8, u8); 6] = [
    ("user:49", 5, 5),
    ("hvtfec.dwphut@example.com", 4, 4),
    ("5f1a38e0-f5cb-47ac-ba36-b123fd33a3c4", 1, 1),
    ("45391634", 2, 2),
    ("893", 3, 1),
    ("de06d150-ee0a-4164-bcaf-cd863a1c86b0", 3, 2),
];

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("caches").policy(PolicyConfig::ketama()).build()?;
    for number in 1..=5 {
        // What nginx has in its `server` lines: the address is what makes the points.
        cluster.upsert(Endpoint::at(format!("10.0.0.{number}:8080").parse()?)?)?;
    }
    println!("{:36}  nginx  evenkeel", "key");
    for (key, nginx, _) in RECORDED {
        println!("{key:36}      .{nginx}        .{}", last_byte(&cluster, key)?);
    }

    cluster.remove(&"10.0.0.3:8080".parse()?)?;
    println!("\nwithout 10.0.0.3");
    for (key, before, nginx) in RECORDED {
        let moved = if before == nginx { "" } else { "  moved" };
        println!("{key:36}      .{nginx}        .{}{moved}", last_byte(&cluster, key)?);
    }
    Ok(())
}

/// The last byte of the address that a key goes to.
fn last_byte(cluster: &Cluster<()>, key: &str) -> Result<u8, Box<dyn Error>> {
    let pick = cluster.pick(&Request::with_key(key))?;
    let address = pick.endpoint().address().socket_addr().ok_or("all have IP addresses")?;
    match address.ip() {
        std::net::IpAddr::V4(ip) => Ok(ip.octets()[3]),
        std::net::IpAddr::V6(_) => Err("all have IPv4 addresses".into()),
    }
}
