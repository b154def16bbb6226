//! From a configuration to a table: all checks, and what the table before knew.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_route::matching::{HttpRule, HttpRules, HttpRulesConfig};
use evenkeel_route::retry::RetryPolicy;
use evenkeel_route::split::{HeaderEdits, Mirror, Stickiness};
use evenkeel_types::SplitMix64;

use super::action::{BlueGreenAction, RampAction, StaticResponse};
use super::blue_green::SharedSwitch;
use super::clusters::Clusters;
use super::config::{Action, RouteConfig, RouterConfig};
use super::counters::Counters;
use super::error::{RouterError, RouterProblem};
use super::hedge::RouteHedge;
use super::key::checked;
use super::ramp::SharedRamp;
use super::rate_limit::RateLimit;
use super::redirect::Location;
use super::sticky::Sticky;
use super::table::{Core, Held, MirrorTo, Route, Table};
use super::target::Target;
use crate::cluster::Cluster;

pub(crate) fn build<T>(
    core: &Arc<Core>,
    held: Held,
    given: impl IntoIterator<Item = Cluster<T>>,
    known: &[Cluster<T>],
    before: Option<&Table<T>>,
) -> Result<Table<T>, RouterError> {
    let config = (*held).as_ref();
    let clusters = Clusters::new(given, known, &config.fallbacks)?;
    let mut numbers = BTreeMap::new();
    for (number, route) in config.routes.iter().enumerate() {
        let field = || format!("routes[{number}].name");
        if route.name.is_empty() {
            return Err(RouterError::new(field(), RouterProblem::NoName));
        }
        if let Some(first) = numbers.insert(Arc::from(route.name.as_str()), number as u32) {
            let problem = RouterProblem::NameTwice { name: route.name.clone(), first: first as usize };
            return Err(RouterError::new(field(), problem));
        }
    }
    let rules = rules(config, before)?;
    let routes = config.routes.iter().enumerate().map(|(number, route)| {
        let of_old = before.and_then(|table| {
            let &number = table.numbers.get(route.name.as_str())?;
            Some(Old { route: table.route(number), config: table.config().routes.get(number as usize)? })
        });
        Builder { core, clusters: &clusters, number, config: route, old: of_old }.route()
    });
    let routes = routes.collect::<Result<_, _>>()?;
    let (key, hash_seed) = (checked(&config.key, "key")?, config.hash_seed);
    let generation = before.map_or(0, |table| table.generation.saturating_add(1));
    let core = Arc::clone(core);
    Ok(Table { generation, core, config: held, hash_seed, key, rules, routes, numbers, clusters })
}

/// Compiles the rules, if they are not those of the table before.
fn rules<T>(config: &RouterConfig, before: Option<&Table<T>>) -> Result<Arc<HttpRules>, RouterError> {
    if let Some(number) = config.routes.iter().position(|route| !route.rule.name.is_empty()) {
        let problem = RouterProblem::InnerName(config.routes[number].rule.name.clone());
        return Err(RouterError::new(format!("routes[{number}].match.name"), problem));
    }
    if let Some(before) = before
        && let known = before.config()
        && (&known.path, &known.limits) == (&config.path, &config.limits)
        && known.routes.len() == config.routes.len()
        && known
            .routes
            .iter()
            .zip(&config.routes)
            .all(|(old, new)| old.name == new.name && old.rule == new.rule)
    {
        return Ok(Arc::clone(&before.rules));
    }
    let named = |route: &RouteConfig| HttpRule { name: route.name.clone(), ..route.rule.clone() };
    let rules = HttpRulesConfig {
        rules: config.routes.iter().map(named).collect(),
        path: config.path.clone(),
        limits: config.limits,
    };
    let rules =
        HttpRules::compile(rules).map_err(|error| RouterError::of_rules(&error.field, error.problem))?;
    Ok(Arc::new(rules))
}

/// What the table before knew of a route of the same name.
struct Old<'a> {
    route: &'a Route,
    config: &'a RouteConfig,
}

struct Builder<'a, T> {
    core: &'a Arc<Core>,
    clusters: &'a Clusters<T>,
    number: usize,
    config: &'a RouteConfig,
    old: Option<Old<'a>>,
}

