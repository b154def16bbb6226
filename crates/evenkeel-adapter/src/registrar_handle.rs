use std::sync::Arc;
use std::time::Duration;

use evenkeel_registry::{
    Action, Answer, InvalidRegistrarConfig, LeaseToken, Registrar, RegistrarConfig, RegistrarError,
    RegistrarState, Transition, UpdateError,
};
use evenkeel_types::{Endpoint, Timestamp};
use parking_lot::{Condvar, Mutex};
use thiserror::Error;

use crate::worker::far;
use crate::{Clock, Stop, Worker};

/// What a store can do for a registrar. Each call blocks for a request timeout at most.
pub trait LeaseStore: Send + 'static {
    /// Carries out an order, and says what came of it.
    fn perform(&mut self, action: &Action) -> Answer;

    /// What went wrong with the last order, for people; `None` if nothing did, or if there is no more to say than the
    /// answer does.
    fn take_words(&mut self) -> Option<String> {
        None
    }

    /// Gives back a lease that came too late to be used; it ends by itself otherwise.
    fn give_back(&mut self, lease: &LeaseToken) {
        let _ = lease;
    }
}

/// A [`Registrar`] on a thread of its own.
///
/// The endpoint is registered once it is [`ready`](Self::ready), renewed, registered again after every loss of its
/// lease, and drained before it leaves ([`drain`](Self::drain), [`leave`](Self::leave)).
///
/// Dropping the handle ends the thread without a goodbye: the lease runs out by itself, as after a crash. Call
/// [`leave`](Self::leave) first to go in order.
#[derive(Debug)]
pub struct RegistrarHandle {
    shared: Arc<Shared>,
    worker: Worker,
}

#[derive(Debug)]
struct Shared {
    registrar: Mutex<Registrar>,
    /// What the store said to the last order, if that failed.
    words: Mutex<Option<String>>,
    changed: Condvar,
    clock: Clock,
}

fn standing(state: RegistrarState) -> String {
    match state {
        RegistrarState::Gone => "given up, and the store has not said that it is gone".to_owned(),
        state => format!("still {state:?}"),
    }
}

/// Whether the store has said that the entry is gone.
fn gone(registrar: &Registrar, waited: Duration) -> Result<(), NotGone> {
    match registrar.last_error() {
        None => Ok(()),
        Some(_) => Err(NotGone { state: RegistrarState::Gone, waited }),
    }
}

/// The endpoint was still registered when the time was over, or the registrar gave up the removal: then its state is
/// [`Gone`](RegistrarState::Gone), and the entry stays in the store for as long as its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the endpoint is {} after {waited:?}: its lease will run out by itself", standing(*state))]
pub struct NotGone {
    /// Where the registrar stands.
    pub state: RegistrarState,
    /// How long was waited.
    pub waited: Duration,
}

/// A registrar cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The settings of the registrar cannot stand.
    #[error("registrar.{0}")]
    Config(InvalidRegistrarConfig),
    /// The system gives no thread.
    #[error("thread cannot be started: {0}")]
    Thread(String),
}

