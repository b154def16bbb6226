//! Keys that get more than their share of the requests, and how many endpoints each should have.

use std::sync::Arc;

use crate::InvalidPolicy;
use crate::hash::mix::{again, scale};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// When a key is hot, and over how many endpoints it spreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HotKeySettings {
    /// How much of the requests one key may bring to one endpoint, in percent of an endpoint's fair share: 10 to 1 000. A
    /// key above it spreads over as many endpoints as bring it below. Default 100: no key alone fills an endpoint.
    pub limit: u32,
    /// The most endpoints of one key: 2 to 32. Default 8: what endpoints remember of the key is made 8 times at most.
    pub max_width: u32,
    /// One in so many requests is counted: 1 to 1 024. Default 16: counting costs some 50 nanoseconds, and memory that
    /// threads share; a hot key is noticed 16 times later.
    pub sample: u32,
}

impl Default for HotKeySettings {
    fn default() -> Self {
        Self { limit: 100, max_width: 8, sample: 16 }
    }
}

impl HotKeySettings {
    /// Whether the settings are in range.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] that names `policy` and the setting.
    pub fn validate(&self, policy: &'static str) -> Result<(), InvalidPolicy> {
        for (setting, value, least, most) in [
            ("key.hot_keys.limit", self.limit, 10, 1000),
            ("key.hot_keys.max_width", self.max_width, 2, MOST_WIDTH),
            ("key.hot_keys.sample", self.sample, 1, 1024),
        ] {
            if !(least..=most).contains(&value) {
                let problem = format!("{value} is out of range: allowed are {least} to {most}");
                return Err(InvalidPolicy::setting(policy, setting, problem));
            }
        }
        Ok(())
    }
}

/// The most endpoints of one key: a pick keeps them on its stack.
pub(super) const MOST_WIDTH: u32 = 32;

/// Estimates the share of each key among the requests, in bounded memory and without locks, and says over how many
/// endpoints it should spread.
///
/// **Idea.** A count-min sketch: four rows of counters; a key adds one to a counter of each row, and its share is the
/// least that its four say. Old requests fade: each counted request also halves one counter, in turn, so a counter is
/// halved once in every *window*, which is as many requests as there are counters. No clock is read, no request pays for
/// all halvings, and what a counter of a key of share 1 would say at any moment is known exactly: dividing by it gives
/// the share. A key whose share exceeds the limit, so much of the fair share 1 ÷ n, spreads over
/// ⌈share × n ÷ limit⌉ endpoints: the first of its walk, so that a wider key keeps the endpoints that it had.
///
/// **Bounds.** What other keys do only adds to a share: by more than e ÷ columns in one case of e^4 = 55 at most, and far
/// less as a rule, since the least of four counts. There are 16 columns for each endpoint, rounded up to a power of two,
/// 256 to 65 536: so that is a sixth of the fair share up to 4 096 endpoints. Halving odd counts takes at most one from a
/// count. Chance moves a count of m by √m; at the fair share m is 64 at least. **Memory.** 16 bytes a column: 4 KiB to
/// 1 MiB. **Threads** share the counters, with relaxed additions.
/// **Source.** Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch and its applications",
/// 2005; fading by halving as in TinyLFU, arXiv 1512.00727; the lesser of two among several endpoints as in Fan, Lim,
/// Andersen and Kaminsky, "Small cache, big effect", 2011, and the power of two choices.
#[derive(Clone, Debug)]
pub struct HotKeys {
    settings: HotKeySettings,
    endpoints: u32,
    sketch: Arc<Sketch>,
}

#[derive(Debug)]
struct Sketch {
    /// Row after row.
    counters: Box<[AtomicU32]>,
    columns: u32,
    /// How many requests were counted.
    counted: AtomicU64,
}

const ROWS: u32 = 4;

impl HotKeys {
    /// A sketch for so many endpoints.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`], in the name of `policy`, if a setting is out of range.
    pub fn new(
        policy: &'static str,
        settings: HotKeySettings,
        endpoints: usize,
    ) -> Result<Self, InvalidPolicy> {
        settings.validate(policy)?;
        Ok(Self {
            settings,
            endpoints: clamped(endpoints),
            sketch: Arc::new(Sketch::new(columns(endpoints))),
        })
    }

