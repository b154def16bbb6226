//! `load_balancing_policy`: policies with settings of their own type, of which Envoy takes the first that it knows.
//!
//! Source: `envoy.config.cluster.v3.LoadBalancingPolicy`, the types below `envoy.extensions.load_balancing_policies`, and what Envoy 1.40
//! refuses.

use evenkeel::{PolicyConfig, SlowStartConfig};
use evenkeel_balance::compat::envoy::{EnvoyConfig, EnvoyPolicy, RoundRobinSettings};
use evenkeel_balance::{ClientSideWeightedRoundRobinConfig, RandomConfig, UnknownWeight};

use super::common::Common;
use super::node::Node;
use super::settings::{least_request, maglev, ring_hash, slow};
use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;

/// What Envoy refuses beside it.
pub(super) fn refuse_beside(table: &mut Table<'_>) -> Result<(), ConvertError> {
    let why = "Envoy refuses it beside load_balancing_policy: say it in the settings of the policy";
    if let Some(subset) = table.get("lb_subset_config") {
        return Err(ConvertError::unexpected(&subset.place, table.path("lb_subset_config"), why));
    }
    let Some(mut common) = table.table("common_lb_config")? else { return Ok(()) };
    for field in ["zone_aware_lb_config", "locality_weighted_lb_config", "consistent_hashing_lb_config"] {
        if let Some(node) = common.get(field) {
            return Err(ConvertError::unexpected(&node.place, common.path(field), why));
        }
    }
    Ok(())
}

/// The first policy of the list that is known.
pub(super) fn first_known(
    node: &Node,
    path: &str,
    common: &mut Common,
    slow_start: &mut Option<SlowStartConfig>,
    conversion: &mut Conversion,
) -> Result<Option<PolicyConfig>, ConvertError> {
    let mut table = Table::new(node, path)?;
    let mut found = None;
    for (number, entry) in table.list("policies")?.iter().enumerate() {
        let path = table.path(&format!("policies[{number}]"));
        if found.is_some() {
            let detail = "for programs that do not know the one before: Envoy does, and takes that";
            conversion.report.none(&entry.place, path, detail);
            continue;
        }
        let mut entry = Table::new(entry, path)?;
        let Some(mut extension) = entry.table("typed_extension_config")? else {
            return Err(needed(&entry, "typed_extension_config"));
        };
        extension.get("name");
        let Some(mut settings) = extension.table("typed_config")? else {
            return Err(needed(&extension, "typed_config"));
        };
        let kind = settings.text("@type")?.unwrap_or("").to_owned();
        let (place, path) = (settings.place(), settings.path(""));
        found = policy(&kind, settings, common, slow_start, conversion)?;
        match &found {
            Some(PolicyConfig::Envoy(_)) => conversion.report.taken(place, path, "policy envoy"),
            Some(_) => {}
            None => {
                let detail = format!(
                    "{kind} is not known here, so the next one is looked at: Envoy does that only where it does not know it either"
                );
                conversion.report.none(place, path, detail);
            }
        }
        extension.rest(&mut conversion.report, |_| "an extension has a name and settings");
        entry.rest(&mut conversion.report, |_| "policies are typed extensions");
    }
    table.rest(&mut conversion.report, |_| "there is a list of policies, and nothing else");
    if found.is_none() {
        let detail = "choose a policy by hand: least_request is evenkeel's own";
        conversion.report.none(&node.place, path, detail);
    }
    Ok(found)
}

