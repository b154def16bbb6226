use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp, below};

use crate::{Caller, InvalidPolicy, View, scan};

/// Settings of a [`ProbePool`]. The defaults are those of the paper.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ProbePoolConfig {
    /// How many answers are kept: 16 unless set; 2 to 1024.
    pub capacity: u32,
    /// How long an answer is used: 1 s unless set.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_age: Duration,
    /// Probes sent for each pick: 3 unless set; up to 32, fractions are spread evenly. Below one the pool runs dry.
    pub probes_per_pick: f64,
    /// Answers thrown away at each pick, the oldest and the worst in turn: 1 unless set; up to 32. Without it the pool
    /// fills with the bad ones that nobody picks.
    pub removals_per_pick: f64,
    /// How many answers more than are used up shall come in, as a part of those used up: 1 unless set. It decides how often
    /// an answer is used again.
    pub surplus: f64,
    /// An endpoint with more in flight than this share of those that answered of late is hot: 0.84 unless set.
    pub hot_quantile: Ratio,
}

impl Default for ProbePoolConfig {
    fn default() -> Self {
        Self {
            capacity: 16,
            max_age: Duration::from_secs(1),
            probes_per_pick: 3.0,
            removals_per_pick: 1.0,
            surplus: 1.0,
            hot_quantile: Ratio::percent(84).unwrap_or(Ratio::ONE),
        }
    }
}

/// Prequal for those who can probe: answers of endpoints about their own load, and the hot-cold rule over them.
///
/// It sends nothing. At each pick [`probes_due`](Self::probes_due) says whom to ask, whoever sends the probes hands in what
/// comes back ([`answer`](Self::answer)), and [`choose`](Self::choose) picks from what is in the pool:
///
/// ```text
/// hot          more in flight than the quantile of the last 128 answers
/// choose       the fastest that is not hot; if all are, the one with least in flight
/// leaves       by age; when used up; the oldest and the worst in turn at each pick; when the endpoint has failed
/// worst        the hot one with most in flight; if none is hot, the slowest
/// used up      after b uses, b = max(1, (1 + surplus) / ((1 - m/n) probes - removals)), m answers of n endpoints;
///              where that is not positive b has no meaning, and is m
/// ```
///
/// An answer that is used counts one more in flight, for the request that goes there. A fraction of b, of probes and of
/// removals is spread evenly, not drawn. With fewer than two answers of open endpoints the pick is a draw by weight, O(n).
/// Weights count for nothing else: what an endpoint can bear it says by itself.
///
/// A pool is a plain machine, `&mut self`; keep one for each thread, or one behind a lock. Positions are those of the view;
/// after an update say which became which ([`remap`](Self::remap)). Probes should be short, 3 ms or so in one datacentre,
/// and a client without requests may call `probes_due` from a timer, to have answers when one comes.
///
/// Source: Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you should balance: introducing Prequal", NSDI 2024.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_balance::{Mask, ProbePool, ProbePoolConfig, Script, Table};
/// use evenkeel_types::Timestamp;
///
/// let mut pool = ProbePool::new(ProbePoolConfig::default())?;
/// let (mask, now) = (Mask::all_usable(10), Timestamp::from_secs(5));
/// let (view, mut caller) = (Table::new(&mask, &[], &[]), Script::seeded(1).at(now));
/// let asked = pool.probes_due(&view, &mut caller).to_vec();
/// assert_eq!(asked.len(), 3);
/// pool.answer(asked[0], 4, Duration::from_millis(9), now);
/// pool.answer(asked[1], 2, Duration::from_millis(30), now);
/// pool.answer(asked[2], 9, Duration::from_millis(5), now);
/// assert_eq!(pool.choose(&view, &mut caller), Some(asked[2]), "the fastest, for 9 is not above the 0.84 quantile");
/// # Ok::<(), evenkeel_balance::InvalidPolicy>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProbePool {
    config: ProbePoolConfig,
    /// In the order in which they came.
    answers: Vec<Answer>,
    recent: Recent,
    probes: Spread,
    removals: Spread,
    uses: Spread,
    removes_worst: bool,
    targets: Vec<usize>,
    usable: usize,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    position: usize,
    in_flight: u32,
    latency: Duration,
    at: Timestamp,
    uses_left: u32,
}

