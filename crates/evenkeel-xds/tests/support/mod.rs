//! A small control plane without IO, and the resources it serves.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

#[path = "../../src/proto.rs"]
pub mod proto;

pub mod plane;

use std::collections::BTreeMap;

use prost::Message;
use proto::{
    Cluster, ClusterLoadAssignment, ConfigSource, EdsClusterConfig, HostAddress, HostEndpoint, LbEndpoint,
    LocalityLbEndpoints, Nothing, SocketAddress,
};

pub fn lb_endpoint(ip: &str, port: u32) -> LbEndpoint {
    let socket = SocketAddress { address: ip.to_owned(), port_value: port, ..Default::default() };
    let address = HostAddress { socket_address: Some(socket), pipe: None };
    LbEndpoint {
        endpoint: Some(HostEndpoint { address: Some(address), ..Default::default() }),
        ..Default::default()
    }
}

pub fn group(lb_endpoints: Vec<LbEndpoint>) -> LocalityLbEndpoints {
    LocalityLbEndpoints { lb_endpoints, ..Default::default() }
}

pub fn assignment(name: &str, endpoints: Vec<LocalityLbEndpoints>) -> ClusterLoadAssignment {
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints, policy: None }
}

/// One group of endpoints at `10.0.0.n:80`.
pub fn simple(name: &str, numbers: &[u8]) -> ClusterLoadAssignment {
    let endpoints = numbers.iter().map(|n| lb_endpoint(&format!("10.0.0.{n}"), 80)).collect();
    assignment(name, vec![group(endpoints)])
}

/// As an EDS cluster of this service.
pub fn cluster(name: &str, service: &str) -> Cluster {
    let source = ConfigSource { ads: Some(Nothing {}), own: None, resource_api_version: 2 };
    let config = EdsClusterConfig { eds_config: Some(source), service_name: service.to_owned() };
    Cluster { name: name.to_owned(), kind: 3, eds_cluster_config: Some(config), ..Default::default() }
}

pub fn encoded<M: Message>(message: &M) -> Vec<u8> {
    message.encode_to_vec()
}

/// Names to encoded resources.
pub type Resources = BTreeMap<String, Vec<u8>>;