/// The policy of this type with its settings.
fn policy(
    kind: &str,
    mut settings: Table<'_>,
    common: &mut Common,
    slow_start: &mut Option<SlowStartConfig>,
    conversion: &mut Conversion,
) -> Result<Option<PolicyConfig>, ConvertError> {
    let kind =
        kind.rsplit('/').next().unwrap_or("").strip_prefix("envoy.extensions.load_balancing_policies.");
    let policy = match kind {
        Some("round_robin.v3.RoundRobin") => {
            slow(&mut settings, slow_start, conversion)?;
            localities(&mut settings, common, conversion)?;
            EnvoyPolicy::RoundRobin(RoundRobinSettings::default())
        }
        Some("least_request.v3.LeastRequest") => {
            let policy = least_request(&mut settings, slow_start, conversion)?;
            localities(&mut settings, common, conversion)?;
            EnvoyPolicy::LeastRequest(policy)
        }
        Some("ring_hash.v3.RingHash") => {
            let policy = ring_hash(&mut settings)?;
            hashing(&mut settings, common, conversion)?;
            EnvoyPolicy::RingHash(policy)
        }
        Some("maglev.v3.Maglev") => {
            let policy = maglev(&mut settings)?;
            hashing(&mut settings, common, conversion)?;
            EnvoyPolicy::Maglev(policy)
        }
        Some("random.v3.Random") => {
            localities(&mut settings, common, conversion)?;
            let detail = "policy random: Envoy ignores weights under it, evenkeel never does";
            conversion.report.differs(settings.place(), settings.path(""), detail);
            settings.rest(&mut conversion.report, |_| "random has no such setting");
            return Ok(Some(PolicyConfig::Random(RandomConfig::default())));
        }
        Some("client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin") => {
            return by_reports(settings, common, slow_start, conversion).map(Some);
        }
        Some("wrr_locality.v3.WrrLocality") => return by_locality(settings, common, slow_start, conversion),
        _ => return Ok(None),
    };
    settings.rest(&mut conversion.report, |_| "the policy has no such setting");
    Ok(Some(PolicyConfig::Envoy(EnvoyConfig { policy, ..common.policy.clone() })))
}

/// `locality_lb_config`, which policies that do not hash have.
fn localities(
    settings: &mut Table<'_>,
    common: &mut Common,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let Some(mut table) = settings.table("locality_lb_config")? else { return Ok(()) };
    common.localities(&mut table, conversion)?;
    table.rest(&mut conversion.report, |_| "localities have no such setting");
    Ok(())
}

/// What policies that hash have.
fn hashing(
    settings: &mut Table<'_>,
    common: &mut Common,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    common.localities(settings, conversion)?;
    common.hashing(settings, conversion)?;
    // Ring hash had it here once.
    if settings.boolean("use_hostname_for_hashing")? == Some(true) {
        common.policy.use_hostname = true;
    }
    Ok(())
}

/// Weights from what endpoints report.
fn by_reports(
    mut settings: Table<'_>,
    common: &mut Common,
    slow_start: &mut Option<SlowStartConfig>,
    conversion: &mut Conversion,
) -> Result<PolicyConfig, ConvertError> {
    let default = ClientSideWeightedRoundRobinConfig { unknown: UnknownWeight::Median, ..Default::default() };
    let penalty = settings.path("error_utilization_penalty");
    let config = ClientSideWeightedRoundRobinConfig {
        blackout_period: settings.time("blackout_period")?.unwrap_or(default.blackout_period),
        weight_expiration_period: settings
            .time("weight_expiration_period")?
            .unwrap_or(default.weight_expiration_period),
        weight_update_period: settings.time("weight_update_period")?.unwrap_or(default.weight_update_period),
        error_utilisation_penalty: settings
            .get("error_utilization_penalty")
            .map_or(Ok(default.error_utilisation_penalty), |node| node.decimal(&penalty))?,
        unknown: default.unknown,
    };
    slow(&mut settings, slow_start, conversion)?;
    localities(&mut settings, common, conversion)?;
    let detail = "policy client_side_weighted_round_robin: the same weights in another order; your client hands the reports to the picks";
    conversion.report.differs(settings.place(), settings.path(""), detail);
    settings.rest(&mut conversion.report, |_| "what reports hold, and how they come, is your client's");
    Ok(PolicyConfig::ClientSideWeightedRoundRobin(config))
}

/// Localities by their weights, and a policy among the endpoints of one.
fn by_locality(
    mut settings: Table<'_>,
    common: &mut Common,
    slow_start: &mut Option<SlowStartConfig>,
    conversion: &mut Conversion,
) -> Result<Option<PolicyConfig>, ConvertError> {
    let Some(inner) = settings.get("endpoint_picking_policy") else {
        return Err(needed(&settings, "endpoint_picking_policy"));
    };
    let path = settings.path("endpoint_picking_policy");
    let found = first_known(inner, &path, common, slow_start, conversion)?;
    if !matches!(&found, None | Some(PolicyConfig::ClientSideWeightedRoundRobin(_))) {
        let why = "Envoy takes client_side_weighted_round_robin alone inside of wrr_locality";
        return Err(ConvertError::unexpected(&inner.place, path, why));
    }
    common.has_weights = true;
    conversion.report.taken(settings.place(), settings.path(""), "the weights of localities: locality");
    settings.rest(&mut conversion.report, |_| "the policy has no such setting");
    Ok(found)
}

fn needed(table: &Table<'_>, field: &str) -> ConvertError {
    ConvertError::unexpected(table.place(), table.path(field), "this field is needed")
}
