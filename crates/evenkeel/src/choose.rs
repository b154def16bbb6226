//! From a snapshot to one endpoint: tiers in order, and in each the loop of choosing and being admitted.

use std::cell::RefCell;

use evenkeel_balance::{Caller, Mask, Random};
use evenkeel_types::below;
use smallvec::SmallVec;

use crate::avoid;
use crate::control::Control;
use crate::error::{Panic, PanicAnswer, PickError, Shortage};
use crate::factor;
use crate::grant::Grant;
use crate::lanes::Lane;
use crate::live::Live;
use crate::moment::Moment;
use crate::node::Node;
use crate::request::{LaneAlone, LaneCaller, Request, Strictness};
use crate::shares::{Drawn, Mark};
use crate::snapshot::{Plan, Snapshot, Tier, TierView, WholeTier};
use crate::way::{Marks, Way};
use crate::zone_choice;

/// Asks an endpoint whether it lets the request in, and for what it gives in return.
pub(crate) type Admit<T, A> = fn(&Live<T>, &Moment<'_>, Gate) -> Option<A>;

/// What an endpoint's own word must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// That it is usable.
    Usable,
    /// Nothing, as long as nobody withdrew it: panic sets aside what was concluded, never what was decided. Its breaker and
    /// its limit are asked all the same: they go by what this client's own requests met.
    Panic,
}

impl Gate {
    #[inline(always)]
    fn is_open<T>(self, live: &Live<T>) -> bool {
        match self {
            Self::Usable => live.standing.is_usable(),
            Self::Panic => !live.standing.load().is_withdrawn(),
        }
    }
}

/// Where a choice ended: the endpoint, its tier, what it gave, and how the request came there.
pub(crate) type Found<'s, T, A> = (&'s Node<T>, &'s Tier<T>, A, Way);

/// Tokens that a request must not get: what it tried, and what refused it.
///
/// Room for eight tried ones, for all that one group can pass over, and for the refusals of more than twenty: so that a pick allocates
/// nothing.
pub(crate) type Excluded = SmallVec<[u64; 256]>;

/// The tokens that policies looked at, if somebody wants to know.
pub(crate) type Watch<'a> = Option<&'a RefCell<Vec<u64>>>;

/// The endpoint's own word, then its breaker's: what a pick asks. The mask may lag behind a flip by a moment; the own word
/// does not.
#[inline(always)]
pub(crate) fn admit<T>(live: &Live<T>, moment: &Moment<'_>, gate: Gate) -> Option<Grant> {
    if !gate.is_open(live) {
        return None;
    }
    if moment.control.is_plain() { Some(Grant::none()) } else { live.admit(moment) }
}

/// The own word alone: an endpoint whose breaker is not open will do.
#[inline(always)]
pub(crate) fn is_usable<T>(live: &Live<T>, _: &Moment<'_>, gate: Gate) -> Option<()> {
    gate.is_open(live).then_some(())
}

/// What the next pick would find: asks breakers, spends nothing, and tells what was looked at.
pub(crate) fn choose_dry<'s, T>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    watch: Watch<'_>,
) -> Result<(&'s Live<T>, Way), PickError> {
    let would_admit =
        |live: &Live<T>, _: &Moment<'_>, gate: Gate| (gate.is_open(live) && live.would_admit()).then_some(());
    let found = match first_try(snapshot, Begun::Not, caller, would_admit, watch) {
        Some(found) => found,
        None => find(snapshot, caller, would_admit, would_admit, watch)?,
    };
    Ok((&found.0.live, found.3))
}

/// How far a choice has come before anything is asked that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Nothing is drawn yet.
    Not,
    /// The policy's first draw met none that is open.
    Missed,
    /// It fell on this position, which takes less than its weight for the moment or must be looked at for another reason.
    At(usize),
    /// It fell on an endpoint that was asked, and refused.
    Refused,
}

