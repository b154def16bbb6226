//! The exact minimum by load: a scan where there are few endpoints, an order kept by events where there are many.

use std::sync::Arc;

use evenkeel_types::below;

use super::ranking::Ranking;
use super::rule::Rule;
use crate::built_in::are_equal;
use crate::{Caller, Event, Members, View, Wants, scan};

/// The machine behind the policies that look for the exact minimum; they differ by their rule.
#[derive(Debug)]
pub(super) struct Exact {
    rule: Rule,
    weights: Box<[u32]>,
    /// 1 ÷ weight.
    inverses: Box<[f64]>,
    are_equal: bool,
    /// Where there are too many for a scan.
    ranking: Option<Arc<Ranking>>,
}

impl Exact {
    pub(super) fn new(rule: Rule, members: &dyn Members) -> Self {
        Self::with(rule, members, |members| Ranking::new(rule, members))
    }

    /// The successor for other members: what was counted goes on being counted, for both.
    pub(super) fn succeed(&self, members: &dyn Members) -> Self {
        Self::with(self.rule, members, |members| match &self.ranking {
            Some(ranking) => ranking.succeed(members),
            None => Ranking::new(self.rule, members),
        })
    }

    fn with(rule: Rule, members: &dyn Members, ranking: impl FnOnce(&dyn Members) -> Arc<Ranking>) -> Self {
        let weights = members.weights();
        let are_equal = are_equal(weights);
        let most = if are_equal { MOST_TO_SCAN } else { MOST_TO_SCAN_BY_WEIGHT };
        Self {
            rule,
            weights: weights.into(),
            inverses: weights.iter().map(|&weight| 1.0 / f64::from(weight.max(1))).collect(),
            are_equal,
            ranking: (weights.len() > most).then(|| ranking(members)),
        }
    }

    pub(super) fn wants(&self) -> Wants {
        if self.ranking.is_some() { Wants::LOADS | Wants::EVENTS } else { Wants::LOADS }
    }

    pub(super) fn on_event(&self, event: Event) {
        if let Some(ranking) = &self.ranking {
            ranking.on_event(event);
        }
    }

    #[inline]
    pub(super) fn choose<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        match &self.ranking {
            Some(ranking) => match ranking.first(view) {
                Some(position) => Some(position),
                // The request excludes more than the order can keep aside, or a flip raced with the search.
                None => self.look_at_all(view, caller),
            },
            None if self.weights.len() != view.mask().len() => self.look_at_all(view, caller),
            None => {
                let found = match self.weights.len() {
                    0..=FEW => self.scan::<FEW, _, _>(view, caller),
                    _ => self.scan::<MOST_TO_SCAN, _, _>(view, caller),
                };
                found.or_else(|| self.look_at_all(view, caller))
            }
        }
    }

    /// All loads at once, the least among them, and one draw among the equals: each as likely as its weight says. `N` is
    /// the room for them, since clearing room for 128 takes longer than looking at three.
    #[inline]
    fn scan<const N: usize, V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        let mut loads = [0; N];
        let loads = loads.get_mut(..self.weights.len())?;
        view.loads(loads);
        let is_plain = view.mask().usable() == loads.len() && view.admits_all();
        if is_plain && self.are_equal {
            return scan_equals(loads, caller.draw());
        }
        let mut levels = [f64::INFINITY; N];
        let levels = levels.get_mut(..loads.len())?;
        if is_plain {
            for ((level, &load), &inverse) in levels.iter_mut().zip(&*loads).zip(&self.inverses) {
                *level = self.rule.nearly(load, inverse);
            }
        } else {
            for position in view.mask().iter().filter(|&position| view.admits(position)) {
                levels[position] = self.rule.nearly(loads[position], self.inverses[position]);
            }
        }
        self.drawn_among_least(levels, caller.draw())
    }

    /// One of those whose level is the least, each as likely as its weight says. `None` if nobody has a level.
    #[inline]
    fn drawn_among_least(&self, levels: &[f64], draw: u64) -> Option<usize> {
        let least =
            levels.iter().copied().fold(f64::INFINITY, |one, other| if other < one { other } else { one });
        let equal = least + least.abs() * Rule::NEAR;
        if !least.is_finite() {
            return None;
        }
        let part = |&level: &f64, &weight: &u32| if level <= equal { u64::from(weight) } else { 0 };
        let sum = |levels: &[f64], weights: &[u32]| {
            levels.iter().zip(weights).map(|(level, weight)| part(level, weight)).sum()
        };
        drawn_by_parts(levels, &self.weights, sum, part, draw)
    }

    /// One pass over the open positions that asks for each load by itself: the way out for everything unusual.
    #[cold]
    fn look_at_all<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let open = || view.mask().iter().filter(|&position| view.admits(position));
        let own = |position: usize| (view.load(position), view.weight(position).max(1));
        let least = open().map(own).min_by(|&one, &other| self.rule.compare(one, other))?;
        let is_least = |position: usize| self.rule.compare(own(position), least).is_le();
        let count = open().filter(|&position| is_least(position)).count();
        let index = below(scan::upper(caller.draw()), count as u32) as usize;
        // Loads may have changed since they were compared: then whoever is open will do.
        open().filter(|&position| is_least(position)).nth(index).or_else(|| scan::weighted(view, caller))
    }
}

