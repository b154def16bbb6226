mod config;
mod protocol;

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_types::{Announced, Endpoint, SplitMix64, Timestamp, Weight};

pub use config::{Announce, Backoff, InvalidRegistrarConfig, RegistrarConfig};
pub use protocol::{Action, Answer, LeaseToken, Order, Owner, Ticket};

use crate::{TroubleKind, UpdateError, renew_after};

/// Keeps one endpoint registered in a store, for an adapter that can grant, write, renew and remove.
///
/// A plain machine: it says what to do next ([`poll`](Self::poll)) and hears what came of it
/// ([`answer`](Self::answer)); it opens no connection and reads no clock. All adapters share it, because every client of
/// leases has had the same fault once: after the lease is lost it goes on renewing a dead one and never registers again
/// (smallnest/rpcx#420, kitex-contrib/registry-etcd#11, coreos/torus#252, pinterest/memq#55).
///
/// # States
///
/// ```text
///            ready         not ready      order done      order failed     lease lost    drain
/// Waiting    Granting      stay           –               –                –             Gone
/// Granting   stay          Waiting (1)    Writing         stay, later      –             Gone (1)
/// Writing    stay          Removing       Kept            stay, later (2)  Lost          Removing
/// Kept       stay          Draining       stay            stay, later (2)  Lost          Draining
/// Lost       stay          Waiting (1)    –               –                –             Gone (1)
/// Draining   Kept (3)      stay           stay            stay, later      stay          stay
/// Removing   stay          stay           Gone (4)        stay, later (5)  Gone (4)      stay
/// Gone       stay          stay           –               –                –             stay
/// ```
///
/// 1. Removing, if an entry may have been written before.
/// 2. Until the lease runs out, which is a lease lost. The next renewal is on a new stream
///    (CurvineIO/curvine#1618).
/// 3. If it drains because it was not ready; a drain that was asked for goes on. Without a lease, Granting.
/// 4. Waiting, if it leaves because it is not ready.
/// 5. For [`remove_for`](RegistrarConfig::remove_for), then as if removed: the lease ends by itself.
///
/// Lost is left for Granting after a short random wait, so that a fleet does not storm a store that restarted. Draining
/// is left for Removing when [`propagation`](RegistrarConfig::propagation) has passed since the drain was written.
///
/// # Time
///
/// A lease counts from when its grant or renewal was *sent*, so that the store never forgets it before the registrar
/// does. Times may arrive out of order; deadlines are inclusive. Poll at [`next_deadline`](Self::next_deadline), after
/// each answer and after each change of mind.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_registry::{Action, Answer, LeaseToken, Registrar, RegistrarConfig, RegistrarState};
/// use evenkeel_types::{Endpoint, Timestamp};
///
/// let endpoint = Endpoint::new("users-1".parse()?, "10.0.0.1:8080".parse()?);
/// let mut registrar = Registrar::new(endpoint, RegistrarConfig::default(), 42)?;
/// let now = Timestamp::from_secs(1);
/// assert!(registrar.poll(now).is_none(), "it waits until it is ready");
///
/// registrar.ready(now, true);
/// let order = registrar.poll(now).expect("a lease first");
/// assert!(matches!(order.action, Action::Grant { .. }));
/// let lease = LeaseToken::new(7);
/// registrar.answer(now, order.ticket, Answer::Granted { lease, ttl: Duration::from_secs(15) });
///
/// let order = registrar.poll(now).expect("then the entry");
/// registrar.answer(now, order.ticket, Answer::Written);
/// assert_eq!(registrar.state(), RegistrarState::Kept);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Registrar {
    config: RegistrarConfig,
    draws: SplitMix64,
    endpoint: Endpoint,
    now: Timestamp,
    state: RegistrarState,
    ready: bool,
    /// Where it goes after removing.
    then: Then,
    tickets: u64,
    pending: Option<Pending>,
    lease: Option<Lease>,
    /// What is to be written is newer than what was.
    dirty: bool,
    /// An entry of an older session stands in the way.
    foreign: bool,
    /// Something may have been written that was not removed since.
    written: bool,
    new_stream: bool,
    /// The entry is removed, and readers are given the time to hear of it.
    quiet: bool,
    renew_at: Timestamp,
    /// In Draining: when to remove. In Removing: when to give up.
    leave_at: Timestamp,
    not_before: Timestamp,
    failures: u32,
    last_error: Option<RegistrarError>,
    transitions: VecDeque<Transition>,
}

