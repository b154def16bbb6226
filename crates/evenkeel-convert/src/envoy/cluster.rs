use std::time::Duration;

use evenkeel::{
    ClusterConfig, EnvoyFailoverConfig, FailoverMode, LocalityConfig, PolicyConfig, SlowStartConfig, ZoneBy,
    ZoneWeight, ZoneWeightsConfig,
};
use evenkeel_balance::RandomConfig;
use evenkeel_balance::compat::envoy::{
    EnvoyConfig, EnvoyPolicy, LeastRequestSettings, LocalityWeight, MaglevSettings, RingFunction,
    RingHashSettings, RoundRobinSettings,
};
use evenkeel_health::outlier::{
    EjectionCaps, EjectionTime, FailureShare, Growth, OutlierConfig, Return, SuccessRate,
};
use evenkeel_health::{CheckConfig, Curve, RiseFallConfig, Start};
use evenkeel_limit::{LedgerConfig, LimitConfig, RetryBudgetConfig};
use evenkeel_probe::{GrpcProbe, HttpProbe, Payload, ProbeConfig, Statuses, TcpProbe};
use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Labels, Locality, Priority, Ratio, Weight};

use super::node::{Node, Value};
use super::table::Table;
use super::transport;
use crate::conversion::Conversion;
use crate::error::{ConvertError, Problem};
use crate::setup::{CheckSetup, check_cluster};

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

/// The endpoints; what comes back are the weights of the localities.
fn endpoints(
    table: &mut Table<'_>,
    cluster: &mut ClusterConfig,
    failover: &mut EnvoyFailoverConfig,
    conversion: &mut Conversion,
) -> Result<Vec<LocalityWeight>, ConvertError> {
    let mut zones = Vec::new();
    let Some(mut assignment) = table.table("load_assignment")? else { return Ok(zones) };
    assignment.get("cluster_name");
    for (number, group) in assignment.list("endpoints")?.iter().enumerate() {
        let mut group = Table::new(group, assignment.path(&format!("endpoints[{number}]")))?;
        let level = group.number("priority")?.unwrap_or(0);
        let priority = u8::try_from(level).ok().and_then(|level| Priority::new(level).ok());
        let priority = priority.ok_or_else(|| {
            ConvertError::value(group.place(), group.path("priority"), level.to_string(), "0 to 128")
        })?;
        let mut locality = Locality::default();
        if let Some(mut place) = group.table("locality")? {
            let mut part = |field| Ok::<_, ConvertError>(place.text(field)?.unwrap_or("").to_owned());
            let (region, zone, sub_zone) = (part("region")?, part("zone")?, part("sub_zone")?);
            locality = Locality::new(&region, &zone, &sub_zone);
            place.rest(&mut conversion.report, |_| "localities have a region, a zone and a sub-zone");
        }
        let weight = group.number("load_balancing_weight")?.unwrap_or(0);
        let (region, zone, sub_zone) =
            (locality.region().to_owned(), locality.zone().to_owned(), locality.sub_zone().to_owned());
        if !zones
            .iter()
            .any(|z: &LocalityWeight| (&z.region, &z.zone, &z.sub_zone) == (&region, &zone, &sub_zone))
        {
            zones.push(LocalityWeight { region, zone, sub_zone, weight });
        }
        for (i, node) in group.list("lb_endpoints")?.iter().enumerate() {
            let path = group.path(&format!("lb_endpoints[{i}]"));
            let endpoint = endpoint(node, &path, &cluster.endpoints, conversion)?;
            if let Some(endpoint) = endpoint {
                let detail = format!("endpoint {}", endpoint.id());
                conversion.report.taken(&node.place, path, detail);
                cluster.endpoints.push(endpoint.with_priority(priority).with_locality(locality.clone()));
            }
        }
        group.rest(&mut conversion.report, |_| "what it points to is not in the file");
    }
    if let Some(mut policy) = assignment.table("policy")? {
        if let Some(factor) = policy.number("overprovisioning_factor")? {
            failover.overprovisioning_percent = factor;
            conversion.report.taken(
                policy.place(),
                policy.path("overprovisioning_factor"),
                "failover.overprovisioning_percent",
            );
        }
        policy.rest(&mut conversion.report, |_| "shed requests with limit or with evenkeel-limit");
    }
    assignment.rest(&mut conversion.report, |_| "evenkeel has nothing that does this");
    Ok(zones)
}

