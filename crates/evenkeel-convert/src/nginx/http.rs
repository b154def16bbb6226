use std::collections::BTreeMap;

use evenkeel::ClusterConfig;
use evenkeel::router::{Action, KeySource, RouteConfig, RouterConfig, StaticResponse};
use evenkeel_route::matching::{
    DotSegments, EscapedSlashes, HostMatch, HttpRule, HttpRules, HttpRulesConfig, PathMatch, PathOptions,
    Percent,
};
use evenkeel_route::split::{SplitConfig, Stickiness};
use evenkeel_types::{Endpoint, EndpointId};

use super::location::{Matcher, Rank, matcher, returned};
use super::proxy::Proxy;
use super::tree::{Directive, parse};
use super::upstream::{Upstream, address, read_upstream};
use super::variables::{self, Variable, Variables, with_condition};
use super::{key, stream};
use crate::conversion::{Conversion, Options};
use crate::dialect::Dialect;
use crate::error::{ConvertError, Problem};
use crate::files::{Files, Text};
use crate::key_rule::KeyRule;
use crate::place::Place;
use crate::setup::{Listener, Serves};

/// Reads a configuration of nginx: a whole one, or a part that holds `upstream` and `server` blocks.
pub(crate) fn read(files: &mut Files, text: &Text, _: &Options) -> Result<Conversion, ConvertError> {
    if let Some(other) = Dialect::guess(&text.text).filter(|&guess| guess != Dialect::Nginx) {
        let problem = Problem::Dialect { looks_like: other, wanted: Dialect::Nginx };
        return Err(ConvertError::new(&Place::start(&text.name), problem));
    }
    let tree = parse(files, text)?;
    let mut conversion = Conversion::default();
    let is_part =
        !tree.iter().any(|directive| ["http", "stream", "events"].contains(&directive.name.text.as_str()));
    if is_part {
        Reader::default().read(&tree, &mut conversion)?;
    } else {
        for directive in &tree {
            match directive.name.text.as_str() {
                "http" => Reader::default().read(directive.inside(), &mut conversion)?,
                "stream" => stream::read(directive.inside(), &mut conversion)?,
                _ => proxys_own(directive, &mut conversion),
            }
        }
    }
    conversion.setup.check(&Place::start(&text.name))?;
    Ok(conversion)
}

/// What nobody but a proxy has.
pub(crate) fn proxys_own(directive: &Directive, conversion: &mut Conversion) {
    let detail = match directive.name.text.as_str() {
        "if" => "conditions inside a location are not followed: write a route with a match",
        "rewrite" => "paths are not rewritten: do it where you send the request",
        "limit_req" | "limit_req_zone" => "give the route rate_limits",
        "limit_conn" | "limit_conn_zone" => "bound the cluster with limit, or your listener",
        "mirror" => "give the route a mirror: a cluster and a share",
        "auth_request" | "auth_basic" | "allow" | "deny" => "who may come in is your server's business",
        "root" | "alias" | "index" | "try_files" | "autoindex" => "evenkeel serves no files",
        "error_page" => "answers are your server's: the pick tells when there is nobody",
        "fastcgi_pass" | "uwsgi_pass" | "scgi_pass" | "memcached_pass" => {
            "evenkeel picks; the protocol is your client's"
        }
        "resolver" => "names are resolved by discovery: evenkeel-dns",
        name if name.starts_with("ssl_") || name.starts_with("proxy_ssl_") => {
            "TLS is your server's and your client's"
        }
        name if name.starts_with("proxy_cache") => "evenkeel has no cache",
        name if name.ends_with("_log") || name == "log_format" => {
            "logs are your server's; evenkeel-metrics has those of clusters"
        }
        _ => "it is about serving, not about balancing: set it in your server",
    };
    conversion.report.none(directive.place(), directive.text(), detail);
}

