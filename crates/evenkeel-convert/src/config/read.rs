use std::collections::BTreeMap;

use evenkeel::router::{Action, RouterConfig, StreamRouterConfig};
use evenkeel_config::{Config, ListenerConfig, Loaded, Protocol, Syntax};

use super::keys;
use crate::conversion::Conversion;
use crate::error::{ConvertError, Problem};
use crate::files::Text;
use crate::place::Place;
use crate::report::{Report, Verdict};
use crate::setup::{CheckSetup, Listener, Serves, Setup};

/// Reads the file of `evenkeel-config`, which says itself what is wrong with it.
pub(crate) fn read(text: &Text) -> Result<Conversion, ConvertError> {
    let refused = |errors: evenkeel_config::ConfigErrors| {
        ConvertError::new(&Place::start(&text.name), Problem::Syntax(errors.to_string()))
    };
    let loaded = Loaded::parse(&text.text, Syntax::Toml).map_err(refused)?;
    loaded.check().map_err(refused)?;
    let mut report = Report::default();
    let setup = setup_of(loaded.config(), &mut report);
    Ok(Conversion { setup, report })
}

fn setup_of(config: &Config, report: &mut Report) -> Setup {
    let mut setup = Setup::default();
    if !config.include.is_empty() {
        report.add(None, "include", Verdict::NoEquivalent, "give the files one by one: none is included");
    }
    if config.admin.is_some() {
        report.add(None, "admin", Verdict::NoEquivalent, "proxies have their own ways to be asked");
    }
    for settings in &config.clusters {
        let (name, mut cluster) = (settings.cluster.name.clone(), settings.cluster.clone());
        if !settings.discovery.is_empty() {
            let detail = "endpoints are listed: write down those of today";
            report.add(None, format!("clusters.{name}.discovery"), Verdict::NoEquivalent, detail);
        }
        if let Some(check) = &settings.check {
            let (probe, schedule) = (check.probe.clone(), check.schedule.clone());
            cluster.health = schedule.thresholds;
            setup.checks.insert(name, CheckSetup { probe, schedule, port: check.port });
        }
        setup.clusters.push(cluster);
    }
    for listener in config.listeners.iter().map(|listener| of_listener(config, listener)) {
        // What serves the same at several addresses is one listener to proxies.
        let same = |known: &&mut Listener| known.tls == listener.tls && known.serves == listener.serves;
        match setup.listeners.iter_mut().find(same) {
            Some(known) => known.addresses.extend(listener.addresses),
            None => setup.listeners.push(listener),
        }
    }
    setup.keys = keys_of(config, report);
    setup
}

fn of_listener(config: &Config, listener: &ListenerConfig) -> Listener {
    let is_theirs = |names: &[String]| names.is_empty() || names.contains(&listener.name);
    let serves = if listener.protocol == Protocol::Http {
        let mut router = RouterConfig { ..config.http.clone() };
        router.routes.retain(|route| is_theirs(&route.rule.listeners));
        router.routes.iter_mut().for_each(|route| route.rule.listeners.clear());
        Serves::Http(router)
    } else {
        let mut router = StreamRouterConfig { ..config.stream.clone() };
        router.routes.retain(|route| is_theirs(&route.rule.listeners));
        router.routes.iter_mut().for_each(|route| route.rule.listeners.clear());
        Serves::Stream(router)
    };
    Listener {
        name: listener.name.clone(),
        addresses: vec![listener.address.to_string()],
        tls: listener.tls.is_some(),
        serves,
    }
}

/// What the key of a cluster is: that of the routes to it alone.
fn keys_of(config: &Config, report: &mut Report) -> BTreeMap<String, crate::key_rule::KeyRule> {
    let mut found = BTreeMap::new();
    for route in &config.http.routes {
        let Action::Cluster(cluster) = &route.action else { continue };
        if route.key.is_empty() {
            continue;
        }
        match keys::of_cluster(&route.key) {
            Some(rule) => drop(found.insert(cluster.clone(), rule)),
            None => {
                let detail = "proxies hash one thing: the key is left out";
                report.add(None, format!("http.routes.{}.key", route.name), Verdict::NoEquivalent, detail);
            }
        }
    }
    found
}
