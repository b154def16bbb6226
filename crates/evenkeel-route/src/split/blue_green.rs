use std::time::Duration;

use evenkeel_types::Timestamp;

/// One of two complete environments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Colour {
    /// The one.
    #[default]
    Blue,
    /// The other.
    Green,
}

impl Colour {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

/// How a switch between two environments goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct BlueGreenConfig {
    /// Which is live at first. Default blue.
    pub live: Colour,
    /// How long users who say that they were on the other one are still sent there. Default 5 minutes: about a session;
    /// zero switches everybody at once.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub keep: Duration,
}

impl Default for BlueGreenConfig {
    fn default() -> Self {
        Self { live: Colour::Blue, keep: Duration::from_secs(300) }
    }
}

/// A switch between two environments, which can be taken back at any time.
///
/// ```text
///                switch to other      switch to live   switch now to other     switch now to live   deadline of keep
/// Blue           Green, keeps Blue    stay             Green, keeps nobody     keeps nobody         keeps nobody
/// Green          Blue, keeps Green    stay             Blue, keeps nobody      keeps nobody         keeps nobody
/// ```
#[derive(Clone, Debug)]
pub struct BlueGreen {
    keep: Duration,
    live: Colour,
    kept_until: Option<Timestamp>,
}

/// The environment changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Switched {
    /// What is live now.
    pub live: Colour,
    /// Until when users of the other one are kept there.
    pub kept_until: Option<Timestamp>,
}

impl BlueGreen {
    /// A switch that stands at its first position.
    #[must_use]
    pub const fn new(config: &BlueGreenConfig) -> Self {
        Self { keep: config.keep, live: config.live, kept_until: None }
    }

    /// What is live.
    #[must_use]
    pub const fn live(&self) -> Colour {
        self.live
    }

    /// Makes `to` live, and keeps the users of the other one there for a while. Nothing happens if it is live. To leave what is
    /// broken, use [`switch_now`](Self::switch_now).
    pub fn switch(&mut self, to: Colour, now: Timestamp) -> Option<Switched> {
        if to == self.live {
            return None;
        }
        self.live = to;
        self.kept_until = (self.keep > Duration::ZERO).then(|| now.saturating_add(self.keep));
        Some(Switched { live: to, kept_until: self.kept_until })
    }

    /// Makes `to` live for everybody, at once: away from an environment that is broken, whose users gain nothing by staying. Nothing
    /// happens if it is.
    pub fn switch_now(&mut self, to: Colour) -> Option<Switched> {
        if to == self.live && self.kept_until.is_none() {
            return None;
        }
        (self.live, self.kept_until) = (to, None);
        Some(Switched { live: to, kept_until: None })
    }

    /// Where a request goes, whose user was on `was` (by a cookie, say).
    #[must_use]
    pub fn colour(&self, was: Option<Colour>, now: Timestamp) -> Colour {
        match (was, self.kept_until) {
            (Some(was), Some(until)) if now < until => was,
            _ => self.live,
        }
    }

    /// When nobody is kept any more.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Timestamp> {
        self.kept_until
    }

    /// Forgets a deadline that has passed; whether it had.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        let passed = self.kept_until.is_some_and(|until| now >= until);
        if passed {
            self.kept_until = None;
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Colour::{Blue, Green};

    #[test]
    fn every_state_and_event() {
        let at = Timestamp::from_secs;
        for live in [Blue, Green] {
            let mut machine = BlueGreen::new(&BlueGreenConfig { live, keep: Duration::from_secs(10) });
            let other = live.other();
            assert_eq!(machine.switch(live, at(1)), None);
            assert_eq!(machine.colour(Some(other), at(1)), live, "nobody is kept before a switch");
            assert_eq!(
                machine.switch(other, at(5)),
                Some(Switched { live: other, kept_until: Some(at(15)) })
            );
            assert_eq!(machine.colour(None, at(6)), other);
            assert_eq!(machine.colour(Some(live), at(6)), live);
            assert_eq!(machine.colour(Some(live), at(15)), other, "the deadline is inclusive");
            assert!(!machine.tick(at(14)));
            assert_eq!(machine.next_deadline(), Some(at(15)));
            assert!(machine.tick(at(15)));
            assert_eq!(machine.next_deadline(), None);
            assert!(machine.switch(live, at(16)).is_some(), "and back");
            assert_eq!(machine.colour(Some(other), at(17)), other);
            let now = Some(Switched { live, kept_until: None });
            assert_eq!(machine.switch_now(live), now, "nobody is kept any more");
            assert_eq!((machine.switch_now(live), machine.next_deadline()), (None, None));
            assert_eq!(machine.colour(Some(other), at(17)), live);
            assert_eq!(machine.switch(other, at(18)).map(|switched| switched.live), Some(other));
            assert_eq!(machine.switch_now(live), now, "back, and nobody stays behind");
            assert_eq!(machine.colour(Some(other), at(19)), live);
        }
    }
}
