use std::collections::{BTreeMap, BTreeSet};

use evenkeel::router::{Action, RouteConfig, StaticResponse};
use evenkeel_route::matching::{
    DotSegments, EscapedSlashes, HostMatch, HttpRule, HttpRules, HttpRulesConfig, PathMatch, PathOptions,
    Percent,
};

use super::listeners::{Listen, listen, listeners, names};
use super::location::{Kind, Matcher, matcher, returned};
use super::order::{Block, order};
use super::proxy::Proxy;
use super::proxy_ssl::Passed;
use super::ssl::Ssl;
use super::stream;
use super::tree::{Directive, parse};
use super::upstream::{Upstream, add, read_upstream};
use super::variables::{self, Variable, Variables};
use crate::conversion::{Conversion, Options};
use crate::dialect::Dialect;
use crate::error::{ConvertError, Problem};
use crate::files::{Files, Text};
use crate::place::Place;

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
                "http" => {
                    directive.bare()?;
                    Reader::default().read(directive.inside(), &mut conversion)?;
                }
                "stream" => {
                    directive.bare()?;
                    stream::read(directive.inside(), &mut conversion)?;
                }
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
            "nothing here says this of TLS: your server and your client do"
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
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    pub(crate) variables: Variables,
    /// Those that a `proxy_pass` went by.
    pub(crate) followed: BTreeSet<String>,
    /// Clusters that locations pass requests to.
    pub(crate) passed: Passed,
    proxy: Proxy,
    ssl: Ssl,
}