fn endpoint(
    node: &Node,
    path: &str,
    known: &[Endpoint],
    conversion: &mut Conversion,
) -> Result<Option<Endpoint>, ConvertError> {
    let mut table = Table::new(node, path)?;
    let Some(mut inner) = table.table("endpoint")? else {
        conversion.report.none(&node.place, path, "what it points to is not in the file");
        return Ok(None);
    };
    let Some(mut outer) = inner.table("address")? else {
        return Err(ConvertError::unexpected(inner.place(), inner.path("address"), "this field is needed"));
    };
    let address: Address = if let Some(mut pipe) = outer.table("pipe")? {
        let text = format!("unix:{}", pipe.needed("path")?);
        text.parse().map_err(|error: evenkeel_types::ParseAddressError| {
            ConvertError::value(pipe.place(), pipe.path("path"), text.clone(), error.to_string())
        })?
    } else if let Some(mut socket) = outer.table("socket_address")? {
        let host = socket.needed("address")?;
        let port =
            socket.number("port_value")?.filter(|&port| (1..=65_535).contains(&port)).ok_or_else(|| {
                ConvertError::unexpected(
                    socket.place(),
                    socket.path("port_value"),
                    "a port from 1 to 65535 is needed",
                )
            })?;
        let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let address = text.parse().map_err(|error: evenkeel_types::ParseAddressError| {
            ConvertError::value(socket.place(), socket.path("address"), text.clone(), error.to_string())
        })?;
        socket.get("protocol");
        socket.rest(&mut conversion.report, |_| "addresses are hosts and ports");
        address
    } else {
        return Err(ConvertError::unexpected(
            outer.place(),
            outer.path(""),
            "a socket_address or a pipe is needed",
        ));
    };
    let base = address.to_string();
    let twins = known.iter().filter(|other| other.address() == &address).count();
    let id = if twins == 0 { base } else { format!("{base}#{}", twins + 1) };
    let id = EndpointId::new(&id)
        .map_err(|error| ConvertError::value(&node.place, path, id.clone(), error.to_string()))?;
    let mut endpoint = Endpoint::new(id, address);
    if let Some(name) = inner.text("hostname")? {
        endpoint = endpoint.with_hostname(name);
    }
    if let Some(weight) = table.number("load_balancing_weight")? {
        if weight == 0 {
            return Err(ConvertError::value(
                &node.place,
                table.path("load_balancing_weight"),
                "0",
                "1 and more, as in Envoy",
            ));
        }
        endpoint = endpoint.with_weight(Weight::new(weight));
    }
    endpoint = endpoint.with_announced(match table.text("health_status")? {
        None | Some("UNKNOWN") => Announced::Unknown,
        Some("HEALTHY") => Announced::Up,
        Some("DEGRADED") => Announced::Degraded,
        Some("DRAINING") => Announced::Draining,
        Some("UNHEALTHY" | "TIMEOUT") => Announced::Down,
        Some(other) => {
            return Err(ConvertError::value(
                &node.place,
                table.path("health_status"),
                other,
                "a HealthStatus",
            ));
        }
    });
    if let Some(mut metadata) = table.table("metadata")? {
        if let Some(mut filters) = metadata.table("filter_metadata")? {
            if let Some(values) = filters.get("envoy.lb") {
                endpoint = endpoint.with_labels(labels(values)?);
            }
            filters.rest(&mut conversion.report, |_| "only the metadata envoy.lb become labels");
        }
        metadata.rest(&mut conversion.report, |_| "only the metadata envoy.lb become labels");
    }
    inner.rest(&mut conversion.report, |field| match field {
        "health_check_config" => "give this endpoint a target of its own in the prober",
        _ => "an endpoint has no such setting",
    });
    table.rest(&mut conversion.report, |_| "an endpoint has no such setting");
    Ok(Some(endpoint))
}

