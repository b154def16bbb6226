use std::collections::BTreeMap;

use evenkeel_adapter::Call;
use evenkeel_registry::{Cause, Coverage, Event, Removal, Revision, TroubleKind};
use evenkeel_types::{Endpoint, EndpointId};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::wire::{Header, KeyValue, Line, Range, WatchEvent, Watched};
use crate::{EtcdConfig, entry, request};

/// Follows a prefix of etcd, without IO: says what to ask, takes answers, gives events.
///
/// # States
///
/// ```text
///            page            last page     created       changes         compacted, canceled   relist
/// Listing    next page       Watching      –             –               –                     from the start
/// Watching   –               –             stay          stay, gathered  Listing               Listing
/// ```
///
/// The list is read in pages, all at the revision of the first, so it is one state of the store. The watch starts one
/// revision after it: nothing lies between. The position is the highest revision of a change that was told, never the
/// one in a header, which may be ahead of the changes that are still to come.
///
/// An entry that cannot be read is named in a reject. If it could be read before, its last good description stays until
/// its key is deleted. A list with entries of which none can be read and none is known is an error and not an empty set.
///
/// A revision that falls under the same cluster id (a member restored from an old copy) is a new incarnation, as is
/// another cluster id.
///
/// ```
/// use evenkeel_etcd::{Ask, Follower, FollowerConfig};
/// let mut follower = Follower::new(FollowerConfig { prefix: "svc/".to_owned(), page_size: 500, max_entries: 1000 });
/// assert!(matches!(follower.ask(), Ask::List(_)));
/// let page = br#"{"header":{"cluster_id":"7","revision":"4"},
///     "kvs":[{"key":"c3ZjL2E=","value":"MTAuMC4wLjE6ODA=","mod_revision":"4"}],"count":"1"}"#;
/// let events = follower.listed(page)?;
/// assert!(matches!(&events[..], [evenkeel_registry::Event::Full { endpoints, .. }] if endpoints.len() == 1));
/// assert!(matches!(follower.ask(), Ask::Watch(call) if call.body.contains("\"start_revision\":\"5\"")));
/// # Ok::<(), evenkeel_etcd::FollowError>(())
/// ```
#[derive(Debug)]
pub struct Follower {
    config: FollowerConfig,
    /// Which lives of the store came before.
    life: u64,
    /// The last position of all, also of an earlier life.
    held: Option<Header>,
    /// The list under way; `None` while watching.
    listing: Option<Listing>,
    /// Every key as the store has it, and its last value that could be read. Those that can never be are counted too, or
    /// [`probed`](Self::probed) would miss them.
    keys: Keys,
    gathered: Gathered,
}

type Keys = BTreeMap<Vec<u8>, Option<Endpoint>>;

/// What a [`Follower`] follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerConfig {
    /// As [`EtcdConfig::prefix`].
    pub prefix: String,
    /// As [`EtcdConfig::page_size`].
    pub page_size: u32,
    /// As [`EtcdConfig::max_entries`].
    pub max_entries: usize,
}

impl From<&EtcdConfig> for FollowerConfig {
    fn from(config: &EtcdConfig) -> Self {
        Self { prefix: config.prefix.clone(), page_size: config.page_size, max_entries: config.max_entries }
    }
}

/// What to ask etcd next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A page of the list; its answer goes to [`Follower::listed`].
    List(Call),
    /// The watch; each line of its answer goes to [`Follower::watched`].
    Watch(Call),
}

/// What a line of the watch was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The watch stands.
    Created,
    /// Changes, to be taken by [`Follower::take_events`].
    Changes,
    /// Nothing has changed.
    Progress,
    /// The position was compacted: the follower lists again.
    Compacted,
    /// The watch has ended, for this reason: the follower lists again.
    Canceled(String),
}

