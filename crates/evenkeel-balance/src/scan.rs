//! The exact ways out, taken when draws have hit what a request excludes: one pass over the usable positions.

use evenkeel_types::below;

use crate::{Caller, View};

/// How many draws may miss before a scan decides. Draws miss when they hit what the request excludes, or race with a
/// flip; with three of a hundred excluded, eight misses in a row happen once in 10^12 picks.
pub(crate) const DRAWS: usize = 8;

/// One of the open positions, each equally likely. O(n).
#[cold]
pub(crate) fn uniform<V: View + ?Sized, C: Caller + ?Sized>(view: &V, caller: &mut C) -> Option<usize> {
    let open = || view.mask().iter().filter(|&position| view.admits(position));
    let count = open().count();
    let index = below(upper(caller.draw()), count as u32) as usize;
    // The mask may have changed since the count: then the last one that is still open will do.
    open().take(index + 1).last()
}

/// One of the open positions, each as likely as its weight says. O(n).
#[cold]
pub(crate) fn weighted<V: View + ?Sized, C: Caller + ?Sized>(view: &V, caller: &mut C) -> Option<usize> {
    let open = || view.mask().iter().filter(|&position| view.admits(position));
    let total: u64 = open().map(|position| u64::from(view.weight(position))).sum();
    let mut left = ((u128::from(caller.draw()) * u128::from(total)) >> 64) as u64;
    let mut last = None;
    for position in open() {
        last = Some(position);
        let weight = u64::from(view.weight(position));
        if left < weight {
            break;
        }
        left -= weight;
    }
    last
}

/// One of the usable positions by its index in the mask's order; while all are usable the index is the position.
#[inline]
pub(crate) fn usable_at<V: View + ?Sized>(view: &V, index: u32, usable: usize) -> usize {
    let mask = view.mask();
    if usable == mask.len() { index as usize } else { mask.at(index as usize) }
}

/// The upper half of a draw.
#[inline]
pub(crate) const fn upper(draw: u64) -> u32 {
    (draw >> 32) as u32
}

/// The lower half of a draw.
#[inline]
pub(crate) const fn lower(draw: u64) -> u32 {
    draw as u32
}
