//! From a snapshot to one endpoint: tiers in order, and in each the loop of choosing and being admitted.

use evenkeel_balance::{Caller, Mask, Random};
use evenkeel_breaker::Permit;
use evenkeel_types::below;
use smallvec::SmallVec;

use crate::error::{PickError, Shortage};
use crate::live::{Live, Node};
use crate::request::{LaneCaller, Request, Strictness};
use crate::snapshot::{Snapshot, Tier, TierView};

/// An endpoint that was chosen and let the request in.
pub(crate) struct Chosen<'s, T> {
    pub(crate) node: &'s Node<T>,
    pub(crate) tier: &'s Tier<T>,
    pub(crate) permit: Option<Permit>,
}

/// Tokens that a request must not get: what it tried, and what refused it.
type Excluded = SmallVec<[u64; 16]>;

/// Chooses for `request`. The usual case is the first draw in the first tier; everything else is out of line.
#[inline(always)]
pub(crate) fn choose<'s, T>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
) -> Result<Chosen<'s, T>, PickError> {
    let tier = &snapshot.first;
    let view = TierView { tier, mask: &tier.masks.preferred, excluded: caller.request.tried() };
    let position = tier.policy.choose(&view, caller);
    if let Some(node) = position.and_then(|position| tier.nodes.get(position))
        && (view.excluded.is_empty() || !is_among(view.excluded, node.live.token))
        && let Some(permit) = admit(&node.live)
    {
        return Ok(Chosen { node, tier, permit });
    }
    let (node, tier, permit) = choose_on(snapshot, caller, admit)?;
    Ok(Chosen { node, tier, permit })
}

/// Chooses without asking the breaker for a permit: an endpoint whose breaker is not open will do.
#[inline(always)]
pub(crate) fn choose_uncounted<'s, T>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
) -> Result<&'s Live<T>, PickError> {
    let tier = &snapshot.first;
    let view = TierView { tier, mask: &tier.masks.preferred, excluded: caller.request.tried() };
    let position = tier.policy.choose(&view, caller);
    match position.and_then(|position| tier.nodes.get(position)) {
        Some(node)
            if node.live.standing.is_usable()
                && (view.excluded.is_empty() || !is_among(view.excluded, node.live.token)) =>
        {
            Ok(&node.live)
        }
        _ => choose_on(snapshot, caller, |live| live.standing.is_usable().then_some(()))
            .map(|(node, ..)| &*node.live),
    }
}

/// A retry's question, out of the way of first attempts.
#[cold]
#[inline(never)]
pub(crate) fn is_among(tokens: &[u64], token: u64) -> bool {
    tokens.contains(&token)
}

/// The endpoint's own word, then its breaker's. The mask may lag behind a flip by a moment; the own word does not.
#[inline]
fn admit<T>(live: &Live<T>) -> Option<Option<Permit>> {
    if live.standing.is_usable() { live.admit().ok() } else { None }
}

/// Asks an endpoint whether it lets the request in, and for what it gives in return.
type Admit<T, A> = fn(&Live<T>) -> Option<A>;

/// Where a choice ended: the endpoint, its tier, and what it gave.
type Found<'s, T, A> = (&'s Node<T>, &'s Tier<T>, A);

/// What the next pick would find: asks breakers, and spends nothing.
pub(crate) fn choose_dry<'s, T>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
) -> Result<&'s Live<T>, PickError> {
    let tier = &snapshot.first;
    let would_admit = |live: &Live<T>| (live.standing.is_usable() && live.would_admit()).then_some(());
    let view = TierView { tier, mask: &tier.masks.preferred, excluded: caller.request.tried() };
    let position = tier.policy.choose(&view, caller);
    match position.and_then(|position| tier.nodes.get(position)) {
        Some(node) if !is_among(view.excluded, node.live.token) && would_admit(&node.live).is_some() => {
            Ok(&node.live)
        }
        _ => choose_on(snapshot, caller, would_admit).map(|(node, ..)| &*node.live),
    }
}

#[cold]
fn choose_on<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
) -> Result<Found<'s, T, A>, PickError> {
    let request = caller.request;
    if let Some(found) = choose_but(snapshot, request.tried(), caller, admit) {
        return Ok(found);
    }
    if request.strictness() == Strictness::Prefer
        && !request.tried().is_empty()
        && let Some(found) = choose_but(snapshot, &[], caller, admit)
    {
        return Ok(found);
    }
    Err(explain_failure(snapshot, request))
}

/// Plainly usable ones in the order of tiers, then degraded ones.
fn choose_but<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    tried: &[u64],
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
) -> Option<Found<'s, T, A>> {
    let mut excluded = Excluded::from_slice(tried);
    let preferred = snapshot.tiers().map(|tier| (tier, &tier.masks.preferred));
    let degraded = snapshot.tiers().map(|tier| (tier, &tier.masks.degraded));
    preferred.chain(degraded).find_map(|(tier, mask)| {
        let (node, given) = match mask.usable() {
            0 => None,
            _ => choose_in(tier, mask, &mut excluded, caller, admit),
        }?;
        Some((node, tier, given))
    })
}

/// Choose, ask, exclude on refusal, choose again: until one admits the request or all have refused.
fn choose_in<'s, T, A>(
    tier: &'s Tier<T>,
    mask: &Mask,
    excluded: &mut Excluded,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
) -> Option<(&'s Node<T>, A)> {
    for _ in 0..REFUSALS {
        let view = TierView { tier, mask, excluded };
        let position = tier.policy.choose(&view, caller)?;
        let node = match tier.nodes.get(position) {
            Some(node) if !excluded.contains(&node.live.token) => node,
            // A policy from outside that breaks the laws fails the pick of that policy, not the request.
            _ => tier.nodes.get(Random.choose(&view, caller)?)?,
        };
        if let Some(given) = admit(&node.live) {
            return Some((node, given));
        }
        excluded.push(node.live.token);
    }
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
        admit(&node.live).map(|given| (&**node, given))
    })
}

/// Counts why nothing was left. O(n), on the way out only.
fn explain_failure<T>(snapshot: &Snapshot<T>, request: &Request<'_>) -> PickError {
    if !snapshot.known {
        return PickError::NotKnown;
    }
    let mut shortage = Shortage { total: snapshot.len() as u32, ..Shortage::default() };
    if shortage.total == 0 {
        return PickError::Empty;
    }
    for node in snapshot.nodes() {
        let status = node.live.status();
        if status.usable() && request.tried().contains(&node.live.token) {
            shortage.tried += 1;
        } else {
            shortage.count(status.cause());
        }
    }
    if shortage.tried > 0 && shortage.probing == 0 && request.strictness() == Strictness::Exclude {
        return PickError::AllTried { tried: shortage.tried };
    }
    shortage.retry_at = snapshot.nodes().filter_map(|node| node.live.open_until()).min();
    PickError::NoneUsable(shortage)
}

/// How many refusals are met by choosing again before every endpoint is asked in turn.
const REFUSALS: usize = 8;