/// What the answer to a [`request::count`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The store has as many keys as we know.
    Agrees,
    /// It has not; changes may be on their way.
    Differs,
    /// It is another life of the store: the follower lists again.
    OtherLife,
}

/// An answer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct FollowError {
    /// Of what kind.
    pub kind: TroubleKind,
    /// For people.
    pub text: String,
}

#[derive(Debug, Default)]
struct Listing {
    /// The header of the first page.
    pinned: Option<Header>,
    /// Where the next page starts.
    next: Vec<u8>,
    pages: u32,
    keys: Keys,
    /// Endpoints so far.
    usable: usize,
    /// Why the first entry that cannot be read cannot.
    bad: Option<String>,
}

/// Changes since the position that was last told.
#[derive(Debug, Default)]
struct Gathered {
    from: Option<Header>,
    upserts: BTreeMap<EndpointId, Endpoint>,
    removals: BTreeMap<EndpointId, Cause>,
    rejects: Vec<Event>,
}

impl Follower {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(config: FollowerConfig) -> Self {
        Self {
            config,
            life: 0,
            held: None,
            listing: Some(Listing::default()),
            keys: BTreeMap::new(),
            gathered: Gathered::default(),
        }
    }

    /// What to ask next.
    #[must_use]
    pub fn ask(&self) -> Ask {
        let FollowerConfig { prefix, page_size, .. } = &self.config;
        match (&self.listing, self.held) {
            (None, Some(held)) => Ask::Watch(request::watch(prefix, held.revision.saturating_add(1))),
            (listing, _) => {
                let next = listing.as_ref().map_or(&[][..], |listing| &listing.next);
                let from = if next.is_empty() { prefix.as_bytes() } else { next };
                let pinned = listing.as_ref().and_then(|listing| listing.pinned);
                Ask::List(request::list(prefix, from, *page_size, pinned.map(|header| header.revision)))
            }
        }
    }

    /// Lists again from the start: after any trouble, and when the mirror needs a full set.
    pub fn relist(&mut self) {
        self.listing = Some(Listing::default());
        self.gathered = Gathered::default();
    }

    /// A page of the list.
    ///
    /// # Errors
    ///
    /// [`FollowError`]: the page cannot be used, and the list starts again. [`take_events`](Self::take_events) has the
    /// rejects.
    pub fn listed(&mut self, answer: &[u8]) -> Result<Vec<Event>, FollowError> {
        let listing = self.listing.take().unwrap_or_default();
        let mut rejects = Vec::new();
        let listed = self.page(listing, answer, &mut rejects);
        if listed.is_err() {
            self.relist();
            self.reject(rejects);
            return listed;
        }
        rejects.truncate(MAX_REJECTS);
        listed.map(|events| [rejects, events].concat())
    }

    /// A line of the watch.
    ///
    /// # Errors
    ///
    /// [`FollowError`]: the watch cannot be used any more, and the follower lists again.
    pub fn watched(&mut self, line: &[u8]) -> Result<Seen, FollowError> {
        let seen = self.line(line);
        if matches!(seen, Err(_) | Ok(Seen::Compacted | Seen::Canceled(_))) {
            let gathered = std::mem::take(&mut self.gathered);
            self.relist();
            // What was seen before the end is true all the same, but the list will tell it too.
            self.gathered.rejects = gathered.rejects;
        }
        seen
    }

    /// The answer to a [`request::count`] while watching.
    ///
    /// # Errors
    ///
    /// [`FollowError`]: it cannot be read.
    pub fn probed(&mut self, answer: &[u8]) -> Result<Probe, FollowError> {
        let range: Range = parse(answer)?;
        let Some(held) = self.held else { return Ok(Probe::Differs) };
        if range.header.cluster_id != held.cluster_id || range.header.revision < held.revision {
            self.relist();
            return Ok(Probe::OtherLife);
        }
        let known = u64::try_from(self.keys.len()).unwrap_or(u64::MAX);
        Ok(if range.count == known { Probe::Agrees } else { Probe::Differs })
    }

