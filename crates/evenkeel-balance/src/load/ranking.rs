use std::sync::{Arc, Weak};

use super::rule::Rule;
use crate::lineup::Lineup;
use crate::sync::Mutex;
use crate::tokens::Tokens;
use crate::{Event, Members, View};

/// Everybody in order of load, kept while requests come and go.
///
/// The order is a cache of [`View::load`], and the loads are the truth. What is kept is brought up to date where it can
/// have changed, right before it is used: for whoever was picked last, for everybody of whom a release was heard since,
/// and for whoever would be picked now, until what is kept and what is true agree. So the answer is the exact minimum,
/// with one short lock and O(log n) a pick and a release.
///
/// Loads that *rise* without a word are found when their owner would be picked. Loads that *fall* without a word (a
/// release that was heard a moment before the count went down, an event that was lost) would not be; for these, every
/// pick looks at one more position, in turn. Whatever went wrong is right again after n picks.
///
/// Equals come in turn by weight: each has a virtual time that grows by 1 ÷ weight with each pick, and the earliest comes
/// first. Whoever was busy for long is raised to the present, so that it has no credit for that.
#[derive(Debug)]
pub(super) struct Ranking {
    rule: Rule,
    tokens: Tokens,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// By level, then by virtual time.
    lineup: Lineup<u128>,
    entries: Box<[Entry]>,
    /// Whose key may not be up to date.
    touched: Vec<u32>,
    now: u64,
    audited: usize,
    /// Who takes over, and must hear of the same releases until it does.
    successor: Weak<Ranking>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    weight: u32,
    load: u32,
    /// The virtual time of its next turn among equals.
    turn: u64,
    step: u64,
    is_touched: bool,
    /// A release was heard: the count may be about to fall, so it is not trusted to be higher than ours.
    is_released: bool,
    /// One was heard before the key was last brought up to date. Should the count be higher after all, it is read again
    /// at the next pick.
    is_doubtful: bool,
}

impl Ranking {
    /// Nobody is known to have any load yet: the first pick finds out.
    pub(super) fn new(rule: Rule, members: &dyn Members) -> Arc<Self> {
        Arc::new(Self::with(rule, members, |_| None))
    }

    fn with(rule: Rule, members: &dyn Members, known: impl Fn(u64) -> Option<(Entry, u64)>) -> Self {
        let weights = members.weights();
        let greatest = weights.iter().copied().max().unwrap_or(1);
        let entry = |(position, &weight): (usize, &u32)| {
            let step = (u64::from(greatest) << STEP_BITS) / u64::from(weight.max(1));
            let new = Entry {
                weight: weight.max(1),
                load: 0,
                turn: 0,
                step,
                is_touched: false,
                is_released: false,
                is_doubtful: false,
            };
            known(members.token(position)).map_or(new, |(old, now)| {
                // The part of its wait that is left, in steps of the new weight.
                let wait =
                    u128::from(old.turn.saturating_sub(now)) * u128::from(step) / u128::from(old.step.max(1));
                Entry { load: old.load, turn: u64::try_from(wait).unwrap_or(LATEST), ..new }
            })
        };
        let entries: Box<[Entry]> = weights.iter().enumerate().map(entry).collect();
        let state = State {
            lineup: Lineup::new(entries.iter().map(|entry| entry.key(rule))),
            touched: Vec::with_capacity(4 * MOST_TOUCHED),
            entries,
            now: 0,
            audited: 0,
            successor: Weak::new(),
        };
        Self { rule, tokens: Tokens::new(members), state: Mutex::new(state) }
    }

    /// The successor for other members. It starts from what is known, and hears of all releases that are told to this
    /// one, in the same order: what ends between here and the first event of its own is not missed.
    pub(super) fn succeed(&self, members: &dyn Members) -> Arc<Self> {
        let mut state = self.state.lock();
        let known = |token| Some((*state.entries.get(self.tokens.position(token)?)?, state.now));
        let new = Arc::new(Self::with(self.rule, members, known));
        state.successor = Arc::downgrade(&new);
        new
    }

    /// Somebody's load went down, or it came back.
    pub(super) fn on_event(&self, event: Event) {
        let (token, is_release) = match event {
            Event::Released(token) => (token, true),
            Event::Up(token) => (token, false),
            _ => return,
        };
        let mut state = self.state.lock();
        if let Some(position) = self.tokens.position(token) {
            state.touch(self.rule, position, is_release);
            if !is_release {
                state.wake(self.rule, position);
            }
        }
        let successor = if state.successor.strong_count() > 0 { state.successor.upgrade() } else { None };
        drop(state);
        if let Some(successor) = successor {
            successor.on_event(event);
        }
    }

