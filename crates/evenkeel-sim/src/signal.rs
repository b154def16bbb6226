//! What a server tells probes of its speed: the median of the last nine latencies, for each number of requests met.
//!
//! As in Wydrowski et al., NSDI 2024: latencies are filed under the requests in flight at arrival, and a probe hears the median
//! of those nearest to the present number. One median for each number, not for ranges of it: ranges mix latencies of
//! different queues, and then the choice by latency herds (`LatencyByLoad` of `evenkeel-stats` has ranges above eight).

const SAMPLES: usize = 9;
/// Latencies older than this give way to fresher ones of other numbers.
const FRESH: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// By requests met.
    by_load: Vec<Recent>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    samples: [u64; SAMPLES],
    count: u32,
    next: u32,
    median: u64,
    at: u64,
}

impl Signal {
    pub(crate) fn record(&mut self, met: u32, latency: u64, now: u64) {
        let load = met as usize;
        if load >= MOST {
            return;
        }
        if load >= self.by_load.len() {
            self.by_load.resize(load + 1, Recent::default());
        }
        let own = &mut self.by_load[load];
        own.samples[own.next as usize] = latency;
        own.next = (own.next + 1) % SAMPLES as u32;
        own.count = (own.count + 1).min(SAMPLES as u32);
        let mut sorted = own.samples;
        let sorted = &mut sorted[..own.count as usize];
        sorted.sort_unstable();
        own.median = sorted[(sorted.len() - 1) / 2];
        own.at = now;
    }

    /// The median at the number nearest to `load` that is fresh, the lower one of two; else at the nearest at all; zero if nothing
    /// is known.
    pub(crate) fn median(&self, load: u32, now: u64) -> u64 {
        let is_fresh = |own: &Recent| now - own.at <= FRESH;
        self.nearest(load, is_fresh).or_else(|| self.nearest(load, |_| true)).map_or(0, |own| own.median)
    }

    fn nearest(&self, load: u32, is_fine: impl Fn(&Recent) -> bool) -> Option<&Recent> {
        let load = load as usize;
        let at = |place: usize| self.by_load.get(place).filter(|own| own.count > 0 && is_fine(own));
        let furthest = load.max(self.by_load.len());
        (0..=furthest).find_map(|step| {
            let lower = load.checked_sub(step).and_then(at);
            lower.or_else(|| at(load + step))
        })
    }
}

const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_fresh_median_answers() {
        let mut signal = Signal::default();
        assert_eq!(signal.median(3, 0), 0);
        for latency in [50, 10, 90] {
            signal.record(2, latency, FRESH);
        }
        signal.record(4, 400, FRESH);
        assert_eq!(
            [signal.median(0, FRESH), signal.median(3, FRESH), signal.median(9, FRESH)],
            [50, 50, 400]
        );
        signal.record(4, 400, 3 * FRESH);
        assert_eq!(signal.median(0, 3 * FRESH), 400, "what is fresh goes before what is near");
        assert_eq!(signal.median(0, 9 * FRESH), 50);
        for _ in 0..9 {
            signal.record(2, 7, 9 * FRESH);
        }
        assert_eq!(signal.median(2, 9 * FRESH), 7, "nine are remembered");
    }
}
