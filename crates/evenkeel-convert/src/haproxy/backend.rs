use std::time::Duration;

use evenkeel::router::{AffinityConfig, KeySource, LearnedAffinity};
use evenkeel::{ClusterConfig, LeastRequestConfig, PolicyConfig, SlowStartConfig};
use evenkeel_balance::RandomConfig;
use evenkeel_balance::compat::haproxy::{Balance, HaproxyConfig, Method};
use evenkeel_health::{CheckConfig, RiseFallConfig, Start};
use evenkeel_probe::{Payload, ProbeConfig, Roots, TcpProbe, TlsConfig};
use evenkeel_route::affinity::{CookieConfig, CookieKey, LearnedConfig, Renewal};
use evenkeel_route::retry::{Backoff, RetryConfig};
use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Priority, Ratio, Weight};

use super::balance::Chosen;
use super::lexer::Line;
use super::server::Parameters;
use super::settings::{Check, Settings};
use crate::conversion::{Conversion, Options};
use crate::error::{ConvertError, Problem};
use crate::place::Place;
use crate::setup::{CheckSetup, check_cluster};
use crate::word::Word;

/// A `server` line.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    name: Word,
    address: Word,
    parameters: Parameters,
    line: Line,
}

/// What the routes to a backend need to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    pub(crate) affinity: Option<AffinityConfig>,
    pub(crate) servers: usize,
}

/// Reads `server NAME ADDRESS …`.
pub(crate) fn server(
    line: &Line,
    settings: &Settings,
    conversion: &mut Conversion,
) -> Result<Server, ConvertError> {
    let [_, name, address, rest @ ..] = line.words.as_slice() else {
        let expected = "a name and an address come after it";
        return Err(ConvertError::unexpected(line.place(), line.text(), expected));
    };
    let mut parameters = settings.server.clone();
    parameters.take(rest, &mut conversion.report)?;
    Ok(Server { name: name.clone(), address: address.clone(), parameters, line: line.clone() })
}

/// Makes the cluster of a backend.
pub(crate) fn finish(
    name: &str,
    place: &Place,
    settings: &Settings,
    servers: &[Server],
    options: &Options,
    conversion: &mut Conversion,
) -> Result<Target, ConvertError> {
    let mut cluster = ClusterConfig::new(name);
    let (chosen, key) = settings.balance.clone().unwrap_or((Chosen::Mode(Balance::RoundRobin), None));
    let maxconn = match chosen {
        Chosen::Mode(_) => shared_maxconn(servers, conversion),
        Chosen::Random(_) => {
            tell_random(place, settings, servers, conversion);
            None
        }
    };
    cluster.policy = match chosen {
        Chosen::Mode(balance) => PolicyConfig::Haproxy(HaproxyConfig {
            balance,
            hash_type: settings.hash_type,
            hash_balance_factor: settings.hash_balance_factor,
            maxconn,
        }),
        Chosen::Random(1) => PolicyConfig::Random(RandomConfig::default()),
        Chosen::Random(draws) => PolicyConfig::LeastRequest(LeastRequestConfig {
            choices: evenkeel::Choices::Draw(draws),
            ..LeastRequestConfig::default()
        }),
    };
    numbers(servers, chosen, settings, conversion);
    let mut backups = 0_u8;
    for server in servers {
        if let Some(endpoint) = endpoint(server, settings, &mut backups, conversion)? {
            if let Some(twin) =
                cluster.endpoints.iter().position(|other: &Endpoint| other.id() == endpoint.id())
            {
                let what = format!("server {}", server.name.text);
                let first = servers.get(twin).map_or(place, |server| server.line.place()).clone();
                return Err(ConvertError::new(server.line.place(), Problem::Twice { what, first }));
            }
            cluster.endpoints.push(endpoint);
        }
    }
    slow_start(servers, &mut cluster, conversion);
    encrypt(name, servers, conversion);
    check(name, settings, servers, &mut cluster, conversion)?;
    conversion.report.taken(place, format!("backend {name}"), format!("clusters.{name}"));
    check_cluster(&cluster, place)?;
    if let Some(rule) = key {
        conversion.setup.keys.insert(name.to_owned(), rule);
    }
    let count = cluster.endpoints.len();
    conversion.setup.clusters.push(cluster);
    let affinity = affinity(settings, servers, options, conversion);
    Ok(Target { name: name.to_owned(), settings: settings.clone(), affinity, servers: count })
}

/// What only the compatible policy knows, and not those that draw.
fn tell_random(place: &Place, settings: &Settings, servers: &[Server], conversion: &mut Conversion) {
    if let Some(factor) = settings.hash_balance_factor {
        let detail = "policies that draw have no such bound: the one with fewer requests is taken anyway";
        conversion.report.none(place, format!("hash-balance-factor {factor}"), detail);
    }
    for server in servers.iter().filter(|server| server.parameters.maxconn > 0) {
        let detail = "only the policy haproxy knows it: bound the endpoint with the cluster's limit";
        conversion.report.none(server.line.place(), format!("maxconn {}", server.parameters.maxconn), detail);
    }
}

