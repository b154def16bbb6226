//! The machines `envoy_outlier`, `grpc_outlier` and `nginx_fails`.

use std::collections::BTreeMap;

use evenkeel_health::outlier::envoy::{EnvoyEvent, EnvoyOutlier, EnvoyOutlierConfig, EnvoyResult};
use evenkeel_health::outlier::grpc::{GrpcEvent, GrpcOutlier, GrpcOutlierConfig};
use evenkeel_health::outlier::nginx::{NginxFails, NginxFailsConfig};
use evenkeel_scenario::{Action, Fact, Machine, Suite};
use evenkeel_types::Timestamp;

use super::outlier::numbered;

pub(crate) fn add(suite: &mut Suite) {
    suite.machine("envoy_outlier", |toml, seed| {
        let config: EnvoyOutlierConfig = toml::from_str(toml).map_err(|error| error.to_string())?;
        let detector =
            EnvoyOutlier::new(config.clone(), seed, Timestamp::ORIGIN).map_err(|error| error.to_string())?;
        Ok(Box::new(Envoy {
            config,
            detector,
            names: Names::default(),
            events: Vec::new(),
            overflow: 0,
            unenforced: 0,
        }))
    });
    suite.machine("grpc_outlier", |toml, seed| {
        let config: GrpcOutlierConfig = toml::from_str(toml).map_err(|error| error.to_string())?;
        let detector =
            GrpcOutlier::new(config.clone(), seed, Timestamp::ORIGIN).map_err(|error| error.to_string())?;
        Ok(Box::new(Grpc { config, detector, names: Names::default(), events: Vec::new() }))
    });
    suite.machine("nginx_fails", |toml, _| {
        let config: NginxFailsConfig = toml::from_str(toml).map_err(|error| error.to_string())?;
        Ok(Box::new(Nginx(NginxFails::new(config).map_err(|error| error.to_string())?)))
    });
}

#[derive(Debug, Default)]
struct Names {
    tokens: BTreeMap<String, u64>,
    next: u64,
}

impl Names {
    fn add(&mut self, action: &Action) -> Result<Vec<u64>, String> {
        let numbered = numbered(action)?;
        let names = (1..=numbered).map(|number| format!("e{number}"));
        let mut added = Vec::new();
        for name in names.chain(action.words().iter().cloned()) {
            if self.tokens.insert(name.clone(), self.next).is_some() {
                return Err(format!("{name} is there already"));
            }
            added.push(self.next);
            self.next += 1;
        }
        Ok(added)
    }

    fn remove(&mut self, action: &Action) -> Result<Vec<u64>, String> {
        action.words().iter().map(|name| self.tokens.remove(name).ok_or_else(|| unknown(name))).collect()
    }

    /// Those that are named; all of them if none is.
    fn named(&self, words: &[String]) -> Result<Vec<u64>, String> {
        if words.is_empty() {
            return Ok(self.tokens.values().copied().collect());
        }
        words.iter().map(|name| self.tokens.get(name).copied().ok_or_else(|| unknown(name))).collect()
    }

    fn name(&self, token: u64) -> &str {
        self.tokens.iter().find(|(_, other)| **other == token).map_or("gone", |(name, _)| name)
    }
}

/// Whether each request of `traffic` is a success: failures lie evenly among them.
fn spread(action: &Action) -> Result<Vec<bool>, String> {
    let whole = |key| Ok::<_, String>(action.number(key)?.unwrap_or(0.0) as u64);
    let (good, bad) = (whole("ok")?, whole("fail")?);
    let total = good + bad;
    Ok((0..total).map(|index| (index + 1) * bad / total == index * bad / total).collect())
}

#[derive(Debug)]
struct Envoy {
    config: EnvoyOutlierConfig,
    detector: EnvoyOutlier<u64>,
    names: Names,
    events: Vec<EnvoyEvent<u64>>,
    overflow: u64,
    unenforced: u64,
}

impl Envoy {
    fn put(
        &mut self,
        now: Timestamp,
        words: &[String],
        results: &[EnvoyResult],
    ) -> Result<Vec<EnvoyEvent<u64>>, String> {
        let mut events = Vec::new();
        for host in self.names.named(words)? {
            for &result in results {
                events.extend(self.detector.put(host, result, now));
            }
        }
        Ok(events)
    }
}

