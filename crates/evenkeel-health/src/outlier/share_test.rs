//! Does an endpoint fail more often than its peers, or is that chance?
//!
//! Fisher's exact test, one-sided. Suppose that the endpoint and its peers fail alike. Then, of all requests taken
//! together, each was as likely to fail as any other, and the number of failures among those of the endpoint has the
//! hypergeometric distribution. The chance of seeing as many as there are, or more, is summed up term by term:
//!
//! ```text
//! P(X = x) = C(K, x) C(N - K, n - x) / C(N, n)        N requests, K failures, n requests of the endpoint
//! P(X = x + 1) / P(X = x) = (K - x)(n - x) / ((x + 1)(N - K - n + x + 1))
//! ```
//!
//! The test assumes no distribution and no minimum of endpoints or requests; it errs to the side of not ejecting. Source:
//! R. A. Fisher, "The design of experiments", 1935.

/// The chance that an endpoint with `requests` has `failures` or more by chance alone, if it is at most `limit`.
///
/// To be asked only of an endpoint that fails more often than its peers do.
pub(super) fn chance(
    requests: u64,
    failures: u64,
    peer_requests: u64,
    peer_failures: u64,
    limit: f64,
) -> Option<f64> {
    let total = (requests + peer_requests) as f64;
    let failed = (failures + peer_failures) as f64;
    let own = requests as f64;
    let mut x = failures as f64;
    // That so many given requests all fail is one of the ways to see as many: if that alone is not rare, the sum is not.
    let each = (failed - x + 1.0) / (total - x + 1.0);
    if x * libm::log(each) > libm::log(limit) {
        return None;
    }
    let mut term =
        libm::exp(ln_choose(failed, x) + ln_choose(total - failed, own - x) - ln_choose(total, own));
    let mut sum = 0.0;
    for _ in 0..MOST_TERMS {
        sum += term;
        if sum > limit {
            return None;
        }
        let next = (failed - x) * (own - x) / ((x + 1.0) * (total - failed - own + x + 1.0));
        term *= next;
        x += 1.0;
        if term <= sum * NEGLIGIBLE {
            // Ratios fall, so the rest is less than a geometric series of this one.
            return Some(sum + if next < 1.0 { term / (1.0 - next) } else { 0.0 });
        }
    }
    None
}

fn ln_choose(n: f64, k: f64) -> f64 {
    libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
}

/// So many terms are far more than it takes where the answer is clear. Where it is not, the answer is no.
const MOST_TERMS: usize = 4096;
const NEGLIGIBLE: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_tables() {
        // The lady tasting tea: 4 of 4 right is 1 in 70.
        let tea = chance(4, 4, 4, 0, 1.0).unwrap();
        assert!((tea - 1.0 / 70.0).abs() < 1e-12, "{tea}");
        // Three of four or more: 17 in 70.
        let three = chance(4, 3, 4, 1, 1.0).unwrap();
        assert!((three - 17.0 / 70.0).abs() < 1e-12, "{three}");
        // C(20, 10) / C(40, 10).
        let ten = chance(20, 10, 20, 0, 1.0).unwrap();
        assert!((ten / (184_756.0 / 847_660_528.0) - 1.0).abs() < 1e-9, "{ten}");
        assert_eq!(chance(20, 10, 20, 0, 1e-6), None);
        assert!(chance(20, 20, 20, 0, 1e-6).is_some());
    }

    #[test]
    fn absurd_numbers_give_an_answer() {
        let most = u64::from(u32::MAX);
        assert!(chance(most, most, 10_000 * most, 0, 1e-6).is_some());
        assert_eq!(chance(most, 1, most, 1, 1e-6), None);
        assert_eq!(chance(0, 0, 0, 0, 1e-6), None);
    }
}
