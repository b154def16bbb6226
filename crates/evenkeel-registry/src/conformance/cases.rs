use evenkeel_types::{Address, Announced, Difference, Endpoint, EndpointId, Weight};

use super::{Done, Eyes, Refusal, StoreUnderTest};
use crate::{ChangeKind, SourceState};

type Case = fn(&mut dyn StoreUnderTest, &mut Eyes) -> Done;

pub(super) const ALL: [(&str, Case); 13] = [
    ("initial_set", initial_set),
    ("add", add),
    ("weight_only", weight_only),
    ("remove", remove),
    ("malformed_among_good", malformed_among_good),
    ("crash_of_a_registrant", crash_of_a_registrant),
    ("drain_before_leaving", drain_before_leaving),
    ("compaction", compaction),
    ("stopped_store", stopped_store),
    ("restarted_with_older_data", restarted_with_older_data),
    ("restarted_empty", restarted_empty),
    ("a_thousand", a_thousand),
    ("start_from_a_disk", start_from_a_disk),
];

fn initial_set(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    for number in 1..=3 {
        put(store, eyes, number)?;
    }
    eyes.until_equal(store, |limits| limits.change)
}

fn add(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    eyes.changes.clear();
    put(store, eyes, 4)?;
    eyes.until_equal(store, |limits| limits.change)?;
    let id = store.shown(&endpoint(4)).id().clone();
    match eyes.changes.as_slice() {
        [only] if *only.id() == id && only.kind == ChangeKind::Added => Ok(()),
        others => Err(Refusal::Failed(format!("one addition, told as {others:?}"))),
    }
}

fn weight_only(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    eyes.changes.clear();
    let heavy = endpoint(2).with_weight(Weight::new(7));
    store.change_weight(&heavy)?;
    eyes.expected.insert(heavy.id().clone(), heavy);
    eyes.until_equal(store, |limits| limits.change)?;
    match eyes.changes.as_slice() {
        [only] if only.kind == (ChangeKind::Updated { what: Difference::WEIGHT }) => Ok(()),
        others => Err(Refusal::Failed(format!("one change of weight, told as {others:?}"))),
    }
}

fn remove(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    let gone = endpoint(3);
    store.remove(gone.id())?;
    eyes.expected.remove(gone.id());
    eyes.until_equal(store, |limits| limits.change)
}

fn malformed_among_good(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    let before = rejected(eyes);
    store.put_malformed()?;
    put(store, eyes, 5)?;
    eyes.until_equal(store, |limits| limits.change)?;
    let limit = store.limits().change;
    eyes.until(store, limit, "a reject counted", |eyes, _| rejected(eyes) > before)
}

fn crash_of_a_registrant(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    let registrant = endpoint(21);
    store.register(&registrant)?;
    eyes.expected.insert(registrant.id().clone(), registrant.clone());
    eyes.until_equal(store, |limits| limits.change)?;
    let crashed = store.crash(registrant.id());
    eyes.expected.remove(registrant.id());
    crashed?;
    eyes.until_equal(store, |limits| limits.expiry)
}

fn drain_before_leaving(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    let registrant = endpoint(22);
    store.register(&registrant)?;
    eyes.expected.insert(registrant.id().clone(), registrant.clone());
    eyes.until_equal(store, |limits| limits.change)?;
    eyes.changes.clear();
    let drained = store.drain(registrant.id());
    eyes.expected.remove(registrant.id());
    drained?;
    eyes.until_equal(store, |limits| limits.expiry)?;
    let id = store.shown(&registrant).id().clone();
    let draining = |endpoint: &Endpoint| {
        endpoint.weight() == Weight::new(0) || endpoint.announced() == Announced::Draining
    };
    let seen = eyes.changes.iter().any(|change| {
        *change.id() == id && matches!(change.kind, ChangeKind::Updated { .. }) && draining(&change.endpoint)
    });
    if seen { Ok(()) } else { Err(Refusal::Failed("it left without having been seen to drain".to_owned())) }
}

fn compaction(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    store.compact()?;
    put(store, eyes, 6)?;
    eyes.until_equal(store, |limits| limits.reconnect)
}

fn stopped_store(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    let limits = store.limits();
    store.stop()?;
    let stale = eyes.until(store, limits.stale, "stale", |_, snapshot| is_stale(snapshot.state()));
    let kept = eyes.until_equal(store, |limits| limits.step);
    store.go_on()?;
    stale?;
    kept?;
    eyes.until(store, limits.reconnect, "live again", |_, snapshot| snapshot.state() == SourceState::Live)?;
    put(store, eyes, 7)?;
    eyes.until_equal(store, |limits| limits.reconnect)
}

fn restarted_with_older_data(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    store.checkpoint()?;
    let older = eyes.expected.clone();
    put(store, eyes, 8)?;
    eyes.until_equal(store, |limits| limits.change)?;
    store.restart_older()?;
    eyes.expected = older;
    eyes.until_equal(store, |limits| limits.reconnect.saturating_add(limits.guard))?;
    put(store, eyes, 9)?;
    eyes.until_equal(store, |limits| limits.change)
}

fn restarted_empty(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    let limits = store.limits();
    store.restart_empty()?;
    let held = |eyes: &Eyes| eyes.watch.sources().iter().any(|source| source.held.is_some());
    let seen = eyes.until(store, limits.reconnect, "the set held", |eyes, _| held(eyes));
    let again: Vec<_> = eyes.expected.values().cloned().collect();
    store.put_many(&again)?;
    seen?;
    eyes.until(store, limits.reconnect, "the hold over", |eyes, _| !held(eyes))?;
    eyes.until_equal(store, |limits| limits.reconnect)
}

fn a_thousand(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    let many: Vec<_> = (1_000..2_000).map(endpoint).collect();
    store.put_many(&many)?;
    eyes.expected.extend(many.into_iter().map(|endpoint| (endpoint.id().clone(), endpoint)));
    eyes.until_equal(store, |limits| limits.bulk)
}

fn start_from_a_disk(store: &mut dyn StoreUnderTest, eyes: &mut Eyes) -> Done {
    let limits = store.limits();
    let saved = store.save()?;
    store.stop()?;
    let restarted = store.restart_adapter(&saved);
    let seen = restarted.and_then(|watch| {
        let expected = std::mem::take(&mut eyes.expected);
        *eyes = Eyes::new(watch);
        eyes.expected = expected;
        eyes.until(store, limits.step, "stale", |_, snapshot| is_stale(snapshot.state()))?;
        eyes.until_equal(store, |limits| limits.step)
    });
    store.go_on()?;
    seen?;
    eyes.until(store, limits.reconnect, "live", |_, snapshot| snapshot.state() == SourceState::Live)?;
    eyes.until_equal(store, |limits| limits.reconnect)
}

fn put(store: &mut dyn StoreUnderTest, eyes: &mut Eyes, number: u32) -> Done {
    let endpoint = endpoint(number);
    store.put(&endpoint)?;
    eyes.expected.insert(endpoint.id().clone(), endpoint);
    Ok(())
}

fn endpoint(number: u32) -> Endpoint {
    let id = EndpointId::new(format!("case-{number:04}")).expect("a short name");
    let [_, _, high, low] = number.to_be_bytes();
    Endpoint::new(id, Address::Socket(([10, 77, high, low], 8080).into()))
}

fn rejected(eyes: &Eyes) -> u64 {
    eyes.watch.sources().iter().map(|source| source.rejected).sum()
}

fn is_stale(state: SourceState) -> bool {
    matches!(state, SourceState::Stale { .. })
}
