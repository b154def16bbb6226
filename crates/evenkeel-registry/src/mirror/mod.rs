mod admission;
mod config;
mod empty;
mod log;
mod members;
mod output;
mod pace;
mod rejects;
mod settling;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use evenkeel_types::{Endpoint, EndpointId, SplitMix64, Timestamp};

pub use config::{EmptyGuard, Hold, InvalidMirrorConfig, MirrorConfig, Settle};
pub use log::{EventLog, LogEntry, Logged};
pub use output::{Fed, SourceNotice};
pub use rejects::Rejected;

use crate::event::{Coverage, Event, FeedError, Gap, Proof, Removal, TroubleKind};
use crate::saved::{LoadError, Saved};
use crate::source::{ShortText, SourceError, SourceName, SourceStatus};
use crate::{Cause, Change, Held, HoldReason, Revision, ServiceName, Snapshot, SourceState};
use admission::Bucket;
use empty::{Answer, EmptyHold};
use log::Log;
use members::Members;
use output::Visible;
use pace::Pace;
use rejects::Rejects;
use settling::Settling;

/// What one source says about one service, guarded: events of an adapter in, snapshots out.
///
/// A plain machine: no lock, no clock, no thread, and the only draws come from the seed of its configuration. The same
/// events at the same times give the same snapshots, so that every incident can be recorded
/// ([`take_log`](Self::take_log)) and replayed ([`replay`](Self::replay)). [`Registry::feed`](crate::Registry::feed)
/// puts it behind a lock and merges it with others; most adapters need nothing but the [`Feed`](crate::Feed) from there.
///
/// # States
///
/// ```text
///           full set      empty set        absent           fresh      trouble
/// Pending   Live          Absent           Absent (1)       NeedFull   stay, error seen
/// Live      stay          hold (2)         hold (1), Absent stay       Stale
/// Stale     Live          hold (2), Live   hold (1), Absent Live (3)   stay
/// Absent    Live          stay             stay             stay       Stale, still empty
/// ```
///
/// 1. A proof that has to be confirmed (DNS) counts when it is confirmed.
/// 2. Unless [`Hold::Never`]; see [`EmptyGuard`].
/// 3. Or Absent, if that is what it knew.
///
/// # Time
///
/// Times may arrive out of order; one that is earlier than an earlier call's counts as that one. Deadlines are
/// inclusive. Call [`tick`](Self::tick) at [`next_deadline`](Self::next_deadline); if you forget, the next event catches
/// up.
///
/// # Cost
///
/// A delta is O(changed · log n), a full set O(n) comparisons and O(changed) else. The first look at the snapshot after
/// a change is O(n) pointer copies; descriptions are never copied.
///
/// ```
/// use evenkeel_registry::{Event, Mirror, MirrorConfig, Revision, SourceState};
/// use evenkeel_types::{Endpoint, Timestamp};
///
/// let mut mirror = Mirror::new("users".parse()?, "etcd".parse()?, MirrorConfig::default())?;
/// assert_eq!(mirror.snapshot().state(), SourceState::Pending);
///
/// let endpoint = Endpoint::new("users-1".parse()?, "10.0.0.1:8080".parse()?);
/// let now = Timestamp::from_secs(1);
/// mirror.apply(now, Event::full(Revision::new("cluster-7", 100)?, vec![endpoint]))?;
/// assert_eq!(mirror.snapshot().state(), SourceState::Live);
///
/// // An empty answer without proof is held, and anybody can see why and until when.
/// mirror.apply(now, Event::full(Revision::new("cluster-8", 1)?, vec![]))?;
/// assert_eq!(mirror.snapshot().endpoints().len(), 1);
/// assert_eq!(mirror.status(now).held.expect("held").until, Timestamp::from_secs(301));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mirror {
    service: ServiceName,
    source: SourceName,
    config: MirrorConfig,
    now: Timestamp,
    generation: u64,
    changed: Timestamp,
    known: bool,
    trouble_since: Option<Timestamp>,
    error: Option<SourceError>,
    as_of: Timestamp,
    /// What of the age lies before the origin of time, after loading from a disk.
    older: Duration,
    revision: Option<Revision>,
    members: Members,
    empty: Option<EmptyHold>,
    pace: Pace,
    settling: Settling,
    staged: Option<BTreeMap<EndpointId, Endpoint>>,
    bucket: Bucket,
    rejects: Rejects,
    log: Log,
    /// The status with the present generation, so that it does not matter when the snapshot is made of it.
    told: Option<SourceStatus>,
    /// The suspects of the present generation.
    suspects: Arc<[EndpointId]>,
    snapshot: OnceLock<Arc<Snapshot>>,
}

