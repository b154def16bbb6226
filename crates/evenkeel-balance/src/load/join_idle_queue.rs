use std::collections::VecDeque;
use std::sync::Arc;

use super::ranking::Ranking;
use super::rule::Rule;
use crate::built_in::are_equal;
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
/// its load when it comes to the front, and who is busy leaves. Nobody stands in the queue twice. A pick looks at 16 of
/// them at most, and at one endpoint besides, in turn: if that is idle and not in the queue, it is put there, so that
/// nobody is forgotten whose release was not heard. Who is picked goes to the back, not out, since a pick may come to
/// nothing.
/// **Weights.** Where they differ, who has been idle longest is the wrong question: then the idle stand in the order in which
/// their weights let them have their turns (each 1 ÷ weight after its last one), as the equals of `least_connections` do.
/// **Cost.** O(1), or O(log n) where weights differ, under one short lock; 24 bytes an endpoint, or 100. **When.** Many endpoints, requests of very different length,
/// and load low enough that somebody is idle most of the time: a request then waits for nobody, at the cost of a queue and
/// not of a search. **When not.** Load near capacity: nobody is idle, and what decides is `least_request` alone, without
/// the detour.
/// **Source.** Y. Lu and others, "Join-Idle-Queue: a novel load balancing algorithm for dynamically scalable web services",
/// Performance Evaluation 2011. There idle servers report to one of many dispatchers; here the process is the dispatcher,
/// and idle means idle as far as it knows.
#[derive(Debug)]
pub struct JoinIdleQueue {
    idle: Idle,
    otherwise: LeastRequest,
}

#[derive(Debug)]
enum Idle {
    Equal(Queue),
    ByWeight(Arc<Ranking>),
}

impl JoinIdleQueue {
    /// The policy for these members, all of them taken for idle. O(n).
    ///
    /// # Errors
    ///
    /// None at present; the fallback could refuse its settings.
    pub fn new(members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let idle = match are_equal(members.weights()) {
            true => Idle::Equal(Queue::new(members)),
            false => Idle::ByWeight(Ranking::new(Rule::Idle, members)),
        };
        Self::with(idle, members)
    }

    fn with(idle: Idle, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let otherwise = LeastRequest::new(LeastRequestConfig::default(), members.weights())?;
        Ok(Self { idle, otherwise })
    }

    /// An idle position, or else the less loaded of two; `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let idle = match &self.idle {
            Idle::Equal(queue) => queue.first(view),
            Idle::ByWeight(ranking) => ranking.first(view),
        };
        idle.or_else(|| self.otherwise.choose(view, caller))
    }
}

/// Endpoints that were idle when they came in, the longest first.
#[derive(Debug)]
struct Queue {
    tokens: Tokens,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<u32>,
    is_queued: Box<[bool]>,
    /// Requests that were told of and have not ended: at zero an endpoint joins.
    under_way: Box<[u32]>,
    audited: usize,
}

impl Queue {
    fn new(members: &dyn Members) -> Self {
        let count = members.weights().len();
        let state = State {
            queue: (0..count as u32).collect(),
            is_queued: vec![true; count].into(),
            under_way: vec![0; count].into(),
            audited: 0,
        };
        Self { tokens: Tokens::new(members), state: Mutex::new(state) }
    }

    /// The successor: who stays keeps its place in the queue; who is new, or was out of it, comes last, and leaves when it
    /// is met if it is busy.
    fn succeed(&self, members: &dyn Members) -> Self {
        let new = Self::new(members);
        let old = self.state.lock();
        let mut places = vec![usize::MAX; old.is_queued.len()];
        for (place, &position) in old.queue.iter().enumerate() {
            places[position as usize] = place;
        }
        let place = |&position: &u32| {
            let before = self.tokens.position(members.token(position as usize));
            before.and_then(|before| places.get(before).copied()).unwrap_or(usize::MAX)
        };
        new.state.lock().queue.make_contiguous().sort_by_key(place);
        new
    }

    fn first<V: View + ?Sized>(&self, view: &V) -> Option<usize> {
        let mut state = self.state.lock();
        state.audit(view);
        state.take_idle(view)
    }

