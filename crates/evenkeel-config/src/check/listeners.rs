use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::route::matching::HostMatch;
use evenkeel_types::Address;

use super::Faults;
use crate::document::Path;
use crate::error::Problem;
use crate::model::{Config, ListenerConfig, ListenerLimits, ListenerTimeouts, Protocol};

pub(super) fn check(config: &Config, faults: &mut Faults<'_>) {
    faults.names("listeners", config.listeners.iter().map(|listener| listener.name.as_str()));
    let mut sockets: BTreeMap<(String, bool), usize> = BTreeMap::new();
    let all = Path::from("listeners");
    for (i, listener) in config.listeners.iter().enumerate() {
        let path = all.index(i);
        let udp = listener.protocol == Protocol::Udp;
        if let Some(first) = sockets.insert((listener.address.to_string(), udp), i) {
            let problem = Problem::Twice { name: listener.address.to_string() };
            faults.error_also(
                &path.key("address"),
                problem,
                &all.index(first).key("address"),
                "the first is in",
            );
        }
        one(listener, &path, faults);
    }
    let http = config.listeners.iter().position(|listener| listener.protocol == Protocol::Http);
    if let Some(i) = http
        && config.http.routes.is_empty()
    {
        let text = "has protocol http, and http.routes is empty: every request is refused".to_owned();
        faults.warn(&all.index(i), text, None);
    }
    let other = config.listeners.iter().position(|listener| listener.protocol != Protocol::Http);
    if let Some(i) = other
        && config.stream.routes.is_empty()
    {
        let text = "is not for http, and stream.routes is empty: every connection is refused".to_owned();
        faults.warn(&all.index(i), text, None);
    }
}

fn one(listener: &ListenerConfig, path: &Path, faults: &mut Faults<'_>) {
    if let Address::Host(name, _) = &listener.address {
        let text = format!("{:?} is a name: listeners need an IP address, such as 0.0.0.0:80", name.as_str());
        faults.error(&path.key("address"), Problem::Invalid(text));
    }
    let end = match listener.protocol {
        Protocol::Udp => Some("udp has no TLS"),
        Protocol::TlsPassthrough => Some("tls_passthrough does not end TLS"),
        Protocol::Http | Protocol::Tcp => None,
    };
    if let (Some(why), Some(_)) = (end, &listener.tls) {
        faults
            .error(&path.key("tls"), Problem::invalid(format_args!("would be ignored, {why}: leave it out")));
    }
    certificates(listener, path, faults);
    ignored(listener, path, faults);
    let limits = &listener.limits;
    for (field, given, least, most) in [
        ("limits.max_connections", limits.max_connections, 1, u32::MAX),
        ("limits.header_bytes", limits.header_bytes, 1 << 10, 1 << 20),
        ("limits.header_fields", limits.header_fields, 1, 10_000),
    ] {
        if !(least..=most).contains(&given) {
            let text = format!("is {given}: allowed are {least} to {most}");
            faults.error(&path.join(field), Problem::Invalid(text));
        }
    }
    let timeouts = &listener.timeouts;
    for (field, given) in [
        ("timeouts.handshake", timeouts.handshake),
        ("timeouts.header", timeouts.header),
        ("timeouts.idle", timeouts.idle),
        ("timeouts.drain", timeouts.drain),
    ] {
        if !(Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&given) {
            faults
                .error(&path.join(field), Problem::Invalid(format!("is {given:?}: allowed are 1ms to 1day")));
        }
    }
}

/// Settings that are not the default, of things that there are not at such a listener.
fn ignored(listener: &ListenerConfig, path: &Path, faults: &mut Faults<'_>) {
    let (limits, timeouts) = (&listener.limits, &listener.timeouts);
    let (usual, usual_timeouts) = (ListenerLimits::default(), ListenerTimeouts::default());
    let (http, udp) = (listener.protocol == Protocol::Http, listener.protocol == Protocol::Udp);
    let header_bytes = limits.header_bytes != usual.header_bytes;
    let handshake = timeouts.handshake != usual_timeouts.handshake;
    for (field, is_ignored, why) in [
        ("limits.body_bytes", !http && limits.body_bytes.is_some(), "only http has bodies"),
        ("limits.header_bytes", udp && header_bytes, "udp has no heads"),
        (
            "limits.header_fields",
            !http && limits.header_fields != usual.header_fields,
            "only http has fields",
        ),
        (
            "timeouts.header",
            !http && timeouts.header != usual_timeouts.header,
            "only requests of http have heads",
        ),
        ("timeouts.handshake", udp && handshake, "udp has no TLS"),
        ("timeouts.handshake", http && listener.tls.is_none() && handshake, "there is no tls"),
    ] {
        if is_ignored {
            let text = format!("would be ignored, {why}: leave it out");
            faults.error(&path.join(field), Problem::Invalid(text));
        }
    }
}

/// Each name once, and none that would leave nothing for the listener's own certificate.
fn certificates(listener: &ListenerConfig, path: &Path, faults: &mut Faults<'_>) {
    let Some(tls) = &listener.tls else { return };
    let all = path.join("tls.by_name");
    let mut known: BTreeMap<String, Path> = BTreeMap::new();
    for (i, certificate) in tls.by_name.iter().enumerate() {
        for (j, host) in certificate.names.iter().enumerate() {
            let path = all.index(i).key("names").index(j);
            if *host == HostMatch::Any {
                let text = "is any name: those have the certificate of the listener itself";
                faults.error(&path, Problem::invalid(text));
            } else if let Some(first) = known.insert(host.to_string(), path.clone()) {
                let problem = Problem::Twice { name: host.to_string() };
                faults.error_also(&path, problem, &first, "the first is in");
            }
        }
    }
}
