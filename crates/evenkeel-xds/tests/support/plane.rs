//! What a control plane says, in both variants: state in, requests in, responses out.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::Resources;
use super::proto::{
    Any, CDS, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, EDS,
    Resource,
};

/// What it serves, by type.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    pub clusters: Typed,
    pub endpoints: Typed,
    pub manners: Manners,
}

#[derive(Clone, Debug, Default)]
pub struct Typed {
    pub version: String,
    pub resources: BTreeMap<String, (String, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manners {
    /// Silent on a new stream whose client has the present version already, as go-control-plane is.
    pub terse: bool,
    /// Sends the same again at once when it is refused.
    pub stubborn: bool,
}

impl Typed {
    /// A new version of all; each resource that differs has it as its own.
    pub fn set(&mut self, version: &str, resources: &Resources) {
        let versioned = resources.iter().map(|(name, bytes)| {
            let old = self.resources.get(name).filter(|(_, old)| old == bytes);
            (name.clone(), old.cloned().unwrap_or_else(|| (version.to_owned(), bytes.clone())))
        });
        self.resources = versioned.collect();
        self.version = version.to_owned();
    }
}

impl Plane {
    fn typed(&self, url: &str) -> &Typed {
        if url == CDS { &self.clusters } else { &self.endpoints }
    }
}

/// What a client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub node: String,
    pub url: String,
    /// `sub`, `ack` or `nack`.
    pub what: &'static str,
    pub version: String,
    pub names: Vec<String>,
    pub error: String,
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    delta: bool,
    node: String,
    nonces: u64,
    types: BTreeMap<String, Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<String>,
    nonce: String,
    sent: String,
    /// Of delta: what the client has been told.
    known: BTreeMap<String, String>,
}

impl Stream {
    pub fn new(delta: bool) -> Self {
        Self { delta, node: String::new(), nonces: 0, types: BTreeMap::new() }
    }

    pub fn request(&mut self, plane: &Plane, bytes: &[u8]) -> (Said, Vec<Vec<u8>>) {
        if self.delta {
            self.delta_request(plane, &DeltaDiscoveryRequest::decode(bytes).unwrap())
        } else {
            self.sotw_request(plane, DiscoveryRequest::decode(bytes).unwrap())
        }
    }

    /// What to send after the plane has changed.
    pub fn push(&mut self, plane: &Plane) -> Vec<Vec<u8>> {
        let urls: Vec<_> = [CDS, EDS].into_iter().filter(|url| self.types.contains_key(*url)).collect();
        let changed = |stream: &Self, url: &str| stream.types[url].sent != plane.typed(url).version;
        let mut responses = Vec::new();
        for url in urls {
            if self.delta {
                responses.extend(self.delta_response(plane, url, false));
            } else if changed(self, url) {
                responses.push(self.sotw_response(plane, url));
            }
        }
        responses
    }

    fn sotw_request(&mut self, plane: &Plane, request: DiscoveryRequest) -> (Said, Vec<Vec<u8>>) {
        if let Some(node) = request.node {
            self.node = node.id;
        }
        let url = request.type_url.clone();
        let nack = request.error_detail.is_some();
        let what = if nack {
            "nack"
        } else if request.response_nonce.is_empty() {
            "sub"
        } else {
            "ack"
        };
        let said = Said {
            node: self.node.clone(),
            url: url.clone(),
            what,
            version: request.version_info.clone(),
            names: request.resource_names.clone(),
            error: request.error_detail.map(|status| status.message).unwrap_or_default(),
        };
        let first = !self.types.contains_key(&url);
        let typed = plane.typed(&url);
        let of = self.types.entry(url.clone()).or_default();
        if !first && request.response_nonce != of.nonce {
            return (said, Vec::new());
        }
        let names: BTreeSet<_> = request.resource_names.into_iter().collect();
        let changed = names != of.names;
        of.wildcard = url == CDS && names.is_empty();
        of.names = names;
        let knows = first && plane.manners.terse && request.version_info == typed.version;
        if knows {
            of.sent = typed.version.clone();
            return (said, Vec::new());
        }
        let behind = of.sent != typed.version && !nack;
        if first || changed || behind || (nack && plane.manners.stubborn) {
            let response = self.sotw_response(plane, &url);
            return (said, vec![response]);
        }
        (said, Vec::new())
    }

