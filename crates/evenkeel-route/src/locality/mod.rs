//! Which zone or region of a tier serves a request.

mod joint;
mod load_aware;
mod nearest;
mod shares;
mod zone_aware;

pub use joint::{JointChoice, JointConfig, ZoneCost};
pub use load_aware::{LoadAware, LoadAwareConfig, ZoneLoad};
pub use nearest::{
    Coordinates, CoordinatesError, NearestRegion, Region, RegionError, RegionOrder, kilometres,
};
pub use shares::ZoneShares;
pub use zone_aware::{EnvoyZoneAware, ZoneAwareError, envoy_locality_weights, locality_weights, zone_aware};
