use evenkeel_types::Ratio;
use smallvec::SmallVec;

/// All requests: shares are parts of this.
pub const ONE: u64 = 1 << 32;

/// The endpoints of a tier, counted, or their weights summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TierHealth {
    /// All that count: draining ones do not.
    pub total: u64,
    /// Those that are plainly usable.
    pub usable: u64,
    /// Those that are degraded. `usable + degraded` is at most `total`; more counts as all.
    pub degraded: u64,
}

/// What a tier gets, in parts of [`ONE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TierShare {
    /// For its usable endpoints.
    pub usable: u64,
    /// For its degraded ones.
    pub degraded: u64,
    /// Whether it is in panic.
    pub panic: bool,
}

/// What all tiers get. The shares add up to [`ONE`], unless there are no endpoints at all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TierLoads {
    tiers: SmallVec<[TierShare; 4]>,
    situation: Situation,
}

/// How the tiers stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Situation {
    /// They can take all requests.
    Enough,
    /// They cannot, and each gets more than it should.
    Short,
    /// No endpoint is usable.
    NothingUsable,
    /// There is no endpoint.
    Empty,
}

/// The tier of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TierPick {
    /// Its number.
    pub tier: usize,
    /// Whether one of its degraded endpoints shall serve.
    pub degraded: bool,
    /// Whether it is in panic.
    pub panic: bool,
}

impl TierLoads {
    /// The shares of the tiers.
    #[must_use]
    pub fn tiers(&self) -> &[TierShare] {
        &self.tiers
    }

    /// How they stand together.
    #[must_use]
    pub const fn situation(&self) -> Situation {
        self.situation
    }

    /// These shares in another order: at `i` what was at the `i`-th of `before`, or nothing.
    pub(crate) fn rearranged(&self, before: impl Iterator<Item = Option<usize>>) -> Self {
        let share = |before: Option<usize>| before.and_then(|tier| self.tiers.get(tier).copied());
        Self {
            tiers: before.map(|tier| share(tier).unwrap_or_default()).collect(),
            situation: self.situation,
        }
    }

    /// The tier for 64 uniform bits: a draw, or for hash policies the request's hash, mixed.
    ///
    /// The usable parts of all tiers come first, then the degraded ones, as in Envoy.
    #[inline]
    #[must_use]
    pub fn pick(&self, draw: u64) -> Option<TierPick> {
        let mut left = draw >> 32;
        for degraded in [false, true] {
            for (tier, share) in self.tiers.iter().enumerate() {
                let part = if degraded { share.degraded } else { share.usable };
                if left < part {
                    return Some(TierPick { tier, degraded, panic: share.panic });
                }
                left -= part;
            }
        }
        None
    }

    /// The same without the tiers that were tried already: what they would get is divided among the others as these stand to
    /// each other. With nothing left, all count again.
    #[must_use]
    pub fn pick_elsewhere(&self, draw: u64, is_tried: impl Fn(usize) -> bool) -> Option<TierPick> {
        let share =
            |tier: usize, share: &TierShare| if is_tried(tier) { 0 } else { share.usable + share.degraded };
        let total: u64 = self.tiers.iter().enumerate().map(|(tier, each)| share(tier, each)).sum();
        if total == 0 {
            return self.pick(draw);
        }
        let mut left = ((u128::from(draw) * u128::from(total)) >> 64) as u64;
        for degraded in [false, true] {
            for (tier, share) in self.tiers.iter().enumerate().filter(|(tier, _)| !is_tried(*tier)) {
                let part = if degraded { share.degraded } else { share.usable };
                if left < part {
                    return Some(TierPick { tier, degraded, panic: share.panic });
                }
                left -= part;
            }
        }
        None
    }
}

