//! Keys that get more than their share of the requests, and how many endpoints each should have.

use crate::InvalidPolicy;
use crate::hash::mix::{again, scale};
use crate::sync::{AtomicU32, Ordering};

/// When a key is hot, and over how many endpoints it spreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HotKeySettings {
    /// How much of the requests one key may bring to one endpoint, in percent of an endpoint's fair share: 10 to 1 000. A
    /// key above it spreads over as many endpoints as bring it below. Default 100: no key alone fills an endpoint.
    pub limit: u32,
    /// The most endpoints of one key: 2 to 1 024. Default 8: what endpoints remember of the key is made 8 times at most.
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
            ("key.hot_keys.max_width", self.max_width, 2, 1024),
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

/// Estimates the share of each key among the requests, in bounded memory and without locks.
///
/// **Idea.** A count-min sketch: four rows of counters; a key adds one to a counter of each row, and its share is the
/// least that its four say. Old requests fade: each counted request also halves one counter, in turn, so a counter is
/// halved once in every *window*, which is as many requests as there are counters. No clock is read, no request pays for
/// all halvings, and what a counter of a key of share 1 would say at any moment is known exactly: dividing by it gives
/// the share. **Bounds.** A share is never underestimated by what other keys do. It is overestimated by more than e ÷
/// `columns` in one case of e^4 = 55 at most, and far less as a rule, since the least of four counts. There are 16
/// columns for each endpoint, rounded up to a power of two, 256 to 65 536: so the bound is a sixth of a fair share up to
/// 4 096 endpoints. Chance adds 1 ÷ √(64 × share × endpoints) of it: an eighth at a fair share. **Memory.** 16 bytes a column: 4 KiB
/// to 1 MiB. **Threads** count with relaxed additions; a race between halving and adding may lose one count.
/// **Source.** Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch and its applications",
/// 2005; fading by halving as in TinyLFU, arXiv 1512.00727.
#[derive(Debug)]
pub struct HotKeys {
    settings: HotKeySettings,
    /// Row after row.
    counters: Box<[AtomicU32]>,
    columns: u32,
    /// How many requests were counted. Wraps, after which the first window's shares are too low.
    counted: AtomicU32,
    endpoints: u32,
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
        Ok(Self::sized(settings, endpoints))
    }

    fn sized(settings: HotKeySettings, endpoints: usize) -> Self {
        let endpoints = endpoints.min(u32::MAX as usize) as u32;
        let columns = endpoints.saturating_mul(16).clamp(256, 1 << 16).next_power_of_two();
        let counters = (0..ROWS * columns).map(|_| AtomicU32::new(0)).collect();
        Self { settings, counters, columns, counted: AtomicU32::new(0), endpoints }
    }

    /// The sketch for another number of endpoints: empty if that needs another size, else with what is known.
    #[must_use]
    pub fn resized(&self, endpoints: usize) -> Self {
        let next = Self::sized(self.settings, endpoints);
        if next.columns == self.columns {
            for (to, from) in next.counters.iter().zip(&self.counters) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            next.counted.store(self.counted.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        next
    }

    /// Counts a request for a key, if `draw` chooses it for the sample. O(1).
    #[inline]
    pub fn observe(&self, hash: u64, draw: u64) {
        if scale(draw, self.settings.sample) == 0 {
            self.count(hash);
        }
    }

    #[inline(never)]
    fn count(&self, hash: u64) {
        let turn = self.counted.fetch_add(1, Ordering::Relaxed) % self.window();
        let fading = &self.counters[turn as usize];
        let value = fading.load(Ordering::Relaxed);
        // One thread halves a counter, others only add to it: it never falls below zero.
        fading.fetch_sub(value - value / 2, Ordering::Relaxed);
        for row in 0..ROWS {
            self.counters[self.counter(hash, row)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The share of a key among the requests, from 0 to 1.
    #[must_use]
    pub fn share(&self, hash: u64) -> f64 {
        let counted = self.counted.load(Ordering::Relaxed);
        let shares = (0..ROWS).map(|row| {
            let counter = self.counter(hash, row);
            let full = self.full(counter as u32, counted);
            if full == 0 {
                0.0
            } else {
                f64::from(self.counters[counter].load(Ordering::Relaxed)) / full as f64
            }
        });
        shares.fold(1.0, f64::min)
    }

    /// Over how many endpoints a key should spread: 1 as a rule. O(1).
    #[inline]
    #[must_use]
    pub fn width(&self, hash: u64) -> u32 {
        let share = self.share(hash);
        // ⌈share × n ÷ limit⌉, of a limit in percent.
        let width = (share * f64::from(self.endpoints) * 100.0 / f64::from(self.settings.limit)).ceil();
        (width as u32).clamp(1, self.settings.max_width.min(self.endpoints.max(1)))
    }

    /// The bytes that it holds.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of_val(&*self.counters)
    }

    /// After so many counted requests every counter was halved once.
    const fn window(&self) -> u32 {
        ROWS * self.columns
    }

    /// The counter of a key in a row.
    #[inline]
    fn counter(&self, hash: u64, row: u32) -> usize {
        (row * self.columns + scale(again(hash, row.into()), self.columns)) as usize
    }

    /// What a counter would say by now if every request had counted there.
    ///
    /// It is halved at its own turn of each window. Requests before the first halving came to its turn plus one, less the
    /// one that halves; each window adds as many as it is long.
    #[inline]
    fn full(&self, counter: u32, counted: u32) -> u32 {
        if counted <= counter {
            return counted;
        }
        let (windows, since) =
            ((counted - counter - 1) / self.window(), (counted - counter - 1) % self.window() + 1);
        // After the k-th halving: window × (½ + … + 2^-(k-1)) + counter × 2^-k.
        let halvings = (windows + 1).min(31);
        let whole = self.window() - (self.window() >> (halvings - 1)) + (counter >> halvings);
        whole + since
    }
}