    /// For another number of endpoints. What is known is shared with this one, unless the number needs another size.
    #[must_use]
    pub fn resized(&self, endpoints: usize) -> Self {
        let columns = columns(endpoints);
        let is_alike = columns == self.sketch.columns;
        let sketch = if is_alike { Arc::clone(&self.sketch) } else { Arc::new(Sketch::new(columns)) };
        Self { settings: self.settings, endpoints: clamped(endpoints), sketch }
    }

    /// Counts a request for a key, if `draw` chooses it for the sample. O(1).
    #[inline]
    pub fn observe(&self, hash: u64, draw: u64) {
        if scale(draw, self.settings.sample) == 0 {
            self.sketch.count(hash);
        }
    }

    /// The share of a key among the requests, from 0 to 1. O(1).
    #[must_use]
    pub fn share(&self, hash: u64) -> f64 {
        self.sketch.share(hash)
    }

    /// Over how many endpoints a key should spread: 1 as a rule. O(1).
    #[inline]
    #[must_use]
    pub fn width(&self, hash: u64) -> u32 {
        let limit = f64::from(self.settings.limit) / 100.0;
        let width = (self.share(hash) * f64::from(self.endpoints) / limit).ceil();
        (width as u32).clamp(1, self.settings.max_width.min(self.endpoints.max(1)))
    }

    /// The bytes that it holds.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of_val(&*self.sketch.counters)
    }
}

fn clamped(endpoints: usize) -> u32 {
    u32::try_from(endpoints).unwrap_or(u32::MAX)
}

fn columns(endpoints: usize) -> u32 {
    clamped(endpoints).saturating_mul(16).clamp(256, 1 << 16).next_power_of_two()
}

impl Sketch {
    fn new(columns: u32) -> Self {
        let counters = (0..ROWS * columns).map(|_| AtomicU32::new(0)).collect();
        Self { counters, columns, counted: AtomicU64::new(0) }
    }

