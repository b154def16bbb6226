use std::sync::Arc;
use std::time::Duration;

use evenkeel_stats::{Reading, SampleEwma, TimeConstant};
use evenkeel_types::{Ratio, Timestamp};

use super::guard::{Estimator, Guarded};
use super::learnt::Learnt;
use super::price::{Cheapest, Price};
use super::settings;
use super::typical::Typical;
use crate::draws::few::Few;
use crate::{
    BuiltIn, Caller, Choices, Event, InvalidPolicy, Members, Observation, Policy, PolicySettings, View, Wants,
};

/// Settings of [`LeastTime`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LeastTimeConfig {
    /// How many endpoints are compared: 32 unless set, so that of up to 32 all are, as in nginx, and a pick among thousands
    /// costs no more; 2 to 32, or all of them.
    pub choices: Choices,
    /// What a new answer counts for in the average: 5 % unless set, nginx's figure. Small, since answers differ more than
    /// servers do.
    pub gain: Ratio,
    /// Near-equal latencies count as equal, so that near-equal endpoints share: in steps of 20 ms unless set, nginx's
    /// figure. Choose less where answers take less.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub step: Duration,
    /// All that is slower counts as equally bad, and only what is in flight tells it apart: 5 s unless set, nginx's
    /// figure.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub ceiling: Duration,
    /// After this time without an answer an average is halved, and again after each further one: 10 s unless set, nginx's
    /// `fail_timeout`.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub halve_after: Duration,
    /// The latency is divided by the share of successes to this power: 2 unless set; 0 ignores failures, at most 8.
    pub failure_power: u32,
}

impl Default for LeastTimeConfig {
    fn default() -> Self {
        Self {
            choices: Choices::Draw(32),
            gain: Ratio::percent(5).unwrap_or(Ratio::ONE),
            step: Duration::from_millis(20),
            ceiling: Duration::from_secs(5),
            halve_after: Duration::from_secs(10),
            failure_power: 2,
        }
    }
}

impl PolicySettings for LeastTimeConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(LeastTime::new(self.clone(), members)?))
    }
}

/// The endpoint that would be done soonest: nginx's `least_time`.
///
/// **Idea.** Each endpoint has an average latency in which every answer counts for 5 %. The average is rounded up to the
/// next step of 20 ms, or cut off at 5 s, and multiplied by one more than what is in flight: the time that the endpoint
/// would need for all of them. The least of that, by weight, is taken; equals share, by weight, at random where nginx
/// takes turns. An average that is 10 s old counts half, then a quarter, and so on, for the choice; beside a new answer
/// it fades at the same rate, where nginx keeps it in full, so that one slow answer would have to be outweighed by
/// twenty.
/// **Which time.** nginx has `header` (until the response head) and `last_byte` (until the end). Here that is what the
/// caller records: `Pick::record` when the head is there, or `finish` at the end.
/// **Weights.** As in [`PeakEwma`](crate::PeakEwma). **Failures** never lower an average; before it is rounded, it is
/// divided by the share of successes to the power [`failure_power`](LeastTimeConfig::failure_power). nginx leaves failed
/// attempts out too, and has no such term.
/// **Unknown** endpoints count as forgiven ones; nginx takes them for the fastest.
/// **Forgiving.** By the halving, down to half of what is typical; what is in flight there counts in full, so that an
/// endpoint is tried by one request and not flooded. One that takes T where t is typical is tried again after
/// `halve_after` × log2(2 T / t), 80 s for a hundred times the typical.
/// **Cost.** O(choices), one clock read. **When.** Few endpoints of different speed, answers of tens of
/// milliseconds and more. **When not.** Answers below a millisecond, unless `step` is set to fit.
/// **Source.** nginx `ngx_http_upstream_least_time_module.c` (its `inflight` parameter is left out).
#[derive(Debug)]
pub struct LeastTime {
    config: LeastTimeConfig,
    /// How fast failures are forgiven and averages fade.
    decay: TimeConstant,
    few: Few,
    learnt: Learnt<Guarded<SampleEwma>>,
    typical: Arc<Typical>,
}

impl LeastTime {
    /// The policy for these members, of whom nothing is known yet. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] if a setting is out of range.
    pub fn new(config: LeastTimeConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let decay = settings::decay(NAME, "halve_after", config.halve_after)?;
        settings::failure_power(NAME, config.failure_power)?;
        settings::gain(NAME, "gain", config.gain)?;
        if config.step.is_zero() || config.ceiling < config.step {
            let problem =
                format!("{:?} is out of range: allowed are above 0s, up to the ceiling", config.step);
            return Err(InvalidPolicy::setting(NAME, "step", problem));
        }
        Ok(Self {
            few: Few::new(NAME, config.choices, members.weights())?,
            learnt: Learnt::new(members, || Guarded::new(SampleEwma::new(config.gain, decay), decay)),
            typical: Arc::default(),
            decay,
            config,
        })
    }

    fn successor(&self, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let make = || Guarded::new(SampleEwma::new(self.config.gain, self.decay), self.decay);
        Ok(Self {
            config: self.config.clone(),
            decay: self.decay,
            few: Few::new(NAME, self.config.choices, members.weights())?,
            learnt: self.learnt.rebuild(members, make),
            typical: Arc::clone(&self.typical),
        })
    }

