/// The hosts of one priority level, counted by health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelHealth {
    /// All that count: draining hosts do not.
    pub hosts: u32,
    /// Those that are healthy.
    pub healthy: u32,
    /// Those that are degraded.
    pub degraded: u32,
    /// Those that drain. They count only if every level is in panic.
    pub draining: u32,
}

impl LevelHealth {
    /// All of them.
    fn all(self) -> u64 {
        u64::from(self.hosts) + u64::from(self.draining)
    }
}

/// What share of requests each priority level gets, in percent, and whether it is in panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelLoad {
    /// To its healthy hosts.
    pub healthy: u32,
    /// To its degraded hosts.
    pub degraded: u32,
    /// Whether too few hosts are available, so that health is ignored in this level.
    pub in_panic: bool,
}

/// Envoy's shares of priority levels: a level is as good as whole while overprovisioning (140 % unless configured) makes
/// up for what it lacks; what it then still lacks goes to the next one. Whole percents throughout.
///
/// `panic_threshold` is in percent too; a level below it ignores health, unless all levels together can take everything.
/// If every level is in panic, each gets requests by its number of hosts, and those that drain count too.
#[must_use]
pub fn priority_loads(
    levels: &[LevelHealth],
    overprovisioning_percent: u32,
    panic_threshold: u32,
) -> Vec<LevelLoad> {
    let part = |part: u32, level: &LevelHealth| {
        let percent = u64::from(overprovisioning_percent) * u64::from(part);
        percent.checked_div(u64::from(level.hosts)).map_or(0, |percent| percent.min(100) as u32)
    };
    let healthy: Vec<u32> = levels.iter().map(|level| part(level.healthy, level)).collect();
    let degraded: Vec<u32> = levels.iter().map(|level| part(level.degraded, level)).collect();
    let available = healthy.iter().chain(&degraded).map(|&part| u64::from(part)).sum::<u64>().min(100) as u32;
    let mut loads: Vec<LevelLoad> = levels
        .iter()
        .map(|level| LevelLoad {
            in_panic: available < 100 && is_below(level, panic_threshold),
            ..Default::default()
        })
        .collect();
    if !loads.is_empty() && loads.iter().all(|load| load.in_panic) {
        share_by_hosts(&mut loads, levels);
    } else if available > 0 {
        share_by_health(&mut loads, &healthy, &degraded, available);
    } else if let Some(first) = loads.first_mut() {
        first.healthy = 100;
    }
    loads
}

/// Whether less than `threshold` percent of a level can be used. A level without hosts is below every threshold but zero.
fn is_below(level: &LevelHealth, threshold: u32) -> bool {
    let usable = u64::from(level.healthy) + u64::from(level.degraded);
    usable * 100 < u64::from(threshold) * u64::from(level.hosts.max(1))
}

fn share_by_health(loads: &mut [LevelLoad], healthy: &[u32], degraded: &[u32], available: u32) {
    let mut left = 100;
    let mut take = |part: u32| {
        let taken = (part * 100 / available).min(left);
        left -= taken;
        taken
    };
    loads.iter_mut().zip(healthy).for_each(|(load, &part)| load.healthy = take(part));
    loads.iter_mut().zip(degraded).for_each(|(load, &part)| load.degraded = take(part));
    // What rounding has left over.
    if let Some(level) = healthy.iter().position(|&part| part > 0) {
        loads[level].healthy += left;
    } else if let Some(level) = degraded.iter().position(|&part| part > 0) {
        loads[level].degraded += left;
    }
}

fn share_by_hosts(loads: &mut [LevelLoad], levels: &[LevelHealth]) {
    let total: u64 = levels.iter().map(|level| level.all()).sum();
    let mut left = 100;
    for (load, level) in loads.iter_mut().zip(levels) {
        load.healthy = (100 * level.all()).checked_div(total).unwrap_or(0) as u32;
        left -= load.healthy;
    }
    let first = levels.iter().position(|level| level.all() > 0).unwrap_or(0);
    loads[first].healthy += left;
}

