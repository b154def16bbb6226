//! Outlier detection: a steady stream of requests in rotation over servers of which some fail, replayed in a closed loop.
//!
//! Our rotation and our detector run against the failures that the case describes, and give an event log of their own.
//! What cannot be known of the recorded run is taken from it: where the rotation began, when the interval timer began, and in
//! which order it visits its servers, which is that of a hash map. Failures with a probability are spread evenly, which
//! has the same shares. Each recorded ejection and return has to be there, with the same server and the same reason, within
//! [`EVENT_BAND`]; ours must have no others; and in each second the share of the bad servers has to be within
//! [`SHARE_BAND`].
//!
//! The rotation hears of an ejection as Envoy's workers do: at once, or, if it heard of another less than
//! `update_merge_window` ago (a second, unless the cluster says otherwise), that long after the first that waits. So a
//! server that fails again right after its return gets requests for a second more, although it is ejected.

use std::time::Duration;

use evenkeel_balance::compat::envoy::{RoundRobin, Weighted, priority_loads};
use evenkeel_health::outlier::envoy::{EnvoyEvent, EnvoyOutlier, EnvoyOutlierConfig, EnvoyResult};
use evenkeel_types::Timestamp;
use serde_json::Value;

use super::super::cluster::{Health, entries, flag, level_health, number, panic_threshold};
use crate::{Case, Tally};

/// Seconds by which an event may be early or late: a turn of five servers and ten requests more at 100 a second, since one
/// request that goes elsewhere moves the fifth failure by a turn.
const EVENT_BAND: f64 = 0.15;
/// By how much of a second's requests the share of the bad servers may be off.
const SHARE_BAND: f64 = 0.12;

pub(super) fn replay(case: &Case, tally: &mut Tally) -> Result<(), String> {
    let world = World::of(case).ok_or("no stream of requests with its picks")?;
    let config = config_of(&case.0["config"]["outlier_detection"])?;
    let phase = phase(&world.recorded, config.interval);
    let turns = (1..=world.hosts.len() as u64).fold(1, lcm);
    let mut best: Option<Run> = None;
    for start in 0..turns {
        let run = world.run(&config, phase, start)?;
        if best.as_ref().is_none_or(|best| run.agreeing > best.agreeing) {
            best = Some(run);
        }
    }
    let ours = best.ok_or("no servers")?;
    compare_events(case, &ours.events, &world.recorded, tally);
    compare_shares(case, &world, &ours.picks, tally);
    Ok(())
}

/// An ejection that was enforced, or a return.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    at: f64,
    server: u32,
    /// Of an ejection.
    reason: Option<String>,
}

impl Event {
    fn is_near(&self, other: &Self) -> bool {
        self.server == other.server && self.reason == other.reason && (self.at - other.at).abs() <= EVENT_BAND
    }
}

fn recorded(events: &Value) -> Vec<Event> {
    let one = |event: &Value| {
        let ejected = event["action"].as_str()? == "EJECT";
        let counts = !ejected || event["enforced"].as_bool() == Some(true);
        let reason = ejected.then(|| event["type"].as_str().unwrap_or_default().to_owned());
        counts.then_some(Event { at: event["t"].as_f64()?, server: number(&event["server"])?, reason })
    };
    events.as_array().map_or_else(Vec::new, |events| events.iter().filter_map(one).collect())
}

/// When in an interval its timer fires: told by the first event that only the timer makes.
fn phase(events: &[Event], interval: Duration) -> f64 {
    let by_timer =
        |event: &&Event| event.reason.as_ref().is_none_or(|reason| !reason.starts_with("CONSECUTIVE"));
    events.iter().find(by_timer).map_or(0.0, |event| event.at % interval.as_secs_f64())
}

struct World {
    hosts: Vec<Weighted>,
    rate: f64,
    picks: Vec<Option<u32>>,
    /// How likely each server is to fail while it is bad.
    failing: Vec<f64>,
    bad: Vec<u32>,
    bad_until: f64,
    bad_again_from: f64,
    /// Seconds by which the sender was late.
    late: Vec<(usize, f64)>,
    panic_threshold: u32,
    fails_in_panic: bool,
    merge_window: f64,
    recorded: Vec<Event>,
}