/// Where a [`Registrar`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RegistrarState {
    /// Not ready: nothing is registered.
    Waiting,
    /// Getting a lease.
    Granting,
    /// Writing the entry.
    Writing,
    /// Registered, renewing.
    Kept,
    /// The lease is lost: a new one will be asked for in a moment.
    Lost,
    /// Registered as draining, until readers know.
    Draining,
    /// Removing the entry.
    Removing,
    /// Removed for good.
    Gone,
}

/// A change of state, to be logged or counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// The earlier state.
    pub from: RegistrarState,
    /// The present one.
    pub to: RegistrarState,
}

/// Why a [`Registrar`] does not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegistrarError {
    /// The last order failed.
    Failed(TroubleKind),
    /// Another process holds the id: give each its own.
    Conflict,
    /// The lease was lost, and there is no new one yet.
    LeaseLost,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// It counted.
    Counted,
    /// Its order had timed out, or was overtaken. If it brought a lease, that one may be given back.
    Stale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stay,
    Wait,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    ticket: Ticket,
    kind: Kind,
    sent: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Grant,
    Write,
    Renew,
    DeleteForeign,
    Remove,
}

#[derive(Clone, Debug)]
struct Lease {
    token: LeaseToken,
    deadline: Timestamp,
}

impl Registrar {
    /// A registrar that waits to be [`ready`](Self::ready). `seed` spreads renewals and waits: give each process its own.
    ///
    /// # Errors
    ///
    /// [`InvalidRegistrarConfig`].
    pub fn new(
        endpoint: Endpoint,
        config: RegistrarConfig,
        seed: u64,
    ) -> Result<Self, InvalidRegistrarConfig> {
        config.validate()?;
        Ok(Self {
            config,
            draws: SplitMix64::new(seed),
            endpoint,
            now: Timestamp::ORIGIN,
            state: RegistrarState::Waiting,
            ready: false,
            then: Then::Stay,
            tickets: 0,
            pending: None,
            lease: None,
            dirty: true,
            foreign: false,
            written: false,
            new_stream: false,
            quiet: false,
            renew_at: Timestamp::ORIGIN,
            leave_at: Timestamp::ORIGIN,
            not_before: Timestamp::ORIGIN,
            failures: 0,
            last_error: None,
            transitions: VecDeque::new(),
        })
    }

    /// What to do now, if anything. There is one order at a time: the next comes after its answer, or its deadline.
    pub fn poll(&mut self, now: Timestamp) -> Option<Order> {
        self.roll(now);
        if self.pending.is_some() || self.now < self.not_before {
            return None;
        }
        let (kind, action) = self.wanted()?;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.pending = Some(Pending { ticket, kind, sent: self.now });
        if kind == Kind::Write {
            (self.dirty, self.written) = (false, true);
        }
        Some(Order { ticket, action, deadline: self.now.saturating_add(self.config.request_timeout) })
    }