impl ProbePool {
    /// An empty pool. Allocates once.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] if a setting is out of range.
    pub fn new(config: ProbePoolConfig) -> Result<Self, InvalidPolicy> {
        check(&config)?;
        Ok(Self {
            answers: Vec::with_capacity(config.capacity as usize),
            recent: Recent::default(),
            probes: Spread::default(),
            removals: Spread::default(),
            uses: Spread::default(),
            removes_worst: false,
            targets: Vec::with_capacity(MOST_PER_PICK as usize),
            usable: 0,
            config,
        })
    }

    /// Which open positions to probe now: distinct ones at random, as many as are due by one more pick. Fewer if there are
    /// fewer.
    pub fn probes_due<V: View + ?Sized, C: Caller + ?Sized>(&mut self, view: &V, caller: &mut C) -> &[usize] {
        self.usable = view.mask().usable();
        let wanted = (self.probes.take(self.config.probes_per_pick) as usize).min(self.usable);
        self.targets.clear();
        for _ in 0..2 * wanted + scan::DRAWS {
            if self.targets.len() == wanted {
                break;
            }
            let drawn = below(scan::upper(caller.draw()), view.mask().usable() as u32);
            let position = view.mask().at(drawn as usize);
            self.ask(view, position);
        }
        // Most are asked already, or excluded.
        for position in view.mask().iter() {
            if self.targets.len() >= wanted {
                break;
            }
            self.ask(view, position);
        }
        &self.targets
    }

    fn ask<V: View + ?Sized>(&mut self, view: &V, position: usize) {
        if view.is_open(position) && !self.targets.contains(&position) {
            self.targets.push(position);
        }
    }

    /// Takes in what an endpoint answered: the requests in flight there, and what one takes there at present. It replaces
    /// an earlier answer of the same endpoint; if the pool is full the oldest leaves.
    pub fn answer(&mut self, position: usize, in_flight: u32, latency: Duration, now: Timestamp) {
        self.failed(position);
        if self.answers.len() >= self.config.capacity as usize {
            self.answers.remove(0);
        }
        self.recent.push(in_flight);
        let uses_left = self.uses.take(self.reuse()).max(1);
        self.answers.push(Answer { position, in_flight, latency, at: now, uses_left });
    }

    /// Forgets what an endpoint answered, since a request there has failed: what fails fast is idle, and looks good.
    pub fn failed(&mut self, position: usize) {
        self.answers.retain(|answer| answer.position != position);
    }

    /// After an update: which position each one has become, `None` for endpoints that left.
    pub fn remap(&mut self, mut position: impl FnMut(usize) -> Option<usize>) {
        self.answers.retain_mut(|answer| {
            let now_at = position(answer.position);
            answer.position = now_at.unwrap_or_default();
            now_at.is_some()
        });
    }

    /// An open position, or `None` if none is open.
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(
        &mut self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        let now = caller.now();
        self.usable = view.mask().usable();
        self.answers.retain(|answer| now.saturating_since(answer.at) < self.config.max_age);
        let threshold = self.recent.quantile(self.config.hot_quantile);
        let chosen = self.best(view, threshold).map(|index| self.use_up(index));
        for _ in 0..self.removals.take(self.config.removals_per_pick) {
            self.remove(threshold);
        }
        chosen.or_else(|| scan::weighted(view, caller))
    }

    /// The answer to follow, if there are two to choose from.
    fn best<V: View + ?Sized>(&self, view: &V, threshold: u32) -> Option<usize> {
        let open = || self.answers.iter().enumerate().filter(|(_, answer)| view.is_open(answer.position));
        let rank = |answer: &Answer| match answer.in_flight > threshold {
            false => (false, answer.latency, answer.in_flight),
            true => (true, Duration::from_nanos(answer.in_flight.into()), 0),
        };
        let least = open().min_by_key(|(_, answer)| rank(answer)).map(|(index, _)| index);
        least.filter(|_| open().nth(1).is_some())
    }