/// The first draw in the first tier, where it falls on an endpoint that takes all of its weight; where tiers and zones get shares, there
/// is none. It need not be asked for its own word any more.
///
/// # Errors
///
/// How far the choice has come, for [`find_from`].
#[inline(always)]
pub(crate) fn at_once<'s, T>(
    snapshot: &'s Snapshot<T>,
    lane: &Lane,
    request: &Request<'_>,
) -> Result<(&'s Node<T>, &'s Tier<T>), Begun> {
    if snapshot.plan.is_some() {
        return Err(Begun::Not);
    }
    let tier = &snapshot.first;
    let node = draw_in(tier, &tier.masks.preferred, 0, lane, request)?;
    Ok((node, tier))
}

/// What a choice costs where nothing is out of the ordinary, so written for registers: the address of nothing leaves it.
#[inline(always)]
fn draw_in<'s, T>(
    tier: &'s Tier<T>,
    mask: &Mask,
    cycle: usize,
    lane: &Lane,
    request: &Request<'_>,
) -> Result<&'s Node<T>, Begun> {
    let usable = mask.usable();
    if usable == 0 || !request.tried().is_empty() {
        return Err(Begun::Not);
    }
    let view = WholeTier { tier, mask, usable };
    let position = tier.policy.first(&view, &mut LaneAlone { lane, cycle }).ok_or(Begun::Missed)?;
    match tier.nodes.get(position) {
        Some(node) if node.live.factor.is_full() && node.live.standing.is_usable() => Ok(node),
        _ => Err(Begun::At(position)),
    }
}

/// A choice from where [`at_once`] ended: the rest of the first try, and then all that [`find`] does. `ask` and `admit` are the same.
///
/// # Errors
///
/// [`PickError`], with the numbers.
#[inline(never)]
pub(crate) fn find_from<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    begun: Begun,
    lane: &Lane,
    request: &Request<'_>,
    moment: &Moment<'_>,
    ask: impl Fn(&Live<T>, &Moment<'_>, Gate) -> Option<A> + Copy,
    admit: Admit<T, A>,
) -> Result<Found<'s, T, A>, PickError> {
    let mut caller = LaneCaller::new(lane, moment, request);
    match first_try(snapshot, begun, &mut caller, ask, None) {
        Some(found) => Ok(found),
        None => find(snapshot, &mut caller, ask, admit, None),
    }
}

/// The usual case: the first draw in the first tier. Everything else is out of line, in [`find`]: also picks that go by shares, so
/// that those which do not pay one branch for them.
#[inline(always)]
fn first_try<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    begun: Begun,
    caller: &mut LaneCaller<'_>,
    admit: impl Fn(&Live<T>, &Moment<'_>, Gate) -> Option<A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    if snapshot.plan.is_some() {
        return None;
    }
    let tier = &snapshot.first;
    let (node, given) = try_once(tier, &tier.masks.preferred, begun, caller, admit, watch)?;
    Some((node, tier, given, tier.way))
}

/// One choice, and one question.
#[inline(always)]
fn try_once<'s, T, A>(
    tier: &'s Tier<T>,
    mask: &Mask,
    begun: Begun,
    caller: &mut LaneCaller<'_>,
    admit: impl Fn(&Live<T>, &Moment<'_>, Gate) -> Option<A>,
    watch: Watch<'_>,
) -> Option<(&'s Node<T>, A)> {
    if mask.usable() == 0 {
        return None;
    }
    let begun = match begun {
        Begun::Not if watch.is_none() => match draw_in(tier, mask, caller.cycle, caller.lane, caller.request)
        {
            Ok(node) => return admit(&node.live, caller.moment, Gate::Usable).map(|given| (node, given)),
            Err(begun) => begun,
        },
        begun => begun,
    };
    let node = go_on(tier, mask, begun, caller, watch)?;
    admit(&node.live, caller.moment, Gate::Usable).map(|given| (node, given))
}

