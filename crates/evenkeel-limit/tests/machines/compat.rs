use std::collections::BTreeMap;

use evenkeel_limit::compat::{
    AwsAdaptiveConfig, AwsAdaptiveRate, AwsRetry, AwsStandardBucket, AwsStandardConfig, EnvoyRetryBudget,
    EnvoyRetryBudgetConfig, GrpcThrottle, GrpcThrottleConfig, Pushback,
};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::Timestamp;

use super::{Tally, make, optional, whole};

pub(crate) struct Envoy(EnvoyRetryBudget, u32, Tally);

impl Envoy {
    pub(crate) fn new(config: &str) -> Result<Self, String> {
        let budget = make(config, |config: &EnvoyRetryBudgetConfig| EnvoyRetryBudget::new(config))?;
        Ok(Self(budget, 0, Tally::default()))
    }
}

impl Machine for Envoy {
    fn act(&mut self, _now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "active" => self.1 = whole(action, "requests")?.ok_or("active needs requests=")?,
            "retry" => {
                self.2.note(self.0.try_begin(self.1));
            }
            "end" => self.0.end(),
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "limit" => self.0.limit(self.1).into(),
            "retries" => self.0.retries().into(),
            _ => return self.2.fact(name),
        })
    }
}

pub(crate) struct Grpc(GrpcThrottle, Pushback);

impl Grpc {
    pub(crate) fn new(config: &str) -> Result<Self, String> {
        let throttle = make(config, |config: &GrpcThrottleConfig| GrpcThrottle::new(config))?;
        Ok(Self(throttle, Pushback::None))
    }
}

impl Machine for Grpc {
    fn act(&mut self, _now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "fail" | "failure" => {
                let _ = self.0.failure();
            }
            "ok" | "success" => self.0.success(),
            "pushback" => self.1 = Pushback::parse(action.bare(0)),
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "tokens" => self.0.tokens().into(),
            "allowed" | "allows" => self.0.allows().into(),
            "stop" => (self.1 == Pushback::Stop).into(),
            "after" => match self.1 {
                Pushback::After(wait) => wait.into(),
                Pushback::None | Pushback::Stop => Fact::None,
            },
            _ => return None,
        })
    }
}

pub(crate) struct AwsStandard(AwsStandardBucket, BTreeMap<String, u32>, Tally);

impl AwsStandard {
    pub(crate) fn new(config: &str) -> Result<Self, String> {
        let bucket = make(config, |config: &AwsStandardConfig| AwsStandardBucket::new(config))?;
        Ok(Self(bucket, BTreeMap::new(), Tally::default()))
    }
}

impl Machine for AwsStandard {
    fn act(&mut self, _now: Timestamp, action: &Action) -> Result<(), String> {
        let why = match action.verb() {
            "retry" => AwsRetry::Error,
            "retry_timeout" => AwsRetry::Timeout,
            "retry_throttled" => AwsRetry::Throttling,
            "ok" | "success" => {
                let last = action.bare(0).and_then(|name| self.1.remove(name));
                self.0.succeeded(last);
                return action.no_more();
            }
            _ => return Err(action.unknown()),
        };
        let name = action.bare(0).unwrap_or("");
        if let Some(cost) = self.2.note(self.0.try_retry(why).ok_or(())) {
            self.1.insert(name.into(), cost);
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        if name == "tokens" { Some(self.0.tokens().into()) } else { self.2.fact(name) }
    }
}

pub(crate) struct AwsAdaptive(AwsAdaptiveRate, Option<Timestamp>, Tally);

impl AwsAdaptive {
    pub(crate) fn new(config: &str) -> Result<Self, String> {
        let rate = make(config, |config: &AwsAdaptiveConfig| AwsAdaptiveRate::new(config))?;
        Ok(Self(rate, None, Tally::default()))
    }
}

impl Machine for AwsAdaptive {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "take" => {
                let result = self.0.try_take(action.number("cost")?.unwrap_or(1.0), now);
                self.1 = result.err().map(|refusal| refusal.retry_at);
                self.2.note(result);
            }
            "ok" | "fail" => self.0.record(false, now),
            "throttled" => self.0.record(true, now),
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "fill" | "rate" => self.0.fill().into(),
            "measured" => self.0.measured().into(),
            "on" => self.0.is_on().into(),
            "retry_at" => optional(self.1),
            _ => return self.2.fact(name),
        })
    }
}
