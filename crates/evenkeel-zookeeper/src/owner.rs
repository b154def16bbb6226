use std::collections::BTreeSet;

use evenkeel_registry::Owner;

/// Whose the node is that stands where ours should, by its `ephemeralOwner`, the session of ours, the earlier sessions of
/// this process, and whether it says the address that ours would.
///
/// A node of the same address under another session is that of this process before it restarted: two cannot listen at one
/// address. It will vanish when its session ends, and take the place with it, so it has to go first (apache/dubbo#5135).
/// A node without a session is an operator's, and is left alone.
#[must_use]
pub fn whose(owner: i64, session: i64, earlier: &BTreeSet<i64>, same_address: bool) -> Owner {
    match owner {
        0 => Owner::Other,
        _ if owner == session => Owner::Mine,
        _ if same_address || earlier.contains(&owner) => Owner::OlderSession,
        _ => Owner::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_owner() {
        let earlier = BTreeSet::from([7, 8]);
        for (owner, same_address, expected) in [
            (0, true, Owner::Other),
            (0, false, Owner::Other),
            (9, false, Owner::Mine),
            (7, false, Owner::OlderSession),
            (5, true, Owner::OlderSession),
            (5, false, Owner::Other),
        ] {
            assert_eq!(whose(owner, 9, &earlier, same_address), expected, "{owner} {same_address}");
        }
    }
}
