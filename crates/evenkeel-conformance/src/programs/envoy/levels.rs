//! Measured shares of priority levels, in and out of panic: compared within a band, since the level of each request is
//! drawn.

use evenkeel_balance::compat::envoy::{LevelLoad, priority_loads};
use serde_json::Value;

use super::cluster::{Health, entries, flag, level_health, number, panic_threshold, priority_of};
use crate::{Case, Tally};

/// Hosts of one level with one health mark, and what they got.
struct Group {
    priority: usize,
    health: Health,
    hosts: u32,
    requests: u64,
}

/// Checks the share of each group. `None` if the case lists no such counts.
pub(super) fn replay(case: &Case, tally: &mut Tally) -> Option<()> {
    let total = case.0["requests"].as_u64()? as f64;
    let groups = groups_of(case)?;
    let config = &case.0["config"];
    let overprovisioning = number(&case.0["overprovisioning_factor"]).unwrap_or(140);
    let health = level_health(groups.iter().map(|group| (group.priority, group.health, group.hosts)));
    let loads = priority_loads(&health, overprovisioning, panic_threshold(config));
    let has_table = matches!(config["lb_policy"].as_str(), Some("RING_HASH" | "MAGLEV"));
    let fails =
        !has_table && flag(&config["common_lb_config"]["zone_aware_lb_config"], "fail_traffic_on_panic");
    for group in &groups {
        let load = loads[group.priority];
        let ours = if fails && load.in_panic { 0.0 } else { share_of(group, load, &groups) };
        let theirs = group.requests as f64 / total * 100.0;
        let what = || format!("{} level {}: {ours:.1} %, theirs {theirs:.1} %", case.id(), group.priority);
        tally.check((ours - theirs).abs() <= band(ours, total), true, what);
    }
    Some(())
}

/// How far a share may be off, in percent: three and a half deviations of as many draws, and a tenth for rounding.
fn band(percent: f64, draws: f64) -> f64 {
    3.5 * (percent * (100.0 - percent) / draws).sqrt() + 0.1
}

/// The percentage of all requests that a group gets.
fn share_of(group: &Group, load: LevelLoad, groups: &[Group]) -> f64 {
    if load.in_panic {
        let level = groups.iter().filter(|other| other.priority == group.priority);
        let hosts: u32 = level.map(|other| other.hosts).sum();
        return f64::from(load.healthy) * f64::from(group.hosts) / f64::from(hosts.max(1));
    }
    match group.health {
        Health::Healthy => load.healthy.into(),
        Health::Degraded => load.degraded.into(),
        Health::Unhealthy | Health::Draining => 0.0,
    }
}

fn groups_of(case: &Case) -> Option<Vec<Group>> {
    match &case.0["counts"] {
        Value::Array(groups) => groups.iter().map(group_of).collect(),
        Value::Object(counts) => {
            let entries = entries(&case.0["config"]);
            let mut groups: Vec<Group> = Vec::new();
            for (index, (level, entry)) in entries.iter().enumerate() {
                let priority = priority_of(level);
                let health = Health::of(entry["health_status"].as_str());
                let requests = counts.get(&index.to_string()).and_then(Value::as_u64).unwrap_or(0);
                let same =
                    groups.iter_mut().find(|group| group.priority == priority && group.health == health);
                match same {
                    Some(group) => {
                        group.hosts += 1;
                        group.requests += requests;
                    }
                    None => groups.push(Group { priority, health, hosts: 1, requests }),
                }
            }
            Some(groups)
        }
        _ => None,
    }
}

fn group_of(value: &Value) -> Option<Group> {
    Some(Group {
        priority: value["priority"].is_u64().then(|| priority_of(value))?,
        health: Health::of(value["health"].as_str()),
        hosts: number(&value["hosts"])?,
        requests: value["requests"].as_u64()?,
    })
}
