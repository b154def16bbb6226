//! A cluster with everything between a request and one endpoint: tiers, zones, a subset, two choices, a breaker.

use evenkeel::{
    CheckState, Clock, Cluster, FailoverConfig, FailoverMode, Locality, LocalityConfig, OutsideSubset,
    PolicyConfig, Priority, RandomSubsetConfig, SubsetConfig, ZoneAwareConfig, ZoneCallers,
};

use crate::parts::window_breaker;
use crate::world::{Weights, endpoint};

/// How many endpoints of each tier the client uses.
pub const PIPELINE_SUBSET: usize = 90;

/// Three tiers of three zones of 100 endpoints, of which 90 of each tier are used. Two fifths of the first tier are down, so
/// that it keeps 84 % of the requests, and more callers stand at home than endpoints, so that some leave the zone.
#[must_use]
pub fn pipeline(clock: impl Clock + 'static) -> Cluster<()> {
    let place = |zone: usize| Locality::new("eu", ["a", "b", "c"][zone], "");
    let callers = [(0, 2), (1, 1), (2, 1)].map(|(zone, count)| ZoneCallers { at: place(zone), count });
    let zones = ZoneAwareConfig { callers: callers.to_vec(), ..ZoneAwareConfig::new(place(0)) };
    let size = PIPELINE_SUBSET as u32;
    let subset = RandomSubsetConfig { size, seed: Some(1), ..RandomSubsetConfig::default() };
    let cluster = Cluster::<()>::builder("bench")
        .policy(PolicyConfig::least_request())
        .seed(42)
        .clock(clock)
        .failover(FailoverMode::Spill(FailoverConfig::default()))
        .locality(LocalityConfig::ZoneAware(zones))
        .subset(SubsetConfig::Random(subset))
        .outside_subset(OutsideSubset::Never)
        .breaker(window_breaker())
        .build()
        .expect("a valid cluster");
    let endpoints = (0..900).map(|position| {
        let tier = Priority::new((position / 300) as u8).expect("a low one");
        endpoint(position, Weights::Equal).with_priority(tier).with_locality(place(position / 100 % 3))
    });
    cluster.apply(endpoints).expect("valid endpoints");
    let used = cluster.subset();
    for handle in used.iter().take(PIPELINE_SUBSET).step_by(5) {
        assert!(!handle.set_check(CheckState::Down).usable());
    }
    for handle in used.iter().take(PIPELINE_SUBSET).skip(1).step_by(5) {
        assert!(!handle.set_check(CheckState::Down).usable());
    }
    cluster
}
