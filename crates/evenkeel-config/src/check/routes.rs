use std::collections::{BTreeMap, BTreeSet};

use evenkeel::Cluster;
use evenkeel::route::matching::{HttpRules, Shadow};
use evenkeel::route::split::SplitConfig;
use evenkeel::router::{
    Action, Router, RouterConfig, RouterError, StreamAction, StreamRouter, StreamRouterConfig,
};

use super::Faults;
use crate::document::{Path, Step};
use crate::error::Problem;
use crate::model::{Config, ListenerConfig, Protocol};

/// Names, references and circles: what many errors at once can be told of.
pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    faults.names("http.routes", config.http.routes.iter().map(|route| route.name.as_str()));
    faults.names("stream.routes", config.stream.routes.iter().map(|route| route.name.as_str()));
    let known: BTreeSet<&str> =
        config.clusters.iter().map(|settings| settings.cluster.name.as_str()).collect();
    each_reference(config, &mut |name, path| {
        if !known.contains(name) {
            faults.unknown(&path(), "cluster", name, known.iter().copied());
        }
    });
    let http = config.http.routes.iter().map(|route| &route.rule.listeners);
    listeners(config, "http.routes", http, |listener| listener.protocol == Protocol::Http, faults);
    let stream = config.stream.routes.iter().map(|route| &route.rule.listeners);
    listeners(config, "stream.routes", stream, |listener| listener.protocol != Protocol::Http, faults);
    circles("http", &config.http.fallbacks, faults);
    circles("stream", &config.stream.fallbacks, faults);
}

/// Routes ask for listeners that there are, and that are theirs.
fn listeners<'a>(
    config: &Config,
    list: &str,
    asked: impl Iterator<Item = &'a Vec<String>>,
    is_theirs: impl Fn(&ListenerConfig) -> bool,
    faults: &mut Faults<'_>,
) {
    for (i, names) in asked.enumerate() {
        for (j, name) in names.iter().enumerate() {
            let path = || Path::from(list).index(i).join("match.listeners").index(j);
            match config.listeners.iter().find(|listener| listener.name == *name) {
                Some(listener) if is_theirs(listener) => {}
                Some(_) => {
                    let text = format!("names {name:?}, whose protocol is not that of {list}");
                    faults.error(&path(), Problem::Invalid(text));
                }
                None => {
                    let theirs = config.listeners.iter().filter(|listener| is_theirs(listener));
                    faults.unknown(&path(), "listener", name, theirs.map(|listener| listener.name.as_str()));
                }
            }
        }
    }
}

/// Everywhere that a cluster is named. Paths are made for those who want them: a large table names thousands.
pub(super) fn each_reference<'c>(config: &'c Config, visit: &mut dyn FnMut(&'c str, &dyn Fn() -> Path)) {
    for (i, route) in config.http.routes.iter().enumerate() {
        let path = || Path::from("http.routes").index(i);
        let action = |below: &str| path().key("action").join(below);
        match &route.action {
            Action::Cluster(name) => visit(name, &|| action("cluster")),
            Action::Split(split) => each_arm(split, &|| action("split"), visit),
            Action::Ramp(ramp) => {
                visit(&ramp.old, &|| action("ramp.old"));
                visit(&ramp.new, &|| action("ramp.new"));
            }
            Action::BlueGreen(pair) => {
                visit(&pair.blue, &|| action("blue_green.blue"));
                visit(&pair.green, &|| action("blue_green.green"));
            }
            _ => {}
        }
        if let Some(mirror) = &route.mirror {
            visit(&mirror.cluster, &|| path().join("mirror.cluster"));
        }
    }
    for (i, route) in config.stream.routes.iter().enumerate() {
        let action = || Path::from("stream.routes").index(i).key("action");
        match &route.action {
            StreamAction::Cluster(name) => visit(name, &|| action().key("cluster")),
            StreamAction::Split(split) => each_arm(split, &|| action().key("split"), visit),
        }
    }
    for (list, fallbacks) in [("http", &config.http.fallbacks), ("stream", &config.stream.fallbacks)] {
        for (of, fallback) in fallbacks {
            let path = || Path::from(list).key("fallbacks").key(of);
            visit(of, &path);
            visit(fallback, &path);
        }
    }
}

