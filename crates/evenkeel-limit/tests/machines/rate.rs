use evenkeel_limit::{KeyedRate, KeyedRateConfig, Let, RateConfig, RateLimit};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::Timestamp;

use super::{Tally, make, optional, whole};

pub(crate) struct Rate {
    rate: RateLimit,
    tally: Tally,
    retry_at: Option<Timestamp>,
}

impl Rate {
    pub(crate) fn new(config: &str) -> Result<Self, String> {
        let rate = make(config, |config: &RateConfig| RateLimit::new(config))?;
        Ok(Self { rate, tally: Tally::default(), retry_at: None })
    }
}

impl Machine for Rate {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "take" | "request" => {
                let result = self.rate.try_take_many(whole(action, "n")?.unwrap_or(1), now);
                self.retry_at = result.err().map(|refusal| refusal.retry_at);
                self.tally.note(result);
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "retry_at" => optional(self.retry_at),
            "never" => (self.retry_at == Some(Timestamp::MAX)).into(),
            "available" => self.rate.available(now).into(),
            _ => return self.tally.fact(name),
        })
    }
}

pub(crate) struct Keyed {
    rate: KeyedRate,
    tally: Tally,
    retry_at: Option<Timestamp>,
    counted: bool,
}

impl Keyed {
    pub(crate) fn new(config: &str, seed: u64) -> Result<Self, String> {
        let rate = make(config, |config: &KeyedRateConfig| KeyedRate::new(config, seed))?;
        Ok(Self { rate, tally: Tally::default(), retry_at: None, counted: false })
    }
}

impl Machine for Keyed {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "take" | "request" => {
                let result = self.rate.try_take(action.name(0)?.as_bytes(), now);
                self.retry_at = result.err().map(|refusal| refusal.retry_at);
                self.counted = result == Ok(Let::Counted);
                self.tally.note(result);
            }
            "flood" => {
                for number in 0..whole(action, "keys")?.ok_or("flood needs keys=")? {
                    let result = self.rate.try_take(&number.to_le_bytes(), now);
                    self.tally.note(result);
                }
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "retry_at" => optional(self.retry_at),
            "counted" => self.counted.into(),
            "busy" => self.rate.busy(now).into(),
            _ => return self.tally.fact(name),
        })
    }
}
