use crate::compat::envoy::{Ring, RingFunction, RingSizes, Weighted, WeightsTooLarge, shares};

/// gRPC's `ring_hash`: Envoy's ring, but small, and built once for all endpoints, up or down. Whoever refuses is passed
/// over for the next point of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingHash(Ring);

impl RingHash {
    /// The largest ring that a client makes, whatever its configuration says.
    pub const CAP: u32 = 4096;

    /// The ring of these endpoints; `text` gives the address of one, `ip:port`.
    ///
    /// # Errors
    ///
    /// [`WeightsTooLarge`], if the weights add up to more than `u32::MAX`.
    pub fn new<T: AsRef<[u8]>>(
        endpoints: &[Weighted],
        text: impl Fn(u32) -> T,
        sizes: RingSizes,
    ) -> Result<Self, WeightsTooLarge> {
        let shares = shares(endpoints)?;
        Ok(Self(Ring::new(&shares, text, sizes.capped(Self::CAP), RingFunction::XxHash)))
    }

    /// The endpoint of a hash, as far as `accepts` does not refuse it: the ring is walked from its point on.
    pub fn pick(&self, hash: u64, mut accepts: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut last = None;
        self.0.walk(hash).find(|&endpoint| last.replace(endpoint) != Some(endpoint) && accepts(endpoint))
    }

    /// The ring itself.
    #[must_use]
    pub const fn ring(&self) -> &Ring {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(count: u32, minimum: u64, maximum: u64) -> RingHash {
        let endpoints: Vec<Weighted> = (0..count).map(|endpoint| (endpoint, 1)).collect();
        let sizes = RingSizes::new(minimum, maximum).unwrap();
        RingHash::new(&endpoints, |endpoint| format!("10.0.0.{endpoint}:80"), sizes).unwrap()
    }

    #[test]
    fn the_ring_is_capped() {
        assert_eq!(ring(5, 65_536, 65_536).ring().len(), 4096);
        assert_eq!(ring(5, 10, 20).ring().len(), 10);
    }

    #[test]
    fn a_refusal_moves_on_to_the_next_other_endpoint() {
        let ring = ring(5, 1024, 4096);
        for hash in (0..1000).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let first = ring.pick(hash, |_| true).unwrap();
            let second = ring.pick(hash, |endpoint| endpoint != first);
            assert_eq!(second, ring.ring().walk(hash).find(|&endpoint| endpoint != first));
            assert_eq!(ring.pick(hash, |_| false), None);
        }
    }
}