impl Mirror {
    /// A mirror that knows nothing yet.
    ///
    /// # Errors
    ///
    /// [`InvalidMirrorConfig`].
    pub fn new(
        service: ServiceName,
        source: SourceName,
        config: MirrorConfig,
    ) -> Result<Self, InvalidMirrorConfig> {
        config.validate()?;
        let mut mirror = Self {
            service,
            source,
            now: Timestamp::ORIGIN,
            generation: 0,
            changed: Timestamp::ORIGIN,
            known: false,
            trouble_since: None,
            error: None,
            as_of: Timestamp::ORIGIN,
            older: Duration::ZERO,
            revision: None,
            members: Members::default(),
            empty: None,
            pace: Pace::new(SplitMix64::new(config.seed)),
            settling: Settling::new(config.settle),
            staged: None,
            bucket: Bucket::new(config.max_events_per_second),
            rejects: Rejects::default(),
            log: Log::new(config.log),
            told: None,
            suspects: Arc::default(),
            snapshot: OnceLock::new(),
            config,
        };
        mirror.told = Some(mirror.status(Timestamp::ORIGIN));
        Ok(mirror)
    }

    /// Takes an event in, and gives what readers see of it now. What the settling holds back comes with a later call.
    ///
    /// # Errors
    ///
    /// [`FeedError`]; readers then see what they saw before.
    pub fn apply(&mut self, now: Timestamp, event: Event) -> Result<Fed, FeedError> {
        self.log.event(now, &event);
        let before = self.visible();
        let now = self.advance(now);
        self.admit(now, &event)?;
        match event {
            Event::Full { revision, endpoints, coverage } => self.full(now, revision, endpoints, coverage),
            Event::Delta { to, upserts, removals, .. } => self.delta(now, to, upserts, removals),
            Event::Fresh { revision, behind } => {
                self.revision = revision.or(self.revision.take());
                self.answered(now.saturating_sub(behind));
            }
            Event::Absent { proof } => self.absent(now, proof),
            Event::Trouble { kind, text, retry_at } => self.trouble(now, kind, &text, retry_at),
            Event::Reject { id, reason } => self.rejects.note(now, id.as_deref(), &reason),
            Event::Begin => self.staged = Some(BTreeMap::new()),
            Event::Stage { endpoints } => self.stage(now, endpoints),
            Event::Commit { revision, coverage } => {
                let endpoints = self.staged.take().unwrap_or_default().into_values().collect();
                self.full(now, revision, endpoints, coverage);
            }
        }
        Ok(self.roll(now, &before))
    }

    /// Does what waits for time: gathered changes, holds that end, suspects that go, ages.
    pub fn tick(&mut self, now: Timestamp) -> Fed {
        self.log.tick(now);
        let before = self.visible();
        let now = self.advance(now);
        self.roll(now, &before)
    }

