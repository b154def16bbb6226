//! Where the requests of a route go: which arm, and so which cluster.

use std::sync::Arc;

use evenkeel_route::matching::{Headers, Request};
use evenkeel_route::split::{ArmWhy, Colour, Split, SplitConfig, Stickiness};
use evenkeel_types::Timestamp;

use super::action::StaticResponse;
use super::blue_green::SharedSwitch;
use super::clusters::Clusters;
use super::error::RouterError;
use super::ramp::SharedRamp;
use super::redirect::Location;

#[derive(Debug)]
pub(crate) enum Target {
    Cluster(u32),
    Split { split: Box<Split>, clusters: Box<[u32]>, stickiness: Stickiness },
    Ramp { ramp: Arc<SharedRamp>, clusters: [u32; 2] },
    BlueGreen { switch: Arc<SharedSwitch>, clusters: [u32; 2] },
    Redirect(Location),
    Respond(Arc<StaticResponse>),
}

/// Why a request goes to a cluster and not to another one of the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ArmReason {
    /// There is no other one.
    Only,
    /// The canary of this number.
    Canary(usize),
    /// The hash of its key.
    Keyed,
    /// A draw, though keys decide: it has none.
    NoKey,
    /// A draw.
    Drawn,
    /// This colour is live.
    Live(Colour),
    /// Its user was on this colour, and is kept there for a while.
    Kept(Colour),
}

/// An arm, its cluster, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arm {
    pub(crate) arm: u32,
    pub(crate) cluster: u32,
    pub(crate) why: ArmReason,
    /// Whether the user is to be told where that is.
    pub(crate) tells: bool,
}

impl Target {
    /// A split among these clusters.
    pub(crate) fn split<T>(
        config: &SplitConfig,
        clusters: &Clusters<T>,
        field: &str,
    ) -> Result<Self, RouterError> {
        let split = Split::new(config).map_err(|error| RouterError::new(field, error))?;
        let arms = config.arms.iter().enumerate();
        let clusters =
            arms.map(|(i, arm)| clusters.find(&arm.cluster, || format!("{field}.arms[{i}].cluster")));
        Ok(Self::Split {
            clusters: clusters.collect::<Result<_, _>>()?,
            split: Box::new(split),
            stickiness: config.stickiness,
        })
    }

    /// The arm of a request, if it goes anywhere.
    pub(crate) fn choose<H: Headers + ?Sized>(
        &self,
        request: &Request<'_, H>,
        hash: Option<u64>,
        draw: u64,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<Arm> {
        let arm = |arm: usize, clusters: &[u32], why| Arm {
            arm: arm as u32,
            cluster: clusters[arm.min(clusters.len() - 1)],
            why,
            tells: false,
        };
        Some(match self {
            Self::Cluster(cluster) => arm(0, &[*cluster], ArmReason::Only),
            Self::Split { split, clusters, stickiness } => {
                let (at, why) = divide(split, *stickiness, request, hash, draw);
                arm(at, clusters, why)
            }
            Self::Ramp { ramp, clusters } => {
                let (at, why) = divide(ramp.split(now), ramp.action().stickiness, request, hash, draw);
                arm(at, clusters, why)
            }
            Self::BlueGreen { switch, clusters } => {
                let was = switch.was(request);
                let (colour, is_kept) = switch.colour(was, now);
                let why = if is_kept { ArmReason::Kept(colour) } else { ArmReason::Live(colour) };
                let at = usize::from(colour == Colour::Green);
                Arm { tells: was != Some(colour), ..arm(at, clusters, why) }
            }
            Self::Redirect(_) | Self::Respond(_) => return None,
        })
    }

    /// How many arms there are.
    pub(crate) fn arms(&self) -> &[u32] {
        match self {
            Self::Cluster(cluster) => std::slice::from_ref(cluster),
            Self::Split { clusters, .. } => clusters,
            Self::Ramp { clusters, .. } | Self::BlueGreen { clusters, .. } => clusters,
            Self::Redirect(_) | Self::Respond(_) => &[],
        }
    }
}

/// A request without a key is drawn: by a hash of nothing, all of them would go to one arm.
fn divide<H: Headers + ?Sized>(
    split: &Split,
    stickiness: Stickiness,
    request: &Request<'_, H>,
    hash: Option<u64>,
    draw: u64,
) -> (usize, ArmReason) {
    let Request { method, host, path, query, headers, listener, .. } = *request;
    let keyed = Request { method, host, path, query, headers, listener, hash: hash.unwrap_or(draw) };
    let chosen = split.choose(&keyed, draw);
    let why = match (chosen.why, stickiness) {
        (ArmWhy::Canary(canary), _) => ArmReason::Canary(canary),
        (ArmWhy::Keyed, Stickiness::Keyed) if hash.is_none() => ArmReason::NoKey,
        (ArmWhy::Keyed, _) => ArmReason::Keyed,
        (ArmWhy::Drawn, _) => ArmReason::Drawn,
    };
    (chosen.arm, why)
}