    /// Hears what came of an order.
    pub fn answer(&mut self, now: Timestamp, ticket: Ticket, answer: Answer) -> Heard {
        self.roll(now);
        let Some(pending) = self.pending.filter(|pending| pending.ticket == ticket) else {
            return Heard::Stale;
        };
        self.pending = None;
        match (pending.kind, answer) {
            (Kind::Grant, Answer::Granted { lease, ttl }) if !ttl.is_zero() => {
                self.lease = Some(Lease { token: lease, deadline: pending.sent.saturating_add(ttl) });
                self.renewed(pending.sent, ttl);
                self.dirty = true;
                self.go(RegistrarState::Writing);
            }
            (Kind::Write, Answer::Written | Answer::Exists { owner: Owner::Mine }) => self.wrote(),
            (Kind::Write, Answer::Exists { owner: Owner::OlderSession }) => {
                (self.foreign, self.dirty) = (true, true);
            }
            (Kind::Write, Answer::Exists { owner: Owner::Other }) => {
                self.failed(pending.kind, RegistrarError::Conflict);
            }
            (Kind::Renew, Answer::Renewed { ttl }) if !ttl.is_zero() => {
                if let Some(lease) = &mut self.lease {
                    lease.deadline = pending.sent.saturating_add(ttl);
                }
                self.renewed(pending.sent, ttl);
            }
            (Kind::Renew, Answer::Renewed { .. }) => self.lose(),
            (Kind::DeleteForeign, Answer::Removed) => {
                self.foreign = false;
                self.succeeded();
            }
            (Kind::Remove, Answer::Removed | Answer::LeaseLost) => self.removed_unannounced(),
            (Kind::Write | Kind::Renew | Kind::DeleteForeign, Answer::LeaseLost) => self.lose(),
            (kind, Answer::Failed { kind: trouble }) => self.failed(kind, RegistrarError::Failed(trouble)),
            (kind, _) => self.failed(kind, RegistrarError::Failed(TroubleKind::Malformed)),
        }
        Heard::Counted
    }

    /// The store says by itself that a lease or session has expired. That of an earlier one does not count.
    pub fn lease_lost(&mut self, now: Timestamp, lease: &LeaseToken) -> Heard {
        self.roll(now);
        if self.lease.as_ref().is_none_or(|held| held.token != *lease) {
            return Heard::Stale;
        }
        match self.state {
            RegistrarState::Removing => self.removed_unannounced(),
            _ => self.lose(),
        }
        Heard::Counted
    }

    /// Whether the endpoint can serve: only then is it registered.
    pub fn ready(&mut self, now: Timestamp, ready: bool) {
        self.roll(now);
        self.ready = ready;
        if !ready {
            self.leave(Then::Wait);
        } else if self.state == RegistrarState::Waiting {
            self.start();
        } else if self.state == RegistrarState::Draining && self.then == Then::Wait {
            self.then = Then::Stay;
            if self.lease.is_some() {
                self.dirty = true;
                self.go(RegistrarState::Kept);
            } else {
                self.start();
            }
        }
    }

    /// Announces the drain, waits until readers know, removes the entry, and is gone. There is no way back.
    pub fn drain(&mut self, now: Timestamp) {
        self.roll(now);
        self.leave(Then::Gone);
    }

    /// Describes the endpoint anew: weight, labels, what it announces. Written as soon as there is a lease, and after
    /// every loss of a lease again. (apache/curator#702 brought back the old description.)
    ///
    /// # Errors
    ///
    /// [`UpdateError::OtherId`]: that is another registration.
    pub fn update(&mut self, now: Timestamp, endpoint: Endpoint) -> Result<(), UpdateError> {
        self.roll(now);
        if endpoint.id() != self.endpoint.id() {
            return Err(UpdateError::OtherId);
        }
        self.dirty |= endpoint != self.endpoint;
        self.endpoint = endpoint;
        Ok(())
    }

    /// When to poll next, whatever happens; `None` if it waits for a call. A time in the past means at once.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let answer = self.pending.map(|pending| pending.sent.saturating_add(self.config.request_timeout));
        let lease = self.lease.as_ref().map(|lease| lease.deadline).filter(|_| self.holds_lease());
        let order = self.order_at().filter(|_| self.pending.is_none()).map(|at| at.max(self.not_before));
        let leave = matches!(self.state, RegistrarState::Draining | RegistrarState::Removing);
        [answer, lease, order, leave.then_some(self.leave_at)].into_iter().flatten().min()
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> RegistrarState {
        self.state
    }

    /// The endpoint as it is to be written, without the drain.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The lease that is held, and when it runs out unless it is renewed.
    #[must_use]
    pub fn lease(&self) -> Option<(&LeaseToken, Timestamp)> {
        self.lease.as_ref().map(|lease| (&lease.token, lease.deadline))
    }

