use std::sync::Arc;
use std::time::Duration;

use evenkeel_types::{RandomSource, SplitMix64, Timestamp, below};

use super::fleet::Fleet;
use super::learnt::Learnt;
use super::price::{Cheapest, Price};
use super::settings;
use super::standing::{Cost, MOST_BACKOFF, Part, Rules, Standing};
use crate::built_in::are_equal;
use crate::draws::few::{Contest, Few};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::{
    BuiltIn, Caller, Choices, Event, InvalidPolicy, Members, Policy, PolicySettings, View, Wants, scan,
};

/// Settings of [`LeastLatency`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LeastLatencyConfig {
    /// Up to so many usable endpoints all are compared: 128 unless set, which costs less than a microsecond; at most 128.
    /// Comparing all is what wins most: two choices throw away what the caller knows of the others.
    pub scan_up_to: u32,
    /// Of more endpoints so many are drawn and compared: 32 unless set; 2 to 32.
    pub choices: u32,
    /// The time after which what an endpoint was seen to do counts for 37 %: 15 s unless set. Between 5 s and 40 s the
    /// tail moves by a few percent: longer is better among equal servers, of which a client hears seldom, shorter where
    /// servers differ and change.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub decay: Duration,
    /// How many answers that take what is typical of the fleet each endpoint is given beside its own: 2 unless set, so that
    /// one quick answer is not taken for a quick server; 1 to 100.
    pub prior: u32,
    /// The latency is multiplied by one more than what is in flight to this power: 2 unless set; 1 to 4. One client that
    /// sends everything does better with more, since its own count is the truth.
    pub load_power: u32,
    /// Whether an answer that does not come is evidence before it comes: yes unless set.
    pub overdue: bool,
    /// Whether an endpoint that is out of the ordinary gets one request at a time, as long as there are others: yes unless
    /// set.
    pub trials: bool,
    /// How many times the decay may be doubled for an endpoint that is found slow or failing whenever it is tried: 2 unless
    /// set, to a minute; at most 8.
    pub backoff: u32,
    /// What is compared is divided by the share of successes to this power: 4 unless set; 0 ignores failures, at most 8.
    pub failure_power: u32,
}

impl Default for LeastLatencyConfig {
    fn default() -> Self {
        Self {
            scan_up_to: 128,
            choices: 32,
            decay: Duration::from_secs(15),
            prior: 2,
            load_power: 2,
            overdue: true,
            trials: true,
            backoff: 2,
            failure_power: 4,
        }
    }
}

impl PolicySettings for LeastLatencyConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(LeastLatency::new(self, members)?))
    }
}

/// The endpoint that is expected to answer soonest, by all that its caller knows without asking.
///
/// **Idea.** Each endpoint has the mean of its answers of late, and how much that is worth. The less it is worth, the
/// nearer the expectation is to the mean of the fleet: an endpoint that has answered once, or not for a while, is taken for
/// an ordinary one. The cost of a request is that expectation times the square of one more than what is in flight there.
/// All endpoints are compared, or 32 of more than 128; if the best of these is busy then one of sixteen that became idle of
/// late is taken, if it is cheaper.
/// **Overdue answers** are evidence before they come: where verdicts are open and none comes, the endpoint takes at least as
/// long as that. So a black hole is left after a latency or two. Who answers early (`Pick::record`) owes nothing for the
/// rest of a stream.
/// **Trials.** An answer is out of the ordinary if it takes four mean deviations more than the mean of the fleet, or
/// fails. After one such an endpoint gets one request at a time while there are others, until it answers as the others do;
/// and each request that finds it so again doubles the time for which that is believed, up to a minute. So a server
/// that stays slow gets next to no requests, and one that was slow for a moment is back soon.
/// **Forgiving.** What is known fades to three quarters of what is typical, so that in an idle fleet everybody is asked
/// again: an endpoint that answers sixteen times as slow or worse is after one to two minutes, or some four when it was
/// found so again and again; sooner the more the others have in flight.
/// **Failures** never lower an expectation, and the cost is divided by the share of successes to the power
/// [`failure_power`](LeastLatencyConfig::failure_power); a request that was given up counts three times. **Unknown**
/// endpoints count as ordinary ones.
/// **Weights.** At equal latency idle shares are the weights, and under load a request in flight counts for less on a
/// heavier endpoint.
/// **Cost.** O(n) up to 128 endpoints, else 32 draws; one clock read. What ages is renewed in turn, 128 endpoints each
/// 16 ms by one of the picks; the first pick after an update renews all. Each pick and each verdict writes two words of
/// the endpoint. 110 bytes an endpoint.
/// **When.** Endpoints may differ, have neighbours, stall or fail; one client or many. What it wins and loses in the
/// simulator, against policies with probes too, is in `docs/decisions/0015-least-latency.md`.
/// **When not.** Requests whose duration is not the server's doing, as long polling; every request to the same endpoint
/// ([`Maglev`](crate::Maglev)); shares that must be even when nothing is loaded.
/// **Source.** The pieces are known: shrinking a mean towards that of the group (James and Stein 1961), TCP's bar of four
/// deviations (RFC 6298), latency times load (Finagle's `PeakEwma.scala`), estimates that are updated by what was sent since
/// (van der Boor, Borst and van Leeuwaarden, "Hyper-scalable JSQ with sparse feedback", arXiv 1903.02337).
#[derive(Debug)]
pub struct LeastLatency {
    rules: Rules,
    scan_up_to: usize,
    load_power: u32,
    all: Few,
    some: Few,
    /// Mean weight ÷ weight, where weights differ: what a request in flight counts for.
    scales: Option<Box<[f64]>>,
    learnt: Learnt<Standing>,
    fleet: Arc<Fleet>,
    /// What each position costs, as two single-precision numbers: renewed by answers, and in turn for what ages.
    costs: Box<[AtomicU64]>,
    sweep: Sweep,
    /// Some who became idle, among more endpoints than are compared: each has one place, which it shares with others.
    idle: [AtomicU32; IDLE],
}

