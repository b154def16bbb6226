use std::sync::Arc;
use std::time::Duration;

use evenkeel_stats::{Reading, SampleEwma, TimeConstant};
use evenkeel_types::{Ratio, Timestamp};

use super::guard::Guarded;
use super::learnt::Learnt;
use super::price::{Cheapest, Price};
use super::settings;
use super::typical::Typical;
use crate::draws::few::Few;
use crate::{
    BuiltIn, Caller, Choices, Event, InvalidPolicy, LoadReport, Members, Observation, Policy, PolicySettings,
    View, Wants,
};

/// Settings of [`C3`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct C3Config {
    /// How many endpoints are compared: 3 unless set, the usual number of replicas that the paper ranks; at most 32, or
    /// all of them.
    pub choices: Choices,
    /// How many clients like this one send to these endpoints: 1 unless set. Requests in flight from here stand for so
    /// many, since the others do about the same.
    pub clients: u32,
    /// What a new sample counts for in the averages: 10 % unless set, our choice, since the paper does not say: ten
    /// answers tell a server's state, one does not.
    pub gain: Ratio,
    /// The time after which an average that nobody renews counts for 37 %: 10 s unless set, as in `peak_ewma`.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub decay: Duration,
    /// The score is divided by the share of successes to this power: 2 unless set; 0 ignores failures, at most 8.
    pub failure_power: u32,
}

impl Default for C3Config {
    fn default() -> Self {
        Self {
            choices: Choices::Draw(3),
            clients: 1,
            gain: Ratio::percent(10).unwrap_or(Ratio::ONE),
            decay: Duration::from_secs(10),
            failure_power: 2,
        }
    }
}

impl PolicySettings for C3Config {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(C3::new(self.clone(), members)?))
    }
}

/// The endpoint with the best score of a few: latency, and the cube of the queue.
///
/// **Idea.** The score of an endpoint is
///
/// ```text
/// R - S + q^3 S        q = 1 + outstanding clients + Q
/// ```
///
/// with the average response time R, the average service time S (1/μ), the requests in flight there from here, counted for
/// all clients, and the average queue Q. The cube makes long queues dear: a server ten times as fast is worth a queue twice
/// as long (the cube root of ten), not ten times as long, so that it does not gather a queue for the day when it stalls.
/// The least score wins.
/// **Queue and service time** are what servers report ([`LoadReport::queue`], [`LoadReport::service_time`]). Of a server that
/// never did, Q is the average of what was in flight there from here when requests ended, and S is R, so that the score is q³ R.
/// **Weights.** As in [`PeakEwma`](crate::PeakEwma). **Failures** never lower R, and the score is divided by the share of
/// successes to the power [`failure_power`](C3Config::failure_power). Requests given up without a verdict, as after a
/// timeout, raise R: without that a server that stops answering keeps its good score.
/// **Unknown** endpoints count as forgiven ones. **Forgiving.** R and Q lose by age; R not below half of what is
/// typical, after `decay` × ln(2 T / t) for an endpoint that took T where t is typical.
/// **Cost.** O(choices), one clock read. **When.** Replicas whose speed changes fast, many clients, reports at hand.
/// **When not.** One client with all traffic knows the queue: [`LeastRequest`](crate::LeastRequest). **Source.** Suresh,
/// Canini, Schmid and Feldmann, "C3: cutting tail latency in cloud data stores via adaptive replica selection", NSDI 2015.
/// Its control of sending rates is no part of a choice and left out.
#[derive(Debug)]
pub struct C3 {
    config: C3Config,
    decay: TimeConstant,
    few: Few,
    learnt: Learnt<Known>,
    typical: Arc<Typical>,
}

/// What is learnt of an endpoint.
#[derive(Debug)]
struct Known {
    response: Guarded<SampleEwma>,
    /// One more than what else was in flight there from here.
    own_queue: SampleEwma,
    /// One more than what it reported.
    reported_queue: SampleEwma,
    service: SampleEwma,
}

impl Known {
    fn new(gain: Ratio, decay: TimeConstant) -> Self {
        Self {
            response: Guarded::new(SampleEwma::new(gain, decay), decay),
            own_queue: SampleEwma::new(gain, decay),
            reported_queue: SampleEwma::new(gain, decay),
            service: SampleEwma::new(gain, decay),
        }
    }

    fn learn(&self, observation: &Observation, typical: &Typical) {
        self.response.learn(observation, typical);
        self.own_queue.observe_number(f64::from(observation.in_flight.max(1)), observation.at);
    }

    fn hear(&self, report: &LoadReport) {
        if let Some(queue) = report.queue {
            self.reported_queue.observe_number(f64::from(queue) + 1.0, report.at);
        }
        if let Some(service_time) = report.service_time {
            self.service.observe(service_time, report.at);
        }
    }

    /// One more than the queue, forgotten by age.
    #[inline]
    fn queue(&self, decay: TimeConstant, now: Timestamp) -> f64 {
        let aged = |queue: f64, age: f64| 1.0 + (queue - 1.0) * decay.keep_nanos(age);
        let queue = self.reported_queue.reading(now, aged).or_else(|| self.own_queue.reading(now, aged));
        queue.map_or(1.0, |queue| queue.present)
    }
}