/// What the rotation knows.
struct Rotation {
    turns: RoundRobin,
    /// By server, as the cluster has it.
    ejected: Vec<bool>,
    /// When it last heard.
    heard: f64,
    /// When it hears next.
    hears: Option<f64>,
}

struct Run {
    picks: Vec<Option<u32>>,
    events: Vec<Event>,
    agreeing: usize,
}

impl World {
    fn of(case: &Case) -> Option<Self> {
        let value = &case.0;
        let config = &value["config"];
        let weight = |entry: &Value| number(&entry["load_balancing_weight"]).unwrap_or(1);
        let hosts: Vec<Weighted> =
            (0..).zip(entries(config)).map(|(server, (_, entry))| (server, weight(entry))).collect();
        let bad: Vec<u32> = value["bad_servers"].as_array()?.iter().filter_map(number).collect();
        let probabilities = value["failure_probability"].as_array();
        let failing = hosts.iter().map(|&(server, _)| match probabilities {
            Some(each) => each.get(server as usize).and_then(Value::as_f64).unwrap_or(0.0),
            None => f64::from(u8::from(bad.contains(&server))),
        });
        let late = value["late_requests"].as_array().map_or_else(Vec::new, |late| {
            late.iter().filter_map(|late| Some((late[0].as_u64()? as usize, late[1].as_f64()?))).collect()
        });
        Some(Self {
            failing: failing.collect(),
            rate: value["rate_per_s"].as_f64().filter(|rate| *rate > 0.0)?,
            picks: value["picks"].as_str()?.chars().map(|server| server.to_digit(36)).collect(),
            bad,
            bad_until: value["bad_until_s"].as_f64().unwrap_or(f64::INFINITY),
            bad_again_from: value["bad_again_from_s"].as_f64().unwrap_or(f64::INFINITY),
            late,
            panic_threshold: panic_threshold(config),
            fails_in_panic: flag(
                &config["common_lb_config"]["zone_aware_lb_config"],
                "fail_traffic_on_panic",
            ),
            merge_window: seconds(&config["common_lb_config"]["update_merge_window"])
                .map_or(1.0, |window| window.as_secs_f64()),
            recorded: recorded(&value["events"]),
            hosts,
        })
    }

    fn run(&self, config: &EnvoyOutlierConfig, phase: f64, start: u64) -> Result<Run, String> {
        // The origin lies one interval before the first request, so that a timer that began earlier has a time.
        let zero = config.interval.as_secs_f64();
        let at = |seconds: f64| Timestamp::from_nanos(((seconds + zero) * 1e9) as u64);
        let mut detector =
            EnvoyOutlier::new(config.clone(), 1, at(phase - zero)).map_err(|error| error.to_string())?;
        self.hosts.iter().for_each(|&(server, _)| detector.insert(server));
        let mut run = Run { picks: Vec::new(), events: Vec::new(), agreeing: 0 };
        let mut owed = vec![0.5; self.hosts.len()];
        let ejected = vec![false; self.hosts.len()];
        let turns = RoundRobin::new(&self.usable(&ejected), start);
        let mut rotation = Rotation { turns, ejected, heard: f64::NEG_INFINITY, hears: None };
        for (request, &theirs) in self.picks.iter().enumerate() {
            let late = self.late.iter().find(|(late, _)| *late == request).map_or(0.0, |(_, late)| *late);
            let now = request as f64 / self.rate + late;
            while detector.next_deadline() <= at(now) {
                let due = detector.next_deadline();
                let seconds = due.as_nanos() as f64 / 1e9 - zero;
                let events = detector.sweep(due);
                self.note(events, seconds, &mut rotation, &mut run.events);
            }
            self.deliver(now, &mut rotation);
            let pick = rotation.turns.pick();
            run.agreeing += usize::from(pick == theirs);
            run.picks.push(pick);
            let Some(server) = pick else { continue };
            let owed = &mut owed[server as usize];
            *owed += if self.is_bad_time(now) { self.failing[server as usize] } else { 0.0 };
            let fails = *owed >= 1.0;
            *owed -= if fails { 1.0 } else { 0.0 };
            let events = detector.put(server, EnvoyResult::Status(if fails { 503 } else { 200 }), at(now));
            self.note(events, now, &mut rotation, &mut run.events);
        }
        Ok(run)
    }

