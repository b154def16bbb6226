//! Who said what about an endpoint, since when, and until when.

use std::fmt;
use std::time::Duration;

use evenkeel_types::Timestamp;
use thiserror::Error;

use crate::regressions::Regressions;
use crate::{Cause, Change, Note, Opinion, Source, Standing, Status};

/// How old the word of a source may grow before it means nothing any more. Each repetition makes it young again.
///
/// What has grown too old is *unknown*, which is not the same as healthy: a dead checker neither keeps a dead endpoint
/// in nor a live one out. All are `None` by default, that is never, since the machines of this crate know themselves
/// when they go stale; set them for sources that report from elsewhere. The operator's words, drains and weights do not
/// age: they are decisions, and [`Note::expiring`] limits them one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct TimeToLive {
    /// Of what discovery announces.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub discovery: Option<Duration>,
    /// Of what active checks know.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub check: Option<Duration>,
    /// Of missed heartbeats.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub heartbeat: Option<Duration>,
    /// Of an ejection, and of the trial after it.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub outlier: Option<Duration>,
    /// Of an open breaker.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub breaker: Option<Duration>,
}

impl TimeToLive {
    fn validate(&self) -> Result<(), TimeToLiveError> {
        for (field, value) in [
            ("discovery", self.discovery),
            ("check", self.check),
            ("heartbeat", self.heartbeat),
            ("outlier", self.outlier),
            ("breaker", self.breaker),
        ] {
            if value.is_some_and(|value| value.is_zero()) {
                return Err(TimeToLiveError::Zero(field));
            }
        }
        Ok(())
    }

    const fn of(&self, source: Source) -> Option<Duration> {
        match source {
            Source::Discovery => self.discovery,
            Source::Check => self.check,
            Source::Heartbeat => self.heartbeat,
            Source::Outlier | Source::Probation => self.outlier,
            Source::Breaker => self.breaker,
            _ => None,
        }
    }
}

/// A time to live cannot be meant so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimeToLiveError {
    /// Every word would be stale at once. Leave the field out for "never".
    #[error("ttl.{0} is zero: allowed is any longer span; leave it out for no limit")]
    Zero(&'static str),
}

/// The record beside a [`Standing`]: the last word of each source, since when it holds, until when, by whom and why.
///
/// The word that requests read stays one atomic; this record lies off their path, under the lock of whoever owns the
/// endpoint, and is written together with it by [`say`](Self::say). It holds one entry for each source that ever spoke.
///
/// ```text
/// the record of a source     say the same        say another            tick at its end
/// nothing said               –                   recorded               –
/// said, no end               younger, new note   replaced, since = now  stay
/// said, ends at t            younger, new note   replaced, since = now  neutral, if now >= t
/// ```
///
/// ```
/// use evenkeel_health::{AdminState, CheckState, Note, Opinion, Provenance, Standing, TimeToLive};
/// use evenkeel_types::Timestamp;
///
/// let (standing, mut provenance) = (Standing::new(), Provenance::new(TimeToLive::default())?);
/// let note = Note::expiring(Timestamp::from_secs(605)).by("alice")?.because("kernel update")?;
/// let _ = provenance.say(&standing, Opinion::Admin(AdminState::Drain), note, Timestamp::from_secs(5));
/// let down = Opinion::Check(CheckState::Down);
/// let _ = provenance.say(&standing, down, Note::default(), Timestamp::from_secs(60));
///
/// let causes: Vec<String> = provenance.evidence(Timestamp::from_secs(65)).map(|e| e.to_string()).collect();
/// assert_eq!(
///     causes,
///     ["drained by the operator since 5s until 605s by alice: kernel update", "check down since 60s"]
/// );
///
/// // The drain ends by itself, and clears nothing but itself.
/// let _ = provenance.tick(&standing, provenance.next_deadline().expect("the drain is limited"));
/// assert_eq!(standing.load().to_string(), "unusable: check down");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    ttl: TimeToLive,
    /// In order of their sources.
    records: Vec<Record>,
    latest: Timestamp,
    regressions: Regressions,
}

