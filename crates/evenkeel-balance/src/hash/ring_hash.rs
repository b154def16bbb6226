use std::sync::Arc;

use evenkeel_types::SplitMix64;

use crate::hash::point_counts::PointCounts;
use crate::hash::ring::{Owner, Points, Ring};
use crate::hash::{Bits, Candidate, Chooser, KeySettings, Placement, xxh64};
use crate::{BuiltIn, Caller, Event, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Settings of [`RingHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The most points of the ring, 1 to 67 108 864. Default 4 194 304, which are 37 MB. Weights that ask for more have
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
/// a minimum size of the ring, each that comes or goes moves keys of all others. An index over the sorted points makes a
/// look-up a few loads. Another member or weight copies only the parts of the ring that its points lie in. **Ties** of
/// points go to the smaller id, so that nothing depends on history.
/// **Cost.** O(1); about 9 bytes a point. **When.** Caches and shards, with endpoints that come and go.
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

    /// The first `count` distinct positions for a hash, whoever is usable: for replicas of what a key names. Fewer only
    /// if fewer have a positive weight.
    #[must_use]
    pub fn replicas(&self, hash: u64, count: usize) -> Vec<usize> {
        self.chooser.replicas(&self.ring, hash, count)
    }

    /// An open position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.chooser.choose(&self.ring, view, caller)
    }
}

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

impl Placement for RingHash {
    fn len(&self) -> usize {
        self.ring.len()
    }

    #[inline]
    fn home(&self, hash: u64) -> Option<Candidate> {
        self.ring.home(hash)
    }

    #[inline]
    fn next(&self, hash: u64, step: u32, last: Candidate) -> Candidate {
        self.ring.next(hash, step, last)
    }
}

impl Policy for RingHash {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        self.chooser.wants()
    }

    fn on_event(&self, event: Event) {
        self.chooser.on_event(event);
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(self.updated(members)?)))
    }
}

impl PolicySettings for RingHashConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(RingHash::new(self, members)?))
    }
}

const NAME: &str = "ring_hash";