/// Reads what is in `http`.
#[derive(Default)]
pub(crate) struct Reader {
    upstreams: BTreeMap<String, Upstream>,
    variables: Variables,
    proxy: Proxy,
}

/// A `server` block.
struct Server<'a> {
    block: &'a Directive,
    listens: Vec<Listen>,
    hosts: Vec<HostMatch>,
    name: String,
    routes: Vec<(Rank, RouteConfig)>,
}

#[derive(Clone)]
struct Listen {
    address: String,
    tls: bool,
    is_default: bool,
}

impl Reader {
    fn read(mut self, block: &[Directive], conversion: &mut Conversion) -> Result<(), ConvertError> {
        for directive in block {
            match directive.name.text.as_str() {
                "upstream" => self.upstream(directive, conversion)?,
                "map" => {
                    let (name, variable) = variables::map(directive, &mut conversion.report)?;
                    self.variables.insert(name, variable);
                }
                "split_clients" => {
                    let (name, variable) = variables::split_clients(directive, &mut conversion.report)?;
                    self.variables.insert(name, variable);
                }
                "server" => {}
                name if Proxy::knows(name) => {}
                _ => proxys_own(directive, conversion),
            }
        }
        self.proxy = Proxy::default().within(block, &mut conversion.report)?;
        let mut servers = Vec::new();
        for directive in block.iter().filter(|directive| directive.name.is("server")) {
            servers.push(self.server(directive, conversion)?);
        }
        for directive in block.iter().filter(|directive| directive.name.is("map")) {
            self.tell_map(directive, conversion);
        }
        listeners(&servers, conversion);
        let mut upstreams: Vec<Upstream> = self.upstreams.into_values().collect();
        upstreams.sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
        for upstream in upstreams {
            if let Some(rule) = upstream.key {
                conversion.setup.keys.insert(upstream.cluster.name.clone(), rule);
            }
            conversion.setup.clusters.push(upstream.cluster);
        }
        Ok(())
    }

    fn upstream(&mut self, directive: &Directive, conversion: &mut Conversion) -> Result<(), ConvertError> {
        let upstream = read_upstream(directive, &mut conversion.report)?;
        let name = upstream.cluster.name.clone();
        if let Some(first) = self.upstreams.get(&name) {
            let problem = Problem::Twice { what: format!("upstream {name}"), first: first.place.clone() };
            return Err(ConvertError::new(directive.place(), problem));
        }
        self.upstreams.insert(name, upstream);
        Ok(())
    }

    /// Whether a map chooses upstreams: only such maps are followed.
    fn tell_map(&self, directive: &Directive, conversion: &mut Conversion) {
        let name = directive.args.get(1).map_or("", |word| word.text.trim_start_matches('$'));
        let chooses = matches!(self.variables.get(name), Some(Variable::Map { cases, default, .. })
            if cases.iter().map(|(_, value)| value).chain([default]).any(|value| self.upstreams.contains_key(value)));
        if chooses {
            conversion.report.taken(directive.place(), directive.text(), "routes, one for each case");
        } else {
            conversion.report.none(
                directive.place(),
                directive.text(),
                "only maps that choose an upstream are followed",
            );
        }
    }