impl C3 {
    /// The policy for these members, of whom nothing is known yet. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] if a setting is out of range.
    pub fn new(config: C3Config, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let decay = settings::decay(NAME, "decay", config.decay)?;
        settings::failure_power(NAME, config.failure_power)?;
        settings::gain(NAME, "gain", config.gain)?;
        if config.clients == 0 {
            return Err(InvalidPolicy::setting(NAME, "clients", "0 is out of range: allowed is 1 or more"));
        }
        Ok(Self {
            few: Few::new(NAME, config.choices, members.weights())?,
            learnt: Learnt::new(members, || Known::new(config.gain, decay)),
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
            learnt: self.learnt.rebuild(members, || Known::new(self.config.gain, self.decay)),
            typical: Arc::clone(&self.typical),
        })
    }

    /// A position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let now = caller.now();
        let typical = self.typical.nanos();
        let price = |position: usize, load: u32| self.price(position, load, typical, now);
        self.few.choose(view, caller, &Cheapest(price))
    }

    #[inline]
    fn price(&self, position: usize, load: u32, typical: Option<f64>, now: Timestamp) -> Price {
        let outstanding = f64::from(load) * f64::from(self.config.clients);
        let Some(known) = self.learnt.at(position) else {
            return score(Price::of_latency(None, typical, 1), None, 1.0, outstanding);
        };
        let decay = self.decay;
        let response = Price::of_latency(known.response.latency.faded_reading(now), typical, 1);
        let service = known.service.reading(now, |nanos, _| nanos).map(|Reading { last, .. }| last);
        score(response, service, known.queue(decay, now), outstanding)
            .times(known.response.penalty(self.config.failure_power, now))
    }
}

/// The score, told apart into what it is with nothing in flight and what the requests in flight add.
///
/// `response` is the price of a latency for one in flight: what the next answer takes, and what one took.
#[inline]
fn score(response: Price, service: Option<f64>, queue: f64, outstanding: f64) -> Price {
    // A service time above the response time is a report that is out of date; the score stays above the latter.
    let (next, taken) = (service.unwrap_or(response.next), service.unwrap_or(response.queued));
    let (idle, all) = (cube(queue), cube(queue + outstanding));
    Price { next: response.next + (idle - 1.0) * next, queued: (all - idle) * taken, ..response }
}

#[inline]
fn cube(x: f64) -> f64 {
    x * x * x
}

impl Policy for C3 {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::LOADS | Wants::OBSERVED | Wants::REPORTS | Wants::CLOCK
    }

    fn on_event(&self, event: Event) {
        match event {
            Event::Observed(token, observation) => {
                if let Some(known) = self.learnt.of(token) {
                    known.learn(&observation, &self.typical);
                }
            }
            Event::Reported(token, report) => {
                if let Some(known) = self.learnt.of(token) {
                    known.hear(&report);
                }
            }
            _ => {}
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(self.successor(members)?)))
    }
}

const NAME: &str = "c3";

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::latency::testing::{Bed, invalid};

    #[test]
    fn the_score_is_that_of_the_paper() {
        // R, S, one more than Q, outstanding for all clients: R - S + (1 + outstanding + Q)^3 S.
        for (r, s, queue, outstanding, expected) in [
            (10.0, Some(4.0), 1.0, 0.0, 10.0),
            (10.0, Some(4.0), 3.0, 0.0, 10.0 - 4.0 + 27.0 * 4.0),
            (10.0, Some(4.0), 3.0, 2.0, 10.0 - 4.0 + 125.0 * 4.0),
            (10.0, None, 1.0, 2.0, 270.0),
        ] {
            let response = Price { hot: false, next: r, queued: r };
            let Price { next, queued, .. } = score(response, s, queue, outstanding);
            assert!((next + queued - expected).abs() < 1e-9, "{r} {s:?} {queue} {outstanding}");
        }
    }

    #[test]
    fn a_reported_queue_goes_before_what_is_in_flight_from_here() {
        let mut bed = Bed::new(|members| C3::new(C3Config::default(), members), 2);
        bed.answer(0, 10);
        bed.answer(1, 10);
        let says = |queue| {
            LoadReport::new(0.0, 0.0, 0.0).with_queue(queue).with_service_time(Duration::from_millis(10))
        };
        bed.report(0, says(3));
        bed.report(1, says(0));
        bed.report(77, says(0));
        assert_eq!(bed.picks(50, &[0, 2]), [0, 50], "a queue of 3 against 2 in flight");
        assert_eq!(bed.picks(50, &[0, 4]), [50, 0]);
        bed.report(0, LoadReport::new(10.0, 0.0, 0.5));
        assert_eq!(
            bed.picks(50, &[0, 4]),
            [50, 0],
            "who says nothing of a queue does not say that it is empty"
        );
    }

    #[test]
    fn a_fast_server_does_not_gather_a_long_queue() {
        let mut bed = Bed::new(|members| C3::new(C3Config::default(), members), 2);
        bed.answer(0, 10);
        bed.answer(1, 1);
        assert_eq!(bed.picks(50, &[0, 1]), [0, 50], "8 against 10");
        assert_eq!(
            bed.picks(50, &[0, 2]),
            [50, 0],
            "27 against 10: not three in line, though ten times as fast"
        );
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let build = |config: C3Config| C3::new(config, &crate::MemberList::default()).map(|_| ());
        let default = C3Config::default;
        for (config, words) in [
            (C3Config { clients: 0, ..default() }, "clients: 0 is out of range"),
            (C3Config { decay: Duration::ZERO, ..default() }, "decay: 0s"),
            (C3Config { gain: Ratio::ZERO, ..default() }, "gain: 0"),
            (C3Config { failure_power: 9, ..default() }, "failure_power: 9"),
            (C3Config { choices: Choices::Draw(33), ..default() }, "choices: 33"),
        ] {
            invalid(build(config), &["c3", words]);
        }
    }
}