impl Machine for Envoy {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        let words = action.words();
        let events = match action.verb() {
            "add" => {
                self.names.add(action)?.into_iter().for_each(|host| self.detector.insert(host));
                Vec::new()
            }
            "remove" => {
                self.names.remove(action)?.into_iter().for_each(|host| self.detector.remove(host));
                Vec::new()
            }
            "status" => {
                let code = action.number("code")?.ok_or("status needs code=")? as u16;
                self.put(now, words, &[EnvoyResult::Status(code)])?
            }
            "ok" | "success" => self.put(now, words, &[EnvoyResult::Status(200)])?,
            "fail" | "failure" => self.put(now, words, &[EnvoyResult::Status(500)])?,
            "gateway" => self.put(now, words, &[EnvoyResult::Status(503)])?,
            "connect_failed" | "local" => self.put(now, words, &[EnvoyResult::ConnectFailed])?,
            "timeout" => self.put(now, words, &[EnvoyResult::Timeout])?,
            "connect_success" => self.put(now, words, &[EnvoyResult::ConnectSuccess])?,
            "connect_success_final" => self.put(now, words, &[EnvoyResult::ConnectSuccessFinal])?,
            "request_success" => self.put(now, words, &[EnvoyResult::RequestSuccess])?,
            "request_failed" => self.put(now, words, &[EnvoyResult::RequestFailed])?,
            "traffic" => {
                let code = action.number("code")?.unwrap_or(500.0) as u16;
                let of = |good| EnvoyResult::Status(if good { 200 } else { code });
                let results: Vec<EnvoyResult> = spread(action)?.into_iter().map(of).collect();
                self.put(now, words, &results)?
            }
            "sweep" | "tick" => self.detector.sweep(now),
            "run" => {
                let mut events = Vec::new();
                while self.detector.next_deadline() <= now {
                    let due = self.detector.next_deadline();
                    events.extend(self.detector.sweep(due));
                }
                events
            }
            "set" | "reload" => {
                self.config = action.changed(&self.config, &[])?;
                self.detector.set_config(self.config.clone()).map_err(|error| error.to_string())?;
                Vec::new()
            }
            "pass" => {
                let named = self.names.named(words)?;
                named.into_iter().flat_map(|host| self.detector.on_check_passed(host, now)).collect()
            }
            _ => return Err(action.unknown()),
        };
        for event in &events {
            self.overflow += u64::from(matches!(event, EnvoyEvent::Overflow { .. }));
            self.unenforced += u64::from(matches!(event, EnvoyEvent::Eject { enforced: false, .. }));
        }
        self.events = events;
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        let Some((host, fact)) = name.rsplit_once('.') else {
            return Some(match name {
                "ejected" | "out" => self.detector.ejected().into(),
                "hosts" | "endpoints" => self.detector.len().into(),
                "overflow" => self.overflow.into(),
                "unenforced" => self.unenforced.into(),
                "next_deadline" => self.detector.next_deadline().into(),
                "events" => self.events.len().into(),
                "threshold" => Fact::optional(self.detector.success_rate_threshold()),
                "clock_regressions" => self.detector.clock_regressions().into(),
                "event" => Fact::optional(self.events.last().map(|event| match *event {
                    EnvoyEvent::Eject { host, reason, enforced: true, .. } => {
                        format!("ejected:{}:{}", self.names.name(host), reason.as_str())
                    }
                    EnvoyEvent::Eject { host, reason, .. } => {
                        format!("unenforced:{}:{}", self.names.name(host), reason.as_str())
                    }
                    EnvoyEvent::Uneject { host } => format!("unejected:{}", self.names.name(host)),
                    EnvoyEvent::Overflow { host, reason } => {
                        format!("overflow:{}:{}", self.names.name(host), reason.as_str())
                    }
                })),
                _ => return None,
            });
        };
        let token = *self.names.tokens.get(host)?;
        let (ejections, backoff) = self.detector.ejections(token)?;
        Some(match fact {
            "ejected" | "out" => self.detector.is_ejected(token).into(),
            "in" => (!self.detector.is_ejected(token)).into(),
            "ejections" | "times_ejected" => ejections.into(),
            "multiplier" | "backoff" | "level" => backoff.into(),
            "due" | "until" => Fact::optional(self.detector.due(token)),
            _ => return None,
        })
    }
}

