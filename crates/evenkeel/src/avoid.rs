//! A retry that would rather go to another tier, if one has a share.

use crate::choose::{Admit, Excluded, Found, Gate, Watch, find_in, marks};
use crate::live::Live;
use crate::moment::Moment;
use crate::request::LaneCaller;
use crate::shares::{Drawn, Mark};
use crate::snapshot::Snapshot;
use crate::zone_choice;

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
    let plan = snapshot.plan.as_ref()?;
    let shares = &plan.shares;
    let request = caller.request;
    let mut excluded = Excluded::from_slice(request.tried());
    let ask = |live: &Live<T>, moment: &Moment<'_>| admit(live, moment, Gate::Usable);
    for rung in shares.rungs.iter().filter(|rung| !request.avoided().contains(&rung.priority)) {
        // Where requests choose their zones, only what the whole tier gets says something.
        let whole_has = plan.by_request && rung.groups.clone().any(|group| shares.share(group, false) > 0);
        for group in zone_choice::in_turn(plan, rung.groups.clone(), caller) {
            let tier = snapshot.tier(group)?;
            let (mask, mark) = (&tier.masks.preferred, shares.mark(group));
            if mask.usable() == 0
                || !whole_has && shares.share(group, false) == 0
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
    }
    None
}
