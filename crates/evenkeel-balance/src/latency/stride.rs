use crate::draws::weighted_random;
use crate::{AliasTable, Caller, Mask, View};

/// gRPC's static stride schedule: round robin in which an endpoint is passed over as often as its weight is small.
///
/// Weights are scaled so that the greatest is 65 535. The caller's place in a cycle is a generation and a position in it; a
/// position is served in a generation iff its weight, added up over generations from a start of its own, passes a multiple
/// of 65 535 there. So each is served as often as its weight says and evenly spaced, nobody's turn depends on another's
/// weight, and there is nothing to write. An endpoint that is out is passed over, and the others keep their proportions.
///
/// A pick probes greatest ÷ mean positions on average. After 32 in vain it draws by weight, which keeps the shares.
#[derive(Debug)]
pub(crate) struct Stride {
    /// Zero only for a weight of zero.
    scaled: Box<[u16]>,
    table: AliasTable,
}

impl Stride {
    /// The schedule for these weights, finite and not negative. O(n).
    pub(crate) fn new(weights: &[f64]) -> Self {
        let greatest = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let scale = |weight: f64| {
            let scaled = (weight / greatest * f64::from(WHOLE) + 0.5) as u16;
            scaled.max(u16::from(weight > 0.0))
        };
        let scaled: Box<[u16]> = weights.iter().map(|&weight| scale(weight)).collect();
        let units: Vec<u32> = scaled.iter().copied().map(u32::from).collect();
        Self { scaled, table: AliasTable::new(&units) }
    }

    /// An open position, or `None` if none is open.
    #[inline]
    pub(crate) fn choose<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        let (mask, count) = (view.mask(), self.scaled.len() as u32);
        // Where most are out, probing finds nobody.
        if mask.usable() * 4 >= mask.len() && count > 0 {
            for _ in 0..PROBES {
                let place = caller.turn(u32::MAX);
                let position = place % count;
                if self.is_served(position, place / count) && view.is_open(position as usize) {
                    return Some(position as usize);
                }
            }
        }
        let reweighted = Reweighted { view, scaled: &self.scaled };
        weighted_random::again(&reweighted, caller, u32::from(WHOLE), |draw| self.table.at(draw))
    }

    #[inline]
    fn is_served(&self, position: u32, generation: u32) -> bool {
        let weight = u64::from(self.scaled[position as usize]);
        let whole = u64::from(WHOLE);
        let start = u64::from(position) * START;
        (weight * u64::from(generation) + start) % whole >= whole - weight
    }
}

/// A view in which the weights are those of the schedule.
struct Reweighted<'a, V: ?Sized> {
    view: &'a V,
    scaled: &'a [u16],
}

impl<V: View + ?Sized> View for Reweighted<'_, V> {
    fn mask(&self) -> &Mask {
        self.view.mask()
    }

    fn load(&self, position: usize) -> u32 {
        self.view.load(position)
    }

    fn weight(&self, position: usize) -> u32 {
        self.scaled.get(position).copied().map_or(0, u32::from)
    }

    fn admits(&self, position: usize) -> bool {
        self.view.admits(position)
    }

    fn admits_all(&self) -> bool {
        self.view.admits_all()
    }
}

const WHOLE: u16 = u16::MAX;

/// Half of the whole apart, so that neighbours of equal weight are not served in the same generations.
const START: u64 = 32_767;

const PROBES: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mask, Script, Table};

    fn picks(weights: &[f64], mask: &Mask, count: usize) -> Vec<usize> {
        let stride = Stride::new(weights);
        let mut caller = Script::seeded(1);
        (0..count).filter_map(|_| stride.choose(&Table::new(mask, &[], &[]), &mut caller)).collect()
    }

    #[test]
    fn the_order_is_that_of_grpc() {
        let picked = picks(&[1.0, 2.0, 5.0], &Mask::all_usable(3), 16);
        let letters: String = picked.iter().map(usize::to_string).collect();
        assert_eq!(letters, "2122120221221202");
        assert_eq!(picks(&[3.0; 4], &Mask::all_usable(4), 8), [0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn shares_hold_with_some_out_and_with_one_heavy_weight() {
        for (weights, out) in [
            (vec![1.0, 2.0, 5.0, 8.0, 4.0], 3),
            // One in a thousand: more than the probes find.
            ([1.0].into_iter().chain([0.001; 99]).collect::<Vec<f64>>(), 7),
        ] {
            let mask = Mask::new(weights.len(), |position| position != out);
            let picked = picks(&weights, &mask, 50_000);
            assert_eq!(picked.len(), 50_000);
            let total: f64 = weights.iter().sum::<f64>() - weights[out];
            for (position, &weight) in weights.iter().enumerate().filter(|&(position, _)| position != out) {
                let count = picked.iter().filter(|&&p| p == position).count() as f64;
                let expected = 50_000.0 * weight / total;
                assert!(
                    (count - expected).abs() < 6.0 * expected.sqrt() + 1.0,
                    "{position}: {count}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn extremes_lose_nobody() {
        let stride = Stride::new(&[f64::MAX, f64::MIN_POSITIVE, 0.0]);
        assert_eq!(&*stride.scaled, [u16::MAX, 1, 0]);
        assert_eq!(
            Stride::new(&[]).choose(&Table::new(&Mask::all_usable(0), &[], &[]), &mut Script::seeded(1)),
            None
        );
        assert_eq!(&*Stride::new(&[0.0, 0.0]).scaled, [0, 0]);
    }
}
