use crate::hash::ledger::{greatest_common_divisor, most_buckets};
use crate::hash::mix::{again, name};
use crate::hash::placed::placed_and_chosen;
use crate::hash::{Bits, Candidate, Chooser, KeySettings, Placement};
use crate::{BuiltIn, InvalidPolicy, Members, PolicySettings};

/// Settings of [`MultiProbe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct MultiProbeConfig {
    /// What it shares with the other policies that hash a key.
    pub key: KeySettings,
    /// How many points are asked for a key: 1 to 256. Default 21, as in the paper: the busiest of equal endpoints then has
    /// about 1.05 to 1.1 times the mean; k probes give about 1 + 1 / k to 1 + 2 / k.
    pub probes: u32,
}

impl Default for MultiProbeConfig {
    fn default() -> Self {
        Self { key: KeySettings::default(), probes: 21 }
    }
}

impl PolicySettings for MultiProbeConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(MultiProbe::new(self, members)?))
    }
}

/// Equal keys to one endpoint by a ring of one point each and many probes.
///
/// **Idea.** Each endpoint has one point on a ring for each unit of its weight, in lowest terms. A key probes the ring at
/// 21 places, and goes to the point that follows a probe most closely: who has a long arc before its point is met by more
/// probes and wins fewer of them. **Probes** are drawn independently. The paper draws them as h1 + j h2, which is cheaper;
/// steps of one length meet the same arcs together, and the busiest of 1 000 endpoints then has 1.12 times the mean
/// where independent ones give 1.07. **Churn.** Removal moves the keys of the removed points only, a newcomer only takes;
/// a weight that changes lowest terms changes the points of all. Nothing depends on history or order.
/// **Weights** are points; if lowest terms need more than 64 points an endpoint (4 096 at least), their numbers are rounded
/// to that many, one at least. **Evenness** is one-sided: an arc of a times the mean has about 1.05 (1 − e^-20a) of the
/// mean share. So nobody has much more than the mean, but one of 30 has less than half of it.
/// **Cost.** O(probes); an index over the points makes each a load and a short scan. 16 to 24 bytes a point, a hundredth of
/// a ring's. **When.** Memory is short, and what counts is the busiest. **When not.** Speed matters: a ring of many points
/// answers from one probe. Exact shares matter: [`Anchor`](crate::Anchor), [`Rendezvous`](crate::Rendezvous).
/// **Source.** Appleton and O'Reilly, "Multi-probe consistent hashing", arXiv 1505.00062.
#[derive(Debug)]
pub struct MultiProbe {
    config: MultiProbeConfig,
    table: ProbeTable,
    chooser: Chooser,
}

impl MultiProbe {
    /// The policy for these members. O(n log n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range.
    pub fn new(config: &MultiProbeConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        if !(1..=MOST_PROBES).contains(&config.probes) {
            let problem = format!("{} is out of range: allowed are 1 to {MOST_PROBES}", config.probes);
            return Err(InvalidPolicy::setting("multi_probe", "probes", problem));
        }
        let chooser = Chooser::new("multi_probe", &config.key, Bits::Uniform, members)?;
        Ok(Self { config: *config, table: ProbeTable::new(members, config.probes), chooser })
    }

    /// The policy for other members; counts of those that stay are shared with it.
    #[must_use]
    pub fn updated(&self, members: &dyn Members) -> Self {
        Self {
            config: self.config,
            table: ProbeTable::new(members, self.config.probes),
            chooser: self.chooser.rebuild(&self.config.key, members),
        }
    }
}

placed_and_chosen!(MultiProbe, table, always);

/// More bring less than a hundredth of the mean, and cost a microsecond.
const MOST_PROBES: u32 = 256;

/// The points in order, and where to start looking.
#[derive(Clone, Debug)]
struct ProbeTable {
    len: usize,
    probes: u32,
    /// Ascending; the first follows the last once more, so that a probe behind all points needs no case of its own.
    points: Box<[u64]>,
    /// Of each point.
    owners: Box<[u32]>,
    /// For each range of the upper bits of a probe the first point that is not before the range.
    index: Box<[u32]>,
    shift: u32,
}

/// Of the hashes of names; apart from what other tables are made with.
const SEED: u64 = 0x6d70_6368;

impl ProbeTable {
    fn new(members: &dyn Members, probes: u32) -> Self {
        let weights = members.weights();
        let mut points: Vec<(u64, u64, u32)> = Vec::new();
        for (position, count) in points_for(weights).enumerate() {
            if count > 0 {
                let name = name(members, position, SEED);
                points.extend((0..count).map(|point| (again(name, point), name, position as u32)));
            }
        }
        // Points that meet go by name, so that no order of members decides.
        points.sort_unstable();
        let bits = (2 * points.len()).next_power_of_two().trailing_zeros().max(1);
        let shift = 64 - bits;
        let mut first = 0;
        let index = (0..1_u64 << bits).map(|range| {
            while points.get(first).is_some_and(|point| point.0 < range << shift) {
                first += 1;
            }
            first as u32
        });
        let index = index.collect();
        let wrapped = points.first().copied();
        Self {
            len: weights.len(),
            probes,
            points: points.iter().map(|point| point.0).chain(wrapped.map(|point| point.0)).collect(),
            owners: points.iter().map(|point| point.2).chain(wrapped.map(|point| point.2)).collect(),
            index,
            shift,
        }
    }

