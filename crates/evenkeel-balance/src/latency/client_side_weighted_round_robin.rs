use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_types::Timestamp;

use super::learnt::Learnt;
use super::reported_weight::{ReportedWeight, Validity, weight_of};
use super::stride::Stride;
use crate::sync::{AtomicU64, Ordering};
use crate::{BuiltIn, Caller, Event, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Settings of [`ClientSideWeightedRoundRobin`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ClientSideWeightedRoundRobinConfig {
    /// How long reports must have come before they are used: 10 s unless set, gRPC's figure, since a server that has just
    /// started is idle and looks strong.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub blackout_period: Duration,
    /// How long a report is used: 3 min unless set, gRPC's figure. After a longer silence the blackout begins anew.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub weight_expiration_period: Duration,
    /// How often weights are worked out: every second unless set, gRPC's figure; at least 100 ms.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub weight_update_period: Duration,
    /// How many units of utilisation it counts for that all queries fail: 1 unless set, gRPC's figure; 0 ignores errors.
    #[cfg_attr(feature = "serde", serde(alias = "error_utilization_penalty"))]
    pub error_utilisation_penalty: f64,
    /// What an endpoint weighs that has no usable report.
    pub unknown: UnknownWeight,
}

impl Default for ClientSideWeightedRoundRobinConfig {
    fn default() -> Self {
        Self {
            blackout_period: Duration::from_secs(10),
            weight_expiration_period: Duration::from_secs(180),
            weight_update_period: Duration::from_secs(1),
            error_utilisation_penalty: 1.0,
            unknown: UnknownWeight::default(),
        }
    }
}

/// What an endpoint weighs that has no usable report, among some that have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum UnknownWeight {
    /// The mean of the known weights, as in gRPC: the default, since an endpoint that joins then leaves the shares of the
    /// others among each other and of all together as they were.
    #[default]
    Mean,
    /// The median of the known weights, as in Envoy: one endpoint with an odd report does not move it.
    Median,
}

impl PolicySettings for ClientSideWeightedRoundRobinConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(ClientSideWeightedRoundRobin::new(self.clone(), members)?))
    }
}

/// In turn, each as often as its own reports earn it: queries served for each unit of utilisation.
///
/// **Idea.** Endpoints report their load ([`LoadReport`](crate::LoadReport)), with their answers or apart from them. An
/// endpoint weighs
///
/// ```text
/// queries per second ÷ (utilisation + errors per second ÷ queries per second × penalty)
/// ```
///
/// so that, served by weight, all come to the same utilisation. Reports count after a blackout and until they expire.
/// Weights are worked out once a second by one of the picks; the others go on with what there is, and none waits. The
/// schedule is gRPC's static stride, turned by the caller's own place in it.
/// **Unknown** endpoints weigh the mean of the known ones, or the median. While fewer than two are known, configured
/// weights are served. **Weights.** As in gRPC, reports take the place of configured weights and do not multiply them; zero
/// drains all the same. **Failures** count as far as endpoints report them. A report with a figure that is none, negative,
/// or with no queries or no utilisation is ignored and counted ([`reports_ignored`](Self::reports_ignored)).
/// **Cost.** O(greatest ÷ mean weight), 32 probes at most, then a weighted draw; one clock read; every second one pick does
/// O(n) and allocates. **When.** Endpoints of unlike hardware that report. **When not.** Bursts within a second: the
/// weights are of the past. **Source.** gRPC A58 (`weighted_round_robin`), A114 (which utilisation); Envoy
/// `client_side_weighted_round_robin`; ORCA, `xds.data.orca.v3`. A reconnect does not begin the blackout anew, since what a
/// connection is only the caller knows; a new incarnation of an endpoint does.
pub struct ClientSideWeightedRoundRobin {
    config: ClientSideWeightedRoundRobinConfig,
    weights: Box<[u32]>,
    learnt: Learnt<ReportedWeight>,
    schedule: ArcSwap<Stride>,
    /// When weights are to be worked out next, in nanoseconds.
    due: AtomicU64,
    shared: Arc<Shared>,
}

/// What a successor goes on with.
#[derive(Debug, Default)]
struct Shared {
    ignored: AtomicU64,
    /// When weights were worked out last, in nanoseconds.
    latest: AtomicU64,
}

impl ClientSideWeightedRoundRobin {
    /// The policy for these members, none of whom has reported yet. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] if a setting is out of range.
    pub fn new(
        config: ClientSideWeightedRoundRobinConfig,
        members: &dyn Members,
    ) -> Result<Self, InvalidPolicy> {
        check(&config)?;
        Ok(Self::with(config, members, Learnt::new(members, ReportedWeight::default), Arc::default()))
    }

    fn with(
        config: ClientSideWeightedRoundRobinConfig,
        members: &dyn Members,
        learnt: Learnt<ReportedWeight>,
        shared: Arc<Shared>,
    ) -> Self {
        let weights: Box<[u32]> = members.weights().into();
        let latest = Timestamp::from_nanos(shared.latest.load(Ordering::Relaxed));
        let schedule = Stride::new(&earned(&config, &weights, &learnt, latest));
        Self {
            config,
            weights,
            learnt,
            schedule: ArcSwap::from_pointee(schedule),
            due: AtomicU64::new(0),
            shared,
        }
    }

