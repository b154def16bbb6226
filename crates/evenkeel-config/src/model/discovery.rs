use evenkeel_file::FileConfig;
use evenkeel_registry::MirrorConfig;
use serde::{Deserialize, Serialize};

#[cfg(feature = "consul")]
use evenkeel_consul::ConsulConfig;
#[cfg(feature = "dns")]
use evenkeel_dns::DnsConfig;
#[cfg(feature = "etcd")]
use evenkeel_etcd::EtcdConfig;
#[cfg(feature = "kube")]
use evenkeel_kube::KubeConfig;
#[cfg(feature = "xds")]
use evenkeel_xds::XdsConfig;
#[cfg(feature = "zookeeper")]
use evenkeel_zookeeper::ZooKeeperConfig;

/// One source of endpoints: exactly one of `file`, `dns`, `etcd`, `consul`, `zookeeper`, `kube`, `xds`.
///
/// Endpoints that stand in the cluster itself are a source too, of the name `static`, which comes after all others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiscoveryConfig {
    /// The name of the source, each once in a cluster: reports show it. Default: its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The name of the service in the source, for kinds that hold several (`file`, `xds`). Default: the name of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How the answers are treated: guards against loss, calm, bounds, and the preference among sources.
    pub mirror: MirrorConfig,
    /// A file of endpoints; its folder is that of the working directory, not of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileConfig>,
    /// Records of DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsConfig>,
    /// A prefix of etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdConfig>,
    /// A service of Consul.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consul: Option<ConsulConfig>,
    /// A path of ZooKeeper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zookeeper: Option<ZooKeeperConfig>,
    /// A Service of Kubernetes, by its EndpointSlices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kube: Option<KubeConfig>,
    /// A resource of a control plane, by xDS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xds: Option<XdsSettings>,
}

/// A resource of a control plane, which the name of the service names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg(feature = "xds")]
pub struct XdsSettings {
    /// What it is. Default: the endpoints themselves.
    pub resource: XdsResource,
    /// The control plane, and who we are to it. Sources with the same settings here share one stream, in whatever clusters
    /// they are.
    pub control_plane: XdsConfig,
}

/// A kind of resource that endpoints can come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg(feature = "xds")]
pub enum XdsResource {
    /// An assignment of endpoints (EDS). The default.
    #[default]
    Endpoints,
    /// A cluster (CDS): the endpoints of whatever assignment it names, or those that stand in it.
    Cluster,
}

/// Where endpoints come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'c> {
    /// A file.
    File(&'c FileConfig),
    /// DNS.
    #[cfg(feature = "dns")]
    Dns(&'c DnsConfig),
    /// etcd.
    #[cfg(feature = "etcd")]
    Etcd(&'c EtcdConfig),
    /// Consul.
    #[cfg(feature = "consul")]
    Consul(&'c ConsulConfig),
    /// ZooKeeper.
    #[cfg(feature = "zookeeper")]
    ZooKeeper(&'c ZooKeeperConfig),
    /// Kubernetes.
    #[cfg(feature = "kube")]
    Kube(&'c KubeConfig),
    /// A control plane.
    #[cfg(feature = "xds")]
    Xds(&'c XdsSettings),
}

impl Kind<'_> {
    /// Whether it holds several services, so that one is to be named beside its settings.
    pub(crate) const fn holds_several(&self) -> bool {
        match self {
            Self::File(_) => true,
            #[cfg(feature = "xds")]
            Self::Xds(_) => true,
            #[cfg(any(
                feature = "consul",
                feature = "dns",
                feature = "etcd",
                feature = "kube",
                feature = "zookeeper"
            ))]
            _ => false,
        }
    }

    /// The key in a file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            #[cfg(feature = "dns")]
            Self::Dns(_) => "dns",
            #[cfg(feature = "etcd")]
            Self::Etcd(_) => "etcd",
            #[cfg(feature = "consul")]
            Self::Consul(_) => "consul",
            #[cfg(feature = "zookeeper")]
            Self::ZooKeeper(_) => "zookeeper",
            #[cfg(feature = "kube")]
            Self::Kube(_) => "kube",
            #[cfg(feature = "xds")]
            Self::Xds(_) => "xds",
        }
    }
}

impl DiscoveryConfig {
    /// The kinds that are given; exactly one should be.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind<'_>> {
        let kinds = [
            self.file.as_ref().map(Kind::File),
            #[cfg(feature = "dns")]
            self.dns.as_ref().map(Kind::Dns),
            #[cfg(feature = "etcd")]
            self.etcd.as_ref().map(Kind::Etcd),
            #[cfg(feature = "consul")]
            self.consul.as_ref().map(Kind::Consul),
            #[cfg(feature = "zookeeper")]
            self.zookeeper.as_ref().map(Kind::ZooKeeper),
            #[cfg(feature = "kube")]
            self.kube.as_ref().map(Kind::Kube),
            #[cfg(feature = "xds")]
            self.xds.as_ref().map(Kind::Xds),
        ];
        kinds.into_iter().flatten().collect()
    }
}

/// Stands for settings whose feature is off, so that whoever writes them is told.
macro_rules! off {
    ($feature:literal, $name:ident) => {
        /// Settings of a kind that was not compiled in.
        #[cfg(not(feature = $feature))]
        #[derive(Clone, Copy, Debug, PartialEq, Serialize)]
        pub enum $name {}

        #[cfg(not(feature = $feature))]
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                let text = concat!("needs the feature ", $feature, " of evenkeel-config, which is off");
                Err(serde::de::Error::custom(text))
            }
        }

        #[cfg(all(not(feature = $feature), feature = "schema"))]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                false.into()
            }
        }
    };
}

off!("consul", ConsulConfig);
off!("dns", DnsConfig);
off!("etcd", EtcdConfig);
off!("kube", KubeConfig);
off!("xds", XdsSettings);
off!("zookeeper", ZooKeeperConfig);
