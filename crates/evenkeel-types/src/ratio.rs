use thiserror::Error;

/// A share from 0 to 1, kept in parts per million, so that comparisons are exact integer arithmetic.
///
/// ```
/// use evenkeel_types::Ratio;
/// let half = Ratio::percent(50)?;
/// assert!(half.is_reached_by(5, 10));
/// assert!(!half.is_reached_by(4, 10));
/// assert!(Ratio::percent(101).is_err());
/// # Ok::<(), evenkeel_types::InvalidRatio>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "f64", into = "f64")
)]
pub struct Ratio(u32);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One half.
    pub const HALF: Self = Self(PARTS / 2);
    /// All of it.
    pub const ONE: Self = Self(PARTS);

    /// `percent` hundredths.
    ///
    /// # Errors
    ///
    /// [`InvalidRatio`] above 100.
    pub const fn percent(percent: u32) -> Result<Self, InvalidRatio> {
        if percent <= 100 { Ok(Self(percent * (PARTS / 100))) } else { Err(InvalidRatio) }
    }

    /// The share `value`, rounded to a millionth.
    ///
    /// # Errors
    ///
    /// [`InvalidRatio`] unless `0.0 <= value <= 1.0`; NaN is refused.
    pub fn new(value: f64) -> Result<Self, InvalidRatio> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self((value * f64::from(PARTS) + 0.5) as u32))
        } else {
            Err(InvalidRatio)
        }
    }

    /// Parts per million.
    #[must_use]
    pub const fn parts_per_million(self) -> u32 {
        self.0
    }

    /// The share as a number from 0 to 1.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(PARTS)
    }

    /// Whether `part` of `whole` is at least this share. Exact; `0 of 0` reaches only zero.
    #[must_use]
    pub const fn is_reached_by(self, part: u64, whole: u64) -> bool {
        if whole == 0 {
            return self.0 == 0;
        }
        part as u128 * PARTS as u128 >= self.0 as u128 * whole as u128
    }
}

impl TryFrom<f64> for Ratio {
    type Error = InvalidRatio;

    fn try_from(value: f64) -> Result<Self, InvalidRatio> {
        Self::new(value)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.as_f64()
    }
}

/// The number is not a share: allowed are 0 to 1, or 0 to 100 percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a ratio: allowed are 0.0 to 1.0, or 0 to 100 percent")]
pub struct InvalidRatio;

const PARTS: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_share() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.000_001, 1.000_001] {
            assert_eq!(Ratio::new(value), Err(InvalidRatio), "{value}");
        }
        assert_eq!(Ratio::new(0.0), Ok(Ratio::ZERO));
        assert_eq!(Ratio::new(1.0), Ok(Ratio::ONE));
        assert_eq!(Ratio::new(0.5), Ok(Ratio::HALF));
    }

    #[test]
    fn comparison_is_exact_and_inclusive() {
        let third = Ratio::new(1.0 / 3.0).unwrap();
        assert!(third.is_reached_by(1, 3));
        assert!(Ratio::ONE.is_reached_by(u64::MAX, u64::MAX));
        assert!(!Ratio::ONE.is_reached_by(u64::MAX - 1, u64::MAX));
        assert!(Ratio::ZERO.is_reached_by(0, 0));
        assert!(!Ratio::HALF.is_reached_by(0, 0));
    }
}
