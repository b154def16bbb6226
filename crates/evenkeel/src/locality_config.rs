use std::time::Duration;

use evenkeel_route::failover::{FailoverOrder, FailoverOrderError};
use evenkeel_route::locality::{JointConfig, LoadAwareConfig, NearestRegion, Region, RegionError};
use evenkeel_types::{Locality, Ratio};
use thiserror::Error;

/// How the requests of a tier are shared among its zones. Unset, zones make no difference.
///
/// A zone is where an endpoint's [`Locality`] says it stands; endpoints that say nothing are a zone of their own, which is
/// nobody's home. Every zone of a tier has its own policy, so zones should hold more than a few endpoints.
///
/// ```
/// use evenkeel::{Cluster, Locality, LocalityConfig, ZoneAwareConfig};
///
/// let here = Locality::new("eu", "a", "");
/// let cluster = Cluster::<()>::builder("users")
///     .locality(LocalityConfig::ZoneAware(ZoneAwareConfig::new(here)))
///     .build()?;
/// # let _ = cluster;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "mode", rename_all = "snake_case")
)]
pub enum LocalityConfig {
    /// As few requests as can be leave their zone, and every endpoint of all zones gets the same. The one to use.
    ZoneAware(ZoneAwareConfig),
    /// Envoy's arithmetic, in the first tier. Endpoints count, not their weights.
    EnvoyZoneAware(EnvoyZoneConfig),
    /// Configured weights, times what is usable.
    Weights(ZoneWeightsConfig),
    /// At home while it is not busier than the others, then by room, by what endpoints report.
    LoadAware(LoadAwareZonesConfig),
    /// The zones nearest to this process first, each as far as it can bear it. For what is near to the client see
    /// [`ClientRegion`](Self::ClientRegion).
    Nearest(NearestZonesConfig),
    /// The regions nearest to the client of each request first, each as far as it can bear it: as content delivery networks do.
    ClientRegion(ClientRegionConfig),
    /// Each request to the zone where wait and way together are least at that moment.
    Joint(JointZonesConfig),
}

/// What is one zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ZoneBy {
    /// A region.
    Region,
    /// A zone of a region. The default: what providers bill and lose as one.
    #[default]
    Zone,
    /// A sub-zone: a rack, a host.
    SubZone,
}

/// How many callers stand in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ZoneCallers {
    /// The zone.
    pub at: Locality,
    /// How many.
    pub count: u32,
}

/// What a zone counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ZoneWeight {
    /// The zone.
    pub at: Locality,
    /// Its weight; zero is used when nobody else is left.
    pub weight: u32,
}

/// Settings of [`LocalityConfig::ZoneAware`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ZoneAwareConfig {
    /// Where this process stands. Required.
    pub own: Locality,
    /// What is one zone.
    pub by: ZoneBy,
    /// The callers of each zone, this process among them, as far as they are known before
    /// [`Cluster::set_callers`](crate::Cluster::set_callers). Default: spread as the endpoints are that should be there, so
    /// that all stays at home until the own zone loses some.
    pub callers: Vec<ZoneCallers>,
}

/// Settings of [`LocalityConfig::EnvoyZoneAware`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EnvoyZoneConfig {
    /// Where this process stands. Required.
    pub own: Locality,
    /// What is one zone.
    pub by: ZoneBy,
    /// The callers of each zone: Envoy's local cluster. Without them zones make no difference, as there.
    pub callers: Vec<ZoneCallers>,
    /// Fewer healthy endpoints than this turn it off. Default 6.
    pub min_cluster_size: u32,
}

impl Default for EnvoyZoneConfig {
    fn default() -> Self {
        Self { own: Locality::default(), by: ZoneBy::default(), callers: Vec::new(), min_cluster_size: 6 }
    }
}

/// Settings of [`LocalityConfig::Weights`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ZoneWeightsConfig {
    /// Where this process stands, only to tell which picks leave the zone. Default: unknown.
    pub own: Locality,
    /// What is one zone.
    pub by: ZoneBy,
    /// The weights.
    pub weights: Vec<ZoneWeight>,
    /// The weight of zones that are not listed. Default 1: a zone that is new is better used than idle.
    pub others: u32,
    /// What a whole zone can take, in percent of its share: 100 to 100,000. Default 140, as Envoy.
    pub overprovisioning_percent: u32,
}

