use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A map of slots, as `static-rr` and `hash-type map-based` use it: each usable server holds as many slots as its weight
/// says.
///
/// The slots are dealt one after the other. At each, every server gains its weight; the server with the largest
/// ⌊(score + slots) ÷ slots⌋ takes it, the first one of equals, and pays the number of slots. The whole quotient is coarser
/// than the score, so runs are longer than in a smooth weighted round robin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    slots: Vec<u32>,
    turn: usize,
}

impl Map {
    /// Deals `slots` slots to these servers by their weights; positions in the walk stay. O((slots + servers) log servers).
    pub(crate) fn deal(&mut self, members: &[(usize, u32)], slots: u32) {
        self.slots = match (members, slots) {
            ([], _) => Vec::new(),
            (_, 1) => vec![members[0].0 as u32],
            _ => deal(members, slots),
        };
    }

    /// The server of a hash. O(1).
    pub(crate) fn at(&self, hash: u32) -> Option<usize> {
        let slots = u32::try_from(self.slots.len()).ok().filter(|&slots| slots > 0)?;
        Some(self.slots[(hash % slots) as usize] as usize)
    }

    /// The first server from the slot of a hash on that `is_open`. HAProxy itself never walks on: it queues.
    pub(crate) fn at_or_after(&self, hash: u32, mut is_open: impl FnMut(usize) -> bool) -> Option<usize> {
        let start = hash as usize % self.slots.len().max(1);
        let (before, after) = self.slots.split_at(start);
        after.iter().chain(before).map(|&server| server as usize).find(|&server| is_open(server))
    }

    /// The next slot's server that `has_room`.
    pub(crate) fn next(&mut self, mut has_room: impl FnMut(usize) -> bool) -> Option<usize> {
        if self.turn >= self.slots.len() {
            self.turn = 0;
        }
        let (before, after) = self.slots.split_at(self.turn);
        let met = after.iter().chain(before).position(|&server| has_room(server as usize))?;
        // One past the slot, which may be one past the end.
        let slot = (self.turn + met) % self.slots.len();
        self.turn = slot + 1;
        Some(self.slots[slot] as usize)
    }

    /// Where the walk stands.
    pub(crate) fn turn(&self) -> usize {
        self.turn
    }

    /// Goes on from there.
    pub(crate) fn set_turn(&mut self, turn: usize) {
        self.turn = turn;
    }
}

/// The rule looks at every server for every slot. But quotients change seldom: a server's rises once in slots ÷ weight
/// slots, and falls by one when it takes a slot. So keep the servers in order of quotient, and know when each rises next.
fn deal(members: &[(usize, u32)], slots: u32) -> Vec<u32> {
    let total = i64::from(slots);
    // Who rises at a slot: the first of them, and who comes after each.
    let mut rises = vec![NOBODY; slots as usize];
    let mut others = vec![NOBODY; members.len()];
    let rise_at = |slot: usize, member: usize, others: &mut [u32], rises: &mut [u32]| {
        if let Some(first) = rises.get_mut(slot) {
            others[member] = std::mem::replace(first, member as u32);
        }
    };
    let mut order = BTreeSet::new();
    let mut paid = vec![0_i64; members.len()];
    // What a server has gained by the end of the gain at a slot, less what it has paid.
    let score =
        |member: usize, slot: i64, paid: &[i64]| i64::from(members[member].1) * (slot + 1) - paid[member];
    let quotient = |score: i64| (score + total) / total;
    let mut quotients = vec![0_i64; members.len()];
    for member in 0..members.len() {
        rise_at(0, member, &mut others, &mut rises);
        order.insert((Reverse(0), member));
    }
    let mut map = Vec::with_capacity(slots as usize);
    for slot in 0..slots as usize {
        let mut rising = rises[slot];
        while let Some(&after) = others.get(rising as usize) {
            let member = rising as usize;
            rising = after;
            let now = score(member, slot as i64, &paid);
            order.remove(&(Reverse(quotients[member]), member));
            quotients[member] = quotient(now);
            order.insert((Reverse(quotients[member]), member));
            // The next slot at which the score reaches the next multiple of the total.
            let missing = total.abs_diff(now.rem_euclid(total));
            let later = missing.div_ceil(u64::from(members[member].1).max(1));
            rise_at(slot + later as usize, member, &mut others, &mut rises);
        }
        let Some(&(_, best)) = order.first() else { break };
        order.remove(&(Reverse(quotients[best]), best));
        paid[best] += total;
        quotients[best] = quotient(score(best, slot as i64, &paid));
        order.insert((Reverse(quotients[best]), best));
        map.push(members[best].0 as u32);
    }
    map
}

const NOBODY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule as it is written.
    fn plain(members: &[(usize, u32)], slots: u32) -> Vec<u32> {
        let total = i64::from(slots);
        let mut scores = vec![0_i64; members.len()];
        let mut map = Vec::new();
        for _ in 0..slots {
            let mut best: Option<(usize, i64)> = None;
            for (member, &(_, weight)) in members.iter().enumerate() {
                scores[member] += i64::from(weight);
                let quotient = (scores[member] + total) / total;
                if best.is_none_or(|(_, most)| quotient > most) {
                    best = Some((member, quotient));
                }
            }
            if let Some((member, _)) = best {
                scores[member] -= total;
                map.push(members[member].0 as u32);
            }
        }
        map
    }

    fn letters(weights: &[u32]) -> String {
        let members: Vec<_> = weights.iter().copied().enumerate().filter(|(_, weight)| *weight > 0).collect();
        let mut map = Map::default();
        map.deal(&members, weights.iter().sum());
        let count = map.slots.len();
        (0..count).filter_map(|_| map.next(|_| true)).map(|server| char::from(b'a' + server as u8)).collect()
    }

    #[test]
    fn small_maps() {
        assert_eq!(letters(&[5, 1, 1]), "aaabaac");
        assert_eq!(letters(&[4, 2, 1]), "aababac");
        assert_eq!(letters(&[0, 1]), "b");
        assert_eq!(letters(&[]), "");
    }

    #[test]
    fn full_servers_are_passed_over() {
        let mut map = Map::default();
        map.deal(&[(0, 1), (1, 1), (2, 1)], 3);
        assert_eq!(map.next(|server| server == 2), Some(2));
        assert_eq!(map.next(|_| true), Some(0));
        assert_eq!(map.next(|_| false), None);
        assert_eq!(map.next(|_| true), Some(1));
        assert_eq!((map.at(7), map.at_or_after(7, |server| server != 1)), (Some(1), Some(2)));
    }

    proptest! {
        #[test]
        fn the_quick_deal_is_the_plain_one(weights in prop::collection::vec(1_u32..60, 1..12), short in 0_u32..4) {
            let members: Vec<_> = weights.iter().copied().enumerate().map(|(n, w)| (n + 3, w)).collect();
            // With one backup of several, fewer slots are dealt than there is weight.
            let slots = if short == 0 { weights[0].max(2) } else { weights.iter().sum::<u32>().max(2) };
            prop_assert_eq!(deal(&members, slots), plain(&members, slots));
        }
    }
}
