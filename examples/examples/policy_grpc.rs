//! What does the policy `grpc` do?
//!
//! It picks what a channel of gRPC C-core picks for the same endpoints and keys: its round robin by default, its ring, and
//! the static stride of its weighted round robin. Its ring stays when an endpoint goes down, so only the keys of that one
//! move.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, PickError, PolicyConfig, Request, Weight};
use evenkeel_balance::compat::grpc::{GrpcConfig, GrpcPolicy, RingHashSettings, RoundRobinSettings};

fn main() -> Result<(), Box<dyn Error>> {
    println!("round_robin:          {}", turns(&cluster(PolicyConfig::grpc())?)?);
    let stride = GrpcPolicy::WeightedRoundRobin(RoundRobinSettings { start: Some(0) });
    println!(
        "weighted_round_robin: {}",
        turns(&cluster(PolicyConfig::Grpc(GrpcConfig { policy: stride }))?)?
    );

    for min_ring_size in [100, 4096] {
        let settings = RingHashSettings { min_ring_size, ..Default::default() };
        let cluster = cluster(PolicyConfig::Grpc(GrpcConfig { policy: GrpcPolicy::RingHash(settings) }))?;
        let before = owners(&cluster)?;
        let owned = |host: &str| before.iter().filter(|owner| *owner == host).count();
        println!("ring_hash with at least {min_ring_size} points:");
        println!(
            "    keys per host, weights 3, 1, 1: {}",
            ["1", "2", "3"].map(owned).map(|keys| keys.to_string()).join(", ")
        );

        cluster.drain(&"10.0.0.3:8060".parse()?)?;
        let after = owners(&cluster)?;
        let moved = before.iter().zip(&after).filter(|(one, other)| one != other).count();
        println!("    host 3 is drained: {moved} keys move");
    }
    Ok(())
}

const KEYS: usize = 10_000;

/// Where sixteen requests without a key go.
fn turns(cluster: &Cluster<()>) -> Result<String, PickError> {
    let order: Result<Vec<String>, PickError> = (0..16).map(|_| owner(cluster, &Request::new())).collect();
    Ok(order?.join(" "))
}

/// Who owns the keys `user:0`, `user:1` and so on.
fn owners(cluster: &Cluster<()>) -> Result<Vec<String>, PickError> {
    (0..KEYS).map(|user| owner(cluster, &Request::with_key(&format!("user:{user}")))).collect()
}

/// The last part of the address of whom this request goes to.
fn owner(cluster: &Cluster<()>, request: &Request<'_>) -> Result<String, PickError> {
    let id = cluster.pick(request)?.endpoint().id().to_string();
    Ok(id.trim_start_matches("10.0.0.").trim_end_matches(":8060").to_owned())
}

/// Three hosts, of which the first has three times the weight.
fn cluster(policy: PolicyConfig) -> Result<Cluster<()>, Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").policy(policy).seed(1).build()?;
    let host = |(number, weight)| {
        Ok(Endpoint::at(format!("10.0.0.{number}:8060").parse()?)?.with_weight(Weight::new(weight)))
    };
    let hosts = [(1, 3), (2, 1), (3, 1)].into_iter().map(host);
    cluster.apply(hosts.collect::<Result<Vec<Endpoint>, Box<dyn Error>>>()?)?;
    Ok(cluster)
}
