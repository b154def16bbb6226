use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::compat::envoy::EnvoyConfig;
use crate::compat::grpc::GrpcConfig;
use crate::compat::haproxy::HaproxyConfig;
use crate::compat::nginx::NginxConfig;
use crate::compat::pingora::PingoraConfig;
use crate::compat::traefik::TraefikConfig;
use crate::draws::{RandomConfig, WeightedRandomConfig};
use crate::hash::{AnchorConfig, IpHashConfig, JumpConfig, ModuloConfig, MultiProbeConfig, RendezvousConfig};
use crate::hash::{KetamaConfig, MaglevConfig, RingHashConfig};
use crate::latency::{
    C3Config, ClientSideWeightedRoundRobinConfig, LeastLatencyConfig, LeastTimeConfig, PeakEwmaConfig,
    PrequalConfig,
};
use crate::load::{
    JoinIdleQueueConfig, LeastConnectionsConfig, LeastRequestConfig, ShortestExpectedDelayConfig,
};
use crate::order::{
    EarliestDeadlineFirstConfig, FirstAvailableConfig, InterleavedConfig, PickFirstConfig, RoundRobinConfig,
    SmoothWeightedRoundRobinConfig, StaticMapConfig, StaticStrideConfig,
};
use crate::{BuiltIn, InvalidPolicy, Members, Policy};

/// The settings of one policy: its table in a configuration file.
pub trait PolicySettings: Clone + Default + fmt::Debug {
    /// The policy of these settings for these members; with nobody among them too, so that bad settings show at once.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range, or does not fit these members.
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy>;
}

