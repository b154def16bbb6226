//! A choice alone, given its inputs: what a table or an order costs without snapshot, health and count.

use std::hint::black_box;
use std::sync::Arc;

use crate::cases::{Cases, repeat};

/// A stream of hashed keys: one multiplication and two shifts each, the same for every subject.
#[derive(Clone, Debug)]
pub(crate) struct Keys(u64);

impl Default for Keys {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Keys {
    #[inline(always)]
    pub(crate) fn hash(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }
}

/// The shortest code for each family.
pub(crate) fn floors(cases: &mut Cases, n: usize) {
    let slots: Arc<[u16]> =
        (0..65_537_u64).map(|slot| (slot.wrapping_mul(40_503) % n as u64) as u16).collect();
    cases.add("select", "floor/key", n, 1.0, || {
        let mut keys = Keys::default();
        repeat(move || keys.hash())
    });
    cases.add("select", "floor/modulo-one-load", n, 1.0, || {
        let (slots, mut keys) = (Arc::clone(&slots), Keys::default());
        repeat(move || slots[(keys.hash() % 65_537) as usize])
    });
    let mut points: Vec<(u64, u32)> = {
        let mut keys = Keys::default();
        (0..160 * n as u64).map(|point| (keys.hash(), (point / 160) as u32)).collect()
    };
    points.sort_unstable();
    let points: Arc<[(u64, u32)]> = points.into();
    cases.add("select", "floor/binary-search", n, 1.0, || {
        let (points, mut keys) = (Arc::clone(&points), Keys::default());
        repeat(move || {
            let hash = keys.hash();
            let place = points.partition_point(|&(point, _)| point < hash);
            points[if place == points.len() { 0 } else { place }].1
        })
    });
    let seeds: Arc<[u64]> = {
        let mut keys = Keys::default();
        (0..n).map(|_| keys.hash()).collect()
    };
    cases.add("select", "floor/mix-and-max", n, 1.0, || {
        let (seeds, mut keys) = (Arc::clone(&seeds), Keys::default());
        repeat(move || {
            let hash = keys.hash();
            let score = |&seed: &u64| {
                let mixed = (seed ^ hash).wrapping_mul(0xd6e8_feb8_6659_fd93);
                mixed ^ (mixed >> 32)
            };
            black_box(seeds.iter().map(score).enumerate().max_by_key(|&(_, score)| score))
        })
    });
}
