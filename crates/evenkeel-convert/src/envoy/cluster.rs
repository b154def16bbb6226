use evenkeel::{
    ClusterConfig, FailoverMode, LocalityConfig, PolicyConfig, SlowStartConfig, ZoneBy, ZoneWeight,
    ZoneWeightsConfig,
};
use evenkeel_balance::RandomConfig;
use evenkeel_balance::compat::envoy::{
    EnvoyConfig, EnvoyPolicy, LeastRequestSettings, LocalityWeight, MaglevSettings, RingHashSettings,
    RoundRobinSettings,
};
use evenkeel_types::Locality;

use super::checks::checks;
use super::common::Common;
use super::endpoints::endpoints;
use super::limits::{breakers, outliers, partly};
use super::node::Node;
use super::policy;
use super::settings::{least_request, maglev, ring_hash, slow};
use super::table::Table;
use super::transport;
use crate::conversion::Conversion;
use crate::error::{ConvertError, Problem};
use crate::setup::check_cluster;

/// Reads an `envoy.config.cluster.v3.Cluster`.
pub(crate) fn read_cluster(node: &Node, path: &str, conversion: &mut Conversion) -> Result<(), ConvertError> {
    let mut table = Table::new(node, path)?;
    let name = table.needed("name")?;
    let place = table.place();
    let mut cluster = ClusterConfig::new(name);
    if conversion.setup.cluster(name).is_some() {
        let problem = Problem::Twice { what: format!("cluster {name}"), first: place.clone() };
        return Err(ConvertError::new(place, problem));
    }
    let kind = table.text("type")?.unwrap_or("STATIC");
    match kind {
        "STATIC" => {}
        "STRICT_DNS" | "LOGICAL_DNS" => conversion.report.differs(
            place,
            format!("{path}.type: {kind}"),
            "names are endpoints, and whoever connects resolves them: follow them with evenkeel-dns to have all addresses",
        ),
        _ => conversion.report.none(
            place,
            format!("{path}.type: {kind}"),
            "endpoints come from discovery: read Envoy's EDS files with evenkeel-file, or follow xDS",
        ),
    }
    if let Some(time) = table.get("connect_timeout") {
        conversion.report.none(
            &time.place,
            format!("{path}.connect_timeout"),
            "connections are your client's: set its timeout",
        );
    }
    if table.get("load_balancing_policy").is_some() {
        policy::refuse_beside(&mut table)?;
    }
    let mut common = Common::read(&mut table, conversion)?;
    cluster.policy = balance(&mut table, &mut common, &mut cluster.slow_start, conversion)?;
    let zone_weights = endpoints(&mut table, &mut cluster, &mut common.failover, conversion)?;
    cluster.failover = Some(FailoverMode::Envoy(common.failover));
    if common.has_weights {
        zones(zone_weights, &mut cluster);
    } else if zone_weights.iter().any(|zone| zone.weight > 0) {
        conversion.report.taken(
            place,
            format!("{path}.load_assignment: weights of localities"),
            "ignored, as by Envoy without locality_weighted_lb_config",
        );
    }
    if let Some(mut outlier) = table.table("outlier_detection")? {
        cluster.outlier = Some(outliers(&mut outlier)?);
        partly(&mut outlier, conversion)?;
        conversion.report.differs(
            outlier.place(),
            outlier.path(""),
            "outlier: the same counts, times and caps; the success rate is judged by an exact test instead of by deviations",
        );
        outlier.rest(&mut conversion.report, |_| "outlier detection judges all that it counts");
    }
    breakers(&mut table, &mut cluster, conversion)?;
    if let Some(tls) = transport::of_cluster(&mut table, conversion)? {
        conversion.setup.upstream_tls.insert(name.to_owned(), tls);
    }
    checks(&mut table, &mut cluster, conversion)?;
    conversion.report.taken(place, format!("{path}: {name}"), format!("clusters.{name}"));
    table.rest(&mut conversion.report, |field| match field {
        "transport_socket_matches" => "all endpoints of a cluster are spoken to in one way: transport_socket",
        "http2_protocol_options"
        | "typed_extension_protocol_options"
        | "http_protocol_options"
        | "upstream_connection_options" => "the protocol is your client's",
        "eds_cluster_config" => "read Envoy's EDS files with evenkeel-file, or follow xDS",
        "dns_lookup_family" | "dns_refresh_rate" | "dns_resolvers" | "respect_dns_ttl" => {
            "names are followed by evenkeel-dns"
        }
        "lb_subset_config" => {
            "give clusters the subset `label`, one for each, and choose among them by routes"
        }
        "round_robin_lb_config" | "least_request_lb_config" | "ring_hash_lb_config" | "maglev_lb_config" => {
            "Envoy ignores it beside load_balancing_policy"
        }
        "alt_stat_name" | "track_cluster_stats" => "reports have the cluster's name",
        _ => "evenkeel has nothing that does this",
    });
    check_cluster(&cluster, place)?;
    conversion.setup.clusters.push(cluster);
    Ok(())
}