impl Default for ZoneWeightsConfig {
    fn default() -> Self {
        Self {
            own: Locality::default(),
            by: ZoneBy::default(),
            weights: Vec::new(),
            others: 1,
            overprovisioning_percent: 140,
        }
    }
}

/// Settings of [`LocalityConfig::LoadAware`]. Loads are what endpoints tell by [`Pick::report`](crate::Pick::report) or
/// [`Live::report`](crate::Live::report).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LoadAwareZonesConfig {
    /// Where this process stands. Required.
    pub own: Locality,
    /// What is one zone.
    pub by: ZoneBy,
    /// How much busier than the others the own zone may be before anything leaves it. Default 10 %.
    pub tolerance: Ratio,
    /// What goes to other zones all the same, so that they are known when they are needed. Default 1 %.
    pub probe: Ratio,
    /// How often reports are looked at, 10 ms or more. Default 1 s, as Envoy.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub period: Duration,
}

impl Default for LoadAwareZonesConfig {
    fn default() -> Self {
        let LoadAwareConfig { tolerance, probe } = LoadAwareConfig::default();
        let (own, by) = (Locality::default(), ZoneBy::default());
        Self { own, by, tolerance, probe, period: Duration::from_secs(1) }
    }
}

/// Settings of [`LocalityConfig::Nearest`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct NearestZonesConfig {
    /// Where this process stands. Required.
    pub own: Locality,
    /// What is one zone.
    pub by: ZoneBy,
    /// Who stands in for whom. Default: other zones of the region together, then all other regions together.
    pub order: FailoverOrder,
    /// What the whole of one distance can take, in percent of all requests: 100 to 100,000. Default 140.
    pub overprovisioning_percent: u32,
}

impl Default for NearestZonesConfig {
    fn default() -> Self {
        Self {
            own: Locality::default(),
            by: ZoneBy::default(),
            order: FailoverOrder::default(),
            overprovisioning_percent: 140,
        }
    }
}

/// Settings of [`LocalityConfig::ClientRegion`]. Zones are the regions of endpoints.
///
/// A request tells who its client is by [`Request::from_address`](crate::Request::from_address) or
/// [`Request::at_place`](crate::Request::at_place); a [`Router`](crate::router::Router) passes on what
/// [`Incoming`](crate::router::Incoming) says. Regions are filled from the client's on, each as far as it can bear it, so that the
/// loss of endpoints sends only what they could bear to the next one.
///
/// ```
/// use evenkeel::route::locality::Region;
/// use evenkeel::{ClientRegionConfig, Cluster, Endpoint, Locality, LocalityConfig, Request};
///
/// let region = |name: &str, clients: &str| -> Result<Region, Box<dyn std::error::Error>> {
///     Ok(Region { name: name.into(), clients: vec![clients.parse()?], place: None })
/// };
/// let regions = vec![region("eu", "10.1.0.0/16")?, region("us", "10.2.0.0/16")?];
/// let config = ClientRegionConfig { regions, ..ClientRegionConfig::default() };
/// let cluster =
///     Cluster::<()>::builder("users").locality(LocalityConfig::ClientRegion(config)).build()?;
/// let at = |address: &str, region| -> Result<Endpoint, Box<dyn std::error::Error>> {
///     Ok(Endpoint::at(address.parse()?)?.with_locality(Locality::new(region, "", "")))
/// };
/// cluster.apply([at("10.1.0.1:80", "eu")?, at("10.2.0.1:80", "us")?])?;
///
/// let pick = cluster.pick(&Request::new().from_address("10.2.3.4".parse()?))?;
/// assert_eq!(pick.endpoint().address().to_string(), "10.2.0.1:80");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ClientRegionConfig {
    /// The region of clients of whom nothing is known, as a rule that of this process: one of `regions`. Default: none, and their
    /// requests go to all regions by size.
    pub own: Locality,
    /// The regions, by the names that the endpoints' localities have, each once: whose they are first, and where they are. Endpoints
    /// of other regions come last. At least one.
    pub regions: Vec<Region>,
    /// What a whole region can take, in percent of the requests of its clients: 100 to 100,000. Default 140, as tiers.
    pub overprovisioning_percent: u32,
}

