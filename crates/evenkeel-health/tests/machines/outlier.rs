//! The machine `outlier`.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_health::CheckResult;
use evenkeel_health::outlier::{
    EjectionReason, OutlierChange, OutlierConfig, OutlierCounters, OutlierDetector, OutlierRules,
    OutlierState, Refusal,
};
use evenkeel_scenario::{Action, Fact, Machine, Suite};
use evenkeel_types::{Origin, Outcome, Timestamp};

pub(crate) fn add(suite: &mut Suite) {
    suite.machine("outlier", |toml, seed| {
        let config: OutlierConfig = toml::from_str(toml).map_err(|error| error.to_string())?;
        let rules = Arc::new(OutlierRules::new(config).map_err(|error| error.to_string())?);
        Ok(Box::new(Cluster {
            detector: OutlierDetector::new(Arc::clone(&rules), seed, Timestamp::ORIGIN),
            rules,
            endpoints: BTreeMap::new(),
            changes: Vec::new(),
            token: 0,
        }))
    });
}

#[derive(Debug)]
struct Cluster {
    detector: OutlierDetector<u64>,
    rules: Arc<OutlierRules>,
    endpoints: BTreeMap<String, (u64, Arc<OutlierCounters>)>,
    /// Of the last action that made any.
    changes: Vec<OutlierChange<u64>>,
    token: u64,
}

impl Machine for Cluster {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        let changes = match action.verb() {
            "add" => self.insert(now, action)?,
            "remove" => {
                let mut changes = Vec::new();
                for name in action.words() {
                    let (token, _) = self.endpoints.remove(name).ok_or_else(|| unknown(name))?;
                    changes.extend(self.detector.remove(token, now));
                }
                changes
            }
            "ok" | "success" => self.requests(now, action, Outcome::success())?,
            "fail" | "failure" => self.requests(now, action, Outcome::failure())?,
            "gateway" => self.requests(now, action, Outcome::failure().with_origin(Origin::Gateway))?,
            "local" => self.requests(now, action, Outcome::failure().with_origin(Origin::Local))?,
            "overload" => self.requests(now, action, Outcome::overload(None))?,
            "neutral" => self.requests(now, action, Outcome::neutral())?,
            "traffic" => self.traffic(now, action)?,
            "sweep" | "tick" => self.detector.sweep(now),
            "run" => self.run(now),
            "pass" => self.check(now, action, CheckResult::Pass)?,
            "miss" => self.check(now, action, CheckResult::Fail)?,
            "usable" => self.set_usable(action, true)?,
            "unusable" => self.set_usable(action, false)?,
            "set" | "reload" => self.set(now, action)?,
            _ => return Err(action.unknown()),
        };
        self.changes = changes;
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        let Some((endpoint, fact)) = name.rsplit_once('.') else { return self.of_all(name) };
        let (token, counters) = self.endpoints.get(endpoint)?;
        let status = self.detector.status(*token)?;
        let (run, gateway, local) = counters.runs();
        let (requests, failures) = counters.requests();
        Some(match fact {
            "ejected" | "out" => (status.state == OutlierState::Ejected).into(),
            "in" => (status.state == OutlierState::In).into(),
            "probation" => (status.state == OutlierState::Probation).into(),
            "ramp" => (status.state == OutlierState::Ramp).into(),
            "state" => match status.state {
                OutlierState::In => "in",
                OutlierState::Ejected => "ejected",
                OutlierState::Probation => "probation",
                OutlierState::Ramp => "ramp",
            }
            .into(),
            "factor" | "weight" => self.detector.factor(*token, now).into(),
            "reason" => Fact::optional(status.ejection.map(|ejection| ejection.reason.as_str())),
            "since" => Fact::optional(status.ejection.map(|ejection| ejection.since)),
            "duration" => Fact::optional(status.ejection.map(|ejection| ejection.duration())),
            "until" => Fact::optional(status.until),
            "times_ejected" | "ejections" => status.times_ejected.into(),
            "level" => status.level.into(),
            "refused" => Fact::optional(status.refused.map(|(_, by)| by.as_str())),
            "refused_reason" => Fact::optional(status.refused.map(|(reason, _)| reason.as_str())),
            "run" => u32::from(run).into(),
            "gateway_run" => u32::from(gateway).into(),
            "local_run" => u32::from(local).into(),
            "requests" => requests.into(),
            "failures" => failures.into(),
            _ => return None,
        })
    }
}

