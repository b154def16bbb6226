use std::time::Duration;

use evenkeel::{ClusterConfig, PolicyConfig, SlowStartConfig};
use evenkeel_balance::compat::nginx::{Method, NginxConfig};
use evenkeel_balance::{LeastRequestConfig, RandomConfig};
use evenkeel_limit::LimitConfig;
use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Priority, Weight};

use super::key;
use super::tree::Directive;
use super::units::{number, time};
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::key_rule::KeyRule;
use crate::place::Place;
use crate::report::Report;
use crate::setup::check_cluster;
use crate::word::Word;

/// What an `upstream` block says.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) cluster: ClusterConfig,
    pub(crate) key: Option<KeyRule>,
    /// How many addresses a request may be tried at: those that are not `down`.
    pub(crate) tries: u32,
    pub(crate) place: Place,
}

/// A `server` line.
struct Line<'a> {
    directive: &'a Directive,
    name: &'a Word,
    weight: u32,
    max_fails: u32,
    fail_timeout: Duration,
    max_conns: u32,
    slow_start: Option<Duration>,
    down: bool,
    backup: bool,
}

enum Balance {
    Mode(Method),
    Random { two: bool },
}

/// Reads an `upstream` block.
pub(crate) fn read_upstream(block: &Directive, report: &mut Report) -> Result<Upstream, ConvertError> {
    let name = block.only()?;
    let place = block.place();
    let mut balance = Balance::Mode(Method::RoundRobin);
    let mut rule = None;
    let mut lines = Vec::new();
    for directive in block.inside() {
        match directive.name.text.as_str() {
            "server" => lines.push(line(directive, report)?),
            "ip_hash" | "least_conn" | "hash" | "random" => (balance, rule) = method(directive, report)?,
            "zone" if directive.args.len() <= 2 => report.taken(
                directive.place(),
                directive.text(),
                "there is nothing to share: all threads of a process use one state",
            ),
            "keepalive" | "keepalive_requests" | "keepalive_timeout" | "keepalive_time" => report.none(
                directive.place(),
                directive.text(),
                "connections are your client's: set the size of its pool",
            ),
            "least_time" if is_least_time(directive) => {
                report.differs(
                    directive.place(),
                    directive.text(),
                    "a directive of the commercial nginx: becomes the policy least_request; look at least_time and peak_ewma",
                );
                balance = Balance::Random { two: true };
            }
            "resolver" | "resolver_timeout" | "state" => report.none(
                directive.place(),
                directive.text(),
                "endpoints come from discovery: follow the name with evenkeel-dns",
            ),
            "sticky" => report.none(
                directive.place(),
                directive.text(),
                "give the routes an affinity: a signed cookie, or a table that learns",
            ),
            _ => report.none(directive.place(), directive.text(), "evenkeel has nothing that does this"),
        }
    }
    let settings = Settings::of(&lines, report);
    let mut cluster = ClusterConfig::new(&name.text);
    cluster.policy = match balance {
        Balance::Mode(method) => {
            report.taken(
                place,
                format!("upstream {}", name.text),
                format!("clusters.{}, policy nginx", name.text),
            );
            PolicyConfig::Nginx(NginxConfig {
                method,
                max_fails: settings.max_fails,
                fail_timeout: settings.fail_timeout,
            })
        }
        Balance::Random { two } => {
            tell_fails(&lines, report);
            report.taken(place, format!("upstream {}", name.text), format!("clusters.{}", name.text));
            if two {
                PolicyConfig::LeastRequest(LeastRequestConfig::default())
            } else {
                PolicyConfig::Random(RandomConfig::default())
            }
        }
    };
    cluster.endpoint_limit = settings.max_conns.map(LimitConfig::fixed);
    cluster.slow_start =
        settings.slow_start.map(|window| SlowStartConfig { window, ..SlowStartConfig::default() });
    let by_name =
        matches!(&cluster.policy, PolicyConfig::Nginx(config) if config.method == Method::HashConsistent);
    let mut twins: std::collections::BTreeMap<String, u32> = std::collections::BTreeMap::new();
    for line in &lines {
        if let Some(endpoint) = endpoint(line, by_name, &mut twins, report)? {
            cluster.endpoints.push(endpoint);
        }
    }
    if cluster.endpoints.is_empty() {
        let expected = "nginx needs a server in every upstream, and so does this";
        if lines.is_empty() {
            return Err(ConvertError::unexpected(
                place,
                format!("upstream {} without a server", name.text),
                expected,
            ));
        }
    }
    if let PolicyConfig::Nginx(config) = &cluster.policy
        && !config.method.allows_backup()
        && let Some(backup) = lines.iter().find(|line| line.backup)
    {
        return Err(ConvertError::unexpected(
            backup.directive.place(),
            "backup",
            format!("nginx refuses it with {}", config.method.name()),
        ));
    }
    check_cluster(&cluster, place)?;
    let tries = lines.iter().filter(|line| !line.down).count() as u32;
    Ok(Upstream { cluster, key: rule, tries, place: place.clone() })
}