/// The choice from where the first draw ended: the endpoint that is to be asked.
#[inline]
fn go_on<'s, T>(
    tier: &'s Tier<T>,
    mask: &Mask,
    begun: Begun,
    caller: &mut LaneCaller<'_>,
    watch: Watch<'_>,
) -> Option<&'s Node<T>> {
    let view = TierView { tier, mask, excluded: caller.request.tried(), watch };
    let position = match begun {
        Begun::Not => tier.policy.choose(&view, caller)?,
        Begun::Missed => tier.policy.again(&view, caller)?,
        Begun::At(position) => position,
        Begun::Refused => return None,
    };
    let node = tier.nodes.get(position)?;
    if !view.excluded.is_empty()
        && (is_among(view.excluded, node.live.token) || caller.request.avoided().contains(&tier.priority))
    {
        return None;
    }
    if !node.live.factor.is_full() && !takes_first(tier, &node.live, caller) {
        return None;
    }
    Some(node)
}

/// What a pick tells of where it was sent.
pub(crate) fn marks(drawn: Drawn) -> Marks {
    let mut marks = Marks::empty();
    marks.set(Marks::DEGRADED, drawn.degraded && !drawn.mark.contains(Mark::OPEN));
    marks.set(Marks::PANIC, drawn.mark.contains(Mark::PANIC));
    marks.set(Marks::SPILLED, drawn.mark.contains(Mark::SPILLED));
    marks.set(Marks::STALE, drawn.mark.contains(Mark::STALE));
    marks
}

/// Whether the first choice stays with an endpoint whose factor is below one; if not, what comes next is told.
#[cold]
#[inline(never)]
fn takes_first<T>(tier: &Tier<T>, live: &Live<T>, caller: &mut LaneCaller<'_>) -> bool {
    let takes = factor::takes(tier, live, caller);
    if !takes {
        caller.passed_over = factor::would_repeat(tier.wants).then_some(live.token);
    }
    takes
}

/// A retry's question, out of the way of first attempts.
#[cold]
#[inline(never)]
pub(crate) fn is_among(tokens: &[u64], token: u64) -> bool {
    tokens.contains(&token)
}

/// What the first try leaves: the group that shares name, if the cluster goes by shares; then all the rest. `ask` and `admit` are the
/// same: one to be written into this function, one to be called by what is rare.
///
/// # Errors
///
/// [`PickError`], with the numbers.
#[inline(always)]
fn find<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    ask: impl Fn(&Live<T>, &Moment<'_>, Gate) -> Option<A>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Result<Found<'s, T, A>, PickError> {
    let Some(plan) = &snapshot.plan else { return find_elsewhere(snapshot, None, caller, admit, watch) };
    let key = caller.affinity(plan.wants);
    let mut drawn = match key {
        Some(key) => plan.shares.keyed(key),
        None => plan.shares.drawn(caller.draw()),
    };
    if plan.by_request {
        drawn = drawn.map(|drawn| zone_choice::redraw(snapshot, plan, drawn, key, caller));
    }
    if let Some(drawn) = drawn
        && let Some(found) = try_drawn(snapshot, plan, drawn, caller, ask, watch)
    {
        return Ok(found);
    }
    find_elsewhere(snapshot, drawn, caller, admit, watch)
}

/// One choice in the group that shares name; none where more is to do than to choose.
#[inline(always)]
fn try_drawn<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    plan: &Plan,
    drawn: Drawn,
    caller: &mut LaneCaller<'_>,
    admit: impl Fn(&Live<T>, &Moment<'_>, Gate) -> Option<A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    if drawn.mark.intersects(Mark::OPEN | Mark::REFUSE | Mark::FIRST) {
        return None;
    }
    let tier = snapshot.tier(drawn.group())?;
    let (mask, offset) = match drawn.degraded {
        false => (&tier.masks.preferred, 0),
        true => (&tier.masks.degraded, plan.shares.groups.len()),
    };
    caller.cycle = offset + drawn.group();
    let (node, given) = try_once(tier, mask, Begun::Not, caller, admit, watch)?;
    Some((node, tier, given, tier.way.with(marks(drawn))))
}

