//! What is said to the server about one type of resources.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use evenkeel_registry::Backoff;
use evenkeel_types::{SplitMix64, Timestamp};
use prost::Message;

use super::resource::Resource;
use super::{Follow, Scope, XdsClient};
use crate::Variant;
use crate::proto::{self, DeltaDiscoveryRequest, DiscoveryRequest, Status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cds,
    Eds,
}

impl Kind {
    pub(super) const fn url(self) -> &'static str {
        match self {
            Self::Cds => proto::CDS,
            Self::Eds => proto::EDS,
        }
    }
}

#[derive(Debug)]
pub(super) struct Talk {
    /// The last that was taken, over all streams.
    pub(super) version: String,
    /// The last of this stream.
    pub(super) nonce: String,
    /// Whether this stream has a subscription.
    subscribed: bool,
    /// The names wanted may differ from those said.
    pub(super) dirty: bool,
    /// The names said on this stream.
    said: BTreeSet<String>,
    /// Oldest first.
    replies: VecDeque<Reply>,
    /// Refusals in a row.
    nacks: u32,
    hold: Option<Timestamp>,
}

#[derive(Debug)]
struct Reply {
    nonce: String,
    error: Option<String>,
}

impl Talk {
    pub(super) const fn new() -> Self {
        Self {
            version: String::new(),
            nonce: String::new(),
            subscribed: false,
            dirty: true,
            said: BTreeSet::new(),
            replies: VecDeque::new(),
            nacks: 0,
            hold: None,
        }
    }

    pub(super) fn restart(&mut self) {
        self.nonce.clear();
        self.subscribed = false;
        self.dirty = true;
        self.said.clear();
        self.replies.clear();
        self.hold = None;
    }

    /// A response was taken, or refused for this reason.
    pub(super) fn reply(
        &mut self,
        now: Timestamp,
        nonce: &str,
        error: Option<String>,
        variant: Variant,
        backoff: &Backoff,
        draws: &mut SplitMix64,
    ) {
        match &error {
            None => (self.nacks, self.hold) = (0, None),
            Some(_) => {
                self.nacks = self.nacks.saturating_add(1);
                let wait = (self.nacks > 1).then(|| backoff.delay(self.nacks - 1, draws));
                self.hold = self.hold.or(wait.map(|wait| now.saturating_add(wait)));
            }
        }
        nonce.clone_into(&mut self.nonce);
        if variant == Variant::StateOfTheWorld {
            // Only the last counts there.
            self.replies.clear();
        }
        while self.replies.len() >= MAX_REPLIES {
            self.replies.pop_front();
        }
        self.replies.push_back(Reply { nonce: nonce.to_owned(), error });
    }

    pub(super) fn held_until(&self) -> Option<Timestamp> {
        if self.replies.is_empty() { None } else { self.hold }
    }

    fn next_reply(&mut self, now: Timestamp) -> Option<Reply> {
        if self.hold.is_some_and(|until| now < until) {
            return None;
        }
        self.hold = None;
        self.replies.pop_front()
    }
}

impl XdsClient {
    /// The next request to send, encoded: clusters before endpoints. `None` if there is none now, or no stream.
    pub fn next_request(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        self.advance(now);
        self.stream.as_ref()?;
        self.request(Kind::Cds).or_else(|| self.request(Kind::Eds))
    }

    fn request(&mut self, kind: Kind) -> Option<Vec<u8>> {
        let now = self.now;
        let wildcard = kind == Kind::Cds && self.scope == Scope::All;
        let dirty = self.talk_mut(kind).dirty;
        if dirty {
            self.forget(kind);
        }
        let wanted = if dirty { self.wanted(kind, wildcard) } else { BTreeSet::new() };
        if dirty && wildcard {
            // Not asked for by name, and waited for all the same.
            let names = self.wanted(kind, false);
            self.ask(kind, &names);
        }
        let talk = self.talk_mut(kind);
        let first = !talk.subscribed;
        if first && wanted.is_empty() && !wildcard {
            return None;
        }
        let changed = dirty && talk.said != wanted;
        talk.dirty = false;
        if changed && self.variant == Variant::StateOfTheWorld {
            // A request with other names answers the last response whether it is meant to or not.
            self.talk_mut(kind).hold = None;
        }
        let reply = self.talk_mut(kind).next_reply(now);
        if !first && !changed && reply.is_none() {
            return None;
        }
        match reply.as_ref().map(|reply| &reply.error) {
            Some(None) => self.counts.acks += 1,
            Some(Some(error)) => {
                self.counts.nacks += 1;
                self.counts.last_nack = Some(error.clone());
            }
            None => {}
        }
        let introduced = self.stream.as_mut().map(|stream| std::mem::replace(&mut stream.introduced, true));
        let node = (introduced == Some(false)).then(|| self.node.clone());
        let names = changed.then_some(wanted);
        let request = match self.variant {
            Variant::StateOfTheWorld => self.sotw(kind, first, node, names, reply).encode_to_vec(),
            Variant::Delta => self.delta(kind, first, node, names, reply).encode_to_vec(),
        };
        self.talk_mut(kind).subscribed = true;
        Some(request)
    }