/// One entry a policy: what the variant means, the variant with its settings, its name, and what others call it.
macro_rules! policies {
    ($($(#[$doc:meta])* $variant:ident($settings:ty): $name:ident $(| $alias:literal)*;)*) => {
        /// Which policy, with its settings.
        ///
        /// In a configuration file a table with the key `type` and the settings of the policy; the field's usual other names
        /// are understood too.
        ///
        /// Weights are never ignored: where they differ, `round_robin` serves the smooth weighted schedule (as nginx, HAProxy
        /// and Envoy mean it) and `random` the weighted draw. The two longer names are for those who want the table in any
        /// case.
        #[derive(Clone, Debug)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(tag = "type", rename_all = "snake_case"))]
        #[non_exhaustive]
        pub enum PolicyConfig {
            $(
                $(#[$doc])*
                $(#[doc = concat!("Also written `", $alias, "`.")])*
                $(#[cfg_attr(feature = "serde", serde(alias = $alias))])*
                $variant($settings),
            )*
            /// A policy of your own.
            #[cfg_attr(feature = "serde", serde(skip))]
            Custom(Arc<dyn Policy>),
        }

        impl PolicyConfig {
            $(
                #[doc = concat!("`", stringify!($name), "` at its defaults.")]
                $(#[$doc])*
                #[must_use]
                pub fn $name() -> Self {
                    Self::$variant(<$settings>::default())
                }
            )*

            /// Every built-in policy at its defaults: what benches, laws and the demo walk through.
            #[must_use]
            pub fn all() -> Vec<Self> {
                vec![$(Self::$name()),*]
            }

            /// The name in a configuration file; `custom` for a policy of your own.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($name),)*
                    Self::Custom(_) => "custom",
                }
            }

            /// What others call this policy, as configuration files may write it too.
            #[must_use]
            pub const fn aliases(&self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant(_) => &[$($alias),*],)*
                    Self::Custom(_) => &[],
                }
            }

            /// The schema of this policy as a table.
            #[cfg(feature = "schema")]
            fn table(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = match self {
                    $(Self::$variant(_) => <$settings as schemars::JsonSchema>::json_schema(generator),)*
                    Self::Custom(_) => false.into(),
                };
                let names: Vec<&str> = [self.name()].into_iter().chain(self.aliases().iter().copied()).collect();
                let table = schema.ensure_object();
                table.insert("type".into(), "object".into());
                let properties = table.entry("properties").or_insert_with(|| serde_json::Map::new().into());
                if let Some(properties) = properties.as_object_mut() {
                    properties.insert("type".into(), serde_json::json!({ "enum": names }));
                }
                table.insert("required".into(), serde_json::json!(["type"]));
                schema
            }

            /// The policy of this configuration for these members.
            ///
            /// # Errors
            ///
            /// [`InvalidPolicy`] if a setting is out of range, or a policy refuses its members.
            pub(crate) fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
                match self {
                    $(Self::$variant(settings) => settings.build(members),)*
                    Self::Custom(policy) => {
                        Ok(BuiltIn::Dynamic(policy.rebuild(members)?.unwrap_or_else(|| Arc::clone(policy))))
                    }
                }
            }
        }
    };
}

policies! {
    /// The less loaded of a few: [`LeastRequest`](crate::LeastRequest).
    LeastRequest(LeastRequestConfig): least_request
        | "p2c" | "least_outstanding_requests";
    /// Each in turn: [`RoundRobin`](crate::RoundRobin), or by weight where weights differ.
    RoundRobin(RoundRobinConfig): round_robin | "roundrobin" | "rr";
    /// In turn by weight: [`SmoothWeightedRoundRobin`](crate::SmoothWeightedRoundRobin).
    SmoothWeightedRoundRobin(SmoothWeightedRoundRobinConfig): smooth_weighted_round_robin
        | "weighted_round_robin" | "wrr";
    /// The earliest deadline, each due 1 ÷ weight after its last turn: [`EarliestDeadlineFirst`](crate::EarliestDeadlineFirst).
    EarliestDeadlineFirst(EarliestDeadlineFirstConfig): earliest_deadline_first | "edf";
    /// In turn by weight, from a counter alone: [`StaticStride`](crate::StaticStride).
    StaticStride(StaticStrideConfig): static_stride;
    /// In turn by levels of weight, as IPVS: [`Interleaved`](crate::Interleaved).
    Interleaved(InterleavedConfig): interleaved | "interleaved_weighted_round_robin";
    /// In turn through HAProxy's map of slots: [`StaticMap`](crate::StaticMap).
    StaticMap(StaticMapConfig): static_map | "static-rr" | "static_rr";
    /// The first one with room: [`FirstAvailable`](crate::FirstAvailable).
    FirstAvailable(FirstAvailableConfig): first_available | "first";
    /// One for everything, until it is out: [`PickFirst`](crate::PickFirst).
    PickFirst(PickFirstConfig): pick_first;
    /// The least loaded of all, exactly: [`LeastConnections`](crate::LeastConnections).
    LeastConnections(LeastConnectionsConfig): least_connections | "least_conn" | "leastconn" | "wlc";
    /// The least (load + 1) ÷ weight: [`ShortestExpectedDelay`](crate::ShortestExpectedDelay).
    ShortestExpectedDelay(ShortestExpectedDelayConfig): shortest_expected_delay | "sed";
    /// An idle one if there is one: [`JoinIdleQueue`](crate::JoinIdleQueue).
    JoinIdleQueue(JoinIdleQueueConfig): join_idle_queue | "jiq";
    /// Uniform: [`Random`](crate::Random), or by weight where weights differ.
    Random(RandomConfig): random;
    /// By weight: [`WeightedRandom`](crate::WeightedRandom).
    WeightedRandom(WeightedRandomConfig): weighted_random;
    /// Equal keys to one endpoint by the remainder of the hash: [`Modulo`](crate::Modulo).
    Modulo(ModuloConfig): modulo | "map_based";
    /// All requests of a client to one endpoint, by its address: [`IpHash`](crate::IpHash).
    IpHash(IpHashConfig): ip_hash | "source" | "source_ip";
    /// Equal keys to one endpoint by jump hash: [`Jump`](crate::Jump).
    Jump(JumpConfig): jump | "jump_hash";
    /// Equal keys to one endpoint by the highest random weight: [`Rendezvous`](crate::Rendezvous).
    Rendezvous(RendezvousConfig): rendezvous | "hrw" | "highest_random_weight";
    /// Equal keys to one endpoint by many probes of a small ring: [`MultiProbe`](crate::MultiProbe).
    MultiProbe(MultiProbeConfig): multi_probe | "mpch";
    /// Equal keys to one endpoint by AnchorHash: [`Anchor`](crate::Anchor).
    Anchor(AnchorConfig): anchor | "anchor_hash";
    /// What Envoy would pick: [`compat::envoy`](crate::compat::envoy).
    Envoy(EnvoyConfig): envoy;
    /// What gRPC would pick: [`compat::grpc`](crate::compat::grpc).
    Grpc(GrpcConfig): grpc;
    /// What HAProxy would pick: [`compat::haproxy`](crate::compat::haproxy).
    Haproxy(HaproxyConfig): haproxy;
    /// As nginx does: [`compat::nginx`](crate::compat::nginx).
    Nginx(NginxConfig): nginx;
    /// As pingora does: [`compat::pingora`](crate::compat::pingora).
    Pingora(PingoraConfig): pingora;
    /// As Traefik does: [`compat::traefik`](crate::compat::traefik).
    Traefik(TraefikConfig): traefik;
    /// Latency times requests in flight, of a few: [`PeakEwma`](crate::PeakEwma).
    PeakEwma(PeakEwmaConfig): peak_ewma | "ewma" | "p2c_peak_ewma";
    /// Who is expected to answer soonest: [`LeastLatency`](crate::LeastLatency).
    LeastLatency(LeastLatencyConfig): least_latency;
    /// Who is done soonest: [`LeastTime`](crate::LeastTime).
    LeastTime(LeastTimeConfig): least_time | "leasttime" | "least_response_time";
    /// Latency and the cube of the queue: [`C3`](crate::C3).
    C3(C3Config): c3;
    /// The fastest of those that are not hot: [`Prequal`](crate::Prequal).
    Prequal(PrequalConfig): prequal;
    /// In turn, by what endpoints report: [`ClientSideWeightedRoundRobin`](crate::ClientSideWeightedRoundRobin).
    ClientSideWeightedRoundRobin(ClientSideWeightedRoundRobinConfig): client_side_weighted_round_robin
        | "orca" | "reported_weights";
    /// By key, few keys moved: [`RingHash`](crate::RingHash).
    RingHash(RingHashConfig): ring_hash | "ring" | "consistent_hash" | "consistent";
    /// By key, as nginx places it: [`Ketama`](crate::Ketama).
    Ketama(KetamaConfig): ketama | "hash_consistent";
    /// By key, evenly: [`Maglev`](crate::Maglev).
    Maglev(MaglevConfig): maglev | "mh";
}

#[cfg(feature = "schema")]
impl PolicyConfig {
    /// The schema of a policy as a table: one form for each type.
    fn tables(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
        Self::all().iter().map(|policy| policy.table(generator)).collect()
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for PolicyConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Policy".into()
    }

    /// The name alone, or a table; other names of a policy are allowed too.
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<&str> = Self::all()
            .iter()
            .flat_map(|policy| [policy.name()].into_iter().chain(policy.aliases().iter().copied()))
            .collect();
        let name = schemars::json_schema!({ "description": "The name of a policy, at its defaults.", "enum": names });
        let forms: Vec<schemars::Schema> = std::iter::once(name).chain(Self::tables(generator)).collect();
        schemars::json_schema!({
            "description": "The name of a policy, or a table with its type and settings.",
            "anyOf": forms
        })
    }
}