/// All the rest: other draws, other tiers, degraded endpoints, and at last the reason why there is nobody.
///
/// # Errors
///
/// [`PickError`], with the numbers.
#[cold]
#[inline(never)]
fn find_elsewhere<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    drawn: Option<Drawn>,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Result<Found<'s, T, A>, PickError> {
    let request = caller.request;
    if let Some(drawn) = drawn.filter(|drawn| drawn.mark.contains(Mark::REFUSE)) {
        let answer = match caller.moment.control.planner.as_ref().and_then(|planner| planner.response()) {
            Some(_) => PanicAnswer::StaticResponse,
            None => PanicAnswer::Refuse,
        };
        return Err(panic_error(snapshot, drawn, answer));
    }
    if !request.tried().is_empty()
        && !request.avoided().is_empty()
        && let Some(found) = avoid::find(snapshot, caller, admit, watch)
    {
        return Ok(found);
    }
    if let Some(found) = find_but(snapshot, drawn, request.tried(), caller, admit, watch) {
        return Ok(found);
    }
    if request.strictness() == Strictness::Prefer
        && !request.tried().is_empty()
        && let Some(found) = find_but(snapshot, drawn, &[], caller, admit, watch)
    {
        return Ok(found);
    }
    if let Some(drawn) = drawn.filter(|drawn| drawn.mark.contains(Mark::STALE)) {
        return Err(panic_error(snapshot, drawn, PanicAnswer::ServeStale));
    }
    Err(explain_failure(snapshot, request, caller.moment.control))
}

fn panic_error<T>(snapshot: &Snapshot<T>, drawn: Drawn, answer: PanicAnswer) -> PickError {
    let (mut priority, mut counts) = (snapshot.first.priority, (0, 0));
    if let Some(plan) = &snapshot.plan {
        let rung = plan.shares.groups[drawn.group()].rung;
        (priority, counts) = (plan.shares.rungs[rung].priority, plan.shares.counts(rung));
    }
    PickError::Panic(Panic { priority, usable: counts.0, total: counts.1, answer })
}

/// Plainly usable ones in the order of tiers, then degraded ones; and before giving up, every own word.
fn find_but<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    drawn: Option<Drawn>,
    tried: &[u64],
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    let mut excluded = Excluded::from_slice(tried);
    if let (Some(plan), Some(drawn)) = (&snapshot.plan, drawn)
        && let Some(found) = find_in_rung(snapshot, plan, drawn, &mut excluded, caller, admit, watch)
    {
        return Some(found);
    }
    let preferred = snapshot.used().map(|tier| (tier, &tier.masks.preferred, Marks::empty()));
    let degraded = snapshot.used().map(|tier| (tier, &tier.masks.degraded, Marks::DEGRADED));
    for (cycle, (tier, mask, marks)) in preferred.chain(degraded).enumerate() {
        caller.cycle = cycle;
        if mask.usable() > 0
            && let Some((node, given)) = find_in(
                tier,
                mask,
                &mut excluded,
                caller,
                |live, moment| admit(live, moment, Gate::Usable),
                watch,
            )
        {
            let is_fallback = cycle > 0 || snapshot.plan.is_some();
            let marks = if is_fallback { marks | Marks::FALLBACK } else { marks };
            return Some((node, tier, given, tier.way.with(marks)));
        }
    }
    if let Some(found) = find_in_panic(snapshot, &mut excluded, caller, admit, watch) {
        return Some(found);
    }
    ask_everybody(snapshot, tried, caller, admit)
}