impl LeastLatency {
    /// The policy for these members, of whom nothing is known yet. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] if a setting is out of range.
    pub fn new(config: &LeastLatencyConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let decay = settings::decay(NAME, "decay", config.decay)?;
        settings::failure_power(NAME, config.failure_power)?;
        within("scan_up_to", config.scan_up_to, 0, MOST_SCANNED as u32)?;
        within("prior", config.prior, 1, 100)?;
        within("load_power", config.load_power, 1, 4)?;
        within("backoff", config.backoff, 0, MOST_BACKOFF)?;
        let rules = Rules {
            decay,
            prior: f64::from(config.prior),
            backoff: config.backoff,
            failure_power: config.failure_power,
            overdue: config.overdue,
            trials: config.trials,
        };
        Ok(Self {
            rules,
            scan_up_to: config.scan_up_to as usize,
            load_power: config.load_power,
            all: Few::new(NAME, Choices::All, members.weights())?,
            some: Few::new(NAME, Choices::Draw(config.choices), members.weights())?,
            scales: scales(members.weights()),
            learnt: Learnt::new(members, Standing::default),
            fleet: Arc::default(),
            costs: costs(members),
            sweep: Sweep::default(),
            idle: nobody(),
        })
    }

    fn successor(&self, members: &dyn Members) -> Self {
        Self {
            rules: self.rules,
            scan_up_to: self.scan_up_to,
            load_power: self.load_power,
            all: self.all.for_weights(members.weights()),
            some: self.some.for_weights(members.weights()),
            scales: scales(members.weights()),
            learnt: self.learnt.rebuild(members, Standing::default),
            fleet: Arc::clone(&self.fleet),
            costs: costs(members),
            sweep: Sweep::default(),
            idle: nobody(),
        }
    }

