use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use evenkeel_route::matching::{Captures, Headers, HttpRules, Match};
use evenkeel_route::split::{Colour, HeaderEdits, RampChange, Switched};
use evenkeel_types::Timestamp;
use thiserror::Error;

use super::action::StaticResponse;
use super::blue_green::SharedSwitch;
use super::build::build;
use super::builder::RouterBuilder;
use super::config::RouterConfig;
use super::counters::{Count, Counters};
use super::error::{RouteError, RouterError};
use super::exchange::{Exchange, Start};
use super::explain::RouteExplanation;
use super::incoming::{Incoming, Scratch};
use super::key::{Asked, key_hash};
use super::ramp::RampOrder;
use super::rate_limit::Word;
use super::report::RouterReport;
use super::sticky::Sought;
use super::table::{Core, Held, Route, Table};
use super::tables::{Seat, Tables};
use super::target::Target;
use crate::builder::stripes;
use crate::cluster::Cluster;
use crate::sync::CountedArc;

/// Which cluster serves a request, and how it gets there.
///
/// Cheap to clone; all clones are the same router. Routing takes no lock and allocates nothing in the usual case; what the
/// exceptions are, [`RateLimitConfig::by`](super::RateLimitConfig::by), [`LearnedAffinity`](super::LearnedAffinity) and
/// [`RampAction`](super::RampAction) say.
///
/// ```
/// use evenkeel::route::matching::Request;
/// use evenkeel::route::retry::Ending;
/// use evenkeel::router::{Action, Incoming, Next, RouteConfig, Router, RouterConfig, Scratch};
/// use evenkeel::{Cluster, Endpoint};
///
/// let users = Cluster::<()>::builder("users").build()?;
/// users.apply([Endpoint::at("10.0.0.1:8080".parse()?)?])?;
/// let all = RouteConfig::new("all", Action::Cluster("users".into()));
/// let router = Router::new(RouterConfig { routes: vec![all], ..RouterConfig::default() }, [users])?;
///
/// let mut scratch = Scratch::default();
/// let incoming = Incoming::new(Request::new("GET", "example.com", "/users/42"));
/// let routed = router.route(&incoming, &mut scratch)?;
/// assert_eq!(routed.matched.name(), "all");
/// let mut exchange = routed.into_exchange().expect("this route sends its requests on");
///
/// let mut pick = exchange.pick()?;
/// println!("send it to {}", pick.endpoint().address());
/// let next = exchange.after(&mut pick, &Ending::Http { status: 200, retry_after: None });
/// assert_eq!(next, Next::Done);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Router<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    tables: Tables<Table<T>>,
    core: Arc<Core>,
    strays: Counters,
}

/// Where a request goes.
#[derive(Debug)]
pub struct Routed<'s, T> {
    /// What took it.
    pub matched: Matched<'s>,
    /// What to do with it.
    pub decision: Decision<T>,
}

/// The route that took a request.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'s> {
    found: Match<'s>,
    name: &'s str,
    edits: &'s HeaderEdits,
}

/// What to do with a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would allocate for every request")]
pub enum Decision<T> {
    /// Send it on.
    Send(Exchange<T>),
    /// Tell the client another address.
    Redirect {
        /// The status.
        status: u16,
        /// The field `location`.
        location: String,
    },
    /// Give this answer.
    Respond(Arc<StaticResponse>),
}

impl<T> Routed<'_, T> {
    /// The way to an endpoint; none if the route itself answers.
    #[must_use]
    pub fn into_exchange(self) -> Option<Exchange<T>> {
        match self.decision {
            Decision::Send(exchange) => Some(exchange),
            Decision::Redirect { .. } | Decision::Respond(_) => None,
        }
    }
}

impl<'s> Matched<'s> {
    /// The number of the route in the configuration.
    #[must_use]
    pub const fn route(&self) -> usize {
        self.found.rule()
    }

    /// The name of the route.
    #[must_use]
    pub const fn name(&self) -> &'s str {
        self.name
    }

    /// The path as it was matched. Escapes may have been decoded: see [`escaped_path`](Self::escaped_path).
    #[must_use]
    pub const fn path(&self) -> &'s [u8] {
        self.found.path()
    }

    /// The path as it was matched, with what a request line cannot hold escaped again. Send this one on. O(n), and a copy if
    /// anything is escaped.
    #[must_use]
    pub fn escaped_path(&self) -> Cow<'s, [u8]> {
        self.found.escaped_path()
    }

    /// The part of the path that the template calls `name`.
    #[must_use]
    pub fn capture(&self, name: &str) -> Option<&'s [u8]> {
        self.found.capture(name)
    }

    /// All named parts of the path.
    #[must_use]
    pub fn captures(&self) -> Captures<'s> {
        self.found.captures()
    }

    /// What is changed in the headers; an [`Exchange`] has it too.
    #[must_use]
    pub const fn headers(&self) -> &'s HeaderEdits {
        self.edits
    }
}

