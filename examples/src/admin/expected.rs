//! What share of all requests of a cluster each endpoint should get.
//!
//! A report tells the share among an endpoint's kind (its tier, zone and part of the subset). What its kind gets of the whole follows from
//! the tiers: from their shares where the cluster has any, else from the first tier that can serve.

use evenkeel::{ClusterReport, EndpointReport, Locality};

/// One share for each endpoint of the report. They add up to one while somebody is usable.
pub(crate) fn shares<'a>(
    report: &ClusterReport,
    zone_of: impl Fn(&EndpointReport) -> Option<&'a Locality>,
) -> Vec<f64> {
    if report.tiers.is_empty() {
        let serving = serving_tier(&report.endpoints);
        let share = |endpoint| if Some(tier_of(endpoint)) == serving { endpoint.expected_share } else { 0.0 };
        return report.endpoints.iter().map(share).collect();
    }
    report
        .endpoints
        .iter()
        .map(|endpoint| part_of_kind(report, endpoint, zone_of(endpoint)) * endpoint.expected_share)
        .collect()
}

type TierOf = (evenkeel::Priority, bool);

const fn tier_of(endpoint: &EndpointReport) -> TierOf {
    (endpoint.priority, endpoint.in_subset)
}

/// Tiers are asked in order for plainly healthy endpoints, and then in order for degraded ones.
fn serving_tier(endpoints: &[EndpointReport]) -> Option<TierOf> {
    let healthy = endpoints.iter().find(|endpoint| endpoint.usable && !endpoint.status.is_degraded());
    healthy.or_else(|| endpoints.iter().find(|endpoint| endpoint.usable)).map(tier_of)
}

fn part_of_kind(report: &ClusterReport, endpoint: &EndpointReport, zone: Option<&Locality>) -> f64 {
    let mut tiers = report.tiers.iter();
    let Some(tier) = tiers.find(|tier| (tier.priority, tier.in_subset) == tier_of(endpoint)) else {
        return 0.0;
    };
    match tier.zones.as_slice() {
        [] => tier.share + tier.degraded_share,
        [only] => only.share,
        zones => zones.iter().find(|known| lies_in(zone, known.at.as_ref())).map_or(0.0, |zone| zone.share),
    }
}

/// A zone may be told by its region and name alone, whatever parts of it there are.
fn lies_in(place: Option<&Locality>, zone: Option<&Locality>) -> bool {
    let parts = |place: &Locality| [place.region(), place.zone(), place.sub_zone()].map(str::to_owned);
    match (place.filter(|place| !place.is_empty()), zone) {
        (None, None) => true,
        (Some(place), Some(zone)) => {
            parts(zone).iter().zip(parts(place)).all(|(zone, part)| zone.is_empty() || *zone == part)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use evenkeel::{
        Cluster, Endpoint, EndpointId, FailoverConfig, FailoverMode, Locality, LocalityConfig, Priority,
        Weight, ZoneAwareConfig,
    };

    use super::*;

    fn endpoint(id: &str, priority: u8, weight: u32) -> Endpoint<()> {
        let address = "10.0.0.1:80".parse().expect("an address");
        Endpoint::new(id.parse().expect("an id"), address)
            .with_priority(Priority::new(priority).expect("a tier"))
            .with_weight(Weight::new(weight))
    }

    fn told(cluster: &Cluster<()>) -> Vec<f64> {
        let zones: Vec<_> =
            cluster.endpoints().iter().map(|known| (known.id(), known.description())).collect();
        let zone_of = |report: &EndpointReport| {
            zones.iter().find(|(id, _)| *id == report.id).and_then(|(_, about)| about.locality())
        };
        shares(&cluster.report(), zone_of)
    }

    #[test]
    fn the_first_tier_that_can_serve_gets_everything() {
        let cluster = Cluster::<()>::builder("c").build().unwrap();
        cluster.apply([endpoint("a", 0, 1), endpoint("b", 0, 3), endpoint("c", 1, 5)]).unwrap();
        assert_eq!(told(&cluster), [0.25, 0.75, 0.0]);
        for id in ["a", "b"] {
            let id: EndpointId = id.parse().unwrap();
            let _ = cluster.drain(&id).unwrap();
        }
        assert_eq!(told(&cluster), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn shares_of_tiers_and_zones_count() {
        let place = |zone: &str, cell: &str| Locality::new("eu", zone, cell);
        let own = ZoneAwareConfig::new(place("a", ""));
        let cluster = Cluster::<()>::builder("c")
            .failover(FailoverMode::Spill(FailoverConfig::default()))
            .locality(LocalityConfig::ZoneAware(own))
            .build()
            .unwrap();
        let set = [
            endpoint("a1", 0, 1).with_locality(place("a", "x")),
            endpoint("a2", 0, 1).with_locality(place("a", "y")),
            endpoint("b1", 0, 2).with_locality(place("b", "")),
            endpoint("d1", 0, 1),
            endpoint("c1", 1, 1).with_locality(place("a", "x")),
        ];
        cluster.apply(set).unwrap();
        let sum = |shares: &[f64]| shares.iter().sum::<f64>();
        let all = told(&cluster);
        assert!((sum(&all) - 1.0).abs() < 1e-6 && all[4] == 0.0, "{all:?}");
        for id in ["a1", "a2", "b1"] {
            let _ = cluster.endpoint(&id.parse().unwrap()).unwrap().set_check(evenkeel::CheckState::Down);
        }
        let spilled = told(&cluster);
        assert!((sum(&spilled) - 1.0).abs() < 1e-6 && spilled[4] > 0.0, "{spilled:?}");
    }
}
