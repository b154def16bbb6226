use std::sync::Arc;

use hashbrown::HashMap;

use crate::lineup::Lineup;
use crate::sync::Mutex;
use crate::tournament::Key;
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, Wants, scan};

/// Endpoints by deadline: each is due again 1 ÷ weight after its last turn.
///
/// **Idea.** The endpoint with the earliest deadline is served, and due again 1 ÷ its weight later; of equal deadlines the
/// one that waits longer comes first. Weights 5, 1, 1 give `a a a a b c a`, over and over. Envoy and Traefik add up
/// floating-point numbers, which drift (their second cycle is `a a a a a a b c`); here time is counted in parts of the
/// least common multiple of all weights, so that ties are ties. Where that multiple exceeds 2^62, a step is
/// rounded to 2^-62 of the time between two turns of a weight of one: a share is off by less than 2^-30 of itself.
/// **Masked.** Who is out sleeps. On return it keeps a deadline that is still to come; one that has passed is as good as a
/// fresh one, so that nobody comes back with credit for its sleep. **Excluded** by one request only: its turn is kept.
/// **Updates.** Endpoints that stay keep the part of the time that they still had to wait. **Cost.** O(log n) under one
/// short lock; 72 bytes an endpoint. **When.** One strict order over all threads, and weights of which a cycle would be
/// too long. **When not.** Else: `smooth_weighted_round_robin` spaces more evenly and shares nothing. Every process starts
/// at the head of the order. **Source.** Envoy `EdfScheduler`; C. L. Liu and J. W. Layland, "Scheduling algorithms for
/// multiprogramming in a hard-real-time environment", JACM 1973.
#[derive(Debug)]
pub struct EarliestDeadlineFirst {
    tokens: Box<[u64]>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lineup: Lineup<Due>,
    /// The keys of all, sleepers among them.
    dues: Box<[Due]>,
    /// Between two turns.
    steps: Box<[u64]>,
    /// The deadline of whoever was served last, or the latest of those.
    now: u128,
    /// The last number that was given out to somebody who waits.
    served: u64,
}

/// When somebody is due, and since when it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    deadline: u128,
    queued: u64,
}

impl Key for Due {
    const LAST: Self = Self { deadline: u128::MAX, queued: u64::MAX };
}

impl EarliestDeadlineFirst {
    /// The policy for these members. O(n).
    #[must_use]
    pub fn new(members: &dyn Members) -> Self {
        let steps = steps(members.weights());
        let dues = (0..).zip(&steps).map(|(queued, &step)| Due { deadline: step.into(), queued }).collect();
        Self::with(members, steps, dues)
    }

    fn with(members: &dyn Members, steps: Vec<u64>, dues: Vec<Due>) -> Self {
        let served = dues.iter().map(|due| due.queued).max().unwrap_or(0);
        let lineup = Lineup::new(dues.iter().copied());
        let state = State { lineup, dues: dues.into(), steps: steps.into(), now: 0, served };
        let tokens = (0..members.weights().len()).map(|position| members.token(position)).collect();
        Self { tokens, state: Mutex::new(state) }
    }

    /// The position that is due, or `None` if none is open.
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let found = self.state.lock().serve(view);
        // Only if the request excludes very many, or a flip raced with the search.
        found.or_else(|| scan::weighted(view, caller))
    }

    /// The successor: who stays still has to wait for the same part of its time, in the same order; who is new waits for
    /// one whole turn, behind those.
    fn succeed(&self, members: &dyn Members) -> Self {
        let state = self.state.lock();
        let known: HashMap<u64, usize, fnv::FnvBuildHasher> = self.tokens.iter().copied().zip(0..).collect();
        let steps = steps(members.weights());
        let mut newcomers = state.served + 1..;
        let due = |(position, &step): (usize, &u64)| match known.get(&members.token(position)) {
            Some(&old) => {
                let wait = state.dues[old].deadline.saturating_sub(state.now).min(state.steps[old].into());
                let deadline = (wait * u128::from(step)).div_ceil(state.steps[old].into());
                Due { deadline, queued: state.dues[old].queued }
            }
            None => Due { deadline: step.into(), queued: newcomers.next().unwrap_or(u64::MAX) },
        };
        let dues = steps.iter().enumerate().map(due).collect();
        Self::with(members, steps, dues)
    }
}

impl State {
    fn serve<V: View + ?Sized>(&mut self, view: &V) -> Option<usize> {
        if view.mask().len() != self.lineup.len() {
            return None;
        }
        let Self { lineup, dues, steps, now, served } = self;
        lineup.wake_the_usable(view.mask(), |position| {
            if dues[position].deadline <= *now {
                *served += 1;
                dues[position] = Due { deadline: *now + u128::from(steps[position]), queued: *served };
            }
            dues[position]
        });
        let (position, due) = lineup.find(view, |_, due| due)?;
        *now = due.deadline.max(*now);
        *served += 1;
        dues[position] = Due { deadline: due.deadline + u128::from(steps[position]), queued: *served };
        lineup.set(position, dues[position]);
        Some(position)
    }
}

impl Policy for EarliestDeadlineFirst {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::SEQUENCE
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(self.succeed(members))))
    }
}