/// What each tier gets, if nothing is held back: a tier takes as much as its usable endpoints can bear, and what is over goes
/// to the next. Nothing is rounded to percents, so the loss of an endpoint moves that endpoint's worth and no more.
///
/// | | P0 | P1 | goes to P0 | P1 |
/// |---|---|---|---|---|
/// | 10 endpoints each | 10 usable | 10 usable | all | – |
/// | | 8 | 10 | all (112 %) | – |
/// | | 7 | 10 | 98 % | 2 % |
/// | | 6 | 10 | 84 % | 16 % |
/// | | 3 | 3 | 50 % (42 of 84) | 50 % |
///
/// ```
/// use evenkeel_route::failover::{ONE, FailoverConfig, TierHealth, spill};
///
/// let tier = |usable| TierHealth { total: 10, usable, degraded: 0 };
/// let loads = spill(&[tier(6), tier(10)], &FailoverConfig::default());
/// assert_eq!(loads.tiers()[0].usable, ONE * 84 / 100);
/// assert_eq!(loads.tiers()[1].usable, ONE - ONE * 84 / 100);
/// ```
#[must_use]
pub fn spill(tiers: &[TierHealth], config: &super::FailoverConfig) -> TierLoads {
    let capacities: SmallVec<[u64; 4]> =
        tiers.iter().map(|tier| capacity(tier.usable, tier.total, config.overprovisioning_percent)).collect();
    share_out(tiers, &capacities, &capacities, config)
}

/// How much of all requests `part` of `total` endpoints can take.
pub(crate) fn capacity(part: u64, total: u64, overprovisioning_percent: u32) -> u64 {
    let can = u128::from(part.min(total)) * u128::from(overprovisioning_percent) * u128::from(ONE) / 100;
    can.checked_div(u128::from(total)).map_or(0, |can| can.min(u128::from(ONE)) as u64)
}

/// Fills the tiers in order, first with what is allowed, then with what is held back, then the degraded endpoints.
pub(crate) fn share_out(
    tiers: &[TierHealth],
    allowed: &[u64],
    capacities: &[u64],
    config: &super::FailoverConfig,
) -> TierLoads {
    let mut shares: SmallVec<[TierShare; 4]> = SmallVec::from_elem(TierShare::default(), tiers.len());
    let mut left = ONE;
    let mut take = |can: u64| {
        let taken = can.min(left);
        left -= taken;
        taken
    };
    shares.iter_mut().zip(allowed).for_each(|(share, &can)| share.usable = take(can));
    let held_back =
        allowed.iter().zip(capacities).map(|(allowed, capacity)| capacity.saturating_sub(*allowed));
    shares.iter_mut().zip(held_back).for_each(|(share, can)| share.usable += take(can));
    for (share, tier) in shares.iter_mut().zip(tiers) {
        let degraded = tier.degraded.min(tier.total.saturating_sub(tier.usable));
        share.degraded = take(capacity(degraded, tier.total, config.overprovisioning_percent));
    }
    let situation = if left == 0 {
        Situation::Enough
    } else if left < ONE {
        stretch(&mut shares, ONE - left);
        Situation::Short
    } else if let Some(first) = tiers.iter().position(|tier| tier.total > 0) {
        shares[first].usable = ONE;
        Situation::NothingUsable
    } else {
        Situation::Empty
    };
    if situation != Situation::Enough {
        for (share, tier) in shares.iter_mut().zip(tiers) {
            share.panic = is_below(tier, config.panic_threshold);
        }
    }
    TierLoads { tiers: shares, situation }
}

/// Draws shares that add up to `sum` out to [`ONE`], each by the same factor.
fn stretch(shares: &mut [TierShare], sum: u64) {
    let mut left = ONE;
    let mut grow = |part: &mut u64| {
        *part = (u128::from(*part) * u128::from(ONE) / u128::from(sum)) as u64;
        left -= *part;
    };
    shares.iter_mut().for_each(|share| {
        grow(&mut share.usable);
        grow(&mut share.degraded);
    });
    // At most a few parts of 2^32, to the largest: nothing else would get its first request by rounding.
    let parts = shares.iter_mut().flat_map(|share| [&mut share.usable, &mut share.degraded]);
    if let Some(largest) = parts.max_by_key(|part| **part) {
        *largest += left;
    }
}

pub(crate) fn is_below(tier: &TierHealth, threshold: Ratio) -> bool {
    !threshold.is_reached_by(tier.usable.saturating_add(tier.degraded).min(tier.total), tier.total)
}
