use std::time::Duration;

use evenkeel_types::Timestamp;

/// What is configured of one address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Where its [`State`] is.
    pub(super) slot: usize,
    pub(super) weight: u32,
    pub(super) max_fails: u32,
    /// Whole seconds.
    pub(super) fail_timeout: u64,
}

/// What is remembered of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) current: i64,
    /// How much of the weight failures have taken away; a pick gives one back.
    deficit: u32,
    fails: u32,
    /// The second of the last failure.
    accessed: Option<u64>,
    /// The second from which `fail_timeout` counts: of the last failure, or of a pick more than that after it.
    checked: Option<u64>,
    pub(super) connections: u32,
}

impl Peer {
    /// Whether it has failed too often, too recently.
    pub(super) fn is_suspended(&self, state: &State, now: u64) -> bool {
        self.max_fails > 0 && state.fails >= self.max_fails && !self.is_due(state, now)
    }

    fn is_due(&self, state: &State, now: u64) -> bool {
        state.checked.is_none_or(|checked| now.saturating_sub(checked) > self.fail_timeout)
    }

    /// It was picked.
    pub(super) fn picked(&self, state: &mut State, now: u64) {
        if self.is_due(state, now) {
            state.checked = Some(now);
        }
    }

    /// A request to it failed.
    pub(super) fn failed(&self, state: &mut State, now: u64) {
        state.fails = state.fails.saturating_add(1);
        (state.accessed, state.checked) = (Some(now), Some(now));
        if let Some(loss) = self.weight.checked_div(self.max_fails) {
            state.deficit = state.deficit.saturating_add(loss).min(self.weight);
        }
    }

    /// Its turn comes nearer by its effective weight, which is returned and grows by one if it was reduced.
    pub(super) fn advance(&self, state: &mut State) -> i64 {
        let effective = i64::from(self.weight.saturating_sub(state.deficit));
        state.deficit = state.deficit.saturating_sub(1);
        state.current = state.current.saturating_add(effective);
        effective
    }
}

impl State {
    /// A request was served. Failures are forgotten only by one that was picked more than `fail_timeout` after them.
    pub(super) fn served(&mut self) {
        if self.accessed < self.checked {
            self.fails = 0;
        }
    }
}

/// Whole seconds, as nginx tells the time.
pub(super) const fn seconds(now: Timestamp) -> u64 {
    now.saturating_since(Timestamp::ORIGIN).as_secs()
}

/// Whole seconds of a setting.
pub(super) const fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer = Peer { slot: 0, weight: 10, max_fails: 3, fail_timeout: 5 };

    #[test]
    fn failures_suspend_and_a_late_success_forgives() {
        let mut state = State::default();
        for second in [100, 100] {
            PEER.picked(&mut state, second);
            PEER.failed(&mut state, second);
            state.served();
            assert!(!PEER.is_suspended(&state, second));
        }
        PEER.failed(&mut state, 101);
        assert!(PEER.is_suspended(&state, 101));
        assert!(PEER.is_suspended(&state, 106), "fail_timeout itself is too early");
        assert!(PEER.is_suspended(&state, 50), "so is the past");
        assert!(!PEER.is_suspended(&state, 107));
        PEER.picked(&mut state, 107);
        assert!(PEER.is_suspended(&state, 108), "one probe at a time");
        state.served();
        assert!(!PEER.is_suspended(&state, 108));
        assert_eq!(state.fails, 0);
    }

    #[test]
    fn a_failure_takes_weight_and_picks_give_it_back() {
        let mut state = State::default();
        let weights = |state: &mut State| (0..3).map(|_| PEER.advance(state)).collect::<Vec<_>>();
        assert_eq!(weights(&mut state), [10, 10, 10]);
        PEER.failed(&mut state, 0);
        assert_eq!(weights(&mut state), [7, 8, 9]);
        for _ in 0..9 {
            PEER.failed(&mut state, 0);
        }
        assert_eq!(weights(&mut state), [0, 1, 2]);
        let careless = Peer { max_fails: 0, ..PEER };
        let mut state = State::default();
        careless.failed(&mut state, 0);
        assert!(!careless.is_suspended(&state, 0));
        assert_eq!(careless.advance(&mut state), 10);
    }
}
