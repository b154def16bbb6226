mod receive;
mod resource;
mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_registry::{Backoff, Event, Proof, TroubleKind};
use evenkeel_types::{SplitMix64, Timestamp};
use thiserror::Error;

use crate::{Assignment, Cluster, Deletions, Members, OnTimeout, Variant, XdsConfig, proto};
use resource::{Resource, Watched, Word};
use talk::{Kind, Talk};

/// The client of one aggregated discovery stream (ADS), without IO, clock or thread: told what comes, it says what to
/// send, and makes [`Event`]s.
///
/// | told | done |
/// |---|---|
/// | [`follow`](Self::follow), [`unfollow`](Self::unfollow) | subscriptions change with the next request; what is known already is told at once |
/// | [`opened`](Self::opened) | everything is subscribed anew, with the last versions: of the type (state of the world), of each resource (delta); but for what is in trouble, which is to be sent again |
/// | [`received`](Self::received): all resources are valid | `Full` for each assignment, then ACK: the new version and the nonce |
/// | … some are invalid | `Trouble` for these, whose last good set stays; the others are used (gRFC A46); then NACK: the **old** version, the nonce and the error. After the first, NACKs wait longer and longer, so that a server that sends the same again at once does not spin |
/// | … a state of the world without some cluster | deletion of the cluster, if it was ever there; else the answer may be older than the question |
/// | … a state of the world without some assignment | nothing: absence there means nothing |
/// | … a delta that removes a resource | deletion |
/// | … an assignment without endpoints | an empty `Full`, which the mirror's guard holds |
/// | … an error for one resource (`resource_errors`, xRFC TP3) | `NOT_FOUND`: deletion; others: `Trouble` |
/// | deletion | `Absent`, or, by [`Deletions::Ignore`], `Trouble` |
/// | [`tick`](Self::tick): a resource was not told of for [`XdsConfig::resource_timeout`] since it was asked for | `Trouble` or `Absent`, by [`OnTimeout`] |
/// | … `endpoint_stale_after` has passed | all endpoints of the assignment are announced as Down, and `Trouble` |
/// | [`ended`](Self::ended) by the server, after an answer | nothing, and the stream is opened again at once (gRFC A57); slower and with `Trouble` if that happens again and again |
/// | … before an answer, or broken | `Trouble` for all; it says when to open again: later and later, also if there is an answer each time |
/// | [`alive`](Self::alive) | `Fresh` for all whose last word was good |
///
/// Between [`opened`](Self::opened) and [`ended`](Self::ended), send whatever [`next_request`](Self::next_request) gives,
/// and call [`tick`](Self::tick) at [`next_deadline`](Self::next_deadline). After each call, events wait in
/// [`take_events`](Self::take_events).
///
/// Time may go backwards; it counts as standing still then. One call costs time linear in what it brings and in the
/// number of resources followed; an assignment is copied once for each that follows it.
///
/// Sources: <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>; gRFCs
/// [A46](https://github.com/grpc/proposal/blob/master/A46-xds-nack-semantics-improvement.md),
/// [A53](https://github.com/grpc/proposal/blob/master/A53-xds-ignore-resource-deletion.md),
/// [A57](https://github.com/grpc/proposal/blob/master/A57-xds-client-failure-mode-behavior.md) and
/// [A88](https://github.com/grpc/proposal/blob/master/A88-xds-data-error-handling.md).
#[derive(Debug)]
pub struct XdsClient {
    variant: Variant,
    node: proto::Node,
    scope: Scope,
    resource_timeout: Option<Duration>,
    on_timeout: OnTimeout,
    deletions: Deletions,
    max_clusters: usize,
    backoff: Backoff,
    draws: SplitMix64,
    now: Timestamp,
    follows: BTreeSet<Follow>,
    clusters: BTreeMap<String, Resource<Cluster>>,
    assignments: BTreeMap<String, Watched>,
    cds: Talk,
    eds: Talk,
    stream: Option<Stream>,
    /// Streams in a row without an answer.
    failures: u32,
    /// Streams in a row that the server ended soon after an answer.
    brief: u32,
    /// Streams in a row that broke soon after an answer.
    broken: u32,
    events: Vec<(Follow, Event)>,
    listed: Vec<String>,
    counts: Counts,
}

