use std::sync::Arc;
use std::time::Duration;

use evenkeel_stats::{LatencyByLoad, Reading, TimeConstant};
use evenkeel_types::{Ratio, Timestamp};

use super::guard::{Estimator, Guarded};
use super::learnt::Learnt;
use super::price::{Cheapest, Price};
use super::settings;
use super::threshold::Threshold;
use super::typical::Typical;
use crate::built_in::are_equal;
use crate::draws::few::Few;
use crate::{
    BuiltIn, Caller, Choices, Event, InvalidPolicy, Members, Observation, Policy, PolicySettings, View, Wants,
};

/// Settings of [`Prequal`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PrequalConfig {
    /// How many endpoints are compared: 5 unless set, the most that the paper's synchronous mode probes; 2 to 32, or all
    /// of them.
    pub choices: Choices,
    /// An endpoint with more in flight than this share of all endpoints is hot: 0.84 unless set, the paper's 2^-0.25, which
    /// it finds good from 0.6 to 0.9. Zero goes by requests in flight alone, one by latency alone, which herds.
    pub hot_quantile: Ratio,
    /// The time after which a latency that nobody renews counts for 37 %: 10 s unless set, as in `peak_ewma`.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub decay: Duration,
    /// What is compared is divided by the share of successes to this power: 2 unless set; 0 ignores failures, at most 8.
    pub failure_power: u32,
}

impl Default for PrequalConfig {
    fn default() -> Self {
        Self {
            choices: Choices::Draw(5),
            hot_quantile: Ratio::percent(84).unwrap_or(Ratio::ONE),
            decay: Duration::from_secs(10),
            failure_power: 2,
        }
    }
}

impl PolicySettings for PrequalConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Prequal::new(self.clone(), members)?))
    }
}

/// The fastest of those that have not too much to do: Prequal's hot-cold rule on what the caller sees itself.
///
/// **Idea.** Two signals that are not mixed: requests in flight, and the median latency of late at about so many in flight
/// ([`LatencyByLoad`]). An endpoint is *hot* if it has more in flight than [`hot_quantile`](PrequalConfig::hot_quantile)
/// of all have. Of the endpoints drawn, the fastest that is not hot is taken; if all are hot, the one with least in
/// flight. So latency decides among those with room, and no endpoint gathers a queue because it was fast.
/// **Probes.** In the paper servers say both figures, in answer to probes. Here they are what this caller sees, which is
/// the same thing only if it sends a good part of all requests; who can probe uses [`ProbePool`](crate::ProbePool).
/// **Weights.** Draws are by weight, and requests in flight count by weight; a light endpoint must be faster by the ratio
/// of weights to take from a heavy one. **Failures** never lower a latency, and both figures are divided by the share of
/// successes to the power [`failure_power`](PrequalConfig::failure_power), so that a fast failer, which is idle and cold,
/// gathers nothing. **Unknown** endpoints cost what is typical for each request in flight, and half of it for the next.
/// **Forgiving.** An idle endpoint's latency T loses by age, down to half of what is typical, t, after
/// `decay` × ln(2 T / t); then it is tried by one request.
/// **Cost.** O(choices), one clock read; every 10 ms one pick counts all requests in flight, O(n). 1 KB an endpoint.
/// **When.** Servers differ or have noisy neighbours, and this caller sends each of them some ten requests a second or
/// more. **When not.** Less than that, or equal servers without spare capacity: there what is in flight alone decides
/// better ([`LeastRequest`](crate::LeastRequest)). **Source.** Wydrowski, Kleinberg, Rumble and Archer, "Load is not what
/// you should balance: introducing Prequal", NSDI 2024.
#[derive(Debug)]
pub struct Prequal {
    config: PrequalConfig,
    decay: TimeConstant,
    few: Few,
    /// Mean weight ÷ weight, where weights differ: what a request in flight counts for.
    scales: Option<Box<[f64]>>,
    learnt: Learnt<Guarded<LatencyByLoad>>,
    threshold: Threshold,
    typical: Arc<Typical>,
}

impl Prequal {
    /// The policy for these members, of whom nothing is known yet. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] if a setting is out of range.
    pub fn new(config: PrequalConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let decay = settings::decay(NAME, "decay", config.decay)?;
        settings::failure_power(NAME, config.failure_power)?;
        Ok(Self {
            few: Few::new(NAME, config.choices, members.weights())?,
            scales: scales(members.weights()),
            learnt: Learnt::new(members, || Guarded::new(LatencyByLoad::new(FRESH, config.decay), decay)),
            threshold: Threshold::new(config.hot_quantile),
            typical: Arc::default(),
            decay,
            config,
        })
    }

    fn successor(&self, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        Ok(Self {
            config: self.config.clone(),
            decay: self.decay,
            few: Few::new(NAME, self.config.choices, members.weights())?,
            scales: scales(members.weights()),
            learnt: self
                .learnt
                .rebuild(members, || Guarded::new(LatencyByLoad::new(FRESH, self.config.decay), self.decay)),
            threshold: Threshold::new(self.config.hot_quantile),
            typical: Arc::clone(&self.typical),
        })
    }

