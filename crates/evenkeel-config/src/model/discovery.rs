use evenkeel_file::FileConfig;
use evenkeel_registry::MirrorConfig;
use serde::{Deserialize, Serialize};

#[cfg(feature = "consul")]
use evenkeel_consul::ConsulConfig;
#[cfg(feature = "dns")]
use evenkeel_dns::DnsConfig;
#[cfg(feature = "etcd")]
use evenkeel_etcd::EtcdConfig;
#[cfg(feature = "zookeeper")]
use evenkeel_zookeeper::ZooKeeperConfig;

/// One source of endpoints: exactly one of `file`, `dns`, `etcd`, `consul`, `zookeeper`.
///
/// Endpoints that stand in the cluster itself are a source too, of the name `static`, which comes after all others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiscoveryConfig {
    /// The name of the source, each once in a cluster: reports show it. Default: its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The name of the service in the source, for kinds that hold several (`file`). Default: the name of the cluster.
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
}

impl Kind<'_> {
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
off!("zookeeper", ZooKeeperConfig);