/// No route has this name, or not one of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no route called {name:?} has a {what}")]
pub struct NoSuchRoute {
    /// The name.
    pub name: String,
    /// `ramp` or `blue-green switch`.
    pub what: &'static str,
}

/// What a tick brought.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct RouterTick {
    /// Ramps that went on, stopped or ended since the last tick, by the names of their routes.
    pub ramps: Vec<(String, RampChange)>,
    /// When there is something to do next. Requests do it too, if they come by.
    pub next: Option<Timestamp>,
}

impl<T> Router<T> {
    /// A router with the clocks of the operating system and a seed of its own; for others see [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// [`RouterError`] names the setting, what is wrong with it, and what was perhaps meant.
    pub fn new(
        config: RouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
    ) -> Result<Self, RouterError> {
        Self::builder().build(config, clusters)
    }

    /// A router whose clocks or seed are about to be given.
    pub fn builder() -> RouterBuilder {
        RouterBuilder::default()
    }

    pub(crate) fn with_core(
        core: Core,
        config: RouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
    ) -> Result<Self, RouterError> {
        let core = Arc::new(core);
        let table = build(&core, Arc::new(config), clusters, &[], None)?;
        let generation = table.generation;
        let shared =
            Shared { tables: Tables::new(table, generation, stripes()), core, strays: Counters::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes `config` the configuration, by one swap: each request sees the old one or the new one, and those under way keep what
    /// they began with. No request waits meanwhile.
    ///
    /// `clusters` come in beside those that the router knows, and instead of those of the same names. What is learnt stays where
    /// the settings that it belongs to did not change: the counts of rate limits, the position of ramps and switches, learnt
    /// affinity, what mirrors counted, and the counters of routes, by the names of these. O(n log n).
    ///
    /// No cluster is forgotten: where clusters go as well as come, use [`replace`](Self::replace).
    ///
    /// # Errors
    ///
    /// [`RouterError`], and the router keeps what it had.
    pub fn apply(
        &self,
        config: RouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
    ) -> Result<(), RouterError> {
        self.update(Arc::new(config), clusters, |before| before.clusters.all())?;
        self.free_replaced();
        Ok(())
    }

    /// As [`apply`](Self::apply), but `clusters` are all that there are from now on: those that are not among them are forgotten, and
    /// dropped once no request needs them any more. A route to one of those is refused.
    ///
    /// # Errors
    ///
    /// [`RouterError`], and the router keeps what it had.
    pub fn replace(
        &self,
        config: RouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
    ) -> Result<(), RouterError> {
        self.replace_shared(Arc::new(config), clusters)?;
        self.free_replaced();
        Ok(())
    }

    /// As [`replace`](Self::replace), without a copy of a configuration that somebody else holds: `config` may be all of a program's,
    /// of which the router's is a part. And what it replaces is not freed here, which takes as long as building it did, but by
    /// [`free_replaced`](Self::free_replaced), on whichever thread has the time.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn replace_shared(
        &self,
        config: Arc<dyn AsRef<RouterConfig> + Send + Sync>,
        clusters: impl IntoIterator<Item = Cluster<T>>,
    ) -> Result<(), RouterError> {
        self.update(config, clusters, |_| &[])
    }

    /// Frees what earlier configurations left behind and no request holds any more. [`apply`](Self::apply), [`replace`](Self::replace)
    /// and [`tick`](Self::tick) do it too; after [`replace_shared`](Self::replace_shared) somebody has to. No request waits meanwhile.
    pub fn free_replaced(&self) {
        self.shared.tables.sweep();
    }

    fn update(
        &self,
        config: Held,
        clusters: impl IntoIterator<Item = Cluster<T>>,
        known: impl FnOnce(&Table<T>) -> &[Cluster<T>],
    ) -> Result<(), RouterError> {
        let shared = &*self.shared;
        shared.tables.update(stripes(), |before| {
            let table = build(&shared.core, config, clusters, known(before), Some(before))?;
            let generation = table.generation;
            Ok((table, generation))
        })
    }

    /// The cluster of this name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<Cluster<T>> {
        let table = self.shared.tables.get();
        table.clusters.all().iter().find(|cluster| cluster.name() == name).cloned()
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn config(&self) -> RouterConfig {
        self.shared.tables.get().config().clone()
    }

    /// The compiled rules: `shadowed` tells which never take anything.
    #[must_use]
    pub fn rules(&self) -> Arc<HttpRules> {
        Arc::clone(&self.shared.tables.get().rules)
    }

    /// How often the configuration was replaced.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.tables.get().generation
    }