/// `least_time header | last_byte [inflight]`, in a stream `least_time connect | first_byte | last_byte [inflight]`
fn is_least_time(directive: &Directive) -> bool {
    let words: Vec<&str> = directive.args.iter().map(|word| word.text.as_str()).collect();
    matches!(
        words.as_slice(),
        ["header" | "connect" | "first_byte" | "last_byte"]
            | ["header" | "connect" | "first_byte" | "last_byte", "inflight"]
    )
}

/// Only the compatible policy counts failures.
fn tell_fails(lines: &[Line<'_>], report: &mut Report) {
    for line in lines {
        let written = line.directive.args.iter().skip(1);
        let fails =
            |word: &&Word| ["max_fails=", "fail_timeout="].iter().any(|name| word.text.starts_with(name));
        for word in written.filter(fails) {
            let detail = "only the policy nginx counts failures: give the cluster an outlier detection";
            report.none(&word.place, format!("{} {}", line.name.text, word.text), detail);
        }
    }
}

fn method(directive: &Directive, report: &mut Report) -> Result<(Balance, Option<KeyRule>), ConvertError> {
    let place = directive.place();
    let args: Vec<&str> = directive.args.iter().map(|word| word.text.as_str()).collect();
    let subject = directive.text();
    Ok(match (directive.name.text.as_str(), args.as_slice()) {
        ("ip_hash", []) => {
            report.taken(place, subject, "policy nginx, method ip_hash");
            (Balance::Mode(Method::IpHash), Some(KeyRule::Source))
        }
        ("least_conn", []) => {
            report.taken(place, subject, "policy nginx, method least_conn");
            (Balance::Mode(Method::LeastConn), None)
        }
        ("hash", [text] | [text, "consistent"]) => {
            let method = if args.len() == 2 { Method::HashConsistent } else { Method::Hash };
            let rule = match key::key_rule(text) {
                Ok(rule) => {
                    report.taken(place, subject, "policy nginx, and the key in keys");
                    Some(rule)
                }
                Err(variable) => {
                    report.none(
                        place,
                        subject,
                        format!("what {variable} holds is not known here: give the key with each request"),
                    );
                    None
                }
            };
            (Balance::Mode(method), rule)
        }
        ("random", [] | ["two"] | ["two", "least_conn"]) => {
            let two = !args.is_empty();
            report.differs(
                place,
                subject,
                if two {
                    "policy least_request: the less loaded of two distinct ones; nginx's own draws cannot be repeated"
                } else {
                    "policy random: the same shares; nginx's own draws cannot be repeated"
                },
            );
            (Balance::Random { two }, None)
        }
        ("random", ["two", criterion]) => {
            report.differs(
                place,
                subject,
                format!("{criterion}: becomes the policy least_request, which compares requests in flight"),
            );
            (Balance::Random { two: true }, None)
        }
        _ => return Err(ConvertError::unexpected(place, subject, "nginx knows no such arguments")),
    })
}

fn line<'a>(directive: &'a Directive, report: &mut Report) -> Result<Line<'a>, ConvertError> {
    let Some((name, parameters)) = directive.args.split_first() else {
        return Err(ConvertError::unexpected(directive.place(), "server", "an address comes after it"));
    };
    let mut line = Line {
        directive,
        name,
        weight: 1,
        max_fails: 1,
        fail_timeout: Duration::from_secs(10),
        max_conns: 0,
        slow_start: None,
        down: false,
        backup: false,
    };
    for word in parameters {
        match word.text.split_once('=') {
            Some(("weight", value)) => {
                line.weight = number("weight", word, value)?;
                if line.weight == 0 {
                    return Err(ConvertError::value(
                        &word.place,
                        "weight",
                        "0",
                        "1 and more; mark the server `down`",
                    ));
                }
            }
            Some(("max_fails", value)) => line.max_fails = number("max_fails", word, value)?,
            Some(("max_conns", value)) => line.max_conns = number("max_conns", word, value)?,
            Some(("fail_timeout", value)) => line.fail_timeout = whole(word, value)?,
            Some(("slow_start", value)) => line.slow_start = Some(whole(word, value)?),
            Some(("route" | "service" | "drain", _)) => {
                report.none(
                    &word.place,
                    word.text.clone(),
                    "of the commercial nginx: evenkeel has nothing that does this",
                );
            }
            None if word.is("down") => line.down = true,
            None if word.is("backup") => line.backup = true,
            None if word.is("resolve") => report.none(
                &word.place,
                format!("{} resolve", name.text),
                "endpoints come from discovery: follow the name with evenkeel-dns",
            ),
            None if word.is("drain") => {
                report.differs(
                    &word.place,
                    "drain",
                    "becomes the weight 0: no new requests but those that are tied to it",
                );
                line.weight = 0;
            }
            _ => {
                let allowed = "weight, max_conns, max_fails, fail_timeout, slow_start, backup, down and resolve are known";
                return Err(ConvertError::unexpected(&word.place, word.text.clone(), allowed));
            }
        }
    }
    Ok(line)
}

