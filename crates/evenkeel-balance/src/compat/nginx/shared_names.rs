//! Servers of the same text share their points on the ring.

use super::server::host_and_port;
use crate::compat::ketama::{Ketama, Share, TooManyPoints};

/// For each server the index of the first one of the same text.
pub(super) fn owners(names: &[impl AsRef<str>]) -> Vec<usize> {
    let name = |index: usize| names[index].as_ref();
    let mut by_name: Vec<usize> = (0..names.len()).collect();
    by_name.sort_by(|&a, &b| name(a).cmp(name(b)));
    let mut owners = vec![0; names.len()];
    for group in by_name.chunk_by(|&a, &b| name(a) == name(b)) {
        for &index in group {
            owners[index] = group[0];
        }
    }
    owners
}

/// The ring. Servers of the same text make the same points, as many as the heaviest of them asks for.
pub(super) fn ring(
    names: &[impl AsRef<str>],
    weights: &[u32],
    owners: &[usize],
) -> Result<Ketama, TooManyPoints> {
    let share = |name: &dyn AsRef<str>| {
        let (host, port) = host_and_port(name.as_ref());
        Share { host: host.into(), port: port.into(), points: 0 }
    };
    let mut shares: Vec<Share> = names.iter().map(|name| share(name)).collect();
    for (&weight, &owner) in weights.iter().zip(owners) {
        let points = u64::from(weight) * POINTS_PER_WEIGHT;
        shares[owner].points = shares[owner].points.max(points);
    }
    Ketama::new(&shares)
}

/// Points on the ring for each unit of weight: nginx's number.
const POINTS_PER_WEIGHT: u64 = 160;
