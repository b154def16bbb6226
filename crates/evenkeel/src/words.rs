//! What sources of health have said about an endpoint: since when, until when, by whom and why.

use std::sync::OnceLock;

use evenkeel_health::{Change, Evidence, Note, Opinion, Provenance, Standing};
use evenkeel_types::Timestamp;
use parking_lot::Mutex;

/// The record beside the word that picks read. Made when somebody says something that is not neutral for the first time, so
/// that an endpoint about which nobody ever said anything costs two words.
#[derive(Debug, Default)]
pub(crate) struct Words(OnceLock<Box<Mutex<Provenance>>>);

impl Words {
    /// Writes a word. The clock is read only if there is something to record.
    pub(crate) fn say(
        &self,
        standing: &Standing,
        opinion: Opinion,
        note: Note,
        now: impl FnOnce() -> Timestamp,
    ) -> Change {
        let is_neutral = opinion == Opinion::neutral(opinion.source());
        let said_so = standing.load().opinion(opinion.source()) == opinion;
        match self.0.get() {
            // What is said already, and what says nothing, needs no record: but the word is written in any case, for the
            // order that its read-modify-write makes.
            None if is_neutral => standing.say(opinion),
            Some(_) if said_so && note == Note::default() => standing.say(opinion),
            _ => self.record().lock().say(standing, opinion, note, now()),
        }
    }

    /// Ends words that were said for a while.
    pub(crate) fn tick(&self, standing: &Standing, now: Timestamp) -> Vec<Change> {
        self.0.get().map_or_else(Vec::new, |record| record.lock().tick(standing, now))
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.0.get()?.lock().next_deadline()
    }

    /// What holds now, made into something by `see`.
    pub(crate) fn evidence<R>(&self, now: Timestamp, see: impl Fn(Evidence<'_>) -> R) -> Vec<R> {
        self.0.get().map_or_else(Vec::new, |record| record.lock().evidence(now).map(see).collect())
    }

    fn record(&self) -> &Mutex<Provenance> {
        self.0.get_or_init(Box::default)
    }
}