impl Default for ClientRegionConfig {
    fn default() -> Self {
        Self { own: Locality::default(), regions: Vec::new(), overprovisioning_percent: 140 }
    }
}

/// What the way to a zone costs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ZoneWay {
    /// The zone.
    pub at: Locality,
    /// The cost, in time.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub cost: Duration,
}

/// Settings of [`LocalityConfig::Joint`].
///
/// The wait of a zone is looked at when a request comes: of two of its endpoints that are drawn, the lesser estimated latency times
/// the requests in flight there and this one. So it needs `latency`, and there is no hash policy beside it, whose keys
/// would change zones with every wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct JointZonesConfig {
    /// Where this process stands. Required.
    pub own: Locality,
    /// What is one zone.
    pub by: ZoneBy,
    /// What the way to a zone costs, in time: what its round trip takes longer than one at home, if estimates do not hold it
    /// already, and what the bill for it is worth in time. To the own zone it costs nothing.
    pub ways: Vec<ZoneWay>,
    /// What the way to all other zones costs. Default 1 ms: about a round trip between the zones of a region.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub others: Duration,
    /// How much better than the own zone another one must be for a request to leave it. Default 200 µs: less is noise of most
    /// estimates.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub stay: Duration,
}

impl Default for JointZonesConfig {
    fn default() -> Self {
        Self {
            own: Locality::default(),
            by: ZoneBy::default(),
            ways: Vec::new(),
            others: Duration::from_millis(1),
            stay: JointConfig::default().stay,
        }
    }
}

