use std::io::Write;

use thiserror::Error;

use super::Share;
use super::share::smallest;
use crate::hash::{MURMUR_SEED, murmur64a, xxh64};

/// The function that places hosts on the ring. Keys are always hashed with xxHash64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RingFunction {
    /// xxHash64, Envoy's default.
    #[default]
    XxHash,
    /// MurmurHash64A under the seed of GCC's `std::hash`: the same ring as with Envoy builds before xxHash.
    #[cfg_attr(feature = "serde", serde(rename = "murmur_hash_2"))]
    MurmurHash2,
}

impl RingFunction {
    fn hash(self, bytes: &[u8]) -> u64 {
        match self {
            Self::XxHash => xxh64(bytes, 0),
            Self::MurmurHash2 => murmur64a(bytes, MURMUR_SEED),
        }
    }
}

/// How many points a ring may have: at least a minimum, so that shares are fair, at most a maximum, so that it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    minimum: u32,
    maximum: u32,
}

impl RingSizes {
    /// The largest ring: Envoy's own limit.
    pub const LARGEST: u64 = 8_388_608;

    /// These sizes.
    ///
    /// # Errors
    ///
    /// [`InvalidRingSizes`], unless 1 ≤ minimum ≤ maximum ≤ 8 388 608. (Envoy takes a minimum of zero, and then all
    /// picks fail.)
    pub fn new(minimum: u64, maximum: u64) -> Result<Self, InvalidRingSizes> {
        for size in [minimum, maximum] {
            if !(1..=Self::LARGEST).contains(&size) {
                return Err(InvalidRingSizes::OutOfRange { size });
            }
        }
        if minimum > maximum {
            return Err(InvalidRingSizes::Crossed { minimum, maximum });
        }
        // Both are below 2^24.
        Ok(Self { minimum: minimum as u32, maximum: maximum as u32 })
    }

    /// Both sizes cut down to `cap`, as gRPC does.
    #[must_use]
    pub fn capped(self, cap: u32) -> Self {
        Self { minimum: self.minimum.min(cap), maximum: self.maximum.min(cap) }
    }
}

impl Default for RingSizes {
    /// 1024 to 8 388 608, Envoy's defaults.
    fn default() -> Self {
        Self { minimum: 1024, maximum: 8_388_608 }
    }
}

/// The sizes are not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRingSizes {
    /// A size is zero or too large.
    #[error("ring size {size} is out of range: allowed are 1 to 8388608")]
    OutOfRange {
        /// Which.
        size: u64,
    },
    /// The minimum is above the maximum.
    #[error("minimum ring size {minimum} is above the maximum {maximum}")]
    Crossed {
        /// The minimum.
        minimum: u64,
        /// The maximum.
        maximum: u64,
    },
}

/// A ring of points, each of which belongs to a host: the host of a key is that of the next point.
///
/// The points lie sorted in one array. A second one tells where each range of hashes begins, one range for each point on
/// average, so a look-up reads one entry of it and about one point: it does not halve its way through the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    points: Box<[u64]>,
    hosts: Box<[u32]>,
    /// Where the points begin whose upper bits are `i`; one entry more than there are ranges.
    starts: Box<[u32]>,
    shift: u32,
}

impl Ring {
    /// The ring of these shares, in this order; `text` gives what stands for a host.
    ///
    /// The host with the smallest share gets a whole number of points, unless the maximum is met before; running sums
    /// spread the rounding over the others. O(points × log points).
    #[must_use]
    pub fn new<T: AsRef<[u8]>>(
        shares: &[Share],
        text: impl Fn(u32) -> T,
        sizes: RingSizes,
        function: RingFunction,
    ) -> Self {
        if shares.is_empty() {
            return Self::default();
        }
        let least = smallest(shares);
        let scale = ((least * f64::from(sizes.minimum)).ceil() / least).min(f64::from(sizes.maximum));
        let mut points = Vec::with_capacity(scale.ceil() as usize + 1);
        let (mut placed, mut target) = (0.0, 0.0);
        let mut name = Vec::new();
        for share in shares {
            name.clear();
            name.extend_from_slice(text(share.host).as_ref());
            name.push(b'_');
            let stem = name.len();
            target += scale * share.share;
            let mut number = 0_u32;
            while placed < target {
                name.truncate(stem);
                write!(name, "{number}").expect("a vector takes everything");
                points.push((function.hash(&name), share.host));
                number += 1;
                placed += 1.0;
            }
        }
        // Of equal points the one placed first comes first.
        points.sort_by_key(|&(point, _)| point);
        Self::of_sorted(&points)
    }

    fn of_sorted(points: &[(u64, u32)]) -> Self {
        let bits = points.len().next_power_of_two().trailing_zeros().max(1);
        let shift = u64::BITS - bits;
        let mut starts = vec![0_u32; (1 << bits) + 1];
        for &(point, _) in points {
            starts[(point >> shift) as usize + 1] += 1;
        }
        for range in 1..starts.len() {
            starts[range] += starts[range - 1];
        }
        Self {
            points: points.iter().map(|&(point, _)| point).collect(),
            hosts: points.iter().map(|&(_, host)| host).collect(),
            starts: starts.into(),
            shift,
        }
    }

