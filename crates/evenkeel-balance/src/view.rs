use crate::Mask;

/// What a policy sees of the endpoints of one tier, for one request.
///
/// A position is *open* if it is in the [`mask`](Self::mask) and the request [`admits`](Self::admits) it. Positions of
/// weight zero must not be in the mask.
pub trait View {
    /// The usable positions; its length is the number of endpoints.
    fn mask(&self) -> &Mask;

    /// How many positions are usable, as [`Mask::usable`] says. For a view that has read the number once and keeps it.
    #[inline(always)]
    fn usable(&self) -> usize {
        self.mask().usable()
    }

    /// The load of a position: requests in flight, as a rule. Below the length of the mask, always.
    fn load(&self, position: usize) -> u32;

    /// The loads of all positions, as far as `into` reaches. One call where [`load`](Self::load) would take one for each:
    /// for policies that look at all of them.
    fn loads(&self, into: &mut [u32]) {
        for (position, load) in into.iter_mut().enumerate() {
            *load = self.load(position);
        }
    }

    /// The weight of a position.
    fn weight(&self, position: usize) -> u32;

    /// Whether this request may go there, as far as the request is concerned: it was not tried before, not refused.
    fn admits(&self, position: usize) -> bool {
        let _ = position;
        true
    }

    /// Whether the request admits every position, so that nobody need ask for each. `false` is always a safe answer.
    fn admits_all(&self) -> bool {
        false
    }

    /// Whether a pick may return this position.
    #[inline]
    fn is_open(&self, position: usize) -> bool {
        self.mask().contains(position) && self.admits(position)
    }
}

/// Whether a position found among `usable` ones is open. While all are usable there is no bit to test.
#[inline]
pub(crate) fn is_open_among<V: View + ?Sized>(view: &V, position: usize, usable: usize) -> bool {
    (usable == view.mask().len() || view.mask().contains(position))
        && (view.admits_all() || view.admits(position))
}

/// A view over plain slices, for those who balance something without the façade.
///
/// Positions beyond the end of a slice have load 0 and weight 1.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    mask: &'a Mask,
    weights: &'a [u32],
    loads: &'a [u32],
    excluded: &'a [usize],
}

impl<'a> Table<'a> {
    /// A view of these weights and loads.
    #[must_use]
    pub const fn new(mask: &'a Mask, weights: &'a [u32], loads: &'a [u32]) -> Self {
        Self { mask, weights, loads, excluded: &[] }
    }

    /// The same for a request that must not go to `excluded`.
    #[must_use]
    pub const fn excluding(mut self, excluded: &'a [usize]) -> Self {
        self.excluded = excluded;
        self
    }
}

impl View for Table<'_> {
    #[inline]
    fn mask(&self) -> &Mask {
        self.mask
    }

    #[inline]
    fn load(&self, position: usize) -> u32 {
        self.loads.get(position).copied().unwrap_or(0)
    }

    #[inline]
    fn loads(&self, into: &mut [u32]) {
        let known = into.len().min(self.loads.len());
        let (first, beyond) = into.split_at_mut(known);
        first.copy_from_slice(&self.loads[..known]);
        beyond.fill(0);
    }

    #[inline]
    fn weight(&self, position: usize) -> u32 {
        self.weights.get(position).copied().unwrap_or(1)
    }

    #[inline]
    fn admits(&self, position: usize) -> bool {
        !self.excluded.contains(&position)
    }

    #[inline]
    fn admits_all(&self) -> bool {
        self.excluded.is_empty()
    }
}
