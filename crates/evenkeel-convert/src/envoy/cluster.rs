use evenkeel::{
    ClusterConfig, EnvoyFailoverConfig, FailoverMode, LocalityConfig, PolicyConfig, SlowStartConfig, ZoneBy,
    ZoneWeight, ZoneWeightsConfig,
};
use evenkeel_balance::RandomConfig;
use evenkeel_balance::compat::envoy::{
    EnvoyConfig, EnvoyPolicy, LeastRequestSettings, LocalityWeight, MaglevSettings, RingFunction,
    RingHashSettings, RoundRobinSettings,
};
use evenkeel_health::Curve;
use evenkeel_types::{Locality, Ratio};

use super::checks::checks;
use super::endpoints::endpoints;
use super::limits::{breakers, outliers, partly};
use super::node::Node;
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
    let mut policy = EnvoyConfig::default();
    let mut weights_of_zones = false;
    let mut failover = EnvoyFailoverConfig::default();
    common(&mut table, &mut policy, &mut weights_of_zones, &mut failover, conversion)?;
    let zone_weights = endpoints(&mut table, &mut cluster, &mut failover, conversion)?;
    cluster.failover = Some(FailoverMode::Envoy(failover));
    if weights_of_zones {
        zones(&mut table, zone_weights, &mut policy, &mut cluster);
    } else if zone_weights.iter().any(|zone| zone.weight > 0) {
        conversion.report.taken(
            place,
            format!("{path}.load_assignment: weights of localities"),
            "ignored, as by Envoy without locality_weighted_lb_config",
        );
    }
    cluster.policy = balance(&mut table, policy, &mut cluster.slow_start, conversion)?;
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
        "alt_stat_name" | "track_cluster_stats" => "reports have the cluster's name",
        _ => "evenkeel has nothing that does this",
    });
    check_cluster(&cluster, place)?;
    conversion.setup.clusters.push(cluster);
    Ok(())
}

fn common(
    table: &mut Table<'_>,
    policy: &mut EnvoyConfig,
    weights_of_zones: &mut bool,
    failover: &mut EnvoyFailoverConfig,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let Some(mut common) = table.table("common_lb_config")? else { return Ok(()) };
    if let Some(zones) = common.table("locality_weighted_lb_config")? {
        *weights_of_zones = true;
        let detail =
            "the weights of localities: policy envoy, locality_weights, for hash tables, else locality";
        conversion.report.taken(zones.place(), zones.path(""), detail);
    }
    if let Some(mut hashing) = common.table("consistent_hashing_lb_config")? {
        policy.use_hostname = hashing.boolean("use_hostname_for_hashing")?.unwrap_or(false);
        conversion.report.taken(
            hashing.place(),
            hashing.path("use_hostname_for_hashing"),
            "policy envoy, use_hostname",
        );
        hashing.rest(
            &mut conversion.report,
            |_| "the compatible mode has no bounded loads: see the policy ring_hash",
        );
    }
    if let Some(percent) = common.percent("healthy_panic_threshold")? {
        failover.panic_threshold_percent = percent as u32;
        let subject = common.path("healthy_panic_threshold");
        if percent.fract() == 0.0 {
            conversion.report.taken(common.place(), subject, "failover.panic_threshold_percent");
        } else {
            conversion.report.differs(
                common.place(),
                subject,
                "failover.panic_threshold_percent: whole percents, rounded down",
            );
        }
    }
    if let Some(mut zones) = common.table("zone_aware_lb_config")? {
        if let Some(fails) = zones.boolean("fail_traffic_on_panic")? {
            failover.fail_traffic_on_panic = fails;
            conversion.report.taken(
                zones.place(),
                zones.path("fail_traffic_on_panic"),
                "failover.fail_traffic_on_panic",
            );
        }
        zones.rest(
            &mut conversion.report,
            |_| "say where this process stands with the locality mode envoy_zone_aware of the cluster",
        );
    }
    common.rest(&mut conversion.report, |field| match field {
        "update_merge_window" => "changes are taken at once",
        _ => "evenkeel has nothing that does this",
    });
    Ok(())
}

