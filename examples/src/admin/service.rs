use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use evenkeel::router::Router;
use evenkeel::{Clock, Cluster, EndpointId, MonotonicClock, Weight};
use evenkeel_config::Running;
use serde::Serialize;

use super::act::{ActError, Order};
use super::answer::Answer;
use super::asked::Asked;
use super::log::{Entry, Log, Told};
use super::metrics::{Metrics, OPEN_METRICS, Page};
use super::settings::{AdminSettings, AdminSettingsError, Serves};
use super::view::{Seen, Summary};
use super::world::{AnyCluster, Configured, MeterOf, Metered, Parts, World};
use super::{explain, guard, page};

/// Answers operators: a status page, an API, `/healthz` and `/metrics`.
///
/// It opens nothing and keeps no thread; whoever has a server calls [`answer`](Self::answer). A cluster that it knows is kept alive by it.
pub struct Admin {
    settings: AdminSettings,
    parts: Parts,
    configured: Vec<Box<dyn World>>,
    metrics: Metrics,
    exported: Page,
    log: Log,
    clock: MonotonicClock,
}

/// Everything in a line each.
#[derive(Serialize)]
struct Overview {
    /// One more if a field changes its meaning or goes; new fields come without.
    version: u32,
    /// Since when this admin is there: less than before means a restart.
    uptime_s: f64,
    clusters: Vec<Summary>,
    routers: Vec<String>,
    /// How often the configuration was replaced; none without one.
    reloads: Option<u64>,
    /// Endpoints that cannot be checked, and why.
    unchecked: Vec<String>,
    /// The last orders, newest first.
    orders: Vec<Told>,
}

impl Admin {
    /// An admin of nothing yet.
    ///
    /// # Errors
    ///
    /// [`AdminSettingsError`] names the setting and what is allowed.
    pub fn new(settings: AdminSettings) -> Result<Self, AdminSettingsError> {
        settings.check()?;
        Ok(Self {
            exported: Page::new(settings.max_endpoints),
            settings,
            parts: Parts::default(),
            configured: Vec::new(),
            metrics: Metrics::default(),
            log: Log::default(),
            clock: MonotonicClock::new(),
        })
    }

