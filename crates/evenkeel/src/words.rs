//! What sources of health have said about an endpoint: since when, until when, by whom and why.

use std::sync::OnceLock;

use evenkeel_health::{Change, Evidence, Note, Opinion, Provenance, Record, Standing};
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
        // What says nothing needs no record: but the word is written in any case, for the order that its
        // read-modify-write makes.
        if is_neutral && self.0.get().is_none() {
            return standing.say(opinion);
        }
        let mut record = self.record().lock();
        // What is said already is not written down again; read under the lock, so that word and record stay together.
        if note == Note::default()
            && says_the_same(record.record(opinion.source(), Timestamp::ORIGIN), opinion)
        {
            return standing.say(opinion);
        }
        record.say(standing, opinion, note, now())
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

/// Whether the record of a source is this opinion and nothing else: no end, nobody's name, no reason.
fn says_the_same(known: Option<&Record>, opinion: Opinion) -> bool {
    let Some(record) = known else { return opinion == Opinion::neutral(opinion.source()) };
    let has_note =
        record.expires.is_some() || record.until.is_some() || record.by.is_some() || record.reason.is_some();
    record.opinion == opinion && !has_note
}