fn each_arm<'c>(
    split: &'c SplitConfig,
    path: &dyn Fn() -> Path,
    visit: &mut dyn FnMut(&'c str, &dyn Fn() -> Path),
) {
    for (i, arm) in split.arms.iter().enumerate() {
        visit(&arm.cluster, &|| path().key("arms").index(i).key("cluster"));
    }
}

fn circles(list: &str, fallbacks: &BTreeMap<String, String>, faults: &mut Faults<'_>) {
    // What was walked through once ends, or was reported.
    let mut walked: BTreeSet<&str> = BTreeSet::new();
    for start in fallbacks.keys() {
        let (mut at, mut here) = (start.as_str(), Vec::new());
        while walked.insert(at) {
            here.push(at);
            let Some(next) = fallbacks.get(at) else { break };
            if let Some(first) = here.iter().position(|name| name == next) {
                let circle = here[first..].iter().chain([&next.as_str()]).copied().collect::<Vec<_>>();
                let text = format!("goes in a circle: {}", circle.join(" → "));
                faults.error(&Path::from(list).key("fallbacks").key(at), Problem::Invalid(text));
                break;
            }
            at = next;
        }
    }
}

/// Compiles the routes, for what only that finds, and for rules that never take anything.
pub(super) fn try_out(config: &Config, clusters: Vec<Cluster<()>>, faults: &mut Faults<'_>) {
    match Router::new(config.http.clone(), clusters.iter().cloned()) {
        Ok(router) => shadows(&config.http, &router.rules(), faults),
        Err(error) => http_error(&error, faults),
    }
    match StreamRouter::new(&config.stream, clusters) {
        Ok(router) => stream_shadows(&config.stream, &router.shadowed(), faults),
        Err(error) => stream_error(&error, faults),
    }
}

pub(crate) fn http_error(error: &RouterError, faults: &mut Faults<'_>) {
    router_error("http", error, faults);
}

pub(crate) fn stream_error(error: &RouterError, faults: &mut Faults<'_>) {
    router_error("stream", error, faults);
}

/// The problem of a router's error begins with what joins it to the field: a colon, a verb, or the rest of the field.
fn router_error(list: &str, error: &RouterError, faults: &mut Faults<'_>) {
    let text = error.problem.to_string();
    let mut path = Path::from(list).join(&error.field);
    if let Some(inner) = text.strip_prefix('.') {
        return faults.foreign(&path, inner);
    }
    // A field of the rule stands under `match`.
    if let Some(Step::Key(key)) = path.0.get_mut(3)
        && key == "rule"
    {
        *key = "match".to_owned();
    }
    // Errors of regular expressions are drawn over several lines.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.strip_prefix(": ").unwrap_or(&text);
    faults.error(&path, Problem::invalid(text));
}

fn stream_shadows(config: &StreamRouterConfig, shadowed: &[Shadow], faults: &mut Faults<'_>) {
    let name = |rule: usize| config.routes.get(rule).map_or("", |route| route.name.as_str());
    let at = |rule: usize| Path::from("stream.routes").index(rule);
    for shadow in shadowed.iter().filter(|shadow| shadow.is_whole()) {
        let (route, by) = (name(shadow.rule), name(shadow.by));
        let text = format!("the route {route:?} never takes a connection: {by:?} takes them all");
        faults.warn(&at(shadow.rule), text, Some((&at(shadow.by), "which is in")));
    }
}

fn shadows(config: &RouterConfig, rules: &HttpRules, faults: &mut Faults<'_>) {
    for shadow in rules.shadowed() {
        let name = |rule: usize| config.routes.get(rule).map_or("", |route| route.name.as_str());
        let (path, by) =
            (Path::from("http.routes").index(shadow.rule), Path::from("http.routes").index(shadow.by));
        let text = if shadow.is_whole() {
            format!(
                "the route {:?} never takes a request: {:?} takes them all",
                name(shadow.rule),
                name(shadow.by)
            )
        } else {
            format!(
                "{:?} takes the requests of {} of the {} pairs of host and path of the route {:?}",
                name(shadow.by),
                shadow.taken,
                shadow.of,
                name(shadow.rule)
            )
        };
        faults.warn(&path, text, Some((&by, "which is in")));
    }
}
