//! Every state meets every event, for the machines whose states are not told by one file's own test.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::time::Duration;

use evenkeel_limit::{
    Aimd, Codel, CodelConfig, LimitConfig, Limiter, LittleConfig, LittleQueue, Place, PriorityConfig,
    PriorityShed, RateConfig, RateLimit, RetryBudget, RetryBudgetConfig, Shed, Token,
};
use evenkeel_types::{Outcome, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(100);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Acquire,
    Release(Outcome),
    GiveBack,
    Bypass,
    SetLimit(u32),
    Successor(u32),
    Tick,
}

/// A limiter with so many in flight, and what an event leaves: limit, in flight, and whether it was refused. One that is
/// alone does as any other.
fn check(limit: u32, in_flight: u32, event: Event, after: (u32, u32, bool)) {
    let config = LimitConfig::Aimd(Aimd { initial: 4, min: 1, max: 8, ..Aimd::default() });
    meet(Limiter::new(&config, 1).unwrap(), limit, in_flight, event, after);
    if !matches!(event, Event::Successor(_)) {
        meet(Limiter::alone(&config, 1).unwrap(), limit, in_flight, event, after);
    }
}

fn meet(mut limiter: Limiter, limit: u32, in_flight: u32, event: Event, after: (u32, u32, bool)) {
    let mut tokens: Vec<Token> = Vec::new();
    limiter.set_limit(in_flight).unwrap();
    (0..in_flight).for_each(|_| tokens.push(limiter.try_acquire(NOW).unwrap()));
    limiter.set_limit(limit).unwrap();
    let mut refused = false;
    match event {
        Event::Acquire => match limiter.try_acquire(NOW) {
            Ok(token) => tokens.push(token),
            Err(refusal) => {
                refused = true;
                assert_eq!((refusal.limit, refusal.in_flight), (limit, in_flight));
            }
        },
        Event::Release(outcome) => {
            let change = limiter.release(tokens.pop().unwrap(), &outcome, NOW);
            assert_eq!(change.is_some(), limiter.limit() != limit, "a change is told if there is one");
        }
        Event::GiveBack => limiter.give_back(tokens.pop().unwrap()),
        Event::Bypass => assert_eq!(limiter.release(Token::bypass(), &Outcome::overload(None), NOW), None),
        Event::SetLimit(to) => drop(limiter.set_limit(to).unwrap()),
        Event::Successor(to) => limiter = limiter.successor(&LimitConfig::fixed(to), 1).unwrap(),
        Event::Tick => assert_eq!(limiter.tick(NOW), None),
    }
    assert_eq!((limiter.limit(), limiter.in_flight(), refused), after, "{limit} {in_flight} {event:?}");
    assert_eq!(limiter.peek().is_err(), limiter.in_flight() >= limiter.limit());
    // A table test that leaves something in flight would not notice a lost slot.
    for token in tokens {
        limiter.give_back(token);
    }
    assert_eq!(limiter.in_flight(), 0, "{limit} {in_flight} {event:?}");
}

#[test]
fn a_limiter_in_every_state_meets_every_event() {
    use Event::{Acquire, Bypass, GiveBack, Release, SetLimit, Successor, Tick};
    let (good, bad) = (Outcome::success(), Outcome::overload(None));
    let (failed, neutral) = (Outcome::failure(), Outcome::neutral());
    // Below the limit, at it, above it.
    for (limit, in_flight) in [(4, 2), (4, 4), (4, 6)] {
        let full = in_flight >= limit;
        check(limit, in_flight, Acquire, (4, if full { in_flight } else { in_flight + 1 }, full));
        check(limit, in_flight, Release(good), (5, in_flight - 1, false));
        check(limit, in_flight, Release(bad), (3, in_flight - 1, false));
        check(limit, in_flight, Release(failed), (4, in_flight - 1, false));
        check(limit, in_flight, Release(neutral), (4, in_flight - 1, false));
        check(limit, in_flight, GiveBack, (4, in_flight - 1, false));
        check(limit, in_flight, Bypass, (4, in_flight, false));
        check(limit, in_flight, SetLimit(1), (1, in_flight, false));
        check(limit, in_flight, SetLimit(9), (9, in_flight, false));
        check(limit, in_flight, Successor(3), (3, in_flight, false));
        check(limit, in_flight, Tick, (4, in_flight, false));
    }
}

