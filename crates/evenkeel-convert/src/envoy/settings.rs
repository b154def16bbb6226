//! The settings of Envoy's policies, which clusters have in fields of their own or in typed extensions.

use evenkeel::SlowStartConfig;
use evenkeel_balance::compat::envoy::{LeastRequestSettings, MaglevSettings, RingFunction, RingHashSettings};
use evenkeel_health::Curve;
use evenkeel_types::Ratio;

use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;

pub(super) fn ring_hash(settings: &mut Table<'_>) -> Result<RingHashSettings, ConvertError> {
    let mut ring = RingHashSettings::default();
    ring.minimum_ring_size = settings.large("minimum_ring_size")?.unwrap_or(ring.minimum_ring_size);
    ring.maximum_ring_size = settings.large("maximum_ring_size")?.unwrap_or(ring.maximum_ring_size);
    ring.hash_function = match settings.text("hash_function")? {
        None | Some("XX_HASH" | "DEFAULT_HASH") => RingFunction::XxHash,
        Some("MURMUR_HASH_2") => RingFunction::MurmurHash2,
        Some(other) => {
            let (place, path) = (settings.place(), settings.path("hash_function"));
            return Err(ConvertError::value(place, path, other, "XX_HASH or MURMUR_HASH_2"));
        }
    };
    Ok(ring)
}

pub(super) fn maglev(settings: &mut Table<'_>) -> Result<MaglevSettings, ConvertError> {
    let default = MaglevSettings::default();
    Ok(MaglevSettings { table_size: settings.large("table_size")?.unwrap_or(default.table_size) })
}

pub(super) fn least_request(
    settings: &mut Table<'_>,
    slow_start: &mut Option<SlowStartConfig>,
    conversion: &mut Conversion,
) -> Result<LeastRequestSettings, ConvertError> {
    let mut least = LeastRequestSettings::default();
    least.choice_count = settings.number("choice_count")?.unwrap_or(least.choice_count);
    if let Some(mut bias) = settings.table("active_request_bias")? {
        let path = bias.path("default_value");
        least.active_request_bias = bias.get("default_value").map_or(Ok(1.0), |node| node.decimal(&path))?;
        bias.rest(&mut conversion.report, |_| "nothing is looked up at run time");
    }
    slow(settings, slow_start, conversion)?;
    Ok(least)
}

pub(super) fn slow(
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