    fn use_up(&mut self, index: usize) -> usize {
        let answer = &mut self.answers[index];
        answer.in_flight = answer.in_flight.saturating_add(1);
        answer.uses_left -= 1;
        let position = answer.position;
        if answer.uses_left == 0 {
            self.answers.remove(index);
        }
        position
    }

    fn remove(&mut self, threshold: u32) {
        let rank = |answer: &Answer| match answer.in_flight > threshold {
            true => (true, Duration::from_nanos(answer.in_flight.into())),
            false => (false, answer.latency),
        };
        let worst = self.answers.iter().enumerate().max_by_key(|(_, answer)| rank(answer));
        let Some((worst, _)) = worst else { return };
        self.answers.remove(if self.removes_worst { worst } else { 0 });
        self.removes_worst = !self.removes_worst;
    }

    /// How often an answer is used.
    fn reuse(&self) -> f64 {
        let most = f64::from(self.config.capacity);
        let kept = 1.0 - most / self.usable.max(1) as f64;
        let net = kept * self.config.probes_per_pick - self.config.removals_per_pick;
        if net > 0.0 { ((1.0 + self.config.surplus) / net).clamp(1.0, most) } else { most }
    }
}

/// Whole numbers whose mean is a fraction.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    left: f64,
}

impl Spread {
    fn take(&mut self, rate: f64) -> u32 {
        let sum = self.left + rate;
        let whole = sum as u32;
        self.left = sum - f64::from(whole);
        whole
    }
}

/// The requests in flight that the last answers told of.
#[derive(Clone, Debug, Default)]
struct Recent {
    /// A ring, once it is full.
    told: Vec<u32>,
    next: usize,
    scratch: Vec<u32>,
}

impl Recent {
    fn push(&mut self, in_flight: u32) {
        if self.told.len() < RECENT {
            self.told.push(in_flight);
        } else {
            self.told[self.next] = in_flight;
            self.next = (self.next + 1) % RECENT;
        }
    }

    /// The smallest that the share `quantile` of all does not exceed; zero of none.
    fn quantile(&mut self, quantile: Ratio) -> u32 {
        self.scratch.clone_from(&self.told);
        let total = self.scratch.len();
        // The least rank that reaches the share, in whole numbers.
        let rank = (total as u64 * u64::from(quantile.parts_per_million())).div_ceil(1_000_000);
        let index = (rank as usize).saturating_sub(1);
        if total == 0 { 0 } else { *self.scratch.select_nth_unstable(index.min(total - 1)).1 }
    }
}

fn check(config: &ProbePoolConfig) -> Result<(), InvalidPolicy> {
    let refuse = |setting, problem: String| Err(InvalidPolicy::setting("probe_pool", setting, problem));
    if !(2..=1024).contains(&config.capacity) {
        return refuse("capacity", format!("{} is out of range: allowed are 2 to 1024", config.capacity));
    }
    if config.max_age.is_zero() {
        return refuse("max_age", "0s is out of range: allowed is above 0s".to_owned());
    }
    for (setting, rate) in
        [("probes_per_pick", config.probes_per_pick), ("removals_per_pick", config.removals_per_pick)]
    {
        if !(0.0..=MOST_PER_PICK).contains(&rate) {
            return refuse(setting, format!("{rate} is out of range: allowed are 0 to 32"));
        }
    }
    if !config.surplus.is_finite() || config.surplus < 0.0 {
        return refuse("surplus", format!("{} is out of range: allowed is 0 or more", config.surplus));
    }
    Ok(())
}

const MOST_PER_PICK: f64 = 32.0;