    /// When to call [`tick`](Self::tick) next, if there is anything to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let silent = self.config.silent_after.filter(|_| self.known && self.trouble_since.is_none());
        let is_heard = self.trouble_since.is_none();
        let over_age = self.config.max_stale.filter(|_| self.known && !self.is_over_age(self.now));
        [
            self.settling.deadline(),
            self.empty.as_ref().and_then(EmptyHold::until).filter(|_| is_heard),
            self.pace.deadline().filter(|_| is_heard && self.empty.is_none()),
            silent.map(|silent| self.as_of.saturating_add(silent)),
            over_age.map(|max| self.as_of.saturating_add(max.saturating_sub(self.older))),
        ]
        .into_iter()
        .flatten()
        .filter(|at| *at < Timestamp::MAX)
        .min()
    }

    /// What readers see now; O(1) if nothing changed since the last look, else O(n) pointer copies.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let build = || {
            let snapshot = Snapshot::new(
                self.service.clone(),
                self.generation,
                self.state(),
                self.changed,
                self.members.shown().cloned().collect(),
            );
            let told = self.told.iter().cloned().collect();
            Arc::new(snapshot.with_sources(told).with_suspects(self.suspects.clone()))
        };
        self.snapshot.get_or_init(build).clone()
    }

    /// What the source knows.
    #[must_use]
    pub fn state(&self) -> SourceState {
        match (self.known, self.trouble_since) {
            (false, _) => SourceState::Pending,
            (true, Some(since)) => SourceState::Stale { since },
            (true, None) if self.members.is_empty() => SourceState::Absent,
            (true, None) => SourceState::Live,
        }
    }

    /// How fresh the source is at `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> SourceStatus {
        SourceStatus {
            name: self.source.clone(),
            state: self.state(),
            used: true,
            endpoints: self.members.shown_len(),
            revision: self.revision.clone(),
            as_of: self.known.then_some(self.as_of),
            older: self.older,
            over_age: self.is_over_age(now.max(self.now)),
            error: self.error.clone(),
            held: self.held(),
            rejected: self.rejects.total(),
        }
    }

    /// The number of the snapshot: one more for every visible change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &MirrorConfig {
        &self.config
    }

    /// The position held: where the next delta has to start.
    #[must_use]
    pub fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }

    /// The last rejected entries, oldest first; at most 32.
    pub fn rejects(&self) -> impl Iterator<Item = &Rejected> {
        self.rejects.recent()
    }

    /// The events and ticks since the last call, as far as [`MirrorConfig::log`] has room for them.
    pub fn take_log(&mut self) -> EventLog {
        self.log.take()
    }

    /// What a log leads to: from the same configuration, the same snapshots.
    ///
    /// # Errors
    ///
    /// As [`Mirror::new`]. Events that were refused when they were recorded are refused again.
    pub fn replay(
        service: ServiceName,
        source: SourceName,
        config: MirrorConfig,
        entries: impl IntoIterator<Item = LogEntry>,
    ) -> Result<Self, InvalidMirrorConfig> {
        let mut mirror = Self::new(service, source, config)?;
        for LogEntry { at, what } in entries {
            let _ = mirror.redo(at, what);
        }
        Ok(mirror)
    }

    /// Does again what a log entry tells, and gives what readers saw of it.
    pub fn redo(&mut self, at: Timestamp, what: Logged) -> Fed {
        match what {
            Logged::Event(event) => self.apply(at, event).unwrap_or_default(),
            Logged::Tick => self.tick(at),
            Logged::Reopen => {
                self.reopen(at);
                Fed::default()
            }
            Logged::Load { endpoints, age } => self.take_over(at, endpoints, age),
        }
    }

    /// A new adapter takes over: the position of the old one is given up, and so is a list under way.
    pub fn reopen(&mut self, now: Timestamp) {
        self.log.reopen(now);
        let _ = self.advance(now);
        self.revision = None;
        self.staged = None;
    }

    pub(crate) fn shown(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.members.shown_of(id)
    }

    pub(crate) fn shown_ids(&self) -> impl Iterator<Item = &EndpointId> {
        self.members.shown().map(|endpoint| endpoint.id())
    }

    pub(crate) fn shown_len(&self) -> usize {
        self.members.shown_len()
    }

    pub(crate) fn is_suspect(&self, id: &EndpointId) -> bool {
        self.members.is_suspect(id)
    }

    pub(crate) fn suspects(&self) -> impl Iterator<Item = EndpointId> {
        self.members.suspects()
    }

    pub(crate) fn set_config(&mut self, config: MirrorConfig) {
        self.settling.config = config.settle;
        self.bucket = Bucket::new(config.max_events_per_second);
        self.log.resize(config.log);
        self.config = config;
    }

    /// The set as the source last said it, held ones included, for a disk. `saved_at` is the time of the wall.
    #[must_use]
    pub fn save(&self, now: Timestamp, saved_at: SystemTime) -> Saved {
        let age = self.status(now).age(now.max(self.now)).unwrap_or_default();
        let endpoints = self.members.shown_or_said().map(|endpoint| Endpoint::clone(endpoint)).collect();
        Saved::new(self.service.clone(), self.source.clone(), saved_at, age, endpoints)
    }

    /// Takes over a set from a disk; `wall` is the present time of the wall. The source is stale until it answers. One
    /// that is known already keeps what it knows.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; nothing is loaded then.
    pub fn load(&mut self, now: Timestamp, saved: &Saved, wall: SystemTime) -> Result<Fed, LoadError> {
        saved.check(&self.service)?;
        Ok(self.take_over(now, saved.endpoints().to_vec(), saved.age(wall)))
    }

    fn take_over(&mut self, now: Timestamp, endpoints: Vec<Endpoint>, age: Duration) -> Fed {
        self.log.load(now, &endpoints, age);
        let before = self.visible();
        let now = self.advance(now);
        if !self.known && !endpoints.is_empty() {
            let vetted = self.vet(now, endpoints);
            self.members.replace(vetted, now, Coverage::Complete);
            self.known = true;
            self.as_of = now.saturating_sub(age);
            self.older = age.saturating_sub(now.saturating_since(Timestamp::ORIGIN));
            self.trouble_since = Some(self.as_of);
        }
        self.roll(now, &before)
    }

    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    fn full(
        &mut self,
        now: Timestamp,
        revision: Option<Revision>,
        endpoints: Vec<Endpoint>,
        coverage: Coverage,
    ) {
        self.staged = None;
        self.revision = revision;
        let vetted = self.vet(now, endpoints);
        self.members.replace(vetted, now, coverage);
        self.answered(now);
        if !self.members.says_nobody() {
            self.empty = None;
        } else if self.members.waiting() > 0 {
            self.hold_against_empty(now);
        }
    }

    fn hold_against_empty(&mut self, now: Timestamp) {
        let config = &self.config.empty;
        if config.hold == Hold::Never {
            self.members.let_all_go();
            return;
        }
        let hold = self.empty.get_or_insert_with(|| EmptyHold::new(now, config.hold));
        if hold.hear(now, Answer::Empty, config) {
            self.empty = None;
            self.members.let_all_go();
        }
    }

    fn delta(&mut self, now: Timestamp, to: Revision, upserts: Vec<Endpoint>, removals: Vec<Removal>) {
        self.revision = Some(to);
        for Removal { id, cause } in removals {
            self.members.remove(&id, cause, now);
        }
        for endpoint in self.vet_upserts(now, upserts) {
            self.members.upsert(endpoint, now);
        }
        self.answered(now);
        if !self.members.says_nobody() {
            self.empty = None;
        } else if self.members.waiting() > 0 && self.empty.is_none() && self.config.empty.hold != Hold::Never
        {
            // One by one or all at once: the last of them has gone without a word of its own, as in an empty answer.
            self.empty = Some(EmptyHold::new(now, self.config.empty.hold));
        }
    }

    fn absent(&mut self, now: Timestamp, proof: Proof) {
        self.staged = None;
        self.revision = None;
        self.answered(now);
        let hold = proof.confirm_after().filter(|_| self.members.shown_len() > 0);
        self.members.remove_all(now);
        if let Some(wait) = hold {
            let bound = match self.config.empty.hold {
                Hold::Never => Hold::For(wait),
                hold => hold,
            };
            let held = self.empty.get_or_insert_with(|| EmptyHold::new(now, bound));
            if !held.hear(now, Answer::Absent { wait }, &self.config.empty) {
                return;
            }
        }
        self.empty = None;
        self.members.prove_all_absent();
    }

    fn trouble(&mut self, now: Timestamp, kind: TroubleKind, text: &str, retry_at: Option<Timestamp>) {
        if self.known {
            self.trouble_since.get_or_insert(now);
        }
        self.error = Some(SourceError { kind, text: ShortText::cut(text), at: now, retry_at });
    }

    /// The source has answered well.
    fn answered(&mut self, as_of: Timestamp) {
        self.known = true;
        self.as_of = as_of;
        self.older = Duration::ZERO;
        if let (Some(since), Some(hold)) = (self.trouble_since.take(), &mut self.empty) {
            hold.postpone(self.now.saturating_since(since));
        }
        self.error = None;
    }

    fn stage(&mut self, now: Timestamp, endpoints: Vec<Endpoint>) {
        let Some(mut staged) = self.staged.take() else { return };
        for endpoint in endpoints {
            // Twice as many as can be used, so that those already known win over those that come first.
            if staged.len() >= self.config.max_endpoints.saturating_mul(2)
                && !staged.contains_key(endpoint.id())
            {
                self.rejects.note(now, Some(endpoint.id().as_str()), "more endpoints than max_endpoints");
                continue;
            }
            self.settle_twins(now, &mut staged, endpoint);
        }
        self.staged = Some(staged);
    }

    pub(crate) fn is_over_age(&self, now: Timestamp) -> bool {
        let age = now.saturating_since(self.as_of).saturating_add(self.older);
        self.known && self.config.max_stale.is_some_and(|max| age >= max)
    }

    /// What waits for time, and then what readers see of everything.
    fn roll(&mut self, now: Timestamp, before: &Visible) -> Fed {
        let silent = self.config.silent_after.is_some_and(|limit| now >= self.as_of.saturating_add(limit));
        if self.known && self.trouble_since.is_none() && silent {
            self.trouble(now, TroubleKind::Silent, "nothing was heard for silent_after", None);
        }
        // Nobody goes while the source cannot be asked: silence confirms nothing.
        let is_heard = self.trouble_since.is_none();
        if is_heard && self.empty.as_ref().is_some_and(|hold| hold.is_over(now)) {
            self.empty = None;
            self.members.let_all_go();
        }
        if is_heard && self.empty.is_none() {
            self.pace.release(now, &self.config, &mut self.members);
        } else {
            self.members.release_reused_addresses();
        }
        let first = before.state == SourceState::Pending;
        let changes = if self.settling.is_due(now, first, self.members.is_dirty()) {
            self.publish()
        } else {
            Vec::new()
        };
        self.tell(now, before, changes)
    }

    fn publish(&mut self) -> Vec<Change> {
        let generation = self.generation + 1;
        let service = self.service.clone();
        self.members
            .publish()
            .into_iter()
            .map(|(endpoint, kind)| Change { service: service.clone(), generation, endpoint, kind })
            .collect()
    }

    /// Numbers the step if anything of it can be seen.
    fn tell(&mut self, now: Timestamp, before: &Visible, changes: Vec<Change>) -> Fed {
        let notices = before.notices(&self.visible());
        if !changes.is_empty() || !notices.is_empty() {
            self.generation += 1;
            self.changed = now;
            self.told = Some(self.status(now));
            self.suspects = self.members.suspects().collect();
            self.snapshot = OnceLock::new();
        }
        Fed { changes, notices }
    }

    fn visible(&self) -> Visible {
        Visible {
            state: self.state(),
            error: self.error.as_ref().map(|error| error.kind),
            held: self.held(),
            over_age: self.is_over_age(self.now),
        }
    }

    fn held(&self) -> Option<Held> {
        let endpoints = self.members.waiting();
        let (reason, until) = match &self.empty {
            Some(hold) => (hold.reason(), hold.until().unwrap_or(Timestamp::MAX)),
            None => {
                let reason =
                    if self.members.has_suspects() { HoldReason::MassRemoval } else { HoldReason::Flap };
                (reason, self.pace.deadline()?)
            }
        };
        (endpoints > 0).then_some(Held { reason, endpoints, until })
    }
}