impl Cluster {
    fn insert(&mut self, now: Timestamp, action: &Action) -> Result<Vec<OutlierChange<u64>>, String> {
        let numbered = numbered(action)?;
        let names = (1..=numbered).map(|number| format!("e{number}"));
        for name in names.chain(action.words().iter().cloned()) {
            let counters = Arc::new(OutlierCounters::new());
            self.detector.insert(self.token, Arc::clone(&counters), now);
            if self.endpoints.insert(name.clone(), (self.token, counters)).is_some() {
                return Err(format!("{name} is there already"));
            }
            self.token += 1;
        }
        Ok(Vec::new())
    }

    /// The endpoints that are named; all of them if none is.
    fn named(&self, action: &Action) -> Result<Vec<(u64, Arc<OutlierCounters>)>, String> {
        if action.words().is_empty() {
            return Ok(self.endpoints.values().cloned().collect());
        }
        action
            .words()
            .iter()
            .map(|name| self.endpoints.get(name).cloned().ok_or_else(|| unknown(name)))
            .collect()
    }

    fn requests(
        &mut self,
        now: Timestamp,
        action: &Action,
        outcome: Outcome,
    ) -> Result<Vec<OutlierChange<u64>>, String> {
        let latency = action.duration("latency")?;
        let outcome = latency.map_or(outcome, |latency| outcome.with_latency(latency));
        let mut changes = Vec::new();
        for (token, counters) in self.named(action)? {
            changes.extend(self.request(now, token, &counters, &outcome));
        }
        Ok(changes)
    }

    fn request(
        &mut self,
        now: Timestamp,
        token: u64,
        counters: &OutlierCounters,
        outcome: &Outcome,
    ) -> Vec<OutlierChange<u64>> {
        let suspicion = counters.record(outcome, &self.rules);
        suspicion.map_or_else(Vec::new, |suspicion| self.detector.suspect(token, suspicion, now))
    }

    /// Failures lie evenly among the successes.
    fn traffic(&mut self, now: Timestamp, action: &Action) -> Result<Vec<OutlierChange<u64>>, String> {
        let whole = |key| Ok::<_, String>(action.number(key)?.unwrap_or(0.0) as u64);
        let (good, bad, local) = (whole("ok")?, whole("fail")?, whole("local")?);
        let latency = action.duration("latency")?;
        let success = latency.map_or(Outcome::success(), |latency| Outcome::success().with_latency(latency));
        let total = good + bad + local;
        let mut changes = Vec::new();
        for (token, counters) in self.named(action)? {
            for index in 0..total {
                let due = |part: u64| (index + 1) * part / total > index * part / total;
                let outcome = if due(bad + local) {
                    let failed = (index + 1) * (bad + local) / total;
                    let is_local = failed * local / (bad + local) > (failed - 1) * local / (bad + local);
                    let failure = Outcome::failure();
                    if is_local { failure.with_origin(Origin::Local) } else { failure }
                } else {
                    success
                };
                changes.extend(self.request(now, token, &counters, &outcome));
            }
        }
        Ok(changes)
    }

    /// Sweeps at every deadline until now.
    fn run(&mut self, now: Timestamp) -> Vec<OutlierChange<u64>> {
        let mut changes = Vec::new();
        while self.detector.next_deadline() <= now {
            let due = self.detector.next_deadline();
            changes.extend(self.detector.sweep(due));
        }
        changes
    }

    fn check(
        &mut self,
        now: Timestamp,
        action: &Action,
        result: CheckResult,
    ) -> Result<Vec<OutlierChange<u64>>, String> {
        let named = self.named(action)?;
        Ok(named.into_iter().flat_map(|(token, _)| self.detector.on_check(token, result, now)).collect())
    }

