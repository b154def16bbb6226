//! Latencies on a logarithmic scale, in whole steps, so that they can be added up in a word.

use std::time::Duration;

/// Steps in a doubling: a step is 1.1 %.
pub(super) const STEPS: f64 = 64.0;

/// 64 times the binary logarithm of the nanoseconds, rounded down; right to one step. Less than 4,096.
///
/// The bits below the leading one are the mantissa `m`, and `log2(1 + m)` is `m + 0.3466 m (1 - m)` to within 0.01.
pub(super) fn steps(latency: Duration) -> u64 {
    let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1);
    let zeros = nanos.leading_zeros();
    let exponent = u64::from(63 - zeros);
    let mantissa = (nanos << zeros << 1) >> 48;
    let bulge = (((mantissa * (0x1_0000 - mantissa)) >> 16) * 22_713) >> 16;
    (exponent << 6) + ((mantissa + bulge) >> 10).min(63)
}

/// What a distance in steps is as a ratio of latencies.
pub(super) fn ratio(steps: f64) -> f64 {
    libm::exp2(steps / STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_64th_of_a_doubling() {
        for nanos in (3..60).flat_map(|bit| [8_u64 << bit, 12 << bit, 15 << bit].map(|nanos| nanos >> 3)) {
            let exact = STEPS * libm::log2(nanos.max(1) as f64);
            let ours = steps(Duration::from_nanos(nanos)) as f64;
            assert!((ours - exact).abs() <= 1.6, "{nanos}: {ours} beside {exact}");
        }
        assert_eq!(steps(Duration::ZERO), 0);
        assert!(steps(Duration::MAX) < 4096);
        assert!((ratio(64.0) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn more_is_never_less() {
        let mut last = 0;
        for nanos in (1..2_000_000_u64).step_by(37) {
            let now = steps(Duration::from_nanos(nanos));
            assert!(now >= last, "{nanos}");
            last = now;
        }
    }
}
