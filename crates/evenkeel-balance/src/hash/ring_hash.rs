use evenkeel_types::SplitMix64;

use crate::hash::placed::placed_and_chosen;
use crate::hash::point_counts::PointCounts;
use crate::hash::ring::{Owner, Points, Ring};
use crate::hash::{Bits, Chooser, KeySettings, xxh64};
use crate::{BuiltIn, InvalidPolicy, Members, PolicySettings};

/// Settings of [`RingHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RingHashConfig {
    /// Points of an endpoint of the reference weight, 1 to 16 384. Default 160: a share then strays by 8 % or so, and
    /// four times as many points would halve that.
    pub points: u32,
    /// The weight that gets `points`, at least 1; others get in proportion, and at least one. Default 1. Set it to the
    /// usual weight where that is not 1, or rings grow without need.
    pub reference_weight: u32,
    /// The most points of the ring, 1 to 67 108 864. Default 4 194 304, which are 67 MB. Weights that ask for more have
    /// all their points halved until they fit.
    pub max_points: u32,
    /// Another seed gives other places to all endpoints. Default 0. Programs that should agree must have the same.
    pub seed: u64,
    /// What is done with keys.
    pub key: KeySettings,
}

impl Default for RingHashConfig {
    fn default() -> Self {
        Self { points: 160, reference_weight: 1, max_points: 4_194_304, seed: 0, key: KeySettings::default() }
    }
}

/// Equal keys to one endpoint; who leaves gives away its own keys only.
///
/// **Idea.** Each endpoint has points on a ring, made from its id, and a key belongs to the next point. The number of
/// points depends on the endpoint's weight and on nothing else: where it depends on how many endpoints there are, as with
/// a minimum size of the ring, each that comes or goes moves keys of all others. A look-up goes to
/// the cache line that the hash finds. Another member or weight copies only the parts of the ring that its points lie in.
/// **Ties** of points go to the smaller id, so that nothing depends on history.
/// **Cost.** O(1); 14 bytes a point, or 16 with more than 4 096 endpoints. **When.** Caches and shards, with endpoints that come and go.
/// **When not.** Endpoints seldom change and balance matters more: [`Maglev`](crate::Maglev) is even to a slot. Few keys
/// make most of the traffic: no placement helps, a bound does (`key.balance_factor`).
/// **Source.** Karger et al., "Consistent hashing and random trees", STOC 1997; Envoy `RING_HASH`, nginx `hash … consistent`.
///
/// ```
/// use evenkeel_balance::hash::Placement;
/// use evenkeel_balance::{MemberList, RingHash, RingHashConfig};
/// # use evenkeel_types::Endpoint;
/// # let endpoint = |name: &str| Endpoint::new(name.parse().expect("a name"), "10.0.0.1:80".parse().expect("an address"));
/// let members = MemberList::new(["a", "b", "c", "d"].map(endpoint));
/// let ring = RingHash::new(&RingHashConfig::default(), &members)?;
/// // Three replicas of a key: distinct, in the order in which the key would move.
/// let replicas = ring.replicas(42, 3);
/// assert_eq!(replicas.len(), 3);
/// assert_eq!(ring.home(42).map(|home| home.position), Some(replicas[0]));
/// # Ok::<(), evenkeel_balance::InvalidPolicy>(())
/// ```
#[derive(Debug)]
pub struct RingHash {
    config: RingHashConfig,
    ring: Ring,
    chooser: Chooser,
}

impl RingHash {
    /// The policy for these members. O(points).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range, or there are more endpoints than points or than 16 777 216.
    pub fn new(config: &RingHashConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let ring = Ring::new::<Stream>(owners(config, members)?);
        let chooser = Chooser::new(NAME, &config.key, Bits::Uniform, members)?;
        Ok(Self { config: *config, ring, chooser })
    }

    /// The policy for other members. Costs what changes, and O(members).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn updated(&self, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let ring = self.ring.updated::<Stream>(owners(&self.config, members)?);
        let chooser = self.chooser.rebuild(&self.config.key, members);
        Ok(Self { config: self.config, ring, chooser })
    }

    /// How many points there are.
    #[must_use]
    pub const fn points(&self) -> usize {
        self.ring.points()
    }
}

placed_and_chosen!(RingHash, ring, fallible);

fn owners(config: &RingHashConfig, members: &dyn Members) -> Result<Vec<Owner>, InvalidPolicy> {
    let RingHashConfig { points, reference_weight: reference, max_points: most, seed, .. } = *config;
    let counts = PointCounts { points, reference, most }.of(NAME, members.weights())?;
    Ring::owners(NAME, members, &counts, |endpoint| xxh64(endpoint.id().as_str().as_bytes(), seed))
}

/// The generator that starts at the origin.
struct Stream;

impl Points for Stream {
    #[inline]
    fn each(origin: u64, count: u32, mut each: impl FnMut(u64)) {
        let mut state = origin;
        for _ in 0..count {
            state = state.wrapping_add(SplitMix64::STEP);
            each(SplitMix64::mix(state));
        }
    }
}

impl PolicySettings for RingHashConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(RingHash::new(self, members)?))
    }
}

const NAME: &str = "ring_hash";

#[cfg(test)]
mod tests {
    use evenkeel_types::{Endpoint, Weight};
    use proptest::prelude::*;

    use super::*;
    use crate::MemberList;
    use crate::Policy;
    use crate::hash::Placement;

    fn list(names: &[(u32, u32)]) -> MemberList {
        MemberList::new(names.iter().map(|&(name, weight)| {
            let id = format!("cache-{name}").parse().unwrap();
            Endpoint::new(id, "10.0.0.1:80".parse().unwrap()).with_weight(Weight::new(weight))
        }))
    }

