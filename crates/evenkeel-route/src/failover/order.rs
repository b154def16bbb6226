use std::collections::BTreeMap;

use evenkeel_types::Locality;
use thiserror::Error;

/// The tiers of endpoints by distance: the own sub-zone, the own zone, the own region, then other regions.
///
/// ```
/// use evenkeel_route::failover::FailoverOrder;
/// use evenkeel_types::Locality;
///
/// let order = FailoverOrder { regions: [("eu".into(), vec!["us".into()])].into(), ..FailoverOrder::default() };
/// let at = |region: &str, zone: &str| Locality::new(region, zone, "");
/// let places = [at("asia", "a"), at("us", "a"), at("eu", "b"), at("eu", "a")];
/// assert_eq!(order.tiers(&at("eu", "a"), &places), [3, 2, 1, 0]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct FailoverOrder {
    /// For a region, the others in the order in which they stand in for it. Those that are not named come last,
    /// together. Default: all other regions are one tier.
    pub regions: BTreeMap<String, Vec<String>>,
    /// The same for zones of one region, written `region/zone`. Default: all other zones are one tier.
    pub zones: BTreeMap<String, Vec<String>>,
}

impl FailoverOrder {
    /// That nobody stands in for himself, and nobody twice.
    ///
    /// # Errors
    ///
    /// [`FailoverOrderError`] names the first that does.
    pub fn check(&self) -> Result<(), FailoverOrderError> {
        for (kind, map) in [("regions", &self.regions), ("zones", &self.zones)] {
            for (from, to) in map {
                for (i, name) in to.iter().enumerate() {
                    let field = || format!("{kind}.{from}[{i}]");
                    if name == from {
                        return Err(FailoverOrderError::Itself { field: field(), name: name.clone() });
                    }
                    if to[..i].contains(name) {
                        return Err(FailoverOrderError::Twice { field: field(), name: name.clone() });
                    }
                }
            }
        }
        Ok(())
    }

    /// The tier of each place, seen from `local`: 0 is nearest, and no number is left out.
    ///
    /// What is not known of a place is nowhere near.
    #[must_use]
    pub fn tiers(&self, local: &Locality, places: &[Locality]) -> Vec<u32> {
        let distances: Vec<(u32, usize)> = places.iter().map(|place| self.distance(local, place)).collect();
        let mut known = distances.clone();
        known.sort_unstable();
        known.dedup();
        distances.iter().map(|distance| known.partition_point(|other| other < distance) as u32).collect()
    }

    fn distance(&self, local: &Locality, place: &Locality) -> (u32, usize) {
        let same = |a: &str, b: &str| !a.is_empty() && a == b;
        let rank = |map: &BTreeMap<String, Vec<String>>, from: &str, to: &str| {
            map.get(from).and_then(|order| order.iter().position(|name| name == to)).unwrap_or(usize::MAX)
        };
        if !same(local.region(), place.region()) {
            return (3, rank(&self.regions, local.region(), place.region()));
        }
        if !same(local.zone(), place.zone()) {
            let full = |place: &Locality| format!("{}/{}", place.region(), place.zone());
            return (2, rank(&self.zones, &full(local), &full(place)));
        }
        (u32::from(!local.sub_zone().is_empty() && local.sub_zone() != place.sub_zone()), 0)
    }
}

/// An order that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FailoverOrderError {
    /// A place that stands in for itself.
    #[error("{field} is {name:?} itself")]
    Itself {
        /// The field.
        field: String,
        /// The name.
        name: String,
    },
    /// A place that is named twice.
    #[error("{field} names {name:?} a second time")]
    Twice {
        /// The field.
        field: String,
        /// The name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ordered_by_distance() {
        let at = |text: &str| {
            let mut parts = text.split('/').chain(["", ""]);
            let mut next = || parts.next().unwrap_or("");
            let (region, zone) = (next(), next());
            Locality::new(region, zone, next())
        };
        let order = FailoverOrder {
            zones: [("eu/a".into(), vec!["eu/c".into(), "eu/b".into()])].into(),
            ..FailoverOrder::default()
        };
        let places = ["eu/a/1", "eu/a/2", "eu/b/1", "eu/c/1", "us/a/1", "", "eu/d/1"].map(at);
        assert_eq!(order.tiers(&at("eu/a/1"), &places), [0, 1, 3, 2, 5, 5, 4]);
        assert_eq!(order.tiers(&at("eu/a"), &places), [0, 0, 2, 1, 4, 4, 3]);
        assert_eq!(order.tiers(&Locality::default(), &places), [0; 7], "nothing is known");
        assert!(order.tiers(&at("eu"), &[]).is_empty());
    }

    #[test]
    fn orders_are_checked() {
        let order = |to: &[&str]| FailoverOrder {
            regions: [("eu".into(), to.iter().map(|&name| name.into()).collect())].into(),
            ..FailoverOrder::default()
        };
        assert!(order(&["us", "asia"]).check().is_ok());
        assert_eq!(order(&["us", "eu"]).check().unwrap_err().to_string(), "regions.eu[1] is \"eu\" itself");
        assert!(matches!(order(&["us", "us"]).check(), Err(FailoverOrderError::Twice { .. })));
    }
}