    /// The number of reports that said nothing and were ignored, those heard by predecessors of this policy included.
    #[must_use]
    pub fn reports_ignored(&self) -> u64 {
        self.shared.ignored.load(Ordering::Relaxed)
    }

    /// A position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let now = caller.now();
        if now.as_nanos() >= self.due.load(Ordering::Relaxed) {
            self.renew(now);
        }
        self.schedule.load().choose(view, caller)
    }

    /// Works out the weights, if nobody else has taken that on.
    #[cold]
    #[inline(never)]
    fn renew(&self, now: Timestamp) {
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(self.config.weight_update_period).as_nanos();
        let is_mine = now.as_nanos() >= due
            && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_mine {
            self.shared.latest.fetch_max(now.as_nanos(), Ordering::Relaxed);
            let schedule = Stride::new(&earned(&self.config, &self.weights, &self.learnt, now));
            self.schedule.store(Arc::new(schedule));
        }
    }
}

impl ClientSideWeightedRoundRobinConfig {
    const fn validity(&self) -> Validity {
        Validity { blackout: self.blackout_period, expiration: self.weight_expiration_period }
    }
}

/// What each position weighs at `now`.
fn earned(
    config: &ClientSideWeightedRoundRobinConfig,
    weights: &[u32],
    learnt: &Learnt<ReportedWeight>,
    now: Timestamp,
) -> Vec<f64> {
    let reported = learnt.iter().zip(weights).map(|(reported, &configured)| {
        let weight = reported.at(now, config.validity());
        weight.filter(|_| configured > 0)
    });
    let reported: Vec<Option<f64>> = reported.collect();
    let mut known: Vec<f64> = reported.iter().copied().flatten().collect();
    if known.len() < 2 {
        return weights.iter().copied().map(f64::from).collect();
    }
    let unknown = match config.unknown {
        UnknownWeight::Mean => mean(&known),
        UnknownWeight::Median => median(&mut known),
    };
    let weigh = |(weight, &configured): (Option<f64>, &u32)| match configured {
        0 => 0.0,
        _ => weight.unwrap_or(unknown),
    };
    reported.into_iter().zip(weights).map(weigh).collect()
}

/// Divided first, so that the sum of finite figures is finite.
fn mean(known: &[f64]) -> f64 {
    known.iter().map(|weight| weight / known.len() as f64).sum()
}

fn median(known: &mut [f64]) -> f64 {
    known.sort_unstable_by(f64::total_cmp);
    let middle = known.len() / 2;
    if known.len() % 2 == 1 { known[middle] } else { mean(&known[middle - 1..=middle]) }
}

fn check(config: &ClientSideWeightedRoundRobinConfig) -> Result<(), InvalidPolicy> {
    let refuse = |setting, problem: String| Err(InvalidPolicy::setting(NAME, setting, problem));
    if config.weight_update_period < SHORTEST_PERIOD {
        let problem = format!("{:?} is out of range: allowed is 100ms or more", config.weight_update_period);
        return refuse("weight_update_period", problem);
    }
    if config.weight_expiration_period <= config.blackout_period {
        let (expiration, blackout) = (config.weight_expiration_period, config.blackout_period);
        let problem =
            format!("{expiration:?} is out of range: allowed is more than the blackout of {blackout:?}");
        return refuse("weight_expiration_period", problem);
    }
    let penalty = config.error_utilisation_penalty;
    if !penalty.is_finite() || penalty < 0.0 {
        return refuse(
            "error_utilisation_penalty",
            format!("{penalty} is out of range: allowed is 0 or more"),
        );
    }
    Ok(())
}

impl Policy for ClientSideWeightedRoundRobin {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::REPORTS | Wants::CLOCK
    }

    fn on_event(&self, event: Event) {
        let Event::Reported(token, report) = event else { return };
        let Some(reported) = self.learnt.of(token) else { return };
        match weight_of(&report, self.config.error_utilisation_penalty) {
            Some(weight) => reported.update(weight, report.at, self.config.validity()),
            None => {
                self.shared.ignored.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let learnt = self.learnt.rebuild(members, ReportedWeight::default);
        Ok(Some(Arc::new(Self::with(self.config.clone(), members, learnt, Arc::clone(&self.shared)))))
    }
}

impl fmt::Debug for ClientSideWeightedRoundRobin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSideWeightedRoundRobin")
            .field("config", &self.config)
            .field("learnt", &self.learnt)
            .field("reports_ignored", &self.reports_ignored())
            .finish_non_exhaustive()
    }
}

const NAME: &str = "client_side_weighted_round_robin";