    fn ring(names: &[(u32, u32)]) -> RingHash {
        RingHash::new(&RingHashConfig::default(), &list(names)).unwrap()
    }

    /// The name of each key's owner.
    fn owners(ring: &RingHash, names: &[(u32, u32)], keys: u64) -> Vec<u32> {
        (0..keys).map(|key| names[ring.home(SplitMix64::mix(key)).unwrap().position].0).collect()
    }

    /// What may move when `before` becomes `after` and only `who` changed: keys that `who` had, or has now.
    fn assert_moves_only(who: u32, before: &[(u32, u32)], after: &[(u32, u32)]) {
        let ring_before = ring(before);
        let fresh = owners(&ring(after), after, 3000);
        let updated = ring_before.updated(&list(after)).unwrap();
        assert_eq!(owners(&updated, after, 3000), fresh, "an update places keys as a build does");
        for (key, (old, new)) in owners(&ring_before, before, 3000).into_iter().zip(fresh).enumerate() {
            assert!(old == new || old == who || new == who, "key {key} moves from {old} to {new} for {who}");
        }
    }

    fn sets() -> impl Strategy<Value = Vec<(u32, u32)>> {
        prop::collection::btree_map(0_u32..1000, 1_u32..6, 2..12)
            .prop_map(|set| set.into_iter().collect::<Vec<_>>())
            .prop_shuffle()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn who_goes_comes_or_changes_weight_moves_its_own_keys_only(
            set in sets(), at in any::<prop::sample::Index>(), weight in 0_u32..9,
        ) {
            let at = at.index(set.len());
            let (mut less, mut other) = (set.clone(), set.clone());
            let (who, _) = less.remove(at);
            assert_moves_only(who, &set, &less);
            assert_moves_only(who, &less, &set);
            other[at].1 = weight;
            assert_moves_only(who, &set, &other);
        }

        #[test]
        fn the_order_of_members_does_not_matter(set in sets()) {
            let mut sorted = set.clone();
            sorted.sort_unstable();
            prop_assert_eq!(owners(&ring(&set), &set, 1000), owners(&ring(&sorted), &sorted, 1000));
        }
    }

    /// A share strays by one in the root of its points; five times that is a fault.
    #[test]
    fn weights_are_honoured() {
        let names: Vec<(u32, u32)> = (0..40).map(|name| (name, name % 5)).collect();
        let owners = owners(&ring(&names), &names, 200_000);
        let total: u32 = names.iter().map(|&(_, weight)| weight).sum();
        for &(name, weight) in &names {
            let share = owners.iter().filter(|&&owner| owner == name).count() as f64 / 200_000.0;
            let fair = f64::from(weight) / f64::from(total);
            let stray = fair / (160.0 * f64::from(weight.max(1))).sqrt();
            assert!((share - fair).abs() <= 5.0 * stray, "{name} of weight {weight}: {share}, not {fair}");
        }
    }

    #[test]
    fn another_seed_is_another_ring_and_points_follow_the_weights() {
        let names = [(1, 1), (2, 100)];
        let other = RingHashConfig { seed: 1, ..RingHashConfig::default() };
        let other = RingHash::new(&other, &list(&names)).unwrap();
        assert_ne!(owners(&ring(&names), &names, 1000), owners(&other, &names, 1000));
        assert_eq!(other.points(), 160 * 101);
        let by_hundred = RingHashConfig { reference_weight: 100, ..RingHashConfig::default() };
        assert_eq!(RingHash::new(&by_hundred, &list(&names)).unwrap().points(), 160 + 2);
    }

    #[test]
    fn bad_settings_name_themselves() {
        let members = list(&[(1, 1), (2, 1), (3, 1)]);
        let defaults = RingHashConfig::default();
        let key = |percent| KeySettings { balance_factor: Some(percent), ..KeySettings::default() };
        for (config, words) in [
            (RingHashConfig { points: 0, ..defaults }, "ring_hash: points: 0"),
            (RingHashConfig { reference_weight: 0, ..defaults }, "ring_hash: reference_weight: 0"),
            (RingHashConfig { max_points: 2, ..defaults }, "ring_hash: 3 endpoints"),
            (RingHashConfig { max_points: u32::MAX, ..defaults }, "ring_hash: max_points: 4294967295"),
            (RingHashConfig { key: key(99), ..defaults }, "ring_hash: key.balance_factor: 99"),
        ] {
            let error = RingHash::new(&config, &members).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let full = RingHashConfig { max_points: 3, ..defaults };
        let full = RingHash::new(&full, &members).unwrap();
        let error = full.rebuild(&list(&[(1, 1), (2, 1), (3, 1), (4, 1)])).unwrap_err();
        assert!(error.to_string().contains("4 endpoints"), "{error}");
    }

    #[test]
    fn replicas_are_the_walk() {
        let names: Vec<_> = (0..5).map(|name| (name, 1)).collect();
        let ring = ring(&names);
        for key in 0..200 {
            let hash = SplitMix64::mix(key);
            let replicas = ring.replicas(hash, 3);
            // Who is out hands its keys to the next replica.
            let mask = crate::Mask::new(5, |position| position != replicas[0]);
            let view = crate::Table::new(&mask, &[], &[]);
            let mut caller = crate::Script::seeded(1).with_key(hash);
            assert_eq!(ring.choose(&view, &mut caller), Some(replicas[1]));
            assert_eq!(ring.replicas(hash, 9).len(), 5);
        }
    }
}