    /// Where a request goes: the route that takes it, its rate limits, the arm of its split, where its user was, and whether it
    /// is copied. Picks nothing yet.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if no route takes it, or that one does not let it in.
    pub fn route<'s, H: Headers + ?Sized>(
        &self,
        incoming: &Incoming<'s, H>,
        scratch: &'s mut Scratch<T>,
    ) -> Result<Routed<'s, T>, RouteError> {
        let Scratch { seat, matching } = scratch;
        let seat = self.seat(seat);
        let table = &*seat.table;
        let core = &*table.core;
        let lane = core.lanes.mine();
        let moment = Moment::new(core);
        let request = incoming.hashed(fraction_hash(table, incoming, lane.draw()));
        let Some(found) = table.rules.find(&request, matching)? else {
            self.shared.strays.add(Count::Unsent);
            return Err(RouteError::NoRoute);
        };
        let number = found.rule() as u32;
        let route = table.route(number);
        let asked = Asked { request: &request, source: incoming.source, path: found.path() };
        if !route.limits.is_empty() {
            limit(route, number, &asked)?;
        }
        let matched = Matched { found, name: &route.name, edits: &route.edits };
        let key = if route.key.is_empty() { None } else { asked.key(&route.key) };
        let hash = key.as_ref().map(|key| key_hash(table.hash_seed, key));
        let Some(arm) = route.target.choose(&request, hash, lane.draw(), || moment.now()) else {
            route.counters.add(Count::Answered);
            let decision = answer(route, incoming, &found);
            return Ok(Routed { matched, decision });
        };
        route.counters.add_arm(arm.arm);
        let is_mirrored = route.mirror.as_ref().is_some_and(|to| to.mirror.copies(lane.draw()));
        if is_mirrored {
            route.counters.add(Count::Mirrored);
        }
        let sought = route
            .sticky
            .as_ref()
            .map_or_else(Sought::default, |sticky| sticky.seek(&asked, || moment.now(), || core.unix.unix()));
        let start = Start {
            arm,
            key,
            source: incoming.source,
            place: incoming.place,
            sought,
            may_repeat: incoming.may_repeat(),
            is_mirrored,
            deadline: route.timeout.map(|timeout| moment.now().saturating_add(timeout)),
        };
        Ok(Routed {
            matched,
            decision: Decision::Send(Exchange::new(CountedArc::clone(seat), number, start)),
        })
    }

    /// The current table, remembered from the last request if that is still current.
    fn seat<'s>(&self, seat: &'s mut Option<CountedArc<Seat<Table<T>>>>) -> &'s CountedArc<Seat<Table<T>>> {
        let shared = &*self.shared;
        // The seat may also be of another router.
        shared.tables.seat(seat, |table| Arc::ptr_eq(&table.core, &shared.core))
    }

    /// Why a request would go where it would go. Sends nothing, takes nothing from rate limits, moves no draw. What it reads of
    /// affinity counts as read: a learnt key as used, a forged cookie as seen.
    ///
    /// # Errors
    ///
    /// [`RouteError::BadRequest`] if it cannot be matched.
    pub fn explain<H: Headers + ?Sized>(
        &self,
        incoming: &Incoming<'_, H>,
    ) -> Result<RouteExplanation, RouteError> {
        let table = self.shared.tables.get();
        RouteExplanation::of(&table, incoming)
    }

    /// What was counted, for metrics. O(routes).
    #[must_use]
    pub fn report(&self) -> RouterReport {
        let table = self.shared.tables.get();
        RouterReport::of(&table, self.shared.strays.read(Count::Unsent))
    }

    /// Stops a ramp, lets it go on, ends it or finishes it. Nothing comes back if there was nothing to change.
    ///
    /// # Errors
    ///
    /// [`NoSuchRoute`] if no route of this name has a ramp.
    pub fn order(&self, route: &str, order: RampOrder) -> Result<Option<RampChange>, NoSuchRoute> {
        let table = self.shared.tables.get();
        match table.find(route).map(|route| &route.target) {
            Some(Target::Ramp { ramp, .. }) => Ok(ramp.order(order, self.shared.core.now())),
            _ => Err(NoSuchRoute { name: route.to_owned(), what: "ramp" }),
        }
    }

    /// Makes a colour live. Users of the other one are kept there as long as the route says. Nothing comes back if it is live.
    ///
    /// # Errors
    ///
    /// [`NoSuchRoute`] if no route of this name has a switch.
    pub fn switch(&self, route: &str, to: Colour) -> Result<Option<Switched>, NoSuchRoute> {
        self.switch_by(route, |switch, now| switch.switch(to, now))
    }

    /// Makes a colour live for everybody at once, and keeps nobody on the other one: for taking back a switch to what turned out
    /// to be broken. Nothing comes back if that is so.
    ///
    /// # Errors
    ///
    /// [`NoSuchRoute`] if no route of this name has a switch.
    pub fn switch_now(&self, route: &str, to: Colour) -> Result<Option<Switched>, NoSuchRoute> {
        self.switch_by(route, |switch, _| switch.switch_now(to))
    }

    fn switch_by(
        &self,
        route: &str,
        act: impl FnOnce(&SharedSwitch, Timestamp) -> Option<Switched>,
    ) -> Result<Option<Switched>, NoSuchRoute> {
        let table = self.shared.tables.get();
        match table.find(route).map(|route| &route.target) {
            Some(Target::BlueGreen { switch, .. }) => Ok(act(switch, self.shared.core.now())),
            _ => Err(NoSuchRoute { name: route.to_owned(), what: "blue-green switch" }),
        }
    }

    /// Lets deadlines pass, tells how ramps went on, and frees what reloads left behind. Requests let deadlines pass by
    /// themselves; a router without traffic needs this. O(routes).
    pub fn tick(&self) -> RouterTick {
        let now = self.shared.core.now();
        let table = self.shared.tables.get();
        let mut tick = RouterTick::default();
        for route in &table.routes {
            let next = match &route.target {
                Target::Ramp { ramp, .. } => {
                    ramp.tick(now);
                    let named = |change| (route.name.to_string(), change);
                    tick.ramps.extend(ramp.take_changes().into_iter().map(named));
                    ramp.next_deadline()
                }
                Target::BlueGreen { switch, .. } => {
                    switch.tick(now);
                    switch.next_deadline()
                }
                _ => None,
            };
            tick.next = [tick.next, next].into_iter().flatten().min();
            if let Some(sticky) = &route.sticky {
                sticky.sweep(now);
            }
        }
        drop(table);
        self.free_replaced();
        tick
    }
}