    /// A position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let now = caller.now();
        let typical = self.typical.nanos();
        let scaled = |position: usize, load: u32| f64::from(load) * self.scale(position);
        let threshold = self
            .threshold
            .at(now, || view.mask().iter().map(|position| scaled(position, view.load(position))));
        let price = |position: usize, load: u32| {
            let Some(known) = self.learnt.at(position) else { return Price::of_latency(None, typical, load) };
            let scaled = scaled(position, load);
            let price = if scaled > threshold {
                Price { hot: true, next: 1.0, queued: scaled }
            } else {
                self.cold(known, load, typical, now)
            };
            price.times(known.penalty(self.config.failure_power, now))
        };
        self.few.choose(view, caller, &Cheapest(price))
    }

    /// By latency alone. Only an idle endpoint is forgiven: what it has in flight is the trial.
    #[inline]
    fn cold(&self, known: &Guarded<LatencyByLoad>, load: u32, typical: Option<f64>, now: Timestamp) -> Price {
        let aged = |nanos: f64, age: f64| nanos * self.decay.keep_nanos(age);
        match known.latency.expected(load, now, aged) {
            None => Price::of_latency(None, typical, load),
            Some(Reading { last, .. }) if load > 0 => Price { hot: false, next: last, queued: 0.0 },
            reading => Price::of_latency(reading, typical, 0),
        }
    }

    #[inline]
    fn scale(&self, position: usize) -> f64 {
        self.scales.as_ref().and_then(|scales| scales.get(position).copied()).unwrap_or(1.0)
    }
}

fn scales(weights: &[u32]) -> Option<Box<[f64]>> {
    if are_equal(weights) {
        return None;
    }
    let positive = weights.iter().filter(|&&weight| weight > 0).count().max(1);
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let mean = total as f64 / positive as f64;
    Some(weights.iter().map(|&weight| mean / f64::from(weight.max(1))).collect())
}

impl Policy for Prequal {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::LOADS | Wants::OBSERVED | Wants::CLOCK
    }

    fn on_event(&self, event: Event) {
        if let Event::Observed(token, observation) = event
            && let Some(known) = self.learnt.of(token)
        {
            known.learn(&observation, &self.typical);
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(self.successor(members)?)))
    }
}

/// A latency is filed under what else was in flight at its end, a pick asks with what is in flight before it.
impl Estimator for LatencyByLoad {
    fn observe(&self, observation: &Observation) {
        self.record(others(observation), observation.latency, observation.at);
    }

    fn raise(&self, observation: &Observation) {
        self.observe(observation);
    }

    fn expected(&self, observation: &Observation) -> Option<Reading> {
        let fresh = FRESH.as_nanos() as f64;
        let aged = |nanos: f64, age: f64| if age > fresh { 0.0 } else { nanos };
        self.expected(others(observation), observation.at, aged)
    }
}

const fn others(observation: &Observation) -> u32 {
    observation.in_flight.saturating_sub(1)
}

const NAME: &str = "prequal";

/// How old a median may be and still go before a nearer one: the paper's age limit of a probe.
const FRESH: Duration = Duration::from_secs(1);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::latency::testing::{Bed, invalid};

    fn bed(hot_quantile: u32, count: u64) -> Bed<Prequal> {
        let config = PrequalConfig {
            hot_quantile: Ratio::percent(hot_quantile).expect("at most 100"),
            choices: Choices::All,
            ..PrequalConfig::default()
        };
        Bed::new(|members| Prequal::new(config, members), count)
    }

    #[test]
    fn the_fastest_of_the_cold_wins_and_among_the_hot_the_least_loaded() {
        for (quantile, loads, expected) in [
            // Nobody is above the quantile: the fastest, though it has most in flight.
            (100, [5, 4, 3, 0], 0),
            // Three quarters have at most 4: the fastest is hot, the next one wins.
            (75, [5, 4, 3, 0], 1),
            (50, [5, 4, 3, 0], 2),
            // Only what has the least is not hot.
            (0, [5, 4, 3, 0], 3),
            (0, [5, 4, 3, 3], 2),
        ] {
            let mut bed = bed(quantile, 4);
            for (token, millis) in [(0, 10), (1, 20), (2, 30), (3, 40)] {
                bed.answer(token, millis);
            }
            assert_eq!(bed.pick(&loads), expected, "{quantile} {loads:?}");
        }
    }

    #[test]
    fn the_latency_is_that_of_about_this_load() {
        let mut bed = bed(100, 2);
        for (token, in_flight, millis) in [(0, 1, 10), (0, 9, 90), (1, 1, 30), (1, 9, 31)] {
            let latency = Duration::from_millis(millis);
            let observation = Observation { latency, kind: crate::Observed::Success, in_flight, at: bed.now };
            bed.policy.on_event(Event::Observed(token, observation));
        }
        assert_eq!(bed.pick(&[1, 1]), 0);
        bed.pass(Duration::from_millis(10));
        assert_eq!(bed.pick(&[8, 8]), 1);
    }

    #[test]
    fn the_threshold_follows_the_load_within_10_ms() {
        let mut bed = bed(50, 2);
        bed.answer(0, 10);
        bed.answer(1, 20);
        assert_eq!(bed.pick(&[3, 3]), 0);
        bed.pass(Duration::from_millis(10));
        assert_eq!(bed.pick(&[3, 1]), 1, "more than one in flight is hot by now");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let build = |config: PrequalConfig| Prequal::new(config, &crate::MemberList::default()).map(|_| ());
        let default = PrequalConfig::default;
        for (config, words) in [
            (PrequalConfig { decay: Duration::ZERO, ..default() }, "decay: 0s"),
            (PrequalConfig { failure_power: 9, ..default() }, "failure_power: 9"),
            (PrequalConfig { choices: Choices::Draw(0), ..default() }, "choices: 0"),
        ] {
            invalid(build(config), &["prequal", words]);
        }
    }
}