fn labels(node: &Node) -> Result<Labels, ConvertError> {
    let Value::Map(map) = &node.value else { return Err(node.wrong("envoy.lb", "a table is needed")) };
    let mut pairs = Vec::new();
    for (key, value) in map {
        pairs.push((key.as_str(), value.text(key)?));
    }
    // A hash key is a label under the name that the compatible mode looks for.
    let pairs = pairs
        .into_iter()
        .map(|(key, value)| if key == "hash_key" { ("envoy.lb.hash_key", value) } else { (key, value) });
    Labels::new(pairs).map_err(|error| node.wrong("envoy.lb", error.to_string()))
}

fn ratio(percent: u32) -> Ratio {
    Ratio::percent(percent.min(100)).unwrap_or(Ratio::ONE)
}

fn outliers(table: &mut Table<'_>) -> Result<OutlierConfig, ConvertError> {
    let enforced = |percent: Option<u32>, default: u32| percent.unwrap_or(default) > 0;
    let mut count = |field: &str, enforcing: &str, default: u32| -> Result<Option<u32>, ConvertError> {
        let runs = table.number(field)?.unwrap_or(5);
        let is_on = enforced(table.number(enforcing)?, default);
        Ok(Some(runs.clamp(1, 32_767)).filter(|_| is_on && runs > 0))
    };
    let consecutive_failures = count("consecutive_5xx", "enforcing_consecutive_5xx", 100)?;
    let consecutive_gateway_failures =
        count("consecutive_gateway_failure", "enforcing_consecutive_gateway_failure", 0)?;
    let consecutive_local_failures =
        count("consecutive_local_origin_failure", "enforcing_consecutive_local_origin_failure", 100)?;
    let base = table.time("base_ejection_time")?.unwrap_or(Duration::from_secs(30));
    let max = table.time("max_ejection_time")?.unwrap_or(Duration::from_secs(300)).max(base);
    let success = enforced(table.number("enforcing_success_rate")?, 100);
    let volume = table.number("success_rate_request_volume")?.unwrap_or(100).max(1);
    let shares = enforced(table.number("enforcing_failure_percentage")?, 0);
    let threshold = table.number("failure_percentage_threshold")?.unwrap_or(85);
    let min_requests = table.number("failure_percentage_request_volume")?.unwrap_or(50).max(1);
    Ok(OutlierConfig {
        interval: table.time("interval")?.unwrap_or(Duration::from_secs(10)),
        consecutive_failures,
        consecutive_gateway_failures,
        consecutive_local_failures,
        split_local_origin: table.boolean("split_external_local_origin_errors")?.unwrap_or(false),
        success_rate: success.then(|| SuccessRate { min_requests: volume, ..SuccessRate::default() }),
        failure_share: (shares && threshold > 0)
            .then(|| FailureShare { threshold: ratio(threshold), min_requests }),
        caps: EjectionCaps {
            max_ejected: None,
            max_ejected_ratio: ratio(table.number("max_ejection_percent")?.unwrap_or(10)),
            at_least_one: table.boolean("always_eject_one_host")?.unwrap_or(false),
            min_remaining: 0,
        },
        brake: None,
        ejection: EjectionTime {
            base,
            max,
            growth: Growth::Linear,
            jitter: Ratio::ZERO,
            ..EjectionTime::default()
        },
        on_return: Return::Full,
        ..OutlierConfig::default()
    })
}