    fn set_usable(&mut self, action: &Action, usable: bool) -> Result<Vec<OutlierChange<u64>>, String> {
        for (token, _) in self.named(action)? {
            self.detector.set_usable(token, usable);
        }
        Ok(Vec::new())
    }

    fn set(&mut self, now: Timestamp, action: &Action) -> Result<Vec<OutlierChange<u64>>, String> {
        let config = self.rules.config();
        // `on` is what it was before, or by default.
        let brake = match action.text("brake") {
            None => config.brake,
            Some("off") => None,
            Some("on") => Some(config.brake.or(OutlierConfig::default().brake).unwrap_or_default()),
            Some(other) => return Err(format!("brake={other}: on or off")),
        };
        let config = action.changed(&OutlierConfig { brake, ..config.clone() }, &SHORT)?;
        self.rules = Arc::new(OutlierRules::new(config).map_err(|error| error.to_string())?);
        Ok(self.detector.set_rules(Arc::clone(&self.rules), now))
    }

    fn of_all(&self, name: &str) -> Option<Fact> {
        let totals = self.detector.totals();
        let config = self.rules.config();
        Some(match name {
            "ejected" | "out" => self.detector.ejected().into(),
            "endpoints" => self.detector.len().into(),
            "remaining" => (self.detector.len() - self.detector.ejected()).into(),
            "allowed" => config.caps.allowed(self.detector.len()).into(),
            "braked" => self.detector.braked_until().is_some().into(),
            "braked_until" => Fact::optional(self.detector.braked_until()),
            "ejections" => totals.ejections.into(),
            "refused_by_caps" => totals.refused_by_caps.into(),
            "refused_by_brake" => totals.refused_by_brake.into(),
            "refusals" => (totals.refused_by_caps + totals.refused_by_brake).into(),
            "brakes" => totals.braked.into(),
            "clock_regressions" => totals.clock_regressions.into(),
            "next_deadline" => self.detector.next_deadline().into(),
            "event" => Fact::optional(self.changes.last().map(|change| self.text(change))),
            "events" => self.changes.len().into(),
            _ => return None,
        })
    }

    fn text(&self, change: &OutlierChange<u64>) -> String {
        let name = |token: u64| {
            let found = self.endpoints.iter().find(|(_, (other, _))| *other == token);
            found.map_or_else(|| "gone".to_owned(), |(name, _)| name.clone())
        };
        match *change {
            OutlierChange::Ejected { token, ejection } => {
                format!("ejected:{}:{}", name(token), EjectionReason::as_str(ejection.reason))
            }
            OutlierChange::Probation { token, .. } => format!("probation:{}", name(token)),
            OutlierChange::Returned { token, .. } => format!("returned:{}", name(token)),
            OutlierChange::Ramped { token } => format!("ramped:{}", name(token)),
            OutlierChange::Refused { token, by, .. } => {
                format!("refused:{}:{}", name(token), Refusal::as_str(by))
            }
            OutlierChange::Braked { .. } => "braked".to_owned(),
            OutlierChange::BrakeReleased => "brake_released".to_owned(),
        }
    }
}

/// Settings of tables, by their own names.
const SHORT: [(&str, &str); 7] = [
    ("max_ejected", "caps.max_ejected"),
    ("max_ejected_ratio", "caps.max_ejected_ratio"),
    ("min_remaining", "caps.min_remaining"),
    ("at_least_one", "caps.at_least_one"),
    ("base", "ejection.base"),
    ("max", "ejection.max"),
    ("growth", "ejection.growth"),
];

/// How many endpoints `add` makes that get their names here. Without that it needs some.
pub(crate) fn numbered(action: &Action) -> Result<u64, String> {
    match action.number("n")? {
        Some(count) => Ok(count as u64),
        None if action.words().is_empty() => Err("add needs names, or n=".to_owned()),
        None => Ok(0),
    }
}

fn unknown(name: &str) -> String {
    format!("there is no endpoint {name}")
}
