use std::collections::BTreeMap;

use evenkeel::router::{Action, RouterConfig, StreamRouterConfig};
use evenkeel_config::{Config, ListenerConfig, ListenerLimits, ListenerTimeouts, Loaded, Protocol, Syntax};

use super::{keys, upstream};
use crate::conversion::Conversion;
use crate::error::{ConvertError, Problem};
use crate::files::Text;
use crate::key_rule::KeyRule;
use crate::place::Place;
use crate::report::{Report, Verdict};
use crate::setup::{CheckSetup, Listener, Serves, Setup};
use crate::tls::{Certificate, ListenerTls};

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
    programs_own(config, report);
    for settings in &config.clusters {
        let (name, mut cluster) = (settings.cluster.name.clone(), settings.cluster.clone());
        if !settings.discovery.is_empty() {
            let detail = "endpoints are listed: write down those of today";
            report.add(None, format!("clusters.{name}.discovery"), Verdict::NoEquivalent, detail);
        }
        if settings.merge.is_some() {
            let detail = "endpoints come from one list";
            report.add(None, format!("clusters.{name}.merge"), Verdict::NoEquivalent, detail);
        }
        if let Some(check) = &settings.check {
            let (probe, schedule) = (check.probe.clone(), check.schedule.clone());
            cluster.health = schedule.thresholds;
            setup.checks.insert(name, CheckSetup { probe, schedule, port: check.port });
        }
        setup.clusters.push(cluster);
    }
    for settings in &config.listeners {
        listeners_own(settings, report);
        let listener = of_listener(config, settings);
        // What serves the same at several addresses is one listener to proxies.
        let same = |known: &&mut Listener| {
            (&known.tls, known.udp, &known.serves) == (&listener.tls, listener.udp, &listener.serves)
        };
        match setup.listeners.iter_mut().find(same) {
            Some(known) => known.addresses.extend(listener.addresses),
            None => setup.listeners.push(listener),
        }
    }
    setup.keys = keys_of(config, report);
    upstream::read(config, &mut setup, report);
    setup
}

/// What proxies have ways of their own for, or nothing.
fn programs_own(config: &Config, report: &mut Report) {
    let program = config.program.iter().filter_map(|program| program.as_object()).flatten();
    for (key, value) in program.filter(|(key, _)| *key != "upstream") {
        let detail = "it is the program's own: tell the proxy in its words";
        report.add(None, format!("program.{key}: {value}"), Verdict::NoEquivalent, detail);
    }
    if config.prober != Default::default() {
        report.add(None, "prober", Verdict::NoEquivalent, "proxies have no bounds for all checks together");
    }
    let is_http = |listener: &&ListenerConfig| listener.protocol == Protocol::Http;
    for (list, count, is_served) in [
        ("http.routes", config.http.routes.len(), config.listeners.iter().any(|listener| is_http(&listener))),
        ("stream.routes", config.stream.routes.len(), config.listeners.iter().any(|it| !is_http(&it))),
    ] {
        if count > 0 && !is_served {
            let detail = "no listener serves them: they are left out";
            report.add(None, list, Verdict::NoEquivalent, detail);
        }
    }
}

fn listeners_own(listener: &ListenerConfig, report: &mut Report) {
    let mut none = |field: &str, detail: &str| {
        report.add(None, format!("listeners.{}.{field}", listener.name), Verdict::NoEquivalent, detail);
    };
    if listener.limits != ListenerLimits::default() {
        none("limits", "bound the listener in the proxy's words");
    }
    if listener.timeouts != ListenerTimeouts::default() {
        none("timeouts", "set the timeouts of clients in the proxy's words");
    }
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
        tls: listener.tls.as_ref().map(tls),
        udp: listener.protocol == Protocol::Udp,
        serves,
    }
}

fn tls(tls: &evenkeel_config::ListenerTls) -> ListenerTls {
    let text = |path: &std::path::Path| path.display().to_string();
    let own = (&Vec::new(), &tls.cert_file, &tls.key_file);
    let others = tls.by_name.iter().map(|other| (&other.names, &other.cert_file, &other.key_file));
    let certificates = std::iter::once(own).chain(others).map(|(hosts, cert_file, key_file)| Certificate {
        hosts: hosts.clone(),
        cert_file: text(cert_file),
        key_file: text(key_file),
    });
    ListenerTls {
        certificates: certificates.collect(),
        client_ca_file: tls.client_ca_file.as_deref().map(text),
        alpn: Vec::new(),
    }
}

/// What the key of a cluster is: that of the first route to it, for proxies say it of the cluster.
fn keys_of(config: &Config, report: &mut Report) -> BTreeMap<String, KeyRule> {
    let mut by_cluster: BTreeMap<&str, Option<KeyRule>> = BTreeMap::new();
    for route in &config.http.routes {
        let rule = keys::of_cluster(&route.key);
        let clusters = clusters(&route.action);
        if rule.is_none() && !route.key.is_empty() && !clusters.is_empty() {
            let detail = "proxies hash one thing: the key is left out";
            report.add(None, format!("http.routes.{}.key", route.name), Verdict::NoEquivalent, detail);
        }
        for cluster in clusters {
            match by_cluster.get(cluster) {
                Some(known) if *known != rule => {
                    let detail = format!(
                        "proxies have one key for all requests to a cluster: that of the first route to {cluster:?} stays"
                    );
                    report.add(
                        None,
                        format!("http.routes.{}.key", route.name),
                        Verdict::NoEquivalent,
                        detail,
                    );
                }
                _ => drop(by_cluster.insert(cluster, rule.clone())),
            }
        }
    }
    by_cluster.into_iter().filter_map(|(name, rule)| Some((name.to_owned(), rule?))).collect()
}

/// Where the requests of a route may go.
fn clusters(action: &Action) -> Vec<&str> {
    match action {
        Action::Cluster(name) => vec![name],
        Action::Split(split) => split.arms.iter().map(|arm| arm.cluster.as_str()).collect(),
        Action::Ramp(ramp) => vec![&ramp.old, &ramp.new],
        Action::BlueGreen(pair) => vec![&pair.blue, &pair.green],
        _ => Vec::new(),
    }
}