/// A `server` block.
pub(crate) struct Server<'a> {
    pub(crate) block: &'a Directive,
    pub(crate) listens: Vec<Listen>,
    pub(crate) hosts: Vec<HostMatch>,
    pub(crate) name: String,
    pub(crate) ssl: Ssl,
    pub(crate) routes: Vec<RouteConfig>,
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
                    let (name, variable) = variables::split_clients(directive)?;
                    self.variables.insert(name, variable);
                }
                "server" => {}
                name if Proxy::knows(name) || Ssl::knows(name) => {}
                _ => proxys_own(directive, conversion),
            }
        }
        self.ssl = Ssl::default().within(block, &mut conversion.report)?;
        self.proxy = Proxy::default().within(block, &mut conversion.report)?;
        let mut servers = Vec::new();
        for directive in block.iter().filter(|directive| directive.name.is("server")) {
            servers.push(self.server(directive, conversion)?);
        }
        for directive in block {
            match directive.name.text.as_str() {
                "map" => variables::tell_map(directive, &self.followed, &mut conversion.report),
                "split_clients" => self.tell_split(directive, conversion),
                _ => {}
            }
        }
        listeners(&servers, conversion);
        let mut upstreams: Vec<Upstream> = self.upstreams.into_values().collect();
        upstreams.sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
        for upstream in upstreams {
            add(upstream, conversion)?;
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

    fn tell_split(&self, directive: &Directive, conversion: &mut Conversion) {
        let name = variables::defined(directive);
        let Some(Variable::Split { key, .. }) =
            self.variables.get(name).filter(|_| self.followed.contains(name))
        else {
            let detail = "no proxy_pass that is followed goes by it";
            conversion.report.none(directive.place(), directive.text(), detail);
            return;
        };
        let detail = "an action split with these weights, keyed: the same shares, other users in each, since nginx hashes in another way";
        let detail = if key.is_empty() {
            format!(
                "{detail}; what is hashed cannot be said by one key, so requests are drawn: users do not stay"
            )
        } else {
            detail.to_owned()
        };
        conversion.report.differs(directive.place(), directive.text(), detail);
    }

    fn server<'a>(
        &mut self,
        block: &'a Directive,
        conversion: &mut Conversion,
    ) -> Result<Server<'a>, ConvertError> {
        block.bare()?;
        let ssl = self.ssl.within(block.inside(), &mut conversion.report)?;
        let mut server = Server {
            block,
            listens: Vec::new(),
            hosts: Vec::new(),
            name: String::new(),
            ssl,
            routes: Vec::new(),
        };
        for directive in block.inside() {
            match directive.name.text.as_str() {
                "listen" => server.listens.push(listen(directive, conversion)?),
                "server_name" => names(directive, &mut server, conversion),
                "location" | "return" => {}
                name if Proxy::knows(name) || Ssl::knows(name) => {}
                _ => proxys_own(directive, conversion),
            }
        }
        if server.listens.is_empty() {
            server.listens.push(Listen::default());
        }
        if server.name.is_empty() {
            server.name = server.listens[0].address.clone();
        }
        let proxy = self.proxy.within(block.inside(), &mut conversion.report)?;
        conversion.report.taken(block.place(), format!("server {}", server.name), "a listener with routes");
        let returns = block.inside().iter().find(|directive| directive.name.is("return"));
        if let Some(directive) = returns {
            // It comes before all locations.
            let matcher = Matcher { path: PathMatch::Any, kind: Kind::Exact };
            self.answer(directive, &matcher, &mut server, &proxy, conversion);
            let later = block.inside().iter().filter(|other| {
                ["location", "return"].contains(&other.name.text.as_str())
                    && other.place() != directive.place()
            });
            for other in later {
                let detail = "the server answers before nginx gets there";
                conversion.report.none(other.place(), other.text(), detail);
            }
        } else {
            let blocks = self.locations(block.inside(), None, &proxy, &mut server, conversion)?;
            let (sorted, clashes) = order(&blocks);
            let routes: Vec<RouteConfig> =
                sorted.into_iter().filter_map(|at| server.routes.get(at).cloned()).collect();
            server.routes = routes;
            for (location, detail) in clashes {
                conversion.report.differs(block.place(), format!("location {location}"), detail);
            }
        }
        if !server.routes.iter().any(|route| takes_all(&route.rule)) {
            let rule = HttpRule { paths: Vec::new(), ..HttpRule::default() };
            let mut route = RouteConfig::new("rest", Action::Respond(StaticResponse::new(404)));
            route.rule = rule;
            server.routes.push(route);
            conversion.report.differs(
                block.place(),
                format!("server {}", server.name),
                "what no location takes is answered with 404, where nginx looks for files",
            );
        }
        Ok(server)
    }

    /// The locations of a block, and those inside of them; their routes stand in the server in the order of the file.
    fn locations(
        &mut self,
        block: &[Directive],
        outer: Option<&Matcher>,
        proxy: &Proxy,
        server: &mut Server<'_>,
        conversion: &mut Conversion,
    ) -> Result<Vec<Block>, ConvertError> {
        let mut blocks = Vec::new();
        for directive in block.iter().filter(|directive| directive.name.is("location")) {
            let Some(matcher) = matcher(directive)? else {
                let detail = "nginx goes there by itself, requests do not";
                conversion.report.none(directive.place(), directive.text(), detail);
                continue;
            };
            let confined = match outer {
                Some(outer) => matcher.inside(outer),
                None => Ok(matcher),
            };
            let matcher = match confined {
                Ok(matcher) => matcher,
                Err(why) => {
                    conversion.report.none(directive.place(), directive.text(), why);
                    continue;
                }
            };
            if !fits_alone(&matcher.path) {
                let detail =
                    "this expression does not compile here: look-around and back-references are not known";
                conversion.report.none(directive.place(), directive.text(), detail);
                continue;
            }
            let inner = proxy.within(directive.inside(), &mut conversion.report)?;
            let start = server.routes.len();
            self.location(directive, &matcher, server, &inner, conversion)?;
            let routes = start..server.routes.len();
            let inside = self.locations(directive.inside(), Some(&matcher), &inner, server, conversion)?;
            blocks.push(Block { matcher, routes, inside });
        }
        Ok(blocks)
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
        server.routes.push(route);
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
                server.routes.push(route);
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
}

pub(crate) fn route_name(server: &Server<'_>, directive: &Directive) -> String {
    format!("{}:{}", server.name, directive.place().line)
}

pub(crate) fn paths(matcher: &Matcher) -> Vec<PathMatch> {
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