    /// Why it does not get on, if it does not. When it is [`Gone`](RegistrarState::Gone): why the store never said so, in which case
    /// the entry may be there until its lease runs out.
    #[must_use]
    pub fn last_error(&self) -> Option<RegistrarError> {
        self.last_error
    }

    /// The next change of state that was not told yet, oldest first. The last 16 are kept.
    pub fn take_transition(&mut self) -> Option<Transition> {
        self.transitions.pop_front()
    }

    /// Does what time does.
    fn roll(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        if let Some(pending) = self.pending
            && self.now >= pending.sent.saturating_add(self.config.request_timeout)
        {
            self.pending = None;
            self.failed(pending.kind, RegistrarError::Failed(TroubleKind::Timeout));
        }
        if self.holds_lease() && self.lease.as_ref().is_some_and(|lease| self.now >= lease.deadline) {
            self.lose();
        }
        match self.state {
            RegistrarState::Draining if self.now >= self.leave_at => self.remove(),
            RegistrarState::Removing if self.now >= self.leave_at => self.give_up_removal(),
            RegistrarState::Lost if self.now >= self.not_before => self.go(RegistrarState::Granting),
            _ => {}
        }
    }

    /// The next order, and what it is for; the time for it has come.
    fn wanted(&self) -> Option<(Kind, Action)> {
        if self.order_at().is_none_or(|at| at > self.now) {
            return None;
        }
        let lease = self.lease.as_ref().map(|lease| lease.token.clone());
        Some(match (self.state, lease) {
            (RegistrarState::Granting, _) => (Kind::Grant, Action::Grant { ttl: self.config.ttl }),
            (RegistrarState::Removing, lease) => (Kind::Remove, Action::Remove { lease }),
            (_, Some(lease)) if self.foreign => (Kind::DeleteForeign, Action::DeleteForeign { lease }),
            (_, Some(lease)) if self.renew_at <= self.now => {
                (Kind::Renew, Action::Renew { lease, new_stream: self.new_stream })
            }
            (_, Some(lease)) => {
                (Kind::Write, Action::Write { lease, endpoint: Box::new(self.description()) })
            }
            _ => return None,
        })
    }

    /// When there is something to order, failures aside.
    fn order_at(&self) -> Option<Timestamp> {
        match self.state {
            RegistrarState::Waiting | RegistrarState::Gone => None,
            RegistrarState::Removing if self.quiet => None,
            RegistrarState::Granting | RegistrarState::Lost | RegistrarState::Removing => Some(self.now),
            _ if self.lease.is_none() => None,
            _ if self.dirty || self.foreign => Some(self.now),
            _ => Some(self.renew_at),
        }
    }

    fn holds_lease(&self) -> bool {
        use RegistrarState::{Draining, Kept, Writing};
        self.lease.is_some() && matches!(self.state, Writing | Kept | Draining)
    }

    /// The endpoint as it is to be written now.
    fn description(&self) -> Endpoint {
        let endpoint = self.endpoint.clone();
        if self.state != RegistrarState::Draining {
            return endpoint;
        }
        match self.config.announce {
            Announce::WeightAndState => {
                endpoint.with_weight(Weight::new(0)).with_announced(Announced::Draining)
            }
            Announce::Weight => endpoint.with_weight(Weight::new(0)),
            Announce::State => endpoint.with_announced(Announced::Draining),
            Announce::Nothing => endpoint,
        }
    }

    fn start(&mut self) {
        (self.then, self.failures, self.not_before) = (Then::Stay, 0, self.now);
        self.go(RegistrarState::Granting);
    }

    fn wrote(&mut self) {
        self.succeeded();
        match self.state {
            RegistrarState::Writing => self.go(RegistrarState::Kept),
            RegistrarState::Draining if !self.dirty => {
                self.leave_at = self.now.saturating_add(self.config.propagation);
            }
            _ => {}
        }
    }

    fn renewed(&mut self, sent: Timestamp, ttl: Duration) {
        self.renew_at = sent.saturating_add(renew_after(ttl, &mut self.draws));
        self.new_stream = false;
        self.succeeded();
    }

