//! A retry that would rather go to another tier, if one has a share.

use crate::choose::{Admit, Excluded, Found, Gate, Watch, find_in, marks};
use crate::live::Live;
use crate::moment::Moment;
use crate::request::LaneCaller;
use crate::shares::{Drawn, Mark};
use crate::snapshot::Snapshot;

/// Plainly usable endpoints of the tiers that have a share and are not avoided, in their order.
///
/// Nobody else: a tier without a share is one for which there is no need, or one that must not be used, and a degraded endpoint
/// elsewhere is no better than a plain one at home. Without shares, or where all requests go to one tier, there is no other.
pub(crate) fn find<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    let shares = &snapshot.plan.as_ref()?.shares;
    let request = caller.request;
    let mut excluded = Excluded::from_slice(request.tried());
    let ask = |live: &Live<T>, moment: &Moment<'_>| admit(live, moment, Gate::Usable);
    for (group, tier) in snapshot.used().enumerate().take(shares.groups.len()) {
        let (mask, mark) = (&tier.masks.preferred, shares.mark(group));
        if mask.usable() == 0
            || request.avoided().contains(&tier.priority)
            || shares.share(group, false) == 0
            // The first of a tier in its order is found where shares are drawn.
            || mark.intersects(Mark::REFUSE | Mark::FIRST)
        {
            continue;
        }
        caller.cycle = group;
        if let Some((node, given)) = find_in(tier, mask, &mut excluded, caller, ask, watch) {
            let drawn = Drawn { group: group as u32, degraded: false, mark };
            return Some((node, tier, given, tier.way.with(marks(drawn))));
        }
    }
    None
}