    #[inline(never)]
    fn count(&self, hash: u64) {
        let turn = self.counted.fetch_add(1, Ordering::Relaxed) % self.window();
        let halved = |count| Some(count / 2);
        let _ = self.counters[turn as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, halved);
        for row in 0..ROWS {
            self.counters[self.counter(hash, row)].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn share(&self, hash: u64) -> f64 {
        let counted = self.counted.load(Ordering::Relaxed);
        let shares = (0..ROWS).map(|row| {
            let counter = self.counter(hash, row);
            let full = self.full(counter as u64, counted).max(1);
            f64::from(self.counters[counter].load(Ordering::Relaxed)) / full as f64
        });
        shares.fold(1.0, f64::min)
    }

    /// After so many counted requests every counter was halved once.
    fn window(&self) -> u64 {
        u64::from(ROWS * self.columns)
    }

    /// The counter of a key in a row.
    #[inline]
    fn counter(&self, hash: u64, row: u32) -> usize {
        (row * self.columns + scale(again(hash, row.into()), self.columns)) as usize
    }

    /// What a counter would say by now if every request had counted there.
    fn full(&self, counter: u64, counted: u64) -> u64 {
        if counted <= counter {
            return counted;
        }
        // The request that halves a counter comes after as many as its number, and then one in each window.
        let (past, window) = (counted - counter - 1, self.window());
        let (halvings, since) = ((past / window).min(62) + 1, past % window + 1);
        // The k-th halving leaves window × (½ + … + 2^-(k - 1)) + counter × 2^-k.
        window - (window >> (halvings - 1)) + (counter >> halvings) + since
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_types::{RandomSource, SplitMix64};

    use super::*;

    fn hot_keys(settings: HotKeySettings, endpoints: usize) -> HotKeys {
        HotKeys::new("test", settings, endpoints).unwrap()
    }

    fn all() -> HotKeySettings {
        HotKeySettings { sample: 1, ..HotKeySettings::default() }
    }

    /// Keys drawn with probability proportional to 1 ÷ rank: returns their probabilities.
    fn feed_zipf(hot: &HotKeys, keys: usize, requests: usize, seed: u64) -> Vec<f64> {
        let total: f64 = (1..=keys).map(|rank| 1.0 / rank as f64).sum();
        let shares: Vec<f64> = (1..=keys).map(|rank| 1.0 / rank as f64 / total).collect();
        let sums: Vec<f64> = shares
            .iter()
            .scan(0.0, |sum, share| {
                *sum += share;
                Some(*sum)
            })
            .collect();
        let mut draws = SplitMix64::new(seed);
        for _ in 0..requests {
            let draw = (draws.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            let key = sums.partition_point(|&sum| sum < draw).min(keys - 1);
            hot.observe(SplitMix64::mix(key as u64 + 1), draws.next_u64());
        }
        shares
    }

    /// One key and nothing else: at every moment its share is 1, but for what halving odd counts takes.
    #[test]
    fn a_full_counter_is_known_at_every_moment() {
        let hot = hot_keys(all(), 3);
        let key = 42;
        for request in 1..5000 {
            hot.observe(key, 0);
            let share = hot.share(key);
            assert!((0.985..=1.0).contains(&share), "{share} after {request}");
        }
    }

    #[test]
    fn shares_of_zipf_keys_are_found_at_any_time() {
        for (endpoints, requests) in [(10, 500), (10, 3_000), (10, 20_000), (100, 100_000)] {
            let hot = hot_keys(all(), endpoints);
            let shares = feed_zipf(&hot, 1000, requests, 7);
            for (key, &expected) in shares.iter().enumerate().take(20) {
                let share = hot.share(SplitMix64::mix(key as u64 + 1));
                // A count is of at least so many requests, or of all that there were.
                let counted = hot.sketch.window().min(requests as u64) as f64 * expected;
                let noise =
                    5.0 * expected / counted.sqrt() + 2.0 / hot.sketch.window().min(requests as u64) as f64;
                let others = std::f64::consts::E / f64::from(hot.sketch.columns);
                assert!(
                    share > expected - noise && share < expected + noise + others,
                    "{share} for {expected} of key {key} after {requests}"
                );
            }
        }
    }

    #[test]
    fn hot_keys_spread_and_the_others_stay() {
        let hot = hot_keys(all(), 100);
        feed_zipf(&hot, 10_000, 60_000, 3);
        let width = |key: u64| hot.width(SplitMix64::mix(key + 1));
        // 1 ÷ rank of 9.79 in all: the first has 10.2 fair shares, the fifth two, the fiftieth a fifth.
        assert_eq!(width(0), 8, "capped");
        assert!((2..=4).contains(&width(4)), "{}", width(4));
        assert!((50..1000).all(|key| width(key) == 1));
        let wider = HotKeys { settings: HotKeySettings { max_width: 32, ..all() }, ..hot.clone() };
        assert!((10..=12).contains(&wider.width(SplitMix64::mix(1))));
        let laxer = HotKeys { settings: HotKeySettings { limit: 1000, ..all() }, ..hot };
        assert!(laxer.width(SplitMix64::mix(1)) <= 2);
    }

    #[test]
    fn what_was_hot_is_forgotten() {
        let hot = hot_keys(all(), 10);
        (0..5000).for_each(|_| hot.observe(1, 0));
        assert_eq!(hot.width(1), 8);
        let windows = 6 * hot.sketch.window();
        (0..windows).for_each(|other| hot.observe(SplitMix64::mix(other + 100), 0));
        assert_eq!(hot.width(1), 1, "{}", hot.share(1));
    }

    #[test]
    fn a_sample_is_enough() {
        let hot = hot_keys(HotKeySettings { sample: 16, ..all() }, 10);
        let shares = feed_zipf(&hot, 1000, 100_000, 5);
        let share = hot.share(SplitMix64::mix(1));
        assert!((share - shares[0]).abs() < 0.03, "{share} for {}", shares[0]);
    }

    #[test]
    fn others_of_about_as_many_share_what_is_known() {
        let hot = hot_keys(all(), 10);
        (0..5000).for_each(|_| hot.observe(1, 0));
        assert_eq!(hot.resized(11).width(1), 8);
        assert_eq!(hot.resized(3).width(1), 3, "not more than there are");
        assert_eq!(hot.resized(100).width(1), 1, "starts afresh");
        assert_eq!(hot_keys(all(), 0).width(1), 1);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let text = |settings: HotKeySettings| settings.validate("ring_hash").unwrap_err().to_string();
        assert_eq!(
            text(HotKeySettings { limit: 9, ..all() }),
            "policy ring_hash: key.hot_keys.limit: 9 is out of range: allowed are 10 to 1000"
        );
        assert!(text(HotKeySettings { max_width: 33, ..all() }).contains("max_width: 33"));
        assert!(text(HotKeySettings { sample: 0, ..all() }).contains("sample: 0"));
    }
}
