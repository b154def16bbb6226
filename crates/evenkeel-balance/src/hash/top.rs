use crate::hash::Placement;

/// The first `count` distinct positions of a placement for a hash, in the order in which the key would move: where its
/// replicas live.
///
/// The walk is bounded, by 16 steps a position and 64 a wanted one; a placement that repeats itself may give fewer than
/// it has. The policies' own `replicas` give all.
///
/// ```
/// use evenkeel_balance::hash::top;
/// use evenkeel_balance::{Maglev, MaglevConfig, MemberList};
/// # use evenkeel_types::Endpoint;
/// # let endpoint = |name: &str| Endpoint::new(name.parse().expect("a name"), "10.0.0.1:80".parse().expect("an address"));
/// let members = MemberList::new(["a", "b", "c"].map(endpoint));
/// let maglev = Maglev::new(&MaglevConfig::default(), &members)?;
/// let mut replicas = top(&maglev, 42, 2);
/// replicas.dedup();
/// assert_eq!(replicas.len(), 2);
/// # Ok::<(), evenkeel_balance::InvalidPolicy>(())
/// ```
#[must_use]
pub fn top<P: Placement + ?Sized>(placement: &P, hash: u64, count: usize) -> Vec<usize> {
    let wanted = count.min(placement.len());
    let mut found = Vec::with_capacity(wanted);
    let Some(mut candidate) = placement.home(hash).filter(|_| wanted > 0) else { return found };
    let mut taken = vec![0_u64; placement.len().div_ceil(64)];
    let steps = (placement.len().saturating_mul(16)).min(wanted.saturating_mul(64));
    for step in 1..=u32::try_from(steps).unwrap_or(u32::MAX) {
        let (word, bit) = (candidate.position / 64, 1 << (candidate.position % 64));
        if taken[word] & bit == 0 {
            taken[word] |= bit;
            found.push(candidate.position);
        }
        if found.len() == wanted {
            break;
        }
        candidate = placement.next(hash, step, candidate);
    }
    found
}
