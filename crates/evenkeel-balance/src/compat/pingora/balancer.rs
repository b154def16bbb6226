use std::sync::Arc;

use super::weighted::WeightedList;
use super::{Backend, Continuum, InvalidBackends};
use crate::hash::fnv1a;
use crate::sync::{AtomicU64, Ordering};

/// Which selection a load balancer has. `Random` draws from the thread's generator in pingora, and is not here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "type", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Selection {
    /// `Weighted<RoundRobin>`: a counter over a list in which each backend stands as often as its weight.
    #[default]
    RoundRobin,
    /// `Weighted<FnvHasher>`: the FNV-1a of the key in the same list.
    FnvHash,
    /// `KetamaHashing`: the ring of [`Continuum`].
    Consistent {
        /// Points for each unit of weight; 160 is version 1 of the ring.
        point_multiple: u32,
    },
}

/// A `LoadBalancer` of pingora: which backend a key goes to, and which is asked next if that one is refused.
///
/// **Idea.** Backends are sorted by address, IPv4 first, then by weight, and doublets are dropped. The weighted selections
/// look into a list in which each backend stands as often as its weight (`AAAAABC`, not spread), at a counter or at the
/// FNV-1a of the key; if that backend is refused they go on in the list of all backends *without* weights, at the next
/// counts or at the FNV-1a of the index before. The ring goes on to its next points. Each step counts against
/// `max_iterations`, also one that meets a backend again.
/// **Cost.** O(log n) or O(log p) a step, no lock: the counter is shared by all threads. **When.** Picks must agree with
/// those of a pingora. **When not.** Anywhere else: bursts of round robin hit the heavy backend, the share of a refused
/// backend is spread without weights, and `fnv_hash` moves nearly all keys when a backend is added.
/// **Source.** The crate `pingora-load-balancing` 0.9, `selection/`; reproduced from recorded answers.
///
/// ```
/// use evenkeel_balance::compat::pingora::{Backend, LoadBalancer, Selection};
///
/// let backends = [("10.0.0.1:80", 2), ("10.0.0.2:80", 1)]
///     .map(|(address, weight)| Backend { address: address.parse().expect("an address"), weight });
/// let balancer = LoadBalancer::new(Selection::RoundRobin, &backends)?;
/// let picks: Vec<_> = (0..4).map(|_| balancer.select_with(b"", 256, |_| true)).collect();
/// assert_eq!(picks, [0, 0, 1, 0].map(Some));
/// # Ok::<(), evenkeel_balance::compat::pingora::InvalidBackends>(())
/// ```
#[derive(Debug)]
pub struct LoadBalancer {
    selection: Selection,
    /// For each backend in sorted order its index as given.
    order: Box<[usize]>,
    list: WeightedList,
    ring: Option<Continuum>,
    count: Arc<AtomicU64>,
}