/// What to follow on the stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Follow {
    /// An EDS resource, by its name.
    Endpoints(String),
    /// A CDS cluster, by its name: the endpoints of whatever EDS resource it names at the time, or those in it.
    Cluster(String),
}

/// Which clusters to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that are followed; none are asked for if none is.
    #[default]
    Followed,
    /// All that the control plane has for this node (the wildcard subscription).
    All,
}

/// What has happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Streams opened.
    pub streams: u64,
    /// Answers received.
    pub responses: u64,
    /// Answers that were taken, as the server was told.
    pub acks: u64,
    /// Answers that were refused, as the server was told.
    pub nacks: u64,
    /// What was wrong with the last one refused.
    pub last_nack: Option<String>,
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server ended it, or the connection was closed: no error if it had answered (gRFC A57).
    Closed,
    /// It could not be opened, was silent for too long, or cannot be read: an error in any case.
    Broken,
}

/// A response that is no message of xDS: the stream is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("response cannot be read: {0}")]
pub struct Unreadable(String);

#[derive(Debug)]
struct Stream {
    opened: Timestamp,
    answered: bool,
    /// The node is said once.
    introduced: bool,
}

impl XdsClient {
    /// A client that follows nothing yet. Of the settings, `connection` is not looked at.
    #[must_use]
    pub fn new(config: &XdsConfig, scope: Scope) -> Self {
        Self {
            variant: config.variant,
            node: config.node.message(),
            scope,
            resource_timeout: config.resource_timeout,
            on_timeout: config.on_timeout,
            deletions: config.deletions,
            max_clusters: config.max_clusters,
            backoff: config.backoff,
            draws: SplitMix64::new(config.seed),
            now: Timestamp::ORIGIN,
            follows: BTreeSet::new(),
            clusters: BTreeMap::new(),
            assignments: BTreeMap::new(),
            cds: Talk::new(),
            eds: Talk::new(),
            stream: None,
            failures: 0,
            brief: 0,
            broken: 0,
            events: Vec::new(),
            listed: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Follows one more, or tells again what is known of it.
    pub fn follow(&mut self, follow: &Follow) {
        if self.follows.insert(follow.clone()) {
            match follow {
                Follow::Endpoints(name) => self.use_assignment(name, follow),
                Follow::Cluster(name) => {
                    let cluster = self.clusters.entry(name.clone()).or_insert_with(Resource::new);
                    let service = cluster.held.as_ref().and_then(service).map(str::to_owned);
                    self.cds.dirty = true;
                    if let Some(service) = service {
                        self.use_assignment(&service, follow);
                    }
                }
            }
        }
        self.tell_known(follow);
    }

    /// Follows one less. Its events that wait are dropped.
    pub fn unfollow(&mut self, follow: &Follow) {
        if !self.follows.remove(follow) {
            return;
        }
        self.events.retain(|(of, _)| of != follow);
        match follow {
            Follow::Endpoints(name) => self.leave_assignment(name, follow),
            Follow::Cluster(name) => {
                self.cds.dirty = true;
                let held = self.clusters.get(name).and_then(|cluster| cluster.held.as_ref());
                let service = held.and_then(service).map(str::to_owned);
                if let Some(service) = service {
                    self.leave_assignment(&service, follow);
                }
            }
        }
    }

    /// Whether there is a reason to have a stream.
    #[must_use]
    pub fn wants_stream(&self) -> bool {
        self.scope == Scope::All || !self.follows.is_empty()
    }

    /// A stream is open. One that was is forgotten.
    pub fn opened(&mut self, now: Timestamp) {
        self.advance(now);
        self.counts.streams += 1;
        self.stream = Some(Stream { opened: self.now, answered: false, introduced: false });
        self.cds.restart();
        self.eds.restart();
        for cluster in self.clusters.values_mut() {
            cluster.restart();
        }
        for watched in self.assignments.values_mut() {
            watched.resource.restart();
        }
    }

    /// The stream is over, or could not be opened. Says when to open the next.
    pub fn ended(&mut self, now: Timestamp, end: End, kind: TroubleKind, text: &str) -> Timestamp {
        self.advance(now);
        let stream = self.stream.take();
        let lived = stream.as_ref().map(|stream| self.now.saturating_since(stream.opened));
        let answered = stream.is_some_and(|stream| stream.answered);
        let count = |before: u32| match lived {
            Some(lived) if lived < self.backoff.max => before.saturating_add(1),
            _ => 0,
        };
        let delay = if answered && end == End::Closed {
            (self.brief, self.broken, self.failures) = (count(self.brief), 0, 0);
            match self.brief {
                0 | 1 => return self.now,
                brief => self.backoff.delay(brief - 1, &mut self.draws),
            }
        } else {
            // One that breaks after each answer is no better than one that gives none.
            self.broken = if answered { count(self.broken) } else { self.broken };
            self.failures = self.failures.saturating_add(1);
            self.backoff.delay(self.failures.max(self.broken), &mut self.draws)
        };
        let retry_at = self.now.saturating_add(delay);
        let trouble = Event::Trouble { kind, text: text.to_owned(), retry_at: Some(retry_at) };
        self.events.extend(self.follows.iter().map(|follow| (follow.clone(), trouble.clone())));
        retry_at
    }

    /// The stream stands, and its server answered at most `behind` ago, if only on the level of the connection: nothing
    /// has changed as far as it says. It need not send again what the client has told to know already.
    pub fn alive(&mut self, now: Timestamp, behind: Duration) {
        self.advance(now);
        if self.stream.is_none() {
            return;
        }
        let fresh: Vec<_> = self.follows.iter().filter(|follow| self.is_good(follow)).cloned().collect();
        let event = Event::Fresh { revision: None, behind };
        self.events.extend(fresh.into_iter().map(|follow| (follow, event.clone())));
    }

    /// Does what waits for time.
    pub fn tick(&mut self, now: Timestamp) {
        self.advance(now);
        if let (Some(timeout), true) = (self.resource_timeout, self.stream.is_some()) {
            let late =
                |asked: Option<Timestamp>| asked.is_some_and(|at| self.now >= at.saturating_add(timeout));
            let of_clusters = self.clusters.iter().filter(|(_, cluster)| late(cluster.asked));
            let clusters: Vec<_> = of_clusters.map(|(name, _)| name.clone()).collect();
            let of_eds = self.assignments.iter().filter(|(_, watched)| late(watched.resource.asked));
            let assignments: Vec<_> = of_eds.map(|(name, _)| name.clone()).collect();
            for name in clusters {
                if let Some(cluster) = self.clusters.get_mut(&name) {
                    (cluster.asked, cluster.word) = (None, Word::Late);
                }
                self.tell_known(&Follow::Cluster(name));
            }
            for name in assignments {
                if let Some(watched) = self.assignments.get_mut(&name) {
                    (watched.resource.asked, watched.resource.word) = (None, Word::Late);
                }
                self.tell_users(&name);
            }
        }
        let due = |watched: &Watched| watched.stale_at.is_some_and(|at| self.now >= at);
        let due = self.assignments.iter().filter(|(_, watched)| due(watched));
        let stale: Vec<_> = due.map(|(name, _)| name.clone()).collect();
        for name in stale {
            if let Some(watched) = self.assignments.get_mut(&name) {
                watched.stale_at = None;
                watched.resource.held = watched.resource.held.take().map(|held| Arc::new(held.stale()));
                watched.resource.word = Word::Bad(TroubleKind::Timeout, STALE.to_owned());
            }
            self.tell_users(&name);
        }
    }

    /// When to call [`tick`](Self::tick) and [`next_request`](Self::next_request) again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let stale = self.assignments.values().filter_map(|watched| watched.stale_at);
        let mut next = stale.min();
        let mut sooner = |at: Option<Timestamp>| next = [next, at].into_iter().flatten().min();
        if self.stream.is_some() {
            let asked = self.clusters.values().filter_map(|cluster| cluster.asked);
            let asked = asked.chain(self.assignments.values().filter_map(|watched| watched.resource.asked));
            sooner(self.resource_timeout.and_then(|timeout| Some(asked.min()?.saturating_add(timeout))));
            sooner(self.cds.held_until());
            sooner(self.eds.held_until());
        }
        next
    }

    /// What there is to tell, in order.
    pub fn take_events(&mut self) -> Vec<(Follow, Event)> {
        std::mem::take(&mut self.events)
    }

    /// With [`Scope::All`]: clusters that were listed and were not before. To follow one is the caller's choice.
    pub fn take_listed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.listed)
    }

    /// The clusters that are known, by name.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.values().filter_map(|cluster| cluster.held.as_ref())
    }

    /// The assignments that are known, by name: the last good ones.
    pub fn assignments(&self) -> impl Iterator<Item = &Assignment> {
        let used = self.assignments.values().filter(|watched| !watched.users.is_empty());
        used.filter_map(|watched| watched.resource.held.as_deref())
    }

    /// What has happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    fn use_assignment(&mut self, name: &str, follow: &Follow) {
        let watched = self.assignments.entry(name.to_owned()).or_insert_with(|| {
            self.eds.dirty = true;
            Watched::new()
        });
        watched.users.insert(follow.clone());
    }

    fn leave_assignment(&mut self, name: &str, follow: &Follow) {
        let Some(watched) = self.assignments.get_mut(name) else { return };
        watched.users.remove(follow);
        if watched.users.is_empty() {
            self.eds.dirty = true;
        }
    }

    /// Forgets what nobody follows any more. Not before the server is told: what is followed again by then would never
    /// be sent again.
    fn forget(&mut self, kind: Kind) {
        match kind {
            Kind::Eds => self.assignments.retain(|_, watched| !watched.users.is_empty()),
            Kind::Cds => self.clusters.retain(|name, cluster| {
                let listed = self.scope == Scope::All && cluster.held.is_some();
                listed || self.follows.contains(&Follow::Cluster(name.clone()))
            }),
        }
    }

    fn tell(&mut self, follow: &Follow, event: Event) {
        self.events.push((follow.clone(), event));
    }

    /// Tells all who use an assignment what is known of it.
    fn tell_users(&mut self, name: &str) {
        let Some(watched) = self.assignments.get(name) else { return };
        for follow in &watched.users {
            let known = watched.known(self.on_timeout);
            self.events.extend(known.into_iter().map(|event| (follow.clone(), event)));
        }
    }

    /// Tells one what is known of what it follows.
    fn tell_known(&mut self, follow: &Follow) {
        if !self.follows.contains(follow) {
            return;
        }
        let of_assignment = |name: &str| {
            self.assignments.get(name).map_or_else(Vec::new, |watched| watched.known(self.on_timeout))
        };
        let mut events = Vec::new();
        match follow {
            Follow::Endpoints(name) => events = of_assignment(name),
            Follow::Cluster(name) => {
                let Some(cluster) = self.clusters.get(name) else { return };
                match cluster.held.as_ref().map(|held| &held.members) {
                    Some(Members::Eds(service)) => events = of_assignment(service),
                    Some(Members::Inline(inline)) => events = cluster.full(inline),
                    Some(Members::Elsewhere(_)) | None => {}
                }
                events.extend(cluster.word.event(self.on_timeout));
            }
        }
        for event in events {
            self.tell(follow, event);
        }
    }

    /// Whether the last word about it was good, so that silence means that nothing has changed.
    fn is_good(&self, follow: &Follow) -> bool {
        let assignment =
            |name: &str| self.assignments.get(name).is_some_and(|watched| watched.resource.word.is_good());
        match follow {
            Follow::Endpoints(name) => assignment(name),
            Follow::Cluster(name) => self.clusters.get(name).is_some_and(|cluster| {
                let members = cluster.held.as_ref().map(|held| &held.members);
                let inner = match members {
                    Some(Members::Eds(service)) => assignment(service),
                    _ => true,
                };
                cluster.word.is_good() && inner
            }),
        }
    }
}

/// The EDS resource of a cluster.
fn service(cluster: &Cluster) -> Option<&str> {
    match &cluster.members {
        Members::Eds(service) => Some(service),
        _ => None,
    }
}

const STALE: &str = "endpoint_stale_after has passed without another assignment";

/// For the code of a deletion.
const fn proof(known: bool) -> Proof {
    if known { Proof::Deleted } else { Proof::NotFound }
}
