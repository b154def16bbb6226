//! From a snapshot to one endpoint: tiers in order, and in each the loop of choosing and being admitted.

use std::cell::RefCell;

use evenkeel_balance::{Caller, Mask, Random};
use evenkeel_types::below;
use smallvec::SmallVec;

use crate::avoid;
use crate::control::Control;
use crate::error::{PickError, Shortage};
use crate::factor;
use crate::grant::Grant;
use crate::live::Live;
use crate::moment::Moment;
use crate::node::Node;
use crate::request::{LaneCaller, Request, Strictness};
use crate::snapshot::{Snapshot, Tier, TierView};

/// Asks an endpoint whether it lets the request in, and for what it gives in return.
pub(crate) type Admit<T, A> = fn(&Live<T>, &Moment<'_>) -> Option<A>;

/// Where a choice ended: the endpoint, its tier, and what it gave.
pub(crate) type Found<'s, T, A> = (&'s Node<T>, &'s Tier<T>, A);

/// Tokens that a request must not get: what it tried, and what refused it.
///
/// Room for eight tried ones, and for all that one tier can pass over and refuse: so that a pick allocates nothing.
pub(crate) type Excluded = SmallVec<[u64; 96]>;

/// The tokens that policies looked at, if somebody wants to know.
pub(crate) type Watch<'a> = Option<&'a RefCell<Vec<u64>>>;

/// The endpoint's own word, then its breaker's: what a pick asks. The mask may lag behind a flip by a moment; the own word
/// does not.
#[inline(always)]
pub(crate) fn admit<T>(live: &Live<T>, moment: &Moment<'_>) -> Option<Grant> {
    if !live.standing.is_usable() {
        return None;
    }
    if moment.control.is_plain { Some(Grant::none()) } else { live.admit(moment) }
}

/// The own word alone: an endpoint whose breaker is not open will do.
#[inline(always)]
pub(crate) fn is_usable<T>(live: &Live<T>, _: &Moment<'_>) -> Option<()> {
    live.standing.is_usable().then_some(())
}

/// What the next pick would find: asks breakers, spends nothing, and tells what was looked at.
pub(crate) fn choose_dry<'s, T>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    watch: Watch<'_>,
) -> Result<&'s Live<T>, PickError> {
    let would_admit =
        |live: &Live<T>, _: &Moment<'_>| (live.standing.is_usable() && live.would_admit()).then_some(());
    let found = match first_try(snapshot, caller, would_admit, watch) {
        Some(found) => found,
        None => find(snapshot, caller, would_admit, watch)?,
    };
    Ok(&found.0.live)
}

/// The usual case: the first draw in the first tier. Everything else is out of line, in [`find`].
#[inline(always)]
pub(crate) fn first_try<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    admit: impl Fn(&Live<T>, &Moment<'_>) -> Option<A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    let tier = &snapshot.first;
    let mask = &tier.masks.preferred;
    if mask.usable() == 0 {
        return None;
    }
    let view = TierView { tier, mask, excluded: caller.request.tried(), watch };
    let node = tier.nodes.get(tier.policy.choose(&view, caller)?)?;
    if !view.excluded.is_empty()
        && (is_among(view.excluded, node.live.token) || caller.request.avoided().contains(&tier.priority))
    {
        return None;
    }
    if !node.live.factor.is_full() && !takes_first(tier, &node.live, caller) {
        return None;
    }
    admit(&node.live, caller.moment).map(|given| (&**node, tier, given))
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

/// All the rest: other draws, other tiers, degraded endpoints, and at last the reason why there is nobody.
///
/// # Errors
///
/// [`PickError`], with the numbers.
#[cold]
#[inline(never)]
pub(crate) fn find<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Result<Found<'s, T, A>, PickError> {
    let request = caller.request;
    if !request.tried().is_empty()
        && !request.avoided().is_empty()
        && let Some(found) = avoid::find(snapshot, caller, admit, watch)
    {
        return Ok(found);
    }
    if let Some(found) = find_but(snapshot, request.tried(), caller, admit, watch) {
        return Ok(found);
    }
    if request.strictness() == Strictness::Prefer
        && !request.tried().is_empty()
        && let Some(found) = find_but(snapshot, &[], caller, admit, watch)
    {
        return Ok(found);
    }
    Err(explain_failure(snapshot, request, caller.moment.control))
}

/// Plainly usable ones in the order of tiers, then degraded ones; and before giving up, every own word.
fn find_but<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    tried: &[u64],
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Option<Found<'s, T, A>> {
    let mut excluded = Excluded::from_slice(tried);
    let preferred = snapshot.used().map(|tier| (tier, &tier.masks.preferred));
    let degraded = snapshot.used().map(|tier| (tier, &tier.masks.degraded));
    for (cycle, (tier, mask)) in preferred.chain(degraded).enumerate() {
        caller.cycle = cycle;
        if mask.usable() > 0
            && let Some((node, given)) = find_in(tier, mask, &mut excluded, caller, admit, watch)
        {
            return Some((node, tier, given));
        }
    }
    ask_everybody(snapshot, tried, caller, admit)
}

/// Choose, ask, exclude on refusal, choose again: until one admits the request or all have refused.
pub(crate) fn find_in<'s, T, A>(
    tier: &'s Tier<T>,
    mask: &Mask,
    excluded: &mut Excluded,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
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
    admit: Admit<T, A>,
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
            admit(&node.live, caller.moment).map(|given| (&**node, tier, given))
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