#[test]
fn one_that_is_alone_has_no_successor() {
    let limiter = Limiter::alone(&LimitConfig::fixed(2), 1).unwrap();
    let _held = limiter.try_acquire(NOW).unwrap();
    assert_eq!(limiter.successor(&LimitConfig::fixed(5), 1).unwrap_err().field, "predecessor");
    assert_eq!((limiter.limit(), limiter.in_flight()), (2, 1));
}

#[test]
fn a_predecessor_moves_nothing_and_releases_all() {
    let config = LimitConfig::Aimd(Aimd::default());
    let first = Limiter::new(&config, 1).unwrap();
    let tokens: Vec<Token> = (0..20).map(|_| first.try_acquire(NOW).unwrap()).collect();
    let second = first.successor(&LimitConfig::fixed(5), 1).unwrap();
    assert_eq!((first.limit(), second.in_flight()), (5, 20));
    assert_eq!(first.set_limit(100), Ok(None));
    assert!(first.try_acquire(NOW).is_err() && second.try_acquire(NOW).is_err());
    for token in tokens {
        assert_eq!(first.release(token, &Outcome::overload(None), NOW), None);
    }
    assert_eq!((second.in_flight(), second.limit()), (0, 5));
}

#[test]
fn a_budget_in_every_state_meets_every_event() {
    let config = RetryBudgetConfig { ratio: 1.0, min_per_second: 0, ttl: Duration::from_secs(10) };
    // Deposits, withdrawals, and what each event leaves.
    for (deposits, taken) in [(0_u64, 0_u64), (3, 0), (3, 2), (3, 3)] {
        let budget = || {
            let budget = RetryBudget::new(&config).unwrap();
            (0..deposits).for_each(|_| budget.deposit(NOW));
            let last = (0..taken).map(|_| budget.try_withdraw(NOW).unwrap()).last();
            (budget, last)
        };
        let left = deposits - taken;
        let (it, _) = budget();
        assert_eq!(it.balance(NOW), left);
        it.deposit(NOW);
        assert_eq!(it.balance(NOW), left + 1);
        let (it, _) = budget();
        match it.try_withdraw(NOW) {
            Ok(_) => assert_eq!(it.balance(NOW), left - 1),
            Err(spent) => assert_eq!((spent.spent, spent.allowed, left), (taken, deposits, 0)),
        }
        if let (it, Some(last)) = budget() {
            it.cancel(last);
            assert_eq!(it.balance(NOW), left + 1);
        }
        let (it, _) = budget();
        assert_eq!(it.balance(Timestamp::from_secs(110)), 0, "all is forgotten");
        assert_eq!(it.balance(Timestamp::ORIGIN), 0, "and stays so when time goes back");
    }
}

#[test]
fn a_bucket_in_every_state_meets_every_event() {
    let config = RateConfig { limit: 10, per: Duration::from_secs(1), burst: 3 };
    for taken in 0..=3 {
        let rate = || {
            let rate = RateLimit::new(&config).unwrap();
            rate.try_take_many(taken, NOW).unwrap();
            rate
        };
        let left = 3 - taken;
        assert_eq!(rate().available(NOW), left);
        assert_eq!(rate().try_take(NOW).is_ok(), left > 0);
        for many in 0..=5 {
            let result = rate().try_take_many(many, NOW);
            let retry_at = match many {
                4.. => Some(Timestamp::MAX),
                _ if many > left => Some(NOW.saturating_add(ms(100) * (many - left))),
                _ => None,
            };
            assert_eq!(result.err().map(|refusal| refusal.retry_at), retry_at, "{taken} {many}");
        }
        assert_eq!(rate().available(NOW.saturating_add(ms(100))), (left + 1).min(3));
        assert_eq!(rate().available(Timestamp::MAX), 3);
        assert!(rate().try_take(Timestamp::MAX).is_err(), "at the end of time nothing is let through");
    }
}