/// Why a removal without a word of its own is not believed at once.
pub(crate) fn is_proof(cause: Cause) -> bool {
    matches!(cause, Cause::Deregistered | Cause::Replaced | Cause::Absent)
}

impl Mirror {
    /// Whether the event may be applied at all; changes nothing that readers see.
    fn admit(&mut self, now: Timestamp, event: &Event) -> Result<(), FeedError> {
        match event {
            Event::Fresh { .. } if !self.known => return Err(FeedError::NeedFull(Gap::NoPosition)),
            Event::Fresh { revision: Some(to), .. } => self.follows(None, to)?,
            Event::Delta { from, to, .. } => {
                if !to.same_incarnation(from) {
                    return Err(self.gap(Gap::NewIncarnation { to: to.clone(), held: from.clone() }));
                }
                self.follows(Some(from), to)?;
            }
            Event::Stage { .. } | Event::Commit { .. } if self.staged.is_none() => {
                return Err(FeedError::NotStaging);
            }
            _ => {}
        }
        let counted = matches!(
            event,
            Event::Full { .. } | Event::Delta { .. } | Event::Stage { .. } | Event::Commit { .. }
        );
        if counted {
            self.bucket.take(now).map_err(|retry_at| FeedError::TooFast { retry_at })
        } else {
            Ok(())
        }
    }

    fn follows(&mut self, from: Option<&Revision>, to: &Revision) -> Result<(), FeedError> {
        let gap = match (&self.revision, from) {
            (None, _) => Gap::NoPosition,
            (Some(held), Some(from)) if from != held => {
                Gap::Elsewhere { from: from.clone(), held: held.clone() }
            }
            (Some(held), _) if !to.same_incarnation(held) => {
                Gap::NewIncarnation { to: to.clone(), held: held.clone() }
            }
            _ => return Ok(()),
        };
        Err(self.gap(gap))
    }

    /// After a gap only a full set is sound: a delta that fits by chance must not be taken.
    fn gap(&mut self, gap: Gap) -> FeedError {
        self.revision = None;
        FeedError::NeedFull(gap)
    }
}
