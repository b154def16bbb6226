//! The machine `breaker_set`.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_breaker::{Breaker, BreakerSet, BreakerSetConfig, Force, Got, Owner, Refusal, State};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::{Outcome, Timestamp};

use super::{refusal_word, state_word};

pub(crate) struct SetMachine {
    breakers: BreakerSet<String>,
    held: BTreeMap<String, Arc<Breaker>>,
    created: bool,
    kept: bool,
    evicted: Option<(String, State)>,
    refused: Option<Refusal>,
}

impl SetMachine {
    pub(crate) fn read(config: &str) -> Result<Self, String> {
        let config: BreakerSetConfig = toml::from_str(config).map_err(|error| error.to_string())?;
        let breakers = BreakerSet::new(&config).map_err(|error| error.to_string())?;
        Ok(Self { breakers, held: BTreeMap::new(), created: false, kept: true, evicted: None, refused: None })
    }

    fn get(&mut self, key: &str, now: Timestamp) -> Arc<Breaker> {
        let Got { breaker, created, kept, evicted } = self.breakers.get(key, now);
        self.created = created;
        self.kept = kept;
        self.evicted = evicted.map(|evicted| (evicted.key, evicted.state));
        breaker
    }

    fn request(&mut self, key: &str, outcome: &Outcome, now: Timestamp) {
        let breaker = self.get(key, now);
        match breaker.try_acquire(now) {
            Ok(admission) => drop(breaker.record(admission.permit, outcome, now)),
            Err(refusal) => self.refused = Some(refusal),
        }
    }
}

impl Machine for SetMachine {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        self.refused = None;
        let key = action.name(0)?.to_owned();
        match action.verb() {
            "get" => drop(self.get(&key, now)),
            "hold" => {
                let breaker = self.get(&key, now);
                self.held.insert(key, breaker);
            }
            "let_go" => drop(self.held.remove(&key)),
            "remove" => drop(self.breakers.remove(&key)),
            "acquire" | "ask" => {
                let breaker = self.get(&key, now);
                match breaker.try_acquire(now) {
                    Ok(admission) => drop(breaker.release(admission.permit, now)),
                    Err(refusal) => self.refused = Some(refusal),
                }
            }
            "ok" | "success" => self.request(&key, &Outcome::success(), now),
            "fail" | "failure" => self.request(&key, &Outcome::failure(), now),
            "overload" => {
                let outcome = Outcome::overload(action.duration("retry_after")?);
                self.request(&key, &outcome, now);
            }
            "neutral" | "ignored" => self.request(&key, &Outcome::neutral(), now),
            "tick" => drop(self.get(&key, now).tick(now)),
            "reset" => drop(self.get(&key, now).reset(now)),
            "force_open" => {
                let limit = action.duration("for")?;
                let breaker = self.get(&key, now);
                breaker.force(Force::Open, Owner::UNNAMED, limit, now).map_err(|error| error.to_string())?;
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name.split_once('.') {
            None => match name {
                "size" => Fact::from(self.breakers.len()),
                "created" => Fact::from(self.created),
                "kept" => Fact::from(self.kept),
                "evicted" => Fact::optional(self.evicted.as_ref().map(|(key, _)| key.as_str())),
                "evicted_state" => Fact::optional(self.evicted.as_ref().map(|(_, state)| state_word(*state))),
                "refused" => Fact::optional(self.refused.map(|refusal| refusal_word(refusal.reason))),
                "retry_at" => Fact::optional(self.refused.and_then(|refusal| refusal.retry_at)),
                _ => return None,
            },
            Some((key, "present")) => Fact::from(self.breakers.find(key).is_some()),
            Some((key, fact)) => {
                let Some(breaker) = self.breakers.find(key) else { return Some(Fact::None) };
                let stats = breaker.stats(now);
                match fact {
                    "state" => Fact::from(state_word(stats.state)),
                    "closed" | "open" | "half_open" | "forced_open" | "disabled" | "dry_run" => {
                        Fact::from(state_word(stats.state) == fact)
                    }
                    "row" => Fact::from(stats.failures_in_row),
                    "failures" => Fact::from(stats.window_failures),
                    "requests" => Fact::from(stats.window_requests),
                    "opened" => Fact::from(stats.times_opened),
                    _ => return None,
                }
            }
        })
    }
}
