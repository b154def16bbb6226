//! What the server says.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use evenkeel_registry::{Event, TroubleKind};
use evenkeel_types::Timestamp;
use prost::Message;

use super::resource::{Resource, Word};
use super::talk::Kind;
use super::{Follow, Scope, Unreadable, XdsClient, proof, service};
use crate::invalid::cut;
use crate::proto::{self, Any, DeltaDiscoveryResponse, DiscoveryResponse, ResourceError};
use crate::{Assignment, Cluster, Deletions, InvalidResource, Members, Variant, wire};

/// A response of either variant.
struct Batch {
    kind: Kind,
    nonce: String,
    /// Of the whole; empty for delta.
    version: String,
    items: Vec<Item>,
    removed: Vec<String>,
    errors: Vec<ResourceError>,
}

struct Item {
    /// That of the envelope, if there is one.
    name: Option<String>,
    version: String,
    resource: Any,
}

impl XdsClient {
    /// A response came, without the frame of gRPC around it. One for a type that was not asked for is left alone.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]: end the stream ([`End::Broken`](super::End::Broken)). A resource in it that cannot be read is no
    /// such error, and refused.
    pub fn received(&mut self, now: Timestamp, response: &[u8]) -> Result<(), Unreadable> {
        self.advance(now);
        if self.stream.is_none() {
            return Ok(());
        }
        wire::check_answer(response).map_err(Unreadable)?;
        let batch = match self.variant {
            Variant::StateOfTheWorld => sotw(response),
            Variant::Delta => delta(response),
        };
        let batch = batch.map_err(|error| Unreadable(error.to_string()))?;
        self.counts.responses += 1;
        if let Some(stream) = &mut self.stream {
            stream.answered = true;
        }
        self.failures = 0;
        let Some(batch) = batch else { return Ok(()) };
        if !self.has_asked(batch.kind) {
            return Ok(());
        }
        let (kind, nonce, version) = (batch.kind, batch.nonce.clone(), batch.version.clone());
        let faults = match kind {
            Kind::Cds => self.take_clusters(batch),
            Kind::Eds => self.take_assignments(batch),
        };
        let error = (!faults.is_empty()).then(|| explain(&faults));
        let (now, variant, backoff) = (self.now, self.variant, self.backoff);
        let talk = match kind {
            Kind::Cds => &mut self.cds,
            Kind::Eds => &mut self.eds,
        };
        if error.is_none() {
            talk.version = version;
        }
        talk.reply(now, &nonce, error, variant, &backoff, &mut self.draws);
        Ok(())
    }

    fn take_assignments(&mut self, batch: Batch) -> Vec<InvalidResource> {
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        for item in batch.items {
            let read = item.open(proto::EDS).and_then(|bytes| Assignment::read(&bytes));
            match item.named(read, &mut seen, |assignment| &assignment.name) {
                Ok(assignment) => self.assignment_came(assignment, &item.version),
                Err(fault) => {
                    if let Some(watched) = fault.name.as_ref().and_then(|name| self.assignments.get_mut(name))
                    {
                        watched.resource.refuse(TroubleKind::Malformed, format!("refused: {fault}"));
                        let name = fault.name.clone().unwrap_or_default();
                        self.tell_word(&name);
                    }
                    faults.push(fault);
                }
            }
        }
        for name in &batch.removed {
            self.assignment_left(name);
        }
        for error in &batch.errors {
            let Some(name) = error.resource_name.as_ref().map(|name| name.name.clone()) else { continue };
            match failure(error) {
                None => self.assignment_left(&name),
                Some((kind, why)) => {
                    if let Some(watched) = self.assignments.get_mut(&name) {
                        watched.resource.refuse(kind, why);
                        self.tell_word(&name);
                    }
                }
            }
        }
        faults
    }

    fn assignment_came(&mut self, assignment: Assignment, version: &str) {
        let (now, stream) = (self.now, self.counts.streams);
        let Some(watched) = self.assignments.get_mut(&assignment.name) else { return };
        let name = assignment.name.clone();
        watched.stale_at = assignment.policy.endpoint_stale_after.map(|after| now.saturating_add(after));
        watched.resource.take(Arc::new(assignment), version, stream);
        self.tell_users(&name);
    }

    fn assignment_left(&mut self, name: &str) {
        let Some(watched) = self.assignments.get_mut(name) else { return };
        let known = watched.resource.held.is_some();
        if known && self.deletions == Deletions::Ignore {
            watched.resource.refuse(TroubleKind::Server, DELETED.to_owned());
        } else {
            watched.stale_at = None;
            watched.resource.lose(proof(known));
        }
        self.tell_word(name);
    }

    /// Tells the users of an assignment the last word, but not the set again.
    fn tell_word(&mut self, name: &str) {
        let Some(watched) = self.assignments.get(name) else { return };
        let Some(event) = watched.resource.word.event(self.on_timeout) else { return };
        self.events.extend(watched.users.iter().map(|follow| (follow.clone(), event.clone())));
    }

