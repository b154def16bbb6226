//! `common_lb_config`: what holds whichever policy there is.

use evenkeel::EnvoyFailoverConfig;
use evenkeel_balance::compat::envoy::EnvoyConfig;

use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;

/// What holds whichever policy there is.
#[derive(Default)]
pub(super) struct Common {
    /// With the settings that policies of Envoy share, and the default policy.
    pub(super) policy: EnvoyConfig,
    /// Whether the weights of localities are looked at.
    pub(super) has_weights: bool,
    pub(super) failover: EnvoyFailoverConfig,
}

impl Common {
    pub(super) fn read(table: &mut Table<'_>, conversion: &mut Conversion) -> Result<Self, ConvertError> {
        let mut found = Self::default();
        let Some(mut common) = table.table("common_lb_config")? else { return Ok(found) };
        found.localities(&mut common, conversion)?;
        found.hashing(&mut common, conversion)?;
        if let Some(percent) = common.percent("healthy_panic_threshold")? {
            found.failover.panic_threshold_percent = percent as u32;
            let subject = common.path("healthy_panic_threshold");
            if percent.fract() == 0.0 {
                conversion.report.taken(common.place(), subject, "failover.panic_threshold_percent");
            } else {
                let detail = "failover.panic_threshold_percent: whole percents, rounded down";
                conversion.report.differs(common.place(), subject, detail);
            }
        }
        common.rest(&mut conversion.report, |field| match field {
            "update_merge_window" => "changes are taken at once",
            _ => "evenkeel has nothing that does this",
        });
        Ok(found)
    }

    /// How localities are chosen, in the table that says it.
    pub(super) fn localities(
        &mut self,
        table: &mut Table<'_>,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        if let Some(zones) = table.table("locality_weighted_lb_config")? {
            self.has_weights = true;
            let detail =
                "the weights of localities: policy envoy, locality_weights, for hash tables, else locality";
            conversion.report.taken(zones.place(), zones.path(""), detail);
            zones.rest(&mut conversion.report, |_| "the weights stand with the localities");
        }
        if let Some(mut zones) = table.table("zone_aware_lb_config")? {
            if let Some(fails) = zones.boolean("fail_traffic_on_panic")? {
                self.failover.fail_traffic_on_panic = fails;
                let subject = zones.path("fail_traffic_on_panic");
                conversion.report.taken(zones.place(), subject, "failover.fail_traffic_on_panic");
            }
            zones.rest(
                &mut conversion.report,
                |_| "say where this process stands with the locality mode envoy_zone_aware of the cluster",
            );
        }
        Ok(())
    }

    /// What hash policies take for the name of an endpoint, in the table that says it.
    pub(super) fn hashing(
        &mut self,
        table: &mut Table<'_>,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        let Some(mut hashing) = table.table("consistent_hashing_lb_config")? else { return Ok(()) };
        self.policy.use_hostname = hashing.boolean("use_hostname_for_hashing")?.unwrap_or(false);
        let subject = hashing.path("use_hostname_for_hashing");
        conversion.report.taken(hashing.place(), subject, "policy envoy, use_hostname");
        hashing.rest(
            &mut conversion.report,
            |_| "the compatible mode has no bounded loads: see the policy ring_hash",
        );
        Ok(())
    }
}