fn whole(word: &Word, value: &str) -> Result<Duration, ConvertError> {
    let text = Word { text: value.to_owned(), place: word.place.clone() };
    let found = time("time", &text)?;
    if found.subsec_nanos() != 0 {
        return Err(ConvertError::value(&word.place, "time", value, "whole seconds are allowed here"));
    }
    Ok(found)
}

/// What the lines agree on: in evenkeel these are settings of the cluster.
struct Settings {
    max_fails: u32,
    fail_timeout: Duration,
    max_conns: Option<u32>,
    slow_start: Option<Duration>,
}

impl Settings {
    fn of(lines: &[Line<'_>], report: &mut Report) -> Self {
        let first = lines.first();
        let settings = Self {
            max_fails: first.map_or(1, |line| line.max_fails),
            fail_timeout: first.map_or(Duration::from_secs(10), |line| line.fail_timeout),
            max_conns: first.map(|line| line.max_conns).filter(|&conns| conns > 0),
            slow_start: first.and_then(|line| line.slow_start).filter(|window| !window.is_zero()),
        };
        for line in lines {
            let place = line.directive.place();
            if (line.max_fails, line.fail_timeout) != (settings.max_fails, settings.fail_timeout) {
                report.differs(
                    place,
                    line.directive.text(),
                    format!(
                        "all servers of a cluster share max_fails={} fail_timeout={}s, those of the first line",
                        settings.max_fails,
                        settings.fail_timeout.as_secs()
                    ),
                );
            }
            if line.max_conns != settings.max_conns.unwrap_or(0) {
                report.differs(
                    place,
                    line.directive.text(),
                    format!(
                        "all servers of a cluster share one endpoint_limit, that of the first line: {}",
                        settings.max_conns.map_or("none".to_owned(), |conns| conns.to_string())
                    ),
                );
            }
            if let Some(window) = line.slow_start {
                if Some(window) == settings.slow_start {
                    report.differs(
                        place,
                        format!("slow_start={}s", window.as_secs()),
                        "slow_start: the same ramp; endpoints that are new warm up too",
                    );
                } else {
                    report.differs(
                        place,
                        line.directive.text(),
                        "all servers of a cluster share one slow_start, that of the first line",
                    );
                }
            }
        }
        settings
    }
}

fn endpoint(
    line: &Line<'_>,
    by_name: bool,
    twins: &mut std::collections::BTreeMap<String, u32>,
    report: &mut Report,
) -> Result<Option<Endpoint>, ConvertError> {
    let (place, name) = (line.directive.place(), line.name.text.as_str());
    if key::has_variables(name) {
        return Err(ConvertError::unexpected(place, name, "a server is named without variables"));
    }
    let (address, has_port) = address(name, 80)
        .map_err(|error| ConvertError::value(&line.name.place, "server", name, error.to_string()))?;
    let mut detail = format!("endpoint {address}");
    let mut differs = Vec::new();
    if let Address::Host(..) = address {
        differs.push("nginx resolves the name when it starts and uses each address that it finds; here it is one endpoint, and whoever connects resolves it: follow it with evenkeel-dns to have them all");
    }
    if by_name && !has_port {
        differs.push("nginx hashes the name without a port, and here the port 80 is part of it: other places on the ring; write the port in nginx too, and both agree");
    }
    if by_name
        && matches!(address, Address::Socket(_) | Address::Host(..))
        && has_port
        && address.to_string() != name
    {
        differs.push("nginx hashes the text as it is written, and here it is written another way: other places on the ring");
    }
    if line.down {
        detail.push_str(", announced down");
    }
    if line.backup {
        detail.push_str(", priority 1");
    }
    let count = twins.entry(address.to_string()).or_default();
    *count += 1;
    let id = if *count == 1 { address.to_string() } else { format!("{address}#{count}") };
    let id = EndpointId::new(&id)
        .map_err(|error| ConvertError::value(place, "server", name, error.to_string()))?;
    let mut endpoint = Endpoint::new(id, address).with_weight(Weight::new(line.weight));
    if line.down {
        endpoint = endpoint.with_announced(Announced::Down);
    }
    if line.backup {
        endpoint = endpoint.with_priority(Priority::new(1).unwrap_or(Priority::LOWEST));
    }
    if differs.is_empty() {
        report.taken(place, line.directive.text(), detail);
    } else {
        report.differs(place, line.directive.text(), format!("{detail}; {}", differs.join("; ")));
    }
    Ok(Some(endpoint))
}

/// Adds what came of an upstream: http and stream have names of their own with nginx, and clusters have not.
pub(crate) fn add(upstream: Upstream, conversion: &mut Conversion) -> Result<(), ConvertError> {
    let name = upstream.cluster.name.clone();
    if let Some(known) = conversion.setup.cluster(&name) {
        let is_direct = |cluster: &ClusterConfig| {
            let [only] = cluster.endpoints.as_slice() else { return false };
            only.address().to_string() == name && cluster.policy.name() == "nginx"
        };
        if is_direct(known) && is_direct(&upstream.cluster) {
            return Ok(());
        }
        let expected =
            "another block of http or stream has an upstream of this name: give one of them another name";
        return Err(ConvertError::unexpected(&upstream.place, format!("upstream {name}"), expected));
    }
    if let Some(rule) = upstream.key {
        conversion.setup.keys.insert(name, rule);
    }
    conversion.setup.clusters.push(upstream.cluster);
    Ok(())
}

/// An upstream of the one server that `proxy_pass` names, with this port if it names none.
pub(crate) fn direct(name: &str, port: u16, directive: &Directive) -> Result<Upstream, ConvertError> {
    let refuse = |error: &dyn std::fmt::Display| {
        let why = format!("no upstream of this name, and {error}");
        ConvertError::value(directive.place(), "proxy_pass", name, why)
    };
    let (address, has_port) = address(name, port).map_err(|error| refuse(&error))?;
    if port == 0 && !has_port {
        return Err(refuse(&"nginx refuses an address without a port here"));
    }
    let id = EndpointId::new(address.to_string()).map_err(|error| refuse(&error))?;
    let mut cluster = ClusterConfig::new(name);
    cluster.policy = PolicyConfig::nginx();
    cluster.endpoints.push(Endpoint::new(id, address));
    Ok(Upstream { cluster, key: None, tries: 1, place: directive.place().clone() })
}

/// An address as nginx writes it, and whether it has a port.
pub(crate) fn address(text: &str, port: u16) -> Result<(Address, bool), evenkeel_types::ParseAddressError> {
    let has_port = match text.rsplit_once(':') {
        Some((before, digits)) => {
            (!before.contains(':') || before.ends_with(']'))
                && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => false,
    };
    if text.starts_with("unix:") || has_port {
        return Ok((text.parse()?, true));
    }
    Ok((format!("{text}:{port}").parse()?, false))
}