/// The least of loads of equal weight, and of these one at random.
#[inline]
fn scan_equals(loads: &[u32], draw: u64) -> Option<usize> {
    let least = loads.iter().copied().fold(u32::MAX, |one, other| if other < one { other } else { one });
    let count = |block: &[u32], _: &[u32]| block.iter().map(|&load| u32::from(load == least)).sum::<u32>();
    let sum = |one: &[u32], other: &[u32]| u64::from(count(one, other));
    drawn_by_parts(loads, loads, sum, |&load, _| u64::from(load == least), draw)
}

/// A position, each as likely as its part says. Parts are added up block by block, so that only one block is walked in
/// steps; all loops are without a branch in them, which the compiler turns into vector instructions.
#[inline(always)]
fn drawn_by_parts<A, B>(
    one: &[A],
    other: &[B],
    sum_of: impl Fn(&[A], &[B]) -> u64,
    part_of: impl Fn(&A, &B) -> u64,
    draw: u64,
) -> Option<usize> {
    let mut sums = [0_u64; MOST_TO_SCAN / BLOCK];
    let blocks = || one.chunks(BLOCK).zip(other.chunks(BLOCK));
    for (sum, (one, other)) in sums.iter_mut().zip(blocks()) {
        *sum = sum_of(one, other);
    }
    let total: u64 = sums.iter().sum();
    let mut left = ((u128::from(draw) * u128::from(total)) >> 64) as u64;
    for (index, ((one, other), sum)) in blocks().zip(sums).enumerate() {
        if left >= sum {
            left -= sum;
            continue;
        }
        for (position, (one, other)) in (index * BLOCK..).zip(one.iter().zip(other)) {
            let part = part_of(one, other);
            if left < part {
                return Some(position);
            }
            left -= part;
        }
    }
    None
}

