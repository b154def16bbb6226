#![no_main]
//! Configuration files: that of a cluster, which is built too, and those of the adapters.

use evenkeel::{Cluster, ClusterConfig, Request};
use evenkeel_consul::ConsulConfig;
use evenkeel_dns::{DnsConfig, Tracker};
use evenkeel_etcd::EtcdConfig;
use evenkeel_registry::{MirrorConfig, RegistrarConfig};
use evenkeel_zookeeper::ZooKeeperConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = ClusterConfig::from_toml(text)
        && let Ok(cluster) = Cluster::<()>::from_config(config)
    {
        for _ in 0..4 {
            if let Ok(pick) = cluster.pick(&Request::new()) {
                drop(pick);
            }
        }
        let _ = cluster.tick();
    }
    if let Ok(config) = toml::from_str::<EtcdConfig>(text) {
        let _ = config.validate();
    }
    if let Ok(config) = toml::from_str::<ConsulConfig>(text) {
        let _ = config.validate();
    }
    if let Ok(config) = toml::from_str::<ZooKeeperConfig>(text) {
        let _ = config.validate();
    }
    if let Ok(config) = toml::from_str::<DnsConfig>(text) {
        let _ = Tracker::new(config);
    }
    if let Ok(config) = toml::from_str::<RegistrarConfig>(text) {
        let _ = config.validate();
    }
    let _ = toml::from_str::<MirrorConfig>(text);
});
