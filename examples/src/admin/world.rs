//! The clusters and routers behind an admin, without their payloads.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::route::matching::Request as Matched;
use evenkeel::router::{Incoming, RouteError, RouteExplanation, Router};
use evenkeel::{
    AdminState, Cluster, ClusterReport, EndpointId, Explanation, Force, Freshness, Handle, Locality, Request,
    Timestamp, Weight,
};
use evenkeel_config::{Running, RunningReport};
use evenkeel_metrics::{Counters, Exporter};

use super::act::{ActError, Order};
use super::explain::Typed;
use super::meter::{Meter, Reading};

/// Where a payload keeps its [`Meter`], if it has one.
pub type MeterOf<T> = fn(&T) -> Option<&Meter>;

/// What an admin looks at. Asked anew for each request, since a reload may bring other clusters.
pub(crate) trait World: Send + Sync {
    fn clusters(&self) -> Vec<Arc<dyn AnyCluster>>;
    fn routers(&self) -> Vec<(String, Arc<dyn AnyRouter>)>;
    /// What only a running configuration knows.
    fn running(&self) -> Option<RunningReport>;
}

pub(crate) trait AnyCluster: Send + Sync {
    fn name(&self) -> &str;
    fn now(&self) -> Timestamp;
    fn report(&self) -> ClusterReport;
    fn freshness(&self) -> Freshness;
    /// What the report does not tell, in any order.
    fn beside(&self) -> Vec<Beside>;
    fn explain(&self, request: &Request<'_>) -> Explanation;
    fn obey(&self, id: &EndpointId, order: &Order) -> Result<(), ActError>;
    fn export(&self, exporter: &Exporter, counters: &Counters);
}

pub(crate) trait AnyRouter: Send + Sync {
    fn explain(&self, typed: &Typed) -> Result<RouteExplanation, RouteError>;
}

/// What is known of an endpoint beside its report.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) id: EndpointId,
    pub(crate) locality: Option<Locality>,
    pub(crate) reading: Option<Reading>,
}

/// Clusters and routers one by one.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) clusters: Vec<Arc<dyn AnyCluster>>,
    pub(crate) routers: Vec<(String, Arc<dyn AnyRouter>)>,
}

impl World for Parts {
    fn clusters(&self) -> Vec<Arc<dyn AnyCluster>> {
        self.clusters.clone()
    }

    fn routers(&self) -> Vec<(String, Arc<dyn AnyRouter>)> {
        self.routers.clone()
    }

    fn running(&self) -> Option<RunningReport> {
        None
    }
}

/// All that a configuration describes.
pub(crate) struct Configured<T> {
    pub(crate) running: Arc<Running<T>>,
    pub(crate) meter: MeterOf<T>,
}

impl<T: Send + Sync + 'static> World for Configured<T> {
    fn clusters(&self) -> Vec<Arc<dyn AnyCluster>> {
        let metered = |cluster| Arc::new(Metered { cluster, meter: self.meter }) as Arc<dyn AnyCluster>;
        self.running.clusters().into_iter().map(metered).collect()
    }

    fn routers(&self) -> Vec<(String, Arc<dyn AnyRouter>)> {
        vec![("http".to_owned(), Arc::new(self.running.router().clone()))]
    }

    fn running(&self) -> Option<RunningReport> {
        Some(self.running.report())
    }
}

/// A cluster, and where its payloads keep their meters.
pub(crate) struct Metered<T> {
    pub(crate) cluster: Cluster<T>,
    pub(crate) meter: MeterOf<T>,
}

impl<T: Send + Sync + 'static> AnyCluster for Metered<T> {
    fn name(&self) -> &str {
        self.cluster.name()
    }

    fn now(&self) -> Timestamp {
        self.cluster.now()
    }

    fn report(&self) -> ClusterReport {
        self.cluster.report()
    }

    fn freshness(&self) -> Freshness {
        self.cluster.freshness()
    }

    fn beside(&self) -> Vec<Beside> {
        let now = self.cluster.now();
        let of = |endpoint: &Handle<T>| Beside {
            id: endpoint.id(),
            locality: endpoint.description().locality().cloned(),
            reading: (self.meter)(endpoint.payload()).map(|meter| meter.read(now)),
        };
        self.cluster.endpoints().iter().map(of).collect()
    }

    fn explain(&self, request: &Request<'_>) -> Explanation {
        self.cluster.explain(request)
    }

    fn obey(&self, id: &EndpointId, order: &Order) -> Result<(), ActError> {
        let endpoint = self.cluster.endpoint(id).map_err(|_| ActError::NoEndpoint(id.to_string()))?;
        match order {
            Order::Drain { by, reason, limit } => {
                // Without an end in sight it lasts until somebody says otherwise.
                let limit = limit.unwrap_or(Duration::MAX);
                endpoint.set_admin_for(AdminState::Drain, limit, by, reason)?;
            }
            Order::Undrain => {
                endpoint.set_admin(AdminState::Ready);
            }
            Order::ForceOpen { owner, limit } => {
                endpoint.force_breaker(Force::Open, *owner, Some(*limit))?;
            }
            Order::Unforce => {
                endpoint.unforce_breaker()?;
            }
            Order::Weigh { weight } => {
                self.cluster.set_weight(id, Weight::new(*weight))?;
            }
        }
        Ok(())
    }

    fn export(&self, exporter: &Exporter, counters: &Counters) {
        exporter.add(&self.cluster, counters);
    }
}

impl<T: Send + Sync + 'static> AnyRouter for Router<T> {
    fn explain(&self, typed: &Typed) -> Result<RouteExplanation, RouteError> {
        let request = Matched::new(&typed.method, &typed.host, &typed.path).with_headers(&typed.headers);
        let incoming = Incoming::new(request.at_listener(typed.listener.as_deref().unwrap_or_default()));
        match typed.source {
            Some(source) => Self::explain(self, &incoming.from_address(source)),
            None => Self::explain(self, &incoming),
        }
    }
}
