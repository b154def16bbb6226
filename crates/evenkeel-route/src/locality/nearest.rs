use std::net::IpAddr;

use thiserror::Error;

use crate::matching::Cidr;

/// A place on the globe, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "[f64; 2]", into = "[f64; 2]")
)]
pub struct Coordinates {
    latitude: f64,
    longitude: f64,
}

impl Coordinates {
    /// North is positive, east is positive.
    ///
    /// # Errors
    ///
    /// [`CoordinatesError`] outside ±90 and ±180 degrees; NaN is refused.
    pub fn new(latitude: f64, longitude: f64) -> Result<Self, CoordinatesError> {
        if (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude) {
            Ok(Self { latitude, longitude })
        } else {
            Err(CoordinatesError)
        }
    }
}

impl TryFrom<[f64; 2]> for Coordinates {
    type Error = CoordinatesError;

    fn try_from([latitude, longitude]: [f64; 2]) -> Result<Self, CoordinatesError> {
        Self::new(latitude, longitude)
    }
}

impl From<Coordinates> for [f64; 2] {
    fn from(place: Coordinates) -> Self {
        [place.latitude, place.longitude]
    }
}

/// No place on the globe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a place: latitudes are -90 to 90 degrees, longitudes -180 to 180")]
pub struct CoordinatesError;

/// The way along the great circle, by the haversine formula, on a sphere of 6,371 km: right to half a percent.
#[must_use]
pub fn kilometres(from: Coordinates, to: Coordinates) -> f64 {
    let half = |a: f64, b: f64| libm::sin((b - a).to_radians() / 2.0);
    let (north, east) = (half(from.latitude, to.latitude), half(from.longitude, to.longitude));
    let cosines = libm::cos(from.latitude.to_radians()) * libm::cos(to.latitude.to_radians());
    2.0 * 6371.0 * libm::asin((north * north + cosines * east * east).sqrt().min(1.0))
}

/// A region, where it is, and whom it serves first.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Clients in these ranges are its own; of several ranges the narrowest counts.
    pub clients: Vec<Cidr>,
    /// Where it is. Without it, no distance leads here.
    pub place: Option<Coordinates>,
}

/// The nearest region of a client, as content delivery networks see it.
///
/// It orders regions for the failover of a request that is already here. Answering DNS queries by region is out of scope.
#[derive(Clone, Debug)]
pub struct NearestRegion {
    places: Vec<Option<Coordinates>>,
    /// Narrowest first.
    ranges: Vec<(Cidr, usize)>,
}

impl NearestRegion {
    /// Over these regions.
    ///
    /// # Errors
    ///
    /// [`RegionError`] if two have one name or one range.
    pub fn new(regions: &[Region]) -> Result<Self, RegionError> {
        let mut ranges: Vec<(Cidr, usize)> = Vec::new();
        for (i, region) in regions.iter().enumerate() {
            if regions[..i].iter().any(|other| other.name == region.name) {
                return Err(RegionError::Twice { region: i, name: region.name.clone() });
            }
            ranges.extend(region.clients.iter().map(|&range| (range, i)));
        }
        ranges.sort_by_key(|&(range, region)| (std::cmp::Reverse(range.length()), range, region));
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RegionError::Range { region: pair[1].1, range: pair[1].0 });
        }
        Ok(Self { places: regions.iter().map(|region| region.place).collect(), ranges })
    }

    /// The regions for a client, nearest first: the one whose range it is in, then those with a place by distance from
    /// `place` (or else from the first one), then the rest.
    #[must_use]
    pub fn order(&self, client: Option<IpAddr>, place: Option<Coordinates>) -> Vec<usize> {
        let own = client.and_then(|client| self.ranges.iter().find(|(range, _)| range.contains(client)));
        let own = own.map(|&(_, region)| region);
        let from = place.or_else(|| own.and_then(|region| self.places[region]));
        let distance = |region: usize| match (from, self.places[region]) {
            (Some(from), Some(to)) => kilometres(from, to),
            _ => f64::MAX,
        };
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_by(|&a, &b| {
            (own != Some(a)).cmp(&(own != Some(b))).then(distance(a).total_cmp(&distance(b))).then(a.cmp(&b))
        });
        order
    }
}

/// Regions that cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegionError {
    /// Two of one name.
    #[error("regions[{region}].name is {name:?} a second time")]
    Twice {
        /// The later one.
        region: usize,
        /// The name.
        name: String,
    },
    /// Two with one range.
    #[error("regions[{region}].clients holds {range}, which another region has too")]
    Range {
        /// The later one.
        region: usize,
        /// The range.
        range: Cidr,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn great_circles_are_as_long_as_in_the_atlas() {
        let at = |latitude, longitude| Coordinates::new(latitude, longitude).unwrap();
        let (frankfurt, virginia, sydney) = (at(50.11, 8.68), at(38.95, -77.45), at(-33.87, 151.21));
        assert!(
            (kilometres(frankfurt, virginia) - 6_540.0).abs() < 40.0,
            "{}",
            kilometres(frankfurt, virginia)
        );
        assert!((kilometres(frankfurt, sydney) - 16_490.0).abs() < 90.0, "{}", kilometres(frankfurt, sydney));
        assert!((kilometres(at(0.0, 179.0), at(0.0, -179.0)) - 222.4).abs() < 1.0, "over the date line");
        assert!((kilometres(at(90.0, 0.0), at(-90.0, 0.0)) - 20_015.0).abs() < 1.0);
        assert_eq!(kilometres(sydney, sydney), 0.0);
        assert!(
            [(91.0, 0.0), (0.0, 181.0), (f64::NAN, 0.0)]
                .iter()
                .all(|&(a, b)| Coordinates::new(a, b).is_err())
        );
    }

    #[test]
    fn regions_are_ordered() {
        let region = |name: &str, clients: &[&str], place: Option<(f64, f64)>| Region {
            name: name.into(),
            clients: clients.iter().map(|range| range.parse().unwrap()).collect(),
            place: place.map(|(a, b)| Coordinates::new(a, b).unwrap()),
        };
        let regions = [
            region("us", &["10.0.0.0/8"], Some((39.0, -77.0))),
            region("eu", &["10.1.0.0/16"], Some((50.0, 8.0))),
            region("asia", &[], Some((1.3, 103.8))),
            region("lab", &[], None),
        ];
        let nearest = NearestRegion::new(&regions).unwrap();
        let order = |client: &str| nearest.order(client.parse().ok(), None);
        assert_eq!(order("10.1.2.3"), [1, 0, 2, 3], "the narrowest range, then by distance from there");
        assert_eq!(order("10.2.2.3"), [0, 1, 2, 3]);
        assert_eq!(order("192.0.2.1"), [0, 1, 2, 3], "nothing is known");
        assert_eq!(nearest.order(None, Coordinates::new(35.7, 139.7).ok()), [2, 1, 0, 3]);
        let twice = [regions[0].clone(), Region { name: "b".into(), ..regions[0].clone() }];
        assert!(matches!(NearestRegion::new(&twice), Err(RegionError::Range { region: 1, .. })));
    }
}