impl LoadBalancer {
    /// The balancer of these backends; what it selects are their indexes, whatever their order.
    ///
    /// # Errors
    ///
    /// [`InvalidBackends`], where pingora would panic, or the ring would have too many points.
    pub fn new(selection: Selection, backends: &[Backend]) -> Result<Self, InvalidBackends> {
        if let Selection::Consistent { .. } = selection {
            if let Some(backend) = backends.iter().position(|backend| backend.weight == 0) {
                return Err(InvalidBackends::ZeroWeight { backend });
            }
        } else if !backends.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
            return Err(InvalidBackends::AllZero);
        }
        let mut order = sorted(backends);
        order.dedup_by(|&mut a, &mut b| backends[a] == backends[b]);
        if order.len() > usize::from(u16::MAX) && !matches!(selection, Selection::Consistent { .. }) {
            return Err(InvalidBackends::TooMany { backends: order.len() });
        }
        let mut balancer = Self::of_sorted(selection, backends, order, Arc::default())?;
        if balancer.ring.is_some() {
            balancer.let_addresses_stand_for_the_heaviest(backends);
        }
        Ok(balancer)
    }

    /// The same for any weights and also for doublets, which keep places of their own, with a counter that others share.
    /// Backends of weight zero are never met first.
    pub(super) fn of_all(
        selection: Selection,
        backends: &[Backend],
        count: Arc<AtomicU64>,
    ) -> Result<Self, InvalidBackends> {
        Self::of_sorted(selection, backends, sorted(backends), count)
    }

    fn of_sorted(
        selection: Selection,
        backends: &[Backend],
        order: Vec<usize>,
        count: Arc<AtomicU64>,
    ) -> Result<Self, InvalidBackends> {
        let ring = if let Selection::Consistent { point_multiple } = selection {
            let sorted: Vec<Backend> = order.iter().map(|&index| backends[index].clone()).collect();
            Some(Continuum::of_weighted(&sorted, point_multiple)?)
        } else {
            None
        };
        let list = WeightedList::new(order.iter().map(|&index| backends[index].weight));
        Ok(Self { selection, order: order.into(), list, ring, count })
    }

    /// On the ring pingora knows a backend by its address: of several that share one it finds the heaviest.
    fn let_addresses_stand_for_the_heaviest(&mut self, backends: &[Backend]) {
        for place in (1..self.order.len()).rev() {
            let (index, before) = (self.order[place], self.order[place - 1]);
            if backends[index].address == backends[before].address {
                self.order[place - 1] = index;
            }
        }
    }

    /// The first backend on the key's way that `accept` takes, after at most `max_iterations` steps.
    ///
    /// `accept` must answer alike for the same backend: one that was refused may be asked for again.
    pub fn select_with(
        &self,
        key: &[u8],
        max_iterations: usize,
        mut accept: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut accepted = |place: usize| self.order.get(place).copied().filter(|&index| accept(index));
        if let Some(ring) = &self.ring {
            return ring.nodes(key).take(max_iterations).find_map(accepted);
        }
        // The program takes a step before it asks whether there may be one: giving up costs a count, too.
        let mut index = self.next_index(key);
        if max_iterations == 0 {
            return None;
        }
        if let Some(found) = accepted(self.list.at(index)?) {
            return Some(found);
        }
        for _ in 1..max_iterations {
            index = self.next_index(&index.to_le_bytes());
            if let Some(found) = accepted(index.checked_rem(self.list.backends())? as usize) {
                return Some(found);
            }
        }
        self.next_index(&index.to_le_bytes());
        None
    }

    fn next_index(&self, input: &[u8]) -> u64 {
        match self.selection {
            Selection::FnvHash => fnv1a(input),
            // The ring has no index; round robin does not look at the key.
            Selection::RoundRobin | Selection::Consistent { .. } => {
                self.count.fetch_add(1, Ordering::Relaxed)
            }
        }
    }

    /// The first backend in sorted order that `accept` takes, from a place on that the key or the counter gives.
    pub(super) fn any_from(&self, key: &[u8], accept: impl Fn(usize) -> bool) -> Option<usize> {
        let first = match self.selection {
            Selection::RoundRobin => self.next_index(key),
            Selection::FnvHash | Selection::Consistent { .. } => fnv1a(key),
        };
        let first = first.checked_rem(self.order.len() as u64)? as usize;
        let (before, from) = self.order.split_at_checked(first)?;
        from.iter().chain(before).copied().find(|&index| accept(index))
    }

    /// The counter of round robin.
    pub(super) fn count(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.count)
    }
}