fn shared_maxconn(servers: &[Server], conversion: &mut Conversion) -> Option<u32> {
    let first = servers.first()?.parameters.maxconn;
    for server in servers.iter().filter(|server| server.parameters.maxconn != first) {
        let detail = format!("all servers of a cluster share one maxconn, that of the first: {first}");
        conversion.report.differs(
            server.line.place(),
            format!("maxconn {}", server.parameters.maxconn),
            detail,
        );
    }
    if first > 0
        && let Some(server) = servers.first()
    {
        let detail = "policy haproxy, maxconn: where all are full, requests go to the one with the fewest connections instead of waiting";
        conversion.report.differs(server.line.place(), format!("maxconn {first}"), detail);
    }
    Some(first).filter(|&first| first > 0)
}

/// HAProxy numbers all servers; a policy numbers those of one tier.
fn numbers(servers: &[Server], chosen: Chosen, settings: &Settings, conversion: &mut Conversion) {
    let matters = match chosen {
        Chosen::Mode(Balance::First) => true,
        Chosen::Mode(Balance::Source | Balance::Uri | Balance::UrlParam | Balance::Hdr | Balance::Hash) => {
            settings.hash_type.method == Method::Consistent
        }
        _ => false,
    };
    if !matters {
        return;
    }
    let mut place_in_tier = 0_u32;
    let mut next_id = 1_u32;
    let taken: Vec<u32> = servers.iter().filter_map(|server| server.parameters.id).collect();
    for server in servers {
        let id = server.parameters.id.unwrap_or_else(|| {
            while taken.contains(&next_id) {
                next_id = next_id.saturating_add(1);
            }
            next_id
        });
        // Those with a number of their own are counted too.
        next_id = next_id.saturating_add(1);
        if server.parameters.backup {
            continue;
        }
        place_in_tier += 1;
        if id != place_in_tier {
            let detail = format!(
                "HAProxy counts this server as number {id}, and here it is number {place_in_tier} of its tier: other places on the ring; write backups last and leave out ids"
            );
            conversion.report.differs(server.line.place(), format!("server {}", server.name.text), detail);
        }
    }
}

fn endpoint(
    server: &Server,
    settings: &Settings,
    backups: &mut u8,
    conversion: &mut Conversion,
) -> Result<Option<Endpoint>, ConvertError> {
    let (place, parameters) = (server.line.place(), &server.parameters);
    let subject = server.line.text();
    let Some(address) = address(&server.address)? else {
        let detail = "a server without a port, or with the client's: evenkeel needs one";
        conversion.report.none(place, subject, detail);
        return Ok(None);
    };
    let id = EndpointId::new(&server.name.text).map_err(|error| {
        ConvertError::value(&server.name.place, "server", server.name.text.clone(), error.to_string())
    })?;
    let mut detail = format!("endpoint {id}");
    let is_name = matches!(address, Address::Host(..));
    let mut endpoint = Endpoint::new(id, address).with_weight(Weight::new(parameters.weight));
    if parameters.disabled {
        endpoint = endpoint.with_announced(Announced::Down);
        detail.push_str(", announced down");
    }
    if parameters.backup {
        // The next backup is used when this one is down too.
        *backups = if settings.uses_all_backups { 1 } else { backups.saturating_add(1) };
        let priority = Priority::new(*backups)
            .map_err(|error| ConvertError::value(place, "backup", subject.clone(), error.to_string()))?;
        endpoint = endpoint.with_priority(priority);
        detail.push_str(&format!(", priority {backups}"));
    }
    if is_name {
        let detail = format!(
            "{detail}; HAProxy resolves the name when it starts: whoever connects does it here, or evenkeel-dns follows it"
        );
        conversion.report.differs(place, subject, detail);
    } else {
        conversion.report.taken(place, subject, detail);
    }
    Ok(Some(endpoint))
}

