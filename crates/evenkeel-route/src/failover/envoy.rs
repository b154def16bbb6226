use super::spill::TierHealth;

/// What a level gets in Envoy, in whole percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct EnvoyLevel {
    /// For its healthy hosts.
    pub healthy: u32,
    /// For its degraded ones.
    pub degraded: u32,
    /// Whether its health is ignored.
    pub panic: bool,
}

/// Priority levels as Envoy computes them, to the percent: `LoadBalancerBase::recalculatePerPriorityState` and
/// `recalculatePerPriorityPanic` of `load_balancer_impl.cc` (1.40).
///
/// For proxies that must do exactly what the Envoys beside them do. The [`spill`](super::spill()) of this crate has no steps of
/// whole percents, and does not divide by numbers of hosts when every level is in panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyPriorities {
    levels: Vec<EnvoyLevel>,
}

impl EnvoyPriorities {
    /// Shares of these levels. `overprovisioning_percent` is 140 and `panic_threshold` 50 unless configured.
    #[must_use]
    pub fn new(tiers: &[TierHealth], overprovisioning_percent: u32, panic_threshold: u32) -> Self {
        let part = |part: u64, tier: &TierHealth| {
            let percent = u128::from(overprovisioning_percent) * u128::from(part);
            percent.checked_div(u128::from(tier.total)).map_or(0, |percent| percent.min(100) as u32)
        };
        let healthy: Vec<u32> = tiers.iter().map(|tier| part(tier.usable, tier)).collect();
        let degraded: Vec<u32> = tiers.iter().map(|tier| part(tier.degraded, tier)).collect();
        let available =
            healthy.iter().chain(&degraded).map(|&part| u64::from(part)).sum::<u64>().min(100) as u32;
        let is_short = |tier: &TierHealth| {
            let usable = u128::from(tier.usable) + u128::from(tier.degraded);
            available < 100 && usable * 100 < u128::from(panic_threshold) * u128::from(tier.total.max(1))
        };
        let mut levels: Vec<EnvoyLevel> =
            tiers.iter().map(|tier| EnvoyLevel { panic: is_short(tier), ..EnvoyLevel::default() }).collect();
        if !levels.is_empty() && levels.iter().all(|level| level.panic) {
            by_hosts(&mut levels, tiers);
        } else if available > 0 {
            by_health(&mut levels, &healthy, &degraded, available);
        } else if let Some(first) = levels.first_mut() {
            first.healthy = 100;
        }
        Self { levels }
    }

    /// The levels.
    #[must_use]
    pub fn levels(&self) -> &[EnvoyLevel] {
        &self.levels
    }

    /// The level of a request, and whether it falls on degraded hosts. Hash policies give the request's hash, the
    /// others a random number.
    #[must_use]
    pub fn pick(&self, hash: u64) -> Option<(usize, bool)> {
        let percent = (hash % 100) as u32 + 1;
        let healthy = self.levels.iter().enumerate().map(|(i, level)| (i, false, level.healthy));
        let degraded = self.levels.iter().enumerate().map(|(i, level)| (i, true, level.degraded));
        let mut sum = 0;
        healthy.chain(degraded).find_map(|(level, is_degraded, load)| {
            sum += load;
            (percent <= sum).then_some((level, is_degraded))
        })
    }
}

fn by_health(levels: &mut [EnvoyLevel], healthy: &[u32], degraded: &[u32], available: u32) {
    let mut left = 100;
    let mut take = |part: u32| {
        let taken = (part * 100 / available).min(left);
        left -= taken;
        taken
    };
    levels.iter_mut().zip(healthy).for_each(|(level, &part)| level.healthy = take(part));
    levels.iter_mut().zip(degraded).for_each(|(level, &part)| level.degraded = take(part));
    // What rounding has left over.
    if let Some(first) = healthy.iter().position(|&part| part > 0) {
        levels[first].healthy += left;
    } else if let Some(first) = degraded.iter().position(|&part| part > 0) {
        levels[first].degraded += left;
    }
}

fn by_hosts(levels: &mut [EnvoyLevel], tiers: &[TierHealth]) {
    let total: u128 = tiers.iter().map(|tier| u128::from(tier.total)).sum();
    let mut left = 100;
    for (level, tier) in levels.iter_mut().zip(tiers) {
        level.healthy = (100 * u128::from(tier.total)).checked_div(total).unwrap_or(0) as u32;
        left -= level.healthy;
    }
    let first = tiers.iter().position(|tier| tier.total > 0).unwrap_or(0);
    levels[first].healthy += left;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(tiers: &[(u64, u64, u64)], threshold: u32) -> Vec<(u32, u32, bool)> {
        let tier = |&(usable, degraded, total): &(u64, u64, u64)| TierHealth { total, usable, degraded };
        let tiers: Vec<TierHealth> = tiers.iter().map(tier).collect();
        let priorities = EnvoyPriorities::new(&tiers, 140, threshold);
        priorities.levels().iter().map(|level| (level.healthy, level.degraded, level.panic)).collect()
    }

    /// The worked examples of `priority.rst`, `panic_threshold.rst` and `degraded.rst`.
    #[test]
    fn worked_examples() {
        let two = |usable| loads(&[(usable, 0, 10), (10, 0, 10)], 50);
        assert_eq!(two(6), [(84, 0, false), (16, 0, false)]);
        assert_eq!(two(7), [(98, 0, false), (2, 0, false)]);
        assert_eq!(two(8), [(100, 0, false), (0, 0, false)]);
        assert_eq!(loads(&[(1, 4, 10), (2, 0, 10)], 50), [(15, 57, false), (28, 0, true)]);
        let panic = loads(&[(2, 0, 10), (3, 0, 10), (1, 0, 10)], 50);
        assert_eq!(panic, [(34, 0, true), (33, 0, true), (33, 0, true)]);
        let no_panic = loads(&[(2, 0, 10), (3, 0, 10), (1, 0, 10)], 0);
        assert_eq!(no_panic, [(34, 0, false), (50, 0, false), (16, 0, false)]);
        assert_eq!(loads(&[(0, 0, 10)], 0), [(100, 0, false)]);
        assert_eq!(loads(&[(0, 0, 0)], 50), [(100, 0, true)]);
        assert_eq!(loads(&[], 50), []);
    }
}
