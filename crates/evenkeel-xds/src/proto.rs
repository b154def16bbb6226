//! The few messages of xDS that are read or written, with the field numbers of the public files. What is not declared is
//! skipped, as protobuf has it.
//!
//! Sources: `envoy/service/discovery/v3/discovery.proto`, `envoy/config/endpoint/v3/endpoint.proto` and
//! `endpoint_components.proto`, `envoy/config/cluster/v3/cluster.proto`, `envoy/config/core/v3/{base,address,
//! config_source}.proto`, `envoy/type/v3/percent.proto` of <https://github.com/envoyproxy/data-plane-api>;
//! `google/rpc/status.proto`; `google/protobuf/{any,struct,duration}.proto`. The wrappers of `wrappers.proto` are
//! prost's own for `u32`.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

/// Of `ClusterLoadAssignment`.
pub(crate) const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// Of `Cluster`.
pub(crate) const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// Of the envelope that may be around either.
pub(crate) const ENVELOPE: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DiscoveryRequest {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) node: Option<Node>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) resource_names: Vec<String>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) response_nonce: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) error_detail: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<Any>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
    #[prost(message, repeated, tag = "7")]
    pub(crate) resource_errors: Vec<ResourceError>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeltaDiscoveryRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) node: Option<Node>,
    #[prost(string, tag = "2")]
    pub(crate) type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) resource_names_subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) resource_names_unsubscribe: Vec<String>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(crate) initial_resource_versions: BTreeMap<String, String>,
    #[prost(string, tag = "6")]
    pub(crate) response_nonce: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) error_detail: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeltaDiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(crate) system_version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<Resource>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
    #[prost(string, repeated, tag = "6")]
    pub(crate) removed_resources: Vec<String>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) resource_errors: Vec<ResourceError>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) resource: Option<Any>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceError {
    #[prost(message, optional, tag = "1")]
    pub(crate) resource_name: Option<ResourceName>,
    #[prost(message, optional, tag = "2")]
    pub(crate) error_detail: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceName {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) cluster: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) metadata: Option<Struct>,
    #[prost(message, optional, tag = "4")]
    pub(crate) locality: Option<Locality>,
    #[prost(string, tag = "6")]
    pub(crate) user_agent_name: String,
    #[prost(string, tag = "7")]
    pub(crate) user_agent_version: String,
    #[prost(string, repeated, tag = "10")]
    pub(crate) client_features: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Locality {
    #[prost(string, tag = "1")]
    pub(crate) region: String,
    #[prost(string, tag = "2")]
    pub(crate) zone: String,
    #[prost(string, tag = "3")]
    pub(crate) sub_zone: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClusterLoadAssignment {
    #[prost(string, tag = "1")]
    pub(crate) cluster_name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) endpoints: Vec<LocalityLbEndpoints>,
    #[prost(message, optional, tag = "4")]
    pub(crate) policy: Option<Policy>,
}

/// `ClusterLoadAssignment.Policy`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Policy {
    #[prost(message, repeated, tag = "2")]
    pub(crate) drop_overloads: Vec<DropOverload>,
    #[prost(message, optional, tag = "3")]
    pub(crate) overprovisioning_factor: Option<u32>,
    #[prost(message, optional, tag = "4")]
    pub(crate) endpoint_stale_after: Option<Span>,
    #[prost(bool, tag = "6")]
    pub(crate) weighted_priority_health: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DropOverload {
    #[prost(string, tag = "1")]
    pub(crate) category: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) drop_percentage: Option<FractionalPercent>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FractionalPercent {
    #[prost(uint32, tag = "1")]
    pub(crate) numerator: u32,
    #[prost(int32, tag = "2")]
    pub(crate) denominator: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LocalityLbEndpoints {
    #[prost(message, optional, tag = "1")]
    pub(crate) locality: Option<Locality>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) lb_endpoints: Vec<LbEndpoint>,
    #[prost(message, optional, tag = "3")]
    pub(crate) load_balancing_weight: Option<u32>,
    #[prost(uint32, tag = "5")]
    pub(crate) priority: u32,
    #[prost(message, optional, tag = "8")]
    pub(crate) leds_cluster_locality_config: Option<Nothing>,
}

/// A message of which only its presence counts.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LbEndpoint {
    #[prost(message, optional, tag = "1")]
    pub(crate) endpoint: Option<HostEndpoint>,
    #[prost(enumeration = "HealthStatus", tag = "2")]
    pub(crate) health_status: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    pub(crate) load_balancing_weight: Option<u32>,
    #[prost(string, tag = "5")]
    pub(crate) endpoint_name: String,
}

/// `envoy.config.core.v3.HealthStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(crate) enum HealthStatus {
    Unknown = 0,
    Healthy = 1,
    Unhealthy = 2,
    Draining = 3,
    Timeout = 4,
    Degraded = 5,
}

/// `Endpoint` of `endpoint_components.proto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HostEndpoint {
    #[prost(message, optional, tag = "1")]
    pub(crate) address: Option<HostAddress>,
    #[prost(string, tag = "3")]
    pub(crate) hostname: String,
    #[prost(message, repeated, tag = "4")]
    pub(crate) additional_addresses: Vec<AdditionalAddress>,
}

/// `Endpoint.AdditionalAddress`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AdditionalAddress {
    #[prost(message, optional, tag = "1")]
    pub(crate) address: Option<HostAddress>,
}

/// `envoy.config.core.v3.Address`, whose two fields that are known exclude each other.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HostAddress {
    #[prost(message, optional, tag = "1")]
    pub(crate) socket_address: Option<SocketAddress>,
    #[prost(message, optional, tag = "2")]
    pub(crate) pipe: Option<Pipe>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SocketAddress {
    #[prost(int32, tag = "1")]
    pub(crate) protocol: i32,
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    #[prost(uint32, tag = "3")]
    pub(crate) port_value: u32,
    #[prost(string, tag = "4")]
    pub(crate) named_port: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pipe {
    #[prost(string, tag = "1")]
    pub(crate) path: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) filter_metadata: BTreeMap<String, Struct>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) fields: BTreeMap<String, Value>,
}

/// `google.protobuf.Value`, of which lists, structures and null are nothing here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Value {
    #[prost(oneof = "Kind", tags = "2, 3, 4")]
    pub(crate) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Kind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Truth(bool),
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Span {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Cluster {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) eds_cluster_config: Option<EdsClusterConfig>,
    #[prost(message, optional, tag = "33")]
    pub(crate) load_assignment: Option<ClusterLoadAssignment>,
    #[prost(message, optional, tag = "38")]
    pub(crate) cluster_type: Option<Nothing>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EdsClusterConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) eds_config: Option<ConfigSource>,
    #[prost(string, tag = "2")]
    pub(crate) service_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConfigSource {
    #[prost(message, optional, tag = "3")]
    pub(crate) ads: Option<Nothing>,
    #[prost(message, optional, tag = "5")]
    pub(crate) own: Option<Nothing>,
    /// V3 is 2.
    #[prost(int32, tag = "6")]
    pub(crate) resource_api_version: i32,
}
