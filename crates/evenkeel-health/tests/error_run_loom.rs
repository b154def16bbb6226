//! Every interleaving of requests and of whoever hears of their errors: what `evenkeel-probe`'s `Evidence` stands on. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p evenkeel-health --release --test error_run_loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::sync::Arc;

use evenkeel_health::ErrorRun;
use loom::sync::Mutex;
use loom::thread;

/// What was told and not heard yet, as the prober's mailbox has it.
#[derive(Default)]
struct Mailbox(Mutex<u32>);

struct Shared {
    run: ErrorRun,
    mailbox: Mailbox,
}

fn shared(limit: u32) -> Arc<Shared> {
    Arc::new(Shared { run: ErrorRun::new(limit), mailbox: Mailbox::default() })
}

impl Shared {
    fn error(&self) {
        if self.run.error() {
            *self.mailbox.0.lock().unwrap() += 1;
        }
    }

    /// As the prober's thread: how many runs there were.
    fn hear(&self) -> u32 {
        let told = std::mem::take(&mut *self.mailbox.0.lock().unwrap());
        if told > 0 {
            self.run.heard();
        }
        told
    }
}

#[test]
fn a_full_run_is_told_once_and_always() {
    loom::model(|| {
        let shared = shared(2);
        let theirs = shared.clone();
        let other = thread::spawn(move || {
            theirs.error();
            theirs.error();
        });
        shared.error();
        other.join().unwrap();
        assert_eq!(shared.hear(), 1);
        assert_eq!(shared.hear(), 0);
    });
}

/// Three errors with a limit of two are one run, whenever it is heard: the third one alone is none.
#[test]
fn a_run_that_was_heard_is_not_told_again() {
    loom::model(|| {
        let shared = shared(2);
        let callers = [0, 1].map(|_| {
            let theirs = shared.clone();
            thread::spawn(move || theirs.error())
        });
        shared.error();
        let early = shared.hear();
        for caller in callers {
            caller.join().unwrap();
        }
        assert_eq!(early + shared.hear(), 1);
    });
}

/// A good request beside the errors breaks the run or does not; what has been told it does not take back.
#[test]
fn a_good_request_takes_nothing_back() {
    loom::model(|| {
        let shared = shared(2);
        let theirs = shared.clone();
        let other = thread::spawn(move || theirs.run.good());
        shared.error();
        shared.error();
        let told = shared.hear();
        other.join().unwrap();
        assert!(told <= 1);
        // However it went, at most one error is counted, and two more are a full run.
        shared.error();
        shared.error();
        assert_eq!(shared.hear(), 1);
    });
}