    /// What the watch has told since the last call: rejects, then one delta.
    pub fn take_events(&mut self) -> Vec<Event> {
        let Gathered { from, upserts, removals, rejects } = std::mem::take(&mut self.gathered);
        let mut events = rejects;
        let (Some(from), Some(held)) = (from, self.held) else { return events };
        let (from, to) = (self.revision(from), self.revision(held));
        let (Some(from), Some(to)) = (from, to) else { return events };
        if upserts.is_empty() && removals.is_empty() {
            events.push(Event::fresh_at(to));
            return events;
        }
        let removals = removals.into_iter().map(|(id, cause)| Removal { id, cause }).collect();
        events.push(Event::Delta { from, to, upserts: upserts.into_values().collect(), removals });
        events
    }

    /// How many keys the prefix has, readable or not, as far as is known.
    #[must_use]
    pub fn known(&self) -> usize {
        self.keys.len()
    }

    fn page(
        &mut self,
        mut listing: Listing,
        answer: &[u8],
        rejects: &mut Vec<Event>,
    ) -> Result<Vec<Event>, FollowError> {
        let range: Range = parse(answer)?;
        if range.header.cluster_id == 0 || range.header.revision == 0 {
            return Err(malformed("answer has no cluster id or revision"));
        }
        let pinned = *listing.pinned.get_or_insert(range.header);
        if range.header.cluster_id != pinned.cluster_id {
            return Err(malformed("pages of different clusters"));
        }
        let (mut endpoints, mut events) = (Vec::new(), Vec::new());
        for kv in &range.kvs {
            let read = match self.read(kv, rejects) {
                Ok(endpoint) => Some(endpoint),
                Err(why) => {
                    listing.bad.get_or_insert(why);
                    self.keys.get(&kv.key).cloned().flatten()
                }
            };
            listing.usable += usize::from(read.is_some());
            endpoints.extend(read.clone());
            listing.keys.insert(kv.key.clone(), read);
        }
        if listing.keys.len() > self.config.max_entries {
            let text = format!("prefix has more than {} entries (max_entries)", self.config.max_entries);
            return Err(FollowError { kind: TroubleKind::TooLarge, text });
        }
        listing.pages = listing.pages.saturating_add(1);
        if range.more {
            let last = range.kvs.last().map(|kv| kv.key.as_slice()).unwrap_or_default();
            if last < listing.next.as_slice() || last.is_empty() {
                return Err(malformed("more is promised, and the page leads nowhere"));
            }
            listing.next = [last, &[0]].concat();
            if listing.pages == 1 {
                events.push(Event::Begin);
            }
            events.push(Event::Stage { endpoints });
            self.listing = Some(listing);
            return Ok(events);
        }
        if let Some(why) = listing.bad.as_ref().filter(|_| listing.usable == 0) {
            return Err(malformed(format!("none of {} entries can be read: {why}", listing.keys.len())));
        }
        if self
            .held
            .is_some_and(|held| pinned.cluster_id != held.cluster_id || pinned.revision < held.revision)
        {
            self.life = self.life.saturating_add(1);
        }
        self.held = Some(pinned);
        self.keys = listing.keys;
        self.gathered = Gathered::default();
        let revision = self.revision(pinned);
        let coverage = Coverage::Complete;
        if listing.pages == 1 {
            events.push(Event::Full { revision, endpoints, coverage });
        } else {
            events.push(Event::Stage { endpoints });
            events.push(Event::Commit { revision, coverage });
        }
        Ok(events)
    }