/// The weights of localities, where Envoy looks at them.
fn zones(
    table: &mut Table<'_>,
    weights: Vec<LocalityWeight>,
    policy: &mut EnvoyConfig,
    cluster: &mut ClusterConfig,
) {
    let is_hash = matches!(table.text("lb_policy"), Ok(Some("RING_HASH" | "MAGLEV")));
    if is_hash {
        policy.locality_weights = weights;
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

fn balance(
    table: &mut Table<'_>,
    mut config: EnvoyConfig,
    slow_start: &mut Option<SlowStartConfig>,
    conversion: &mut Conversion,
) -> Result<PolicyConfig, ConvertError> {
    let place = table.place();
    if let Some(other) = table.get("load_balancing_policy") {
        conversion.report.none(
            &other.place,
            table.path("load_balancing_policy"),
            "write it as lb_policy, or choose a policy by hand",
        );
    }
    let name = table.text("lb_policy")?.unwrap_or("ROUND_ROBIN");
    let subject = format!("{}: {name}", table.path("lb_policy"));
    let mut ring = RingHashSettings::default();
    if let Some(mut settings) = table.table("ring_hash_lb_config")? {
        ring.minimum_ring_size = settings.large("minimum_ring_size")?.unwrap_or(ring.minimum_ring_size);
        ring.maximum_ring_size = settings.large("maximum_ring_size")?.unwrap_or(ring.maximum_ring_size);
        ring.hash_function = match settings.text("hash_function")? {
            None | Some("XX_HASH") => RingFunction::XxHash,
            Some("MURMUR_HASH_2") => RingFunction::MurmurHash2,
            Some(other) => {
                return Err(ConvertError::value(
                    settings.place(),
                    settings.path("hash_function"),
                    other,
                    "XX_HASH or MURMUR_HASH_2",
                ));
            }
        };
        settings.rest(&mut conversion.report, |_| "the ring has no such setting");
    }
    let mut maglev = MaglevSettings::default();
    if let Some(mut settings) = table.table("maglev_lb_config")? {
        maglev.table_size = settings.large("table_size")?.unwrap_or(maglev.table_size);
        settings.rest(&mut conversion.report, |_| "the table has no such setting");
    }
    let mut least = LeastRequestSettings::default();
    if let Some(mut settings) = table.table("least_request_lb_config")? {
        least.choice_count = settings.number("choice_count")?.unwrap_or(least.choice_count);
        if let Some(mut bias) = settings.table("active_request_bias")? {
            let path = bias.path("default_value");
            least.active_request_bias =
                bias.get("default_value").map_or(Ok(1.0), |node| node.decimal(&path))?;
            bias.rest(&mut conversion.report, |_| "nothing is looked up at run time");
        }
        slow(&mut settings, slow_start, conversion)?;
        settings.rest(&mut conversion.report, |_| "least_request has no such setting");
    }
    if let Some(mut settings) = table.table("round_robin_lb_config")? {
        slow(&mut settings, slow_start, conversion)?;
        settings.rest(&mut conversion.report, |_| "round_robin has no such setting");
    }
    config.policy = match name {
        "ROUND_ROBIN" => EnvoyPolicy::RoundRobin(RoundRobinSettings::default()),
        "LEAST_REQUEST" => EnvoyPolicy::LeastRequest(least),
        "RING_HASH" => EnvoyPolicy::RingHash(ring),
        "MAGLEV" => EnvoyPolicy::Maglev(maglev),
        "RANDOM" => {
            conversion.report.differs(
                place,
                subject,
                "policy random: Envoy ignores weights under it, evenkeel never does",
            );
            return Ok(PolicyConfig::Random(RandomConfig::default()));
        }
        "CLUSTER_PROVIDED" | "LOAD_BALANCING_POLICY_CONFIG" => {
            conversion.report.none(
                place,
                subject,
                "choose a policy by hand: least_request is evenkeel's own",
            );
            return Ok(PolicyConfig::default());
        }
        other => {
            let allowed = "ROUND_ROBIN, LEAST_REQUEST, RING_HASH, MAGLEV or RANDOM";
            return Err(ConvertError::value(place, table.path("lb_policy"), other, allowed));
        }
    };
    conversion.report.taken(place, subject, "policy envoy");
    Ok(PolicyConfig::Envoy(config))
}

fn slow(
    settings: &mut Table<'_>,
    slow_start: &mut Option<SlowStartConfig>,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let Some(mut table) = settings.table("slow_start_config")? else { return Ok(()) };
    let window = table.time("slow_start_window")?.unwrap_or_default();
    let mut aggression = 1.0;
    if let Some(mut inner) = table.table("aggression")? {
        let path = inner.path("default_value");
        aggression = inner.get("default_value").map_or(Ok(1.0), |node| node.decimal(&path))?;
        inner.rest(&mut conversion.report, |_| "nothing is looked up at run time");
    }
    let percent = table.percent("min_weight_percent")?.unwrap_or(10.0);
    let min_factor = Ratio::new(percent / 100.0).unwrap_or(Ratio::ZERO);
    #[expect(clippy::float_cmp, reason = "the default is written so")]
    let curve = if aggression == 1.0 { Curve::Linear } else { Curve::Power { aggression } };
    if !window.is_zero() {
        let config =
            SlowStartConfig { window, curve, min_factor, max_boost: 1000.0, ..SlowStartConfig::default() };
        *slow_start = Some(config);
        conversion.report.taken(table.place(), table.path(""), "slow_start, by acceptance");
    }
    table.rest(&mut conversion.report, |_| "slow start has no such setting");
    Ok(())
}
