//! Every interleaving of concurrent writers. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p evenkeel-health --release --test loom`.
#![cfg(loom)]

use evenkeel_health::{AdminState, CheckState, Standing};
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
