use std::collections::BTreeMap;

use evenkeel_registry::{ServiceName, SourceName};

use super::Faults;
use crate::document::Path;
use crate::error::Problem;
use crate::model::{ClusterSettings, DiscoveryConfig, Kind};
use crate::running::STATIC;

pub(super) fn check(cluster: &ClusterSettings, path: &Path, faults: &mut Faults<'_>) {
    if cluster.merge.is_some() && cluster.sources() < 2 {
        let text = "would be ignored, there is one source: leave it out, or add a second one to discovery";
        faults.error(&path.key("merge"), Problem::invalid(text));
    }
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    if !cluster.discovery.is_empty()
        && let Err(error) = ServiceName::new(&cluster.cluster.name)
    {
        faults.error(&path.key("name"), Problem::invalid(error));
    }
    for (i, discovery) in cluster.discovery.iter().enumerate() {
        let path = path.key("discovery").index(i);
        let kinds = discovery.kinds();
        let [kind] = kinds.as_slice() else {
            let given: Vec<&str> = kinds.iter().map(Kind::name).collect();
            let given = if given.is_empty() { "nothing".to_owned() } else { given.join(" and ") };
            let text = format!(
                "holds {given}: exactly one of file, dns, etcd, consul, zookeeper, kube, xds is allowed"
            );
            faults.error(&path, Problem::Invalid(text));
            continue;
        };
        one(discovery, *kind, &path, faults);
        let name = discovery.source.as_deref().unwrap_or(kind.name());
        if name == STATIC {
            let text = format!(
                "{STATIC:?} is the source of the endpoints that stand in the cluster: give another name"
            );
            faults.error(&path.key("source"), Problem::Invalid(text));
        } else if let Err(error) = SourceName::new(name) {
            faults.error(&path.key("source"), Problem::invalid(error));
        } else if let Some(first) = known.insert(name.to_owned(), i) {
            let text = format!("two sources are called {name:?}: give each a name with source");
            let first = path_of(&path, first);
            faults.error_also(&path, Problem::Invalid(text), &first, "the first is in");
        }
    }
}

/// The path of another entry of the same list.
fn path_of(path: &Path, index: usize) -> Path {
    let mut other = path.clone();
    other.0.pop();
    other.index(index)
}

fn one(discovery: &DiscoveryConfig, kind: Kind<'_>, path: &Path, faults: &mut Faults<'_>) {
    if let Err(error) = discovery.mirror.validate() {
        faults.foreign(&path.key("mirror"), &error.to_string());
    }
    if let Some(service) = &discovery.service {
        if !kind.holds_several() {
            let text = format!("would be ignored, {} names its service itself: leave it out", kind.name());
            faults.error(&path.key("service"), Problem::Invalid(text));
        } else if !matches!(kind, Kind::File(_)) {
            if service.is_empty() {
                faults
                    .error(&path.key("service"), Problem::invalid("is empty: give the name of the resource"));
            }
        } else if let Err(error) = ServiceName::new(service) {
            faults.error(&path.key("service"), Problem::invalid(error));
        }
    }
    if let Kind::File(file) = kind
        && let (Some(_), Some(_)) = (&file.entry, &discovery.service)
    {
        let text = "would be ignored, file.entry names the service: leave one out";
        faults.error(&path.key("service"), Problem::invalid(text));
    }
    let problem = match kind {
        Kind::File(file) => file.validate().err().map(|error| error.to_string()),
        #[cfg(feature = "dns")]
        Kind::Dns(dns) => dns.validate().err().map(|error| error.to_string()),
        #[cfg(feature = "etcd")]
        Kind::Etcd(etcd) => etcd.validate().err().map(|error| error.to_string()),
        #[cfg(feature = "consul")]
        Kind::Consul(consul) => consul.validate().err().map(|error| error.to_string()),
        #[cfg(feature = "zookeeper")]
        Kind::ZooKeeper(zookeeper) => zookeeper.validate().err().map(|error| error.to_string()),
        #[cfg(feature = "kube")]
        Kind::Kube(kube) => kube.validate().err().map(|error| error.to_string()),
        #[cfg(feature = "xds")]
        Kind::Xds(xds) => xds.control_plane.validate().err().map(|error| format!("control_plane.{error}")),
    };
    if let Some(problem) = problem {
        faults.foreign(&path.key(kind.name()), &problem);
    }
}