#[derive(Debug)]
struct Grpc {
    config: GrpcOutlierConfig,
    detector: GrpcOutlier<u64>,
    names: Names,
    events: Vec<GrpcEvent<u64>>,
}

impl Grpc {
    fn put(&mut self, words: &[String], calls: &[bool]) -> Result<(), String> {
        for address in self.names.named(words)? {
            for &good in calls {
                if good {
                    self.detector.record_success(address);
                } else {
                    self.detector.record_failure(address);
                }
            }
        }
        Ok(())
    }
}

impl Machine for Grpc {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        let words = action.words();
        self.events.clear();
        match action.verb() {
            "add" => self.names.add(action)?.into_iter().for_each(|address| self.detector.insert(address)),
            "remove" => {
                self.names.remove(action)?.into_iter().for_each(|address| self.detector.remove(address));
            }
            "ok" | "success" => self.put(words, &[true])?,
            "fail" | "failure" => self.put(words, &[false])?,
            "traffic" => self.put(words, &spread(action)?)?,
            "sweep" | "tick" => self.events = self.detector.sweep(now),
            "run" => {
                while self.detector.next_deadline() <= now {
                    let due = self.detector.next_deadline();
                    let events = self.detector.sweep(due);
                    self.events.extend(events);
                }
            }
            "set" | "reload" | "switch_off" => {
                self.config = match action.verb() {
                    "switch_off" => GrpcOutlierConfig::default(),
                    _ => action.changed(&self.config, &[])?,
                };
                let config = self.config.clone();
                self.events = self.detector.set_config(config, now).map_err(|error| error.to_string())?;
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        let Some((address, fact)) = name.rsplit_once('.') else {
            return Some(match name {
                "ejected" | "out" => self.detector.ejected().into(),
                "addresses" | "endpoints" => self.detector.len().into(),
                "next_deadline" => self.detector.next_deadline().into(),
                "events" => self.events.len().into(),
                "threshold" => {
                    Fact::optional(self.detector.success_rate_threshold().map(|rate| rate * 100.0))
                }
                "clock_regressions" => self.detector.clock_regressions().into(),
                "event" => Fact::optional(self.events.last().map(|event| match *event {
                    GrpcEvent::SuccessRate(address) => {
                        format!("ejected:{}:success_rate", self.names.name(address))
                    }
                    GrpcEvent::FailurePercentage(address) => {
                        format!("ejected:{}:failure_percentage", self.names.name(address))
                    }
                    GrpcEvent::Uneject(address) => format!("unejected:{}", self.names.name(address)),
                })),
                _ => return None,
            });
        };
        let token = *self.names.tokens.get(address)?;
        Some(match fact {
            "ejected" | "out" => self.detector.is_ejected(token).into(),
            "in" => (!self.detector.is_ejected(token)).into(),
            "multiplier" | "backoff" | "level" => self.detector.multiplier(token)?.into(),
            _ => return None,
        })
    }
}

#[derive(Debug)]
struct Nginx(NginxFails);

impl Machine for Nginx {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "pick" => {
                if !self.0.is_usable(now) {
                    return Err("it is skipped: it cannot be picked".to_owned());
                }
                self.0.on_pick(now);
            }
            "ok" | "success" => {
                self.0.on_success(now);
            }
            "fail" | "failure" => {
                self.0.on_failure(now);
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "usable" | "up" => self.0.is_usable(now).into(),
            "skipped" | "down" => (!self.0.is_usable(now)).into(),
            "skipped_until" => Fact::optional(self.0.skipped_until(now)),
            "fails" => self.0.fails().into(),
            "clock_regressions" => self.0.clock_regressions().into(),
            _ => return None,
        })
    }
}

fn unknown(name: &str) -> String {
    format!("there is no endpoint {name}")
}
