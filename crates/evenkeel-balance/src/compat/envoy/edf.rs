use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

/// Hosts by their deadlines: whoever is due first is picked, and is due again after one over its weight.
///
/// Deadlines are doubles and are added up as Envoy adds them, so weights like 10, 20 and 30, which would meet at one
/// deadline on paper, are told apart by the same rounding.
#[derive(Clone, Debug, Default)]
pub struct Edf {
    due: BinaryHeap<Reverse<Entry>>,
    /// Of equal deadlines the one entered first counts.
    entered: u64,
}

impl Edf {
    /// The schedule of these hosts after `picks` picks, of which 429 496 728 are the most: then it begins anew. O(n log n),
    /// whatever `picks` is. Hosts whose weight is not positive are left out.
    #[must_use]
    pub fn after_picks(weights: impl IntoIterator<Item = (u32, f64)>, picks: u32) -> Self {
        let picks = picks % MOST_PICKS;
        let weights: Vec<(u32, f64)> = weights.into_iter().filter(|&(_, weight)| weight > 0.0).collect();
        // Keeps weights that are multiples of each other from meeting at deadlines that differ by rounding only.
        let nudged = |&(_, weight): &(u32, f64)| weight + 1e-13;
        let sum = weights.iter().map(nudged).fold(0.0, |sum, weight| sum + weight);
        let mut edf = Self { due: BinaryHeap::with_capacity(weights.len()), entered: 0 };
        let mut done = 0_u32;
        for (place, entry) in weights.iter().enumerate() {
            let weight = nudged(entry);
            let mut whole = (weight * f64::from(picks) / sum) as u32;
            if whole > 0 && f64::from(whole) / weight >= f64::from(picks) / sum {
                whole -= 1;
            }
            let deadline = f64::from(whole + 1) / weight;
            edf.due.push(Reverse(Entry { deadline, entered: place as u64, host: entry.0 }));
            done = done.saturating_add(whole);
        }
        edf.entered = weights.len() as u64;
        let by_host: BTreeMap<u32, f64> = weights.into_iter().collect();
        for _ in done..picks {
            edf.pick(|host| by_host.get(&host).copied().unwrap_or(1.0));
        }
        edf
    }

    /// The host that is due, which then waits for one over the weight that it has now. O(log n). A weight that is not
    /// positive counts as the smallest positive one.
    pub fn pick(&mut self, weight: impl FnOnce(u32) -> f64) -> Option<u32> {
        let mut top = self.due.peek_mut()?;
        let Reverse(Entry { deadline, host, .. }) = *top;
        let deadline = deadline + 1.0 / weight(host).max(f64::MIN_POSITIVE);
        *top = Reverse(Entry { deadline, entered: self.entered, host });
        drop(top);
        self.entered += 1;
        Some(host)
    }

    /// The number of hosts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether there are no hosts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

/// Beyond a tenth of `u32::MAX` Envoy begins anew.
const MOST_PICKS: u32 = 429_496_729;

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: f64,
    entered: u64,
    host: u32,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.deadline.total_cmp(&other.deadline).then(self.entered.cmp(&other.entered))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(weights: &[f64], start: u32, picks: usize) -> String {
        let mut edf = Edf::after_picks((0..).zip(weights.iter().copied()), start);
        let pick =
            |_| edf.pick(|host| weights[host as usize]).map_or('-', |host| char::from(b'a' + host as u8));
        (0..picks).map(pick).collect()
    }

    #[test]
    fn the_heavy_host_runs_ahead() {
        assert_eq!(letters(&[5.0, 1.0, 1.0], 0, 14), "aaaabcaaaaabca");
        assert_eq!(letters(&[], 3, 2), "--");
        assert_eq!(letters(&[1.0, 0.0, -1.0, f64::NAN], 0, 3), "aaa");
    }

    #[test]
    fn starting_later_goes_on_in_the_same_cycle() {
        let from_the_start = letters(&[5.0, 1.0, 1.0], 0, 60);
        for start in 0..30 {
            let later = letters(&[5.0, 1.0, 1.0], start, 14);
            let counts = |letter| later.chars().filter(|&other| other == letter).count();
            assert_eq!((counts('a'), counts('b'), counts('c')), (10, 2, 2), "from {start}: {later}");
            assert!(start > 0 || from_the_start.starts_with(&later));
        }
    }

    #[test]
    fn a_start_begins_anew_at_the_limit() {
        for start in [0, 1, 17] {
            assert_eq!(letters(&[3.0, 2.0], start, 20), letters(&[3.0, 2.0], MOST_PICKS + start, 20));
        }
    }

    #[test]
    fn absurd_weights_and_starts_end_soon() {
        for start in [0, 1, MOST_PICKS - 1, u32::MAX] {
            let edf =
                Edf::after_picks((0..1000).map(|host| (host, f64::from(u32::MAX >> (host % 32)))), start);
            assert_eq!(edf.len(), 1000);
        }
    }

    #[test]
    fn the_weight_at_the_pick_counts() {
        let mut edf = Edf::after_picks([(0, 1.0), (1, 1.0)], 0);
        assert_eq!(edf.pick(|_| 0.1), Some(0));
        assert_eq!((0..9).map(|_| edf.pick(|_| 1.0)).collect::<Vec<_>>(), [Some(1); 9]);
    }
}
