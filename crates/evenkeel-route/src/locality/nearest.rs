use std::net::IpAddr;
use std::ops::Deref;

use smallvec::SmallVec;
use thiserror::Error;

use crate::matching::{Cidr, Ranges};

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
///
/// ```
/// use evenkeel_route::locality::{Coordinates, NearestRegion, Region};
///
/// let region = |name: &str, clients: &str, latitude, longitude| -> Result<Region, Box<dyn std::error::Error>> {
///     let place = Some(Coordinates::new(latitude, longitude)?);
///     Ok(Region { name: name.into(), clients: vec![clients.parse()?], place })
/// };
/// let regions = [
///     region("us", "10.0.0.0/8", 39.0, -77.0)?,
///     region("eu", "10.1.0.0/16", 50.1, 8.7)?,
///     region("asia", "10.2.0.0/16", 1.3, 103.8)?,
/// ];
/// let nearest = NearestRegion::new(&regions)?;
/// assert_eq!(*nearest.order("10.1.2.3".parse().ok(), None), [1, 0, 2]);
/// assert_eq!(*nearest.order(None, Coordinates::new(35.7, 139.7).ok()), [2, 1, 0], "from Tokyo");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct NearestRegion {
    places: Box<[Option<Coordinates>]>,
    /// The order for clients of each region, one after the other, and at the end the one for clients of whom nothing is known.
    orders: Box<[u16]>,
    ranges: Ranges,
}

/// Regions by their numbers, nearest first: a slice.
#[derive(Clone, Debug)]
pub struct RegionOrder<'a>(Order<'a>);

#[derive(Clone, Debug)]
enum Order<'a> {
    Known(&'a [u16]),
    Sorted(SmallVec<[u16; 32]>),
}

impl Deref for RegionOrder<'_> {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        match &self.0 {
            Order::Known(order) => order,
            Order::Sorted(order) => order,
        }
    }
}

impl NearestRegion {
    /// Over these regions, 1,024 at most. O(n² log n), where n regions are some dozens.
    ///
    /// # Errors
    ///
    /// [`RegionError`] if two have one name or one range, or there are too many.
    pub fn new(regions: &[Region]) -> Result<Self, RegionError> {
        if regions.len() > MOST_REGIONS {
            return Err(RegionError::TooMany { count: regions.len(), limit: MOST_REGIONS });
        }
        let mut ranges: Vec<(Cidr, u32)> = Vec::new();
        for (i, region) in regions.iter().enumerate() {
            if regions[..i].iter().any(|other| other.name == region.name) {
                return Err(RegionError::Twice { region: i, name: region.name.clone() });
            }
            ranges.extend(region.clients.iter().map(|&range| (range, i as u32)));
        }
        ranges.sort_unstable();
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RegionError::Range { region: pair[1].1 as usize, range: pair[1].0 });
        }
        let places: Box<[Option<Coordinates>]> = regions.iter().map(|region| region.place).collect();
        let origins = (0..regions.len()).map(Some).chain([None]);
        let order = |own: Option<usize>| sorted(&places, own, own.and_then(|own| places[own]));
        let orders = origins.flat_map(order).collect();
        Ok(Self { orders, ranges: Ranges::new(&ranges), places })
    }

    /// How many regions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether it is known of any region where it is, so that a client's place says something.
    #[must_use]
    pub fn knows_places(&self) -> bool {
        self.places.iter().any(Option::is_some)
    }

    /// The region whose range a client is in; of several, the one with the narrowest. One lookup for each length of ranges
    /// that occurs, however many ranges there are.
    #[must_use]
    pub fn own(&self, client: IpAddr) -> Option<usize> {
        // From the shortest length to the longest.
        let mut narrowest = None;
        self.ranges.each(client.to_canonical(), |region| narrowest = Some(region as usize));
        narrowest
    }

    /// The regions for a client, nearest first: the one whose range it is in, then those with a place by distance from
    /// `place` (or else from the first one), then the rest.
    ///
    /// Allocates nothing, but with a `place` and more than 32 regions. With a place the distance of each region is worked out
    /// (some 50 ns each), without one nothing is.
    #[must_use]
    pub fn order(&self, client: Option<IpAddr>, place: Option<Coordinates>) -> RegionOrder<'_> {
        let own = client.and_then(|client| self.own(client));
        match place {
            Some(_) => RegionOrder(Order::Sorted(sorted(&self.places, own, place))),
            None => self.order_of(own),
        }
    }

    /// The regions for the clients of one of them, or for those of whom nothing is known. As for the latter, if there is no such
    /// region.
    #[must_use]
    pub fn order_of(&self, own: Option<usize>) -> RegionOrder<'_> {
        let count = self.places.len();
        let row = own.map_or(count, |own| own.min(count));
        RegionOrder(Order::Known(self.orders.get(row * count..(row + 1) * count).unwrap_or_default()))
    }
}