/// The rung that shares name: first the group, then its other zones, the nearest to the client first where that counts.
fn find_in_rung<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    plan: &Plan,
    drawn: Drawn,
    excluded: &mut Excluded,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    let gate = if drawn.mark.contains(Mark::OPEN) { Gate::Panic } else { Gate::Usable };
    let ask = |live: &Live<T>, moment: &Moment<'_>| admit(live, moment, gate);
    let rung = plan.shares.rungs[plan.shares.groups[drawn.group()].rung].groups.clone();
    let in_turn = zone_choice::in_turn(plan, rung, caller);
    let others = in_turn.filter(|&group| group != drawn.group());
    for group in std::iter::once(drawn.group()).chain(others) {
        let tier = snapshot.tier(group)?;
        let mask = match (&tier.masks.tally, drawn.degraded) {
            (Some(tally), _) if gate == Gate::Panic => tally.in_panic(),
            (_, true) => &tier.masks.degraded,
            (_, false) => &tier.masks.preferred,
        };
        if mask.usable() == 0 {
            continue;
        }
        caller.cycle = if drawn.degraded { plan.shares.groups.len() + group } else { group };
        let found = if drawn.mark.contains(Mark::FIRST) {
            first_in_order(tier, mask, excluded, caller, ask)
        } else {
            find_in(tier, mask, excluded, caller, ask, watch)
        };
        if let Some((node, given)) = found {
            let mut marks = marks(drawn);
            marks.set(Marks::FALLBACK, group != drawn.group());
            return Some((node, tier, given, tier.way.with(marks)));
        }
    }
    None
}

/// Tiers whose health is ignored, when nobody is usable anywhere.
fn find_in_panic<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    excluded: &mut Excluded,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    let shares = &snapshot.plan.as_ref()?.shares;
    for (group, tier) in snapshot.used().enumerate().take(shares.groups.len()) {
        let Some(tally) = tier.masks.tally.as_ref().filter(|_| shares.mark(group).contains(Mark::OPEN))
        else {
            continue;
        };
        caller.cycle = group;
        let ask = |live: &Live<T>, moment: &Moment<'_>| admit(live, moment, Gate::Panic);
        if let Some((node, given)) = find_in(tier, tally.in_panic(), excluded, caller, ask, watch) {
            return Some((node, tier, given, tier.way.with(Marks::PANIC | Marks::FALLBACK)));
        }
    }
    None
}

/// The first in the order of the configuration that takes it. O(n / 64).
fn first_in_order<'s, T, A>(
    tier: &'s Tier<T>,
    mask: &Mask,
    excluded: &Excluded,
    caller: &LaneCaller<'_>,
    admit: impl Fn(&Live<T>, &Moment<'_>) -> Option<A>,
) -> Option<(&'s Node<T>, A)> {
    mask.iter().filter_map(|position| tier.nodes.get(position)).find_map(|node| {
        if excluded.contains(&node.live.token) {
            return None;
        }
        admit(&node.live, caller.moment).map(|given| (&**node, given))
    })
}

/// Choose, ask, exclude on refusal, choose again: until one admits the request or all have refused.
pub(crate) fn find_in<'s, T, A>(
    tier: &'s Tier<T>,
    mask: &Mask,
    excluded: &mut Excluded,
    caller: &mut LaneCaller<'_>,
    admit: impl Fn(&Live<T>, &Moment<'_>) -> Option<A>,
    watch: Watch<'_>,
) -> Option<(&'s Node<T>, A)> {
    let mut passed = Excluded::from_iter(caller.passed_over.take());
    excluded.extend(passed.iter().copied());
    let (mut refusals, mut passes) = (0, passed.len());
    for _ in 0..ROUNDS_OF_CHOICE {
        let view = TierView { tier, mask, excluded, watch };
        let Some(position) = tier.policy.choose(&view, caller) else { break };
        let node = match tier.nodes.get(position) {
            Some(node) if !excluded.contains(&node.live.token) => node,
            // A policy from outside that breaks the laws fails the pick of that policy, not the request.
            _ => match Random.choose(&view, caller).and_then(|position| tier.nodes.get(position)) {
                Some(node) => node,
                None => break,
            },
        };
        if !node.live.factor.is_full() && !factor::takes(tier, &node.live, caller) {
            passes += 1;
            if factor::would_repeat(tier.wants) {
                passed.push(node.live.token);
                excluded.push(node.live.token);
            }
            continue;
        }
        if let Some(given) = admit(&node.live, caller.moment) {
            return Some((node, given));
        }
        excluded.push(node.live.token);
        refusals += 1;
        if refusals == REFUSALS {
            break;
        }
    }
    if passes == 0 && refusals < REFUSALS && excluded.len() >= mask.usable() {
        return None;
    }
    // A factor says less, never nothing: before another tier is asked, those that were passed over are.
    excluded.retain(|token| !passed.contains(token));
    ask_all(tier, mask, excluded, caller, admit)
}