fn breakers(
    table: &mut Table<'_>,
    cluster: &mut ClusterConfig,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let Some(mut breakers) = table.table("circuit_breakers")? else { return Ok(()) };
    for (number, node) in breakers.list("thresholds")?.iter().enumerate() {
        let mut thresholds = Table::new(node, breakers.path(&format!("thresholds[{number}]")))?;
        if thresholds.text("priority")?.is_some_and(|priority| priority != "DEFAULT") {
            conversion.report.none(
                &node.place,
                thresholds.path("priority"),
                "requests have no priorities: give important ones a cluster of their own",
            );
            continue;
        }
        if let Some(most) = thresholds.number("max_requests")? {
            cluster.limit = Some(LimitConfig::fixed(most.min(evenkeel_limit::MAX_LIMIT)));
            conversion.report.taken(&node.place, thresholds.path("max_requests"), "limit");
        }
        if let Some(mut budget) = thresholds.table("retry_budget")? {
            let percent = budget.percent("budget_percent")?.unwrap_or(20.0);
            let total = RetryBudgetConfig { ratio: percent / 100.0, ..RetryBudgetConfig::default() };
            cluster.budget = Some(LedgerConfig { total, ..LedgerConfig::default() });
            let detail = "budget: a share of the requests of some seconds, where Envoy counts what is in flight; min_retry_concurrency becomes ten a second";
            budget.get("min_retry_concurrency");
            conversion.report.differs(budget.place(), budget.path(""), detail);
        }
        thresholds.rest(&mut conversion.report, |field| match field {
            "max_retries" => "bound retries with budget",
            "max_connections" | "max_pending_requests" | "max_connection_pools" => {
                "connections are your client's"
            }
            _ => "reports tell what is left",
        });
    }
    for (number, node) in breakers.list("per_host_thresholds")?.iter().enumerate() {
        let mut thresholds = Table::new(node, breakers.path(&format!("per_host_thresholds[{number}]")))?;
        if let Some(most) = thresholds.number("max_connections")? {
            cluster.endpoint_limit = Some(LimitConfig::fixed(most.min(evenkeel_limit::MAX_LIMIT)));
            let detail = "endpoint_limit: of requests in flight, where Envoy counts connections";
            conversion.report.differs(&node.place, thresholds.path("max_connections"), detail);
        }
        thresholds.rest(&mut conversion.report, |_| "an endpoint has a limit of requests alone");
    }
    breakers.rest(&mut conversion.report, |_| "evenkeel has nothing that does this");
    Ok(())
}

fn checks(
    table: &mut Table<'_>,
    cluster: &mut ClusterConfig,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let path = table.path("health_checks");
    for (number, node) in table.list("health_checks")?.iter().enumerate() {
        let mut check = Table::new(node, format!("{path}[{number}]"))?;
        if number > 0 {
            conversion.report.none(
                &node.place,
                check.path(""),
                "a cluster has one check here: add further targets to the prober",
            );
            continue;
        }
        let needed = |check: &Table<'_>, field: &str| {
            ConvertError::unexpected(check.place(), check.path(field), "this field is needed")
        };
        let timeout = check.time("timeout")?.ok_or_else(|| needed(&check, "timeout"))?;
        let interval = check.time("interval")?.ok_or_else(|| needed(&check, "interval"))?;
        let mut threshold = |field: &str| -> Result<u8, ConvertError> {
            let value = check.number(field)?.ok_or_else(|| needed(&check, field))?;
            u8::try_from(value).ok().filter(|&value| value > 0).ok_or_else(|| {
                ConvertError::value(
                    check.place(),
                    check.path(field),
                    value.to_string(),
                    "1 to 255 is allowed here",
                )
            })
        };
        let (rise, fall) = (threshold("healthy_threshold")?, threshold("unhealthy_threshold")?);
        let Some(probe) = probe(&mut check, timeout, conversion)? else { continue };
        let thresholds = RiseFallConfig { rise, fall, start: Start::Down };
        cluster.health = thresholds;
        let jitter = check.time("interval_jitter")?.unwrap_or_default();
        let share = jitter.as_secs_f64() / interval.as_secs_f64().max(1e-9) / 2.0;
        let percent = check.number("interval_jitter_percent")?.unwrap_or(0);
        let share = share + f64::from(percent) / 200.0;
        let schedule = CheckConfig {
            thresholds,
            interval,
            fast_interval: check.time("unhealthy_edge_interval")?,
            down_interval: check.time("unhealthy_interval")?,
            no_traffic_interval: Some(
                check.time("no_traffic_interval")?.unwrap_or(Duration::from_secs(60)).max(interval),
            ),
            timeout: Some(timeout),
            jitter: Ratio::new(share.min(0.5)).unwrap_or(Ratio::ZERO),
            ..CheckConfig::default()
        };
        let detail =
            format!("checks.{}: an endpoint that was never checked is down, as in Envoy", cluster.name);
        conversion.report.taken(&node.place, check.path(""), detail);
        check.rest(&mut conversion.report, |field| match field {
            "alt_port" => "set port of the check",
            "healthy_edge_interval" => "one interval serves both edges: fast_interval",
            "reuse_connection" => "set reuse_connection of the probe",
            "initial_jitter" => "checks are spread by themselves",
            "event_log_path" | "event_logger" | "event_service" | "always_log_health_check_failures" => {
                "evenkeel-metrics tells of changes"
            }
            "tls_options" | "transport_socket_match_criteria" => "set tls of the probe",
            _ => "checks have no such setting",
        });
        conversion.setup.checks.insert(cluster.name.clone(), CheckSetup { probe, schedule, port: None });
    }
    Ok(())
}

