//! What a request passes before an endpoint is chosen for it: the cluster's limit, and the budget of what is sent again.

use evenkeel_limit::{Reservation, Token};

use crate::control::Control;
use crate::error::PickError;
use crate::request::Request;
use crate::shared::Shared;

/// A request that may go on.
pub(crate) struct Entry {
    /// Its slot of the cluster's limit.
    pub(crate) slot: Token,
    reservation: Option<Reservation>,
}

impl Entry {
    /// Where nothing is limited.
    pub(crate) const fn free() -> Self {
        Self { slot: Token::bypass(), reservation: None }
    }
}

impl Control {
    #[inline]
    pub(crate) const fn guards_entry(&self) -> bool {
        self.limit.is_some() || self.ledger.is_some()
    }

    pub(crate) fn give_back(&self, slot: Token) {
        if let Some(limit) = &self.limit {
            limit.give_back(slot);
        }
    }
}

impl<T> Shared<T> {
    /// Counts a first attempt; asks the budget about any other; then asks the limit.
    pub(crate) fn enter(&self, request: &Request<'_>) -> Result<Entry, PickError> {
        let control = &*self.control;
        let now = control.now();
        let mut entry = Entry::free();
        if let Some(ledger) = &control.ledger {
            match request.extra() {
                None => ledger.deposit(now),
                Some(kind) => match ledger.reserve(kind, now) {
                    Ok(reservation) => entry.reservation = Some(reservation),
                    Err(refusal) => return Err(self.refuse(PickError::BudgetSpent(refusal))),
                },
            }
        }
        if let Some(limit) = &control.limit {
            match limit.try_acquire(now) {
                Ok(slot) => entry.slot = slot,
                Err(refusal) => return Err(self.turn_away(entry, PickError::Saturated(refusal))),
            }
        }
        Ok(entry)
    }

    /// Nothing is sent: what was taken for it goes back.
    #[cold]
    pub(crate) fn turn_away(&self, entry: Entry, error: PickError) -> PickError {
        if let (Some(ledger), Some(reservation)) = (&self.control.ledger, entry.reservation) {
            ledger.cancel(reservation);
        }
        self.control.give_back(entry.slot);
        self.refuse(error)
    }
}
