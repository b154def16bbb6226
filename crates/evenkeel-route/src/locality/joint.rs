use std::time::Duration;

/// What a caller would rather pay: waiting, or a way to another zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct JointConfig {
    /// How much better another zone must be to leave the one that was chosen last. Default 200 µs: less than that is
    /// noise of most estimates, and a zone that changes with it moves the herd to and fro.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub stay: Duration,
}

impl Default for JointConfig {
    fn default() -> Self {
        Self { stay: Duration::from_micros(200) }
    }
}

/// What a request to a zone costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ZoneCost {
    /// How long it is expected to wait and be served there; none if nothing is usable there.
    pub wait: Option<Duration>,
    /// What the way there costs, in time: the round trip, and what the bill is worth in time.
    pub way: Duration,
}

/// Wait and way together: the zone with the least sum, the last choice if it is nearly as good.
#[derive(Clone, Copy, Debug)]
pub struct JointChoice {
    stay: Duration,
}

impl JointChoice {
    /// A choice with these settings.
    #[must_use]
    pub const fn new(config: &JointConfig) -> Self {
        Self { stay: config.stay }
    }

    /// The zone of least cost. Among equals `draw` decides, so that callers do not all choose the first one. None if no zone
    /// is usable.
    #[must_use]
    pub fn choose(&self, zones: &[ZoneCost], last: Option<usize>, draw: u64) -> Option<usize> {
        let cost = |zone: &ZoneCost| zone.wait.map(|wait| wait.saturating_add(zone.way));
        let least = zones.iter().filter_map(cost).min()?;
        let is_good = |zone: usize, within: Duration| {
            zones.get(zone).and_then(cost).is_some_and(|cost| cost <= least.saturating_add(within))
        };
        if let Some(last) = last.filter(|&last| is_good(last, self.stay)) {
            return Some(last);
        }
        let equals = || (0..zones.len()).filter(|&zone| is_good(zone, Duration::ZERO));
        let at = ((u128::from(draw) * equals().count() as u128) >> 64) as usize;
        equals().nth(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_and_way_are_weighed() {
        let zone = |wait: Option<u64>, way| ZoneCost {
            wait: wait.map(Duration::from_micros),
            way: Duration::from_micros(way),
        };
        let joint = JointChoice::new(&JointConfig::default());
        let zones = [zone(Some(900), 0), zone(Some(100), 1000), zone(None, 0)];
        assert_eq!(joint.choose(&zones, None, 0), Some(0));
        assert_eq!(joint.choose(&zones, Some(1), 0), Some(1), "not worth the change");
        assert_eq!(joint.choose(&zones, Some(2), 0), Some(0));
        assert_eq!(joint.choose(&[zone(Some(1400), 0), zones[1]], Some(0), 0), Some(1));
        let equal = [zone(Some(5), 5), zone(Some(10), 0)];
        assert_eq!([0, u64::MAX].map(|draw| joint.choose(&equal, None, draw)), [Some(0), Some(1)]);
        assert_eq!(joint.choose(&[zone(None, 0)], Some(0), 0), None);
        let most = ZoneCost { wait: Some(Duration::MAX), way: Duration::MAX };
        assert_eq!(joint.choose(&[most], None, 0), Some(0));
    }
}