    fn succeeded(&mut self) {
        (self.failures, self.not_before, self.last_error) = (0, self.now, None);
    }

    /// Waits before the next try, yet not so long that the lease runs out untried.
    fn failed(&mut self, kind: Kind, error: RegistrarError) {
        self.last_error = Some(error);
        self.failures = self.failures.saturating_add(1);
        self.new_stream |= kind == Kind::Renew;
        self.dirty |= kind == Kind::Write;
        let mut delay = self.config.backoff.delay(self.failures, &mut self.draws);
        if let Some(lease) = self.lease.as_ref().filter(|_| self.holds_lease()) {
            let third = lease.deadline.saturating_since(self.now) / 3;
            delay = delay.min(third.max(self.config.backoff.min));
        }
        self.not_before = self.now.saturating_add(delay);
    }

    fn lose(&mut self) {
        (self.lease, self.pending, self.foreign, self.new_stream) = (None, None, false, false);
        (self.failures, self.last_error) = (0, Some(RegistrarError::LeaseLost));
        if self.state != RegistrarState::Draining {
            // Half of the first wait at least: a store that restarted hears from its whole fleet at once.
            let delay = self.config.backoff.delay(1, &mut self.draws);
            self.not_before = self.now.saturating_add(delay);
            self.go(RegistrarState::Lost);
        }
    }

    fn leave(&mut self, then: Then) {
        use RegistrarState::{Draining, Gone, Granting, Kept, Lost, Removing, Waiting, Writing};
        match self.state {
            Gone => {}
            Waiting => {
                if then == Then::Gone {
                    self.go(Gone);
                }
            }
            Draining | Removing => {
                if then == Then::Gone {
                    self.then = then;
                }
            }
            Granting | Lost if !self.written => {
                (self.then, self.pending, self.lease) = (then, None, None);
                self.removed();
            }
            Granting | Lost | Writing => {
                self.then = then;
                self.remove();
            }
            Kept => {
                self.then = then;
                // An order under way is overtaken: its answer says nothing about the drain.
                self.pending = None;
                self.not_before = self.now;
                self.go(Draining);
                self.dirty = self.config.announce != Announce::Nothing;
                self.leave_at = self.now.saturating_add(self.config.propagation);
                if self.config.announce == Announce::Nothing {
                    self.remove();
                }
            }
        }
    }

    fn remove(&mut self) {
        (self.pending, self.failures, self.not_before) = (None, 0, self.now);
        self.leave_at = self.now.saturating_add(self.config.remove_for);
        self.go(RegistrarState::Removing);
    }

    /// The entry is gone. Readers who were not told of a drain are given the time to hear of it now.
    fn removed_unannounced(&mut self) {
        if self.config.announce != Announce::Nothing || self.then != Then::Gone {
            return self.removed();
        }
        self.quiet = true;
        self.lease = None;
        self.succeeded();
        self.leave_at = self.now.saturating_add(self.config.propagation);
    }

    /// The store has not answered in time: the entry may be there until its lease runs out, and the error says so.
    fn give_up_removal(&mut self) {
        let error = self.last_error.unwrap_or(RegistrarError::Failed(TroubleKind::Timeout));
        let is_removed = self.quiet;
        self.removed();
        if self.state == RegistrarState::Gone && !is_removed {
            self.last_error = Some(error);
        }
    }

    fn removed(&mut self) {
        self.quiet = false;
        (self.pending, self.lease, self.written, self.foreign, self.dirty) = (None, None, false, false, true);
        (self.last_error, self.failures) = (None, 0);
        let then = std::mem::replace(&mut self.then, Then::Stay);
        if then == Then::Gone {
            self.go(RegistrarState::Gone);
            return;
        }
        self.go(RegistrarState::Waiting);
        if self.ready {
            self.start();
        }
    }

    fn go(&mut self, to: RegistrarState) {
        if self.state == to {
            return;
        }
        if self.transitions.len() >= 16 {
            self.transitions.pop_front();
        }
        self.transitions.push_back(Transition { at: self.now, from: self.state, to });
        self.state = to;
    }
}
