//! `proxy_pass`: where a location sends its requests.

use evenkeel::router::{Action, KeySource, RouteConfig};
use evenkeel_route::matching::PathMatch;
use evenkeel_route::split::{SplitConfig, Stickiness};

use super::http::{Reader, Server, paths, route_name};
use super::key;
use super::location::Matcher;
use super::proxy::Proxy;
use super::tree::Directive;
use super::upstream::direct;
use super::variables::{self, Variable, with_condition};
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::key_rule::KeyRule;

impl Reader {
    /// `proxy_pass`. Whether a route came of it.
    pub(crate) fn pass(
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
            return self.choose(directive, (scheme, variable), &base, server, proxy, conversion);
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
        self.encrypt(name, scheme, directive, proxy, conversion);
        let route = self.to_cluster(base, name, proxy);
        if route.key.is_empty() && self.upstreams.get(name).is_some_and(|upstream| upstream.key.is_some()) {
            let detail = format!("a route cannot say this key: make it with keys.{name}");
            conversion.report.differs(place, format!("the key of {name}"), detail);
        }
        tell_retry(&route, directive, conversion);
        conversion.report.taken(place, subject, format!("action cluster {name}"));
        server.routes.push(route);
        Ok(true)
    }

    /// `proxy_pass http://$variable`.
    fn choose(
        &mut self,
        directive: &Directive,
        (scheme, name): (&str, &str),
        base: &RouteConfig,
        server: &mut Server<'_>,
        proxy: &Proxy,
        conversion: &mut Conversion,
    ) -> Result<bool, ConvertError> {
        let (place, subject) = (directive.place(), directive.text());
        match self.variables.get(name).cloned() {
            Some(Variable::Split { key, arms }) => {
                for arm in &arms {
                    self.ensure(&arm.cluster, scheme, directive)?;
                    self.encrypt(&arm.cluster, scheme, directive, proxy, conversion);
                }
                let servers =
                    arms.iter().filter_map(|arm| self.upstreams.get(&arm.cluster)).map(|up| up.tries).max();
                let mut route = base.clone();
                let stickiness = if key.is_empty() { Stickiness::Drawn } else { Stickiness::Keyed };
                route.action = Action::Split(SplitConfig { arms, stickiness, ..SplitConfig::default() });
                route.key = key;
                route.retry = proxy.retry(servers.unwrap_or(1));
                conversion.report.taken(place, subject, "an action split");
                self.followed.insert(name.to_owned());
                server.routes.push(route);
                Ok(true)
            }
            Some(Variable::Map { source, cases, default }) => {
                let mut is_first = true;
                for (test, cluster) in &cases {
                    let Some(rules) = with_condition(&base.rule, &source, test) else {
                        let detail = format!(
                            "a map of {source}: routes look at headers, cookies, parameters and methods"
                        );
                        conversion.report.none(place, subject.clone(), detail);
                        return Ok(false);
                    };
                    let (scheme, cluster) = bare(scheme, cluster);
                    self.ensure(cluster, scheme, directive)?;
                    self.encrypt(cluster, scheme, directive, proxy, conversion);
                    for rule in rules {
                        let mut route = self.to_cluster(base.clone(), cluster, proxy);
                        route.rule = rule;
                        route.name = format!("{} {cluster} {}", base.name, server.routes.len());
                        server.routes.push(route);
                    }
                    is_first = false;
                }
                self.followed.insert(name.to_owned());
                let (scheme, default) = bare(scheme, &default);
                if default.is_empty() {
                    conversion.report.none(
                        place,
                        subject,
                        "the map has no default: nginx answers 500 to the others",
                    );
                    return Ok(!is_first);
                }
                self.ensure(default, scheme, directive)?;
                self.encrypt(default, scheme, directive, proxy, conversion);
                server.routes.push(self.to_cluster(base.clone(), default, proxy));
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
        let port = if is_tls(scheme) { 443 } else { 80 };
        let upstream = direct(name, port, directive)?;
        self.upstreams.insert(name.to_owned(), upstream);
        Ok(())
    }
    /// Notes how the servers of a cluster are spoken to: what one location encrypts does not become open by another.
    fn encrypt(
        &mut self,
        name: &str,
        scheme: &str,
        directive: &Directive,
        proxy: &Proxy,
        conversion: &mut Conversion,
    ) {
        let offers: &[&str] = if scheme == "grpcs" { &["h2"] } else { &[] };
        let tls = is_tls(scheme).then(|| proxy.ssl().of(name, offers));
        let subject = format!("{scheme}://{name}");
        self.passed.note(name, tls, proxy.ssl().detail(), (directive.place(), subject), conversion);
    }
}

fn is_tls(scheme: &str) -> bool {
    ["https", "grpcs"].contains(&scheme)
}

/// How and to whom a value of a map leads, where `proxy_pass` names this scheme.
fn bare<'t>(scheme: &'t str, target: &'t str) -> (&'t str, &'t str) {
    let (scheme, name) = target.split_once("://").unwrap_or((scheme, target));
    (scheme, name.trim_end_matches('/'))
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