/// Settings of [`EarliestDeadlineFirst`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct EarliestDeadlineFirstConfig {}

impl PolicySettings for EarliestDeadlineFirstConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(EarliestDeadlineFirst::new(members)))
    }
}

/// The time between two turns of each, in parts of the least common multiple of all weights while that is small enough.
/// Weight zero, which is never served, counts as one.
fn steps(weights: &[u32]) -> Vec<u64> {
    let whole = weights.iter().filter(|&&weight| weight > 0).try_fold(1_u64, |multiple, &weight| {
        let weight = u64::from(weight);
        multiple.checked_mul(weight / gcd(multiple, weight)).filter(|&multiple| multiple <= FINEST)
    });
    let whole = whole.unwrap_or(FINEST);
    let step = |&weight: &u32| {
        let weight = u64::from(weight.max(1));
        (whole + weight / 2) / weight
    };
    weights.iter().map(step).collect()
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The most parts of a turn: products of two steps fit `u128`, and adding up steps takes 2^65 turns to overflow it.
const FINEST: u64 = 1 << 62;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::cycle::letters;
    use super::*;
    use crate::testing::{Named, members};
    use crate::{Mask, Script, Table};

    fn serve(policy: &dyn Policy, mask: &Mask, count: usize) -> String {
        let mut caller = Script::seeded(1);
        letters((0..count).filter_map(|_| policy.pick(&Table::new(mask, &[], &[]), &mut caller)))
    }

    fn picks(weights: &[u32], count: usize) -> String {
        serve(&EarliestDeadlineFirst::new(&members(weights)), &Mask::for_weights(weights), count)
    }

    #[test]
    fn the_earliest_is_served_and_ties_go_to_who_waits_longer() {
        assert_eq!(picks(&[5, 1, 1], 21), "aaaabcaaaaabcaaaaabca");
        assert_eq!(picks(&[1, 2, 5], 8), "ccbccabc");
        assert_eq!(picks(&[1, 1, 1], 7), "abcabca");
        assert_eq!(picks(&[0, 2, 1], 6), "bcbbcb");
        assert_eq!(picks(&[], 3), "");
    }

    /// What programs that add up doubles do from the second cycle on: the published sequence of 5, 1, 1.
    #[test]
    fn only_the_drift_of_doubles_makes_the_second_cycle_differ() {
        let weights = [5.0, 1.0, 1.0];
        let mut due: Vec<(f64, u32)> =
            (0..).zip(weights).map(|(queued, weight)| (1.0 / weight, queued)).collect();
        let sequence = letters((3..17).map(|queued| {
            let first = (0..3).min_by(|&a, &b| due[a].partial_cmp(&due[b]).unwrap()).unwrap();
            due[first] = (due[first].0 + 1.0 / weights[first], queued);
            first
        }));
        assert_eq!(sequence, "aaaabcaaaaaabc");
    }

    #[test]
    fn nobody_comes_back_with_credit_for_its_sleep() {
        let policy = EarliestDeadlineFirst::new(&members(&[1, 1, 1]));
        let mask = Mask::all_usable(3);
        assert_eq!(serve(&policy, &mask, 3), "abc");
        assert!(mask.set(1, false));
        assert_eq!(serve(&policy, &mask, 20), "ac".repeat(10));
        assert!(mask.set(1, true));
        let after = serve(&policy, &mask, 9);
        assert_eq!(after.matches('b').count(), 3, "{after}");
    }

    #[test]
    fn the_place_is_carried_over_by_token() {
        let policy = EarliestDeadlineFirst::new(&Named::new(&[(7, 1), (8, 1), (9, 1)]));
        assert_eq!(serve(&policy, &Mask::all_usable(3), 2), "ab");
        // Endpoint 9 is due, then 7 and 8; the newcomer 5 comes behind them. Positions have changed.
        let successor = policy.rebuild(&Named::new(&[(5, 1), (9, 1), (8, 1), (7, 1)])).unwrap().unwrap();
        assert_eq!(serve(&*successor, &Mask::all_usable(4), 8), "bdcabdca");
    }

    #[test]
    fn absurd_weights_keep_their_shares() {
        let weights = [u32::MAX, u32::MAX - 1, (1 << 31) - 1, 3];
        assert!(steps(&weights).iter().all(|&step| step >= 1 << 30));
        let picked = picks(&weights, 25_000);
        let counts = ["a", "b", "c", "d"].map(|name| picked.matches(name).count());
        assert!(
            counts[0].abs_diff(10_000) <= 1 && counts[1].abs_diff(10_000) <= 1 && counts[3] == 0,
            "{counts:?}"
        );
        assert_eq!(steps(&[u32::MAX; 3]), [1; 3]);
    }

    #[test]
    fn a_flood_of_exclusions_still_finds_the_one_left() {
        let policy = EarliestDeadlineFirst::new(&members(&[1; 20]));
        let (mask, excluded) = (Mask::all_usable(20), (0..19).collect::<Vec<_>>());
        let view = Table::new(&mask, &[], &[]).excluding(&excluded);
        assert_eq!(policy.choose(&view, &mut Script::seeded(1)), Some(19));
    }
}