/// The last word of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Record {
    /// What it said.
    pub opinion: Opinion,
    /// Since when it says so.
    pub since: Timestamp,
    /// When it said so last.
    pub confirmed: Timestamp,
    /// When it ends by itself: an override's limit, or the end of its time to live.
    pub expires: Option<Timestamp>,
    /// When the source means to take it back.
    pub until: Option<Timestamp>,
    /// Who said so.
    pub by: Option<Box<str>>,
    /// Why.
    pub reason: Option<Box<str>>,
}

impl Record {
    fn holds(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// One cause that holds now, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Evidence<'a> {
    /// The cause.
    pub cause: Cause,
    /// What is known about it.
    pub record: &'a Record,
}

impl Evidence<'_> {
    /// Who is to ask.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.record.opinion.source()
    }

    /// Until when it holds, if anybody knows: its own end, or what the source means to do.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match (self.record.expires, self.record.until) {
            (Some(expires), Some(until)) => Some(expires.min(until)),
            (expires, until) => expires.or(until),
        }
    }
}

/// `drained by the operator since 5s until 605s by alice: kernel update`.
impl fmt::Display for Evidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} since {:?}", self.cause, age(self.record.since))?;
        if let Some(until) = self.until() {
            write!(f, " until {:?}", age(until))?;
        }
        if let Some(by) = &self.record.by {
            write!(f, " by {by}")?;
        }
        if let Some(reason) = &self.record.reason {
            write!(f, ": {reason}")?;
        }
        Ok(())
    }
}

const fn age(moment: Timestamp) -> Duration {
    Duration::from_nanos(moment.as_nanos())
}

impl Default for Provenance {
    /// Nobody said anything yet, and no word ages.
    fn default() -> Self {
        Self {
            ttl: TimeToLive::default(),
            records: Vec::new(),
            latest: Timestamp::ORIGIN,
            regressions: Regressions::NONE,
        }
    }
}

impl Provenance {
    /// Nobody said anything yet.
    ///
    /// # Errors
    ///
    /// [`TimeToLiveError`] if a time to live is zero.
    pub fn new(ttl: TimeToLive) -> Result<Self, TimeToLiveError> {
        ttl.validate()?;
        Ok(Self { ttl, records: Vec::new(), latest: Timestamp::ORIGIN, regressions: Regressions::NONE })
    }

    /// Lets words live so long from now on. A word that was said keeps the end that it was said with, until its source speaks again.
    ///
    /// # Errors
    ///
    /// [`TimeToLiveError`] if a time to live is zero. Nothing has changed then.
    pub fn set_ttl(&mut self, ttl: TimeToLive) -> Result<(), TimeToLiveError> {
        ttl.validate()?;
        self.ttl = ttl;
        Ok(())
    }

    /// Takes in what a source says, and writes it into the word. O(sources).
    ///
    /// Saying the same again keeps its beginning, makes it young, and replaces the note.
    pub fn say(&mut self, standing: &Standing, opinion: Opinion, note: Note, now: Timestamp) -> Change {
        self.regressions.note(now, self.latest);
        self.latest = self.latest.max(now);
        let record = self.record_of(opinion, note);
        match self.records.binary_search_by_key(&opinion.source(), |record| record.opinion.source()) {
            Ok(place) => {
                let known = &self.records[place];
                let same = known.opinion == opinion && known.holds(self.latest);
                let since = if same { known.since } else { record.since };
                self.records[place] = Record { since, ..record };
            }
            Err(place) => self.records.insert(place, record),
        }
        standing.say(opinion)
    }

    /// Ends what is over: limits of overrides, words that grew too old. One change for each source that this concerned;
    /// none can clear another source's word.
    #[must_use = "whoever turned the endpoint has to tell those who keep masks of it"]
    pub fn tick(&mut self, standing: &Standing, now: Timestamp) -> Vec<Change> {
        self.regressions.note(now, self.latest);
        self.latest = self.latest.max(now);
        let latest = self.latest;
        let mut changes = Vec::new();
        for record in self.records.iter_mut().filter(|record| !record.holds(latest)) {
            let neutral = Opinion::neutral(record.opinion.source());
            *record = Record {
                opinion: neutral,
                since: latest,
                confirmed: latest,
                expires: None,
                until: None,
                by: None,
                reason: None,
            };
            changes.push(standing.say(neutral));
        }
        changes
    }

