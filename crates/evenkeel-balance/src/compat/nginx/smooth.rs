//! The steps that all methods are made of: smooth weighted round robin, and the least connected.

use super::peer::{Peer, State};

/// One step of smooth weighted round robin over the peers from `from` on that are open. O(n).
///
/// The turn of each open peer comes nearer by its effective weight; the nearest is taken, the first of equals, and put
/// back by the sum.
pub(super) fn smooth(
    peers: &[Peer],
    states: &mut [State],
    from: usize,
    open: impl Fn(usize, &State) -> bool,
) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    let mut total = 0_i64;
    for (index, peer) in peers.iter().enumerate().skip(from) {
        let state = &mut states[peer.slot];
        if !open(index, state) {
            continue;
        }
        total = total.saturating_add(peer.advance(state));
        if best.is_none_or(|(_, current)| state.current > current) {
            best = Some((index, state.current));
        }
    }
    let (index, current) = best?;
    states[peers[index].slot].current = current.saturating_sub(total);
    Some(index)
}

/// The open peer with the fewest connections for its weight; if several have, one step of smooth weighted round robin
/// among those. O(n).
pub(super) fn least_connected(
    peers: &[Peer],
    states: &mut [State],
    open: impl Fn(usize, &State) -> bool,
    connections: impl Fn(usize, &State) -> u32,
) -> Option<usize> {
    let ratio =
        |index: usize, state: &State| (u64::from(connections(index, state)), u64::from(peers[index].weight));
    let mut best: Option<(usize, (u64, u64))> = None;
    let mut is_tied = false;
    for (index, peer) in peers.iter().enumerate() {
        let state = &states[peer.slot];
        if !open(index, state) {
            continue;
        }
        let (connections, weight) = ratio(index, state);
        // Cross products of 32 bits each: they fit.
        match best.map(|(_, (least, its))| (connections * its).cmp(&(least * weight))) {
            None | Some(std::cmp::Ordering::Less) => {
                best = Some((index, (connections, weight)));
                is_tied = false;
            }
            Some(std::cmp::Ordering::Equal) => is_tied = true,
            Some(std::cmp::Ordering::Greater) => {}
        }
    }
    let (first, (least, its)) = best?;
    if !is_tied {
        return Some(first);
    }
    smooth(peers, states, first, |index, state| {
        let (connections, weight) = ratio(index, state);
        open(index, state) && connections * its == least * weight
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(weights: &[u32]) -> (Vec<Peer>, Vec<State>) {
        let peer = |(slot, &weight)| Peer { slot, weight, max_fails: 1, fail_timeout: 10 };
        (weights.iter().enumerate().map(peer).collect(), vec![State::default(); weights.len()])
    }

    #[test]
    fn turns_are_spread_by_weight() {
        let (peers, mut states) = peers(&[5, 1, 1]);
        let picks: Vec<_> = (0..7).map(|_| smooth(&peers, &mut states, 0, |_, _| true).unwrap()).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
        assert!(states.iter().all(|state| state.current == 0), "a full cycle ends where it began");
    }

    #[test]
    fn who_is_not_open_keeps_its_place() {
        let (peers, mut states) = peers(&[2, 3, 1]);
        for _ in 0..3 {
            assert_ne!(smooth(&peers, &mut states, 0, |index, _| index != 1), Some(1));
        }
        assert_eq!(states[1], State::default());
        assert_eq!(smooth(&peers, &mut states, 0, |_, _| false), None);
    }

    #[test]
    fn the_least_connected_for_its_weight_is_alone_or_takes_turns() {
        let (peers, mut states) = peers(&[4, 2, 1]);
        let pick = |states: &mut [State], connections: [u32; 3]| {
            least_connected(&peers, states, |_, _| true, |index, _| connections[index])
        };
        assert_eq!(pick(&mut states, [4, 1, 1]), Some(1), "one half is less than one");
        assert!(states.iter().all(|state| state.current == 0), "a single winner takes no turn");
        assert_eq!(pick(&mut states, [4, 2, 1]), Some(0));
        assert_eq!(states.iter().map(|state| state.current).collect::<Vec<_>>(), [-3, 2, 1]);
        assert_eq!(pick(&mut states, [9, 2, 1]), Some(1));
        assert_eq!(states[0].current, -3, "only those that tie take part");
    }
}