/// gRPC raises what is shorter without a word.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::latency::learnt::tests::Tokens;
    use crate::latency::testing::{Bed, invalid};
    use crate::{LoadReport, MemberList};

    type Config = ClientSideWeightedRoundRobinConfig;

    fn bed(config: Config, count: u64) -> Bed<ClientSideWeightedRoundRobin> {
        Bed::new(|members| ClientSideWeightedRoundRobin::new(config, members), count)
    }

    fn report(queries: f64) -> LoadReport {
        LoadReport::new(queries, 0.0, 0.5)
    }

    #[test]
    fn reports_earn_shares_after_the_blackout_and_lose_them_by_age() {
        let mut bed = bed(Config::default(), 2);
        bed.report(0, report(100.0));
        bed.report(1, report(300.0));
        assert_eq!(bed.picks(1000, &[]), [500, 500], "blackout");
        bed.pass(Duration::from_secs(10));
        assert_eq!(bed.picks(1000, &[]), [250, 750]);
        bed.pass(Duration::from_secs(170));
        assert_eq!(bed.picks(1000, &[]), [500, 500], "expired");
    }

    #[test]
    fn weights_are_worked_out_once_a_period() {
        let mut bed = bed(Config { blackout_period: Duration::ZERO, ..Config::default() }, 2);
        assert_eq!(bed.picks(10, &[]), [5, 5]);
        bed.report(0, report(100.0));
        bed.report(1, report(300.0));
        bed.pass(Duration::from_millis(999));
        assert_eq!(bed.picks(100, &[]), [50, 50]);
        bed.pass(Duration::from_millis(1));
        assert_eq!(bed.picks(100, &[]), [25, 75]);
    }

    #[test]
    fn the_unknown_weigh_the_mean_or_the_median_of_at_least_two_known() {
        for (unknown, known, expected) in [
            (UnknownWeight::Mean, &[(0, 100.0)][..], [300, 300, 300, 300]),
            (UnknownWeight::Mean, &[(0, 100.0), (1, 300.0)], [150, 450, 300, 300]),
            (UnknownWeight::Median, &[(0, 100.0), (1, 300.0), (2, 500.0)], [100, 300, 500, 300]),
            (UnknownWeight::Median, &[(0, 100.0), (1, 100.0), (2, 900.0)], [100, 100, 900, 100]),
        ] {
            let config = Config { blackout_period: Duration::ZERO, unknown, ..Config::default() };
            let mut bed = bed(config, 4);
            for &(token, queries) in known {
                bed.report(token, report(queries));
            }
            let counts = bed.picks(1200, &[]);
            assert!(
                counts.iter().zip(&expected).all(|(&count, &expected)| u32::abs_diff(count, expected) <= 2),
                "{counts:?}, not {expected:?}"
            );
        }
    }

    #[test]
    fn reports_that_say_nothing_are_counted_and_change_nothing() {
        let mut bed = bed(Config { blackout_period: Duration::ZERO, ..Config::default() }, 2);
        bed.report(0, report(100.0));
        bed.report(1, report(300.0));
        for queries in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            bed.report(0, report(queries));
        }
        bed.report(77, report(f64::NAN));
        assert_eq!(bed.policy.reports_ignored(), 4, "that of a stranger is none of ours");
        assert_eq!(bed.picks(100, &[]), [25, 75]);
    }

    #[test]
    fn a_successor_keeps_reports_and_a_weight_of_zero_drains() {
        let mut bed = bed(Config { blackout_period: Duration::ZERO, ..Config::default() }, 3);
        for (token, queries) in [(0, 100.0), (1, 300.0), (2, 600.0)] {
            bed.report(token, report(queries));
        }
        bed.picks(1, &[]);
        let mut members = Tokens::new([2, 1, 9, 0]);
        members.weights = vec![0, 1, 1, 1];
        let successor = bed.policy.rebuild(&members).unwrap().unwrap();
        bed.policy.on_event(Event::Reported(9, report(1.0)));
        let mask = crate::Mask::for_weights(&members.weights);
        let view = crate::Table::new(&mask, &members.weights, &[]);
        let mut caller = crate::Script::seeded(1).at(bed.now);
        let mut counts = [0; 4];
        for _ in 0..600 {
            counts[successor.pick(&view, &mut caller).unwrap()] += 1;
        }
        assert_eq!(counts, [0, 300, 200, 100], "the new one weighs the mean of 100 and 300");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let build =
            |config: Config| ClientSideWeightedRoundRobin::new(config, &MemberList::default()).map(|_| ());
        let default = Config::default;
        for (config, words) in [
            (
                Config { weight_update_period: Duration::from_millis(99), ..default() },
                "weight_update_period: 99ms",
            ),
            (
                Config { weight_expiration_period: Duration::from_secs(10), ..default() },
                "weight_expiration_period: 10s",
            ),
            (Config { error_utilisation_penalty: -1.0, ..default() }, "error_utilisation_penalty: -1"),
            (Config { error_utilisation_penalty: f64::NAN, ..default() }, "error_utilisation_penalty: NaN"),
        ] {
            invalid(build(config), &[NAME, words]);
        }
    }
}
