use std::collections::BTreeMap;

use evenkeel_health::{ActiveCheck, CheckChange, CheckConfig, CheckResult, CheckState, Probe, StartOffset};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::{SplitMix64, Timestamp};

use super::{settings, snake};

/// The settings of the check, and where it stands among its peers.
#[derive(serde::Deserialize)]
struct Settings {
    #[serde(default)]
    place: Option<u32>,
    #[serde(default)]
    of: Option<u32>,
    #[serde(flatten)]
    check: toml::Table,
}

#[derive(Debug)]
struct Check {
    check: ActiveCheck,
    probes: BTreeMap<String, Probe>,
    change: Option<CheckChange>,
    begun: bool,
}

pub(crate) fn make(config: &str, seed: u64) -> Result<Box<dyn Machine>, String> {
    let Settings { place, of, check } = settings(config)?;
    let config: CheckConfig = check.try_into().map_err(|error: toml::de::Error| error.to_string())?;
    let offset = match (place, of) {
        (None, None) => StartOffset::Drawn,
        (place, of) => StartOffset::Even { place: place.unwrap_or(0), of: of.unwrap_or(1) },
    };
    let check = ActiveCheck::starting_at(config, offset, Timestamp::ORIGIN, &mut SplitMix64::new(seed))
        .map_err(|error| error.to_string())?;
    Ok(Box::new(Check { check, probes: BTreeMap::new(), change: None, begun: false }))
}

fn result(word: &str) -> Option<CheckResult> {
    Some(match word {
        "pass" | "ok" | "success" => CheckResult::Pass,
        "degraded" | "pass_degraded" => CheckResult::Degraded,
        "fail" | "failure" | "timeout" => CheckResult::Fail,
        "fail_at_once" | "immediate" | "unhealthy" => CheckResult::FailAtOnce,
        _ => return None,
    })
}

impl Check {
    fn probe(&self, name: &str) -> Result<Probe, String> {
        self.probes.get(name).copied().ok_or_else(|| format!("there is no probe {name}"))
    }

    /// Other settings; what is not named stays.
    fn set(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        let short = [("rise", "thresholds.rise"), ("fall", "thresholds.fall"), ("start", "thresholds.start")];
        let config = action.changed(self.check.config(), &short)?;
        self.change = self.check.set_config(config, now).map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Machine for Check {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        self.change = None;
        self.begun = false;
        match (action.verb(), result(action.verb())) {
            (_, Some(result)) => {
                self.change = match action.bare(0) {
                    None => self.check.on_result(now, result),
                    // As other machines end a permit: by its outcome and its name.
                    Some(name) => self.check.finish(self.probe(name)?, now, result),
                }
            }
            ("begin" | "start", _) => {
                if let Some(probe) = self.check.start(now) {
                    self.begun = true;
                    self.probes.insert(action.bare(0).unwrap_or("probe").to_owned(), probe);
                }
            }
            ("finish" | "report", _) => {
                let probe = self.probe(action.name(0)?)?;
                let word = action.bare(1).or(action.text("result")).ok_or("finish needs a result")?;
                let result = result(word).ok_or_else(|| format!("{word:?} is no result"))?;
                self.change = self.check.finish(probe, now, result);
            }
            ("good" | "request_ok", _) => self.change = self.check.on_request(now, true),
            ("error" | "bad" | "request_failed", _) => self.change = self.check.on_request(now, false),
            ("traffic" | "request", _) => self.check.on_traffic(now),
            ("set" | "reload", _) => self.set(now, action)?,
            ("restart", _) => self.change = self.check.restart(now),
            ("tick", _) => self.change = self.check.tick(now),
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        let state = self.check.state(now);
        let next = self.check.next_deadline();
        if let Some(probe) = name.strip_prefix("give_up_at.") {
            return Some(Fact::optional(self.probes.get(probe).map(|probe| probe.give_up_at())));
        }
        Some(match name {
            "unknown" => (state == CheckState::Unknown).into(),
            "starting" => (state == CheckState::Starting).into(),
            "up" => (state == CheckState::Up).into(),
            "degraded" => (state == CheckState::Degraded).into(),
            "down" => (state == CheckState::Down).into(),
            "state" => snake(state).into(),
            "usable" => state.is_usable().into(),
            "healthy" => matches!(state, CheckState::Up | CheckState::Degraded).into(),
            "due" => self.check.due(now).into(),
            "begun" | "started" => self.begun.into(),
            "in_startup" => self.check.is_starting().into(),
            "clock_regressions" => self.check.clock_regressions().into(),
            "changed" => self.change.is_some().into(),
            "event" | "to" => Fact::optional(self.change.map(|change| snake(change.after))),
            "from" => Fact::optional(self.change.map(|change| snake(change.before))),
            "deadline" | "next_deadline" | "next_check" => next.into(),
            "wait" => next.saturating_since(now).into(),
            _ => return None,
        })
    }
}