    fn server<'a>(
        &mut self,
        block: &'a Directive,
        conversion: &mut Conversion,
    ) -> Result<Server<'a>, ConvertError> {
        let mut server =
            Server { block, listens: Vec::new(), hosts: Vec::new(), name: String::new(), routes: Vec::new() };
        for directive in block.inside() {
            match directive.name.text.as_str() {
                "listen" => server.listens.push(listen(directive, conversion)?),
                "server_name" => names(directive, &mut server, conversion),
                "location" | "return" => {}
                name if Proxy::knows(name) => {}
                _ => proxys_own(directive, conversion),
            }
        }
        if server.listens.is_empty() {
            server.listens.push(Listen { address: "*:80".into(), tls: false, is_default: false });
        }
        if server.name.is_empty() {
            server.name = server.listens[0].address.clone();
        }
        let proxy = self.proxy.within(block.inside(), &mut conversion.report)?;
        conversion.report.taken(block.place(), format!("server {}", server.name), "a listener with routes");
        let returns = block.inside().iter().find(|directive| directive.name.is("return"));
        if let Some(directive) = returns {
            // It comes before all locations.
            let matcher = Matcher { path: PathMatch::Any, rank: Rank::Exact };
            self.answer(directive, &matcher, &mut server, &proxy, conversion);
        } else {
            let mut number = 0;
            self.locations(block.inside(), &proxy, &mut server, &mut number, conversion)?;
        }
        if !server.routes.iter().any(|(_, route)| takes_all(&route.rule)) {
            let rule = HttpRule { paths: Vec::new(), ..HttpRule::default() };
            let mut route = RouteConfig::new("rest", Action::Respond(StaticResponse::new(404)));
            route.rule = rule;
            server.routes.push((Rank::Rest, route));
            conversion.report.differs(
                block.place(),
                format!("server {}", server.name),
                "what no location takes is answered with 404, where nginx looks for files",
            );
        }
        // Sorting keeps the order of equals.
        server.routes.sort_by_key(|(rank, _)| *rank);
        firm_and_longer(&server, conversion);
        Ok(server)
    }

    fn locations(
        &mut self,
        block: &[Directive],
        proxy: &Proxy,
        server: &mut Server<'_>,
        number: &mut usize,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        for directive in block.iter().filter(|directive| directive.name.is("location")) {
            *number += 1;
            let Some(matcher) = matcher(directive, *number)? else {
                let detail = "nginx goes there by itself, requests do not";
                conversion.report.none(directive.place(), directive.text(), detail);
                continue;
            };
            if !fits_alone(&matcher.path) {
                let detail =
                    "this expression does not compile here: look-around and back-references are not known";
                conversion.report.none(directive.place(), directive.text(), detail);
                continue;
            }
            let inner = proxy.within(directive.inside(), &mut conversion.report)?;
            self.location(directive, &matcher, server, &inner, conversion)?;
            self.locations(directive.inside(), &inner, server, number, conversion)?;
        }
        Ok(())
    }

    fn location(
        &mut self,
        block: &Directive,
        matcher: &Matcher,
        server: &mut Server<'_>,
        proxy: &Proxy,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        let mut is_done = false;
        for directive in block.inside() {
            match directive.name.text.as_str() {
                "proxy_pass" | "grpc_pass" if !is_done => {
                    is_done = self.pass(directive, matcher, server, proxy, conversion)?;
                }
                "return" if !is_done => {
                    is_done = self.answer(directive, matcher, server, proxy, conversion);
                }
                "location" => {}
                name if Proxy::knows(name) => {}
                _ => proxys_own(directive, conversion),
            }
        }
        let subject = block.text();
        if is_done {
            conversion.report.taken(block.place(), subject, "a route");
            return Ok(());
        }
        let name = route_name(server, block);
        let mut route = RouteConfig::new(name, Action::Respond(StaticResponse::new(404)));
        route.rule.paths = paths(matcher);
        server.routes.push((matcher.rank, route));
        let detail = "nothing here that evenkeel can do: a route that answers 404, so that no other takes its requests";
        conversion.report.differs(block.place(), subject, detail);
        Ok(())
    }

    fn answer(
        &self,
        directive: &Directive,
        matcher: &Matcher,
        server: &mut Server<'_>,
        proxy: &Proxy,
        conversion: &mut Conversion,
    ) -> bool {
        match returned(directive, &server.name) {
            Ok(action) => {
                let detail = match &action {
                    Action::Redirect(_) => "an action redirect",
                    _ => "an action respond, as text/plain",
                };
                conversion.report.taken(directive.place(), directive.text(), detail);
                let mut route = RouteConfig::new(route_name(server, directive), action);
                route.rule.paths = paths(matcher);
                route.headers.response = proxy.headers().response;
                server.routes.push((matcher.rank, route));
                true
            }
            Err(why) => {
                conversion.report.none(
                    directive.place(),
                    directive.text(),
                    format!("{why}: answer it in your server"),
                );
                false
            }
        }
    }

    /// `proxy_pass`. Whether a route came of it.
    fn pass(
        &mut self,
        directive: &Directive,
        matcher: &Matcher,
        server: &mut Server<'_>,
        proxy: &Proxy,
        conversion: &mut Conversion,
    ) -> Result<bool, ConvertError> {
        let target = directive.only()?;
        let (place, subject) = (directive.place(), directive.text());
        let (scheme, rest) = target.text.split_once("://").unwrap_or(("http", &target.text));
        if ["https", "grpcs"].contains(&scheme) {
            conversion.report.none(place, format!("{scheme}://"), "TLS to endpoints is your client's");
        }
        let (name, uri) = match rest.find('/') {
            Some(slash) if !rest.starts_with("unix:") => rest.split_at(slash),
            _ => (rest, ""),
        };
        let name = name.strip_suffix("$request_uri").unwrap_or(name);
        let is_same = uri.is_empty() || uri == "/" && matcher.path == PathMatch::Any;
        if !is_same && uri != "/$request_uri" {
            let detail = format!("the path is not changed to {uri}: do it where you send the request");
            conversion.report.none(place, subject.clone(), detail);
        }
        let mut base = RouteConfig::new(route_name(server, directive), Action::Cluster(String::new()));
        base.rule.paths = paths(matcher);
        base.headers = proxy.headers();
        if let Some(variable) = key::variable(name) {
            return self.choose(directive, variable, &base, matcher.rank, server, proxy, conversion);
        }
        if key::has_variables(name) {
            conversion.report.none(
                place,
                subject,
                "where this leads is only known when requests come: write a route for each",
            );
            return Ok(false);
        }
        self.ensure(name, scheme, directive)?;
        let route = self.to_cluster(base, name, proxy);
        if route.key.is_empty() && self.upstreams.get(name).is_some_and(|upstream| upstream.key.is_some()) {
            let detail = format!("a route cannot say this key: make it with keys.{name}");
            conversion.report.differs(place, format!("the key of {name}"), detail);
        }
        tell_retry(&route, directive, conversion);
        conversion.report.taken(place, subject, format!("action cluster {name}"));
        server.routes.push((matcher.rank, route));
        Ok(true)
    }

    /// `proxy_pass http://$variable`.
    #[expect(clippy::too_many_arguments, reason = "the state of one walk")]
    fn choose(
        &mut self,
        directive: &Directive,
        name: &str,
        base: &RouteConfig,
        rank: Rank,
        server: &mut Server<'_>,
        proxy: &Proxy,
        conversion: &mut Conversion,
    ) -> Result<bool, ConvertError> {
        let (place, subject) = (directive.place(), directive.text());
        match self.variables.get(name).cloned() {
            Some(Variable::Split { key, arms }) => {
                for arm in &arms {
                    self.ensure(&arm.cluster, "http", directive)?;
                }
                let servers =
                    arms.iter().filter_map(|arm| self.upstreams.get(&arm.cluster)).map(|up| up.tries).max();
                let mut route = base.clone();
                let stickiness = if key.is_empty() { Stickiness::Drawn } else { Stickiness::Keyed };
                route.action = Action::Split(SplitConfig { arms, stickiness, ..SplitConfig::default() });
                route.key = key;
                route.retry = proxy.retry(servers.unwrap_or(1));
                conversion.report.taken(place, subject, "an action split");
                server.routes.push((rank, route));
                Ok(true)
            }
            Some(Variable::Map { source, cases, default }) => {
                let mut is_first = true;
                for (test, cluster) in &cases {
                    let Some(rule) = with_condition(&base.rule, &source, test) else {
                        let detail = format!(
                            "a map of {source}: routes look at headers, cookies, parameters and methods"
                        );
                        conversion.report.none(place, subject.clone(), detail);
                        return Ok(false);
                    };
                    let cluster = bare(cluster);
                    self.ensure(cluster, "http", directive)?;
                    let mut route = self.to_cluster(base.clone(), cluster, proxy);
                    route.rule = rule;
                    route.name = format!("{} {cluster} {}", base.name, server.routes.len());
                    server.routes.push((rank, route));
                    is_first = false;
                }
                let default = bare(&default);
                if default.is_empty() {
                    conversion.report.none(
                        place,
                        subject,
                        "the map has no default: nginx answers 500 to the others",
                    );
                    return Ok(!is_first);
                }
                self.ensure(default, "http", directive)?;
                server.routes.push((rank, self.to_cluster(base.clone(), default, proxy)));
                conversion.report.taken(place, subject, "a route for each case of the map");
                Ok(true)
            }
            None => {
                conversion.report.none(
                    place,
                    subject,
                    format!("what ${name} holds is only known when requests come"),
                );
                Ok(false)
            }
        }
    }

    fn to_cluster(&self, mut route: RouteConfig, name: &str, proxy: &Proxy) -> RouteConfig {
        route.action = Action::Cluster(name.to_owned());
        if let Some(upstream) = self.upstreams.get(name) {
            route.retry = proxy.retry(upstream.tries);
            route.key = key_sources(upstream.key.as_ref());
        }
        route
    }

    /// An address that is named directly is an upstream of one server.
    fn ensure(&mut self, name: &str, scheme: &str, directive: &Directive) -> Result<(), ConvertError> {
        if self.upstreams.contains_key(name) {
            return Ok(());
        }
        let port = if ["https", "grpcs"].contains(&scheme) { 443 } else { 80 };
        let refuse = |error: &dyn std::fmt::Display| {
            ConvertError::value(
                directive.place(),
                "proxy_pass",
                name,
                format!("no upstream of this name, and {error}"),
            )
        };
        let (address, _) = address(name, port).map_err(|error| refuse(&error))?;
        let mut cluster = ClusterConfig::new(name);
        cluster.policy = evenkeel::PolicyConfig::nginx();
        let id = EndpointId::new(address.to_string()).map_err(|error| refuse(&error))?;
        cluster.endpoints.push(Endpoint::new(id, address));
        let upstream = Upstream { cluster, key: None, tries: 1, place: directive.place().clone() };
        self.upstreams.insert(name.to_owned(), upstream);
        Ok(())
    }
}

