//! Zones of endpoints, and the cut of a tier into them.
//!
//! As the subset, zones are a step of every plan: each zone of a tier is a tier of its own in the snapshot, with its own policy
//! and masks. Picks know groups and shares, and nothing of places.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_types::Locality;

use crate::error::ApplyError;
use crate::locality_config::{LocalityConfig, ZoneBy};
use crate::snapshot::Part;
use crate::update::{Pending, Row, TierPlan};

/// Where the endpoints of a group stand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) at: Locality,
    /// Of its name, equal in the whole fleet: which keys belong there.
    pub(crate) name: u64,
    pub(crate) is_home: bool,
    /// Whether it is known that it is another zone than this process's.
    pub(crate) is_away: bool,
    /// Its number among the regions that are ordered for clients.
    pub(crate) region: Option<u16>,
    /// What the way there costs, if that counts.
    pub(crate) way: Duration,
}

/// How endpoints are sorted into zones.
pub(crate) struct Zoning {
    by: ZoneBy,
    own: Locality,
    key: (u64, u64),
    regions: BTreeMap<String, u16>,
    ways: BTreeMap<Locality, Duration>,
    /// Of the ways that are not listed.
    far: Duration,
}

impl Zoning {
    pub(crate) fn new(config: &LocalityConfig, key: (u64, u64)) -> Self {
        let by = config.by();
        let (mut regions, mut ways, mut far) = (BTreeMap::new(), BTreeMap::new(), Duration::ZERO);
        match config {
            LocalityConfig::ClientRegion(config) => {
                // They have been counted when they were checked.
                regions = (0..).zip(&config.regions).map(|(i, region)| (region.name.clone(), i)).collect();
            }
            LocalityConfig::Joint(config) => {
                ways = config.ways.iter().map(|way| (by.zone(&way.at), way.cost)).collect();
                far = config.others;
            }
            _ => {}
        }
        Self { by, own: by.zone(config.own()), key, regions, ways, far }
    }

    /// The plans cut into zones: home first, then by name. Those outside the subset that are never used stay whole.
    ///
    /// # Errors
    ///
    /// [`ApplyError::TooManyZones`].
    pub(crate) fn cut<T>(
        &self,
        plans: Vec<TierPlan<T>>,
        pending: &Pending,
    ) -> Result<Vec<TierPlan<T>>, ApplyError> {
        let mut known: BTreeMap<Locality, Arc<Zone>> = BTreeMap::new();
        let mut cut = Vec::with_capacity(plans.len());
        for plan in plans {
            if plan.part == Part::Parked || plan.nodes.is_empty() {
                cut.push(plan);
                continue;
            }
            let mut zones: BTreeMap<(bool, Locality), Vec<Row<T>>> = BTreeMap::new();
            for (node, &weight) in plan.nodes.iter().zip(plan.weights.iter()) {
                let at = match pending.get(&node.live.token) {
                    Some(endpoint) => self.zone(endpoint.locality()),
                    None => self.zone(node.live.description().locality()),
                };
                let row = (Arc::clone(node), plan.priority, weight);
                zones.entry((!self.is_home(&at), at)).or_default().push(row);
            }
            for ((_, at), rows) in zones {
                if !known.contains_key(&at) && known.len() == MOST_ZONES {
                    return Err(ApplyError::TooManyZones { max: MOST_ZONES });
                }
                let zone = Arc::clone(known.entry(at.clone()).or_insert_with(|| Arc::new(self.describe(at))));
                let (part, fallback) = (plan.part, plan.fallback);
                let of_zone = TierPlan::new(plan.priority, rows);
                cut.push(TierPlan { part, fallback, zone: Some(zone), ..of_zone });
            }
        }
        Ok(cut)
    }

    fn zone(&self, at: Option<&Locality>) -> Locality {
        at.map_or_else(Locality::default, |at| self.by.zone(at))
    }

    /// What is not known of two places does not make them one.
    fn is_home(&self, at: &Locality) -> bool {
        !self.own.is_empty() && *at == self.own
    }

    fn describe(&self, at: Locality) -> Zone {
        let mut hasher = siphasher::sip::SipHasher13::new_with_keys(self.key.0, self.key.1);
        for part in [at.region(), at.zone(), at.sub_zone()] {
            hasher.write(part.as_bytes());
            hasher.write_u8(0xff);
        }
        let is_home = self.is_home(&at);
        let is_away = !is_home && !self.own.is_empty() && !at.is_empty();
        let region = self.regions.get(at.region()).copied();
        let way = match self.ways.get(&at) {
            _ if is_home => Duration::ZERO,
            Some(&listed) => listed,
            None => self.far,
        };
        Zone { name: hasher.finish(), is_home, is_away, region, way, at }
    }
}

/// Each is a policy of its own in every tier: more are rather names of hosts.
const MOST_ZONES: usize = 256;
