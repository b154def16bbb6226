//! Slow starts of many endpoints at once.

use super::config::Ramp;

/// The usable endpoints of one tier, added up, to see what the slow starts among them do to the others.
///
/// ```
/// use evenkeel_health::{Crowd, Ramp, SlowStartConfig};
///
/// // Two of four endpoints are back, at a tenth of their share each.
/// let crowd = [1.0, 1.0, 0.1, 0.1].into_iter().fold(Crowd::default(), |crowd, factor| crowd.with(1.0, factor));
/// assert!((crowd.boost() - 1.818).abs() < 0.001);
///
/// // With at most 1.25 of their share for the others, those two have to take more.
/// let ramp = Ramp::new(SlowStartConfig { max_boost: 1.25, ..SlowStartConfig::default() })?;
/// let lift = ramp.lift(&crowd);
/// assert!((Ramp::lifted(0.1, lift) - 0.6).abs() < 1e-9);
/// # Ok::<(), evenkeel_health::SlowStartConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Crowd {
    weight: f64,
    effective: f64,
}

impl Crowd {
    /// With one more endpoint, of this weight and slow start factor. Weights that are no positive number count as zero,
    /// factors are kept within 0 and 1.
    #[must_use]
    pub fn with(self, weight: f64, factor: f64) -> Self {
        let weight = if weight.is_finite() && weight > 0.0 { weight } else { 0.0 };
        let factor = if factor.is_nan() { 1.0 } else { factor.clamp(0.0, 1.0) };
        Self { weight: self.weight + weight, effective: self.effective + weight * factor }
    }

    /// By how much the share of an endpoint that is warm has grown: 1 if none is warming up, infinite if nobody takes
    /// anything.
    #[must_use]
    pub fn boost(&self) -> f64 {
        if self.weight <= 0.0 { 1.0 } else { (self.weight / self.effective).max(1.0) }
    }
}

impl Ramp {
    /// How far the factors of a crowd have to be lifted towards 1, so that nobody's share grows by more than `max_boost`:
    /// from 0 (not at all) to 1 (as if nobody were warming up).
    ///
    /// With total weight `W` and effective weight `F`, lifting every factor `f` to `f + lift (1 - f)` makes `F` into
    /// `F + lift (W - F)`, and `W` over that is the boost: hence `lift = (W / max_boost - F) / (W - F)`.
    #[must_use]
    pub fn lift(&self, crowd: &Crowd) -> f64 {
        let missing = crowd.weight - crowd.effective;
        if missing <= 0.0 {
            return 0.0;
        }
        ((crowd.weight / self.config().max_boost - crowd.effective) / missing).clamp(0.0, 1.0)
    }

    /// A factor, lifted.
    #[must_use]
    pub fn lifted(factor: f64, lift: f64) -> f64 {
        (factor + lift * (1.0 - factor)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SlowStartConfig;

    fn crowd(members: &[(f64, f64)]) -> Crowd {
        members.iter().fold(Crowd::default(), |crowd, &(weight, factor)| crowd.with(weight, factor))
    }

    #[test]
    fn the_boost_is_kept_to_its_bound() {
        let ramp =
            |max_boost| Ramp::new(SlowStartConfig { max_boost, ..SlowStartConfig::default() }).unwrap();
        for members in [
            &[(1.0, 1.0), (1.0, 0.1)][..],
            &[(1.0, 1.0), (1.0, 0.1), (1.0, 0.2), (1.0, 0.1)],
            &[(3.0, 1.0), (97.0, 0.1)],
            &[(1.0, 0.0), (1.0, 0.0)],
        ] {
            for max_boost in [1.0, 1.5, 2.0, 1000.0] {
                let before = crowd(members);
                let lift = ramp(max_boost).lift(&before);
                let after = members.iter().map(|&(weight, f)| (weight, Ramp::lifted(f, lift)));
                let after = crowd(&after.collect::<Vec<_>>());
                assert!(after.boost() <= max_boost * (1.0 + 1e-12), "{members:?} {max_boost}: {after:?}");
                assert_eq!(lift > 0.0, before.boost() > max_boost, "{members:?} {max_boost}");
            }
        }
    }

    #[test]
    fn nonsense_is_harmless() {
        let odd = crowd(&[(f64::NAN, 0.5), (f64::INFINITY, 0.5), (-1.0, 2.0), (1.0, f64::NAN)]);
        assert_eq!(odd.boost(), 1.0);
        assert_eq!(Crowd::default().boost(), 1.0);
        let ramp = Ramp::new(SlowStartConfig::default()).unwrap();
        assert_eq!(ramp.lift(&Crowd::default()), 0.0);
    }
}
