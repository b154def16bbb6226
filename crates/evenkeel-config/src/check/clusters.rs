use std::collections::{BTreeMap, BTreeSet};

use evenkeel::{ApplyError, BuildError, Cluster, ClusterConfig, InvalidPolicy, ReturnBy};
use evenkeel_health::RiseFallConfig;
use evenkeel_types::Address;

use super::{Faults, discovery};
use crate::document::Path;
use crate::error::Problem;
use crate::model::{ClusterSettings, Config};

/// The clusters, built for a trial as far as they can be.
pub(super) fn check(config: &Config, faults: &mut Faults<'_>) -> Vec<Cluster<()>> {
    faults.names("clusters", config.clusters.iter().map(|settings| settings.cluster.name.as_str()));
    let mut built = Vec::with_capacity(config.clusters.len());
    for (i, settings) in config.clusters.iter().enumerate() {
        let path = Path::from("clusters").index(i);
        discovery::check(settings, &path, faults);
        endpoints(&settings.cluster, &path, faults);
        health(settings, &path, faults);
        if !settings.cluster.name.is_empty() {
            match Cluster::from_config(settings.cluster.clone()) {
                Ok(cluster) => built.push(cluster),
                Err(error) => refused(&error, &path, faults),
            }
        }
    }
    if config.clusters.iter().any(|settings| settings.check.is_some()) {
        if let Err(error) = config.prober.validate() {
            faults.foreign(&Path::from("prober"), &error.to_string());
        }
    } else if config.prober != evenkeel_probe::ProberConfig::default() {
        let text = "would be ignored, no cluster has a check: leave it out";
        faults.error(&Path::from("prober"), Problem::invalid(text));
    }
    unused(config, faults);
    built
}

fn endpoints(cluster: &ClusterConfig, path: &Path, faults: &mut Faults<'_>) {
    let mut known = BTreeMap::new();
    let list = path.key("endpoints");
    for (i, endpoint) in cluster.endpoints.iter().enumerate() {
        if let Some(first) = known.insert(endpoint.id(), i) {
            let problem = Problem::Twice { name: endpoint.id().to_string() };
            let first = list.index(first).key("id");
            faults.error_also(&list.index(i).key("id"), problem, &first, "the first is in");
        }
    }
    if !cluster.endpoints.is_empty() && cluster.endpoints.iter().all(|endpoint| endpoint.weight().is_drain())
    {
        let text = "all weights are 0, so nothing here takes a request".to_owned();
        faults.warn(&list, text, None);
    }
}

fn health(settings: &ClusterSettings, path: &Path, faults: &mut Faults<'_>) {
    let Some(check) = &settings.check else {
        let waits = settings.cluster.outlier.as_ref().map(|outlier| outlier.return_by);
        if let Some(ReturnBy::Checks(_)) = waits {
            let text =
                "there is no check here: without Handle::record_check an ejection lasts for its longest time"
                    .to_owned();
            faults.warn(&path.key("outlier").key("return_by"), text, None);
        }
        return;
    };
    if settings.cluster.health != RiseFallConfig::default() {
        let text = "would be ignored, the check has thresholds of its own: use check.schedule.thresholds";
        faults.error(&path.key("health"), Problem::invalid(text));
    }
    let path = path.key("check");
    if check.port == Some(0) {
        faults.error(&path.key("port"), Problem::invalid("is 0: allowed are 1 to 65535"));
    }
    let at_unix = |endpoint: &&evenkeel::Endpoint| matches!(endpoint.address(), Address::Unix(_));
    if let Some(endpoint) = settings.cluster.endpoints.iter().find(at_unix).filter(|_| check.port.is_some()) {
        let text = format!(
            "would be ignored for {:?}, which is a unix socket: leave it out",
            endpoint.id().as_str()
        );
        faults.error(&path.key("port"), Problem::Invalid(text));
    }
    // The address matters for nothing but the name in a certificate.
    let address = settings.cluster.endpoints.first().map(|endpoint| endpoint.address().clone());
    if let Err(error) = check.probe.validate(address.as_ref()) {
        faults.foreign(&path.key("probe"), &error.to_string());
    }
    if let Err(error) = check.schedule.validate() {
        faults.foreign(&path.key("schedule"), &error.to_string());
    }
}

fn refused(error: &BuildError, path: &Path, faults: &mut Faults<'_>) {
    match error {
        BuildError::Policy(policy) => refused_policy(policy, path, faults),
        BuildError::Endpoints(ApplyError::Policy(policy)) => refused_policy(policy, path, faults),
        // Said with both places already.
        BuildError::Endpoints(ApplyError::DuplicateId { .. }) => {}
        BuildError::Endpoints(error) => faults.error(&path.key("endpoints"), Problem::invalid(error)),
        BuildError::Subset(error) => {
            let text = error.to_string();
            let text = text.strip_prefix("subset ").unwrap_or(&text);
            let (_, rest) = text.split_once(": ").unwrap_or(("", text));
            faults.foreign(&path.key("subset"), rest);
        }
        other => faults.foreign(path, &other.to_string()),
    }
}

fn refused_policy(error: &InvalidPolicy, path: &Path, faults: &mut Faults<'_>) {
    let policy = path.key("policy");
    match error {
        InvalidPolicy::Setting { setting, problem, .. } => {
            faults.error(&policy.join(setting), Problem::Invalid(problem.clone()));
        }
        other => faults.error(&policy, Problem::invalid(other)),
    }
}

/// Clusters that nothing leads to, if anything leads anywhere.
fn unused(config: &Config, faults: &mut Faults<'_>) {
    if config.http.routes.is_empty() && config.stream.routes.is_empty() {
        return;
    }
    let mut used: BTreeSet<&str> = BTreeSet::new();
    super::routes::each_reference(config, &mut |name, _| _ = used.insert(name));
    for (i, settings) in config.clusters.iter().enumerate() {
        if !used.contains(settings.cluster.name.as_str()) {
            let text = format!("no route leads to the cluster {:?}", settings.cluster.name);
            faults.warn(&Path::from("clusters").index(i), text, None);
        }
    }
}