    fn line(&mut self, line: &[u8]) -> Result<Seen, FollowError> {
        let line: Line<Watched> = parse(line)?;
        if let Some(error) = line.error {
            let text = error.get("message").and_then(|text| text.as_str()).unwrap_or("no reason given");
            return Ok(Seen::Canceled(text.chars().take(200).collect()));
        }
        let Some(watched) = line.result else { return Err(malformed("line has neither result nor error")) };
        let Some(held) = self.held.filter(|_| self.listing.is_none()) else {
            return Err(malformed("line of a watch that was not asked for"));
        };
        if watched.canceled {
            return Ok(match watched.compact_revision {
                0 => Seen::Canceled(watched.cancel_reason.chars().take(200).collect()),
                _ => Seen::Compacted,
            });
        }
        if watched.header.cluster_id != held.cluster_id {
            return Err(gap("watch of another cluster"));
        }
        if watched.created {
            if watched.header.revision < held.revision {
                return Err(gap("revision of the store has fallen"));
            }
            return Ok(Seen::Created);
        }
        if watched.events.is_empty() {
            return Ok(Seen::Progress);
        }
        for event in &watched.events {
            self.event(event);
        }
        let highest = watched.events.iter().map(|event| event.kv.mod_revision).max().unwrap_or(0);
        if highest > held.revision {
            self.gathered.from.get_or_insert(held);
            self.held = Some(Header { revision: highest, ..held });
        }
        if self.keys.len() > self.config.max_entries {
            let text = format!("prefix has more than {} entries (max_entries)", self.config.max_entries);
            return Err(FollowError { kind: TroubleKind::TooLarge, text });
        }
        Ok(Seen::Changes)
    }

    fn event(&mut self, event: &WatchEvent) {
        if self.held.is_some_and(|held| event.kv.mod_revision <= held.revision) {
            return;
        }
        if event.kind == "DELETE" {
            if let Some(Some(gone)) = self.keys.remove(&event.kv.key) {
                self.gathered.upserts.remove(gone.id());
                self.gathered.removals.insert(gone.id().clone(), cause(event));
            }
            return;
        }
        let mut rejects = Vec::new();
        let read = self.read(&event.kv, &mut rejects);
        self.reject(rejects);
        match read {
            Ok(endpoint) => {
                self.gathered.removals.remove(endpoint.id());
                self.gathered.upserts.insert(endpoint.id().clone(), endpoint.clone());
                self.keys.insert(event.kv.key.clone(), Some(endpoint));
            }
            // What it said last stays.
            Err(_) => _ = self.keys.entry(event.kv.key.clone()).or_default(),
        }
    }

    /// The endpoint, or what is wrong, which is among the rejects then.
    fn read(&self, kv: &KeyValue, rejects: &mut Vec<Event>) -> Result<Endpoint, String> {
        let mut reject = |why: &str| {
            let named = String::from_utf8_lossy(&kv.key[..kv.key.len().min(256)]);
            rejects.push(Event::reject(Some(&named), format!("etcd: {why}")));
        };
        let read = self.id(&kv.key).and_then(|id| entry::read(&id, &kv.value));
        if let Some(why) = read.as_ref().map_or_else(Some, |reading| reading.left_out.as_ref()) {
            reject(why);
        }
        read.map(|reading| reading.endpoint)
    }

    fn id(&self, key: &[u8]) -> Result<EndpointId, String> {
        let key = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(self.config.prefix.as_str()));
        let key = key.ok_or("key is no UTF-8, or outside the prefix")?;
        EndpointId::new(key).map_err(|error| format!("key: {error}"))
    }

    fn reject(&mut self, rejects: Vec<Event>) {
        // The mirror keeps the last 32; a store full of nonsense must not cost memory here either.
        let room = MAX_REJECTS.saturating_sub(self.gathered.rejects.len());
        self.gathered.rejects.extend(rejects.into_iter().take(room));
    }

    fn revision(&self, at: Header) -> Option<Revision> {
        let incarnation = format!("{:x}.{}", at.cluster_id, self.life);
        Revision::new(incarnation, at.revision).ok()
    }
}

