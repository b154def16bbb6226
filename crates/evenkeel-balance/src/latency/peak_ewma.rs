use std::sync::Arc;
use std::time::Duration;

use evenkeel_stats::{PeakEwma as Estimate, Reading, TimeConstant};

use super::guard::{Estimator, Guarded};
use super::learnt::Learnt;
use super::price::{Cheapest, Price};
use super::settings;
use super::typical::Typical;
use crate::draws::few::Few;
use crate::{
    BuiltIn, Caller, Choices, Event, InvalidPolicy, Members, Observation, Policy, PolicySettings, View, Wants,
};

/// Settings of [`PeakEwma`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PeakEwmaConfig {
    /// How many endpoints are compared: 2 unless set, at most 32, or all of them. A client that sends much to a small set
    /// gains from more, since what it knows of all is better than what it knows of two.
    pub choices: Choices,
    /// The time after which 37 % of a peak are left: 10 s unless set, as in Finagle. Long enough to stay away from a
    /// server that stalls now and then, short enough to come back within a minute.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub decay: Duration,
    /// The cost is divided by the share of successes to this power: 2 unless set, so that an endpoint of which half fails
    /// costs four times as much; 0 ignores failures, at most 8.
    pub failure_power: u32,
}

impl Default for PeakEwmaConfig {
    fn default() -> Self {
        Self { choices: Choices::default(), decay: Duration::from_secs(10), failure_power: 2 }
    }
}

impl PolicySettings for PeakEwmaConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(PeakEwma::new(self.clone(), members)?))
    }
}

/// The endpoint that answers soonest, of a few drawn at random: latency times requests in flight.
///
/// **Idea.** Each endpoint has an estimate of its latency that jumps to every peak and comes down by and by
/// ([`evenkeel_stats::PeakEwma`]). A request costs that estimate times one more than what is in flight there; of two
/// distinct draws the cheaper one is taken. So a server that gets slow is left after its first slow answer.
/// **Weights.** Candidates are drawn by weight and costs compared by weight; at equal latency the shares are the weights.
/// **Failures** never lower the estimate, and the cost is divided by the share of successes to the power
/// [`failure_power`](PeakEwmaConfig::failure_power); each failure counts for an eighth, and while nobody asks, failures
/// are forgiven as peaks are.
/// **Forgiving.** An estimate of T that nobody renews falls to half of what is typical, t, after decay × ln(2 T / t), 53 s
/// for a hundred times the typical; an endpoint that is drawn then gets one request, and no second one before the first
/// is answered, unless all others are as loaded. What is typical is the mean over recent answers of the estimates of those
/// that gave them. **Unknown** endpoints cost what is typical for each request in flight, and half of it for the next, so
/// that they are tried soon and gently.
/// **Cost.** O(choices), one clock read, some 15 ns more than least request; O(n) for a full scan.
/// **When.** Endpoints differ in speed, or stall. **When not.** Long polling and streams, whose duration is not the
/// server's doing. **Source.** Finagle `PeakEwma.scala`, which forgives down to nothing, charges 2^47 for an unknown
/// endpoint in use and has no term for failures.
#[derive(Debug)]
pub struct PeakEwma {
    config: PeakEwmaConfig,
    decay: TimeConstant,
    few: Few,
    learnt: Learnt<Guarded<Estimate>>,
    typical: Arc<Typical>,
}

impl PeakEwma {
    /// The policy for these members, of whom nothing is known yet. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] if a setting is out of range.
    pub fn new(config: PeakEwmaConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let decay = settings::decay(NAME, "decay", config.decay)?;
        settings::failure_power(NAME, config.failure_power)?;
        Ok(Self {
            few: Few::new(NAME, config.choices, members.weights())?,
            learnt: Learnt::new(members, || Guarded::new(Estimate::new(decay), decay)),
            typical: Arc::default(),
            decay,
            config,
        })
    }

    /// The same for other members: what is known of those that stay is shared with this one.
    ///
    /// # Errors
    ///
    /// None at present: the settings are known to be in range.
    pub fn succeed(&self, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let decay = self.decay;
        Ok(Self {
            few: Few::new(NAME, self.config.choices, members.weights())?,
            learnt: self.learnt.rebuild(members, || Guarded::new(Estimate::new(decay), decay)),
            typical: Arc::clone(&self.typical),
            decay,
            config: self.config.clone(),
        })
    }

    /// A position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let now = caller.now();
        let typical = self.typical.nanos();
        let price = |position: usize, load: u32| match self.learnt.at(position) {
            Some(known) => Price::of_latency(known.latency.reading(now), typical, load)
                .times(known.penalty(self.config.failure_power, now)),
            None => Price::of_latency(None, typical, load),
        };
        self.few.choose(view, caller, &Cheapest(price))
    }
}

impl Policy for PeakEwma {
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
        Ok(Some(Arc::new(self.succeed(members)?)))
    }
}

impl Estimator for Estimate {
    fn observe(&self, observation: &Observation) {
        Self::observe(self, observation.latency, observation.at);
    }

    fn raise(&self, observation: &Observation) {
        Self::raise(self, observation.latency, observation.at);
    }

    fn expected(&self, observation: &Observation) -> Option<Reading> {
        self.reading(observation.at)
    }
}

const NAME: &str = "peak_ewma";
