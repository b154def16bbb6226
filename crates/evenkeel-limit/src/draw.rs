//! From bits to probabilities.

use evenkeel_types::RandomSource;

/// From bits to `0.0..1.0`.
pub(crate) fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

/// Whether something of this probability happens. Draws nothing where it cannot.
pub(crate) fn happens(probability: f64, draws: &mut impl RandomSource) -> bool {
    probability > 0.0 && unit(draws.next_u64()) < probability
}