    /// How often a call came with an earlier time than one before it. Such a call counts as if it had come at the latest one.
    #[must_use]
    pub const fn clock_regressions(&self) -> u64 {
        self.regressions.count()
    }

    /// When the next word ends by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.records.iter().filter_map(|record| record.expires).min()
    }

    /// What this source said last, if it ever spoke. A word that is over at `now` is not told.
    #[must_use]
    pub fn record(&self, source: Source, now: Timestamp) -> Option<&Record> {
        let now = self.latest.max(now);
        self.records.iter().find(|record| record.opinion.source() == source && record.holds(now))
    }

    /// Every cause that holds at `now`, in order of precedence, with where it comes from.
    pub fn evidence(&self, now: Timestamp) -> impl Iterator<Item = Evidence<'_>> {
        let now = self.latest.max(now);
        Cause::ALL.into_iter().flat_map(move |cause| {
            let shows = move |record: &&Record| Status::default().with(record.opinion).cause() == Some(cause);
            let holds = self.records.iter().filter(move |record| record.holds(now)).filter(shows);
            holds.map(move |record| Evidence { cause, record })
        })
    }

    /// What everybody says at `now`, composed of the records. After a [`tick`](Self::tick) it is what the word says.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        let now = self.latest.max(now);
        let holding = self.records.iter().filter(|record| record.holds(now));
        holding.fold(Status::default(), |status, record| status.with(record.opinion))
    }

    fn record_of(&self, opinion: Opinion, note: Note) -> Record {
        let source = opinion.source();
        // A neutral word has no end: there is nothing to go back to.
        let is_neutral = opinion == Opinion::neutral(source);
        let ttl = self.ttl.of(source).map(|ttl| self.latest.saturating_add(ttl));
        let expires = match (note.expires, ttl) {
            _ if is_neutral => None,
            (Some(limit), Some(ttl)) => Some(limit.min(ttl)),
            (limit, ttl) => limit.or(ttl),
        };
        Record {
            opinion,
            since: self.latest,
            confirmed: self.latest,
            expires: expires.filter(|&expires| expires < Timestamp::MAX),
            until: note.until,
            by: note.by,
            reason: note.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdminState, CheckState};

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn check_ttl(secs: u64) -> Provenance {
        let check = Some(Duration::from_secs(secs));
        Provenance::new(TimeToLive { check, ..TimeToLive::default() }).unwrap()
    }

    const DRAIN: Opinion = Opinion::Admin(AdminState::Drain);
    const UP: Opinion = Opinion::Check(CheckState::Up);
    const DOWN: Opinion = Opinion::Check(CheckState::Down);

    /// The table of the type's documentation.
    #[test]
    fn every_record_meets_every_event() {
        let standing = Standing::new();
        let mut provenance = check_ttl(10);
        assert!(provenance.record(Source::Check, at(0)).is_none());
        assert!(provenance.tick(&standing, at(0)).is_empty());
        assert_eq!(provenance.next_deadline(), None);

        // Said, no end.
        let mut endless = check_ttl(10);
        let _ = endless.say(&standing, DRAIN, Note::default().by("x").unwrap(), at(1));
        let _ = endless.say(&standing, DRAIN, Note::default(), at(2));
        let record = endless.record(Source::Admin, at(2)).unwrap().clone();
        assert_eq!((record.since, record.confirmed, record.by), (at(1), at(2), None));
        assert!(endless.tick(&standing, Timestamp::MAX).is_empty());
        let _ = standing.set_admin(AdminState::Ready);

        // Said, with an end.
        let _ = provenance.say(&standing, DOWN, Note::default(), at(5));
        assert_eq!(provenance.next_deadline(), Some(at(15)));
        let _ = provenance.say(&standing, DOWN, Note::default(), at(12));
        let record = provenance.record(Source::Check, at(12)).unwrap();
        assert_eq!((record.since, record.expires), (at(5), Some(at(22))));
        let _ = provenance.say(&standing, UP, Note::default(), at(13));
        assert_eq!(provenance.record(Source::Check, at(13)).unwrap().since, at(13));
        assert!(provenance.tick(&standing, Timestamp::from_millis(22_999)).is_empty());
        let gone = provenance.tick(&standing, at(23));
        assert_eq!(gone.len(), 1, "inclusive");
        assert_eq!(gone[0].after.check(), CheckState::Unknown);
        assert!(provenance.tick(&standing, at(24)).is_empty(), "once");
    }

    #[test]
    fn staleness_shows_without_a_tick_and_a_new_word_begins_anew() {
        let (standing, mut provenance) = (Standing::new(), check_ttl(10));
        let _ = provenance.say(&standing, DOWN, Note::default(), at(0));
        assert_eq!(provenance.evidence(at(9)).count(), 1);
        assert_eq!(provenance.evidence(at(10)).count(), 0);
        assert!(provenance.status(at(10)).usable());
        let _ = provenance.say(&standing, DOWN, Note::default(), at(30));
        assert_eq!(provenance.record(Source::Check, at(30)).unwrap().since, at(30));
    }

    #[test]
    fn an_override_ends_at_its_limit_or_with_its_ttl_whichever_is_first() {
        let (standing, mut provenance) = (Standing::new(), check_ttl(10));
        let _ = provenance.say(&standing, DOWN, Note::expiring(at(4)), at(0));
        assert_eq!(provenance.next_deadline(), Some(at(4)));
        let _ = provenance.say(&standing, DOWN, Note::expiring(at(40)), at(0));
        assert_eq!(provenance.next_deadline(), Some(at(10)));
        let _ = provenance.say(&standing, DRAIN, Note::expiring(Timestamp::MAX), at(0));
        assert_eq!(provenance.next_deadline(), Some(at(10)), "the end of time is never");
    }

    #[test]
    fn what_a_source_means_to_do_is_told_and_not_done() {
        let (standing, mut provenance) = (Standing::new(), check_ttl(10));
        let _ = provenance.say(&standing, Opinion::Ejected(true), Note::until(at(30)), at(0));
        let told: Vec<_> = provenance.evidence(at(40)).map(|evidence| evidence.until()).collect();
        assert_eq!(told, [Some(at(30))]);
        assert!(provenance.tick(&standing, at(40)).is_empty());
        assert!(standing.load().ejected());
    }

    #[test]
    fn time_going_back_ends_nothing_and_revives_nothing() {
        let (standing, mut provenance) = (Standing::new(), check_ttl(10));
        let _ = provenance.say(&standing, DOWN, Note::default(), at(100));
        assert!(provenance.tick(&standing, at(5)).is_empty());
        assert_eq!(provenance.tick(&standing, at(110)).len(), 1);
        assert!(provenance.status(at(0)).usable());
        let _ = provenance.say(&standing, DOWN, Note::default(), at(0));
        assert_eq!(provenance.record(Source::Check, at(0)).unwrap().since, at(110));
    }

    #[test]
    fn degraded_is_told_once_for_each_source_that_says_so() {
        let (standing, mut provenance) = (Standing::new(), check_ttl(10));
        let announced = Opinion::Announced(evenkeel_types::Announced::Degraded);
        let _ = provenance.say(&standing, announced, Note::default(), at(0));
        let _ = provenance.say(&standing, Opinion::Check(CheckState::Degraded), Note::default(), at(1));
        let sources: Vec<_> = provenance.evidence(at(1)).map(|evidence| evidence.source()).collect();
        assert_eq!(sources, [Source::Discovery, Source::Check]);
        assert!(standing.load().is_degraded());
    }

    #[cfg(feature = "serde")]
    #[test]
    fn evidence_serialises_with_its_record() {
        let (standing, mut provenance) = (Standing::new(), check_ttl(10));
        let _ = provenance.say(&standing, DRAIN, Note::default().by("alice").unwrap(), at(1));
        let text: Vec<_> =
            provenance.evidence(at(1)).map(|evidence| serde_json::to_string(&evidence).unwrap()).collect();
        assert_eq!(text.len(), 1);
        assert!(
            text[0].starts_with(r#"{"cause":"admin_drain","record":{"opinion":{"admin":"drain"},"#),
            "{text:?}"
        );
    }

    #[test]
    fn refuses_a_life_of_no_length() {
        let ttl = TimeToLive { check: Some(Duration::ZERO), ..TimeToLive::default() };
        assert_eq!(Provenance::new(ttl), Err(TimeToLiveError::Zero("check")));
    }
}