    #[inline]
    fn position(&self, hash: u64) -> Option<usize> {
        let last = self.points.len().checked_sub(1)?;
        let (mut nearest, mut winner) = (u64::MAX, 0);
        for probe in 0..self.probes {
            let place = again(hash, probe.into());
            let mut point = self.index[(place >> self.shift) as usize] as usize;
            while point < last && self.points[point] < place {
                point += 1;
            }
            let distance = self.points[point].wrapping_sub(place);
            (nearest, winner) = if distance < nearest { (distance, point) } else { (nearest, winner) };
        }
        Some(self.owners[winner] as usize)
    }
}

/// How many points each has.
fn points_for(weights: &[u32]) -> impl Iterator<Item = u64> + '_ {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let lowest = greatest_common_divisor(weights).max(1);
    let most = most_buckets(weights.len());
    let unit = lowest.max(total.div_ceil(most));
    // A unit that divides all rounds nothing.
    weights.iter().map(move |&weight| match u64::from(weight) {
        0 => 0,
        weight => ((weight + unit / 2) / unit).max(1),
    })
}

impl Placement for ProbeTable {
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn home(&self, hash: u64) -> Option<Candidate> {
        self.position(hash).map(Candidate::at)
    }

    fn next(&self, hash: u64, step: u32, last: Candidate) -> Candidate {
        self.position(again(!hash, step.into())).map_or(last, Candidate::at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::crowd::{Crowd, compare, counts, hashes};
    use crate::laws::members;

    fn table(crowd: &Crowd) -> ProbeTable {
        ProbeTable::new(crowd, 21)
    }

    /// Without an index: every point for every probe.
    fn by_force(table: &ProbeTable, hash: u64) -> usize {
        let points = &table.points[..table.points.len() - 1];
        let distances = (0..u64::from(table.probes)).flat_map(|probe| {
            let place = again(hash, probe);
            points.iter().enumerate().map(move |(index, point)| (point.wrapping_sub(place), index))
        });
        table.owners[distances.min().unwrap().1] as usize
    }

    #[test]
    fn the_index_finds_what_a_search_of_everything_finds() {
        for crowd in
            [Crowd::equal(1), Crowd::equal(3), Crowd::equal(40), Crowd::of(&[(1, 3), (2, 0), (3, 5)])]
        {
            let table = table(&crowd);
            for hash in hashes().take(300) {
                assert_eq!(table.position(hash), Some(by_force(&table, hash)));
            }
        }
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(table(&Crowd::of(&[])).home(1), None);
        assert_eq!(table(&Crowd::of(&[(1, 0)])).home(1), None);
    }

    /// The paper promises a peak of 1.05 times the mean for 21 probes and many endpoints; 20 000 keys add their own noise of
    /// 5 standard deviations of √2000.
    #[test]
    fn the_busiest_of_ten_has_little_more_than_the_mean() {
        let counts = counts(&table(&Crowd::equal(10)));
        assert!(counts.iter().all(|&count| count < 2400), "{counts:?}");
    }

    #[test]
    fn weights_are_points() {
        let counts = counts(&table(&Crowd::of(&(0..40).map(|n| (n, 1 + n as u32 % 4)).collect::<Vec<_>>())));
        for weight in 1..=4_u64 {
            let sum: u64 = counts.iter().skip(weight as usize - 1).step_by(4).sum();
            assert!(sum.abs_diff(2000 * weight) < 250 * weight, "{weight}: {sum}");
        }
    }

    #[test]
    fn absurd_weights_are_rounded_and_nobody_is_lost() {
        for weights in [vec![u32::MAX, 1, 1, u32::MAX], vec![u32::MAX; 100], vec![997, 1009, 65_537]] {
            let points: Vec<u64> = points_for(&weights).collect();
            assert!(points.iter().all(|&points| points >= 1), "{points:?}");
            let sum: u64 = points.iter().sum();
            assert!(sum <= most_buckets(weights.len()) + weights.len() as u64, "{sum}");
        }
    }

    #[test]
    fn removal_and_addition_move_what_they_must() {
        let ten = Crowd::equal(10);
        let (nine, reversed) = (ten.without(4), ten.reversed());
        let churn = compare(&table(&ten), &ten, &table(&nine), &nine);
        assert!(churn.needless == 0.0 && churn.moved < 0.13, "{churn:?}");
        let churn = compare(&table(&nine), &nine, &table(&ten), &ten);
        assert!(churn.needless == 0.0 && churn.moved < 0.13, "{churn:?}");
        assert_eq!(compare(&table(&ten), &ten, &table(&reversed), &reversed).moved, 0.0);
    }

    #[test]
    fn probes_out_of_range_are_refused() {
        for probes in [0, 257, u32::MAX] {
            let config = MultiProbeConfig { probes, ..MultiProbeConfig::default() };
            let error = MultiProbe::new(&config, &members(&[1])).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("policy multi_probe: probes: {probes} is out of range: allowed are 1 to 256")
            );
        }
    }
}