/// The weights of localities, where Envoy looks at them.
fn zones(weights: Vec<LocalityWeight>, cluster: &mut ClusterConfig) {
    if let PolicyConfig::Envoy(config) = &mut cluster.policy
        && matches!(config.policy, EnvoyPolicy::RingHash(_) | EnvoyPolicy::Maglev(_))
    {
        config.locality_weights = weights;
        return;
    }
    let weights = weights.into_iter().map(|zone| ZoneWeight {
        at: Locality::new(&zone.region, &zone.zone, &zone.sub_zone),
        weight: zone.weight,
    });
    let config = ZoneWeightsConfig {
        by: ZoneBy::SubZone,
        weights: weights.collect(),
        others: 0,
        ..ZoneWeightsConfig::default()
    };
    cluster.locality = Some(LocalityConfig::Weights(config));
}

/// The policy, and the slow start that goes with it.
fn balance(
    table: &mut Table<'_>,
    common: &mut Common,
    slow_start: &mut Option<SlowStartConfig>,
    conversion: &mut Conversion,
) -> Result<PolicyConfig, ConvertError> {
    let path = table.path("load_balancing_policy");
    if let Some(node) = table.get("load_balancing_policy") {
        let legacy = table.text("lb_policy")?.filter(|name| *name != "LOAD_BALANCING_POLICY_CONFIG");
        if let Some(name) = legacy {
            let subject = format!("{}: {name}", table.path("lb_policy"));
            conversion.report.taken(
                table.place(),
                subject,
                "ignored, as by Envoy beside load_balancing_policy",
            );
        }
        let found = policy::first_known(node, &path, common, slow_start, conversion)?;
        return Ok(found.unwrap_or_default());
    }
    let place = table.place();
    let name = table.text("lb_policy")?.unwrap_or("ROUND_ROBIN");
    let subject = format!("{}: {name}", table.path("lb_policy"));
    let mut ring = RingHashSettings::default();
    if let Some(mut settings) = table.table("ring_hash_lb_config")? {
        ring = ring_hash(&mut settings)?;
        settings.rest(&mut conversion.report, |_| "the ring has no such setting");
    }
    let mut table_of_maglev = MaglevSettings::default();
    if let Some(mut settings) = table.table("maglev_lb_config")? {
        table_of_maglev = maglev(&mut settings)?;
        settings.rest(&mut conversion.report, |_| "the table has no such setting");
    }
    let mut least = LeastRequestSettings::default();
    if let Some(mut settings) = table.table("least_request_lb_config")? {
        least = least_request(&mut settings, slow_start, conversion)?;
        settings.rest(&mut conversion.report, |_| "least_request has no such setting");
    }
    if let Some(mut settings) = table.table("round_robin_lb_config")? {
        slow(&mut settings, slow_start, conversion)?;
        settings.rest(&mut conversion.report, |_| "round_robin has no such setting");
    }
    let policy = match name {
        "ROUND_ROBIN" => EnvoyPolicy::RoundRobin(RoundRobinSettings::default()),
        "LEAST_REQUEST" => EnvoyPolicy::LeastRequest(least),
        "RING_HASH" => EnvoyPolicy::RingHash(ring),
        "MAGLEV" => EnvoyPolicy::Maglev(table_of_maglev),
        "RANDOM" => {
            conversion.report.differs(
                place,
                subject,
                "policy random: Envoy ignores weights under it, evenkeel never does",
            );
            return Ok(PolicyConfig::Random(RandomConfig::default()));
        }
        "CLUSTER_PROVIDED" => {
            conversion.report.none(
                place,
                subject,
                "choose a policy by hand: least_request is evenkeel's own",
            );
            return Ok(PolicyConfig::default());
        }
        "LOAD_BALANCING_POLICY_CONFIG" => {
            let expected = "load_balancing_policy is needed beside it, as by Envoy";
            return Err(ConvertError::unexpected(place, subject, expected));
        }
        other => {
            let allowed = "ROUND_ROBIN, LEAST_REQUEST, RING_HASH, MAGLEV or RANDOM";
            return Err(ConvertError::value(place, table.path("lb_policy"), other, allowed));
        }
    };
    conversion.report.taken(place, subject, "policy envoy");
    Ok(PolicyConfig::Envoy(EnvoyConfig { policy, ..common.policy.clone() }))
}