    /// A position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let now = caller.now();
        if self.sweep.is_due(now) {
            self.look_at_some(now);
        }
        let usable = view.mask().usable();
        let count = self.costs.len();
        let is_plain =
            self.scales.is_none() && usable == count && view.mask().len() == count && view.admits_all();
        let chosen = if usable > self.scan_up_to {
            let contest = Cheapest(|position, load| self.price(position, load));
            let drawn = self.some.choose(view, caller, &contest);
            drawn.map(|drawn| self.or_idle(view, &contest, drawn))
        } else if is_plain {
            self.least(view, caller)
        } else {
            self.all.choose(view, caller, &Cheapest(|position, load| self.price(position, load)))
        }?;
        if let Some(standing) = self.learnt.at(chosen) {
            standing.choose(view.load(chosen), now);
        }
        Some(chosen)
    }

    /// Where whoever was drawn is busy: one of those that became idle, if it is still so and cheaper.
    #[inline]
    fn or_idle<V: View + ?Sized>(&self, view: &V, contest: &impl Contest, drawn: usize) -> usize {
        if view.load(drawn) == 0 {
            return drawn;
        }
        let busy = contest.enter(view, drawn);
        // Beginning where the draw says, so that no place is preferred.
        let places = (0..IDLE).map(|place| &self.idle[(drawn + place) % IDLE]);
        let mut known = places.map(|place| place.load(Ordering::Relaxed) as usize);
        let is_better = |&idle: &usize| {
            idle < self.costs.len()
                && view.load(idle) == 0
                && view.is_open(idle)
                && contest.replaces(contest.enter(view, idle), busy)
        };
        known.find(is_better).unwrap_or(drawn)
    }

    /// The least of all, where all are usable and weights are equal; ties are told apart at random.
    #[inline]
    fn least<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let mut loads = [0_u32; MOST_SCANNED];
        let mut totals = [f32::INFINITY; MOST_SCANNED];
        let count = self.costs.len().min(MOST_SCANNED);
        let (loads, totals) = (&mut loads[..count], &mut totals[..count]);
        view.loads(loads);
        let mut least = f32::INFINITY;
        for ((total, &load), cost) in totals.iter_mut().zip(&*loads).zip(&self.costs) {
            let (next, each) = unpack(cost.load(Ordering::Relaxed));
            *total = next + each * queue(load, self.load_power);
            least = least.min(*total);
        }
        let mut draws = SplitMix64::new(caller.draw());
        let mut chosen = None;
        let mut equals = 0;
        for (position, &total) in totals.iter().enumerate() {
            if total <= least {
                equals += 1;
                if equals == 1 || below(scan::upper(draws.next_u64()), equals) == 0 {
                    chosen = Some(position);
                }
            }
        }
        chosen
    }

    #[inline]
    fn price(&self, position: usize, load: u32) -> Price {
        let (next, each) =
            self.costs.get(position).map_or((1.0, 1.0), |cost| unpack(cost.load(Ordering::Relaxed)));
        let scale = self.scales.as_ref().and_then(|scales| scales.get(position).copied()).unwrap_or(1.0);
        let queued = f64::from(each * queue(load, self.load_power)) * scale;
        Price { hot: false, next: f64::from(next), queued }
    }

    /// Renews what ages: all once after an update, then some at a time.
    #[cold]
    #[inline(never)]
    fn look_at_some(&self, now: Timestamp) {
        let count = self.costs.len();
        let Some(span) = self.sweep.take(count, now) else { return };
        let typical = self.fleet.typical();
        let (mut weights, mut sum) = if span.start == 0 { (0.0, 0.0) } else { self.sweep.sums() };
        for position in span.clone() {
            if let (Some(standing), Some(place)) = (self.learnt.at(position), self.costs.get(position)) {
                let (cost, Part { mean, weight }) = standing.cost(&typical, &self.rules, now);
                place.store(pack(cost), Ordering::Relaxed);
                weights += weight;
                sum += weight * mean.min(typical.bar);
            }
        }
        if span.end < count {
            self.sweep.set_sums(weights, sum);
        } else if weights > 0.0 {
            self.fleet.set_mean(sum / weights);
        }
    }
}

impl Policy for LeastLatency {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::LOADS | Wants::OBSERVED | Wants::CLOCK | Wants::EVENTS
    }

    fn on_event(&self, event: Event) {
        match event {
            Event::Picked(token) => {
                if let Some(standing) = self.learnt.of(token) {
                    standing.sent();
                }
            }
            Event::Observed(token, observation) => {
                let Some(position) = self.learnt.position(token) else { return };
                if let (Some(standing), Some(place)) = (self.learnt.at(position), self.costs.get(position)) {
                    standing.learn(&observation, &self.fleet, &self.rules);
                    let (cost, _) = standing.cost(&self.fleet.typical(), &self.rules, observation.at);
                    place.store(pack(cost), Ordering::Relaxed);
                    if observation.in_flight <= 1 && self.costs.len() > self.scan_up_to {
                        self.idle[position % IDLE].store(position as u32, Ordering::Relaxed);
                    }
                }
            }
            _ => {}
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(self.successor(members))))
    }
}