    /// The open position that is least by the rule. `None` is no proof that there is none: see [`Lineup::find`]. Under
    /// [`Rule::Idle`] it says that nobody is idle who was met within as many corrections as one search allows.
    pub(super) fn first<V: View + ?Sized>(&self, view: &V) -> Option<usize> {
        let mut state = self.state.lock();
        if view.mask().len() != state.entries.len() {
            return None;
        }
        state.catch_up(self.rule, view);
        state.audit(self.rule, view);
        let found = state.find(self.rule, view);
        if found.is_some() || self.rule == Rule::Idle {
            return found;
        }
        state.look_at_all(self.rule, view);
        state.find(self.rule, view)
    }
}

impl State {
    /// Remembers that a load may have changed. If many did since the last pick, the key changes at once, so that no pick
    /// has to do the work of a thousand releases.
    fn touch(&mut self, rule: Rule, position: usize, is_release: bool) {
        let entry = &mut self.entries[position];
        if is_release {
            entry.load = entry.load.saturating_sub(1);
            entry.is_released = true;
        }
        if entry.is_touched {
            return;
        }
        if self.touched.len() < MOST_TOUCHED {
            entry.is_touched = true;
            self.touched.push(position as u32);
        } else {
            let key = entry.key(rule);
            self.lineup.set(position, key);
        }
    }

    /// Before it is met in the mask, where it may be unnoticed while somebody else went down.
    fn wake(&mut self, rule: Rule, position: usize) {
        let key = self.entries[position].key(rule);
        self.lineup.wake(position, key);
    }

    fn catch_up<V: View + ?Sized>(&mut self, rule: Rule, view: &V) {
        while let Some(position) = self.touched.pop() {
            let entry = &mut self.entries[position as usize];
            let load = view.load(position as usize);
            entry.load = if entry.is_released { load.min(entry.load) } else { load };
            entry.is_doubtful = entry.is_released;
            (entry.is_touched, entry.is_released) = (false, false);
            self.lineup.set(position as usize, entry.key(rule));
        }
    }

    /// Looks at one position more, in turn.
    fn audit<V: View + ?Sized>(&mut self, rule: Rule, view: &V) {
        self.audited = if self.audited + 1 < self.entries.len() { self.audited + 1 } else { 0 };
        let Some(entry) = self.entries.get_mut(self.audited) else { return };
        let load = view.load(self.audited);
        if entry.load != load {
            entry.load = load;
            self.lineup.set(self.audited, entry.key(rule));
        }
    }

    fn find<V: View + ?Sized>(&mut self, rule: Rule, view: &V) -> Option<usize> {
        let Self { lineup, entries, touched, .. } = self;
        lineup.wake_the_usable(view.mask(), |position| entries[position].key(rule));
        let (position, _) = lineup.find(view, |position, key| {
            let entry = &mut entries[position];
            let load = view.load(position);
            if load == entry.load {
                return key;
            }
            if load > entry.load && entry.is_doubtful && !entry.is_touched {
                entry.is_touched = true;
                touched.push(position as u32);
            }
            entry.load = load;
            entry.key(rule)
        })?;
        if rule == Rule::Idle && self.entries[position].load > 0 {
            return None;
        }
        self.take_turn(rule, position);
        Some(position)
    }

    /// Moves whoever is picked behind its equals, and expects its load to rise.
    fn take_turn(&mut self, rule: Rule, position: usize) {
        let entry = &mut self.entries[position];
        self.now = self.now.max(entry.turn);
        entry.turn = entry.turn.saturating_add(entry.step).max(self.now);
        entry.load = entry.load.saturating_add(1);
        if !entry.is_touched {
            entry.is_touched = true;
            self.touched.push(position as u32);
        }
        if self.now > LATEST {
            self.start_time_anew(rule);
        }
    }

    #[cold]
    fn start_time_anew(&mut self, rule: Rule) {
        let Self { lineup, entries, now, .. } = self;
        for entry in entries.iter_mut() {
            entry.turn = entry.turn.saturating_sub(*now);
        }
        *now = 0;
        lineup.set_all(|position| entries[position].key(rule));
    }

    /// Reads every load: when so much is out of date that one by one would take longer. O(n).
    #[cold]
    fn look_at_all<V: View + ?Sized>(&mut self, rule: Rule, view: &V) {
        let Self { lineup, entries, .. } = self;
        lineup.set_all(|position| {
            entries[position].load = view.load(position);
            entries[position].key(rule)
        });
    }
}

impl Entry {
    #[inline]
    fn key(&self, rule: Rule) -> u128 {
        u128::from(rule.level(self.load, self.weight)) << 64 | u128::from(self.turn)
    }
}

/// How finely turns of different weights are told apart: to a millionth.
const STEP_BITS: u32 = 20;
/// Virtual time starts anew here. A step is 2^52 at most.
const LATEST: u64 = 1 << 60;
/// How many releases wait for the next pick. A pick adds those that it doubts, which are no more than it corrects.
const MOST_TOUCHED: usize = 32;