impl RegistrarHandle {
    /// Starts a registrar over `store`, not ready yet. `interrupt` ends what the store waits for.
    ///
    /// # Errors
    ///
    /// [`SpawnError`].
    pub fn spawn(
        name: &str,
        endpoint: Endpoint,
        config: RegistrarConfig,
        seed: u64,
        store: impl LeaseStore,
        interrupt: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, SpawnError> {
        let registrar = Registrar::new(endpoint, config, seed).map_err(SpawnError::Config)?;
        let shared = Arc::new(Shared {
            registrar: Mutex::new(registrar),
            words: Mutex::new(None),
            changed: Condvar::new(),
            clock: Clock::new(),
        });
        let stop = Stop::new();
        let (theirs, told) = (shared.clone(), stop.clone());
        let wake = shared.clone();
        let interrupt = move || {
            interrupt();
            let _registrar = wake.registrar.lock();
            wake.changed.notify_all();
        };
        let worker = Worker::start(name, stop, interrupt, move || run(&theirs, &told, store));
        let worker = worker.map_err(|error| SpawnError::Thread(error.to_string()))?;
        Ok(Self { shared, worker })
    }

    /// Whether the endpoint can serve: only then is it registered.
    pub fn ready(&self, ready: bool) {
        self.change(|registrar, now| registrar.ready(now, ready));
    }

    /// Describes the endpoint anew.
    ///
    /// # Errors
    ///
    /// [`UpdateError::OtherId`]: that is another registration.
    pub fn update(&self, endpoint: Endpoint) -> Result<(), UpdateError> {
        self.change(|registrar, now| registrar.update(now, endpoint))
    }

    /// Announces the drain, waits until readers know, and removes the entry. There is no way back, and no waiting here.
    pub fn drain(&self) {
        self.change(Registrar::drain);
    }

    /// Drains, and waits until the entry is gone, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`NotGone`] if it is not.
    pub fn leave(&self, timeout: Duration) -> Result<(), NotGone> {
        self.drain();
        let until = far(Clock::instant(), timeout);
        let mut registrar = self.shared.registrar.lock();
        while registrar.state() != RegistrarState::Gone {
            if self.shared.changed.wait_until(&mut registrar, until).timed_out() {
                let state = registrar.state();
                return match state {
                    RegistrarState::Gone => gone(&registrar, timeout),
                    state => Err(NotGone { state, waited: timeout }),
                };
            }
        }
        gone(&registrar, timeout)
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> RegistrarState {
        self.shared.registrar.lock().state()
    }

    /// Why it does not get on, if it does not.
    #[must_use]
    pub fn last_error(&self) -> Option<RegistrarError> {
        self.shared.registrar.lock().last_error()
    }

    /// What the store, or the way to it, said when the last order failed, for people and logs; `None` once an order
    /// has succeeded.
    #[must_use]
    pub fn last_error_text(&self) -> Option<String> {
        self.shared.words.lock().clone()
    }

    /// The lease that is held, by the store's name for it.
    #[must_use]
    pub fn lease(&self) -> Option<LeaseToken> {
        self.shared.registrar.lock().lease().map(|(lease, _)| lease.clone())
    }

    /// The next change of state that was not told yet, oldest first; the last 16 are kept.
    pub fn take_transition(&self) -> Option<Transition> {
        self.shared.registrar.lock().take_transition()
    }

    /// Ends the thread without a goodbye, as dropping does.
    pub fn stop(&self) {
        self.worker.stop();
    }

    fn change<R>(&self, change: impl FnOnce(&mut Registrar, Timestamp) -> R) -> R {
        let mut registrar = self.shared.registrar.lock();
        let changed = change(&mut registrar, self.shared.clock.now());
        self.shared.changed.notify_all();
        changed
    }
}

fn run(shared: &Shared, stop: &Stop, mut store: impl LeaseStore) {
    let mut registrar = shared.registrar.lock();
    while !stop.is_set() {
        let before = registrar.state();
        let now = shared.clock.now();
        let order = registrar.poll(now);
        if registrar.state() != before {
            shared.changed.notify_all();
        }
        let Some(order) = order else {
            if registrar.state() == RegistrarState::Gone {
                return;
            }
            match registrar.next_deadline() {
                Some(at) => {
                    let until = far(Clock::instant(), at.saturating_since(now));
                    shared.changed.wait_until(&mut registrar, until);
                }
                None => shared.changed.wait(&mut registrar),
            }
            continue;
        };
        drop(registrar);
        let answer = store.perform(&order.action);
        *shared.words.lock() = store.take_words();
        let lease = match &answer {
            Answer::Granted { lease, .. } => Some(lease.clone()),
            _ => None,
        };
        registrar = shared.registrar.lock();
        let heard = registrar.answer(shared.clock.now(), order.ticket, answer);
        shared.changed.notify_all();
        if let (evenkeel_registry::Heard::Stale, Some(lease)) = (heard, lease) {
            drop(registrar);
            store.give_back(&lease);
            registrar = shared.registrar.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_registry::TroubleKind;

    use super::*;

    /// Refuses the first order, and grants what comes after.
    struct Refuses(u32);

    impl LeaseStore for Refuses {
        fn perform(&mut self, action: &Action) -> Answer {
            self.0 += 1;
            match action {
                _ if self.0 == 1 => Answer::Failed { kind: TroubleKind::Denied },
                Action::Grant { ttl } => Answer::Granted { lease: LeaseToken::new(7), ttl: *ttl },
                _ => Answer::Written,
            }
        }

        fn take_words(&mut self) -> Option<String> {
            (self.0 == 1).then(|| "etcdserver: permission denied".to_owned())
        }
    }

    #[test]
    fn the_words_of_a_refusal_are_told_until_an_order_succeeds() {
        let endpoint = Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        let config = RegistrarConfig::default();
        let handle = RegistrarHandle::spawn("words", endpoint, config, 0, Refuses(0), || {}).unwrap();
        assert_eq!(handle.last_error_text(), None);
        handle.ready(true);
        let until = |seen: &dyn Fn() -> bool| {
            for _ in 0..2000 {
                if seen() {
                    return true;
                }
                Stop::new().wait(Duration::from_millis(5));
            }
            false
        };
        assert!(until(&|| handle.last_error_text().is_some_and(|text| text.contains("permission denied"))));
        assert!(until(&|| handle.last_error_text().is_none()), "forgotten after a success");
    }
}
