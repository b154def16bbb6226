//! A retry that would rather go to another tier.

use crate::choose::{Admit, Excluded, Found, Watch, find_in};
use crate::request::LaneCaller;
use crate::snapshot::Snapshot;

/// The tiers in their order, without those that the request avoids: plainly usable endpoints, then degraded ones.
pub(crate) fn find<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    let request = caller.request;
    let mut excluded = Excluded::from_slice(request.tried());
    let preferred = snapshot.used().map(|tier| (tier, &tier.masks.preferred));
    let degraded = snapshot.used().map(|tier| (tier, &tier.masks.degraded));
    for (cycle, (tier, mask)) in preferred.chain(degraded).enumerate() {
        caller.cycle = cycle;
        if mask.usable() > 0
            && !request.avoided().contains(&tier.priority)
            && let Some((node, given)) = find_in(tier, mask, &mut excluded, caller, admit, watch)
        {
            return Some((node, tier, given));
        }
    }
    None
}