/// An address as HAProxy writes it; none without a port of its own.
pub(crate) fn address(word: &Word) -> Result<Option<Address>, ConvertError> {
    let text = word.text.as_str();
    let plain =
        ["ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let text = plain.unwrap_or(text);
    let refuse = |error: &dyn std::fmt::Display| {
        ConvertError::value(&word.place, "address", word.text.clone(), error.to_string())
    };
    if let Some(path) = text.strip_prefix("unix@").or_else(|| text.starts_with('/').then_some(text)) {
        return format!("unix:{path}").parse().map(Some).map_err(|error| refuse(&error));
    }
    if text.contains('@') {
        return Err(refuse(&"addresses of this family are not known"));
    }
    let Some((host, port)) = text.rsplit_once(':') else { return Ok(None) };
    if port.is_empty()
        || port.starts_with(['+', '-'])
        || port == "0"
        || ["", "*", "0.0.0.0", "::", "[::]"].contains(&host)
    {
        return Ok(None);
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let written = if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{host}:{port}") };
    written.parse().map(Some).map_err(|error| refuse(&error))
}

/// How the servers are spoken to: one way for all, so that nothing that is encrypted becomes open.
fn encrypt(name: &str, servers: &[Server], conversion: &mut Conversion) {
    let Some(first) = servers.iter().find(|server| server.parameters.tls.is_on) else { return };
    for server in servers.iter().filter(|server| server.parameters.tls != first.parameters.tls) {
        let detail = "all servers of a cluster are spoken to as the first one that is encrypted";
        conversion.report.none(server.line.place(), format!("the TLS of {}", server.name.text), detail);
    }
    let (place, subject) = (first.line.place(), format!("ssl of backend {name}"));
    match first.parameters.tls.detail() {
        Some(detail) => conversion.report.differs(place, subject, detail),
        None => conversion.report.taken(place, subject, format!("upstream_tls.{name}")),
    }
    conversion.setup.upstream_tls.extend(first.parameters.tls.upstream().map(|tls| (name.to_owned(), tls)));
}

fn slow_start(servers: &[Server], cluster: &mut ClusterConfig, conversion: &mut Conversion) {
    let windows: Vec<(Option<Duration>, &Server)> =
        servers.iter().map(|server| (server.parameters.slow_start, server)).collect();
    let Some(&(Some(window), first)) = windows.iter().find(|(window, _)| window.is_some()) else { return };
    let seconds = Duration::from_secs(window.as_secs().max(1));
    cluster.slow_start = Some(SlowStartConfig::haproxy(seconds));
    let subject = format!("slowstart {}", super::units::time_text(window));
    if windows.iter().all(|(other, _)| *other == Some(window)) && seconds == window {
        conversion.report.taken(
            first.line.place(),
            subject,
            "slow_start: HAProxy's sixteenths, by acceptance",
        );
    } else {
        let detail = format!("slow_start: one of {} s for all servers of the cluster", seconds.as_secs());
        conversion.report.differs(first.line.place(), subject, detail);
    }
}

fn check(
    name: &str,
    settings: &Settings,
    servers: &[Server],
    cluster: &mut ClusterConfig,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let Some(first) = servers.iter().find(|server| server.parameters.check) else {
        for layer in servers.iter().filter_map(|server| server.parameters.observe.as_ref()) {
            let detail = "no server is checked, so there is no check to hear of it";
            conversion.report.none(&layer.place, format!("observe {}", layer.text), detail);
        }
        return Ok(());
    };
    let of = |p: &Parameters| {
        let tls = (p.check_ssl, p.check_sni.clone());
        let observe = p.observe.as_ref().map(|layer| (layer.text.clone(), p.observed.clone()));
        (p.check, (p.inter, p.fast_inter, p.down_inter), p.rise, p.fall, p.check_port, tls, observe)
    };
    let parameters = &first.parameters;
    for server in servers.iter().filter(|server| of(&server.parameters) != of(parameters)) {
        let detail = "all servers of a cluster are checked as the first one that is";
        conversion.report.differs(server.line.place(), format!("the check of {}", server.name.text), detail);
    }
    let timeout = settings.check_timeout.unwrap_or(parameters.inter);
    let (probe, port) = match &settings.check {
        Check::Tcp { send, expect, port } => {
            let payload = |text: &Option<String>| text.as_deref().map(Payload::from);
            let probe =
                TcpProbe { timeout, send: payload(send), expect: payload(expect), ..TcpProbe::default() };
            (ProbeConfig::Tcp(probe), *port)
        }
        Check::Http(probe, port) => {
            let mut probe = probe.as_ref().clone();
            probe.timeout = timeout;
            // Checks are encrypted as requests are, unless they go to a port of their own.
            let is_own = parameters.check_port.or(*port).is_some();
            if parameters.check_ssl.unwrap_or(parameters.tls.is_on && !is_own) {
                let (insecure, ca_file) = parameters.tls.roots();
                let roots = ca_file.map_or(Roots::Webpki, |file| Roots::PemFile(file.into()));
                let server_name = parameters.check_sni.clone();
                probe.tls = Some(TlsConfig { roots, server_name, insecure, ..TlsConfig::default() });
            }
            (ProbeConfig::Http(probe), *port)
        }
    };
    let thresholds = RiseFallConfig { rise: parameters.rise, fall: parameters.fall, start: Start::Up };
    cluster.health = thresholds;
    let schedule = CheckConfig {
        thresholds,
        interval: parameters.inter,
        fast_interval: parameters.fast_inter,
        down_interval: parameters.down_inter,
        jitter: Ratio::ZERO,
        observe: parameters.observe.is_some().then(|| parameters.observed.clone()),
        ..CheckConfig::default()
    };
    tell_observe(parameters, conversion);
    let port = parameters.check_port.or(port);
    conversion.setup.checks.insert(name.to_owned(), CheckSetup { probe, schedule, port });
    conversion.report.taken(first.line.place(), format!("check of backend {name}"), format!("checks.{name}"));
    Ok(())
}

/// What counts as an error is the word of whoever sends requests, and HAProxy says it by layers.
fn tell_observe(parameters: &Parameters, conversion: &mut Conversion) {
    let Some(layer) = &parameters.observe else { return };
    let detail = if layer.is("layer4") {
        "checks.schedule.observe: errors are the failed requests of your program, whose answers may be such, where HAProxy counts connections that fail"
    } else {
        "checks.schedule.observe: errors are the failed requests of your program, where HAProxy takes answers from 100 to 499, 501 and 505 for good ones"
    };
    conversion.report.differs(&layer.place, format!("observe {}", layer.text), detail);
}

fn affinity(
    settings: &Settings,
    servers: &[Server],
    options: &Options,
    conversion: &mut Conversion,
) -> Option<AffinityConfig> {
    if settings.cookie.is_none() {
        for server in servers {
            if let Some(value) = &server.parameters.cookie {
                let detail = "the backend sets no cookie, so the server's is not looked for";
                conversion.report.none(server.line.place(), format!("cookie {value}"), detail);
            }
        }
    }
    if let Some(cookie) = &settings.cookie {
        let (place, subject) = (cookie.line.place(), cookie.line.text());
        let Some(secret) = options.cookie_secret.clone().filter(|secret| secret.len() >= 16) else {
            let detail = "evenkeel signs its cookies: give a secret of at least 16 bytes (--cookie-secret-file), or set affinity.cookie of the routes";
            conversion.report.none(place, subject, detail);
            return None;
        };
        let config = CookieConfig {
            name: cookie.name.clone(),
            keys: vec![CookieKey { id: 1, secret }],
            ttl: cookie.lifetime.unwrap_or(CookieConfig::default().ttl),
            renew: if cookie.line.words.iter().any(|word| word.is("maxlife")) {
                Renewal::Never
            } else {
                Renewal::default()
            },
            secure: cookie.is_secure,
            ..CookieConfig::default()
        };
        for word in &cookie.unread {
            conversion.report.none(
                place,
                format!("cookie {}: {word}", cookie.name),
                "evenkeel's cookie has no such thing",
            );
        }
        if settings.sticks_to_source {
            let detail = "the cookie alone decides: give the route affinity.learned besides, if users without one are to stay";
            conversion.report.none(place, format!("stick on src, beside cookie {}", cookie.name), detail);
        }
        conversion.report.differs(place, subject, "affinity.cookie: signed, with a time to live, and it names the endpoint's id; cookies that HAProxy gave out are not known");
        for server in servers.iter().filter(|server| server.parameters.cookie.is_some()) {
            let value = server.parameters.cookie.clone().unwrap_or_default();
            conversion.report.differs(
                server.line.place(),
                format!("cookie {value}"),
                "the cookie names the endpoint's id",
            );
        }
        return Some(AffinityConfig { cookie: Some(config), ..AffinityConfig::default() });
    }
    if settings.sticks_to_source {
        let (capacity, ttl) = settings.table.unwrap_or((100_000, None));
        let default = LearnedConfig::default();
        let table = LearnedConfig { capacity, ttl: ttl.unwrap_or(default.ttl), ..default };
        let learned = Some(LearnedAffinity { by: vec![KeySource::Source], table });
        return Some(AffinityConfig { learned, ..AffinityConfig::default() });
    }
    None
}

impl Target {
    /// How requests to it are tried again.
    pub(crate) fn retry(&self) -> Option<RetryConfig> {
        let settings = &self.settings;
        let on = &settings.retry_on;
        let is_something =
            on.connect_failed || on.reset || on.timed_out || on.refused || !on.statuses.is_empty();
        if settings.retries == 0 || !is_something {
            return None;
        }
        let mut on = on.clone();
        // Without a time for an attempt none can be over.
        on.timed_out &= settings.server_timeout.is_some();
        Some(RetryConfig {
            attempts: settings.retries.saturating_add(1).min(16),
            on,
            per_try_timeout: settings.server_timeout,
            backoff: Backoff::default(),
            max_retry_after: Duration::ZERO,
            tier_after: 0,
        })
    }
}
