//! Means over seeds, and how far they can be trusted.

use serde::Serialize;

/// A mean with its 95 % interval by Student's t: with few seeds wider than the normal one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// The lower end; minus infinity where there is a single value, which says nothing of the spread.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Of these values; `None` for none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        if values.len() == 1 {
            return Some(Self { mean, low: f64::NEG_INFINITY, high: f64::INFINITY });
        }
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let half = student(values.len() - 1) * (squares / (count - 1.0) / count).sqrt();
        Some(Self { mean, low: mean - half, high: mean + half })
    }

    /// Whether all of it lies on one side of a value.
    #[must_use]
    pub fn excludes(&self, value: f64) -> bool {
        value < self.low || value > self.high
    }
}

/// The 97.5 % quantile of Student's t. Exact up to 30 degrees of freedom; beyond, the expansion by Cornish and Fisher.
#[must_use]
pub fn student(degrees: usize) -> f64 {
    match degrees.checked_sub(1).and_then(|index| STUDENT.get(index)) {
        Some(&quantile) => quantile,
        None if degrees == 0 => f64::INFINITY,
        None => {
            let n = degrees as f64;
            let z = 1.959_964;
            let z3 = z * z * z;
            z + (z3 + z) / (4.0 * n) + (5.0 * z3 * z * z + 16.0 * z3 + 3.0 * z) / (96.0 * n * n)
        }
    }
}

const STUDENT: [f64; 30] = [
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604,
    2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555,
    2.0518, 2.0484, 2.0452, 2.0423,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_textbook() {
        let interval = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert!((interval.mean - 3.0).abs() < 1e-12);
        // 2.7764 × sqrt(2.5 / 5)
        assert!((interval.high - 3.0 - 1.9632).abs() < 1e-3, "{interval:?}");
        assert!(interval.excludes(1.0) && !interval.excludes(1.1));
        assert_eq!(Interval::of(&[]), None);
        let one = Interval::of(&[7.0]).unwrap();
        assert!(one.mean == 7.0 && !one.excludes(0.0), "{one:?}");
    }

    #[test]
    fn quantiles_fall_to_the_normal_one() {
        assert!((student(60) - 2.0003).abs() < 1e-3);
        assert!((student(1_000_000) - 1.96).abs() < 1e-4);
        assert!((1..200).all(|n| student(n) > student(n + 1)));
    }
}
