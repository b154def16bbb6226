use std::collections::BTreeMap;

use evenkeel::router::{RouterConfig, StreamRouterConfig};
use evenkeel::{Cluster, ClusterConfig};
use evenkeel_health::CheckConfig;
use evenkeel_probe::ProbeConfig;
use evenkeel_route::matching::{HttpRules, HttpRulesConfig};
use serde::{Deserialize, Serialize};

use crate::error::{ConvertError, Problem};
use crate::files::place_after;
use crate::key_rule::KeyRule;
use crate::place::Place;
use crate::tls::{ListenerTls, UpstreamTls};

/// What a configuration of a proxy says, in evenkeel's words: who listens, where requests go, and to whom.
///
/// It is plain data. Clusters are built from `clusters` ([`Cluster::from_config`]), routers from what listeners serve,
/// targets of a prober from `checks`.
///
/// ```
/// use evenkeel_convert::{Dialect, Options, read};
///
/// let text = "upstream users { server 10.0.0.1:80 weight=3; server 10.0.0.2:80; }";
/// let conversion = read(Dialect::Nginx, text, "users.conf", &Options::default())?;
/// assert_eq!(conversion.setup.clusters[0].name, "users");
/// println!("{}", conversion.setup.to_toml()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// Who listens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Listener>,
    /// To whom requests go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<ClusterConfig>,
    /// How the endpoints of a cluster are checked, by the cluster's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, CheckSetup>,
    /// What the key of a request is, by the cluster's name: what the policy of the cluster goes by, to the bit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, KeyRule>,
    /// How endpoints are spoken to by TLS, by the cluster's name. Default: they are not.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub upstream_tls: BTreeMap<String, UpstreamTls>,
}

/// Who listens, and what happens to what comes in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name, each once.
    pub name: String,
    /// Where it listens, as its program writes it: `10.0.0.1:80`, `*:443`, `unix:/run/x`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// How clients speak TLS with it. Default: they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Whether datagrams come in, and no connections: what it serves are routes of connections then, without TLS. Default no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub udp: bool,
    /// What it does.
    pub serves: Serves,
}

/// What a listener does with what comes in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serves {
    /// Routes requests.
    Http(RouterConfig),
    /// Routes connections.
    Stream(StreamRouterConfig),
}

/// How the endpoints of a cluster are checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSetup {
    /// What is done.
    pub probe: ProbeConfig,
    /// How often, and how results become a verdict.
    #[serde(default)]
    pub schedule: CheckConfig,
    /// The port that is asked, if it is not that of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Setup {
    /// Reads TOML.
    ///
    /// # Errors
    ///
    /// [`ConvertError`] with the line and column. Unknown keys are errors.
    pub fn from_toml(text: &str, name: &str) -> Result<Self, ConvertError> {
        let setup: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            let place = place_after(name, before);
            ConvertError::new(&place, Problem::Syntax(error.message().to_owned()))
        })?;
        setup.check(&Place::start(name))?;
        Ok(setup)
    }

    /// Writes TOML.
    ///
    /// # Errors
    ///
    /// If a value cannot be written, such as a policy of your own.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        crate::own::to_toml(self)
    }

    /// Whether clusters and rules can be built from it.
    ///
    /// # Errors
    ///
    /// [`Problem::Refused`] at `place` for the first that cannot.
    pub fn check(&self, place: &Place) -> Result<(), ConvertError> {
        for cluster in &self.clusters {
            check_cluster(cluster, place)?;
        }
        for listener in &self.listeners {
            if listener.udp && (listener.tls.is_some() || matches!(listener.serves, Serves::Http(_))) {
                let error = "datagrams are routed as connections are, and there is no TLS over them here";
                return Err(refused(place, &format!("listener {}", listener.name), &error));
            }
            if let Serves::Http(router) = &listener.serves {
                let rules = router.routes.iter().map(|route| route.rule.clone()).collect();
                let config = HttpRulesConfig { rules, path: router.path.clone(), limits: router.limits };
                HttpRules::new(&config)
                    .map_err(|error| refused(place, &format!("listener {}", listener.name), &error))?;
            }
        }
        Ok(())
    }

    /// The configuration of the cluster of this name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&ClusterConfig> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }
}

/// Whether a cluster can be built.
pub(crate) fn check_cluster(cluster: &ClusterConfig, place: &Place) -> Result<(), ConvertError> {
    match Cluster::<()>::from_config(cluster.clone()) {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(place, &format!("cluster {}", cluster.name), &error)),
    }
}

fn refused(place: &Place, what: &str, error: &dyn std::fmt::Display) -> ConvertError {
    let problem = Problem::Refused { what: what.to_owned(), error: error.to_string() };
    ConvertError::new(place, problem)
}
