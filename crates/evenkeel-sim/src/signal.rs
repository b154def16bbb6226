//! What a server tells probes of its speed: the median of the last nine latencies, for each number of requests met.
//!
//! As in Wydrowski et al., NSDI 2024: latencies are filed under the requests in flight at arrival, and a probe hears the median
//! of those nearest to the present number. One median for each number, not for ranges of it: ranges mix latencies of
//! different queues, and then the choice by latency herds (`LatencyByLoad` of `evenkeel-stats` has ranges above eight).
//!
//! Of any age: a number near the present one says more than a fresh one far off. Where what is fresh went first, a server whose
//! load rose told of the latencies of lower loads, and all clients followed: p99 in S3 at 1.74 of what is promised was 1385 ms
//! instead of 261 (seeds 1 and 2).

const SAMPLES: usize = 9;

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
}

impl Signal {
    pub(crate) fn record(&mut self, met: u32, latency: u64) {
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
    }

    /// The median at the number nearest to `load`, the lower one of two; zero if nothing is known.
    pub(crate) fn median(&self, load: u32) -> u64 {
        let load = load as usize;
        let at = |place: usize| self.by_load.get(place).filter(|own| own.count > 0);
        let furthest = load.max(self.by_load.len());
        let nearest = (0..=furthest).find_map(|step| {
            let lower = load.checked_sub(step).and_then(at);
            lower.or_else(|| at(load + step))
        });
        nearest.map_or(0, |own| own.median)
    }
}

const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_median_answers() {
        let mut signal = Signal::default();
        assert_eq!(signal.median(3), 0);
        for latency in [50, 10, 90] {
            signal.record(2, latency);
        }
        signal.record(4, 400);
        assert_eq!([0, 3, 4, 9].map(|load| signal.median(load)), [50, 50, 400, 400]);
        // Much is heard of low loads, and nothing of high ones: what is near is still what answers.
        for _ in 0..9 {
            signal.record(2, 7);
        }
        assert_eq!([2, 5].map(|load| signal.median(load)), [7, 400], "nine are remembered");
    }
}
