//! gRPC: the balancing configuration of each case says what it does.

mod channel;

use evenkeel_balance::compat::envoy::{InvalidRingSizes, RingSizes, WeightsTooLarge};
use evenkeel_balance::compat::grpc::{RingHash, RoundRobin, request_hash};
use serde_json::Value;
use thiserror::Error;

use self::channel::Channel;
use crate::{Case, Tally, UnknownFile, Vector};

/// Replays a file of gRPC's.
///
/// # Errors
///
/// [`UnknownFile`], if a case names no policy that is known.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    let mut tally = Tally::default();
    for case in &vector.cases {
        let Some((policy, settings)) = policy_of(&case.0["config"]) else {
            return Err(UnknownFile::new(vector, format_args!("configuration of case {:?}", case.id())));
        };
        let channel = Channel::of(case);
        if policy.starts_with("ring_hash") {
            replay_ring(vector, case, settings, &channel, &mut tally);
        } else {
            replay_turns(case, &channel, &mut tally);
        }
    }
    Ok(tally)
}

/// The policy that a configuration names, and its settings; also in a `loadBalancingConfig` of a service configuration.
fn policy_of(config: &Value) -> Option<(&str, &Value)> {
    let config = match &config["loadBalancingConfig"] {
        Value::Array(list) => list.first()?,
        _ => config,
    };
    let known = ["ring_hash_experimental", "ring_hash", "round_robin"];
    known.into_iter().find_map(|name| config.get(name).map(|settings| (name, settings)))
}

#[derive(Debug, Error)]
enum Refused {
    #[error(transparent)]
    Ring(#[from] InvalidRingSizes),
    #[error(transparent)]
    Weights(#[from] WeightsTooLarge),
}

fn ring_of(settings: &Value, channel: &Channel) -> Result<RingHash, Refused> {
    // JSON for protocol buffers writes 64 bits as text.
    let size = |name: &str, default| {
        let value = &settings[name];
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(default)
    };
    let sizes = RingSizes::new(size("minRingSize", 1024), size("maxRingSize", 4096))?;
    Ok(RingHash::new(channel.endpoints(), |endpoint| channel.text(endpoint), sizes)?)
}

fn replay_ring(vector: &Vector, case: &Case, settings: &Value, channel: &Channel, tally: &mut Tally) {
    let ring = match ring_of(settings, channel) {
        Ok(ring) => ring,
        Err(why) => {
            let picks = case.0["picks"].as_array().map_or(1, Vec::len);
            return (0..picks).for_each(|_| tally.fail(format!("{}: {why}", case.id())));
        }
    };
    let name = settings["requestHashHeader"].as_str().unwrap_or_default();
    let keys = vector.keys_of(case);
    for (index, theirs) in case.0["picks"].as_array().into_iter().flatten().enumerate() {
        let key = keys.get(index).map_or("", String::as_str);
        let hash = request_hash(&values_of(&case.0["request"], name, key));
        let theirs = theirs.as_u64();
        let Some(hash) = hash else {
            let is_ready = channel.ready().iter().any(|&server| Some(u64::from(server)) == theirs);
            tally.check(is_ready, true, || format!("{} key {key:?} without a hash: is ready", case.id()));
            continue;
        };
        let ours = ring.pick(hash, |endpoint| channel.accepts(endpoint)).map(u64::from);
        let text = |pick: Option<u64>| pick.map_or_else(|| "none".to_owned(), |pick| pick.to_string());
        tally.check(text(ours), text(theirs), || format!("{} key {key:?}", case.id()));
    }
}

/// The values of the header that is hashed: what the request says, or the key.
fn values_of(request: &Value, name: &str, key: &str) -> Vec<String> {
    if name.is_empty() {
        return Vec::new();
    }
    let Some(headers) = request["headers"].as_array() else { return vec![key.to_owned()] };
    let reversed: String = key.chars().rev().collect();
    let is_it = |pair: &&Value| pair[0].as_str().is_some_and(|header| header.eq_ignore_ascii_case(name));
    let fill = |text: &str| text.replace("<key reversed>", &reversed).replace("<key>", key);
    headers.iter().filter(is_it).map(|pair| fill(pair[1].as_str().unwrap_or_default())).collect()
}

/// Every channel starts at a place of its own: the first pick tells which.
fn replay_turns(case: &Case, channel: &Channel, tally: &mut Tally) {
    let runs: Vec<&Value> = match case.0["runs"].as_array() {
        Some(runs) => runs.iter().collect(),
        None => vec![&case.0["picks"]],
    };
    for (run, picks) in runs.into_iter().filter_map(Value::as_array).enumerate() {
        let first = picks.first().and_then(Value::as_u64);
        let start = channel.ready().iter().position(|&server| Some(u64::from(server)) == first);
        let mut turns = RoundRobin::new(channel.ready().to_vec(), start.unwrap_or(0) as u64);
        for (place, theirs) in picks.iter().enumerate() {
            let ours = turns.pick().map_or_else(|| "none".to_owned(), |server| server.to_string());
            tally.check(ours, theirs.to_string(), || format!("{} run {run} pick {place}", case.id()));
        }
    }
}
