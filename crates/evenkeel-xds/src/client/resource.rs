//! What is known about one resource.

use std::collections::BTreeSet;
use std::sync::Arc;

use evenkeel_registry::{Coverage, Event, Proof, Revision, TroubleKind};
use evenkeel_types::Timestamp;

use super::Follow;
use crate::{Assignment, OnTimeout};

#[derive(Debug)]
pub(super) struct Resource<T> {
    /// The last good one.
    pub(super) held: Option<T>,
    pub(super) word: Word,
    /// The version of the one held.
    pub(super) version: String,
    /// The number of the stream that brought it.
    pub(super) stream: u64,
    /// Since when an answer is waited for, if none has come on this stream or before.
    pub(super) asked: Option<Timestamp>,
}

/// The last that was said about a resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Nothing,
    Good,
    Gone(Proof),
    Bad(TroubleKind, String),
    /// Nothing was said in time.
    Late,
}

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) resource: Resource<Arc<Assignment>>,
    /// Empty only until the server is told.
    pub(super) users: BTreeSet<Follow>,
    pub(super) stale_at: Option<Timestamp>,
}

impl<T> Resource<T> {
    pub(super) fn new() -> Self {
        Self { held: None, word: Word::Nothing, version: String::new(), stream: 0, asked: None }
    }

    /// A new stream: what was late on the last may come on this.
    pub(super) fn restart(&mut self) {
        self.asked = None;
        if self.word == Word::Late {
            self.word = Word::Nothing;
        }
    }

    /// Whether it is held, and nothing bad was said about it since.
    pub(super) fn is_well(&self) -> bool {
        self.held.is_some() && self.word == Word::Good
    }

    /// It is asked for now.
    pub(super) fn ask(&mut self, now: Timestamp) {
        if self.held.is_none() && self.word == Word::Nothing && self.asked.is_none() {
            self.asked = Some(now);
        }
    }

    pub(super) fn take(&mut self, held: T, version: &str, stream: u64) {
        self.held = Some(held);
        self.word = Word::Good;
        version.clone_into(&mut self.version);
        self.stream = stream;
        self.asked = None;
    }

    pub(super) fn refuse(&mut self, kind: TroubleKind, why: String) {
        self.word = Word::Bad(kind, why);
        self.asked = None;
    }

    pub(super) fn lose(&mut self, proof: Proof) {
        self.held = None;
        self.word = Word::Gone(proof);
        self.version.clear();
        self.asked = None;
    }

    /// The set of an assignment at the version of this resource, after what is left out of it.
    pub(super) fn full(&self, assignment: &Assignment) -> Vec<Event> {
        let rejects = assignment.rejects.iter().map(|(id, why)| Event::reject(Some(id), why.as_str()));
        let revision = Revision::new(self.stream, &self.version).ok();
        let endpoints = assignment.endpoints.clone();
        rejects.chain([Event::Full { revision, endpoints, coverage: Coverage::Complete }]).collect()
    }
}

impl Word {
    pub(super) const fn is_good(&self) -> bool {
        matches!(self, Self::Good | Self::Gone(_))
    }

    /// What to tell besides the set.
    pub(super) fn event(&self, on_timeout: OnTimeout) -> Option<Event> {
        match self {
            Self::Nothing | Self::Good => None,
            Self::Gone(proof) => Some(Event::Absent { proof: *proof }),
            Self::Bad(kind, text) => Some(Event::trouble(*kind, text.as_str())),
            Self::Late => Some(match on_timeout {
                OnTimeout::Trouble => Event::trouble(TroubleKind::Timeout, LATE),
                OnTimeout::Absence => Event::Absent { proof: Proof::NotFound },
            }),
        }
    }
}

impl Watched {
    pub(super) fn new() -> Self {
        Self { resource: Resource::new(), users: BTreeSet::new(), stale_at: None }
    }

    pub(super) fn known(&self, on_timeout: OnTimeout) -> Vec<Event> {
        let set = self.resource.held.as_deref().map(|held| self.resource.full(held));
        set.into_iter().flatten().chain(self.resource.word.event(on_timeout)).collect()
    }
}

const LATE: &str =
    "the control plane was asked for the resource, and has not told of it within resource_timeout";
