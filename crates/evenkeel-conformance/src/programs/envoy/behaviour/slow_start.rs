//! Slow start: the share of a server that joins others which are warm, in each half second since its first request.
//!
//! Envoy keeps deadlines by weights that it asks for at each pick, so the same schedule is run here at the recorded rate,
//! with the factors of our [`EnvoySlowStart`]. Requests of the recording strayed by some milliseconds, and its start was
//! drawn: hence the band.

use std::time::Duration;

use evenkeel_balance::compat::envoy::Edf;
use evenkeel_health::{EnvoySlowStart, EnvoySlowStartConfig};
use evenkeel_types::{Ratio, Timestamp};
use serde_json::Value;

use crate::{Case, Tally};

/// So many requests of a half second (200 at the recorded rate) may go elsewhere.
const BAND: f64 = 2.5;

pub(super) fn replay(case: &Case, tally: &mut Tally) -> Result<(), String> {
    replay_shares(case, tally).ok_or_else(|| "not a slow start as it was recorded before".to_owned())
}

fn replay_shares(case: &Case, tally: &mut Tally) -> Option<()> {
    let mut host = EnvoySlowStart::new(&settings(&case.0["config"]["slow_start_config"])?).ok()?;
    let servers = u32::try_from(case.0["config"]["servers"].as_u64()?).ok()?;
    let rate = case.0["rate_per_s"].as_f64()?;
    let buckets: Vec<Bucket> =
        case.0["half_second_buckets"].as_array()?.iter().map(Bucket::of).collect::<Option<_>>()?;
    let ours = shares(&mut host, servers.checked_sub(1)?, rate, buckets.len());
    for (theirs, ours) in buckets.iter().zip(ours) {
        let expected = ours * theirs.requests;
        let what = || format!("{} at {} s: {ours:.3}, theirs {:.3}", case.id(), theirs.at, theirs.share());
        tally.check((expected - theirs.to_new).abs() <= BAND, true, what);
    }
    Some(())
}

struct Bucket {
    at: f64,
    requests: f64,
    to_new: f64,
}

impl Bucket {
    fn of(value: &Value) -> Option<Self> {
        Some(Self { at: value[0].as_f64()?, requests: value[1].as_f64()?, to_new: value[2].as_f64()? })
    }

    fn share(&self) -> f64 {
        self.to_new / self.requests
    }
}

fn settings(config: &Value) -> Option<EnvoySlowStartConfig> {
    let window = config["slow_start_window"].as_str()?.strip_suffix('s')?.parse().ok()?;
    let defaults = EnvoySlowStartConfig::default();
    let percent = config["min_weight_percent"]["value"].as_f64();
    Some(EnvoySlowStartConfig {
        slow_start_window: Duration::try_from_secs_f64(window).ok()?,
        aggression: config["aggression"]["default_value"].as_f64().unwrap_or(defaults.aggression),
        min_weight_percent: match percent {
            Some(percent) => Ratio::new(percent / 100.0).ok()?,
            None => defaults.min_weight_percent,
        },
    })
}

/// The share of the new server in each half second since its first request.
fn shares(host: &mut EnvoySlowStart, warm: u32, rate: f64, buckets: usize) -> Vec<f64> {
    // The new server is the last one. The clock begins when it joins.
    let _ = host.pass(Timestamp::ORIGIN);
    let weight = |server, now| if server == warm { host.factor(now) } else { 1.0 };
    let joined = (0..=warm).map(|server| (server, weight(server, Timestamp::ORIGIN)));
    let mut schedule = Edf::after_picks(joined, 0);
    let mut counts = vec![(0_u32, 0_u32); buckets];
    let mut first = None;
    for request in 0..u32::MAX {
        let at = f64::from(request) / rate;
        let now = Timestamp::from_nanos((at * 1e9) as u64);
        let picked = schedule.pick(|server| weight(server, now));
        if picked == Some(warm) {
            first.get_or_insert(at);
        }
        let Some(first) = first else { continue };
        let Some((all, to_new)) = counts.get_mut(((at - first) * 2.0) as usize) else { break };
        *all += 1;
        *to_new += u32::from(picked == Some(warm));
    }
    counts.into_iter().map(|(all, to_new)| f64::from(to_new) / f64::from(all.max(1))).collect()
}
