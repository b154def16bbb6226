//! The ring that nginx took from a Perl memcached client and pingora from nginx.

use crc32fast::Hasher;
use thiserror::Error;

/// Points on a circle of 32 bits, each owned by a server.
///
/// A server's first point is the CRC-32 of `host`, a zero byte, `port` and four zero bytes; each further one has the
/// point before it, little end first, in the place of the four. Of equal points of two servers the one that was entered
/// first stays: in the programs that is left to an unstable sort.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ketama {
    points: Box<[Point]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    hash: u32,
    owner: u32,
}

/// A ring would have more points than fit into a sensible amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{points} points on the ring, more than {}: choose smaller weights", Ketama::MOST_POINTS)]
pub struct TooManyPoints {
    /// So many it would have.
    pub points: u64,
}

/// One server on the ring: `host` and `port` as they are hashed, and its number of points.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) host: Vec<u8>,
    pub(crate) port: Vec<u8>,
    pub(crate) points: u64,
}

impl Ketama {
    /// 128 MiB of points: more only a mistaken weight asks for.
    pub(crate) const MOST_POINTS: u64 = 1 << 24;

    /// The ring of these servers, whose owners are numbered in this order. O(p log p) for p points.
    pub(crate) fn new(shares: &[Share]) -> Result<Self, TooManyPoints> {
        let total = shares.iter().fold(0_u64, |sum, share| sum.saturating_add(share.points));
        if total > Self::MOST_POINTS {
            return Err(TooManyPoints { points: total });
        }
        let mut points = Vec::with_capacity(total as usize);
        for (owner, share) in (0_u32..).zip(shares) {
            let mut base = Hasher::new();
            for part in [&share.host, &vec![0], &share.port] {
                base.update(part);
            }
            let mut hash = 0_u32;
            for _ in 0..share.points {
                let mut hasher = base.clone();
                hasher.update(&hash.to_le_bytes());
                hash = hasher.finalize();
                points.push(Point { hash, owner });
            }
        }
        points.sort_by_key(|point| point.hash);
        points.dedup_by_key(|point| point.hash);
        Ok(Self { points: points.into_boxed_slice() })
    }

    /// The index of the first point at or after `hash`, from the start again beyond the last. O(log p).
    pub(crate) fn at_or_after(&self, hash: u32) -> usize {
        let index = self.points.partition_point(|point| point.hash < hash);
        if index == self.points.len() { 0 } else { index }
    }

    /// The owner of the point at `index`, counted on past the last; `None` without any points.
    pub(crate) fn owner(&self, index: usize) -> Option<usize> {
        let index = index.checked_rem(self.points.len())?;
        self.points.get(index).map(|point| point.owner as usize)
    }

    /// The number of points.
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(host: &str, points: u64) -> Share {
        Share { host: host.into(), port: b"80".into(), points }
    }

    #[test]
    fn a_chain_of_points_begins_with_the_name() {
        let ring = Ketama::new(&[share("a", 2)]).unwrap();
        let first = crc32fast::hash(b"a\x0080\0\0\0\0");
        let second = crc32fast::hash(&[b"a\x0080".as_slice(), &first.to_le_bytes()].concat());
        let mut expected = [first, second];
        expected.sort_unstable();
        assert_eq!(ring.points.iter().map(|point| point.hash).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_lookup_finds_the_next_point_and_wraps() {
        let ring = Ketama::new(&[share("a", 3), share("b", 3)]).unwrap();
        for (index, point) in ring.points.iter().enumerate() {
            assert_eq!(ring.at_or_after(point.hash), index);
            assert_eq!(ring.at_or_after(point.hash.wrapping_add(1)), (index + 1) % 6);
            assert_eq!(ring.owner(index + 6), Some(point.owner as usize));
        }
    }

    #[test]
    fn equal_points_are_one_and_the_first_server_owns_it() {
        let ring = Ketama::new(&[share("a", 2), share("a", 5)]).unwrap();
        assert_eq!(ring.len(), 5);
        assert_eq!(ring.points.iter().filter(|point| point.owner == 0).count(), 2);
    }

    #[test]
    fn no_points_and_too_many() {
        let empty = Ketama::new(&[]).unwrap();
        assert_eq!((empty.len(), empty.at_or_after(7), empty.owner(7)), (0, 0, None));
        let points = Ketama::MOST_POINTS;
        assert_eq!(
            Ketama::new(&[share("a", points), share("b", 1)]),
            Err(TooManyPoints { points: points + 1 })
        );
        assert_eq!(
            Ketama::new(&[share("a", u64::MAX), share("b", 1)]),
            Err(TooManyPoints { points: u64::MAX })
        );
    }
}