/// The indexes by address, then weight.
fn sorted(backends: &[Backend]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..backends.len()).collect();
    order.sort_by(|&a, &b| backends[a].cmp(&backends[b]));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backends(list: &[(&str, u32)]) -> Vec<Backend> {
        list.iter().map(|&(address, weight)| Backend { address: address.parse().unwrap(), weight }).collect()
    }

    fn picks(balancer: &LoadBalancer, count: usize, accept: impl Fn(usize) -> bool) -> Vec<Option<usize>> {
        (0..count).map(|_| balancer.select_with(b"", 256, &accept)).collect()
    }

    #[test]
    fn backends_are_sorted_and_doublets_dropped() {
        let list = backends(&[
            ("[fd00::1]:80", 1),
            ("10.0.0.2:80", 1),
            ("10.0.0.10:80", 1),
            ("10.0.0.2:80", 1),
            ("10.0.0.2:79", 1),
        ]);
        let balancer = LoadBalancer::new(Selection::RoundRobin, &list).unwrap();
        assert_eq!(picks(&balancer, 5, |_| true), [4, 1, 2, 0, 4].map(Some));
    }

    #[test]
    fn a_refused_pick_goes_on_without_weights_and_counts() {
        let list = backends(&[("10.0.0.1:80", 5), ("10.0.0.2:80", 1), ("10.0.0.3:80", 1)]);
        let balancer = LoadBalancer::new(Selection::RoundRobin, &list).unwrap();
        assert_eq!(picks(&balancer, 7, |index| index != 0), [1, 1, 1, 2, 2, 1, 1].map(Some));
    }

    #[test]
    fn steps_are_bounded() {
        let list = backends(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)]);
        let consistent = Selection::Consistent { point_multiple: 160 };
        for selection in [Selection::RoundRobin, Selection::FnvHash, consistent] {
            let balancer = LoadBalancer::new(selection, &list).unwrap();
            let mut asked = 0;
            let picked = balancer.select_with(b"key", 7, |_| {
                asked += 1;
                false
            });
            assert_eq!((picked, asked), (None, 7), "{selection:?}");
            assert_eq!(balancer.select_with(b"key", 0, |_| true), None);
            assert_eq!(LoadBalancer::new(selection, &[]).unwrap().select_with(b"", 9, |_| true), None);
        }
    }

    #[test]
    fn giving_up_costs_a_count() {
        let list = backends(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1), ("10.0.0.3:80", 1)]);
        let balancer = LoadBalancer::new(Selection::RoundRobin, &list).unwrap();
        assert_eq!(balancer.select_with(b"", 1, |_| false), None);
        assert_eq!(balancer.select_with(b"", 1, |_| true), Some(2), "counts 0 and 1 are gone");
        assert_eq!(balancer.select_with(b"", 0, |_| true), None);
        assert_eq!(balancer.select_with(b"", 1, |_| true), Some(1), "count 3 is gone");
    }

    #[test]
    fn an_address_twice_is_the_heavier_backend_on_the_ring() {
        let list = backends(&[("10.0.0.1:80", 3), ("10.0.0.1:80", 1)]);
        let balancer = LoadBalancer::new(Selection::Consistent { point_multiple: 10 }, &list).unwrap();
        assert_eq!(picks(&balancer, 3, |_| true), [Some(0); 3]);
    }

    #[test]
    fn what_pingora_would_panic_on_is_refused() {
        let list = backends(&[("10.0.0.1:80", 0), ("10.0.0.2:80", 1)]);
        let consistent = Selection::Consistent { point_multiple: 160 };
        assert_eq!(
            LoadBalancer::new(consistent, &list).unwrap_err(),
            InvalidBackends::ZeroWeight { backend: 0 }
        );
        assert_eq!(LoadBalancer::new(Selection::FnvHash, &list[..1]).unwrap_err(), InvalidBackends::AllZero);
        assert!(LoadBalancer::new(Selection::FnvHash, &list).is_ok());
        let many: Vec<Backend> = (0..65_536_u32)
            .map(|n| Backend {
                address: format!("10.{}.{}.1:80", n >> 8, n & 255).parse().unwrap(),
                weight: 1,
            })
            .collect();
        assert_eq!(
            LoadBalancer::new(Selection::RoundRobin, &many).unwrap_err(),
            InvalidBackends::TooMany { backends: 65_536 }
        );
    }

    proptest! {
        #[test]
        fn anything_goes_and_only_what_is_accepted_comes(
            weights in prop::collection::vec(0_u32..5, 0..6),
            refused in any::<u8>(),
            key in prop::collection::vec(any::<u8>(), 0..20),
            iterations in 0_usize..40,
            kind in 0..3,
        ) {
            let list: Vec<Backend> = weights
                .iter()
                .enumerate()
                .map(|(n, &weight)| Backend { address: format!("10.0.0.{}:80", n % 4).parse().unwrap(), weight })
                .collect();
            let selection = match kind {
                0 => Selection::RoundRobin,
                1 => Selection::FnvHash,
                _ => Selection::Consistent { point_multiple: 3 },
            };
            let accept = |index: usize| refused >> index & 1 == 0;
            if let Ok(balancer) = LoadBalancer::new(selection, &list) {
                for _ in 0..5 {
                    let picked = balancer.select_with(&key, iterations, accept);
                    prop_assert!(picked.is_none_or(|index| index < list.len() && accept(index)));
                }
            }
        }
    }
}
