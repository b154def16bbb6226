//! Where a request that an operator types in would go, and why.

use std::net::IpAddr;

use evenkeel::Request;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::world::World;

/// A request as it is typed in.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Typed {
    /// Which router decides. Default: the first one, if there is one.
    pub(crate) router: Option<String>,
    /// Asks this cluster, and no router.
    pub(crate) cluster: Option<String>,
    pub(crate) method: String,
    pub(crate) host: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) source: Option<IpAddr>,
    /// The name of the listener at which it comes in. Default: none, so rules for certain listeners do not take it.
    pub(crate) listener: Option<String>,
    /// What a cluster hashes, where it is asked alone.
    pub(crate) key: Option<String>,
}

impl Default for Typed {
    fn default() -> Self {
        Self {
            router: None,
            cluster: None,
            method: "GET".to_owned(),
            host: String::new(),
            path: "/".to_owned(),
            headers: Vec::new(),
            source: None,
            listener: None,
            key: None,
        }
    }
}

/// What would happen to it.
#[derive(Debug, Serialize)]
struct Trail<E> {
    route: Option<String>,
    cluster: Option<String>,
    picked: Option<String>,
    /// The steps, each a line for people.
    trail: Vec<String>,
    /// The same for programs, as the crate `evenkeel` serialises it.
    explanation: E,
}

pub(crate) fn answer(body: &[u8], worlds: &[&dyn World]) -> Answer {
    let typed: Typed = match serde_json::from_slice(body) {
        Ok(typed) => typed,
        Err(error) => return Answer::failed(422, "body", &format!("the body: {error}")),
    };
    let routers: Vec<_> = worlds.iter().flat_map(|world| world.routers()).collect();
    let clusters: Vec<_> = worlds.iter().flat_map(|world| world.clusters()).collect();
    let cluster = match (&typed.cluster, &typed.router, routers.as_slice(), clusters.as_slice()) {
        (Some(_), Some(_), ..) => return Answer::failed(422, "body", "cluster and router: only one of them"),
        (Some(name), ..) => clusters.iter().find(|cluster| cluster.name() == name),
        (None, None, [], [only]) => Some(only),
        _ => None,
    };
    if let Some(cluster) = cluster {
        let request = typed.key.as_ref().map_or_else(Request::new, Request::with_key);
        let request = match typed.source {
            Some(source) => request.from_address(source),
            None => request,
        };
        let explanation = cluster.explain(&request);
        return Answer::json(&Trail {
            route: None,
            cluster: Some(cluster.name().to_owned()),
            picked: explanation.picked.as_ref().map(ToString::to_string),
            trail: lines(&explanation.to_string()),
            explanation,
        });
    }
    if let Some(name) = &typed.cluster {
        return Answer::failed(404, "no_cluster", &format!("there is no cluster {name}"));
    }
    let mut named = routers.iter();
    let router = named.find(|(name, _)| typed.router.as_ref().is_none_or(|wanted| wanted == name));
    let Some((_, router)) = router else {
        return Answer::failed(404, "no_router", "there is no such router: name a cluster instead");
    };
    match router.explain(&typed) {
        Err(error) => Answer::failed(422, "request", &error.to_string()),
        Ok(explanation) => {
            let last = explanation.clusters.last();
            Answer::json(&Trail {
                route: explanation.route.clone(),
                cluster: last.map(|cluster| cluster.name.clone()),
                picked: last.and_then(|last| last.explanation.picked.as_ref().map(ToString::to_string)),
                trail: lines(&explanation.to_string()),
                explanation,
            })
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
