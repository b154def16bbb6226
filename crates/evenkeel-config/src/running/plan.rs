//! What becomes of each cluster in a reload.

use evenkeel::ClusterConfig;
use serde_json::Value;

use crate::model::ClusterSettings;

/// What changed in a cluster that stays.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// Settings of the cluster, by key.
    pub(crate) settings: Vec<String>,
    pub(crate) sources: bool,
    pub(crate) check: bool,
}

impl Changes {
    pub(crate) fn between(old: &ClusterSettings, new: &ClusterSettings) -> Self {
        let settings = changed(&old.cluster, &new.cluster);
        // A list that is one of several sources is told to its feed; where it appears or vanishes, the sources change.
        let sources = old.discovery != new.discovery
            || old.merge != new.merge
            || !new.discovery.is_empty()
                && old.cluster.endpoints.is_empty() != new.cluster.endpoints.is_empty()
            || !new.discovery.is_empty() && old.cluster.max_endpoints != new.cluster.max_endpoints;
        Self { settings, sources, check: old.check != new.check }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting == key)
    }

    /// Whether another cluster must be built.
    pub(crate) fn rebuild(&self) -> bool {
        self.settings.iter().any(|setting| !IN_PLACE.contains(&setting.as_str()))
    }
}

/// What a running cluster takes over.
const IN_PLACE: [&str; 4] = ["endpoints", "outside_subset", "policy", "subset"];

/// The keys that differ. What cannot be written, a policy of the program's own, is taken for different.
fn changed(old: &ClusterConfig, new: &ClusterConfig) -> Vec<String> {
    let mut keys = Vec::new();
    if old.endpoints != new.endpoints {
        keys.push("endpoints".to_owned());
    }
    let table = |config: &ClusterConfig| {
        let config = ClusterConfig { endpoints: Vec::new(), ..config.clone() };
        match serde_json::to_value(config) {
            Ok(Value::Object(table)) => Some(table),
            _ => None,
        }
    };
    let (Some(old), Some(new)) = (table(old), table(new)) else {
        return vec!["all".to_owned()];
    };
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.extend(names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned());
    keys.sort();
    keys
}
