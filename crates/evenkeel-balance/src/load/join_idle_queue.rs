use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::Mutex;
use crate::tokens::Tokens;
use crate::{
    BuiltIn, Caller, Event, InvalidPolicy, LeastRequest, LeastRequestConfig, Members, Policy, PolicySettings,
    View, Wants,
};

/// An idle endpoint, if there is one.
///
/// **Idea.** Endpoints that have become idle stand in a queue, the one that has been idle longest in front; a pick takes
/// the first. If none of those that it looks at is idle, the less loaded of two drawn by weight gets the request
/// ([`LeastRequest`]).
/// **How.** A release puts its endpoint in the queue, whatever else is in flight there: whether it is idle is read from
/// its load when it comes to the front, and who is busy leaves. Nobody stands in the queue twice. A pick looks at eight of
/// them at most, 32 where weights differ, and at one endpoint besides, in turn: if that is idle and not in the queue, it
/// is put there, so that nobody is forgotten whose release was not heard. Who is picked goes to the back, not out, since a
/// pick may come to nothing.
/// **Weights.** An endpoint at the front is taken only as often as its weight is of the greatest: each passage earns it that
/// part of a turn. If among those looked at no idle one has a whole turn, the first idle one is taken all the same.
/// **Cost.** O(1), under one short lock; 16 bytes an endpoint. **When.** Many endpoints, requests of very different length,
/// and load low enough that somebody is idle most of the time: a request then waits for nobody, at the cost of a queue and
/// not of a search. **When not.** Load near capacity: nobody is idle, and what decides is `least_request` alone, without
/// the detour.
/// **Source.** Y. Lu and others, "Join-Idle-Queue: a novel load balancing algorithm for dynamically scalable web services",
/// Performance Evaluation 2011. There idle servers report to one of many dispatchers; here the process is the dispatcher,
/// and idle means idle as far as it knows.
#[derive(Debug)]
pub struct JoinIdleQueue {
    tokens: Tokens,
    are_equal: bool,
    otherwise: LeastRequest,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<u32>,
    places: Box<[Place]>,
    audited: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    is_queued: bool,
    /// What a passage of the front earns, and what has been earned, in parts of [`TURN`].
    share: u32,
    earned: u32,
}

impl JoinIdleQueue {
    /// The policy for these members, all of them in the queue. O(n).
    ///
    /// # Errors
    ///
    /// None at present; the fallback could refuse its settings.
    pub fn new(members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let weights = members.weights();
        let greatest = u64::from(weights.iter().copied().max().unwrap_or(1).max(1));
        let place = |&weight: &u32| {
            // At least one part, or a passage would earn nothing.
            let share = (u64::from(weight) * u64::from(TURN) / greatest).max(1) as u32;
            Place { is_queued: true, share, earned: 0 }
        };
        let state = State {
            queue: (0..weights.len() as u32).collect(),
            places: weights.iter().map(place).collect(),
            audited: 0,
        };
        Ok(Self {
            tokens: Tokens::new(members),
            are_equal: crate::built_in::are_equal(weights),
            otherwise: LeastRequest::new(LeastRequestConfig::default(), weights)?,
            state: Mutex::new(state),
        })
    }

    /// An idle position, or else the less loaded of two; `None` if none is open.
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let most = if self.are_equal { MOST_LOOKS } else { MOST_LOOKS_BY_WEIGHT };
        let idle = {
            let mut state = self.state.lock();
            state.audit(view);
            state.take_idle(view, most)
        };
        idle.or_else(|| self.otherwise.choose(view, caller))
    }

    /// The successor: who stays keeps its place in the queue, or out of it; who is new comes last.
    fn succeed(&self, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let new = Self::new(members)?;
        let old = self.state.lock();
        {
            let mut state = new.state.lock();
            let State { queue, places, .. } = &mut *state;
            // Behind all that are known: newcomers, and those whose release was not heard. Who is busy leaves when met.
            let mut ranks = vec![usize::MAX; places.len()];
            let mut tokens = vec![None; old.places.len()];
            for position in 0..places.len() {
                if let Some(before) = self.tokens.position(members.token(position)) {
                    places[position].earned = old.places[before].earned;
                    tokens[before] = Some(position);
                }
            }
            for (rank, &before) in old.queue.iter().enumerate() {
                if let Some(position) = tokens[before as usize] {
                    ranks[position] = rank;
                }
            }
            queue.make_contiguous().sort_by_key(|&position| ranks[position as usize]);
        }
        Ok(new)
    }
}

impl State {
    fn enqueue(&mut self, position: usize) {
        let Some(place) = self.places.get_mut(position) else { return };
        if !place.is_queued {
            place.is_queued = true;
            self.queue.push_back(position as u32);
        }
    }

    /// Looks at one position more, in turn.
    fn audit<V: View + ?Sized>(&mut self, view: &V) {
        self.audited = if self.audited + 1 < self.places.len() { self.audited + 1 } else { 0 };
        let position = self.audited;
        if self.places.get(position).is_some_and(|place| !place.is_queued)
            && view.mask().contains(position)
            && view.load(position) == 0
        {
            self.enqueue(position);
        }
    }

    fn take_idle<V: View + ?Sized>(&mut self, view: &V, most: usize) -> Option<usize> {
        let mut first_idle = None;
        for _ in 0..most.min(self.queue.len()) {
            let position = self.queue.pop_front()?;
            let place = &mut self.places[position as usize];
            if !view.mask().contains(position as usize) || view.load(position as usize) > 0 {
                place.is_queued = false;
                continue;
            }
            self.queue.push_back(position);
            if !view.admits(position as usize) {
                continue;
            }
            place.earned += place.share;
            if place.earned >= TURN {
                place.earned -= TURN;
                return Some(position as usize);
            }
            first_idle = first_idle.or(Some(position as usize));
        }
        first_idle
    }
}