/// So many refusals mean that a large part is half open: asks each of the rest once, from a random start.
fn ask_all<'s, T, A>(
    tier: &'s Tier<T>,
    mask: &Mask,
    excluded: &Excluded,
    caller: &mut LaneCaller<'_>,
    admit: impl Fn(&Live<T>, &Moment<'_>) -> Option<A>,
) -> Option<(&'s Node<T>, A)> {
    let count = mask.len();
    let start = below((caller.draw() >> 32) as u32, count as u32) as usize;
    let positions = (start..count).chain(0..start).filter(|&position| mask.contains(position));
    positions.filter_map(|position| tier.nodes.get(position)).find_map(|node| {
        if excluded.contains(&node.live.token) {
            return None;
        }
        admit(&node.live, caller.moment).map(|given| (&**node, given))
    })
}

/// Masks are read one after the other, and a flip in between can hide an endpoint from both reads; flips that meet an
/// update may reach only the next snapshot's masks. So nobody is refused before every own word was read; once more, if
/// somebody flipped meanwhile. O(n), where the error costs O(n) anyway.
fn ask_everybody<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    tried: &[u64],
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
) -> Option<Found<'s, T, A>> {
    let roster = &caller.moment.control.roster;
    let count: usize = snapshot.used().map(|tier| tier.nodes.len()).sum();
    let start = below((caller.draw() >> 32) as u32, count as u32) as usize;
    for _ in 0..ROUNDS {
        let flips = roster.flips();
        let nodes = || snapshot.used().flat_map(|tier| tier.nodes.iter().map(move |node| (node, tier)));
        let found = nodes().skip(start).chain(nodes().take(start)).find_map(|(node, tier)| {
            if tried.contains(&node.live.token) {
                return None;
            }
            let given = admit(&node.live, caller.moment, Gate::Usable)?;
            let mut marks = Marks::FALLBACK;
            marks.set(Marks::DEGRADED, node.live.status().is_degraded());
            Some((&**node, tier, given, tier.way.with(marks)))
        });
        if found.is_some() || roster.flips() == flips {
            return found;
        }
    }
    None
}

/// Counts why nothing was left. O(n), on the way out only.
fn explain_failure<T>(snapshot: &Snapshot<T>, request: &Request<'_>, control: &Control) -> PickError {
    if !snapshot.known {
        return PickError::NotKnown(control.freshness());
    }
    let mut shortage = Shortage { total: snapshot.len() as u32, ..Shortage::default() };
    if shortage.total == 0 {
        return PickError::Empty(control.freshness());
    }
    let used = || snapshot.used().flat_map(|tier| tier.nodes.iter());
    shortage.outside_subset = shortage.total - used().count() as u32;
    for node in used() {
        let status = node.live.status();
        if status.usable() && request.tried().contains(&node.live.token) {
            shortage.tried += 1;
        } else if status.usable() && node.live.is_saturated() {
            shortage.saturated += 1;
        } else {
            shortage.count(status.cause());
        }
    }
    if shortage.tried > 0
        && shortage.probing == 0
        && shortage.saturated == 0
        && request.strictness() == Strictness::Exclude
    {
        return PickError::AllTried { tried: shortage.tried };
    }
    shortage.retry_at = used()
        .filter(|node| !request.tried().contains(&node.live.token))
        .filter_map(|node| node.live.back_at())
        .min();
    shortage.freshness = control.freshness();
    shortage.free_in = used().filter_map(|node| node.live.free_in()).min();
    PickError::NoneUsable(shortage)
}

/// How often own words are read again because somebody flipped meanwhile.
const ROUNDS: usize = 8;
/// How often a policy is asked in one tier: enough for nearly every share to be exact where most factors are small.
const ROUNDS_OF_CHOICE: usize = 64;
/// How many refusals are met by choosing again before every endpoint is asked in turn.
const REFUSALS: usize = 8;
