use std::time::SystemTime;

use evenkeel_types::Timestamp;

use super::{AttachError, Catalog, UnknownSource};
use crate::event::{Event, FeedError, TroubleKind};
use crate::mirror::{EventLog, Fed, Mirror, MirrorConfig};
use crate::saved::{LoadError, Saved};
use crate::source::SourceName;
use crate::sources::Sources;
use crate::{Change, Merge, ServiceName};

impl Catalog {
    /// Adds a source to a service, and gives the number of this opening.
    ///
    /// A source whose feed was closed is taken over as it is, with the new settings: its set stays, its position is
    /// given up. O(n) if the service has endpoints.
    ///
    /// # Errors
    ///
    /// [`AttachError`].
    pub fn attach(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        source: &SourceName,
        config: MirrorConfig,
    ) -> Result<u64, AttachError> {
        let now = self.advance(now);
        config.validate()?;
        if source.as_str() == SourceName::LOCAL {
            return Err(AttachError::Reserved);
        }
        let max_services = self.config.max_services;
        if !self.services.contains_key(service) && self.services.len() >= max_services {
            return Err(AttachError::TooManyServices { max_services });
        }
        let opening = self.openings + 1;
        let sources = self.entry(service).open_sources();
        let full = sources.feeds.len() >= Sources::MAX;
        match sources.find(source) {
            Some(known) if known.opening.is_some() => return Err(AttachError::InUse),
            Some(known) => {
                known.opening = Some(opening);
                known.mirror.set_config(config);
                known.mirror.reopen(now);
                sources.sort();
            }
            None if full => return Err(AttachError::TooManySources { max: Sources::MAX }),
            None => sources.add(Mirror::new(service.clone(), source.clone(), config)?, opening),
        }
        self.openings = opening;
        self.entry(service).remerge(now);
        // Other settings may mean another deadline.
        let _ =
            self.with_mirror(now, service, source, |mirror, now| Ok::<_, UnknownSource>(mirror.tick(now)));
        self.moved.insert(service.clone());
        Ok(opening)
    }

    /// Feeds an event of a source, and gives what readers of the service see of it.
    ///
    /// # Errors
    ///
    /// As [`Mirror::apply`], and [`FeedError::Detached`].
    pub fn feed(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        source: &SourceName,
        event: Event,
    ) -> Result<Fed, FeedError> {
        self.with_mirror(now, service, source, |mirror, now| mirror.apply(now, event))
    }

    /// Takes over a set from a disk as that of a source; as [`Mirror::load`].
    ///
    /// # Errors
    ///
    /// As there, and [`LoadError::Detached`] if there is no such source.
    pub fn load(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        source: &SourceName,
        saved: &Saved,
        wall: SystemTime,
    ) -> Result<Fed, LoadError> {
        self.with_mirror(now, service, source, |mirror, now| mirror.load(now, saved, wall))
    }

    /// The adapter of a source is gone: its set stays, and is stale from now on.
    ///
    /// # Errors
    ///
    /// [`UnknownSource`].
    pub fn close(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        source: &SourceName,
    ) -> Result<Fed, UnknownSource> {
        let entry = self.services.get_mut(service).and_then(|entry| entry.sources_mut());
        entry.and_then(|sources| sources.find(source)).ok_or(UnknownSource)?.opening = None;
        let gone = Event::trouble(TroubleKind::AdapterGone, "the adapter dropped its feed");
        self.feed(now, service, source, gone).map_err(|_| UnknownSource)
    }

    /// Takes a source and its endpoints out of a service: an operator's word, which no guard holds.
    ///
    /// # Errors
    ///
    /// [`UnknownSource`].
    pub fn detach(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        source: &SourceName,
    ) -> Result<Vec<Change>, UnknownSource> {
        let now = self.advance(now);
        let entry = self.services.get_mut(service).ok_or(UnknownSource)?;
        let removed = entry.sources_mut().and_then(|sources| sources.remove(source)).ok_or(UnknownSource)?;
        if let Some(at) = removed.wake {
            self.wakes.remove(&(at, service.clone(), source.clone()));
        }
        let changes = entry.remerge(now);
        self.note_moved(service, &changes);
        Ok(changes)
    }

