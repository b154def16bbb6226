//! A retry that would rather go to another tier.

use crate::choose::{Admit, Excluded, Found, Gate, Watch, find_in};
use crate::live::Live;
use crate::moment::Moment;
use crate::request::LaneCaller;
use crate::snapshot::Snapshot;
use crate::way::Marks;

/// The tiers in their order, without those that the request avoids: plainly usable endpoints, then degraded ones.
pub(crate) fn find<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    let request = caller.request;
    let mut excluded = Excluded::from_slice(request.tried());
    let preferred = snapshot.used().map(|tier| (tier, &tier.masks.preferred, Marks::empty()));
    let degraded = snapshot.used().map(|tier| (tier, &tier.masks.degraded, Marks::DEGRADED));
    let ask = |live: &Live<T>, moment: &Moment<'_>| admit(live, moment, Gate::Usable);
    for (cycle, (tier, mask, marks)) in preferred.chain(degraded).enumerate() {
        caller.cycle = cycle;
        if mask.usable() > 0
            && !request.avoided().contains(&tier.priority)
            && let Some((node, given)) = find_in(tier, mask, &mut excluded, caller, ask, watch)
        {
            return Some((node, tier, given, tier.way.with(marks)));
        }
    }
    None
}
