//! gRPC: the balancing configuration of each case says what it does.

mod channel;

use evenkeel_balance::compat::envoy::{InvalidRingSizes, RingSizes, WeightsTooLarge};
use evenkeel_balance::compat::grpc::{RingHash, RoundRobin, request_hash};
use serde_json::Value;
use thiserror::Error;

use self::channel::Channel;
use super::each_case;
use super::template::filled;
use crate::recorded::{Pick, picks, requests, text};
use crate::{Case, Tally, UnknownFile, Vector};

/// Replays a file of gRPC's.
///
/// # Errors
///
/// [`UnknownFile`], if no case names a policy that is known.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    each_case(vector, |case, tally| {
        let (policy, settings) = policy_of(&case.0["config"]).ok_or("no policy that is known")?;
        let channel = Channel::of(case);
        if policy.starts_with("ring_hash") {
            replay_ring(vector, case, settings, &channel, tally)
        } else {
            replay_turns(case, &channel, tally)
        }
    })
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

fn replay_ring(
    vector: &Vector,
    case: &Case,
    settings: &Value,
    channel: &Channel,
    tally: &mut Tally,
) -> Result<(), String> {
    let requests = keyed(vector, case)?;
    let ring = match ring_of(settings, channel) {
        Ok(ring) => ring,
        Err(why) => {
            requests.iter().for_each(|_| tally.fail(format!("{}: {why}", case.id())));
            return Ok(());
        }
    };
    let name = settings["requestHashHeader"].as_str().unwrap_or_default();
    for (key, theirs) in requests {
        let shown = key.as_deref().map_or("absent".into(), String::from_utf8_lossy);
        match request_hash(&values_of(&case.0["request"], name, key.as_deref())) {
            Some(hash) => {
                let ours = ring.pick(hash, |endpoint| channel.accepts(endpoint));
                tally.check(text(ours), text(theirs), || format!("{} key {shown:?}", case.id()));
            }
            None if key.is_some() && !name.is_empty() => {
                tally.fail(format!("{}: the request has no place for the key {shown:?}", case.id()));
            }
            // A draw of gRPC's.
            None => {
                let ready = channel.ready();
                let may_be = theirs.map_or(ready.is_empty(), |server| ready.contains(&server));
                tally.check(may_be, true, || {
                    format!("{} without a hash: {} is ready", case.id(), text(theirs))
                });
            }
        }
    }
    Ok(())
}

/// A request: its key, if it had one, and its pick.
type Keyed = (Option<Vec<u8>>, Pick);

/// Each request with its key and its pick, in whichever form they are listed.
fn keyed(vector: &Vector, case: &Case) -> Result<Vec<Keyed>, String> {
    let mut all = Vec::new();
    if let Some(requests) = requests(case)? {
        for request in requests {
            all.extend(picks(request.picks)?.into_iter().map(|pick| (request.key.clone(), pick)));
        }
        return Ok(all);
    }
    for run in runs(case)? {
        let keys = vector.keys_for(case, run.len())?.ok_or("picks by a key, and no keys")?;
        all.extend(keys.into_iter().map(Some).zip(run));
    }
    Ok(all)
}

/// The lists of picks of a case.
fn runs(case: &Case) -> Result<Vec<Vec<Pick>>, String> {
    match (&case.0["runs"], &case.0["picks"]) {
        (Value::Array(runs), _) => {
            runs.iter().map(|run| picks(run.as_array().ok_or("a run is no list")?)).collect()
        }
        (_, Value::Array(list)) => Ok(vec![picks(list)?]),
        _ => Err("neither `picks`, `runs` nor `requests`".to_owned()),
    }
}

/// The values of the header that is hashed: what the request says, or the key.
fn values_of(request: &Value, name: &str, key: Option<&[u8]>) -> Vec<Vec<u8>> {
    if name.is_empty() {
        return Vec::new();
    }
    let Some(headers) = request["headers"].as_array() else {
        return key.map(<[u8]>::to_vec).into_iter().collect();
    };
    let is_it = |pair: &&Value| pair[0].as_str().is_some_and(|header| header.eq_ignore_ascii_case(name));
    let values = headers.iter().filter(is_it).map(|pair| pair[1].as_str().unwrap_or_default());
    // What a missing key takes with it: the header that it would stand in.
    values
        .filter(|value| key.is_some() || !value.contains("<key"))
        .map(|value| filled(value, key.unwrap_or_default()))
        .collect()
}

/// Every channel starts at a place of its own: the first pick tells which.
fn replay_turns(case: &Case, channel: &Channel, tally: &mut Tally) -> Result<(), String> {
    for (run, picks) in runs(case)?.into_iter().enumerate() {
        let first = picks.first().copied().flatten();
        let start = channel.ready().iter().position(|&server| Some(server) == first);
        let mut turns = RoundRobin::new(channel.ready().to_vec(), start.unwrap_or(0) as u64);
        for (place, theirs) in picks.into_iter().enumerate() {
            tally.check(text(turns.pick()), text(theirs), || format!("{} run {run} pick {place}", case.id()));
        }
    }
    Ok(())
}
