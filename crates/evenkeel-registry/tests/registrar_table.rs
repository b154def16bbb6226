//! Every state of the registrar, every input; and no sequence of inputs leaves it stuck.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::time::Duration;

use evenkeel_registry::{
    Action, Announce, Answer, Heard, LeaseToken, Order, Owner, Registrar, RegistrarConfig, RegistrarError,
    RegistrarState, TroubleKind,
};
use evenkeel_types::{Endpoint, Timestamp, Weight};
use proptest::collection::vec;
use proptest::prelude::*;

use RegistrarState::{Draining, Gone, Granting, Kept, Lost, Removing, Waiting, Writing};

fn secs(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

const NOW: Timestamp = Timestamp::from_secs(1);
const TTL: Duration = Duration::from_secs(15);

fn fresh() -> Registrar {
    let endpoint = Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
    Registrar::new(endpoint, RegistrarConfig::default(), 3).unwrap()
}

fn done(action: &Action) -> Answer {
    match action {
        Action::Grant { .. } => Answer::Granted { lease: LeaseToken::new(1), ttl: TTL },
        Action::Write { .. } => Answer::Written,
        Action::Renew { .. } => Answer::Renewed { ttl: TTL },
        _ => Answer::Removed,
    }
}

/// A registrar in a state, with the order of that state outstanding, and the present.
fn in_state(state: RegistrarState) -> (Registrar, Option<Order>, Timestamp) {
    let mut registrar = fresh();
    let mut now = NOW;
    if state != Waiting {
        registrar.ready(now, true);
    }
    let mut order = registrar.poll(now);
    for _ in 0..20 {
        if registrar.state() == state {
            return (registrar, order, now);
        }
        if registrar.state() == Kept {
            match state {
                Lost => {
                    let lease = registrar.lease().unwrap().0.clone();
                    registrar.lease_lost(now, &lease);
                }
                _ => registrar.drain(now),
            }
            order = if state == Lost { None } else { registrar.poll(now) };
            continue;
        }
        if let Some(order) = order.take() {
            registrar.answer(now, order.ticket, done(&order.action));
        }
        if registrar.state() == Draining && state != Draining {
            now = registrar.next_deadline().unwrap().max(now);
        }
        if registrar.state() != Kept {
            order = registrar.poll(now);
        }
    }
    panic!("{state:?} was not reached: {registrar:?}")
}

/// After one input in one state: the state then.
fn check(from: RegistrarState, input: &str, to: RegistrarState) {
    let (mut registrar, order, now) = in_state(from);
    let mut answer = |answer: Answer| {
        let order = order.clone().or_else(|| {
            // In Kept, the order is a renewal that has still to come due.
            let due = registrar.next_deadline()?;
            registrar.poll(due)
        });
        if let Some(order) = order {
            let answer = if answer == Answer::Written { done(&order.action) } else { answer };
            registrar.answer(now, order.ticket, answer);
        }
    };
    match input {
        "done" => answer(Answer::Written),
        "failed" => answer(Answer::Failed { kind: TroubleKind::Server }),
        "lost" => answer(Answer::LeaseLost),
        "nonsense" => answer(Answer::Exists { owner: Owner::Other }),
        "ready" => registrar.ready(now, true),
        "not ready" => registrar.ready(now, false),
        "drain" => registrar.drain(now),
        "timeout" => _ = registrar.poll(order.map_or(now, |order| order.deadline)),
        "stale" => {
            let mut other = fresh();
            other.ready(now, true);
            let mut tickets = Vec::new();
            while tickets.len() < 9 {
                let next = other.next_deadline().unwrap();
                tickets.extend(other.poll(next).map(|order| order.ticket));
            }
            let heard = registrar.answer(now, *tickets.last().unwrap(), Answer::Removed);
            assert_eq!(heard, Heard::Stale);
        }
        _ => panic!("{input}"),
    }
    assert_eq!(registrar.state(), to, "{from:?}, {input}: {registrar:?}");
}

#[test]
fn every_state_and_every_input() {
    let inputs = ["done", "failed", "lost", "nonsense", "ready", "not ready", "drain", "timeout", "stale"];
    let table = [
        (Waiting, [Waiting, Waiting, Waiting, Waiting, Granting, Waiting, Gone, Waiting, Waiting]),
        (Granting, [Writing, Granting, Granting, Granting, Granting, Waiting, Gone, Granting, Granting]),
        (Writing, [Kept, Writing, Lost, Writing, Writing, Removing, Removing, Writing, Writing]),
        (Kept, [Kept, Kept, Lost, Kept, Kept, Draining, Draining, Kept, Kept]),
        (Lost, [Writing, Granting, Granting, Granting, Lost, Removing, Removing, Lost, Lost]),
        (
            Draining,
            [Draining, Draining, Draining, Draining, Draining, Draining, Draining, Removing, Draining],
        ),
        (Removing, [Gone, Removing, Gone, Removing, Removing, Removing, Removing, Removing, Removing]),
        (Gone, [Gone; 9]),
    ];
    for (from, row) in table {
        for (input, to) in inputs.into_iter().zip(row) {
            check(from, input, to);
        }
    }
}

#[test]
fn who_is_ready_again_while_draining_stays() {
    let (mut registrar, _, now) = in_state(Kept);
    registrar.ready(now, false);
    let order = registrar.poll(now).unwrap();
    registrar.answer(now, order.ticket, Answer::Written);
    registrar.ready(now, true);
    assert_eq!(registrar.state(), Kept);
    let order = registrar.poll(now).unwrap();
    let Action::Write { endpoint, .. } = order.action else { panic!("{order:?}") };
    assert_eq!(endpoint.weight(), Weight::ONE, "what it announced as draining is taken back");
}

#[test]
fn who_was_not_ready_registers_again() {
    let (mut registrar, _, mut now) = in_state(Kept);
    registrar.ready(now, false);
    for _ in 0..9 {
        if let Some(order) = registrar.poll(now) {
            registrar.answer(now, order.ticket, done(&order.action));
        }
        now = registrar.next_deadline().unwrap_or(now).max(now);
    }
    assert_eq!(registrar.state(), Waiting);
    registrar.ready(now, true);
    assert_eq!(registrar.state(), Granting);
}

#[test]
fn without_a_word_readers_are_given_time_after_the_removal() {
    let config = RegistrarConfig { announce: Announce::Nothing, ..RegistrarConfig::default() };
    let endpoint = Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
    let mut registrar = Registrar::new(endpoint, config, 3).unwrap();
    registrar.ready(NOW, true);
    while registrar.state() != Kept {
        let order = registrar.poll(NOW).unwrap();
        registrar.answer(NOW, order.ticket, done(&order.action));
    }
    registrar.drain(secs(2));
    let order = registrar.poll(secs(2)).unwrap();
    assert!(matches!(order.action, Action::Remove { .. }));
    registrar.answer(secs(2), order.ticket, Answer::Removed);
    assert_eq!((registrar.state(), registrar.next_deadline()), (Removing, Some(secs(7))));
    assert!(registrar.poll(secs(7)).is_none());
    assert_eq!((registrar.state(), registrar.last_error()), (Gone, None));
}

#[test]
fn a_store_that_never_answers_does_not_hold_up_the_end() {
    let (mut registrar, _, mut now) = in_state(Kept);
    registrar.drain(now);
    let start = now;
    while registrar.state() != Gone {
        let _unanswered = registrar.poll(now);
        now = registrar.next_deadline().unwrap_or(now).max(now);
        assert!(now.saturating_since(start) <= Duration::from_secs(36), "{registrar:?}");
    }
    // Nobody has said that the entry is gone.
    assert_eq!(registrar.last_error(), Some(RegistrarError::Failed(TroubleKind::Timeout)));
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Poll,
    Answer(u8),
    OldAnswer(u8),
    Ready(bool),
    Drain,
    Lost,
    Wait(u32),
    Back(u32),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => Just(Input::Poll),
        6 => any::<u8>().prop_map(Input::Answer),
        1 => any::<u8>().prop_map(Input::OldAnswer),
        2 => any::<bool>().prop_map(Input::Ready),
        1 => Just(Input::Drain),
        1 => Just(Input::Lost),
        4 => (0..20_000_u32).prop_map(Input::Wait),
        1 => (0..20_000_u32).prop_map(Input::Back),
    ]
}