    /// Says how the sources of a service become one set; the default is [`Merge::Union`]. An unknown service becomes
    /// known by it.
    ///
    /// # Errors
    ///
    /// [`AttachError::TooManyServices`].
    pub fn set_merge(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        merge: Merge,
    ) -> Result<Vec<Change>, AttachError> {
        let now = self.advance(now);
        let max_services = self.config.max_services;
        if !self.services.contains_key(service) && self.services.len() >= max_services {
            return Err(AttachError::TooManyServices { max_services });
        }
        let entry = self.entry(service);
        entry.open_sources().merge = merge;
        let changes = entry.remerge(now);
        self.note_moved(service, &changes);
        Ok(changes)
    }

    /// The mirror of one source.
    #[must_use]
    pub fn mirror(&self, service: &ServiceName, source: &SourceName) -> Option<&Mirror> {
        let feeds = &self.services.get(service)?.sources()?.feeds;
        feeds.iter().map(|feed| &feed.mirror).find(|mirror| mirror.source() == source)
    }

    /// As [`Mirror::take_log`].
    pub fn take_log(&mut self, service: &ServiceName, source: &SourceName) -> EventLog {
        let sources = self.services.get_mut(service).and_then(|entry| entry.sources_mut());
        sources
            .and_then(|sources| sources.find(source))
            .map(|feed| feed.mirror.take_log())
            .unwrap_or_default()
    }

    /// Whether the opening is the one that counts.
    pub(crate) fn is_open(&self, service: &ServiceName, source: &SourceName, opening: u64) -> bool {
        let sources = self.services.get(service).and_then(|entry| entry.sources());
        let feed = sources.and_then(|s| s.feeds.iter().find(|feed| feed.mirror.source() == source));
        feed.is_some_and(|feed| feed.opening == Some(opening))
    }

    /// When a source wants to be looked at.
    pub(crate) fn wake_of(&self, service: &ServiceName, source: &SourceName) -> Option<Timestamp> {
        self.mirror(service, source)?.next_deadline()
    }

    pub(crate) fn take_moved(&mut self) -> std::collections::BTreeSet<ServiceName> {
        std::mem::take(&mut self.moved)
    }

    /// Ticks the sources whose time has come.
    pub(super) fn tick_sources(&mut self, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((at, service, source)) = self.wakes.first().cloned() {
            if at > now {
                break;
            }
            match self
                .with_mirror(now, &service, &source, |mirror, now| Ok::<_, UnknownSource>(mirror.tick(now)))
            {
                Ok(fed) => changes.extend(fed.changes),
                Err(_) => _ = self.wakes.pop_first(),
            }
            // A source that wants to be looked at without end is looked at once per tick.
            if self.wakes.first().is_some_and(|first| *first == (at, service, source)) {
                break;
            }
        }
        changes
    }

    /// Does something with a mirror, and brings the service in line.
    fn with_mirror<E: From<UnknownSource>>(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        source: &SourceName,
        act: impl FnOnce(&mut Mirror, Timestamp) -> Result<Fed, E>,
    ) -> Result<Fed, E> {
        let now = self.advance(now);
        let entry = self.services.get_mut(service).ok_or(UnknownSource)?;
        let feed = entry.sources_mut().and_then(|sources| sources.find(source)).ok_or(UnknownSource)?;
        let fed = act(&mut feed.mirror, now);
        let (before, after) = (feed.wake, feed.mirror.next_deadline());
        feed.wake = after;
        if before != after {
            let key = |at| (at, service.clone(), source.clone());
            before.map(|at| self.wakes.remove(&key(at)));
            after.map(|at| self.wakes.insert(key(at)));
        }
        let fed = entry.merge(now, fed?);
        if !fed.notices.is_empty() && fed.changes.is_empty() {
            self.moved.insert(service.clone());
        }
        Ok(fed)
    }

    fn note_moved(&mut self, service: &ServiceName, changes: &[Change]) {
        if changes.is_empty() {
            self.moved.insert(service.clone());
        }
    }
}

impl From<UnknownSource> for FeedError {
    fn from(UnknownSource: UnknownSource) -> Self {
        Self::Detached
    }
}

impl From<UnknownSource> for LoadError {
    fn from(UnknownSource: UnknownSource) -> Self {
        Self::Detached
    }
}
