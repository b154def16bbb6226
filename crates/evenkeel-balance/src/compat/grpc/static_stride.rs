/// The schedule of gRPC's `weighted_round_robin`: a counter walks round the endpoints, and each lets some of the rounds
/// pass, at a stride that its weight gives.
///
/// Weights are scaled so that the largest is 65 535. In round g the endpoint b takes its turn iff
/// (weight × g + b × 32 767) mod 65 535 is at least 65 535 − weight: so the heaviest always does, one of half the weight
/// every other time, and the added offset keeps equal ones from passing together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticStride {
    /// 1 to 65 535 each.
    weights: Vec<u16>,
}

impl StaticStride {
    /// The schedule of these weights. Those that are not positive count as the mean of the others.
    ///
    /// `None` if fewer than two are positive, or all come out equal: gRPC then picks in turn.
    #[must_use]
    pub fn new(weights: &[f32]) -> Option<Self> {
        let positive: Vec<f64> = weights
            .iter()
            .filter(|&&weight| weight > 0.0 && weight.is_finite())
            .map(|&w| f64::from(w))
            .collect();
        if positive.len() < 2 {
            return None;
        }
        let largest = positive.iter().copied().fold(0.0, f64::max);
        let scale = f64::from(MOST) / largest;
        let mean = round(positive.iter().sum::<f64>() / positive.len() as f64 * scale);
        let scaled = |&weight: &f32| {
            if weight > 0.0 && weight.is_finite() { round(f64::from(weight) * scale) } else { mean }
        };
        let weights: Vec<u16> = weights.iter().map(scaled).collect();
        weights.iter().any(|&weight| weight != weights[0]).then_some(Self { weights })
    }

    /// The endpoint whose turn it is; `next` gives the numbers of one counter in turn, which may wrap.
    ///
    /// Asks as many numbers as the largest weight over the mean one, on average.
    pub fn pick(&self, mut next: impl FnMut() -> u32) -> usize {
        loop {
            let number = u64::from(next());
            let count = self.weights.len() as u64;
            let (round, endpoint) = (number / count, number % count);
            let weight = u64::from(self.weights[endpoint as usize]);
            // The heaviest takes every turn, so the loop ends within one round.
            if (weight * round + endpoint * u64::from(MOST / 2)) % u64::from(MOST) >= u64::from(MOST) - weight
            {
                return endpoint as usize;
            }
        }
    }

    /// The scaled weights.
    #[must_use]
    pub fn weights(&self) -> &[u16] {
        &self.weights
    }
}

const MOST: u16 = u16::MAX;

/// To the nearest whole number, and at least one, so that nobody is lost.
fn round(weight: f64) -> u16 {
    (weight + 0.5).clamp(1.0, f64::from(MOST)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picks(weights: &[f32], start: u32, count: usize) -> Vec<usize> {
        let stride = StaticStride::new(weights).unwrap();
        let mut counter = start.wrapping_sub(1);
        let mut next = || {
            counter = counter.wrapping_add(1);
            counter
        };
        (0..count).map(|_| stride.pick(&mut next)).collect()
    }

    #[test]
    fn known_schedules() {
        let text = |picks: Vec<usize>| picks.iter().map(ToString::to_string).collect::<String>();
        assert_eq!(text(picks(&[1.0, 2.0, 5.0], 0, 16)), "2122120221221202");
        assert_eq!(StaticStride::new(&[1.0, 2.0, 5.0]).unwrap().weights(), [13_107, 26_214, 65_535]);
        let letters: String =
            picks(&[5.0, 1.0, 1.0], 0, 14).iter().map(|&pick| char::from(b'a' + pick as u8)).collect();
        assert_eq!(letters, "acaabaaacaabaa");
    }

    #[test]
    fn without_two_different_weights_there_is_no_schedule() {
        for weights in [&[][..], &[1.0], &[1.0, 0.0], &[f32::NAN, 1.0, -1.0], &[3.0, 3.0], &[3.0, 3.0, 0.0]] {
            assert_eq!(StaticStride::new(weights), None, "{weights:?}");
        }
    }

    #[test]
    fn an_unknown_weight_counts_as_the_mean() {
        assert_eq!(StaticStride::new(&[1.0, 3.0, 0.0]).unwrap().weights(), [21_845, 65_535, 43_690]);
    }

    proptest! {
        #[test]
        fn shares_follow_the_weights(weights in prop::collection::vec(1_u8..20, 2..12), start: u32) {
            let floats: Vec<f32> = weights.iter().map(|&weight| f32::from(weight)).collect();
            if StaticStride::new(&floats).is_some() {
                let total: usize = weights.iter().map(|&weight| usize::from(weight)).sum();
                // Far enough from the wrap of the counter, which jumps once in 2^32 numbers.
                let picks = picks(&floats, start / 2, total * 40);
                for (endpoint, &weight) in weights.iter().enumerate() {
                    let count = picks.iter().filter(|&&pick| pick == endpoint).count();
                    prop_assert!(count.abs_diff(usize::from(weight) * 40) <= 2 + weights.len(), "{count} of {weight}");
                }
            }
        }

        #[test]
        fn no_weights_break_it(weights: Vec<f32>, start: u32) {
            if let Some(stride) = StaticStride::new(&weights) {
                let mut counter = start;
                for _ in 0..100 {
                    stride.pick(|| { counter = counter.wrapping_add(1); counter });
                }
            }
        }
    }
}