fn probe(
    check: &mut Table<'_>,
    timeout: Duration,
    conversion: &mut Conversion,
) -> Result<Option<ProbeConfig>, ConvertError> {
    if let Some(mut http) = check.table("http_health_check")? {
        let mut probe = HttpProbe { timeout, ..HttpProbe::path(http.needed("path")?) };
        probe.host = http.text("host")?.map(str::to_owned);
        if let Some(method) = http.text("method")? {
            probe.method = method.to_owned();
        }
        let path = http.path("expected_statuses");
        probe.expected = statuses(http.list("expected_statuses")?, &path)?.unwrap_or_else(|| one(200));
        let path = http.path("retriable_statuses");
        probe.retriable = statuses(http.list("retriable_statuses")?, &path)?.unwrap_or_default();
        probe.degraded_header = Some("x-envoy-degraded".to_owned());
        probe.reuse_connection = check.boolean("reuse_connection")?.unwrap_or(true);
        http.rest(&mut conversion.report, |_| "the check by HTTP has no such setting");
        return Ok(Some(ProbeConfig::Http(probe)));
    }
    if let Some(mut tcp) = check.table("tcp_health_check")? {
        let mut probe = TcpProbe { timeout, ..TcpProbe::default() };
        if let Some(mut send) = tcp.table("send")? {
            probe.send = payload(&mut send)?;
        }
        let path = tcp.path("receive");
        if let Some(first) = tcp.list("receive")?.first() {
            probe.expect = payload(&mut Table::new(first, path)?)?;
        }
        tcp.rest(&mut conversion.report, |_| "the check by TCP has no such setting");
        return Ok(Some(ProbeConfig::Tcp(probe)));
    }
    if let Some(mut grpc) = check.table("grpc_health_check")? {
        let probe = GrpcProbe {
            timeout,
            service: grpc.text("service_name")?.unwrap_or("").to_owned(),
            authority: grpc.text("authority")?.map(str::to_owned),
            ..GrpcProbe::default()
        };
        grpc.rest(&mut conversion.report, |_| "the check by gRPC has no such setting");
        return Ok(Some(ProbeConfig::Grpc(probe)));
    }
    conversion.report.none(check.place(), check.path(""), "checks are by HTTP, TCP or gRPC, or by a command");
    Ok(None)
}

fn payload(table: &mut Table<'_>) -> Result<Option<Payload>, ConvertError> {
    let path = table.path("text");
    table
        .text("text")?
        .map(|text| {
            Payload::from_hex(text)
                .map_err(|error| ConvertError::value(table.place(), path, text, error.to_string()))
        })
        .transpose()
}

fn one(status: u16) -> Statuses {
    Statuses::range(status, status).unwrap_or_default()
}

/// Half-open ranges.
fn statuses(list: &[Node], path: &str) -> Result<Option<Statuses>, ConvertError> {
    let mut texts = Vec::new();
    for node in list {
        let mut range = Table::new(node, path)?;
        let start = range.number("start")?.unwrap_or(0);
        let end = range.number("end")?.unwrap_or(0);
        texts.push(format!("{start}-{}", end.saturating_sub(1)));
    }
    let Some(first) = list.first() else { return Ok(None) };
    let text = texts.join(", ");
    text.parse().map(Some).map_err(|_| first.wrong(path, "ranges within 100 to 599 are allowed"))
}