    /// The number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point, and so no host.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The host of a hash: that of the first point not below it, or of the very first.
    #[inline]
    #[must_use]
    pub fn host(&self, hash: u64) -> Option<u32> {
        self.hosts.get(self.place(hash)).copied()
    }

    /// The hosts of all points in turn, from that of `hash` on: what is tried if the first will not do. A host comes as
    /// often as it has points.
    pub fn walk(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let (before, after) = self.hosts.split_at(self.place(hash));
        after.iter().chain(before).copied()
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        if self.points.is_empty() {
            return 0;
        }
        let range = (hash >> self.shift) as usize;
        let (start, end) = (self.starts[range] as usize, self.starts[range + 1] as usize);
        let points = &self.points[start..end];
        // Counting takes no branch that the processor has to guess, and there is about one point.
        let below = match points.len() {
            0..=8 => points.iter().map(|&point| usize::from(point < hash)).sum(),
            _ => points.partition_point(|&point| point < hash),
        };
        let place = start + below;
        if place == self.points.len() { 0 } else { place }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compat::envoy::shares;

    fn ring(weights: &[u32], minimum: u64, maximum: u64) -> Ring {
        let hosts: Vec<(u32, u32)> = (0..).zip(weights.iter().copied()).collect();
        let sizes = RingSizes::new(minimum, maximum).unwrap();
        Ring::new(&shares(&hosts).unwrap(), |host| format!("10.0.0.{host}:80"), sizes, RingFunction::XxHash)
    }

    fn points_of(ring: &Ring, host: u32) -> usize {
        ring.walk(0).filter(|&other| other == host).count()
    }

    #[test]
    fn the_lightest_host_gets_a_whole_number_of_points() {
        for (weights, minimum, maximum, points) in [
            (&[1_u32, 1, 1][..], 1024, 8_388_608, 1026),
            (&[1; 100], 1024, 8_388_608, 1100),
            (&[1; 1500], 1024, 8_388_608, 1500),
            (&[1, 2, 3, 4], 10, 20, 10),
            (&[1, 1, 1], 1, 1, 1),
            (&[1; 100], 10, 20, 20),
        ] {
            assert_eq!(ring(weights, minimum, maximum).len(), points, "{} hosts", weights.len());
        }
        let weighted = ring(&[1, 2, 3, 4], 10, 20);
        assert_eq!((0..4).map(|host| points_of(&weighted, host)).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let too_large = RingSizes::LARGEST + 1;
        for (minimum, maximum, error) in [
            (0, 10, InvalidRingSizes::OutOfRange { size: 0 }),
            (1, 0, InvalidRingSizes::OutOfRange { size: 0 }),
            (1, too_large, InvalidRingSizes::OutOfRange { size: too_large }),
            (11, 10, InvalidRingSizes::Crossed { minimum: 11, maximum: 10 }),
        ] {
            assert_eq!(RingSizes::new(minimum, maximum), Err(error));
        }
    }

    #[test]
    fn an_empty_ring_has_no_host() {
        let empty = ring(&[], 1, 1);
        assert!(empty.is_empty());
        assert_eq!((empty.host(7), empty.walk(7).next()), (None, None));
        assert_eq!(ring(&[0, 0], 1, 1), empty);
    }

    proptest! {
        #[test]
        fn a_look_up_finds_what_a_scan_finds(weights in prop::collection::vec(1_u32..9, 1..9), hash: u64, minimum in 1_u64..300) {
            let ring = ring(&weights, minimum, 2000);
            for hash in [hash, 0, u64::MAX, ring.points[ring.len() / 2]] {
                let scanned = ring.points.iter().position(|&point| point >= hash).unwrap_or(0);
                prop_assert_eq!(ring.place(hash), scanned);
                prop_assert_eq!(ring.walk(hash).next(), ring.host(hash));
                prop_assert_eq!(ring.walk(hash).count(), ring.len());
            }
        }

        #[test]
        fn no_weights_and_sizes_break_it(
            weights in prop::collection::vec(prop_oneof![0_u32..4, Just(u32::MAX / 4), Just(u32::MAX)], 0..6),
            minimum in 1_u64..5000, more in 0_u64..5000,
        ) {
            let hosts: Vec<(u32, u32)> = (0..).zip(weights).collect();
            if let Ok(shares) = shares(&hosts) {
                let sizes = RingSizes::new(minimum, minimum + more).unwrap();
                let ring = Ring::new(&shares, |host| host.to_string(), sizes, RingFunction::MurmurHash2);
                prop_assert_eq!(ring.is_empty(), shares.is_empty());
                prop_assert!(ring.len() as u64 <= minimum + more + 1);
            }
        }
    }
}