    /// A position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let now = caller.now();
        let typical = self.typical.nanos();
        let steps = Steps::of(&self.config);
        let price = |position: usize, load: u32| self.price(position, load, typical, &steps, now);
        self.few.choose(view, caller, &Cheapest(price))
    }

    #[inline]
    fn price(
        &self,
        position: usize,
        load: u32,
        typical: Option<f64>,
        steps: &Steps,
        now: Timestamp,
    ) -> Price {
        let known = self.learnt.at(position);
        let penalty = known.map_or(1.0, |known| known.penalty(self.config.failure_power, now));
        let reading = known
            .and_then(|known| known.latency.reading(now, |nanos, age| halved(nanos, age, steps.halve_after)));
        // For one in flight the price of latency says both figures: what comes next, and what one in flight costs.
        let plain = Price::of_latency(reading, typical, 1).times(penalty);
        Price { next: steps.round(plain.next), queued: steps.round(plain.queued) * f64::from(load), ..plain }
    }
}

/// The settings that a pick reads, in nanoseconds.
struct Steps {
    step: f64,
    ceiling: f64,
    halve_after: f64,
}

impl Steps {
    fn of(config: &LeastTimeConfig) -> Self {
        Self {
            step: settings::nanos_of(config.step),
            ceiling: settings::nanos_of(config.ceiling),
            halve_after: settings::nanos_of(config.halve_after),
        }
    }

    /// Up to the next step, which is a whole one above what lies on a step already; cut off at the ceiling.
    #[inline]
    fn round(&self, nanos: f64) -> f64 {
        if nanos > self.ceiling { self.ceiling } else { ((nanos / self.step) as u64 + 1) as f64 * self.step }
    }
}

/// One half for each whole time that has passed.
#[inline]
fn halved(nanos: f64, age: f64, halve_after: f64) -> f64 {
    if age < halve_after {
        return nanos;
    }
    let times = ((age / halve_after) as u64).min(62);
    nanos / (1_u64 << times) as f64
}

impl Policy for LeastTime {
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

impl Estimator for SampleEwma {
    fn observe(&self, observation: &Observation) {
        Self::observe(self, observation.latency, observation.at);
    }

    fn raise(&self, observation: &Observation) {
        Self::raise(self, observation.latency, observation.at);
    }

    fn expected(&self, observation: &Observation) -> Option<Reading> {
        self.faded_reading(observation.at)
    }
}

const NAME: &str = "least_time";

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::latency::testing::{Bed, invalid};

    #[test]
    fn times_are_rounded_up_to_steps_and_cut_off() {
        let steps = Steps::of(&LeastTimeConfig::default());
        for (millis, expected) in [
            (0.0, 20.0),
            (19.9, 20.0),
            (20.0, 40.0),
            (25.0, 40.0),
            (4_999.0, 5_000.0),
            (5_000.0, 5_020.0),
            (5_000.1, 5_000.0),
            (1e9, 5_000.0),
        ] {
            assert_eq!(steps.round(millis * 1e6), expected * 1e6, "{millis}");
        }
    }

    #[test]
    fn averages_are_halved_for_each_time_that_passes() {
        for (age, expected) in
            [(0.0, 64.0), (9.9, 64.0), (10.0, 32.0), (19.9, 32.0), (30.0, 8.0), (1e9, 64.0 / 2_f64.powi(62))]
        {
            assert_eq!(halved(64.0, age, 10.0), expected, "{age}");
        }
    }

    #[test]
    fn near_equal_endpoints_share_and_the_slower_one_is_left() {
        let mut bed = Bed::new(|members| LeastTime::new(LeastTimeConfig::default(), members), 3);
        for (token, millis) in [(0, 21), (1, 38), (2, 45)] {
            bed.answer(token, millis);
        }
        let counts = bed.picks(3000, &[0, 0, 0]);
        assert_eq!(counts[2], 0, "a step slower");
        assert!((1350..1650).contains(&counts[0]), "{counts:?}");
        assert_eq!(bed.picks(100, &[1, 1, 0]), [0, 0, 100], "60 ms against two times 40");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let build =
            |config: LeastTimeConfig| LeastTime::new(config, &crate::MemberList::default()).map(|_| ());
        let default = LeastTimeConfig::default;
        for (config, words) in [
            (LeastTimeConfig { step: Duration::ZERO, ..default() }, "step: 0ns is out of range"),
            (
                LeastTimeConfig { ceiling: Duration::from_millis(1), ..default() },
                "step: 20ms is out of range",
            ),
            (LeastTimeConfig { halve_after: Duration::ZERO, ..default() }, "halve_after: 0s"),
            (LeastTimeConfig { gain: Ratio::ZERO, ..default() }, "gain: 0"),
            (LeastTimeConfig { failure_power: 9, ..default() }, "failure_power: 9"),
            (LeastTimeConfig { choices: Choices::Draw(1), ..default() }, "choices: 1"),
        ] {
            invalid(build(config), &["least_time", words]);
        }
    }
}
