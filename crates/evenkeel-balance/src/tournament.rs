//! The least of many keys, kept while keys change one by one.

/// A key of a [`Tournament`].
pub(crate) trait Key: Copy + Ord {
    /// Loses against every key of somebody who takes part.
    const LAST: Self;
}

impl Key for u128 {
    const LAST: Self = Self::MAX;
}

/// A winner tree: positions `0..n` with a key each; the first of the least is known at any time.
///
/// Eight meet in each match, so that 10 000 need five rounds, and the keys of a match lie side by side in memory. A new key
/// replays the matches above it, up to the first whose winner it does not change.
#[derive(Clone, Debug)]
pub(crate) struct Tournament<K> {
    keys: Box<[K]>,
    rounds: Box<[Box<[Winner<K>]>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Winner<K> {
    key: K,
    position: u32,
}

impl<K: Key> Tournament<K> {
    /// A tournament of these keys.
    pub(crate) fn new(keys: impl IntoIterator<Item = K>) -> Self {
        let mut keys: Vec<K> = keys.into_iter().collect();
        keys.resize(keys.len().next_multiple_of(MATCH).max(MATCH), K::LAST);
        let mut matches = keys.len() / MATCH;
        let mut rounds = Vec::new();
        loop {
            let places = if matches == 1 { 1 } else { matches.next_multiple_of(MATCH) };
            rounds.push(vec![Winner { key: K::LAST, position: 0 }; places].into_boxed_slice());
            if matches == 1 {
                break;
            }
            matches = places / MATCH;
        }
        let mut new = Self { keys: keys.into(), rounds: rounds.into() };
        new.replay();
        new
    }

    /// The position with the least key, the first of equals, and its key. [`Key::LAST`] takes no part.
    #[inline]
    pub(crate) fn first(&self) -> Option<(usize, K)> {
        let winner = self.rounds.last()?.first()?;
        (winner.key < K::LAST).then_some((winner.position as usize, winner.key))
    }

    /// Gives a position another key. O(log n).
    #[inline]
    pub(crate) fn set(&mut self, position: usize, key: K) {
        let Some(place) = self.keys.get_mut(position) else { return };
        *place = key;
        let mut number = position / MATCH;
        let mut winner = first_match(&self.keys, number);
        let mut rounds = self.rounds.iter_mut();
        while let Some(round) = rounds.next() {
            if round[number] == winner {
                return;
            }
            round[number] = winner;
            if rounds.len() > 0 {
                number /= MATCH;
                winner = later_match(round, number);
            }
        }
    }

    /// Gives every position another key. O(n).
    pub(crate) fn set_all(&mut self, mut key: impl FnMut(usize, K) -> K) {
        for (position, place) in self.keys.iter_mut().enumerate() {
            *place = key(position, *place);
        }
        self.replay();
    }

    fn replay(&mut self) {
        let Some((first, later)) = self.rounds.split_first_mut() else { return };
        for number in 0..self.keys.len() / MATCH {
            first[number] = first_match(&self.keys, number);
        }
        let mut below: &[Winner<K>] = first;
        for round in later {
            for number in 0..below.len() / MATCH {
                round[number] = later_match(below, number);
            }
            below = round;
        }
    }
}

#[inline]
fn first_match<K: Key>(keys: &[K], number: usize) -> Winner<K> {
    let start = number * MATCH;
    let mut winner = Winner { key: keys[start], position: start as u32 };
    for (index, &key) in keys[start..start + MATCH].iter().enumerate().skip(1) {
        if key < winner.key {
            winner = Winner { key, position: (start + index) as u32 };
        }
    }
    winner
}

#[inline]
fn later_match<K: Key>(round: &[Winner<K>], number: usize) -> Winner<K> {
    let start = number * MATCH;
    let mut winner = round[start];
    for &other in &round[start + 1..start + MATCH] {
        if other.key < winner.key {
            winner = other;
        }
    }
    winner
}

/// How many meet in a match: eight keys of 16 bytes are two cache lines.
const MATCH: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nobody_wins_where_nobody_takes_part() {
        assert_eq!(Tournament::<u128>::new([]).first(), None);
        let mut tournament = Tournament::new([5_u128]);
        tournament.set(7, 1_u128);
        tournament.set(700, 0_u128);
        assert_eq!(tournament.first(), Some((7, 1)), "padding can be used, what lies beyond cannot");
        tournament.set_all(|_, _| u128::LAST);
        assert_eq!(tournament.first(), None);
    }

    proptest! {
        /// The winner is what a plain scan finds, after any changes.
        #[test]
        fn agrees_with_a_scan(
            keys in prop::collection::vec(0_u128..20, 1..700),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u128..20), 0..100),
        ) {
            let mut model = keys.clone();
            let mut tournament = Tournament::new(keys);
            for (index, key) in changes {
                let position = index.index(model.len());
                model[position] = key;
                tournament.set(position, key);
                let least = model.iter().copied().min().unwrap();
                let expected = (model.iter().position(|&key| key == least).unwrap(), least);
                prop_assert_eq!(tournament.first(), Some(expected));
                let mut anew = tournament.clone();
                anew.set_all(|_, key| key);
                prop_assert_eq!(anew.first(), Some(expected));
            }
        }
    }
}
