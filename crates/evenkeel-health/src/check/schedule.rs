//! Waits and offsets.

use std::time::Duration;

use evenkeel_types::{RandomSource, Ratio, SplitMix64};

/// When the first check of an endpoint runs, within the first interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartOffset {
    /// At a drawn moment: right where endpoints come one by one.
    #[default]
    Drawn,
    /// At `place / of` of it: a whole set of `of` endpoints is checked at even distances, without the lumps that draws
    /// have. Places from `of` on begin anew.
    ///
    /// HAProxy spreads its servers so at the start. Several checkers with the same set should begin at drawn moments
    /// of their own, or each endpoint hears from all of them at once.
    Even {
        /// The place of this endpoint, from 0.
        place: u32,
        /// How many there are; 0 counts as 1.
        of: u32,
    },
}

impl StartOffset {
    /// The offset within `interval`.
    pub(super) fn within(self, interval: Duration, draws: &mut SplitMix64) -> Duration {
        match self {
            Self::Drawn => drawn_below(interval, draws),
            Self::Even { place, of } => {
                let (place, of) = (u128::from(place % of.max(1)), u128::from(of.max(1)));
                Duration::from_nanos((u128::from(whole_nanos(interval)) * place / of) as u64)
            }
        }
    }
}

/// `interval` moved by a uniform draw from `-jitter ..= +jitter` of itself; never zero.
pub(super) fn jittered(interval: Duration, jitter: Ratio, draws: &mut SplitMix64) -> Duration {
    let spread = share_of(interval, jitter);
    (interval - spread).saturating_add(drawn_below(spread.saturating_mul(2), draws))
}

/// `share` of `duration`, in whole nanoseconds; durations above 584 years count as that.
pub(super) fn share_of(duration: Duration, share: Ratio) -> Duration {
    let part = u128::from(whole_nanos(duration)) * u128::from(share.parts_per_million()) / 1_000_000;
    Duration::from_nanos(part as u64)
}

/// A uniform draw from `0 .. limit`, in nanoseconds.
fn drawn_below(limit: Duration, draws: &mut SplitMix64) -> Duration {
    let drawn = (u128::from(draws.next_u64()) * u128::from(whole_nanos(limit))) >> 64;
    Duration::from_nanos(drawn as u64)
}

fn whole_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_offsets_are_even() {
        let mut draws = SplitMix64::new(1);
        let mut at = |place, of| {
            StartOffset::Even { place, of }.within(Duration::from_secs(2), &mut draws).as_millis()
        };
        assert_eq!([at(0, 4), at(1, 4), at(2, 4), at(3, 4), at(4, 4)], [0, 500, 1_000, 1_500, 0]);
        assert_eq!([at(0, 0), at(u32::MAX, 0), at(u32::MAX - 1, u32::MAX)], [0, 0, 1_999]);
    }
}
