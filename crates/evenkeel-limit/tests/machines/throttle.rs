use evenkeel_limit::{Admission, AdmissionConfig, Throttle, ThrottleConfig};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::{SplitMix64, Timestamp};

use super::{Tally, make, outcome};

pub(crate) struct Client {
    throttle: Throttle,
    draws: SplitMix64,
    tally: Tally,
}

impl Client {
    pub(crate) fn new(config: &str, seed: u64) -> Result<Self, String> {
        let throttle = if config.trim().is_empty() {
            Throttle::new(&ThrottleConfig::default()).map_err(|error| error.to_string())
        } else {
            make(config, |config: &ThrottleConfig| Throttle::new(config))
        }?;
        Ok(Self { throttle, draws: SplitMix64::new(seed), tally: Tally::default() })
    }
}

impl Machine for Client {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "send" | "request" => {
                let answer = action.bare(0).map(|word| outcome(word).ok_or("no such outcome")).transpose()?;
                let sent = self.tally.note(self.throttle.try_send(&mut self.draws, now));
                if let (Some(()), Some(answer)) = (sent, answer) {
                    self.throttle.record(&answer, now);
                }
            }
            verb => self.throttle.record(&outcome(verb).ok_or_else(|| action.unknown())?, now),
        }
        action.no_more()
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        Some(match (name, &self.throttle) {
            ("probability", throttle) => throttle.probability(now).into(),
            ("sent", _) => self.tally.granted.into(),
            ("accepted", Throttle::Nack(filter)) => filter.accepted().into(),
            ("requests", Throttle::Accepts(throttle)) => throttle.counts(now).0.into(),
            ("accepts", Throttle::Accepts(throttle)) => throttle.counts(now).1.into(),
            _ => return self.tally.fact(name),
        })
    }
}

pub(crate) struct Server {
    admission: Admission,
    draws: SplitMix64,
    tally: Tally,
}

impl Server {
    pub(crate) fn new(config: &str, seed: u64) -> Result<Self, String> {
        let admission = make(config, |config: &AdmissionConfig| Admission::new(config))?;
        Ok(Self { admission, draws: SplitMix64::new(seed), tally: Tally::default() })
    }
}

impl Machine for Server {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "admit" | "request" => {
                let answer = action.bare(0).map(|word| outcome(word).ok_or("no such outcome")).transpose()?;
                let admitted = self.tally.note(self.admission.try_admit(&mut self.draws, now));
                if let (Some(()), Some(answer)) = (admitted, answer) {
                    self.admission.record(&answer, now);
                }
            }
            verb => self.admission.record(&outcome(verb).ok_or_else(|| action.unknown())?, now),
        }
        action.no_more()
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "probability" => self.admission.probability(now).into(),
            "requests" | "answers" => self.admission.counts(now).0.into(),
            "successes" | "good" => self.admission.counts(now).1.into(),
            _ => return self.tally.fact(name),
        })
    }
}
