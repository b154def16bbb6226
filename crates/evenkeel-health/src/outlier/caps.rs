//! How many endpoints may be out.

use super::change::Refusal;
use super::rules::EjectionCaps;

impl EjectionCaps {
    /// How many of `endpoints` may be out at the same time.
    ///
    /// | endpoints | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 100 |
    /// |---|---|---|---|---|---|---|---|---|---|---|---|
    /// | default (50 %, one at least, one remains) | 0 | 1 | 1 | 2 | 2 | 3 | 3 | 4 | 4 | 5 | 50 |
    /// | 10 %, one at least | 0 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 10 |
    /// | 10 %, not one at least | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 1 | 10 |
    #[must_use]
    pub fn allowed(&self, endpoints: usize) -> usize {
        let most = self.max_ejected.map_or(usize::MAX, |most| most as usize);
        most.min(self.by_ratio(endpoints)).min(endpoints.saturating_sub(self.min_remaining as usize))
    }

    fn by_ratio(&self, endpoints: usize) -> usize {
        let parts = u128::from(self.max_ejected_ratio.parts_per_million());
        let rounded_down = (endpoints as u128 * parts / 1_000_000) as usize;
        if self.at_least_one { rounded_down.max(1) } else { rounded_down }
    }

    /// What speaks against one more, when `out` of `endpoints` are out, and without it `left` usable ones would stay.
    pub(super) fn refusal(&self, endpoints: usize, out: usize, left: usize) -> Option<Refusal> {
        if self.max_ejected.is_some_and(|most| out >= most as usize) {
            Some(Refusal::MaxEjected)
        } else if out >= self.by_ratio(endpoints) {
            Some(Refusal::MaxEjectedRatio)
        } else if left < self.min_remaining as usize {
            Some(Refusal::MinRemaining)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_types::Ratio;

    use super::*;

    #[test]
    fn exact_for_small_sets() {
        let caps = EjectionCaps::default();
        let allowed = |caps: EjectionCaps| [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100].map(|n| caps.allowed(n));
        assert_eq!(allowed(caps), [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 50]);
        let tenth = EjectionCaps { max_ejected_ratio: Ratio::percent(10).unwrap(), ..caps };
        assert_eq!(allowed(tenth), [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 10]);
        let never_one = EjectionCaps { at_least_one: false, ..tenth };
        assert_eq!(allowed(never_one), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 10]);
        let all = EjectionCaps { max_ejected_ratio: Ratio::ONE, min_remaining: 0, ..caps };
        assert_eq!(allowed(all), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100]);
        assert_eq!(allowed(EjectionCaps { max_ejected: Some(2), ..all }), [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!(allowed(EjectionCaps { min_remaining: 4, ..all }), [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 96]);
        assert_eq!(caps.allowed(0), 0);
        assert_eq!(all.allowed(usize::MAX), usize::MAX);
    }
}
