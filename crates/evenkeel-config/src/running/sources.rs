//! Where the endpoints of a cluster come from: a registry of its own, and an adapter for each source.

use std::time::Duration;

use evenkeel::{Clock, MonotonicClock};
use evenkeel_registry::{Event, Feed, Hold, MirrorConfig, Registry, ServiceName, SourceName};
use evenkeel_types::{Endpoint, Ratio};
#[cfg(feature = "xds")]
use evenkeel_xds::Follow;

#[cfg(any(feature = "kube", feature = "xds"))]
use crate::check::foreign;
use crate::document::Path;
use crate::error::Problem;
#[cfg(feature = "xds")]
use crate::model::XdsResource;
use crate::model::{ClusterSettings, DiscoveryConfig, Kind};
use crate::running::streams::Streams;

/// The name of the source that is the list in the configuration.
pub(crate) const STATIC: &str = "static";

/// The registry of one cluster. When its sources change, another one is built beside it.
pub(crate) struct Store {
    pub(crate) registry: Registry,
    pub(crate) service: ServiceName,
    list: Option<Feed>,
    /// Dropped, they stop and their threads are joined.
    _adapters: Vec<Adapter>,
}

/// A running adapter.
#[expect(dead_code, reason = "they are held, so that they run")]
enum Adapter {
    File(evenkeel_file::Handle),
    #[cfg(feature = "dns")]
    Dns(evenkeel_dns::Handle),
    #[cfg(feature = "etcd")]
    Etcd(evenkeel_etcd::EtcdHandle),
    #[cfg(feature = "consul")]
    Consul(evenkeel_consul::ConsulHandle),
    #[cfg(feature = "zookeeper")]
    ZooKeeper(evenkeel_zookeeper::ZooKeeperHandle),
    #[cfg(feature = "kube")]
    Kube(evenkeel_kube::KubeHandle),
    /// What is followed, and the stream, which others may share.
    #[cfg(feature = "xds")]
    Xds(evenkeel_xds::Followed, std::sync::Arc<evenkeel_xds::XdsHandle>),
}

impl Store {
    /// Starts the sources of a cluster.
    pub(crate) fn start(
        settings: &ClusterSettings,
        path: &Path,
        clock: MonotonicClock,
        streams: &Streams,
    ) -> Result<Self, (Path, Problem)> {
        let registry = Registry::default();
        let at = |path: Path| move |error: &dyn std::fmt::Display| (path.clone(), Problem::invalid(error));
        let service =
            ServiceName::new(&settings.cluster.name).map_err(|error| at(path.key("name"))(&error))?;
        let list = if settings.cluster.endpoints.is_empty() {
            None
        } else {
            let wrong = at(path.key("endpoints"));
            let source = SourceName::new(STATIC).map_err(|error| wrong(&error))?;
            let feed = registry.feed(&service, &source, of_the_list(settings), move || clock.now());
            let feed = feed.map_err(|error| wrong(&error))?;
            feed.send(Event::set(settings.cluster.endpoints.clone())).map_err(|error| wrong(&error))?;
            Some(feed)
        };
        let mut adapters = Vec::new();
        for (i, discovery) in settings.discovery.iter().enumerate() {
            let path = path.key("discovery").index(i);
            adapters.push(start(&registry, &service, discovery, &path, clock, streams)?);
        }
        // After the feeds, since a service begins with the first.
        if let Some(merge) = settings.merge {
            registry
                .set_merge(clock.now(), &service, merge)
                .map_err(|error| at(path.key("merge"))(&error))?;
        }
        Ok(Self { registry, service, list, _adapters: adapters })
    }

    /// Another list in the configuration; whether the registry took it.
    pub(crate) fn set_list(&self, endpoints: Vec<Endpoint>) -> bool {
        self.list.as_ref().is_some_and(|feed| feed.send(Event::set(endpoints)).is_ok())
    }
}

/// The list is the operator's word: no guard against loss, no delay, and after all other sources.
fn of_the_list(settings: &ClusterSettings) -> MirrorConfig {
    let mut mirror = MirrorConfig::default();
    mirror.empty.hold = Hold::Never;
    mirror.shrink.at_once = Ratio::ONE;
    mirror.settle.quiet = Duration::ZERO;
    mirror.max_endpoints = settings.cluster.max_endpoints;
    mirror.max_weight = evenkeel_types::Weight::new(u32::MAX);
    mirror.preference = u16::MAX;
    mirror
}

fn start(
    registry: &Registry,
    service: &ServiceName,
    discovery: &DiscoveryConfig,
    path: &Path,
    clock: MonotonicClock,
    #[cfg_attr(not(feature = "xds"), expect(unused_variables, reason = "nobody else shares a stream"))]
    streams: &Streams,
) -> Result<Adapter, (Path, Problem)> {
    let kinds = discovery.kinds();
    let Some(kind) = kinds.first().copied() else {
        return Err((path.clone(), Problem::invalid("holds nothing")));
    };
    let path = path.key(kind.name());
    let wrong = |error: &dyn std::fmt::Display| (path.clone(), Problem::invalid(error));
    let name = discovery.source.as_deref().unwrap_or(kind.name());
    let source = SourceName::new(name).map_err(|error| wrong(&error))?;
    let feed = registry.feed(service, &source, discovery.mirror.clone(), move || clock.now());
    let feed = feed.map_err(|error| wrong(&error))?;
    Ok(match kind {
        Kind::File(file) => {
            let mut file = file.clone();
            file.entry = file.entry.or_else(|| discovery.service.clone());
            Adapter::File(evenkeel_file::File::start(feed, file).map_err(|error| wrong(&error))?)
        }
        #[cfg(feature = "dns")]
        Kind::Dns(dns) => {
            Adapter::Dns(evenkeel_dns::Dns::start(feed, dns.clone()).map_err(|error| wrong(&error))?)
        }
        #[cfg(feature = "etcd")]
        Kind::Etcd(etcd) => {
            Adapter::Etcd(evenkeel_etcd::Etcd::start(feed, etcd.clone()).map_err(|error| wrong(&error))?)
        }
        #[cfg(feature = "consul")]
        Kind::Consul(consul) => Adapter::Consul(
            evenkeel_consul::Consul::start(feed, consul.clone()).map_err(|error| wrong(&error))?,
        ),
        #[cfg(feature = "zookeeper")]
        Kind::ZooKeeper(zookeeper) => Adapter::ZooKeeper(
            evenkeel_zookeeper::ZooKeeper::start(feed, zookeeper.clone()).map_err(|error| wrong(&error))?,
        ),
        #[cfg(feature = "kube")]
        Kind::Kube(kube) => Adapter::Kube(
            evenkeel_kube::Kube::start(feed, kube.clone())
                .map_err(|error| foreign(&path, &error.to_string()))?,
        ),
        #[cfg(feature = "xds")]
        Kind::Xds(xds) => {
            let name = discovery.service.clone().unwrap_or_else(|| service.to_string());
            let follow = match xds.resource {
                XdsResource::Endpoints => Follow::Endpoints(name),
                XdsResource::Cluster => Follow::Cluster(name),
            };
            let stream = streams.xds(&xds.control_plane);
            let stream = stream.map_err(|error| foreign(&path.key("control_plane"), &error.to_string()))?;
            Adapter::Xds(stream.follow_while(follow, feed).map_err(|error| wrong(&error))?, stream)
        }
    })
}