    fn on_event(&self, event: Event) {
        let (Event::Picked(token) | Event::Released(token) | Event::Up(token)) = event else { return };
        let Some(position) = self.tokens.position(token) else { return };
        let mut state = self.state.lock();
        match event {
            Event::Picked(_) => state.begin(position),
            Event::Released(_) => state.end(position),
            _ => state.enqueue(position),
        }
    }
}

impl State {
    fn begin(&mut self, position: usize) {
        if let Some(count) = self.under_way.get_mut(position) {
            *count = count.saturating_add(1);
        }
        // Whoever is picked leaves the queue until its last request has ended. It stands last, as a rule, where its pick
        // put it; if others have come meanwhile, it leaves when it is met.
        if self.queue.back() == Some(&(position as u32)) {
            self.queue.pop_back();
            self.is_queued[position] = false;
        }
    }

    /// One request less; the last one that ends makes the endpoint idle. What was picked before an update was counted in
    /// the queue before this one: then the count stays at zero, and whoever joins too soon leaves when it is met.
    fn end(&mut self, position: usize) {
        if let Some(count) = self.under_way.get_mut(position) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.enqueue(position);
            }
        }
    }

    fn enqueue(&mut self, position: usize) {
        if let Some(is_queued @ false) = self.is_queued.get_mut(position) {
            *is_queued = true;
            self.queue.push_back(position as u32);
        }
    }

    /// Looks at one position more, in turn.
    fn audit<V: View + ?Sized>(&mut self, view: &V) {
        self.audited = if self.audited + 1 < self.is_queued.len() { self.audited + 1 } else { 0 };
        let position = self.audited;
        if self.is_queued.get(position) == Some(&false)
            && view.mask().contains(position)
            && view.load(position) == 0
        {
            self.enqueue(position);
        }
    }

    fn take_idle<V: View + ?Sized>(&mut self, view: &V) -> Option<usize> {
        for _ in 0..MOST_LOOKS.min(self.queue.len()) {
            let position = self.queue.pop_front()?;
            if !view.mask().contains(position as usize) || view.load(position as usize) > 0 {
                self.is_queued[position as usize] = false;
                continue;
            }
            self.queue.push_back(position);
            if view.admits(position as usize) {
                return Some(position as usize);
            }
        }
        None
    }
}

impl Policy for JoinIdleQueue {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::LOADS | Wants::EVENTS | Wants::SEQUENCE
    }

    fn on_event(&self, event: Event) {
        match &self.idle {
            Idle::Equal(queue) => queue.on_event(event),
            Idle::ByWeight(ranking) => ranking.on_event(event),
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let idle = match (&self.idle, are_equal(members.weights())) {
            (Idle::Equal(queue), true) => Idle::Equal(queue.succeed(members)),
            (Idle::ByWeight(ranking), false) => Idle::ByWeight(ranking.succeed(members)),
            // Weights have become equal, or unequal: who is idle is found out by looking.
            _ => return Ok(Some(Arc::new(Self::new(members)?))),
        };
        Ok(Some(Arc::new(Self::with(idle, members)?)))
    }
}

/// Settings of [`JoinIdleQueue`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct JoinIdleQueueConfig {}

impl PolicySettings for JoinIdleQueueConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(JoinIdleQueue::new(members)?))
    }
}

/// How many a pick looks at before it draws: that many may have become busy since they came into the queue.
const MOST_LOOKS: usize = 16;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::testing::{Named, World, members};
    use crate::{Mask, Script, Table};

    fn policy(weights: &[u32]) -> JoinIdleQueue {
        JoinIdleQueue::new(&members(weights)).expect("any members will do")
    }

    fn pick(policy: &dyn Policy, mask: &Mask, loads: &[u32]) -> usize {
        policy.pick(&Table::new(mask, &[], loads), &mut Script::seeded(3)).expect("somebody is open")
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
                assert!(count.abs_diff(6_000 * weight / total) <= 1, "{counts:?} for {weights:?}");
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
