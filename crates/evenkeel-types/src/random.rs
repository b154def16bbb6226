/// Where draws come from: one method, implemented by every closure that returns a `u64`.
///
/// Nothing in evenkeel below the façade draws by itself, so a test can script each draw and a production sequence can
/// be replayed.
///
/// ```
/// use evenkeel_types::{RandomSource, SplitMix64};
///
/// let mut scripted = [7_u64, 3].into_iter();
/// let mut source = || scripted.next().unwrap_or(0);
/// assert_eq!(source.next_u64(), 7);
///
/// // The same seed gives the same sequence on every platform.
/// assert_eq!(SplitMix64::new(42).next_u64(), SplitMix64::new(42).next_u64());
/// ```
pub trait RandomSource {
    /// The next 64 uniformly distributed bits.
    fn next_u64(&mut self) -> u64;
}

impl<F: FnMut() -> u64> RandomSource for F {
    #[inline]
    fn next_u64(&mut self) -> u64 {
        self()
    }
}

/// Sebastiano Vigna's SplitMix64: a counter and a mixing function, about a nanosecond a draw.
///
/// Not for secrets. It is chosen because its whole state is one word (it fits an atomic), every seed is a good seed,
/// and two generators whose seeds differ in one bit do not correlate. Source: Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014; constants of the public-domain reference at
/// <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// What the state grows by at each draw: the golden ratio, as an odd 64-bit number.
    pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// A generator that starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The output that belongs to a state: what a holder of the bare counter needs.
    #[inline]
    #[must_use]
    pub const fn mix(state: u64) -> u64 {
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl RandomSource for SplitMix64 {
    #[inline]
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        Self::mix(self.0)
    }
}

/// Wang Yi's wyrand: a counter and one wide multiplication, about half a nanosecond a draw.
///
/// Not for secrets. It is what the façade draws with: its whole state is one word, and a draw has the shortest chain of
/// dependent instructions of all generators that pass BigCrush and PractRand. Its output is not a permutation of its
/// state, so of all 64-bit values some never appear, which no pick can notice. Source:
/// <https://github.com/wangyi-fudan/wyhash> (public domain), with the constants of its final version 4.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WyRand(u64);

impl WyRand {
    /// What the state grows by at each draw.
    pub const STEP: u64 = 0x2d35_8dcc_aa6c_78a5;

    /// A generator that starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The output that belongs to a state: what a holder of the bare counter needs.
    #[inline]
    #[must_use]
    pub const fn mix(state: u64) -> u64 {
        let product = state as u128 * (state ^ 0x8bb8_4b93_962e_acc9) as u128;
        (product >> 64) as u64 ^ product as u64
    }
}

impl RandomSource for WyRand {
    #[inline]
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        Self::mix(self.0)
    }
}

/// Maps 32 uniform bits to `0..n` by multiplication (Lemire, "Fast random integer generation in an interval", 2019).
///
/// Without the rejection step the bias is below n / 2^32: two in a million at ten thousand endpoints. `n` zero gives
/// zero.
#[inline]
#[must_use]
pub const fn below(draw: u32, n: u32) -> u32 {
    ((draw as u64 * n as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_reference_sequence() {
        // The first outputs of the public-domain C reference for seed 1234567.
        let mut source = SplitMix64::new(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| source.next_u64()).collect();
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, expected);
    }

    #[test]
    fn wyrand_is_even_in_every_bit() {
        let mut source = WyRand::new(0);
        let mut counts = [0_u32; 64];
        for _ in 0..100_000 {
            let draw = source.next_u64();
            counts.iter_mut().enumerate().for_each(|(bit, count)| *count += (draw >> bit & 1) as u32);
        }
        // Five standard deviations of a fair coin.
        assert!(counts.iter().all(|count| count.abs_diff(50_000) < 800), "{counts:?}");
    }

    #[test]
    fn below_covers_its_range_and_stays_inside() {
        assert_eq!(below(0, 10), 0);
        assert_eq!(below(u32::MAX, 10), 9);
        assert_eq!(below(u32::MAX, 0), 0);
        assert_eq!(below(u32::MAX, u32::MAX), u32::MAX - 1);
    }
}