/// How many parts are added up at once.
const BLOCK: usize = 16;
/// Up to here a scan, which shares nothing between cores, is about as quick as an order under a lock.
const MOST_TO_SCAN: usize = 128;
/// The same where levels have to be worked out.
const MOST_TO_SCAN_BY_WEIGHT: usize = 64;
/// Room for few.
const FEW: usize = 16;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cmp::Ordering;

    use super::*;
    use crate::testing::{Named, World, members};
    use crate::{Mask, Script, Table};

    const RULES: [Rule; 3] = [Rule::Connections, Rule::Delay, Rule::IdleThenDelay];

    /// Whether nobody open is less than `picked`.
    fn is_least(rule: Rule, world: &World, picked: usize) -> bool {
        let own = |position: usize| (world.loads[position], world.weights[position]);
        world.mask.iter().all(|other| rule.compare(own(other), own(picked)) != Ordering::Less)
    }

    /// Requests come and go, endpoints too: every single pick is the minimum, on both sides of the limit for scans.
    #[test]
    fn every_pick_is_the_exact_minimum() {
        for count in [3, 17, 64, 65, 300, 1_000] {
            for (rule, seed) in RULES.into_iter().zip(1..) {
                let weights: Vec<u32> = (0..count).map(|position| 1 + position * 7 % 5).collect();
                let machine = Exact::new(rule, &members(&weights));
                let mut world = World::new(&weights, seed);
                for step in 0..4_000 {
                    world.step(&mut |view, caller| machine.choose(view, caller), &mut |event| {
                        machine.on_event(event);
                    });
                    if let Some(picked) = world.picked {
                        assert!(is_least(rule, &world, picked), "{rule:?} {count} step {step}");
                    }
                    world.settle(&mut |event| machine.on_event(event));
                }
                assert!(world.picks > 1_000 && world.most_in_flight > 50, "the world was busy");
            }
        }
    }

    /// With nothing ever released the loads divide as in D'Hondt's and Adams' ways of dividing seats by votes.
    #[test]
    fn loads_build_up_in_proportion_to_weights() {
        for count in [4_usize, 200] {
            let weights: Vec<u32> = (0..count).map(|position| [1, 2, 3, 4][position % 4]).collect();
            for rule in [Rule::Connections, Rule::Delay] {
                let machine = Exact::new(rule, &members(&weights));
                let (mask, mut loads, mut caller) =
                    (Mask::all_usable(count), vec![0; count], Script::seeded(1));
                let seats = weights.iter().sum::<u32>() * 6;
                for _ in 0..seats {
                    let view = Table::new(&mask, &weights, &loads);
                    let picked = machine.choose(&view, &mut caller).unwrap();
                    loads[picked] += 1;
                }
                let exact: Vec<u32> = weights.iter().map(|weight| weight * 6).collect();
                assert_eq!(loads, exact, "{rule:?}");
            }
        }
    }

    #[test]
    fn equals_share_by_weight() {
        for count in [3_usize, 200] {
            let weights: Vec<u32> = (0..count).map(|position| [1, 5, 4][position % 3]).collect();
            let machine = Exact::new(Rule::Connections, &members(&weights));
            let (mask, loads, mut caller) = (Mask::all_usable(count), vec![0; count], Script::seeded(1));
            let mut counts = vec![0_u32; count];
            let rounds = 600;
            let total: u32 = weights.iter().sum();
            for _ in 0..rounds * total {
                counts[machine.choose(&Table::new(&mask, &weights, &loads), &mut caller).unwrap()] += 1;
            }
            for (count, weight) in counts.into_iter().zip(weights) {
                let expected = f64::from(rounds * weight);
                assert!(
                    (f64::from(count) - expected).abs() < 5.5 * expected.sqrt(),
                    "{count}, not {expected}"
                );
            }
        }
    }

    /// The first pick of an order that knows of no load yet reads them all, and so does one whose events were lost.
    #[test]
    fn loads_that_nobody_told_of_are_found() {
        let count = 500;
        let machine = Exact::new(Rule::Connections, &members(&vec![1; count]));
        let (mask, mut caller) = (Mask::all_usable(count), Script::seeded(1));
        let mut loads = vec![9; count];
        loads[321] = 8;
        let weights = vec![1; count];
        assert_eq!(machine.choose(&Table::new(&mask, &weights, &loads), &mut caller), Some(321));
        loads[321] = 9;
        // This fell without a word, and is found within n picks.
        loads[77] = 0;
        let mut found = None;
        for pick in 0..count {
            if machine.choose(&Table::new(&mask, &weights, &loads), &mut caller) == Some(77) {
                found = found.or(Some(pick));
            }
        }
        assert!(found.is_some_and(|pick| pick < count));
    }

    /// A release that is heard before the count goes down, as the façade tells it, with a pick in between.
    #[test]
    fn a_release_that_is_heard_early_is_not_taken_for_the_load_before_it() {
        let count = 200;
        let machine = Exact::new(Rule::Connections, &members(&vec![1; count]));
        let (mask, mut caller) = (Mask::all_usable(count), Script::seeded(1));
        let mut loads = vec![1_u32; count];
        let pick = |loads: &[u32], caller: &mut Script<_>| {
            machine.choose(&Table::new(&mask, &[], loads), caller).unwrap()
        };
        let first = pick(&loads, &mut caller);
        loads[first] += 1;
        machine.on_event(Event::Released(150));
        // A pick before the count follows sees nothing better than the others, and one after it does.
        _ = pick(&loads, &mut caller);
        loads[150] -= 1;
        assert!((0..2).any(|_| pick(&loads, &mut caller) == 150));
    }

    #[test]
    fn the_successor_hears_what_ends_before_it_is_in_use() {
        let named = |tokens: std::ops::Range<u64>| Named::new(&tokens.map(|t| (t, 1)).collect::<Vec<_>>());
        let machine = Exact::new(Rule::Connections, &named(0..300));
        let (mask, mut caller) = (Mask::all_usable(300), Script::seeded(1));
        let mut loads = vec![3; 300];
        _ = machine.choose(&Table::new(&mask, &[], &loads), &mut caller);
        // Token 250 goes from position 250 to 240.
        let successor = machine.succeed(&named(10..310));
        machine.on_event(Event::Released(250));
        loads[240] = 2;
        assert_eq!(successor.choose(&Table::new(&mask, &[], &loads), &mut caller), Some(240));
        // Down to what is scanned, and up again.
        let few = successor.succeed(&named(250..260));
        assert_eq!(few.wants(), Wants::LOADS);
        let many = few.succeed(&named(100..400));
        loads[17] = 1;
        assert_eq!(many.choose(&Table::new(&mask, &[], &loads), &mut caller), Some(17));
    }

    #[test]
    fn a_view_of_another_length_and_a_flood_of_exclusions_are_served_by_a_scan() {
        let machine = Exact::new(Rule::Delay, &members(&[1; 200]));
        let mut caller = Script::seeded(1);
        let loads = [4, 4, 1, 4, 4];
        assert_eq!(machine.choose(&Table::new(&Mask::all_usable(5), &[], &loads), &mut caller), Some(2));
        let excluded: Vec<usize> = (0..199).collect();
        let mask = Mask::all_usable(200);
        let view = Table::new(&mask, &[], &[]).excluding(&excluded);
        assert_eq!(machine.choose(&view, &mut caller), Some(199));
        let few = Exact::new(Rule::Delay, &members(&[1; 4]));
        assert_eq!(few.choose(&Table::new(&Mask::all_usable(5), &[], &loads), &mut caller), Some(2));
    }
}