    fn take_clusters(&mut self, batch: Batch) -> Vec<InvalidResource> {
        let (mut came, mut faults) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        let complete = self.variant == Variant::StateOfTheWorld;
        if complete && batch.items.len() > self.max_clusters {
            let why = format!("{} clusters: at most {} are taken", batch.items.len(), self.max_clusters);
            return vec![InvalidResource::whole(why)];
        }
        for item in batch.items {
            let read = item.open(proto::CDS).and_then(|bytes| Cluster::read(&bytes));
            let named = item.named(read, &mut seen, |cluster| &cluster.name);
            match named {
                Ok(cluster) => came.push((cluster, item.version)),
                Err(fault) => faults.push(fault),
            }
        }
        let mut left = batch.removed;
        // Which one is meant that has no name cannot be known: then none has left. Nor has one that was never there: the
        // answer may be older than the question.
        if complete && faults.iter().all(|fault| fault.name.is_some()) {
            let bad = |name: &String| faults.iter().any(|fault| fault.name.as_ref() == Some(name));
            let known =
                self.clusters.iter().filter(|(_, cluster)| cluster.held.is_some()).map(|(name, _)| name);
            left.extend(known.filter(|name| !seen.contains(*name) && !bad(name)).cloned());
        }
        // First, since it makes room.
        for name in left {
            self.cluster_left(&name);
        }
        for (cluster, version) in came {
            faults.extend(self.cluster_came(cluster, &version).err());
        }
        for fault in &faults {
            if let Some(name) = &fault.name
                && let Some(cluster) = self.clusters.get_mut(name)
            {
                cluster.refuse(TroubleKind::Malformed, format!("refused: {fault}"));
                self.tell_cluster_word(name);
            }
        }
        for error in &batch.errors {
            let Some(name) = error.resource_name.as_ref().map(|name| name.name.clone()) else { continue };
            match failure(error) {
                None => self.cluster_left(&name),
                Some((kind, why)) => {
                    if let Some(cluster) = self.clusters.get_mut(&name) {
                        cluster.refuse(kind, why);
                        self.tell_cluster_word(&name);
                    }
                }
            }
        }
        faults
    }

    fn cluster_came(&mut self, cluster: Cluster, version: &str) -> Result<(), InvalidResource> {
        let name = cluster.name.clone();
        let follow = Follow::Cluster(name.clone());
        let followed = self.follows.contains(&follow);
        if self.scope == Scope::Followed && !self.clusters.contains_key(&name) {
            return Ok(());
        }
        if !self.clusters.contains_key(&name) && self.is_full() {
            let why = format!("is one more cluster than the {} that are taken", self.max_clusters);
            return Err(InvalidResource::whole(why).of(&name));
        }
        let stream = self.counts.streams;
        let entry = self.clusters.entry(name.clone()).or_insert_with(Resource::new);
        let before = entry.held.take();
        let was_good = entry.word == Word::Good;
        let same = was_good && before.as_ref() == Some(&cluster);
        let (old, new) = (before.as_ref().and_then(service).map(str::to_owned), service(&cluster));
        let new = new.map(str::to_owned);
        let elsewhere = match &cluster.members {
            Members::Elsewhere(why) => Some(why.clone()),
            _ => None,
        };
        entry.take(cluster, version, stream);
        if let Some(why) = elsewhere {
            entry.refuse(TroubleKind::Malformed, why);
        }
        if before.is_none() && self.scope == Scope::All {
            self.listed.push(name);
        }
        if followed {
            if old != new {
                if let Some(new) = &new {
                    self.use_assignment(new, &follow);
                }
                if let Some(old) = &old {
                    self.leave_assignment(old, &follow);
                }
            }
            if !same {
                self.tell_known(&follow);
            }
        }
        Ok(())
    }

    /// Whether there are as many clusters as may be. Those that are gone and still followed do not count.
    fn is_full(&self) -> bool {
        let held = || self.clusters.values().filter(|cluster| cluster.held.is_some()).count();
        self.clusters.len() >= self.max_clusters && held() >= self.max_clusters
    }

    fn cluster_left(&mut self, name: &str) {
        let Some(cluster) = self.clusters.get_mut(name) else { return };
        let known = cluster.held.is_some();
        if known && self.deletions == Deletions::Ignore {
            cluster.refuse(TroubleKind::Server, DELETED.to_owned());
            self.tell_cluster_word(name);
            return;
        }
        let old = cluster.held.as_ref().and_then(service).map(str::to_owned);
        cluster.lose(proof(known));
        let follow = Follow::Cluster(name.to_owned());
        if let Some(old) = old {
            self.leave_assignment(&old, &follow);
        }
        self.tell_cluster_word(name);
        if !self.follows.contains(&follow) {
            self.clusters.remove(name);
        }
    }