/// Settings of zones that make no sense; the text begins with the field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LocalityConfigError {
    /// It is not known where this process stands.
    #[error(
        "own.{0}: this mode needs to know where this process stands; set it, or choose mode = \"weights\""
    )]
    NoOwnZone(&'static str),
    /// A zone is listed twice.
    #[error("{field}[{second}].at is the zone of {field}[{first}] too")]
    Twice {
        /// The list.
        field: &'static str,
        /// Where it stands first.
        first: usize,
        /// Where it stands again.
        second: usize,
    },
    /// Nothing would get a share.
    #[error("weights: all are zero; at least one of them, or others, must be above")]
    NoWeight,
    /// A whole zone must be able to take its share.
    #[error("overprovisioning_percent is {0}: allowed are 100 to 100000")]
    Overprovisioning(u32),
    /// Too short or too long.
    #[error("period is {0:?}: allowed are 10ms to 1h")]
    Period(Duration),
    /// An order that cannot be followed.
    #[error("order.{0}")]
    Order(#[from] FailoverOrderError),
    /// No region is listed.
    #[error("regions is empty: list the regions and their clients, or choose mode = \"nearest\"")]
    NoRegions,
    /// A region without a name.
    #[error("regions[{0}].name is empty: it is the region of endpoints")]
    NoName(usize),
    /// Regions that cannot be told apart.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The region of this process is none of those that are listed.
    #[error("own.region is {0:?}, which is none of regions: add it, or leave own out")]
    UnknownOwn(String),
    /// Only the region of this process counts.
    #[error("own.zone would be ignored: this mode knows regions alone; leave it out")]
    OwnTooFine,
}

impl ZoneAwareConfig {
    /// The defaults for a process that stands at `own`.
    #[must_use]
    pub fn new(own: Locality) -> Self {
        Self { own, ..Self::default() }
    }
}

impl ZoneBy {
    /// The zone of a place: what is finer is left out.
    #[must_use]
    pub fn zone(self, at: &Locality) -> Locality {
        match self {
            Self::Region => Locality::new(at.region(), "", ""),
            Self::Zone => Locality::new(at.region(), at.zone(), ""),
            Self::SubZone => at.clone(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Zone => "zone",
            Self::SubZone => "sub_zone",
        }
    }

    /// Whether it says in which zone something stands.
    fn is_told_by(self, at: &Locality) -> bool {
        match self {
            Self::Region => !at.region().is_empty(),
            Self::Zone => !at.zone().is_empty(),
            Self::SubZone => !at.sub_zone().is_empty(),
        }
    }
}

impl LocalityConfig {
    /// As it is written in a configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ZoneAware(_) => "zone_aware",
            Self::EnvoyZoneAware(_) => "envoy_zone_aware",
            Self::Weights(_) => "weights",
            Self::LoadAware(_) => "load_aware",
            Self::Nearest(_) => "nearest",
            Self::ClientRegion(_) => "client_region",
            Self::Joint(_) => "joint",
        }
    }

    /// Where this process stands.
    #[must_use]
    pub const fn own(&self) -> &Locality {
        match self {
            Self::ZoneAware(config) => &config.own,
            Self::EnvoyZoneAware(config) => &config.own,
            Self::Weights(config) => &config.own,
            Self::LoadAware(config) => &config.own,
            Self::Nearest(config) => &config.own,
            Self::ClientRegion(config) => &config.own,
            Self::Joint(config) => &config.own,
        }
    }

    /// What is one zone.
    #[must_use]
    pub const fn by(&self) -> ZoneBy {
        match self {
            Self::ZoneAware(config) => config.by,
            Self::EnvoyZoneAware(config) => config.by,
            Self::Weights(config) => config.by,
            Self::LoadAware(config) => config.by,
            Self::Nearest(config) => config.by,
            Self::ClientRegion(_) => ZoneBy::Region,
            Self::Joint(config) => config.by,
        }
    }

    pub(crate) fn callers(&self) -> &[ZoneCallers] {
        match self {
            Self::ZoneAware(config) => &config.callers,
            Self::EnvoyZoneAware(config) => &config.callers,
            Self::Weights(_)
            | Self::LoadAware(_)
            | Self::Nearest(_)
            | Self::ClientRegion(_)
            | Self::Joint(_) => &[],
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`LocalityConfigError`] names the first that makes no sense.
    pub fn check(&self) -> Result<(), LocalityConfigError> {
        let by = self.by();
        if !matches!(self, Self::Weights(_) | Self::ClientRegion(_)) && !by.is_told_by(self.own()) {
            return Err(LocalityConfigError::NoOwnZone(by.name()));
        }
        unique("callers", by, self.callers().iter().map(|callers| &callers.at))?;
        match self {
            Self::Weights(config) => {
                unique("weights", by, config.weights.iter().map(|zone| &zone.at))?;
                if config.others == 0 && config.weights.iter().all(|zone| zone.weight == 0) {
                    return Err(LocalityConfigError::NoWeight);
                }
                percent(config.overprovisioning_percent)
            }
            Self::LoadAware(config) => {
                let allowed = Duration::from_millis(10)..=Duration::from_secs(3600);
                if allowed.contains(&config.period) {
                    Ok(())
                } else {
                    Err(LocalityConfigError::Period(config.period))
                }
            }
            Self::Nearest(config) => {
                config.order.check()?;
                percent(config.overprovisioning_percent)
            }
            Self::ClientRegion(config) => config.check(),
            Self::Joint(config) => unique("ways", by, config.ways.iter().map(|way| &way.at)),
            Self::ZoneAware(_) | Self::EnvoyZoneAware(_) => Ok(()),
        }
    }
}

impl ClientRegionConfig {
    fn check(&self) -> Result<(), LocalityConfigError> {
        if self.regions.is_empty() {
            return Err(LocalityConfigError::NoRegions);
        }
        if let Some(nameless) = self.regions.iter().position(|region| region.name.is_empty()) {
            return Err(LocalityConfigError::NoName(nameless));
        }
        NearestRegion::new(&self.regions)?;
        if !self.own.zone().is_empty() || !self.own.sub_zone().is_empty() {
            return Err(LocalityConfigError::OwnTooFine);
        }
        if !self.own.is_empty() && self.regions.iter().all(|region| region.name != self.own.region()) {
            return Err(LocalityConfigError::UnknownOwn(self.own.region().to_owned()));
        }
        percent(self.overprovisioning_percent)
    }
}

const fn percent(percent: u32) -> Result<(), LocalityConfigError> {
    if 100 <= percent && percent <= 100_000 {
        Ok(())
    } else {
        Err(LocalityConfigError::Overprovisioning(percent))
    }
}

fn unique<'a>(
    field: &'static str,
    by: ZoneBy,
    places: impl Iterator<Item = &'a Locality>,
) -> Result<(), LocalityConfigError> {
    let mut seen = std::collections::BTreeMap::new();
    for (second, at) in places.enumerate() {
        if let Some(first) = seen.insert(by.zone(at), second) {
            return Err(LocalityConfigError::Twice { field, first, second });
        }
    }
    Ok(())
}