/// What fractions are decided by.
pub(crate) fn fraction_hash<T, H: Headers + ?Sized>(
    table: &Table<T>,
    incoming: &Incoming<'_, H>,
    draw: u64,
) -> u64 {
    if table.key.is_empty() {
        return if incoming.request.hash == 0 { draw } else { incoming.request.hash };
    }
    let Incoming { request, source, .. } = incoming;
    let asked = Asked { request, source: *source, path: request.path };
    asked.key(&table.key).map_or(draw, |key| key_hash(table.hash_seed, &key))
}

fn limit<H: Headers + ?Sized>(
    route: &Route,
    number: u32,
    asked: &Asked<'_, '_, H>,
) -> Result<(), RouteError> {
    for (i, limit) in route.limits.iter().enumerate() {
        let number = number as usize;
        let error = match limit.ask(asked, false) {
            Word::Go | Word::Unlimited => continue,
            Word::Wait(retry_after) => RouteError::Limited { route: number, limit: i, retry_after },
            Word::NoKey => RouteError::NoKey { route: number, limit: i },
        };
        route.counters.add(Count::Limited);
        return Err(error);
    }
    Ok(())
}

#[cold]
fn answer<T, H: ?Sized>(route: &Route, incoming: &Incoming<'_, H>, found: &Match<'_>) -> Decision<T> {
    match &route.target {
        Target::Redirect(location) => Decision::Redirect {
            status: location.status,
            location: location.of(incoming.request.host, found, incoming.request.query),
        },
        Target::Respond(response) => Decision::Respond(Arc::clone(response)),
        // All others have an arm for every request.
        _ => Decision::Respond(Arc::new(StaticResponse::new(500))),
    }
}

/// The time of one request, read if somebody needs it, and once.
struct Moment<'a> {
    core: &'a Core,
    read: Cell<Option<Timestamp>>,
}

impl<'a> Moment<'a> {
    const fn new(core: &'a Core) -> Self {
        Self { core, read: Cell::new(None) }
    }

    fn now(&self) -> Timestamp {
        self.read.get().unwrap_or_else(|| {
            let now = self.core.now();
            self.read.set(Some(now));
            now
        })
    }
}

impl<T> Clone for Router<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Router<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("generation", &self.generation()).finish_non_exhaustive()
    }
}
