//! The crates that place keys, called as their documentation says, given what they want: a hash or a key.

use std::hash::BuildHasherDefault;
use std::net::SocketAddr;
use std::sync::Arc;

use anchorhash::AnchorHash;
use hrw_hash::{HrwNode, HrwNodes};
use maglev::{ConsistentHasher, Maglev};
use mpchash::HashRing;
use pingora_ketama::{Bucket, Continuum};
use rand::distr::Distribution;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use rand_distr::weighted::WeightedAliasIndex;
use rendezvous_hash::{DefaultNodeHasher, IdNode, RendezvousNodes};

use crate::cases::{Cases, repeat};
use crate::select::Keys;

/// A node by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Number(u32);

impl HrwNode for Number {
    fn capacity(&self) -> usize {
        1
    }
}

/// Lookups of each crate among `n` nodes.
pub(crate) fn lookups(cases: &mut Cases, n: usize) {
    jump(cases, n);
    anchor(cases, n);
    ketama(cases, n);
    alias(cases, n);
    if n <= 1000 {
        maglev(cases, n);
        multi_probe(cases, n);
        rendezvous(cases, n);
    }
}

fn jump(cases: &mut Cases, n: usize) {
    cases.add("select", "jump-consistent-hash", n, 1.0, || {
        let mut keys = Keys::default();
        repeat(move || jump_consistent_hash::hash(keys.hash(), n))
    });
    cases.add("select", "jumphash", n, 1.0, || {
        let (hasher, mut keys) = (jumphash::JumpHasher::new_with_keys(1, 2), Keys::default());
        repeat(move || hasher.slot(&keys.hash(), n as u32))
    });
}

fn anchor(cases: &mut Cases, n: usize) {
    let capacity = (n + n / 4 + 1) as u16;
    let build = || {
        anchorhash::Builder::with_hasher(BuildHasherDefault::<std::hash::DefaultHasher>::default())
            .with_resources(0..n as u32)
            .build(capacity)
    };
    let table: Arc<AnchorHash<u64, u32, _>> = Arc::new(build());
    cases.add("select", "anchorhash", n, 1.0, || {
        let (table, mut keys) = (Arc::clone(&table), Keys::default());
        repeat(move || table.get_resource(keys.hash()).copied())
    });
}

fn ketama(cases: &mut Cases, n: usize) {
    let buckets = buckets(n);
    let ring = Arc::new(Continuum::new(&buckets));
    cases.add("select", "pingora-ketama", n, 1.0, || {
        let (ring, mut keys) = (Arc::clone(&ring), Keys::default());
        repeat(move || ring.node_idx(&keys.hash().to_le_bytes()))
    });
}

fn buckets(n: usize) -> Vec<Bucket> {
    let address =
        |node: usize| SocketAddr::from(([10, (node >> 16) as u8, (node >> 8) as u8, node as u8], 8080));
    (0..n).map(|node| Bucket::new(address(node), 1)).collect()
}

fn alias(cases: &mut Cases, n: usize) {
    let table = Arc::new(
        WeightedAliasIndex::new((0..n).map(|node| 1 + (node % 10) as u32).collect()).expect("weights"),
    );
    cases.add("select", "rand_distr/alias", n, 1.0, || {
        let (table, mut draws) = (Arc::clone(&table), SmallRng::seed_from_u64(1));
        repeat(move || table.sample(&mut draws))
    });
    cases.add("select", "rand/small_rng", n, 1.0, || {
        let mut draws = SmallRng::seed_from_u64(1);
        repeat(move || draws.next_u64())
    });
}

fn maglev(cases: &mut Cases, n: usize) {
    if !cases.is_wanted("select", "maglev") {
        return;
    }
    let table = Arc::new(Maglev::with_capacity(0..n as u32, 65_537));
    cases.add("select", "maglev", n, 1.0, || {
        let (table, mut keys) = (Arc::clone(&table), Keys::default());
        repeat(move || table.get(&keys.hash()).copied())
    });
}

fn multi_probe(cases: &mut Cases, n: usize) {
    let ring = Arc::new(HashRing::<Number>::new());
    (0..n as u32).for_each(|node| ring.add(Number(node)));
    cases.add("select", "mpchash", n, 1.0, || {
        let (ring, mut keys) = (Arc::clone(&ring), Keys::default());
        repeat(move || ring.node(&keys.hash()).is_some())
    });
}

fn rendezvous(cases: &mut Cases, n: usize) {
    let mut nodes: RendezvousNodes<IdNode<u32>, _> = RendezvousNodes::new(DefaultNodeHasher::new());
    (0..n as u32).for_each(|node| {
        nodes.insert(IdNode::new(node));
    });
    let nodes = Arc::new(nodes);
    cases.add("select", "rendezvous_hash", n, 1.0, || {
        let (nodes, mut keys) = (Arc::clone(&nodes), Keys::default());
        repeat(move || nodes.calc_candidates(&keys.hash()).next().is_some())
    });
    let nodes = Arc::new(HrwNodes::<Number>::new((0..n as u32).map(Number)));
    cases.add("select", "hrw-hash", n, 1.0, || {
        let (nodes, mut keys) = (Arc::clone(&nodes), Keys::default());
        repeat(move || nodes.sorted(&keys.hash()).next().copied())
    });
}

/// What it takes to build.
pub(crate) fn builds(cases: &mut Cases) {
    let many = buckets(10_000);
    cases.add_single("build", "pingora-ketama", 10_000, 1, repeat(move || Continuum::new(&many)));
    cases.add_single("build", "maglev", 1000, 1, repeat(|| Maglev::<u32>::with_capacity(0..1000, 65_537)));
}
