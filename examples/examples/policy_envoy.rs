//! What does the policy `envoy` do?
//!
//! It picks what Envoy 1.40 picks for the same endpoints and keys: the turns of its round robin by default, and its hash
//! tables, so that keys stay where a fleet of Envoys has put them. Envoy builds a table anew for the hosts that are up, so
//! some keys of the others move too when one goes down: more on its ring than in its Maglev table.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, PickError, PolicyConfig, Request, Weight};
use evenkeel_balance::compat::envoy::{EnvoyConfig, EnvoyPolicy, MaglevSettings, RingHashSettings};

fn main() -> Result<(), Box<dyn Error>> {
    let turns = cluster(PolicyConfig::envoy())?;
    turns.set_weight(&"10.0.0.1:8080".parse()?, Weight::new(3))?;
    let order: Result<Vec<String>, PickError> = (0..16).map(|_| owner(&turns, &Request::new())).collect();
    println!("round_robin, weights 3, 1, 1, 1, 1: {}", order?.join(" "));

    for (name, policy) in [
        ("ring_hash", EnvoyPolicy::RingHash(RingHashSettings::default())),
        ("maglev", EnvoyPolicy::Maglev(MaglevSettings::default())),
    ] {
        let cluster = cluster(PolicyConfig::Envoy(EnvoyConfig { policy, ..Default::default() }))?;
        let before = owners(&cluster)?;
        println!("{name}: user:49 and user:50 belong to hosts {} and {}", before[49], before[50]);
        let share =
            |host: &str| before.iter().filter(|owner| *owner == host).count() as f64 / KEYS as f64 * 100.0;
        println!(
            "    keys per host: {}",
            ["1", "2", "3", "4", "5"].map(|host| format!("{:.1} %", share(host))).join(", ")
        );

        cluster.drain(&"10.0.0.3:8080".parse()?)?;
        let after = owners(&cluster)?;
        let moved = before.iter().zip(&after).filter(|(one, other)| one != other).count();
        let owned = before.iter().filter(|owner| *owner == "3").count();
        println!("    host 3, which owned {owned} of {KEYS} keys, is drained: {moved} keys move");
    }
    Ok(())
}

const KEYS: usize = 10_000;

/// Who owns the keys `user:0`, `user:1` and so on.
fn owners(cluster: &Cluster<()>) -> Result<Vec<String>, PickError> {
    (0..KEYS).map(|user| owner(cluster, &Request::with_key(&format!("user:{user}")))).collect()
}

/// The last part of the address of whom this request goes to.
fn owner(cluster: &Cluster<()>, request: &Request<'_>) -> Result<String, PickError> {
    let id = cluster.pick(request)?.endpoint().id().to_string();
    Ok(id.trim_start_matches("10.0.0.").trim_end_matches(":8080").to_owned())
}

/// Five hosts on 10.0.0.1:8080 to 10.0.0.5:8080.
fn cluster(policy: PolicyConfig) -> Result<Cluster<()>, Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
    let host = |number| Ok(Endpoint::at(format!("10.0.0.{number}:8080").parse()?)?);
    cluster.apply((1..=5).map(host).collect::<Result<Vec<Endpoint>, Box<dyn Error>>>()?)?;
    Ok(cluster)
}