    fn sotw(
        &mut self,
        kind: Kind,
        first: bool,
        node: Option<proto::Node>,
        names: Option<BTreeSet<String>>,
        reply: Option<Reply>,
    ) -> DiscoveryRequest {
        if let Some(names) = names {
            self.ask(kind, &names);
            self.talk_mut(kind).said = names;
        }
        // A server may take the version for a reason to be silent about all names, also those that it never told of, or
        // whose last word was bad.
        let all_known = match kind {
            Kind::Cds => self.follows.iter().all(|follow| match follow {
                Follow::Cluster(name) => self.clusters.get(name).is_some_and(Resource::is_well),
                Follow::Endpoints(_) => true,
            }),
            Kind::Eds => self.assignments.values().all(|watched| watched.resource.is_well()),
        };
        let talk = self.talk_mut(kind);
        DiscoveryRequest {
            version_info: if first && !all_known { String::new() } else { talk.version.clone() },
            node,
            resource_names: talk.said.iter().cloned().collect(),
            type_url: kind.url().to_owned(),
            response_nonce: talk.nonce.clone(),
            error_detail: reply.and_then(|reply| reply.error).map(refusal),
        }
    }

    fn delta(
        &mut self,
        kind: Kind,
        first: bool,
        node: Option<proto::Node>,
        names: Option<BTreeSet<String>>,
        reply: Option<Reply>,
    ) -> DeltaDiscoveryRequest {
        let mut request =
            DeltaDiscoveryRequest { node, type_url: kind.url().to_owned(), ..Default::default() };
        if first {
            request.initial_resource_versions = self.versions(kind);
        }
        if let Some(names) = names {
            let said = std::mem::take(&mut self.talk_mut(kind).said);
            let new: BTreeSet<_> = names.difference(&said).cloned().collect();
            request.resource_names_unsubscribe = said.difference(&names).cloned().collect();
            self.ask(kind, &new);
            request.resource_names_subscribe = new.into_iter().collect();
            self.talk_mut(kind).said = names;
        }
        if let Some(reply) = reply {
            request.response_nonce = reply.nonce;
            request.error_detail = reply.error.map(refusal);
        }
        request
    }

    /// The versions of what is held, and well: what is in trouble is to be sent again.
    fn versions(&self, kind: Kind) -> BTreeMap<String, String> {
        let pair = |name: &String, version: &String| (name.clone(), version.clone());
        match kind {
            Kind::Cds => {
                let held = self.clusters.iter().filter(|(_, cluster)| cluster.is_well());
                held.map(|(name, cluster)| pair(name, &cluster.version)).collect()
            }
            Kind::Eds => {
                let held = self.assignments.iter().filter(|(_, watched)| watched.resource.is_well());
                held.map(|(name, watched)| pair(name, &watched.resource.version)).collect()
            }
        }
    }

    fn wanted(&self, kind: Kind, wildcard: bool) -> BTreeSet<String> {
        match kind {
            Kind::Cds if wildcard => BTreeSet::new(),
            Kind::Cds => {
                let names = self.follows.iter().filter_map(|follow| match follow {
                    Follow::Cluster(name) => Some(name.clone()),
                    Follow::Endpoints(_) => None,
                });
                names.collect()
            }
            Kind::Eds => self.assignments.keys().cloned().collect(),
        }
    }

    /// From now on, an answer about these is waited for.
    fn ask(&mut self, kind: Kind, names: &BTreeSet<String>) {
        let now = self.now;
        for name in names {
            match kind {
                Kind::Cds => _ = self.clusters.get_mut(name).map(|cluster| cluster.ask(now)),
                Kind::Eds => _ = self.assignments.get_mut(name).map(|watched| watched.resource.ask(now)),
            }
        }
    }

    /// Whether an answer about this type can be one: there is a subscription on this stream, or will be one.
    pub(super) fn has_asked(&self, kind: Kind) -> bool {
        match kind {
            Kind::Cds => {
                let by_name = || self.follows.iter().any(|follow| matches!(follow, Follow::Cluster(_)));
                self.cds.subscribed || self.scope == Scope::All || by_name()
            }
            Kind::Eds => self.eds.subscribed || !self.assignments.is_empty(),
        }
    }

    pub(super) const fn talk_mut(&mut self, kind: Kind) -> &mut Talk {
        match kind {
            Kind::Cds => &mut self.cds,
            Kind::Eds => &mut self.eds,
        }
    }
}

fn refusal(message: String) -> Status {
    Status { code: INVALID_ARGUMENT, message }
}

/// Of `google.rpc.Code`.
const INVALID_ARGUMENT: i32 = 3;

/// A server that does not wait for replies gets the last of them.
const MAX_REPLIES: usize = 128;