fn bare(target: &str) -> &str {
    target.strip_prefix("http://").unwrap_or(target).trim_end_matches('/')
}

/// What the router takes for the key that the cluster goes by, where it can say it.
pub(crate) fn key_sources(rule: Option<&KeyRule>) -> Vec<KeySource> {
    match rule {
        Some(KeyRule::Source) => vec![KeySource::Source],
        Some(KeyRule::Text(parts)) => match parts.as_slice() {
            [part] => variables::source_of(part).into_iter().collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn tell_retry(route: &RouteConfig, directive: &Directive, conversion: &mut Conversion) {
    if let Some(retry) = &route.retry {
        let detail = format!(
            "retry: {} attempts, each elsewhere, with 1 ms in between where nginx does not wait; requests that must not be repeated are not, as in nginx",
            retry.attempts
        );
        conversion.report.differs(directive.place(), "proxy_next_upstream (in force here)", detail);
    }
}

fn route_name(server: &Server<'_>, directive: &Directive) -> String {
    format!("{}:{}", server.name, directive.place().line)
}

fn paths(matcher: &Matcher) -> Vec<PathMatch> {
    if matcher.path == PathMatch::Any { Vec::new() } else { vec![matcher.path.clone()] }
}

fn takes_all(rule: &HttpRule) -> bool {
    rule.paths.is_empty()
        && rule.headers.is_empty()
        && rule.query.is_empty()
        && rule.cookies.is_empty()
        && rule.methods.is_empty()
        && rule.fraction.is_none()
}

fn fits_alone(path: &PathMatch) -> bool {
    let rule = HttpRule { paths: vec![path.clone()], ..HttpRule::default() };
    HttpRules::new(&HttpRulesConfig { rules: vec![rule], path: path_options(), ..HttpRulesConfig::default() })
        .is_ok()
}

/// The one case in which the order of locations cannot be an order of routes.
fn firm_and_longer(server: &Server<'_>, conversion: &mut Conversion) {
    let text = |route: &RouteConfig| match route.rule.paths.first() {
        Some(PathMatch::RawPrefix(text)) => text.clone(),
        _ => String::new(),
    };
    let of = |wanted: fn(&Rank) -> bool| server.routes.iter().filter(move |(rank, _)| wanted(rank));
    if of(|rank| matches!(rank, Rank::Regex(_))).next().is_none()
        && of(|rank| matches!(rank, Rank::Prefix(_))).next().is_none()
    {
        return;
    }
    for (_, firm) in of(|rank| matches!(rank, Rank::Firm(_))) {
        for (_, longer) in of(|rank| matches!(rank, Rank::Prefix(_))) {
            let (short, long) = (text(firm), text(longer));
            if long.len() > short.len() && long.starts_with(&short) {
                let detail = format!(
                    "location ^~ {short} is asked first, where nginx prefers {long}, which is longer"
                );
                conversion.report.differs(server.block.place(), format!("location {long}"), detail);
            }
        }
    }
}

fn listen(directive: &Directive, conversion: &mut Conversion) -> Result<Listen, ConvertError> {
    let Some((address, flags)) = directive.args.split_first() else {
        return Err(ConvertError::unexpected(
            directive.place(),
            "listen",
            "an address or a port comes after it",
        ));
    };
    let text = address.text.as_str();
    let text = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("*:{text}")
    } else if text.starts_with("unix:")
        || text.rsplit_once(':').is_some_and(|(before, port)| {
            (!before.contains(':') || before.ends_with(']')) && port.bytes().all(|byte| byte.is_ascii_digit())
        })
    {
        text.to_owned()
    } else {
        format!("{text}:80")
    };
    let has = |name: &str| flags.iter().any(|flag| flag.is(name));
    for flag in flags {
        if !["ssl", "default_server", "default", "http2", "reuseport"].contains(&flag.text.as_str()) {
            conversion.report.none(
                &flag.place,
                format!("listen {text} {}", flag.text),
                if flag.is("quic") {
                    "HTTP/3 is your server's: what is taken is TLS over TCP at this address"
                } else {
                    "sockets are your server's"
                },
            );
        }
    }
    conversion.report.taken(directive.place(), directive.text(), "an address of a listener");
    Ok(Listen {
        address: text,
        tls: has("ssl") || has("quic"),
        is_default: has("default_server") || has("default"),
    })
}

fn names(directive: &Directive, server: &mut Server<'_>, conversion: &mut Conversion) {
    for word in &directive.args {
        let subject = format!("server_name {}", word.text);
        let texts = match word.text.strip_prefix('.') {
            Some(rest) => vec![rest.to_owned(), format!("*.{rest}")],
            None => vec![word.text.clone()],
        };
        if server.name.is_empty() {
            server.name.clone_from(&word.text);
        }
        for text in texts {
            if text.is_empty() || text == "_" {
                conversion.report.taken(
                    &word.place,
                    subject.clone(),
                    "no host: what other servers do not take",
                );
                continue;
            }
            match text.parse::<HostMatch>() {
                Ok(host) if !text.starts_with('~') => {
                    server.hosts.push(host);
                    conversion.report.taken(&word.place, subject.clone(), "match.hosts");
                }
                _ => conversion.report.none(
                    &word.place,
                    subject.clone(),
                    "hosts are names, *.name or name.*: list them",
                ),
            }
        }
    }
}

/// How nginx normalises paths before it looks at locations.
pub(crate) fn path_options() -> PathOptions {
    PathOptions {
        percent: Percent::All,
        escaped_slashes: EscapedSlashes::Decode,
        dot_segments: DotSegments::Resolve,
        merge_slashes: true,
        ..PathOptions::default()
    }
}

/// How early nginx looks at a host: names, then masks, the longest first.
fn host_rank(host: &HostMatch) -> (u8, usize) {
    match host {
        HostMatch::Exact(_) => (0, 0),
        HostMatch::Suffix(text) => (1, usize::MAX - text.len()),
        HostMatch::Prefix(text) => (2, usize::MAX - text.len()),
        HostMatch::Any => (3, 0),
    }
}

/// One listener for all addresses that serve the same.
fn listeners(servers: &[Server<'_>], conversion: &mut Conversion) {
    let mut by_address: Vec<(String, bool, Vec<usize>, usize)> = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        for listen in &server.listens {
            match by_address.iter_mut().find(|(address, ..)| *address == listen.address) {
                Some((_, tls, members, default)) => {
                    *tls |= listen.tls;
                    if !members.contains(&number) {
                        members.push(number);
                    }
                    if listen.is_default {
                        *default = number;
                    }
                }
                None => by_address.push((listen.address.clone(), listen.tls, vec![number], number)),
            }
        }
    }
    let mut groups: Vec<(Vec<String>, bool, Vec<usize>, usize)> = Vec::new();
    for (address, tls, members, default) in by_address {
        match groups.iter_mut().find(|(_, a, b, c)| (*a, b, *c) == (tls, &members, default)) {
            Some((addresses, ..)) => addresses.push(address),
            None => groups.push((vec![address], tls, members, default)),
        }
    }
    for (addresses, tls, members, default) in groups {
        let mut ranked: Vec<((u8, usize), HostMatch, usize)> = Vec::new();
        for &number in &members {
            for host in &servers[number].hosts {
                ranked.push((host_rank(host), host.clone(), number));
            }
        }
        ranked.push(((3, 0), HostMatch::Any, default));
        ranked.sort_by_key(|&(rank, ..)| rank);
        // Hosts of one server that stand side by side share their routes.
        let mut runs: Vec<(Vec<HostMatch>, usize)> = Vec::new();
        for (_, host, number) in ranked {
            match runs.last_mut() {
                Some((hosts, last)) if *last == number && host != HostMatch::Any => hosts.push(host),
                _ => runs.push((vec![host], number)),
            }
        }
        // What the last one takes by name the default takes anyway.
        if let [.., (_, last), (_, default)] = runs.as_slice()
            && last == default
        {
            runs.remove(runs.len() - 2);
        }
        let mut router = RouterConfig { path: path_options(), ..RouterConfig::default() };
        for (hosts, number) in runs {
            for (_, route) in &servers[number].routes {
                let mut route = route.clone();
                if hosts != [HostMatch::Any] && route.rule.hosts.is_empty() {
                    route.rule.hosts.clone_from(&hosts);
                }
                if route.name == "rest" {
                    route.name = format!("{}:rest", servers[number].name);
                }
                unique(&mut route.name, &router.routes);
                router.routes.push(route);
            }
        }
        let name = addresses[0].clone();
        conversion.setup.listeners.push(Listener { name, addresses, tls, serves: Serves::Http(router) });
    }
}

/// A name that no route has yet.
pub(crate) fn unique(name: &mut String, routes: &[RouteConfig]) {
    let is_taken = |name: &str| routes.iter().any(|route| route.name == name);
    if is_taken(name) {
        let mut number = 2_u32;
        while is_taken(&format!("{name}#{number}")) {
            number += 1;
        }
        *name = format!("{name}#{number}");
    }
}