impl<T> Builder<'_, T> {
    fn route(&self) -> Result<Route, RouterError> {
        self.check()?;
        let Self { config, .. } = self;
        let target = self.target()?;
        let arms = target.arms().len();
        let old = self.old.as_ref();
        let counters = match old.filter(|old| old.route.counters.arms() == arms) {
            Some(old) if old.config.action == config.action => Arc::clone(&old.route.counters),
            _ => Arc::new(Counters::new(arms)),
        };
        let sticky = match (&config.affinity, old.and_then(|old| old.route.sticky.as_ref())) {
            (Some(affinity), Some(known)) if known.config == *affinity => Some(Arc::clone(known)),
            (Some(affinity), _) => Some(Sticky::new(affinity, &self.field("affinity"))?),
            (None, _) => None,
        };
        let hedge = match (&config.hedge, old.and_then(|old| old.route.hedge.as_ref())) {
            (Some(hedge), Some(known)) if known.config() == hedge => Some(Arc::clone(known)),
            (Some(hedge), _) => Some(RouteHedge::new(hedge, &self.field("hedge"))?),
            (None, _) => None,
        };
        let retry = config.retry.as_ref().map(RetryPolicy::new).transpose();
        let edits = HeaderEdits::new(&config.headers);
        Ok(Route {
            name: config.name.as_str().into(),
            target,
            limits: self.limits()?,
            key: if config.key.is_empty() {
                Box::default()
            } else {
                checked(&config.key, &self.field("key"))?
            },
            sticky,
            retry: retry.map_err(|error| RouterError::new(self.field("retry"), error))?,
            may_repeat_endpoint: config.retry_same_endpoint,
            hedge,
            mirror: self.mirror()?,
            edits: edits.map_err(|error| RouterError::new(self.field("headers"), error))?,
            timeout: config.timeout,
            counters,
        })
    }

    fn error(&self, name: &str, problem: RouterProblem) -> RouterError {
        RouterError::new(self.field(name), problem)
    }

    /// A field of this route.
    fn field(&self, name: &str) -> String {
        format!("routes[{}].{name}", self.number)
    }

    /// Combinations of which a part would be ignored.
    fn check(&self) -> Result<(), RouterError> {
        let RouteConfig { action, key, affinity, retry, hedge, mirror, headers, timeout, .. } = self.config;
        let ignored = |name, why| Err(self.error(name, RouterProblem::Ignored(why)));
        if matches!(action, Action::Redirect(_) | Action::Respond(_)) {
            let unsent = "the requests of this route are sent nowhere; leave it out";
            for (name, is_there) in [
                ("key", !key.is_empty()),
                ("affinity", affinity.is_some()),
                ("retry", retry.is_some()),
                ("retry_same_endpoint", self.config.retry_same_endpoint),
                ("hedge", hedge.is_some()),
                ("mirror", mirror.is_some()),
                ("headers.request", !headers.request.is_empty()),
                ("timeout", timeout.is_some()),
            ] {
                if is_there {
                    return ignored(name, unsent);
                }
            }
        }
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            let problem = RouterProblem::Setting(" is 0: leave it out, or give requests time");
            return Err(self.error("timeout", problem));
        }
        if hedge.is_some() && retry.is_some() {
            return ignored(
                "retry",
                "a hedge sends again by itself, when an ending of hedge.on comes; leave one out",
            );
        }
        if self.config.retry_same_endpoint && hedge.is_none() && retry.is_none() {
            return ignored("retry_same_endpoint", "there are neither retries nor hedges");
        }
        let (kind, stickiness) = match action {
            Action::Split(split) => ("action.split.stickiness", split.stickiness),
            Action::Ramp(ramp) => ("action.ramp.stickiness", ramp.stickiness),
            _ => return Ok(()),
        };
        if stickiness == Stickiness::Keyed && key.is_empty() {
            return ignored(kind, "keyed, and the route has no key; give key");
        }
        let keeps =
            affinity.as_ref().is_some_and(|affinity| affinity.cookie.is_some() || affinity.learned.is_some());
        if stickiness == Stickiness::Drawn && keeps {
            let why =
                "drawn, so that a user is often in a cluster that does not have the endpoint; make it keyed";
            return ignored(kind, why);
        }
        Ok(())
    }

    fn target(&self) -> Result<Target, RouterError> {
        Ok(match &self.config.action {
            Action::Cluster(name) => {
                Target::Cluster(self.clusters.find(name, || self.field("action.cluster"))?)
            }
            Action::Split(split) => Target::split(split, self.clusters, &self.field("action.split"))?,
            Action::Ramp(ramp) => self.ramp(ramp)?,
            Action::BlueGreen(action) => self.blue_green(action)?,
            Action::Redirect(redirect) => {
                let field = self.field("action.redirect");
                Target::Redirect(Location::new(redirect, &self.config.rule.paths, &field)?)
            }
            Action::Respond(response) => self.respond(response)?,
        })
    }

    /// Two clusters, which must not be one.
    fn pair(&self, of: &str, names: [(&str, &String); 2]) -> Result<[u32; 2], RouterError> {
        let [first, second] = names;
        let find = |(name, cluster): (&str, &String)| {
            self.clusters.find(cluster, || self.field(&format!("action.{of}.{name}")))
        };
        let pair = [find(first)?, find(second)?];
        if pair[0] == pair[1] {
            let problem = RouterProblem::SameCluster(second.1.clone());
            return Err(self.error(&format!("action.{of}.{}", second.0), problem));
        }
        Ok(pair)
    }

    fn ramp(&self, action: &RampAction) -> Result<Target, RouterError> {
        let clusters = self.pair("ramp", [("old", &action.old), ("new", &action.new)])?;
        let known = self.old.as_ref().and_then(|old| match &old.route.target {
            Target::Ramp { ramp, .. } if ramp.action() == action => Some(Arc::clone(ramp)),
            _ => None,
        });
        let ramp = match known {
            Some(ramp) => ramp,
            None => {
                let field = self.field("action.ramp");
                Arc::new(SharedRamp::new(action, &field, self.core.now())?)
            }
        };
        Ok(Target::Ramp { ramp, clusters })
    }

    fn blue_green(&self, action: &BlueGreenAction) -> Result<Target, RouterError> {
        let clusters = self.pair("blue_green", [("blue", &action.blue), ("green", &action.green)])?;
        if !evenkeel_route::matching::is_token(&action.cookie) {
            return Err(self.error("action.blue_green.cookie", RouterProblem::Name(action.cookie.clone())));
        }
        let known = self.old.as_ref().and_then(|old| match &old.route.target {
            Target::BlueGreen { switch, .. } if switch.action() == action => Some(Arc::clone(switch)),
            _ => None,
        });
        let switch = known.unwrap_or_else(|| Arc::new(SharedSwitch::new(action)));
        Ok(Target::BlueGreen { switch, clusters })
    }

    fn respond(&self, response: &StaticResponse) -> Result<Target, RouterError> {
        if !(200..=599).contains(&response.status) {
            let problem = RouterProblem::Setting(" is out of range: allowed are 200 to 599");
            return Err(self.error("action.respond.status", problem));
        }
        let is_text = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if response.content_type.is_empty() || !response.content_type.bytes().all(is_text) {
            let problem =
                RouterProblem::Setting(" is no content type: visible characters of ASCII are allowed");
            return Err(self.error("action.respond.content_type", problem));
        }
        Ok(Target::Respond(Arc::new(response.clone())))
    }

    /// Limits whose settings did not change keep their counts, wherever they stand now.
    fn limits(&self) -> Result<Box<[Arc<RateLimit>]>, RouterError> {
        let mut known: Vec<&Arc<RateLimit>> =
            self.old.as_ref().map_or_else(Vec::new, |old| old.route.limits.iter().collect());
        let limits = self.config.rate_limits.iter().enumerate().map(|(i, config)| {
            if let Some(at) = known.iter().position(|limit| limit.config() == config) {
                return Ok(Arc::clone(known.remove(at)));
            }
            let field = self.field(&format!("rate_limits[{i}]"));
            let seed = SplitMix64::mix(self.core.seed ^ LIMITS);
            RateLimit::new(config, &field, Arc::clone(&self.core.clock), seed).map(Arc::new)
        });
        limits.collect()
    }

    fn mirror(&self) -> Result<Option<MirrorTo>, RouterError> {
        let Some(config) = &self.config.mirror else { return Ok(None) };
        let cluster = self.clusters.find(&config.cluster, || self.field("mirror.cluster"))?;
        let known = self.old.as_ref().filter(|old| old.config.mirror.as_ref() == Some(config));
        let known = known.and_then(|old| old.route.mirror.as_ref());
        let mirror = known.map_or_else(|| Arc::new(Mirror::new(config)), |known| Arc::clone(&known.mirror));
        Ok(Some(MirrorTo { mirror, cluster, host_suffix: config.host_suffix.as_str().into() }))
    }
}

/// Apart from the draws of requests.
const LIMITS: u64 = 0x7261_7465_6c69_6d69;