    fn is_bad_time(&self, now: f64) -> bool {
        now < self.bad_until || now >= self.bad_again_from
    }

    /// Enters what happened, one after the other: the rotation may hear of the first of several returns a second before it
    /// hears of the others.
    fn note(&self, events: Vec<EnvoyEvent<u32>>, at: f64, rotation: &mut Rotation, log: &mut Vec<Event>) {
        let mut events: Vec<Event> = events
            .into_iter()
            .filter_map(|event| match event {
                EnvoyEvent::Eject { host, reason, enforced: true, .. } => {
                    Some(Event { at, server: host, reason: Some(reason.as_str().to_owned()) })
                }
                EnvoyEvent::Uneject { host } => Some(Event { at, server: host, reason: None }),
                EnvoyEvent::Eject { .. } | EnvoyEvent::Overflow { .. } => None,
            })
            .collect();
        events.sort_by_key(|event| self.recorded.iter().position(|theirs| theirs.is_near(event)));
        for event in events {
            self.deliver(at, rotation);
            rotation.ejected[event.server as usize] = event.reason.is_some();
            let is_late = at - rotation.heard <= self.merge_window;
            let hears = if is_late { at + self.merge_window } else { at };
            rotation.hears = Some(rotation.hears.map_or(hears, |waiting| waiting.min(hears)));
            self.deliver(at, rotation);
            log.push(event);
        }
    }

    /// Lets the rotation go on over the servers that are usable now, if it is time that it hears of them.
    fn deliver(&self, now: f64, rotation: &mut Rotation) {
        if rotation.hears.is_some_and(|hears| hears <= now) {
            let place = rotation.turns.place().unwrap_or(0);
            rotation.turns = RoundRobin::new(&self.usable(&rotation.ejected), place);
            rotation.heard = rotation.hears.take().unwrap_or(now);
        }
    }

    /// Those that are not ejected; all of them in panic.
    fn usable(&self, ejected: &[bool]) -> Vec<Weighted> {
        let is_out = |server: u32| ejected.get(server as usize).copied().unwrap_or(false);
        let health = |server| if is_out(server) { Health::Unhealthy } else { Health::Healthy };
        let level = level_health(self.hosts.iter().map(|&(server, _)| (0, health(server), 1)));
        let in_panic =
            priority_loads(&level, 140, self.panic_threshold).first().is_some_and(|load| load.in_panic);
        match in_panic {
            true if self.fails_in_panic => Vec::new(),
            true => self.hosts.clone(),
            false => self.hosts.iter().copied().filter(|&(server, _)| !is_out(server)).collect(),
        }
    }
}

/// Each of theirs has its counterpart in ours, server by server and in order; and ours has no more.
fn compare_events(case: &Case, ours: &[Event], theirs: &[Event], tally: &mut Tally) {
    let mut left: Vec<&Event> = ours.iter().collect();
    for event in theirs {
        let nearest = left.iter().position(|other| other.is_near(event));
        let what = event.reason.as_deref().unwrap_or("return");
        let about = || format!("{} {what} of server {} at {:.3} s", case.id(), event.server, event.at);
        tally.check(nearest.is_some(), true, about);
        if let Some(place) = nearest {
            left.remove(place);
        }
    }
    for event in left {
        let what = event.reason.as_deref().unwrap_or("return");
        tally.fail(format!(
            "{} only ours: {what} of server {} at {:.3} s",
            case.id(),
            event.server,
            event.at
        ));
    }
}