    /// Shows a cluster, without actual shares and quantiles.
    #[must_use]
    pub fn with_cluster<T: Send + Sync + 'static>(self, cluster: &Cluster<T>) -> Self {
        self.with_metered(cluster, |_| None)
    }

    /// Shows a cluster whose payloads keep a [`Meter`](super::Meter).
    #[must_use]
    pub fn with_metered<T: Send + Sync + 'static>(mut self, cluster: &Cluster<T>, meter: MeterOf<T>) -> Self {
        self.parts.clusters.push(Arc::new(Metered { cluster: cluster.clone(), meter }));
        self
    }

    /// Asks this router where requests go that are typed in.
    #[must_use]
    pub fn with_router<T: Send + Sync + 'static>(mut self, name: &str, router: &Router<T>) -> Self {
        self.parts.routers.push((name.to_owned(), Arc::new(router.clone())));
        self
    }

    /// Shows all that a configuration describes, also after it was replaced. `meter` is as in [`with_metered`](Self::with_metered).
    #[must_use]
    pub fn with_running<T: Send + Sync + 'static>(
        mut self,
        running: Arc<Running<T>>,
        meter: MeterOf<T>,
    ) -> Self {
        self.configured.push(Box::new(Configured { running, meter }));
        self
    }

    /// Exports what these counters have counted too, under `/metrics`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The longest body that [`answer`](Self::answer) takes: do not read more.
    #[must_use]
    pub const fn max_body(&self) -> usize {
        self.settings.max_body
    }

    /// Answers a request. `headers` must hold the field `host` (the authority of a request in HTTP/2), `content-type`, `origin` and
    /// `sec-fetch-site`, where they came; others are not read. Send the answer's own [`headers`](Answer::headers) with it.
    ///
    /// It may take milliseconds in a large cluster, so call it where that holds up no requests.
    #[must_use]
    pub fn answer(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let Some(asked) = Asked::new(method, path_and_query, headers, body) else {
            return Answer::failed(400, "path", "the path cannot be read");
        };
        let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
        if path == ["healthz"] {
            // It tells nothing, and whoever checks may use any name.
            return get(&asked, || Answer::new(200, "text/plain; charset=utf-8", "ok\n"));
        }
        if self.settings.serves == Serves::Monitoring {
            let message = "only /healthz and /metrics are served at an address that others reach";
            return match *path {
                ["metrics"] => get(&asked, || self.metrics()),
                _ => Answer::failed(403, "only_monitoring", message),
            };
        }
        if let Some(refusal) = guard::refusal(&asked, &self.settings) {
            return refusal;
        }
        match *path {
            [""] => get(&asked, || Answer::new(200, "text/html; charset=utf-8", page::html())),
            ["metrics"] => get(&asked, || self.metrics()),
            ["api", "clusters"] => get(&asked, || Answer::json(&self.overview())),
            ["api", "clusters", name] => get(&asked, || self.cluster(name)),
            ["api", "explain"] => post(&asked, || explain::answer(body, &self.worlds())),
            ["api", "clusters", name, "endpoints", id, order] => {
                post(&asked, || self.obey(name, id, order, body))
            }
            _ => Answer::failed(404, "no_path", "nothing is here: see / and /api/clusters"),
        }
    }

    fn worlds(&self) -> Vec<&dyn World> {
        let parts: &dyn World = &self.parts;
        std::iter::once(parts).chain(self.configured.iter().map(|world| &**world)).collect()
    }

    fn clusters(&self) -> Vec<Arc<dyn AnyCluster>> {
        self.worlds().iter().flat_map(|world| world.clusters()).collect()
    }

    fn metrics(&self) -> Answer {
        let text = self.exported.text(&self.clusters(), &self.metrics);
        Answer::new(200, OPEN_METRICS, text)
    }

    /// Why sets were refused, by cluster.
    fn refused(&self) -> BTreeMap<String, String> {
        let reports = self.worlds().into_iter().filter_map(World::running);
        reports.flat_map(|report| report.refused).map(|refused| (refused.cluster, refused.reason)).collect()
    }

    fn overview(&self) -> Overview {
        let worlds = self.worlds();
        let reports: Vec<_> = worlds.iter().filter_map(|world| world.running()).collect();
        let mut refused = self.refused();
        let clusters = self.clusters();
        let now = self.clock.now();
        Overview {
            version: 1,
            uptime_s: now.saturating_since(evenkeel::Timestamp::ORIGIN).as_secs_f64(),
            clusters: clusters
                .iter()
                .map(|cluster| Seen::of(&**cluster, refused.remove(cluster.name())).summary())
                .collect(),
            routers: worlds.iter().flat_map(|world| world.routers()).map(|(name, _)| name).collect(),
            reloads: reports.iter().map(|report| report.reloads).max(),
            unchecked: reports.into_iter().flat_map(|report| report.unchecked).collect(),
            orders: self.log.told(now),
        }
    }

    fn find(&self, name: &str) -> Result<Arc<dyn AnyCluster>, Answer> {
        let found = self.clusters().into_iter().find(|cluster| cluster.name() == name);
        found.ok_or_else(|| Answer::failed(404, "no_cluster", &format!("there is no cluster {name}")))
    }

    fn cluster(&self, name: &str) -> Answer {
        let seen = self.find(name).map(|cluster| Seen::of(&*cluster, self.refused().remove(name)));
        match seen {
            Ok(seen) => Answer::json(&seen.whole(self.settings.max_endpoints, &self.log)),
            Err(answer) => answer,
        }
    }

    fn obey(&self, cluster: &str, id: &str, order: &str, body: &[u8]) -> Answer {
        let found = match self.find(cluster) {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        match self.try_obey(&*found, id, order, body) {
            Ok(()) => self.cluster(cluster),
            Err(error) => Answer::failed(error.status(), error.code(), &error.to_string()),
        }
    }

    fn try_obey(&self, cluster: &dyn AnyCluster, id: &str, order: &str, body: &[u8]) -> Result<(), ActError> {
        let nobody = || ActError::NoEndpoint(id.to_owned());
        let id: EndpointId = id.parse().map_err(|_| nobody())?;
        let seen = Seen::of(cluster, None);
        let weight = seen.weights().find(|(known, _)| **known == id).ok_or_else(nobody)?.1;
        let heaviest = seen.weights().map(|(_, weight)| weight).max().unwrap_or(0);
        let order = Order::read(order, body, &self.settings, Weight::new(weight), heaviest)?;
        cluster.obey(&id, &order)?;
        self.log.add(Entry {
            at: self.clock.now(),
            cluster: cluster.name().to_owned(),
            endpoint: id.to_string(),
            order: order.told(),
            by: order.by(),
            forces: matches!(order, Order::ForceOpen { .. }),
        });
        Ok(())
    }
}

fn get(asked: &Asked<'_>, answer: impl FnOnce() -> Answer) -> Answer {
    if matches!(asked.method, "GET" | "HEAD") { answer() } else { Answer::not_allowed("GET, HEAD") }
}

fn post(asked: &Asked<'_>, answer: impl FnOnce() -> Answer) -> Answer {
    if asked.method == "POST" { answer() } else { Answer::not_allowed("POST") }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clusters = self.clusters();
        let names: Vec<_> = clusters.iter().map(|cluster| cluster.name()).collect();
        f.debug_struct("Admin").field("clusters", &names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
