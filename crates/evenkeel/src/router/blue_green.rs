//! A switch that all threads use: its machine under a lock, and what it says in one word.

use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_route::matching::{Headers, Request, any_cookie};
use evenkeel_route::split::{BlueGreen, Colour, Switched};
use evenkeel_types::Timestamp;
use parking_lot::Mutex;

use super::action::BlueGreenAction;

pub(crate) struct SharedSwitch {
    action: BlueGreenAction,
    /// The time until which users are kept, in nanoseconds, and in the lowest bit whether green is live.
    word: AtomicU64,
    machine: Mutex<BlueGreen>,
}

impl SharedSwitch {
    pub(crate) fn new(action: &BlueGreenAction) -> Self {
        let machine = BlueGreen::new(&action.switch);
        let word = AtomicU64::new(word(&machine));
        Self { action: action.clone(), word, machine: Mutex::new(machine) }
    }

    pub(crate) const fn action(&self) -> &BlueGreenAction {
        &self.action
    }

    /// Where a request goes, and whether it would have gone elsewhere if its user were not kept.
    pub(crate) fn colour(&self, was: Option<Colour>, now: impl FnOnce() -> Timestamp) -> (Colour, bool) {
        let word = self.word.load(Ordering::Relaxed);
        let live = if word & 1 == 0 { Colour::Blue } else { Colour::Green };
        let until = Timestamp::from_nanos(word & !1);
        match was {
            Some(was) if was != live && until != Timestamp::ORIGIN && now() < until => (was, true),
            _ => (live, false),
        }
    }

    /// Where the user was, by what the request says.
    pub(crate) fn was<H: Headers + ?Sized>(&self, request: &Request<'_, H>) -> Option<Colour> {
        let mut was = None;
        request.headers.any("cookie", &mut |field| {
            any_cookie(field, &self.action.cookie, |value| {
                was = match value {
                    b"blue" => Some(Colour::Blue),
                    b"green" => Some(Colour::Green),
                    _ => None,
                };
                was.is_some()
            })
        });
        was
    }

    pub(crate) fn live(&self) -> Colour {
        self.machine.lock().live()
    }

    pub(crate) fn switch(&self, to: Colour, now: Timestamp) -> Option<Switched> {
        let mut machine = self.machine.lock();
        let switched = machine.switch(to, now);
        self.word.store(word(&machine), Ordering::Relaxed);
        switched
    }

    pub(crate) fn switch_now(&self, to: Colour) -> Option<Switched> {
        let mut machine = self.machine.lock();
        let switched = machine.switch_now(to);
        self.word.store(word(&machine), Ordering::Relaxed);
        switched
    }

    pub(crate) fn tick(&self, now: Timestamp) {
        let mut machine = self.machine.lock();
        if machine.tick(now) {
            self.word.store(word(&machine), Ordering::Relaxed);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.machine.lock().next_deadline()
    }

    /// The field `Set-Cookie` for a user of this colour.
    pub(crate) fn set_cookie(&self, colour: Colour) -> String {
        let colour = match colour {
            Colour::Blue => "blue",
            Colour::Green => "green",
        };
        format!("{}={colour}; Path=/; HttpOnly; SameSite=Lax", self.action.cookie)
    }
}

fn word(machine: &BlueGreen) -> u64 {
    let until = machine.next_deadline().unwrap_or(Timestamp::ORIGIN).as_nanos();
    (until & !1) | u64::from(machine.live() == Colour::Green)
}

impl std::fmt::Debug for SharedSwitch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedSwitch").field("live", &self.live()).finish_non_exhaustive()
    }
}
