//! What a request passes before an endpoint is chosen for it: the cluster's limit, and the budget of what is sent again.

use evenkeel_limit::{Reservation, Token};

use crate::control::Control;
use crate::error::PickError;
use crate::moment::Moment;
use crate::request::Request;
use crate::shared::Shared;

/// A request that may go on. What was taken for it goes back if it goes nowhere: also if a policy panics.
pub(crate) struct Entry<'a> {
    control: &'a Control,
    slot: Token,
    reservation: Option<Reservation>,
}

impl<'a> Entry<'a> {
    /// Where nothing is limited.
    #[inline]
    pub(crate) const fn free(control: &'a Control) -> Self {
        Self { control, slot: Token::bypass(), reservation: None }
    }

    /// It goes out, and keeps its slot of the cluster's limit; what it took from the budget is spent.
    #[inline]
    pub(crate) fn go(mut self) -> Token {
        self.reservation = None;
        std::mem::replace(&mut self.slot, Token::bypass())
    }

    /// It goes nowhere.
    #[inline]
    pub(crate) fn give_up(&mut self) {
        if !self.slot.is_bypass() || self.reservation.is_some() {
            self.turn_back();
        }
    }

    #[cold]
    fn turn_back(&mut self) {
        if let (Some(ledger), Some(reservation)) = (&self.control.ledger, self.reservation.take()) {
            ledger.cancel(reservation);
        }
        self.control.give_back(std::mem::replace(&mut self.slot, Token::bypass()));
    }
}

impl Drop for Entry<'_> {
    #[inline]
    fn drop(&mut self) {
        self.give_up();
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
    /// Counts a first attempt that does so for the first time; asks the budget about any other; then asks the limit.
    pub(crate) fn enter(
        &self,
        request: &Request<'_>,
        moment: &Moment<'_>,
        entry: &mut Entry<'_>,
    ) -> Result<(), PickError> {
        let control = &*self.control;
        if let Some(ledger) = control.ledger.as_ref().filter(|_| !request.is_paid()) {
            match request.extra() {
                None if request.is_waiting() => {}
                None => ledger.deposit(moment.now()),
                Some(kind) => match ledger.reserve(kind, moment.now()) {
                    Ok(reservation) => entry.reservation = Some(reservation),
                    Err(refusal) => return Err(self.refuse(PickError::BudgetSpent(refusal))),
                },
            }
        }
        if let Some(limit) = &control.limit {
            match limit.try_acquire(|| moment.now()) {
                Ok(slot) => entry.slot = slot,
                Err(refusal) => {
                    // Given back before the observer hears of it.
                    entry.give_up();
                    return Err(self.refuse(PickError::Saturated(refusal)));
                }
            }
        }
        Ok(())
    }
}