/// The level of a request: Envoy's hash policies use the request's hash for it, the others a random number. The healthy
/// shares come first, then the degraded ones; the second half of the answer is whether it fell on a degraded one.
#[must_use]
pub fn priority_of(loads: &[LevelLoad], hash: u64) -> Option<(usize, bool)> {
    let percent = (hash % 100) as u32 + 1;
    let healthy = loads.iter().map(|load| load.healthy).enumerate().map(|(level, load)| (level, false, load));
    let degraded =
        loads.iter().map(|load| load.degraded).enumerate().map(|(level, load)| (level, true, load));
    let mut sum = 0;
    healthy.chain(degraded).find_map(|(level, is_degraded, load)| {
        sum += load;
        (percent <= sum).then_some((level, is_degraded))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(levels: &[(u32, u32, u32)], threshold: u32) -> Vec<(u32, u32, bool)> {
        let level = |&(healthy, degraded, hosts): &(u32, u32, u32)| LevelHealth {
            hosts,
            healthy,
            degraded,
            draining: 0,
        };
        let levels: Vec<LevelHealth> = levels.iter().map(level).collect();
        let loads = priority_loads(&levels, 140, threshold);
        assert!(
            loads.is_empty() || loads.iter().map(|load| load.healthy + load.degraded).sum::<u32>() == 100
        );
        loads.iter().map(|load| (load.healthy, load.degraded, load.in_panic)).collect()
    }

    /// The worked examples of Envoy's documentation (`priority.rst`, `panic_threshold.rst`, `degraded.rst`) and more.
    #[test]
    fn levels_spill_over_by_their_health() {
        for (healthy, first) in
            [(100, 100), (72, 100), (71, 99), (70, 98), (60, 84), (50, 70), (25, 35), (0, 0)]
        {
            let loads = loads(&[(healthy, 0, 100), (100, 0, 100)], 50);
            assert_eq!((loads[0].0, loads[1].0), (first, 100 - first), "{healthy} %");
        }
        assert_eq!(
            loads(&[(1, 4, 10), (2, 0, 10)], 50),
            [(15, 57, false), (28, 0, true)],
            "exactly half does not panic"
        );
        let total_panic = loads(&[(2, 0, 10), (3, 0, 10), (1, 0, 10)], 50);
        assert_eq!(total_panic, [(34, 0, true), (33, 0, true), (33, 0, true)]);
        assert_eq!(loads(&[(25, 0, 100), (25, 0, 100)], 0), [(50, 0, false), (50, 0, false)]);
    }

    #[test]
    fn panic_needs_a_lack_of_hosts_in_all_levels_together() {
        assert_eq!(loads(&[(72, 0, 100)], 80), [(100, 0, false)]);
        assert_eq!(loads(&[(71, 0, 100)], 80), [(100, 0, true)]);
        assert_eq!(loads(&[(5, 0, 10)], 50), [(100, 0, false)]);
        assert_eq!(loads(&[(4, 6, 10)], 50), [(56, 44, false)]);
        assert_eq!(loads(&[(0, 0, 10)], 50), [(100, 0, true)]);
        assert_eq!(loads(&[(0, 0, 10)], 0), [(100, 0, false)]);
        assert_eq!(loads(&[(0, 0, 0)], 50), [(100, 0, true)]);
        assert_eq!(loads(&[], 50), []);
    }

    /// Draining hosts are used in panic, so Envoy counts them where panic is total, and nowhere else.
    #[test]
    fn those_that_drain_count_in_total_panic() {
        let level = |hosts, healthy, draining| LevelHealth { hosts, healthy, degraded: 0, draining };
        let healthy = |levels: &[LevelHealth]| -> Vec<u32> {
            priority_loads(levels, 140, 50).iter().map(|load| load.healthy).collect()
        };
        assert_eq!(healthy(&[level(1, 0, 0), level(0, 0, 2)]), [34, 66]);
        assert_eq!(healthy(&[level(0, 0, 3), level(1, 0, 0)]), [75, 25]);
        assert_eq!(healthy(&[level(2, 2, 8), level(2, 2, 0)]), [100, 0]);
    }

    #[test]
    fn a_hash_falls_on_a_level() {
        let loads = priority_loads(
            &[
                LevelHealth { hosts: 10, healthy: 1, degraded: 4, draining: 0 },
                LevelHealth { hosts: 10, healthy: 2, degraded: 0, draining: 0 },
            ],
            140,
            0,
        );
        for (hash, level) in
            [(0, (0, false)), (14, (0, false)), (15, (1, false)), (42, (1, false)), (43, (0, true))]
        {
            assert_eq!(priority_of(&loads, hash), Some(level), "{hash}");
        }
        assert_eq!(priority_of(&[], 5), None);
    }
}