fn some_answer(draw: u8) -> Answer {
    match draw % 8 {
        0 => Answer::Granted { lease: LeaseToken::new(draw), ttl: Duration::from_secs((draw % 32).into()) },
        1 => Answer::Written,
        2 => Answer::Renewed { ttl: Duration::from_secs((draw % 32).into()) },
        3 => Answer::Removed,
        4 => Answer::LeaseLost,
        5 => {
            Answer::Exists { owner: [Owner::Mine, Owner::OlderSession, Owner::Other][usize::from(draw) % 3] }
        }
        _ => Answer::Failed { kind: TroubleKind::Server },
    }
}

fn play(inputs: &[Input], seed: u64) -> (Registrar, Timestamp, Vec<Order>) {
    let endpoint = Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
    let mut registrar = Registrar::new(endpoint, RegistrarConfig::default(), seed).unwrap();
    let (mut now, mut orders) = (NOW, Vec::<Order>::new());
    for input in inputs {
        match *input {
            Input::Poll => orders.extend(registrar.poll(now)),
            Input::Answer(draw) => {
                if let Some(order) = orders.last() {
                    let answer = if draw % 2 == 0 { done(&order.action) } else { some_answer(draw / 2) };
                    registrar.answer(now, order.ticket, answer);
                }
            }
            Input::OldAnswer(draw) => {
                if let Some(order) = orders.get(usize::from(draw)) {
                    registrar.answer(now, order.ticket, some_answer(draw));
                }
            }
            Input::Ready(ready) => registrar.ready(now, ready),
            Input::Drain => registrar.drain(now),
            Input::Lost => {
                if let Some(lease) = registrar.lease().map(|(lease, _)| lease.clone()) {
                    registrar.lease_lost(now, &lease);
                }
            }
            Input::Wait(millis) => now = now.saturating_add(Duration::from_millis(millis.into())),
            Input::Back(millis) => now = now.saturating_sub(Duration::from_millis(millis.into())),
        }
    }
    (registrar, now, orders)
}

proptest! {
    #[test]
    fn no_sequence_leaves_it_stuck(inputs in vec(input(), 0..60), seed in any::<u64>()) {
        let (mut registrar, mut now, orders) = play(&inputs, seed);
        let again = play(&inputs, seed);
        prop_assert_eq!(format!("{:?}", again.0), format!("{registrar:?}"), "the same inputs, the same machine");
        prop_assert_eq!(again.2, orders);

        // From here on the store works: whoever is not gone gets to Kept, and from there out.
        registrar.ready(now, true);
        let mut settled = |registrar: &mut Registrar, goal: RegistrarState| {
            for _ in 0..60 {
                if [goal, Gone].contains(&registrar.state()) {
                    return true;
                }
                if let Some(order) = registrar.poll(now) {
                    registrar.answer(now, order.ticket, done(&order.action));
                } else {
                    let Some(next) = registrar.next_deadline() else { return false };
                    now = next.max(now);
                }
            }
            false
        };
        prop_assert!(settled(&mut registrar, Kept), "stuck: {registrar:?}");
        registrar.drain(NOW);
        prop_assert!(settled(&mut registrar, Gone), "stuck: {registrar:?}");
        prop_assert_eq!(registrar.next_deadline(), None);
    }
}