    fn tell_cluster_word(&mut self, name: &str) {
        let follow = Follow::Cluster(name.to_owned());
        let event: Option<Event> =
            self.clusters.get(name).and_then(|cluster| cluster.word.event(self.on_timeout));
        if let (Some(event), true) = (event, self.follows.contains(&follow)) {
            self.tell(&follow, event);
        }
    }
}

impl Item {
    /// The encoded resource, if it is of this type.
    fn open(&self, url: &str) -> Result<Bytes, InvalidResource> {
        if self.resource.type_url == url {
            return Ok(self.resource.value.clone());
        }
        let given = cut(&self.resource.type_url, 128);
        Err(InvalidResource::whole(format!("is of type {given:?} in an answer of type {url:?}")))
    }

    /// The resource, if it is the first of its name and that is the name of the envelope.
    fn named<T>(
        &self,
        read: Result<T, InvalidResource>,
        seen: &mut BTreeSet<String>,
        name: impl Fn(&T) -> &String,
    ) -> Result<T, InvalidResource> {
        let read = read.map_err(|fault| match &self.name {
            Some(name) if fault.name.is_none() => fault.of(name),
            _ => fault,
        })?;
        let inner = name(&read);
        let first = seen.insert(inner.clone());
        if let Some(outer) = self.name.as_ref().filter(|outer| *outer != inner) {
            let why = format!("the resource inside is called {:?}", cut(inner, 128));
            return Err(InvalidResource::whole(why).of(outer));
        }
        if !first {
            return Err(InvalidResource::whole("is there twice").of(inner));
        }
        Ok(read)
    }
}

fn kind(url: &str) -> Option<Kind> {
    [Kind::Cds, Kind::Eds].into_iter().find(|kind| kind.url() == url)
}

/// `None` for another type.
fn sotw(bytes: &[u8]) -> Result<Option<Batch>, prost::DecodeError> {
    let response = DiscoveryResponse::decode(bytes)?;
    let Some(kind) = kind(&response.type_url) else { return Ok(None) };
    let version = response.version_info;
    let item = |any: Any| {
        // In an envelope, a resource has a version of its own; what cannot be opened is refused like any other.
        let envelope = (any.type_url == proto::ENVELOPE).then(|| proto::Resource::decode(any.value.clone()));
        match envelope {
            Some(Ok(inner)) => {
                let name = (!inner.name.is_empty()).then_some(inner.name);
                Item { name, version: version.clone(), resource: inner.resource.unwrap_or_default() }
            }
            _ => Item { name: None, version: version.clone(), resource: any },
        }
    };
    let items = response.resources.into_iter().map(item).collect();
    let (nonce, errors) = (response.nonce, response.resource_errors);
    Ok(Some(Batch { kind, nonce, version: version.clone(), items, removed: Vec::new(), errors }))
}

fn delta(bytes: &[u8]) -> Result<Option<Batch>, prost::DecodeError> {
    let response = DeltaDiscoveryResponse::decode(bytes)?;
    let Some(kind) = kind(&response.type_url) else { return Ok(None) };
    // An envelope without content prolongs a time to live, which is not used here.
    let full = response.resources.into_iter().filter(|resource| resource.resource.is_some());
    let items = full.map(|resource| Item {
        name: Some(resource.name),
        version: resource.version,
        resource: resource.resource.unwrap_or_default(),
    });
    Ok(Some(Batch {
        kind,
        nonce: response.nonce,
        version: response.system_version_info,
        items: items.collect(),
        removed: response.removed_resources,
        errors: response.resource_errors,
    }))
}

/// `None` if the resource does not exist.
fn failure(error: &ResourceError) -> Option<(TroubleKind, String)> {
    const NOT_FOUND: i32 = 5;
    const PERMISSION_DENIED: i32 = 7;
    let status = error.error_detail.clone().unwrap_or_default();
    let kind = match status.code {
        NOT_FOUND => return None,
        PERMISSION_DENIED => TroubleKind::Denied,
        _ => TroubleKind::Server,
    };
    Some((kind, format!("the control plane says: status {}: {}", status.code, cut(&status.message, 200))))
}

/// All that is wrong, for the server.
fn explain(faults: &[InvalidResource]) -> String {
    let mut text = String::new();
    for fault in faults {
        if text.len() > MAX_EXPLANATION {
            text.push_str(" …");
            break;
        }
        let gap = if text.is_empty() { "" } else { "; " };
        text.push_str(gap);
        text.push_str(cut(&fault.to_string(), MAX_EXPLANATION));
    }
    text
}

const MAX_EXPLANATION: usize = 1024;

const DELETED: &str =
    "the control plane has deleted the resource: the last set is kept, as deletions = `ignore` says";