#[test]
fn codel_in_every_state_meets_every_event() {
    let new = || Codel::new(&CodelConfig::default()).unwrap();
    let at = |millis| Timestamp::from_millis(millis);
    let serving = new;
    let above = || {
        let mut codel = new();
        assert_eq!(codel.take_out(ms(6), at(1000)), Ok(()));
        codel
    };
    let shedding = || {
        let mut codel = above();
        assert_eq!(codel.take_out(ms(6), at(1100)), Err(Shed::QueueSlow));
        codel
    };
    let shed = Err(Shed::QueueSlow);
    // State, wait, time, answer, whether it sheds afterwards.
    for (state, codel, waited, now, answer, sheds) in [
        ("serving", serving(), 4, 1150, Ok(()), false),
        ("serving", serving(), 6, 1150, Ok(()), false),
        ("above", above(), 4, 1150, Ok(()), false),
        ("above", above(), 6, 1099, Ok(()), false),
        ("above", above(), 6, 1150, shed, true),
        ("above", above(), 6, 0, Ok(()), false),
        ("shedding", shedding(), 4, 1150, Ok(()), false),
        ("shedding", shedding(), 6, 1150, Ok(()), true),
        ("shedding", shedding(), 6, 1200, shed, true),
        ("shedding", shedding(), 6, 0, Ok(()), true),
    ] {
        let mut codel = codel;
        assert_eq!(codel.take_out(ms(waited), at(now)), answer, "{state} {waited} {now}");
        assert_eq!(codel.is_shedding(), sheds, "{state} {waited} {now}");
    }
}

#[test]
fn levels_move_with_the_wait_and_never_stick() {
    let config = PriorityConfig { levels: 4, window_requests: 8, ..PriorityConfig::default() };
    // From each level, after a window of slow, quick or no requests.
    for start in 0..4 {
        for (waited, expected) in [(Some(30), start - 1), (Some(10), start + 1), (None, start + 1)] {
            let mut shed = PriorityShed::new(&config).unwrap();
            let mut now = NOW;
            while shed.level() > start as u32 {
                for request in 0..8 {
                    if shed.come(request % 4, now).is_ok() {
                        shed.waited(ms(30));
                    }
                }
                assert!(shed.tick(now).is_some(), "a step down moves");
            }
            for request in 0..8 {
                if let (Ok(()), Some(waited)) = (shed.come(request % 4, now), waited) {
                    shed.waited(ms(waited));
                }
            }
            now = now.saturating_add(Duration::from_secs(1));
            let change = shed.tick(now);
            let expected = expected.clamp(0, 3) as u32;
            assert_eq!(shed.level(), expected, "{start} {waited:?}");
            assert_eq!(change.map(|change| change.to), (expected != start as u32).then_some(expected));
        }
    }
}

#[test]
fn a_queue_in_every_state_meets_every_event() {
    let config = LittleConfig { target: ms(100), ..LittleConfig::default() };
    let with = |serving: u32, waiting: u32| {
        let mut queue = LittleQueue::new(&config).unwrap();
        for _ in 0..serving + waiting {
            let _ = queue.come().unwrap();
        }
        queue
    };
    for (serving, waiting) in [(0, 0), (1, 0), (1, 1)] {
        let mut queue = with(serving, waiting);
        let expected = match (serving, waiting) {
            (0, 0) => Ok(Place::Serve),
            (1, 0) => Ok(Place::Wait),
            _ => Err(Shed::QueueFull),
        };
        assert_eq!(queue.come(), expected);
        let mut queue = with(serving, waiting);
        assert!(!queue.next(), "nobody waits, or all places are taken");
        queue.gone();
        assert_eq!(queue.counts(), (serving, 0));
        let mut queue = with(serving, waiting);
        queue.end(ms(10), NOW);
        assert_eq!(queue.next(), waiting > 0);
        assert_eq!(queue.counts(), (waiting, 0));
    }
}

/// A server of `places` that does a call in 10 ms, and all of them more slowly if it has more at once; somebody always waits.
#[test]
fn little_stays_at_the_places_of_the_server() {
    for places in [1_u32, 4, 20] {
        let mut little = LittleQueue::new(&LittleConfig::default()).unwrap();
        let mut ends: Vec<(u64, u64)> = Vec::new();
        let (mut now, mut seen) = (0, Vec::new());
        for call in 0..5_000 * places {
            while little.come().is_ok() {}
            let (serving, _) = little.counts();
            let micros = 10_000 * u64::from(serving.max(places)) / u64::from(places);
            // Not in step: the n-th place begins a little later.
            while ends.len() < serving as usize {
                ends.push((now + micros + ends.len() as u64 * 7, micros));
            }
            ends.sort_unstable();
            let (end, took) = ends.remove(0);
            now = end;
            little.end(Duration::from_micros(took), Timestamp::from_nanos(now * 1_000));
            while little.next() {}
            if call > 2_500 * places {
                seen.push(little.concurrency());
            }
        }
        let (least, most) = (*seen.iter().min().unwrap(), *seen.iter().max().unwrap());
        let near = places.saturating_sub(2).max(1)..=places + 2;
        assert!(near.contains(&least) && near.contains(&most), "{places} places: {least} to {most}");
    }
}
