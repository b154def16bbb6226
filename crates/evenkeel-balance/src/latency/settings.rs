//! Checks that the settings of several policies share.

use std::time::Duration;

use evenkeel_stats::TimeConstant;
use evenkeel_types::Ratio;

use crate::InvalidPolicy;

/// A duration after which an estimate is forgiven.
pub(crate) fn decay(
    policy: &'static str,
    setting: &'static str,
    decay: Duration,
) -> Result<TimeConstant, InvalidPolicy> {
    TimeConstant::new(decay).map_err(|_| {
        InvalidPolicy::setting(policy, setting, "0s forgets everything at once: allowed is above 0s")
    })
}

/// The power of the share of successes.
pub(crate) fn failure_power(policy: &'static str, power: u32) -> Result<u32, InvalidPolicy> {
    if power <= 8 {
        return Ok(power);
    }
    let problem = format!("{power} is out of range: allowed are 0 to 8");
    Err(InvalidPolicy::setting(policy, "failure_power", problem))
}

/// What a new sample counts for in an average.
pub(crate) fn gain(policy: &'static str, setting: &'static str, gain: Ratio) -> Result<(), InvalidPolicy> {
    if gain > Ratio::ZERO {
        return Ok(());
    }
    Err(InvalidPolicy::setting(policy, setting, "0 learns nothing: allowed is above 0, up to 1"))
}
