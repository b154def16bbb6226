use crate::{Change, Held, HoldReason, SourceState, TroubleKind};

/// What readers see of one event or tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fed {
    /// Endpoints that came, went or changed.
    pub changes: Vec<Change>,
    /// What happened to the source itself.
    pub notices: Vec<SourceNotice>,
}

impl Fed {
    /// Whether there is nothing to see.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.notices.is_empty()
    }
}

/// What happened to a source, for observers; readers find the same as levels in its
/// [`SourceStatus`](crate::SourceStatus).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceNotice {
    /// It went from one state to another.
    State {
        /// The earlier one.
        from: SourceState,
        /// The present one.
        to: SourceState,
    },
    /// It is in trouble, or in another than before.
    Trouble(TroubleKind),
    /// It has answered well again.
    Recovered,
    /// Endpoints are kept that it no longer lists, or others or for longer than before.
    Held(Held),
    /// Nobody is kept any more: they went, or came back.
    Released(HoldReason),
    /// It has reached its [`max_stale`](crate::MirrorConfig::max_stale).
    OverAge,
    /// It is younger than that again.
    Renewed,
}

/// What of a source can be seen besides its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visible {
    pub(super) state: SourceState,
    pub(super) error: Option<TroubleKind>,
    pub(super) held: Option<Held>,
    pub(super) over_age: bool,
}

impl Visible {
    pub(super) fn notices(&self, after: &Self) -> Vec<SourceNotice> {
        let mut notices = Vec::new();
        if self.state != after.state {
            notices.push(SourceNotice::State { from: self.state, to: after.state });
        }
        match (self.error, after.error) {
            (before, Some(kind)) if before != Some(kind) => notices.push(SourceNotice::Trouble(kind)),
            (Some(_), None) => notices.push(SourceNotice::Recovered),
            _ => {}
        }
        match (self.held, after.held) {
            (before, Some(held)) if before != Some(held) => notices.push(SourceNotice::Held(held)),
            (Some(held), None) => notices.push(SourceNotice::Released(held.reason)),
            _ => {}
        }
        match (self.over_age, after.over_age) {
            (false, true) => notices.push(SourceNotice::OverAge),
            (true, false) => notices.push(SourceNotice::Renewed),
            _ => {}
        }
        notices
    }
}
