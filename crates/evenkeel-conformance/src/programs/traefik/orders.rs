//! The orders in which servers can be entered: those of equal weight are alike until they are picked.

/// Whether `fits` holds for some order of these weights. Equal weights are not told apart, so there are n! orders only if
/// all differ; after [`MOST_TRIED`] the search gives up.
pub(super) fn some_order(weights: &[u32], mut fits: impl FnMut(&[u32]) -> bool) -> bool {
    let mut order: Vec<u32> = weights.iter().copied().filter(|&weight| weight > 0).collect();
    // Heaviest first, then every other order once.
    order.sort_unstable_by(|a, b| b.cmp(a));
    for _ in 0..MOST_TRIED {
        if fits(&order) {
            return true;
        }
        if !to_next(&mut order) {
            return false;
        }
    }
    false
}

/// The next order, counted downwards; `false` after the last.
fn to_next(order: &mut [u32]) -> bool {
    let Some(pivot) = order.windows(2).rposition(|pair| pair[0] > pair[1]) else { return false };
    let Some(other) = order.iter().rposition(|&weight| weight < order[pivot]) else { return false };
    order.swap(pivot, other);
    order[pivot + 1..].reverse();
    true
}

/// Ten servers of different weights have 3,628,800 orders.
const MOST_TRIED: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_once() {
        for (weights, count) in
            [(vec![1, 2, 3, 4], 24), (vec![1, 1, 2], 3), (vec![5; 9], 1), (vec![0, 7], 1), (vec![], 1)]
        {
            let mut seen = Vec::new();
            assert!(!some_order(&weights, |order| {
                seen.push(order.to_vec());
                false
            }));
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), count, "{weights:?}");
        }
    }
}
