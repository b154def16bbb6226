//! evenkeel's own TOML, as a person would write it: without what is the default anyway, small tables on one line.

use std::fmt::Write;

use evenkeel::router::{
    Action, RouteConfig, RouterConfig, StaticResponse, StreamAction, StreamRouteConfig, StreamRouterConfig,
};
use evenkeel::{ClusterConfig, PolicyConfig};
use evenkeel_config::{ClusterSettings, Config, ListenerLimits, ListenerTimeouts};
use serde::Serialize;
use toml::{Table, Value};

use crate::conversion::Written;
use crate::report::{Report, Verdict};
use crate::setup::Setup;

/// Writes evenkeel's own TOML, which says everything but a policy of somebody's own.
pub(crate) fn write(setup: &Setup) -> Written {
    let mut report = Report::default();
    let text = to_toml(setup).unwrap_or_else(|error| {
        report.add(None, "the configuration", Verdict::NoEquivalent, error.to_string());
        String::new()
    });
    Written { text, report }
}

/// The text of a setup.
pub(crate) fn to_toml(setup: &Setup) -> Result<String, toml::ser::Error> {
    let mut root = Table::try_from(setup)?;
    let cluster = table(&ClusterConfig::new(""));
    for (number, value) in list(&mut root, "clusters").iter_mut().enumerate() {
        if let Value::Table(table) = value {
            prune_cluster(table, &cluster, setup.clusters.get(number).map(|cluster| &cluster.policy));
        }
    }
    for listener in list(&mut root, "listeners") {
        let Some(serves) = listener.get_mut("serves").and_then(Value::as_table_mut) else { continue };
        if let Some(Value::Table(router)) = serves.get_mut("http") {
            prune_router(router);
        }
        if let Some(Value::Table(router)) = serves.get_mut("stream") {
            prune_stream(router);
        }
    }
    if let Some(Value::Table(checks)) = root.get_mut("checks") {
        checks.iter_mut().filter_map(|(_, check)| check.as_table_mut()).for_each(prune_check);
    }
    let mut text = String::new();
    emit(&root, "", &mut text);
    Ok(text.trim_start().to_owned())
}

/// The text of a file of `evenkeel-config`.
pub(crate) fn config_toml(config: &Config) -> Result<String, toml::ser::Error> {
    let mut root = Table::try_from(config)?;
    let default = table(&Config::default());
    let cluster = table(&ClusterSettings::new(ClusterConfig::new("")));
    for (number, value) in list(&mut root, "clusters").iter_mut().enumerate() {
        let Value::Table(table) = value else { continue };
        let policy = config.clusters.get(number).map(|settings| &settings.cluster.policy);
        prune_cluster(table, &cluster, policy);
        if let Some(Value::Table(check)) = table.get_mut("check") {
            prune_check(check);
        }
    }
    for listener in list(&mut root, "listeners") {
        let Value::Table(listener) = listener else { continue };
        if listener.get("protocol").and_then(Value::as_str) == Some("http") {
            listener.remove("protocol");
        }
        for (key, default) in
            [("limits", table(&ListenerLimits::default())), ("timeouts", table(&ListenerTimeouts::default()))]
        {
            if let Some(Value::Table(found)) = listener.get_mut(key) {
                prune(found, &default);
                if found.is_empty() {
                    listener.remove(key);
                }
            }
        }
    }
    if let Some(Value::Table(router)) = root.get_mut("http") {
        prune_router(router);
    }
    if let Some(Value::Table(router)) = root.get_mut("stream") {
        prune_stream(router);
    }
    prune(&mut root, &default);
    let mut text = String::new();
    emit(&root, "", &mut text);
    Ok(text.trim_start().to_owned())
}

fn prune_stream(router: &mut Table) {
    let action = StreamAction::Cluster(String::new());
    let route = StreamRouteConfig { name: String::new(), rule: Default::default(), action };
    prune_routes(router, &table(&route));
    prune(router, &table(&StreamRouterConfig::default()));
}

fn prune_check(check: &mut Table) {
    let schedule = table(&evenkeel_health::CheckConfig::default());
    let probes = [
        ("tcp", table(&evenkeel_probe::TcpProbe::default())),
        ("http", table(&evenkeel_probe::HttpProbe::default())),
        ("grpc", table(&evenkeel_probe::GrpcProbe::default())),
    ];
    if let Some(Value::Table(found)) = check.get_mut("schedule") {
        prune(found, &schedule);
        if found.is_empty() {
            check.remove("schedule");
        }
    }
    for (kind, default) in &probes {
        let probe = check.get_mut("probe").and_then(|probe| probe.get_mut(kind));
        if let Some(Value::Table(found)) = probe {
            prune(found, default);
        }
    }
}