fn compare_shares(case: &Case, world: &World, ours: &[Option<u32>], tally: &mut Tally) {
    let second = (world.rate as usize).max(1);
    let to_bad = |picks: &[Option<u32>]| {
        picks.iter().flatten().filter(|server| world.bad.contains(server)).count() as f64 / picks.len() as f64
    };
    for (number, (ours, theirs)) in ours.chunks(second).zip(world.picks.chunks(second)).enumerate() {
        let (ours, theirs) = (to_bad(ours), to_bad(theirs));
        let about = || format!("{} second {number}: {ours:.2} to bad servers, theirs {theirs:.2}", case.id());
        tally.check((ours - theirs).abs() <= SHARE_BAND, true, about);
    }
}

/// The `outlier_detection` of a cluster; what is not there has Envoy's default.
fn config_of(value: &Value) -> Result<EnvoyOutlierConfig, String> {
    let mut config = EnvoyOutlierConfig::default();
    let Some(fields) = value.as_object() else { return Err("no outlier_detection".to_owned()) };
    for (name, value) in fields {
        let number = || number(value).ok_or_else(|| format!("{name}: {value} is no number"));
        let time = || seconds(value).ok_or_else(|| format!("{name}: {value} is no duration"));
        let flag = || value.as_bool().ok_or_else(|| format!("{name}: {value} is no bool"));
        match name.as_str() {
            "consecutive_5xx" => config.consecutive_5xx = number()?,
            "interval" => config.interval = time()?,
            "base_ejection_time" => config.base_ejection_time = time()?,
            "max_ejection_time" => config.max_ejection_time = Some(time()?),
            "max_ejection_time_jitter" => config.max_ejection_time_jitter = time()?,
            "max_ejection_percent" => config.max_ejection_percent = number()?,
            "always_eject_one_host" => config.always_eject_one_host = flag()?,
            "enforcing_consecutive_5xx" => config.enforcing_consecutive_5xx = number()?,
            "enforcing_success_rate" => config.enforcing_success_rate = number()?,
            "success_rate_minimum_hosts" => config.success_rate_minimum_hosts = number()?,
            "success_rate_request_volume" => config.success_rate_request_volume = number()?,
            "success_rate_stdev_factor" => config.success_rate_stdev_factor = number()?,
            "consecutive_gateway_failure" => config.consecutive_gateway_failure = number()?,
            "enforcing_consecutive_gateway_failure" => {
                config.enforcing_consecutive_gateway_failure = number()?;
            }
            "split_external_local_origin_errors" => config.split_external_local_origin_errors = flag()?,
            "consecutive_local_origin_failure" => config.consecutive_local_origin_failure = number()?,
            "enforcing_consecutive_local_origin_failure" => {
                config.enforcing_consecutive_local_origin_failure = number()?;
            }
            "enforcing_local_origin_success_rate" => config.enforcing_local_origin_success_rate = number()?,
            "failure_percentage_threshold" => config.failure_percentage_threshold = number()?,
            "enforcing_failure_percentage" => config.enforcing_failure_percentage = number()?,
            "enforcing_failure_percentage_local_origin" => {
                config.enforcing_failure_percentage_local_origin = number()?;
            }
            "failure_percentage_minimum_hosts" => config.failure_percentage_minimum_hosts = number()?,
            "failure_percentage_request_volume" => config.failure_percentage_request_volume = number()?,
            "successful_active_health_check_uneject_host" => {
                config.successful_active_health_check_uneject_host = flag()?;
            }
            _ => return Err(format!("outlier_detection.{name} is not known")),
        }
    }
    Ok(config)
}

/// `"0.5s"`, as JSON for protocol buffers writes durations.
fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_str()?.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(number).ok()
}

/// After so many picks every rotation of that many servers and fewer is where it began.
fn lcm(a: u64, b: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (a / gcd(a, b)).saturating_mul(b).min(MOST_STARTS)
}

/// More than 60, which five servers need.
const MOST_STARTS: u64 = 2520;