/// Whose turn it is to be renewed. What one pick does is bounded, so that no request pays for thousands of endpoints.
#[derive(Debug, Default)]
struct Sweep {
    /// In nanoseconds; zero until all were looked at once.
    due: AtomicU64,
    next: AtomicU32,
    /// What was summed up in this round: bits of weights, and of weights times means.
    weights: AtomicU64,
    sum: AtomicU64,
}

impl Sweep {
    #[inline]
    fn is_due(&self, now: Timestamp) -> bool {
        now.as_nanos() >= self.due.load(Ordering::Relaxed)
    }

    /// The positions to renew; `None` if somebody else took them.
    fn take(&self, count: usize, now: Timestamp) -> Option<std::ops::Range<usize>> {
        let due = self.due.load(Ordering::Relaxed);
        let later = now.as_nanos().saturating_add(INTERVAL);
        self.due.compare_exchange(due, later, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        if due == 0 {
            return Some(0..count);
        }
        let start = self.next.load(Ordering::Relaxed) as usize;
        let start = if start < count { start } else { 0 };
        let end = (start + MOST_SCANNED).min(count);
        self.next.store(end as u32, Ordering::Relaxed);
        Some(start..end)
    }

    fn sums(&self) -> (f64, f64) {
        (
            f64::from_bits(self.weights.load(Ordering::Relaxed)),
            f64::from_bits(self.sum.load(Ordering::Relaxed)),
        )
    }

    fn set_sums(&self, weights: f64, sum: f64) {
        self.weights.store(weights.to_bits(), Ordering::Relaxed);
        self.sum.store(sum.to_bits(), Ordering::Relaxed);
    }
}

/// (load + 1)^power − 1.
#[inline]
fn queue(load: u32, power: u32) -> f32 {
    let more = load as f32 + 1.0;
    match power {
        1 => more - 1.0,
        2 => more * more - 1.0,
        3 => more * more * more - 1.0,
        _ => more * more * (more * more) - 1.0,
    }
}

fn costs(members: &dyn Members) -> Box<[AtomicU64]> {
    let unknown = Cost { next: 1.0, each: 1.0 };
    members.weights().iter().map(|_| AtomicU64::new(pack(unknown))).collect()
}

fn unpack(word: u64) -> (f32, f32) {
    (f32::from_bits((word >> 32) as u32), f32::from_bits(word as u32))
}

fn pack(cost: Cost) -> u64 {
    u64::from((cost.next as f32).to_bits()) << 32 | u64::from((cost.each as f32).to_bits())
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

fn within(setting: &'static str, value: u32, low: u32, high: u32) -> Result<(), InvalidPolicy> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let problem = format!("{value} is out of range: allowed are {low} to {high}");
    Err(InvalidPolicy::setting(NAME, setting, problem))
}

fn nobody() -> [AtomicU32; IDLE] {
    std::array::from_fn(|_| AtomicU32::new(u32::MAX))
}

const NAME: &str = "least_latency";
/// The most that one pick looks at.
const MOST_SCANNED: usize = 128;
/// How many that became idle are known. Of 500 at a load of 0.95 some 25 are idle: one or two for each place.
const IDLE: usize = 16;
/// How long a renewal holds: 16 ms, short beside the time constants, long beside a pick.
const INTERVAL: u64 = 16_000_000;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::Observed;
    use crate::latency::testing::{Bed, invalid};

    fn bed(config: &LeastLatencyConfig, count: u64) -> Bed<LeastLatency> {
        let mut bed = Bed::new(|members| LeastLatency::new(config, members), count);
        for _ in 0..10 {
            for token in 0..count {
                bed.answer(token, 20);
            }
        }
        bed.pick(&vec![0; count as usize]);
        bed
    }

    #[test]
    fn the_cost_is_latency_times_the_square_of_one_more_than_the_load() {
        for (power, loads, expected) in [
            // 20 ms × 2^k against 56 ms.
            (1, [1, 0], 0),
            (2, [1, 0], 1),
            (1, [2, 0], 1),
            (4, [0, 0], 0),
        ] {
            let mut bed = bed(&LeastLatencyConfig { load_power: power, ..LeastLatencyConfig::default() }, 2);
            for _ in 0..1000 {
                bed.answer(1, 58);
                bed.answer(0, 20);
            }
            bed.pass(Duration::from_millis(20));
            assert_eq!(bed.pick(&loads), expected, "{power} {loads:?}");
        }
    }

    #[test]
    fn all_ways_to_choose_agree() {
        let of = |scan_up_to, choices| LeastLatencyConfig { scan_up_to, choices, ..Default::default() };
        for config in [of(128, 32), of(0, 32), of(2, 3)] {
            let mut bed = bed(&config, 3);
            bed.answer(1, 10);
            for loads in [[0, 0, 0], [0, 1, 5], [9, 1, 2], [3, 2, 0]] {
                let least = (0..3).min_by(|&one, &other| {
                    let total = |position: usize| {
                        let Price { next, queued, .. } = bed.policy.price(position, loads[position]);
                        next + queued
                    };
                    total(one).total_cmp(&total(other))
                });
                assert_eq!(Some(bed.pick(&loads)), least, "{config:?} {loads:?}");
            }
        }
    }

    #[test]
    fn who_became_idle_is_met_among_many() {
        let config = LeastLatencyConfig { scan_up_to: 0, choices: 2, ..LeastLatencyConfig::default() };
        let mut bed = bed(&config, 200);
        let mut loads = vec![3; 200];
        loads[77] = 0;
        bed.answer(77, 20);
        assert_eq!(bed.pick(&loads), 77);
        loads[77] = 3;
        loads[5] = 0;
        assert!(bed.picks(100, &loads)[5] < 20, "nobody heard of it");
    }

    #[test]
    fn many_that_became_idle_are_met_one_after_the_other() {
        let config = LeastLatencyConfig { scan_up_to: 0, choices: 2, ..LeastLatencyConfig::default() };
        let mut bed = bed(&config, 200);
        let mut loads = vec![3; 200];
        loads[70..78].fill(0);
        for token in 70..78 {
            bed.answer(token, 20);
        }
        for _ in 70..78 {
            let chosen = bed.pick(&loads);
            assert_eq!(std::mem::replace(&mut loads[chosen], 3), 0, "{chosen} is busy");
        }
    }

    #[test]
    fn an_update_keeps_what_is_known_and_the_first_pick_after_it_knows_all() {
        let mut bed = bed(&LeastLatencyConfig::default(), 300);
        for token in 0..300 {
            for _ in 0..20 {
                bed.answer(token, if token == 299 { 10 } else { 20 });
            }
        }
        bed.policy = bed.policy.successor(&super::super::learnt::tests::Tokens::new(0..300));
        bed.pick(&vec![0; 300]);
        let (last, first) = (bed.policy.price(299, 0).next, bed.policy.price(0, 0).next);
        assert!(last < 0.7 * first, "{last} {first}");
    }

    #[test]
    fn a_sweep_goes_round() {
        let sweep = Sweep::default();
        let mut spans = Vec::new();
        for round in 0..5 {
            spans.extend(sweep.take(300, Timestamp::from_millis(1000 + 20 * round)));
        }
        assert_eq!(spans, [0..300, 0..128, 128..256, 256..300, 0..128]);
    }

    #[test]
    fn one_failure_of_an_idle_fleet_is_no_verdict_and_three_are() {
        let mut bed = bed(&LeastLatencyConfig::default(), 2);
        bed.observe(0, Observed::Failure, 1);
        bed.observe(0, Observed::Failure, 1);
        bed.observe(0, Observed::Failure, 1);
        assert_eq!(bed.picks(100, &[0, 0]), [0, 100]);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let build = |config: LeastLatencyConfig| {
            LeastLatency::new(&config, &crate::MemberList::default()).map(|_| ())
        };
        let default = LeastLatencyConfig::default;
        for (config, words) in [
            (LeastLatencyConfig { decay: Duration::ZERO, ..default() }, "decay: 0s"),
            (LeastLatencyConfig { scan_up_to: 129, ..default() }, "scan_up_to: 129"),
            (LeastLatencyConfig { choices: 1, ..default() }, "choices: 1"),
            (LeastLatencyConfig { choices: 33, ..default() }, "choices: 33"),
            (LeastLatencyConfig { prior: 0, ..default() }, "prior: 0"),
            (LeastLatencyConfig { load_power: 5, ..default() }, "load_power: 5"),
            (LeastLatencyConfig { backoff: 9, ..default() }, "backoff: 9"),
            (LeastLatencyConfig { failure_power: 9, ..default() }, "failure_power: 9"),
        ] {
            invalid(build(config), &["least_latency", words]);
        }
    }
}