/// The own region, then by distance from `from`, then by number.
fn sorted(
    places: &[Option<Coordinates>],
    own: Option<usize>,
    from: Option<Coordinates>,
) -> SmallVec<[u16; 32]> {
    let distance = |region: usize| match (from, places[region]) {
        (Some(from), Some(to)) => kilometres(from, to),
        _ => f64::MAX,
    };
    let far: SmallVec<[f64; 32]> = (0..places.len()).map(distance).collect();
    let mut order: SmallVec<[u16; 32]> = (0..places.len() as u16).collect();
    order.sort_unstable_by(|&a, &b| {
        let (a, b) = (usize::from(a), usize::from(b));
        (own != Some(a)).cmp(&(own != Some(b))).then(far[a].total_cmp(&far[b])).then(a.cmp(&b))
    });
    order
}

/// Each has an order of all others.
const MOST_REGIONS: usize = 1024;

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
    /// More than anybody has.
    #[error("regions: {count} of them, at most {limit} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
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
        let order = |client: &str| nearest.order(client.parse().ok(), None).to_vec();
        assert_eq!(order("10.1.2.3"), [1, 0, 2, 3], "the narrowest range, then by distance from there");
        assert_eq!(order("10.2.2.3"), [0, 1, 2, 3]);
        assert_eq!(order("192.0.2.1"), [0, 1, 2, 3], "nothing is known");
        assert_eq!(order("::ffff:10.1.2.3"), [1, 0, 2, 3], "an address of IPv4, however it is written");
        assert_eq!(order("2001:db8::1"), [0, 1, 2, 3]);
        let tokyo = Coordinates::new(35.7, 139.7).ok();
        assert_eq!(*nearest.order(None, tokyo), [2, 1, 0, 3]);
        assert_eq!(
            *nearest.order("10.2.2.3".parse().ok(), tokyo),
            [0, 2, 1, 3],
            "a range says more than a place"
        );
        assert_eq!((*nearest.order_of(Some(2))).to_vec(), [2, 1, 0, 3]);
        assert_eq!(*nearest.order_of(Some(9)), *nearest.order_of(None));
        let twice = [regions[0].clone(), Region { name: "b".into(), ..regions[0].clone() }];
        assert!(matches!(NearestRegion::new(&twice), Err(RegionError::Range { region: 1, .. })));
        let many: Vec<Region> = (0..1025).map(|i| region(&i.to_string(), &[], None)).collect();
        assert!(matches!(NearestRegion::new(&many), Err(RegionError::TooMany { count: 1025, limit: 1024 })));
        let none = NearestRegion::new(&[]).unwrap();
        assert!(none.is_empty() && none.order(None, tokyo).is_empty() && none.order_of(Some(0)).is_empty());
    }

    /// The slow way, over all ranges, finds the same region.
    #[test]
    fn the_narrowest_range_is_found() {
        let range = |i: u32| {
            let length = 8 + (i % 25) as u8;
            let address = i.wrapping_mul(0x9e37_79b9) & u32::MAX << (32 - length);
            Cidr::new(std::net::Ipv4Addr::from_bits(address).into(), length).unwrap()
        };
        let mut seen = std::collections::BTreeSet::new();
        let regions: Vec<Region> = (0..40)
            .map(|name: u32| Region {
                name: name.to_string(),
                clients: (0..50).map(|i| range(name * 50 + i)).filter(|&range| seen.insert(range)).collect(),
                place: None,
            })
            .collect();
        let nearest = NearestRegion::new(&regions).unwrap();
        let mut found = 0;
        for i in 0..2000 {
            let client =
                IpAddr::from(std::net::Ipv4Addr::from_bits((i / 2 * 0x9e37_79b9_u64 + i % 2) as u32));
            let all = regions.iter().enumerate().flat_map(|(i, region)| {
                region
                    .clients
                    .iter()
                    .filter(|range| range.contains(client))
                    .map(move |range| (range.length(), i))
            });
            let expected = all.max().map(|(_, region)| region);
            assert_eq!(nearest.own(client), expected, "{client}");
            found += usize::from(expected.is_some());
        }
        assert!(found > 1000, "{found}");
    }
}
