use evenkeel_types::{Announced, Endpoint, Locality};
use smol_str::SmolStr;

/// Which endpoints are asked for: all that fit every condition given.
///
/// ```
/// use evenkeel_registry::Selector;
/// use evenkeel_types::{Endpoint, Labels, Locality};
///
/// let canary = Endpoint::new("users-1".parse()?, "10.0.0.1:80".parse()?)
///     .with_labels(Labels::new([("stage", "canary")])?)
///     .with_locality(Locality::new("eu", "eu-1", ""));
/// assert!(Selector::any().with_label("stage", "canary").with_zone("eu-1").matches(&canary));
/// assert!(!Selector::any().with_zone("eu-2").matches(&canary));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<(SmolStr, SmolStr)>,
    region: Option<SmolStr>,
    zone: Option<SmolStr>,
    announced: Option<Announced>,
}

impl Selector {
    /// Fits every endpoint.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Only endpoints with this label; may be given several times, and then each must fit.
    #[must_use]
    pub fn with_label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Only endpoints in this region. An endpoint without one is in no region, not in the region `""`.
    #[must_use]
    pub fn with_region(mut self, region: &str) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Only endpoints in this zone. An endpoint without one is in no zone, not in the zone `""`.
    #[must_use]
    pub fn with_zone(mut self, zone: &str) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Only endpoints that announce exactly this.
    #[must_use]
    pub fn with_announced(mut self, announced: Announced) -> Self {
        self.announced = Some(announced);
        self
    }

    /// Whether the endpoint fits; O(number of conditions).
    #[must_use]
    pub fn matches<T>(&self, endpoint: &Endpoint<T>) -> bool {
        let place = |part: &Option<SmolStr>, actual: Option<&str>| match part {
            None => true,
            Some(wanted) => !wanted.is_empty() && actual == Some(wanted.as_str()),
        };
        self.labels.iter().all(|(key, value)| endpoint.label(key) == Some(value))
            && place(&self.region, endpoint.locality().map(Locality::region))
            && place(&self.zone, endpoint.locality().map(Locality::zone))
            && self.announced.is_none_or(|announced| endpoint.announced() == announced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_types::Labels;

    #[test]
    fn conditions_are_joined_and_empty_places_fit_nothing() {
        let plain = Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        let rich = plain
            .clone()
            .with_labels(Labels::new([("v", "7"), ("stage", "canary")]).unwrap())
            .with_locality(Locality::new("eu", "eu-1", ""))
            .with_announced(Announced::Up);
        for (selector, fits_plain, fits_rich) in [
            (Selector::any(), true, true),
            (Selector::any().with_label("v", "7"), false, true),
            (Selector::any().with_label("v", "7").with_label("stage", "prod"), false, false),
            (Selector::any().with_region("eu").with_zone("eu-1"), false, true),
            (Selector::any().with_zone(""), false, false),
            (Selector::any().with_announced(Announced::Up), false, true),
            (Selector::any().with_announced(Announced::Unknown), true, false),
        ] {
            assert_eq!(selector.matches(&plain), fits_plain, "{selector:?}");
            assert_eq!(selector.matches(&rich), fits_rich, "{selector:?}");
        }
    }
}
