/// The schedule of gRPC's `weighted_round_robin`: a counter walks round the endpoints, and each lets some of the rounds
/// pass, at a stride that its weight gives.
///
/// Weights are scaled so that the largest is 65 535. In round g the endpoint b takes its turn iff
/// (weight × g + b × 32 767) mod 65 535 is at least 65 535 − weight: so the heaviest always does, one of half the weight
/// every other time, and the added offset keeps equal ones from passing together. Weights above ten times the mean count
/// as that, and those below a hundredth of it as that: so a pick asks ten endpoints at most, on average.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticStride {
    /// 1 to 65 535 each.
    weights: Vec<u16>,
}

impl StaticStride {
    /// The schedule of these weights. Those that are not known, that is zero, count as the mean of the others; and so do
    /// those that are no weights: negative, infinite or no numbers.
    ///
    /// `None` for fewer than two endpoints, and if no weight is known: gRPC then picks in turn.
    #[must_use]
    pub fn new(weights: &[f32]) -> Option<Self> {
        let is_known = |weight: f32| weight > 0.0 && weight.is_finite();
        let known: Vec<f32> = weights.iter().copied().filter(|&weight| is_known(weight)).collect();
        if weights.len() < 2 || known.is_empty() {
            return None;
        }
        let mean = known.iter().copied().map(f64::from).sum::<f64>() / known.len() as f64;
        let mut largest = known.iter().copied().fold(0.0, f32::max);
        if f64::from(largest) / mean > MOST_OVER_MEAN {
            largest = (MOST_OVER_MEAN * mean) as f32;
        }
        // In single precision first, as in gRPC.
        let scale = f64::from(f32::from(MOST) / largest);
        let scaled_mean = (scale * mean).round() as u16;
        let least = ((f64::from(scaled_mean) * LEAST_OVER_MEAN).round() as u16).max(1);
        let scaled = |&weight: &f32| match is_known(weight) {
            true => ((f64::from(weight.min(largest)) * scale).round() as u16).max(least),
            false => scaled_mean.max(1),
        };
        Some(Self { weights: weights.iter().map(scaled).collect() })
    }

    /// The endpoint whose turn it is; `next` gives the numbers of one counter in turn, which may wrap.
    ///
    /// Asks as many numbers as the largest weight over the mean one, on average: ten at most.
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
/// What is more than so many times the mean is cut down to that.
const MOST_OVER_MEAN: f64 = 10.0;
/// What is less than this part of the mean is raised to that.
const LEAST_OVER_MEAN: f64 = 0.01;

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
    fn without_two_endpoints_or_a_known_weight_there_is_no_schedule() {
        for weights in [&[][..], &[1.0], &[0.0, 0.0], &[f32::NAN, -1.0, f32::INFINITY]] {
            assert_eq!(StaticStride::new(weights), None, "{weights:?}");
        }
        assert_eq!(picks(&[3.0, 3.0, 0.0], 4, 4), [1, 2, 0, 1], "equal ones go in turn");
    }

    #[test]
    fn unknown_weights_count_as_the_mean_and_extreme_ones_are_cut() {
        let weights = |weights: &[f32]| StaticStride::new(weights).unwrap().weights().to_vec();
        assert_eq!(weights(&[1.0, 3.0, 0.0]), [21_845, 65_535, 43_690]);
        let mut light = vec![1.0; 99];
        light.push(1901.0);
        // The mean is 20, ten times that the most, a hundredth of that the least.
        assert_eq!(weights(&light)[98..], [328, 65_535]);
        light[0] = 0.001;
        assert_eq!(weights(&light)[0], 66);
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