/// Enough for a quantile of 0.84, few enough to be of now.
const RECENT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mask, Script, Table};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Nothing leaves by itself but by age.
    fn still() -> ProbePoolConfig {
        ProbePoolConfig { removals_per_pick: 0.0, ..ProbePoolConfig::default() }
    }

    fn pool(config: ProbePoolConfig) -> ProbePool {
        ProbePool::new(config).expect("valid settings")
    }

    fn positions(pool: &ProbePool) -> Vec<usize> {
        pool.answers.iter().map(|answer| answer.position).collect()
    }

    /// Answers as (position, in flight, milliseconds), all at the same time; whom a pick takes.
    fn chosen(config: ProbePoolConfig, answers: &[(usize, u32, u64)], excluded: &[usize]) -> Option<usize> {
        let mut pool = pool(config);
        for &(position, in_flight, millis) in answers {
            pool.answer(position, in_flight, ms(millis), at(0));
        }
        let mask = Mask::all_usable(100);
        pool.choose(&Table::new(&mask, &[], &[]).excluding(excluded), &mut Script::new(|| 0))
    }

    #[test]
    fn hot_and_cold() {
        let config = |percent| ProbePoolConfig { hot_quantile: Ratio::percent(percent).unwrap(), ..still() };
        let answers = [(7, 9, 5), (8, 4, 10), (9, 1, 20)];
        for (percent, answers, excluded, expected) in [
            (100, &answers[..], &[][..], 7),
            (84, &answers, &[], 7),
            (66, &answers, &[], 8),
            (33, &answers, &[], 9),
            (0, &answers, &[], 9),
            // All that are open are hot: the least loaded of them.
            (33, &answers, &[9], 8),
            // Equals: the less loaded, then whoever came first.
            (100, &[(7, 2, 5), (8, 1, 5), (9, 1, 5)], &[], 8),
            // Fewer than two that are open: a draw, whose first is position 0.
            (100, &answers[..1], &[], 0),
            (100, &answers, &[8, 9], 0),
            (100, &[], &[], 0),
        ] {
            assert_eq!(
                chosen(config(percent), answers, excluded),
                Some(expected),
                "{percent} {answers:?} {excluded:?}"
            );
        }
    }

    #[test]
    fn an_answer_that_is_used_counts_one_more_in_flight() {
        let config = ProbePoolConfig { hot_quantile: Ratio::ZERO, ..still() };
        let mut pool = pool(config);
        let mask = Mask::all_usable(4);
        for (position, in_flight) in [(0, 1), (1, 2), (2, 3)] {
            pool.answer(position, in_flight, ms(1), at(0));
        }
        let view = Table::new(&mask, &[], &[]);
        let picked: Vec<_> = (0..6).filter_map(|_| pool.choose(&view, &mut Script::seeded(1))).collect();
        assert_eq!(picked, [0, 0, 1, 0, 1, 2]);
    }

    #[test]
    fn answers_leave_by_age_and_the_newest_of_an_endpoint_stays() {
        let mut pool = pool(still());
        let mask = Mask::all_usable(100);
        let view = Table::new(&mask, &[], &[]);
        for (position, millis) in [(1, 0), (2, 500), (1, 600), (3, 700)] {
            pool.answer(position, 0, ms(1), at(millis));
        }
        assert_eq!(positions(&pool), [2, 1, 3]);
        for (now, left) in [(1499, vec![2, 1, 3]), (1500, vec![1, 3]), (1600, vec![3]), (1700, vec![])] {
            pool.answers.iter_mut().for_each(|answer| answer.uses_left = 99);
            pool.choose(&view, &mut Script::seeded(1).at(at(now)));
            assert_eq!(positions(&pool), left, "{now}");
        }
    }

    #[test]
    fn a_full_pool_loses_the_oldest_and_a_failure_its_answers() {
        let mut pool = pool(ProbePoolConfig { capacity: 3, ..still() });
        for position in 0..5 {
            pool.answer(position, 0, ms(1), at(0));
        }
        assert_eq!(positions(&pool), [2, 3, 4]);
        pool.failed(3);
        assert_eq!(positions(&pool), [2, 4]);
        pool.remap(|position| (position != 2).then_some(position + 10));
        assert_eq!(positions(&pool), [14]);
    }

    #[test]
    fn the_oldest_and_the_worst_leave_in_turn() {
        let config = ProbePoolConfig { removals_per_pick: 0.5, hot_quantile: Ratio::ONE, ..still() };
        let mut pool = pool(config);
        let mask = Mask::all_usable(100);
        let view = Table::new(&mask, &[], &[]);
        // Somebody was busy of late, so that nobody else is hot.
        pool.answer(9, 50, ms(1), at(0));
        pool.failed(9);
        for (position, millis) in [(1, 9), (2, 90), (3, 5), (4, 50), (5, 1)] {
            pool.answer(position, 1, ms(millis), at(0));
        }
        let mut left = Vec::new();
        for _ in 0..6 {
            pool.choose(&view, &mut Script::seeded(1));
            left.push(positions(&pool).iter().map(usize::to_string).collect::<String>());
        }
        assert_eq!(left, ["12345", "2345", "2345", "345", "345", "45"]);
    }

    #[test]
    fn the_worst_is_the_hot_one_with_most_in_flight() {
        let config = ProbePoolConfig { hot_quantile: Ratio::HALF, ..ProbePoolConfig::default() };
        let mut pool = pool(config);
        for (position, in_flight, millis) in [(1, 1, 900), (2, 5, 1), (3, 7, 1), (4, 1, 2)] {
            pool.answer(position, in_flight, ms(millis), at(0));
        }
        pool.removes_worst = true;
        pool.remove(pool.recent.clone().quantile(Ratio::HALF));
        assert_eq!(positions(&pool), [1, 2, 4]);
    }

    #[test]
    fn answers_are_used_as_often_as_the_formula_says() {
        // (m, n, probes, removals, b): the paper's, then where the formula has no meaning.
        for (capacity, usable, probes, removals, expected) in [
            (16, 100, 3.0, 1.0, 1.32),
            (16, 100, 1.0, 0.25, 3.39),
            (16, 100, 0.5, 0.25, 11.76),
            (16, 100, 32.0, 1.0, 1.0),
            (16, 24, 3.0, 1.0, 16.0),
            (16, 16, 3.0, 1.0, 16.0),
            (16, 0, 3.0, 1.0, 16.0),
        ] {
            let mut pool = pool(ProbePoolConfig {
                capacity,
                probes_per_pick: probes,
                removals_per_pick: removals,
                ..ProbePoolConfig::default()
            });
            pool.usable = usable;
            assert!((pool.reuse() - expected).abs() < 0.005, "{} for {capacity} {usable}", pool.reuse());
            let mut total = 0;
            for position in 0..1000 {
                pool.answer(position, 0, ms(1), at(0));
                total += pool.answers.last().map_or(0, |answer| answer.uses_left);
            }
            assert!((f64::from(total) / 1000.0 - pool.reuse()).abs() < 0.002, "{total}");
        }
    }

    #[test]
    fn probes_go_to_distinct_open_endpoints_at_the_rate_that_is_set() {
        let mask = Mask::new(10, |position| position != 4);
        let view = Table::new(&mask, &[], &[]).excluding(&[5]);
        for (rate, expected) in
            [(3.0, [3, 3, 3, 3]), (0.5, [0, 1, 0, 1]), (1.25, [1, 1, 1, 2]), (32.0, [8, 8, 8, 8])]
        {
            let mut pool = pool(ProbePoolConfig { probes_per_pick: rate, ..still() });
            let mut caller = Script::seeded(3);
            for expected in expected {
                let mut asked = pool.probes_due(&view, &mut caller).to_vec();
                asked.sort_unstable();
                asked.dedup();
                assert_eq!(asked.len(), expected, "{rate}");
                assert!(asked.iter().all(|position| ![4, 5].contains(position)));
            }
        }
        let nobody = Mask::all_usable(0);
        assert!(pool(still()).probes_due(&Table::new(&nobody, &[], &[]), &mut Script::seeded(1)).is_empty());
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let default = ProbePoolConfig::default;
        for (config, setting) in [
            (ProbePoolConfig { capacity: 1, ..default() }, "capacity"),
            (ProbePoolConfig { capacity: 1025, ..default() }, "capacity"),
            (ProbePoolConfig { max_age: Duration::ZERO, ..default() }, "max_age"),
            (ProbePoolConfig { probes_per_pick: f64::NAN, ..default() }, "probes_per_pick"),
            (ProbePoolConfig { removals_per_pick: -1.0, ..default() }, "removals_per_pick"),
            (ProbePoolConfig { surplus: f64::INFINITY, ..default() }, "surplus"),
        ] {
            let error = ProbePool::new(config).expect_err("out of range").to_string();
            assert!(error.contains(setting), "{error}");
        }
    }
}