/// A deleted key that hung on no lease was deleted by somebody; one under a lease may have expired.
fn cause(event: &WatchEvent) -> Cause {
    match (event.kind.as_str(), &event.prev_kv) {
        ("DELETE", Some(before)) if before.lease == 0 => Cause::Deregistered,
        _ => Cause::Unknown,
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FollowError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(format!("answer cannot be read: {error}")))
}

fn malformed(text: impl Into<String>) -> FollowError {
    FollowError { kind: TroubleKind::Malformed, text: text.into() }
}

fn gap(text: &str) -> FollowError {
    FollowError { kind: TroubleKind::Gap, text: text.to_owned() }
}

const MAX_REJECTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode;

    fn follower() -> Follower {
        Follower::new(FollowerConfig { prefix: "s/".to_owned(), page_size: 2, max_entries: 10 })
    }

    fn kv(key: &str, value: &str, revision: u64, lease: u64) -> String {
        format!(
            r#"{{"key":"{}","value":"{}","mod_revision":"{revision}","lease":"{lease}"}}"#,
            encode(key.as_bytes()),
            encode(value.as_bytes())
        )
    }

    fn page(cluster: u64, revision: u64, kvs: &[String], more: bool) -> Vec<u8> {
        format!(
            r#"{{"header":{{"cluster_id":"{cluster}","revision":"{revision}"}},"kvs":[{}],"more":{more},"count":"{}"}}"#,
            kvs.join(","),
            kvs.len()
        )
        .into_bytes()
    }

    fn line(cluster: u64, revision: u64, rest: &str) -> Vec<u8> {
        format!(r#"{{"result":{{"header":{{"cluster_id":"{cluster}","revision":"{revision}"}}{rest}}}}}"#)
            .into_bytes()
    }

    fn put(key: &str, value: &str, revision: u64) -> String {
        format!(r#"{{"kv":{}}}"#, kv(key, value, revision, 0))
    }

    fn delete(key: &str, revision: u64, lease: u64) -> String {
        format!(
            r#"{{"type":"DELETE","kv":{},"prev_kv":{}}}"#,
            kv(key, "", revision, 0),
            kv(key, "x", revision - 1, lease)
        )
    }

    fn changes(cluster: u64, events: &[String]) -> Vec<u8> {
        line(cluster, 999, &format!(r#","events":[{}]"#, events.join(",")))
    }

    fn watching() -> Follower {
        let mut follower = follower();
        follower.listed(&page(7, 10, &[kv("s/a", "10.0.0.1:80", 4, 0)], false)).unwrap();
        follower.watched(&line(7, 10, r#","created":true"#)).unwrap();
        follower
    }

    #[test]
    fn pages_are_pinned_and_staged() {
        let mut follower = follower();
        let first = [kv("s/a", "10.0.0.1:80", 4, 0), kv("s/b", "nonsense", 5, 0)];
        let events = follower.listed(&page(7, 10, &first, true)).unwrap();
        assert!(
            matches!(&events[..], [Event::Reject { .. }, Event::Begin, Event::Stage { endpoints }] if endpoints.len() == 1)
        );
        let Ask::List(call) = follower.ask() else { panic!("a second page") };
        assert!(
            call.body.contains(r#""revision":"10""#) && call.body.contains(&encode(b"s/b\0")),
            "{call:?}"
        );
        let events = follower.listed(&page(7, 12, &[kv("s/c", "10.0.0.3:80", 6, 0)], false)).unwrap();
        let revision = Some(Revision::new("7.0", 10).unwrap());
        assert_eq!(events[1], Event::Commit { revision, coverage: Coverage::Complete });
        assert_eq!(follower.known(), 3);
        assert_eq!(follower.ask(), Ask::Watch(request::watch("s/", 11)));
    }

    #[test]
    fn changes_are_gathered_into_one_delta() {
        let mut follower = watching();
        follower
            .watched(&changes(7, &[put("s/b", "10.0.0.2:80", 12), put("s/c", "10.0.0.3:80", 13)]))
            .unwrap();
        follower.watched(&changes(7, &[delete("s/b", 14, 0), delete("s/a", 15, 9)])).unwrap();
        let events = follower.take_events();
        let [Event::Delta { from, to, upserts, removals }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((from.token(), to.token()), ("10", "15"));
        assert_eq!(upserts.len(), 1);
        let causes: Vec<_> = removals.iter().map(|gone| (gone.id.as_str(), gone.cause)).collect();
        assert_eq!(causes, [("a", Cause::Unknown), ("b", Cause::Deregistered)]);
        assert!(follower.take_events().is_empty());
    }

    #[test]
    fn a_key_that_came_back_was_never_gone() {
        let mut follower = watching();
        follower.watched(&changes(7, &[delete("s/a", 11, 0), put("s/a", "10.0.0.2:80", 12)])).unwrap();
        let events = follower.take_events();
        assert!(
            matches!(&events[..], [Event::Delta { upserts, removals, .. }] if upserts.len() == 1 && removals.is_empty())
        );
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let mut follower = watching();
        follower.watched(&changes(7, &[put("s/a", "10.0.0.9:80", 10)])).unwrap();
        assert!(follower.take_events().is_empty());
    }

    #[test]
    fn an_entry_that_turns_bad_is_named_and_keeps_its_last_good_description() {
        let mut follower = watching();
        follower.watched(&changes(7, &[put("s/a", "nonsense", 11)])).unwrap();
        assert!(matches!(&follower.take_events()[..], [Event::Reject { .. }, Event::Fresh { .. }]));
        follower.relist();
        let events = follower.listed(&page(7, 11, &[kv("s/a", "nonsense", 11, 0)], false)).unwrap();
        assert!(
            matches!(&events[..], [Event::Reject { .. }, Event::Full { endpoints, .. }]
                if endpoints[0].address().to_string() == "10.0.0.1:80"),
            "{events:?}"
        );
        follower.watched(&changes(7, &[delete("s/a", 12, 0)])).unwrap();
        assert!(
            matches!(&follower.take_events()[..], [Event::Delta { removals, .. }] if removals[0].id.as_str() == "a")
        );
    }

    #[test]
    fn a_list_of_which_nothing_can_be_read_is_no_empty_set() {
        let mut follower = follower();
        let bad = [kv("s/a", "nonsense", 4, 0), kv("s/b", "{", 5, 0)];
        let error = follower.listed(&page(7, 10, &bad, false)).unwrap_err();
        assert_eq!(error.kind, TroubleKind::Malformed);
        assert!(error.text.starts_with("none of 2 entries can be read"), "{error}");
        assert!(matches!(&follower.take_events()[..], [Event::Reject { .. }, Event::Reject { .. }]));
        assert!(matches!(follower.ask(), Ask::List(_)));
        follower.listed(&page(7, 10, &bad[..1], true)).unwrap();
        assert!(follower.listed(&page(7, 10, &bad[1..], false)).is_err(), "over pages too");
        assert!(follower.listed(&page(7, 10, &[], false)).is_ok(), "nobody is nobody");
    }

    #[test]
    fn keys_that_are_no_ids_are_counted() {
        let mut follower = watching();
        let strange = |revision: u64| {
            let (key, value) = (encode(b"s/\xff\xfe"), encode(b"10.0.0.2:80"));
            format!(r#"{{"key":"{key}","value":"{value}","mod_revision":"{revision}"}}"#)
        };
        let count = |n: u32| {
            format!(r#"{{"header":{{"cluster_id":"7","revision":"30"}},"count":"{n}"}}"#).into_bytes()
        };
        let change = format!(r#"{{"kv":{}}}"#, strange(11));
        follower.watched(&changes(7, &[change])).unwrap();
        assert!(matches!(&follower.take_events()[..], [Event::Reject { .. }, Event::Fresh { .. }]));
        assert_eq!(follower.probed(&count(2)), Ok(Probe::Agrees));
        follower.relist();
        follower.listed(&page(7, 11, &[kv("s/a", "10.0.0.1:80", 4, 0), strange(11)], false)).unwrap();
        assert_eq!(follower.probed(&count(2)), Ok(Probe::Agrees));
        let gone = format!(r#"{{"type":"DELETE","kv":{}}}"#, strange(12));
        follower.watched(&changes(7, &[gone])).unwrap();
        assert_eq!(follower.probed(&count(1)), Ok(Probe::Agrees));
    }

    #[test]
    fn every_end_of_a_watch_lists_again() {
        type Wanted = fn(&Result<Seen, FollowError>) -> bool;
        let ends: [(Vec<u8>, Wanted); 6] = [
            (line(7, 0, r#","canceled":true,"compact_revision":"9""#), |s| *s == Ok(Seen::Compacted)),
            (line(7, 0, r#","canceled":true"#), |s| matches!(s, Ok(Seen::Canceled(_)))),
            (br#"{"error":{"message":"no leader"}}"#.to_vec(), |s| {
                *s == Ok(Seen::Canceled("no leader".to_owned()))
            }),
            (line(8, 11, ""), |s| matches!(s, Err(e) if e.kind == TroubleKind::Gap)),
            (line(7, 9, r#","created":true"#), |s| matches!(s, Err(e) if e.kind == TroubleKind::Gap)),
            (b"garbage".to_vec(), |s| matches!(s, Err(e) if e.kind == TroubleKind::Malformed)),
        ];
        for (line, wanted) in ends {
            let mut follower = watching();
            let seen = follower.watched(&line);
            assert!(wanted(&seen), "{seen:?}");
            assert!(matches!(follower.ask(), Ask::List(_)));
        }
    }

    #[test]
    fn another_life_of_the_store_is_another_incarnation() {
        let mut follower = watching();
        let incarnation = |events: &[Event]| match events.last() {
            Some(Event::Full { revision: Some(revision), .. }) => revision.incarnation().to_owned(),
            other => panic!("{other:?}"),
        };
        follower.relist();
        assert_eq!(incarnation(&follower.listed(&page(7, 10, &[], false)).unwrap()), "7.0");
        assert_eq!(follower.probed(&page(7, 9, &[], false)), Ok(Probe::OtherLife));
        assert_eq!(incarnation(&follower.listed(&page(7, 9, &[], false)).unwrap()), "7.1");
        follower.relist();
        assert_eq!(incarnation(&follower.listed(&page(8, 20, &[], false)).unwrap()), "8.2");
    }

    #[test]
    fn probes_compare_the_number_of_keys() {
        let mut follower = watching();
        let count = |n: u32| {
            format!(r#"{{"header":{{"cluster_id":"7","revision":"30"}},"count":"{n}"}}"#).into_bytes()
        };
        assert_eq!(follower.probed(&count(1)), Ok(Probe::Agrees));
        assert_eq!(follower.probed(&count(2)), Ok(Probe::Differs));
        assert!(follower.probed(b"{").is_err());
    }

    #[test]
    fn lists_are_bounded_and_lead_on() {
        let mut follower = follower();
        let many: Vec<_> = (0..11).map(|i| kv(&format!("s/{i}"), "a:1", 1, 0)).collect();
        assert_eq!(follower.listed(&page(7, 10, &many, true)).unwrap_err().kind, TroubleKind::TooLarge);
        assert!(follower.listed(&page(7, 10, &[], true)).is_err(), "more after nothing");
        let one = [kv("s/a", "a:1", 1, 0)];
        follower.listed(&page(7, 10, &one, true)).unwrap();
        assert!(follower.listed(&page(7, 10, &one, true)).is_err(), "the same page again");
        assert!(follower.listed(b"{}").is_err(), "no revision");
    }
}