impl Policy for JoinIdleQueue {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::LOADS | Wants::EVENTS
    }

    fn on_event(&self, event: Event) {
        if let Event::Released(token) | Event::Up(token) = event
            && let Some(position) = self.tokens.position(token)
        {
            self.state.lock().enqueue(position);
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(self.succeed(members)?)))
    }
}

/// Settings of [`JoinIdleQueue`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct JoinIdleQueueConfig {}

impl PolicySettings for JoinIdleQueueConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(JoinIdleQueue::new(members)?))
    }
}

/// A whole turn at the front of the queue.
const TURN: u32 = 1 << 20;
/// How many a pick looks at before it draws: that many may have become busy since they came into the queue.
const MOST_LOOKS: usize = 8;
/// The same where light ones are passed over.
const MOST_LOOKS_BY_WEIGHT: usize = 32;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::testing::{Named, World, members};
    use crate::{Mask, Script, Table};

    fn policy(weights: &[u32]) -> JoinIdleQueue {
        JoinIdleQueue::new(&members(weights)).unwrap()
    }

    fn pick(policy: &dyn Policy, mask: &Mask, loads: &[u32]) -> usize {
        policy.pick(&Table::new(mask, &[], loads), &mut Script::seeded(3)).unwrap()
    }

    #[test]
    fn whoever_has_been_idle_longest_comes_first() {
        let (mask, policy) = (Mask::all_usable(4), policy(&[1; 4]));
        assert_eq!([0; 5].map(|_| pick(&policy, &mask, &[0; 4])), [0, 1, 2, 3, 0]);
        // 1 and 2 leave the queue when they are met; 2 comes back behind 0 and 3.
        assert_eq!([0; 2].map(|_| pick(&policy, &mask, &[0, 5, 5, 0])), [3, 0]);
        policy.on_event(Event::Released(2));
        policy.on_event(Event::Released(2));
        policy.on_event(Event::Released(4_711));
        assert_eq!([0; 4].map(|_| pick(&policy, &mask, &[0, 5, 0, 0])), [3, 0, 2, 3]);
    }

    #[test]
    fn with_nobody_idle_the_less_loaded_of_two_is_taken() {
        let (mask, policy) = (Mask::all_usable(2), policy(&[1; 2]));
        assert_eq!([0; 4].map(|_| pick(&policy, &mask, &[7, 6])), [1; 4]);
    }

    #[test]
    fn an_idle_endpoint_is_taken_before_any_busy_one_at_every_pick() {
        for count in [2_u32, 20, 300] {
            let weights: Vec<u32> = (0..count).map(|position| 1 + position % 3).collect();
            let policy = policy(&weights);
            let mut world = World::new(&weights, 5);
            let (mut taken, mut missed) = (0, 0);
            for _ in 0..6_000 {
                world
                    .step(&mut |view, caller| policy.pick(view, caller), &mut |event| policy.on_event(event));
                if let Some(picked) = world.picked {
                    let is_idle = |position: usize| world.loads[position] == 0;
                    taken += u32::from(is_idle(picked));
                    missed += u32::from(!is_idle(picked) && world.mask.iter().any(is_idle));
                }
                world.settle(&mut |event| policy.on_event(event));
            }
            // Missed are those behind more busy ones than a pick looks at.
            assert!(taken > 100 && missed * 20 < taken, "{count}: {taken} taken, {missed} missed");
        }
    }

    #[test]
    fn nobody_is_forgotten_whose_release_was_not_heard() {
        let (mask, policy) = (Mask::all_usable(50), policy(&[1; 50]));
        let mut loads = [0; 50];
        loads[7] = 1;
        assert!((0..100).all(|_| pick(&policy, &mask, &loads) != 7));
        assert!((0..101).any(|_| pick(&policy, &mask, &[0; 50]) == 7));
    }

    #[test]
    fn idle_ones_are_taken_as_often_as_their_weight_says() {
        for weights in [[1, 2, 3], [10, 1, 10], [1_000, 999, 1]] {
            let (mask, policy) = (Mask::all_usable(3), policy(&weights));
            let mut counts = [0_u32; 3];
            for _ in 0..6_000 {
                counts[pick(&policy, &mask, &[0; 3])] += 1;
            }
            let total: u32 = weights.iter().sum();
            for (count, weight) in counts.into_iter().zip(weights) {
                assert!(count.abs_diff(6_000 * weight / total) <= 3, "{counts:?} for {weights:?}");
            }
        }
    }

    #[test]
    fn the_queue_is_carried_over_by_token() {
        let policy = JoinIdleQueue::new(&Named::new(&[(7, 1), (8, 1), (9, 1)])).unwrap();
        assert_eq!([0; 2].map(|_| pick(&policy, &Mask::all_usable(3), &[0; 3])), [0, 1]);
        let successor = policy.rebuild(&Named::new(&[(5, 1), (8, 1), (7, 1), (9, 1)])).unwrap().unwrap();
        // 9 was next, then 7 and 8; the newcomer 5 comes last.
        assert_eq!([0; 5].map(|_| pick(&*successor, &Mask::all_usable(4), &[0; 4])), [3, 2, 1, 0, 3]);
    }
}
