use std::fmt;

use evenkeel_route::matching::StreamTrail;

use super::explain::{ExplainedArm, ExplainedCluster, write_clusters, write_passed};

/// Why a connection would go where it would go: the whole trail, from the rules to the endpoint.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamExplanation {
    /// Which rules were asked, and why those before the one that took it did not.
    pub rules: StreamTrail,
    /// The route.
    pub route: Option<String>,
    /// The arm.
    pub arm: Option<ExplainedArm>,
    /// The cluster, and the fallbacks that would be asked after it, as they are now.
    pub clusters: Vec<ExplainedCluster>,
}

impl fmt::Display for StreamExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rules.sni.as_str() {
            "" => writeln!(f, "connection without a server name")?,
            sni => writeln!(f, "connection for {sni}")?,
        }
        write_passed(f, &self.rules.passed)?;
        let Some(route) = &self.route else { return write!(f, "no route takes it") };
        writeln!(f, "route {route}")?;
        if let Some(arm) = &self.arm {
            writeln!(f, "cluster {}: {}", arm.cluster, arm.why)?;
        }
        write_clusters(f, &self.clusters)
    }
}