    fn sotw_response(&mut self, plane: &Plane, url: &str) -> Vec<u8> {
        self.nonces += 1;
        let typed = plane.typed(url);
        let of = self.types.entry(url.to_owned()).or_default();
        of.nonce = format!("n{}", self.nonces);
        of.sent = typed.version.clone();
        let wanted = typed.resources.iter().filter(|(name, _)| of.wildcard || of.names.contains(*name));
        let resources = wanted.map(|(_, (_, bytes))| any(url, bytes)).collect();
        let response = DiscoveryResponse {
            version_info: typed.version.clone(),
            resources,
            type_url: url.to_owned(),
            nonce: of.nonce.clone(),
            resource_errors: Vec::new(),
        };
        response.encode_to_vec()
    }

    fn delta_request(&mut self, plane: &Plane, request: &DeltaDiscoveryRequest) -> (Said, Vec<Vec<u8>>) {
        if let Some(node) = &request.node {
            self.node.clone_from(&node.id);
        }
        let url = request.type_url.clone();
        let nack = request.error_detail.is_some();
        let what = if nack {
            "nack"
        } else if request.response_nonce.is_empty() {
            "sub"
        } else {
            "ack"
        };
        let error = request.error_detail.as_ref().map(|status| status.message.clone()).unwrap_or_default();
        let names = request.resource_names_subscribe.clone();
        let said =
            Said { node: self.node.clone(), url: url.clone(), what, version: String::new(), names, error };
        let first = !self.types.contains_key(&url);
        let of = self.types.entry(url.clone()).or_default();
        if first {
            of.wildcard = url == CDS && request.resource_names_subscribe.is_empty();
            of.known.clone_from(&request.initial_resource_versions);
        }
        for name in &request.resource_names_subscribe {
            if name == "*" {
                of.wildcard = true;
                continue;
            }
            of.names.insert(name.clone());
            if !first {
                of.known.remove(name);
            }
            // What does not exist is said to: it is taken as known, and so it is removed.
            if !plane.typed(&url).resources.contains_key(name) {
                of.known.entry(name.clone()).or_default();
            }
        }
        for name in &request.resource_names_unsubscribe {
            of.names.remove(name);
            of.known.remove(name);
        }
        if nack && plane.manners.stubborn {
            of.known.clear();
        }
        (said, self.delta_response(plane, &url, first).into_iter().collect())
    }

    fn delta_response(&mut self, plane: &Plane, url: &str, anyway: bool) -> Option<Vec<u8>> {
        let typed = plane.typed(url);
        let of = self.types.get_mut(url)?;
        let wanted: BTreeMap<_, _> = typed
            .resources
            .iter()
            .filter(|(name, _)| of.wildcard || of.names.contains(*name))
            .map(|(name, (version, bytes))| (name.clone(), (version.clone(), bytes.clone())))
            .collect();
        let differs = wanted.iter().filter(|(name, (version, _))| of.known.get(*name) != Some(version));
        let resources: Vec<_> = differs
            .map(|(name, (version, bytes))| Resource {
                version: version.clone(),
                resource: Some(any(url, bytes)),
                name: name.clone(),
            })
            .collect();
        let removed: Vec<_> = of.known.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        if resources.is_empty() && removed.is_empty() && !anyway {
            return None;
        }
        of.known = wanted.into_iter().map(|(name, (version, _))| (name, version)).collect();
        self.nonces += 1;
        let response = DeltaDiscoveryResponse {
            system_version_info: typed.version.clone(),
            resources,
            type_url: url.to_owned(),
            nonce: format!("d{}", self.nonces),
            removed_resources: removed,
            resource_errors: Vec::new(),
        };
        Some(response.encode_to_vec())
    }
}

fn any(url: &str, bytes: &[u8]) -> Any {
    Any { type_url: url.to_owned(), value: bytes.to_vec().into() }
}
