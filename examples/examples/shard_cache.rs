//! How do I shard a cache by key, so that no shard is swamped by a key that everybody wants?
//!
//! Consistent hashing sends equal keys to one shard; a bound on loads sends what exceeds it to the next one on the ring. The shards here are
//! maps in the payload `T`.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use evenkeel::{Cluster, Endpoint, EndpointId, KeySettings, Outcome, PolicyConfig, Request, RingHashConfig};

/// A shard: the keys that it holds.
#[derive(Debug, Default)]
struct Shard(Mutex<BTreeSet<String>>);

impl Shard {
    /// Whether the key was there; from now on it is.
    fn hit(&self, key: &str) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned())
    }
}

const SHARDS: usize = 8;
const KEYS: usize = 4_000;

fn main() -> Result<(), Box<dyn Error>> {
    let shards = shards(Some(125))?;
    let first = hits(&shards)?;
    let second = hits(&shards)?;
    println!("{KEYS} keys, asked for twice: {first} hits, then {second}");
    assert_eq!((first, second), (0, KEYS), "equal keys go to one shard");

    let gone: EndpointId = "shard-3".parse()?;
    shards.remove(&gone)?;
    let third = hits(&shards)?;
    let lost = KEYS - third;
    println!("{gone} dies: {lost} keys are lost with it, the others stay where they are");
    assert!((KEYS / SHARDS / 2..KEYS / SHARDS * 2).contains(&lost));

    for (factor, title) in [(None, "without a bound"), (Some(125), "with a bound of 125 %")] {
        let most = most_at_once(factor)?;
        println!("a hot key, 80 requests for it at once, {title}: {most} at the busiest shard");
        match factor {
            None => assert_eq!(most, 80),
            Some(_) => assert!(most <= 13, "80 / 8 shards × 1.25, rounded up"),
        }
    }
    Ok(())
}

fn hits(shards: &Cluster<Shard>) -> Result<usize, Box<dyn Error>> {
    let mut hits = 0;
    for number in 0..KEYS {
        let key = format!("user:{number}");
        let pick = shards.pick(&Request::with_key(&key))?;
        hits += usize::from(pick.payload().hit(&key));
        pick.finish(Outcome::success());
    }
    Ok(hits)
}

fn most_at_once(balance_factor: Option<u32>) -> Result<usize, Box<dyn Error>> {
    let shards = shards(balance_factor)?;
    let request = Request::with_key("front page");
    let picks = (0..80).map(|_| shards.pick(&request)).collect::<Result<Vec<_>, _>>()?;
    let most = shards.report().endpoints.iter().map(|shard| shard.in_flight).max();
    drop(picks);
    Ok(most.unwrap_or(0))
}

fn shards(balance_factor: Option<u32>) -> Result<Cluster<Shard>, Box<dyn Error>> {
    let key = KeySettings { balance_factor, ..KeySettings::default() };
    let policy = PolicyConfig::RingHash(RingHashConfig { key, ..RingHashConfig::default() });
    let shards = Cluster::builder("cache").policy(policy).build()?;
    for number in 1..=SHARDS {
        let address = format!("10.0.0.{number}:6379").parse()?;
        let endpoint = Endpoint::new(format!("shard-{number}").parse()?, address);
        shards.upsert(endpoint.with_payload(Shard::default()))?;
    }
    Ok(shards)
}
