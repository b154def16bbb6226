use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_limit::{
    LimitChange, LimitConfig, Limiter, PartitionId, PartitionToken, Partitions, PartitionsConfig, Sample,
    Token,
};
use evenkeel_scenario::{Action, Crowd, Fact, Machine};
use evenkeel_types::{Outcome, Timestamp};

use super::{Tally, make, optional, outcome, whole};

type Held = (Arc<Limiter>, Token);

pub(crate) struct Limit {
    config: LimitConfig,
    limiter: Arc<Limiter>,
    /// Each with the limiter that it ends at: that of its beginning.
    tokens: BTreeMap<String, VecDeque<Held>>,
    tally: Tally,
    hint: Option<Duration>,
    change: Option<LimitChange>,
    /// Held at once by the last crowd.
    most: u64,
}

impl Limit {
    pub(crate) fn new(config: &str, seed: u64) -> Result<Self, String> {
        let config: LimitConfig = match config.trim() {
            "" => LimitConfig::default(),
            config => toml::from_str(config).map_err(|error| error.to_string())?,
        };
        let limiter = Limiter::new(&config, seed).map_err(|error| error.to_string())?;
        let tally = Tally::default();
        let limiter = Arc::new(limiter);
        Ok(Self { config, limiter, most: 0, tokens: BTreeMap::new(), tally, hint: None, change: None })
    }

    fn acquire(&mut self, now: Timestamp) -> Option<Held> {
        let result = self.limiter.try_acquire(now);
        self.hint = result.as_ref().err().and_then(|refusal| refusal.retry_hint);
        self.tally.note(result).map(|token| (Arc::clone(&self.limiter), token))
    }

    fn keep(&mut self, name: &str, held: Held) {
        self.tokens.entry(name.into()).or_default().push_back(held);
    }

    /// A fixed limit, or the algorithm of that name with these settings.
    fn reconfigure(&mut self, action: &Action) -> Result<(), String> {
        let config = match action.bare(0) {
            None => LimitConfig::fixed(whole(action, "limit")?.ok_or("reconfigure needs limit=")?),
            Some(algorithm) => {
                let settings = action.settings().map(|(key, value)| (key.to_owned(), value)).collect();
                let table = toml::Table::from_iter([(algorithm.to_owned(), toml::Value::Table(settings))]);
                table.try_into().map_err(|error: toml::de::Error| error.to_string())?
            }
        };
        self.succeed(config)
    }

    fn succeed(&mut self, config: LimitConfig) -> Result<(), String> {
        let next = self.limiter.successor(&config, 1).map_err(|error| error.to_string())?;
        self.limiter = Arc::new(next);
        self.config = config;
        Ok(())
    }

    /// Many threads at once, whose outcomes take turns.
    fn crowd(&mut self, action: &Action, now: Timestamp) -> Result<(), String> {
        let crowd = Crowd::read(action)?.ok_or_else(|| action.unknown())?;
        let latency = action.duration("latency")?;
        let outcomes = super::outcomes(action)?;
        let ask = || self.limiter.try_acquire(now).ok();
        let end = |token: Token, number: u32| {
            let outcome = outcomes[number as usize % outcomes.len()];
            let outcome = latency.map_or(outcome, |latency| outcome.with_latency(latency));
            // What the limit is at the end is a fact; on the way there it is a race.
            let _ = self.limiter.release(token, &outcome, now);
        };
        let told = crowd.run(ask, end);
        self.tally.crowd(told);
        self.most = told.most;
        Ok(())
    }

    fn token(&mut self, action: &Action) -> Result<Held, String> {
        let name = action.bare(0).unwrap_or("");
        let token = self.tokens.get_mut(name).and_then(VecDeque::pop_front);
        token.ok_or_else(|| format!("{name:?} holds no slot"))
    }

    fn release(
        &mut self,
        (limiter, token): Held,
        outcome: Outcome,
        action: &Action,
        now: Timestamp,
    ) -> Result<(), String> {
        let outcome = match action.duration("latency")? {
            Some(latency) => outcome.with_latency(latency),
            None => outcome,
        };
        self.change = limiter.release(token, &outcome, now);
        Ok(())
    }
}

