//! Every interleaving of concurrent writers. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p evenkeel-health --release --test loom`.
#![cfg(loom)]

use std::time::Duration;

use evenkeel_health::{
    AdminState, CheckState, Entry, Opinion, Ramp, SlowStart, SlowStartConfig, Standing, Warmth,
};
use evenkeel_types::Timestamp;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

#[test]
fn no_source_loses_another_ones_word() {
    loom::model(|| {
        let standing = Arc::new(Standing::new());
        let (ejector, operator) = (standing.clone(), standing.clone());
        let first = thread::spawn(move || ejector.set_ejected(true));
        let second = thread::spawn(move || {
            let _ = operator.set_admin(AdminState::Maintenance);
            operator.set_admin(AdminState::Drain)
        });
        let check = standing.set_check(CheckState::Down);
        let (ejected, drained) = (first.join().unwrap(), second.join().unwrap());

        let status = standing.load();
        assert!(status.ejected());
        assert_eq!(status.admin(), AdminState::Drain);
        assert_eq!(status.check(), CheckState::Down);
        // The operator's first word can have turned it as well: then neither of these did, else exactly one of them.
        assert!(u8::from(ejected.turned_unusable()) + u8::from(check.turned_unusable()) <= 1);
        assert!(!drained.turned_unusable());
    });
}

/// A setter that then looks for the published table, and a publisher that then reads the status: at least one sees
/// the other.
#[test]
fn a_flip_during_a_swap_is_never_lost() {
    loom::model(|| {
        let standing = Arc::new(Standing::new());
        let published = Arc::new(AtomicBool::new(false));
        let (flipped, table) = (standing.clone(), published.clone());
        let setter = thread::spawn(move || {
            let _ = flipped.set_check(CheckState::Down);
            table.load(Ordering::Acquire)
        });
        published.store(true, Ordering::Release);
        let seen_by_publisher = !standing.load_ordered().usable();
        let seen_by_setter = setter.join().unwrap();
        assert!(seen_by_publisher || seen_by_setter);
    });
}

/// The end of one slow start and the beginning of the next: the new one stays, and the old one ends at most once.
#[test]
fn a_tick_ends_no_slow_start_but_the_one_that_is_over() {
    loom::model(|| {
        let window = Duration::from_secs(10);
        let ramp = Arc::new(Ramp::new(SlowStartConfig { window, ..SlowStartConfig::default() }).unwrap());
        let slow_start = Arc::new(SlowStart::new());
        let at = Timestamp::from_secs;
        assert!(slow_start.enter(&ramp, Entry::Return, true, at(0)));

        let tickers: Vec<_> = (0..2)
            .map(|_| {
                let (ramp, slow_start) = (ramp.clone(), slow_start.clone());
                thread::spawn(move || slow_start.tick(&ramp, at(10)))
            })
            .collect();
        assert!(slow_start.enter(&ramp, Entry::Return, true, at(11)));
        let factor = slow_start.factor(&ramp, at(16));
        let ended = tickers.into_iter().map(|ticker| u8::from(ticker.join().unwrap())).sum::<u8>();

        assert!(ended <= 1);
        assert_eq!(factor, 0.5);
        assert_eq!(slow_start.state(&ramp, at(16)), Warmth::Warming { since: at(11), until: at(21) });
    });
}

/// Any two opinions of two sources, said at once, both hold.
#[test]
fn opinions_said_at_once_both_hold() {
    for (mine, others) in [
        (Opinion::Warming(true), Opinion::Probation(true)),
        (Opinion::Draining(true), Opinion::Unlisted(true)),
        (Opinion::FlapDamped(true), Opinion::Suspected(true)),
    ] {
        loom::model(move || {
            let standing = Arc::new(Standing::new());
            let other = standing.clone();
            let thread = thread::spawn(move || other.say(others));
            let change = standing.say(mine);
            let changes = [change, thread.join().unwrap()];
            let status = standing.load();
            assert_eq!((status.opinion(mine.source()), status.opinion(others.source())), (mine, others));
            let turned = changes.iter().filter(|change| change.turned_unusable()).count();
            assert_eq!(turned, usize::from(!status.usable()), "exactly one of them sees the turn");
        });
    }
}
