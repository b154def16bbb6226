//! From a snapshot to one endpoint: tiers in order, and in each the loop of choosing and being admitted.

use std::cell::RefCell;

use evenkeel_balance::{Caller, Mask, Random};
use evenkeel_breaker::Permit;
use evenkeel_types::below;
use smallvec::SmallVec;

use crate::error::{PickError, Shortage};
use crate::live::Live;
use crate::node::Node;
use crate::request::{LaneCaller, Request, Strictness};
use crate::snapshot::{Snapshot, Tier, TierView};

/// An endpoint that was chosen and let the request in.
pub(crate) struct Chosen<'s, T> {
    pub(crate) node: &'s Node<T>,
    pub(crate) tier: &'s Tier<T>,
    pub(crate) permit: Option<Permit>,
}

/// Asks an endpoint whether it lets the request in, and for what it gives in return.
type Admit<T, A> = fn(&Live<T>) -> Option<A>;

/// Where a choice ended: the endpoint, its tier, and what it gave.
type Found<'s, T, A> = (&'s Node<T>, &'s Tier<T>, A);

/// Tokens that a request must not get: what it tried, and what refused it.
type Excluded = SmallVec<[u64; 16]>;

/// The tokens that policies looked at, if somebody wants to know.
pub(crate) type Watch<'a> = Option<&'a RefCell<Vec<u64>>>;

/// Chooses for `request` and takes its permit.
#[inline(always)]
pub(crate) fn choose<'s, T>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
) -> Result<Chosen<'s, T>, PickError> {
    let (node, tier, permit) = find(snapshot, caller, admit, None)?;
    Ok(Chosen { node, tier, permit })
}

/// Chooses without asking the breaker for a permit: an endpoint whose breaker is not open will do.
#[inline(always)]
pub(crate) fn choose_uncounted<'s, T>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
) -> Result<&'s Live<T>, PickError> {
    find(snapshot, caller, |live| live.standing.is_usable().then_some(()), None).map(|(node, ..)| &*node.live)
}

/// What the next pick would find: asks breakers, spends nothing, and tells what was looked at.
pub(crate) fn choose_dry<'s, T>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    watch: Watch<'_>,
) -> Result<&'s Live<T>, PickError> {
    let would_admit = |live: &Live<T>| (live.standing.is_usable() && live.would_admit()).then_some(());
    find(snapshot, caller, would_admit, watch).map(|(node, ..)| &*node.live)
}

/// The endpoint's own word, then its breaker's. The mask may lag behind a flip by a moment; the own word does not.
#[inline]
fn admit<T>(live: &Live<T>) -> Option<Option<Permit>> {
    if live.standing.is_usable() { live.admit().ok() } else { None }
}

/// The usual case is the first draw in the first tier; everything else is out of line.
#[inline(always)]
fn find<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Result<Found<'s, T, A>, PickError> {
    let tier = &snapshot.first;
    let mask = &tier.masks.preferred;
    let view = TierView { tier, mask, excluded: caller.request.tried(), watch };
    if mask.usable() > 0
        && let Some(position) = tier.policy.choose(&view, caller)
        && let Some(node) = tier.nodes.get(position)
        && (view.excluded.is_empty() || !is_among(view.excluded, node.live.token))
        && let Some(given) = admit(&node.live)
    {
        return Ok((node, tier, given));
    }
    find_on(snapshot, caller, admit, watch)
}

/// A retry's question, out of the way of first attempts.
#[cold]
#[inline(never)]
pub(crate) fn is_among(tokens: &[u64], token: u64) -> bool {
    tokens.contains(&token)
}

#[cold]
#[inline(never)]
fn find_on<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Result<Found<'s, T, A>, PickError> {
    let request = caller.request;
    if let Some(found) = find_but(snapshot, request.tried(), caller, admit, watch) {
        return Ok(found);
    }
    if request.strictness() == Strictness::Prefer
        && !request.tried().is_empty()
        && let Some(found) = find_but(snapshot, &[], caller, admit, watch)
    {
        return Ok(found);
    }
    Err(explain_failure(snapshot, request))
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
    let preferred = snapshot.tiers().map(|tier| (tier, &tier.masks.preferred));
    let degraded = snapshot.tiers().map(|tier| (tier, &tier.masks.degraded));
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
fn find_in<'s, T, A>(
    tier: &'s Tier<T>,
    mask: &Mask,
    excluded: &mut Excluded,
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
    watch: Watch<'_>,
) -> Option<(&'s Node<T>, A)> {
    for _ in 0..REFUSALS {
        let view = TierView { tier, mask, excluded, watch };
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

/// Masks are read one after the other, and a flip in between can hide an endpoint from both reads; flips that meet an
/// update may reach only the next snapshot's masks. So nobody is refused before every own word was read; once more, if
/// somebody flipped meanwhile. O(n), where the error costs O(n) anyway.
fn ask_everybody<'s, T, A>(
    snapshot: &'s Snapshot<T>,
    tried: &[u64],
    caller: &mut LaneCaller<'_>,
    admit: Admit<T, A>,
) -> Option<Found<'s, T, A>> {
    let roster = &caller.control.roster;
    let start = below((caller.draw() >> 32) as u32, snapshot.len() as u32) as usize;
    for _ in 0..ROUNDS {
        let flips = roster.flips();
        let nodes = || snapshot.tiers().flat_map(|tier| tier.nodes.iter().map(move |node| (node, tier)));
        let found = nodes().skip(start).chain(nodes().take(start)).find_map(|(node, tier)| {
            if tried.contains(&node.live.token) {
                return None;
            }
            admit(&node.live).map(|given| (&**node, tier, given))
        });
        if found.is_some() || roster.flips() == flips {
            return found;
        }
    }
    None
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
    shortage.retry_at = snapshot
        .nodes()
        .filter(|node| !request.tried().contains(&node.live.token))
        .filter_map(|node| node.live.breaker_deadline())
        .min();
    PickError::NoneUsable(shortage)
}

/// How often own words are read again because somebody flipped meanwhile.
const ROUNDS: usize = 8;
/// How many refusals are met by choosing again before every endpoint is asked in turn.
const REFUSALS: usize = 8;