impl Machine for Limit {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        self.change = None;
        match action.verb() {
            "acquire" | "begin" => {
                let name = action.bare(0).unwrap_or("");
                if let Some(held) = self.acquire(now) {
                    self.keep(name, held);
                }
            }
            "bypass" => {
                self.keep(action.name(0)?, (Arc::clone(&self.limiter), Token::bypass()));
            }
            "call" => {
                let how = outcome(action.text("outcome").unwrap_or("ok")).ok_or("call: no such outcome")?;
                if let Some(token) = self.acquire(now) {
                    self.release(token, how, action, now)?;
                } else {
                    let _ = action.duration("latency")?;
                }
            }
            "sample" => {
                let latency = action.duration("latency")?.ok_or("sample needs latency=")?;
                let ago = action.duration("started_ago")?.unwrap_or(latency);
                let dropped = match action.bare(0) {
                    None => false,
                    Some("dropped" | "drop") => true,
                    Some(word) => return Err(format!("sample: {word:?} is not dropped")),
                };
                let in_flight = whole(action, "in_flight")?.unwrap_or(1);
                let sample = Sample { started: now.saturating_sub(ago), latency, in_flight, dropped };
                self.change = self.limiter.observe(&sample, now);
            }
            "give_back" | "abandon" | "lose" => {
                let (limiter, token) = self.token(action)?;
                limiter.give_back(token);
            }
            "set_limit" => {
                let limit = whole(action, "to")?.ok_or("set_limit needs to=")?;
                self.change = self.limiter.set_limit(limit).map_err(|error| error.to_string())?;
            }
            "reconfigure" => {
                self.reconfigure(action)?;
            }
            "set" | "reload" => {
                let config = action.changed(&self.config, &[])?;
                self.succeed(config)?;
            }
            "parallel" | "together" => self.crowd(action, now)?,
            "tick" => self.change = self.limiter.tick(now),
            "release" => {
                let how =
                    outcome(action.text("outcome").unwrap_or("ok")).ok_or("release: no such outcome")?;
                let token = self.token(action)?;
                self.release(token, how, action, now)?;
            }
            verb => {
                let how = outcome(verb).ok_or_else(|| action.unknown())?;
                let token = self.token(action)?;
                self.release(token, how, action, now)?;
            }
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "limit" => self.limiter.limit().into(),
            "in_flight" => self.limiter.in_flight().into(),
            "full" | "saturated" => self.limiter.peek().is_err().into(),
            "retry_hint" => optional(self.hint),
            "changed" => self.change.is_some().into(),
            "from" => optional(self.change.map(|change| change.from)),
            "to" => optional(self.change.map(|change| change.to)),
            "baseline" => optional(self.limiter.baseline()),
            "most" => self.most.into(),
            "measuring" => self.limiter.is_measuring().into(),
            "next_deadline" => optional(self.limiter.next_deadline()),
            _ => return self.tally.fact(name),
        })
    }
}

pub(crate) struct Parts {
    partitions: Partitions,
    tokens: BTreeMap<String, VecDeque<PartitionToken>>,
    tally: Tally,
    most: u64,
}

impl Parts {
    pub(crate) fn new(config: &str, seed: u64) -> Result<Self, String> {
        let partitions = make(config, |config: &PartitionsConfig| Partitions::new(config, seed))?;
        Ok(Self { partitions, tokens: BTreeMap::new(), tally: Tally::default(), most: 0 })
    }

    fn find(&self, name: &str) -> PartitionId {
        self.partitions.find(name).unwrap_or_else(|| self.partitions.others())
    }

    fn token(&mut self, action: &Action) -> Result<PartitionToken, String> {
        let name = action.name(0)?;
        let token = self.tokens.get_mut(name).and_then(VecDeque::pop_front);
        token.ok_or_else(|| format!("{name:?} holds no slot"))
    }
}

impl Machine for Parts {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "acquire" | "begin" => {
                let name = action.name(0)?;
                let result = self.partitions.try_acquire(self.find(name), now);
                if let Some(token) = self.tally.note(result) {
                    self.tokens.entry(name.into()).or_default().push_back(token);
                }
            }
            "give_back" | "abandon" | "lose" => {
                let token = self.token(action)?;
                self.partitions.give_back(token);
            }
            "parallel" | "together" => {
                let crowd = Crowd::read(action)?.ok_or_else(|| action.unknown())?;
                let id = self.find(action.name(0)?);
                let ask = || self.partitions.try_acquire(id, now).ok();
                let told = crowd.run(ask, |token, _| {
                    let _ = self.partitions.release(token, &Outcome::success(), now);
                });
                self.tally.crowd(told);
                self.most = told.most;
            }
            "set_limit" => {
                let limit = whole(action, "to")?.ok_or("set_limit needs to=")?;
                self.partitions.limiter().set_limit(limit).map_err(|error| error.to_string())?;
            }
            verb => {
                let verb = if verb == "release" { "ok" } else { verb };
                let how = outcome(verb).ok_or_else(|| action.unknown())?;
                let token = self.token(action)?;
                self.partitions.release(token, &how, now);
            }
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        let limiter = self.partitions.limiter();
        Some(match (name, name.rsplit_once('.')) {
            ("limit", _) => limiter.limit().into(),
            ("in_flight", _) => limiter.in_flight().into(),
            ("most", _) => self.most.into(),
            ("full" | "saturated", _) => limiter.peek().is_err().into(),
            (_, Some((part, "in_flight"))) => self.partitions.count(self.find(part)).0.into(),
            (_, Some((part, "promised" | "limit"))) => self.partitions.count(self.find(part)).1.into(),
            _ => return self.tally.fact(name),
        })
    }
}