impl PolicyConfig {
    /// A policy of your own.
    #[must_use]
    pub fn custom(policy: impl Policy + 'static) -> Self {
        Self::Custom(Arc::new(policy))
    }
}

impl FromStr for PolicyConfig {
    type Err = UnknownPolicy;

    /// The policy of this name, or of this alias, at its defaults.
    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let known =
            Self::all().into_iter().find(|policy| policy.name() == name || policy.aliases().contains(&name));
        known.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self::least_request()
    }
}

/// There is no policy of this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown policy {0:?}: allowed are {allowed}", allowed = names())]
pub struct UnknownPolicy(pub String);

fn names() -> String {
    PolicyConfig::all().iter().map(PolicyConfig::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberList;

    #[test]
    fn every_name_is_read_and_an_unknown_one_tells_all() {
        let error = "p3c".parse::<PolicyConfig>().unwrap_err().to_string();
        for policy in PolicyConfig::all() {
            assert_eq!(policy.name().parse::<PolicyConfig>().unwrap().name(), policy.name());
            assert!(error.contains(policy.name()), "{error}");
        }
        assert_eq!("p2c".parse::<PolicyConfig>().unwrap().name(), "least_request");
    }

    #[test]
    fn no_name_stands_for_two_policies() {
        let mut known: Vec<&str> = Vec::new();
        for policy in PolicyConfig::all() {
            for name in [policy.name()].iter().chain(policy.aliases()) {
                assert!(!known.contains(name), "{name}");
                known.push(name);
            }
        }
    }

    #[test]
    fn defaults_serve_nobody_too() {
        for policy in PolicyConfig::all() {
            assert!(policy.build(&MemberList::default()).is_ok(), "{policy:?}");
        }
    }
}