fn prune_router(router: &mut Table) {
    let answer = Action::Respond(StaticResponse::new(0));
    prune_routes(router, &table(&RouteConfig::new("", answer)));
    prune(router, &table(&RouterConfig::default()));
}

fn prune_routes(router: &mut Table, default: &Table) {
    for route in list(router, "routes") {
        if let Value::Table(route) = route {
            let retry = table(&evenkeel_route::retry::RetryConfig::default());
            if let Some(Value::Table(found)) = route.get_mut("retry") {
                prune(found, &retry);
            }
            prune(route, default);
        }
    }
}

/// The policy is not measured by the default one: what is left out is what its own kind has by default.
fn prune_cluster(cluster: &mut Table, default: &Table, policy: Option<&PolicyConfig>) {
    let written = cluster.remove("policy");
    prune(cluster, default);
    cluster.extend(written.map(|written| ("policy".to_owned(), written)));
    prune_policy(cluster, policy);
}

fn prune_policy(cluster: &mut Table, policy: Option<&PolicyConfig>) {
    let default = policy.and_then(|policy| policy.name().parse::<PolicyConfig>().ok());
    let (Some(default), Some(Value::Table(found))) = (default, cluster.get_mut("policy")) else { return };
    let kind = found.remove("type");
    prune(found, &table(&default));
    let is_default = kind.as_ref().and_then(Value::as_str) == Some(PolicyConfig::default().name());
    match (kind, found.is_empty()) {
        (_, true) if is_default => drop(cluster.remove("policy")),
        (Some(kind), true) => drop(cluster.insert("policy".into(), kind)),
        (Some(kind), false) => drop(found.insert("type".into(), kind)),
        _ => {}
    }
}

fn table(value: &impl Serialize) -> Table {
    Table::try_from(value).unwrap_or_default()
}

fn list<'a>(table: &'a mut Table, key: &str) -> &'a mut [Value] {
    table.get_mut(key).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// Takes out what is as by default.
fn prune(table: &mut Table, default: &Table) {
    let keys: Vec<String> = table.keys().cloned().collect();
    for key in keys {
        let Some(known) = default.get(&key) else { continue };
        if key == "action" {
            continue;
        }
        match (table.get_mut(&key), known) {
            (Some(Value::Table(inner)), Value::Table(known)) => {
                prune(inner, known);
                if inner.is_empty() {
                    table.remove(&key);
                }
            }
            (Some(value), known) if value == known => drop(table.remove(&key)),
            _ => {}
        }
    }
}

/// What gets a header of its own; everything else stands on one line.
const HEADED: [&str; 4] = ["listeners", "routes", "clusters", "endpoints"];

fn has_header(key: &str, value: &Value, path: &str) -> bool {
    match value {
        Value::Table(_) => {
            path == "checks"
                || ["serves", "checks"].contains(&key)
                || path.ends_with("serves")
                || path.is_empty() && ["http", "stream"].contains(&key)
        }
        Value::Array(values) => HEADED.contains(&key) && values.iter().all(Value::is_table),
        _ => false,
    }
}

fn emit(table: &Table, path: &str, text: &mut String) {
    let mut keys: Vec<&String> = table.keys().collect();
    keys.sort_by_key(|key| FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()));
    let plain = || keys.iter().copied().filter(|key| !has_header(key, &table[*key], path));
    let headed = || keys.iter().copied().filter(|key| has_header(key, &table[*key], path));
    for key in plain() {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{} = {}", bare(key), table[key]);
    }
    for key in headed() {
        let inner = if path.is_empty() { bare(key) } else { format!("{path}.{}", bare(key)) };
        match &table[key] {
            Value::Array(values) => {
                for value in values.iter().filter_map(Value::as_table) {
                    let _ = writeln!(text, "\n[[{inner}]]");
                    emit(value, &inner, text);
                }
            }
            Value::Table(value) => {
                if value.is_empty() || value.iter().any(|(key, value)| !has_header(key, value, &inner)) {
                    let _ = writeln!(text, "\n[{inner}]");
                }
                emit(value, &inner, text);
            }
            _ => {}
        }
    }
}

/// What a reader looks for first.
const FIRST: [&str; 9] =
    ["listeners", "clusters", "name", "id", "address", "match", "policy", "action", "key"];

fn bare(key: &str) -> String {
    let is_bare =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}
