use std::time::Duration;

use evenkeel_types::Timestamp;

/// How a child stands, in gRPC's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum GrpcChild {
    /// It has no connection and wants none before a request comes.
    Idle,
    /// It is connecting.
    Connecting,
    /// It has a connection.
    Ready,
    /// It failed, and waits.
    TransientFailure,
}

/// Times of gRPC's priority policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct GrpcPriorityConfig {
    /// How long a child may connect before the next one is asked. Default 10 s, as in A56.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub failover_timeout: Duration,
    /// How long a child that is not needed keeps its connections. Default 15 minutes, as in A56.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub retain: Duration,
}

impl Default for GrpcPriorityConfig {
    fn default() -> Self {
        Self { failover_timeout: Duration::from_secs(10), retain: Duration::from_secs(900) }
    }
}

/// Something that the owner of the children must do, or know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum GrpcEvent {
    /// The child of this priority is needed: make it connect.
    Created(usize),
    /// All requests go to this child from now on.
    Selected(usize),
    /// This child is not needed for the moment.
    Deactivated(usize),
    /// This child was not needed for long: drop its connections.
    Removed(usize),
}

/// gRPC's `priority_experimental` policy (proposal A56, "Priority LB policy"): all requests go to one child, the first that is
/// ready or idle, or that has not had its time to connect yet.
///
/// ```text
///             Ready, Idle        Connecting                         TransientFailure   timer
/// timer       ends               begins, if Ready or Idle was       ends               ends
///                                more recent than a failure
/// choice      first of these     only while its timer runs, or if   passed over        asks the next
///                                all timers have ended
/// ```
#[derive(Clone, Debug)]
pub struct GrpcPriority {
    config: GrpcPriorityConfig,
    children: Vec<Option<Child>>,
    current: Option<usize>,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    state: GrpcChild,
    timer: Option<Timestamp>,
    /// Whether it was ready or idle more recently than it failed.
    was_good: bool,
    deactivated: Option<Timestamp>,
}

impl GrpcPriority {
    /// A policy over so many priorities; the first child is created at once.
    #[must_use]
    pub fn new(config: &GrpcPriorityConfig, priorities: usize, now: Timestamp) -> (Self, Vec<GrpcEvent>) {
        let mut policy = Self { config: *config, children: vec![None; priorities], current: None, now };
        let events = policy.choose();
        (policy, events)
    }

    /// The child that gets all requests; none if there are no priorities.
    #[must_use]
    pub const fn current(&self) -> Option<usize> {
        self.current
    }

    /// A child stands differently. One that was never created, or was removed, is ignored.
    pub fn report(&mut self, child: usize, state: GrpcChild, now: Timestamp) -> Vec<GrpcEvent> {
        self.now = self.now.max(now);
        let begin = self.now.saturating_add(self.config.failover_timeout);
        if let Some(Some(known)) = self.children.get_mut(child) {
            known.state = state;
            match state {
                GrpcChild::Ready | GrpcChild::Idle => (known.was_good, known.timer) = (true, None),
                GrpcChild::TransientFailure => (known.was_good, known.timer) = (false, None),
                GrpcChild::Connecting if known.was_good && known.timer.is_none() => known.timer = Some(begin),
                GrpcChild::Connecting => {}
            }
        }
        self.roll()
    }

    /// Lets timers end.
    pub fn tick(&mut self, now: Timestamp) -> Vec<GrpcEvent> {
        self.now = self.now.max(now);
        self.roll()
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let times =
            |child: &Child| [child.timer, child.deactivated.map(|at| at.saturating_add(self.config.retain))];
        self.children.iter().flatten().flat_map(times).flatten().min()
    }

    fn roll(&mut self) -> Vec<GrpcEvent> {
        let now = self.now;
        let mut events = Vec::new();
        for (i, slot) in self.children.iter_mut().enumerate() {
            let Some(child) = slot else { continue };
            if child.timer.is_some_and(|until| now >= until) {
                // It is treated as failed from now on, until it is ready or idle.
                (child.timer, child.was_good) = (None, false);
            }
            if child.deactivated.is_some_and(|at| now >= at.saturating_add(self.config.retain)) {
                *slot = None;
                events.push(GrpcEvent::Removed(i));
            }
        }
        events.extend(self.choose());
        events
    }

    fn choose(&mut self) -> Vec<GrpcEvent> {
        let mut events = Vec::new();
        let chosen = self.first_fit(&mut events);
        if chosen != self.current {
            self.current = chosen;
            events.extend(chosen.map(GrpcEvent::Selected));
        }
        events
    }

    fn first_fit(&mut self, events: &mut Vec<GrpcEvent>) -> Option<usize> {
        let begin = self.now.saturating_add(self.config.failover_timeout);
        for i in 0..self.children.len() {
            let Some(child) = &mut self.children[i] else {
                self.children[i] = Some(Child {
                    state: GrpcChild::Connecting,
                    timer: Some(begin),
                    was_good: false,
                    deactivated: None,
                });
                events.push(GrpcEvent::Created(i));
                return Some(i);
            };
            child.deactivated = None;
            if matches!(child.state, GrpcChild::Ready | GrpcChild::Idle) {
                self.deactivate_after(i, events);
                return Some(i);
            }
            if child.timer.is_some() {
                return Some(i);
            }
        }
        let connecting =
            |child: &Option<Child>| child.is_some_and(|child| child.state == GrpcChild::Connecting);
        self.children.iter().position(connecting).or_else(|| self.children.len().checked_sub(1))
    }

    fn deactivate_after(&mut self, chosen: usize, events: &mut Vec<GrpcEvent>) {
        for (i, child) in self.children.iter_mut().enumerate().skip(chosen + 1) {
            if let Some(child) = child.as_mut().filter(|child| child.deactivated.is_none()) {
                child.deactivated = Some(self.now);
                events.push(GrpcEvent::Deactivated(i));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use GrpcChild::{Connecting, Idle, Ready, TransientFailure};
    use GrpcEvent::{Created, Deactivated, Removed, Selected};

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn policy(priorities: usize) -> GrpcPriority {
        let (policy, events) = GrpcPriority::new(&GrpcPriorityConfig::default(), priorities, at(0));
        assert_eq!(events, if priorities == 0 { vec![] } else { vec![Created(0), Selected(0)] });
        policy
    }

    #[test]
    fn fails_over_by_timer_and_by_failure_and_returns_at_once() {
        let mut policy = policy(2);
        assert_eq!(policy.next_deadline(), Some(at(10)));
        assert_eq!(policy.tick(at(9)), []);
        assert_eq!(policy.tick(at(10)), [Created(1), Selected(1)]);
        assert_eq!(policy.report(1, Ready, at(11)), []);
        assert_eq!(policy.report(0, TransientFailure, at(12)), []);
        assert_eq!(policy.report(0, Connecting, at(13)), [], "no new timer after a failure");
        assert_eq!(policy.report(0, Ready, at(14)), [Deactivated(1), Selected(0)]);
        assert_eq!(
            policy.report(0, TransientFailure, at(15)),
            [Selected(1)],
            "the retained child is used again"
        );
        assert_eq!(policy.report(0, Idle, at(16)), [Deactivated(1), Selected(0)]);
        assert_eq!(policy.report(0, Connecting, at(17)), [], "a new timer after idle");
        assert_eq!(policy.next_deadline(), Some(at(27)));
        assert_eq!(policy.report(0, Ready, at(18)), []);
        assert_eq!(policy.tick(at(16 + 900)), [Removed(1)]);
        assert_eq!(policy.report(1, Ready, at(917)), [], "a removed child is ignored");
    }

    #[test]
    fn without_a_good_one_a_connecting_one_is_used_and_then_the_last() {
        let mut policy = policy(3);
        assert_eq!(policy.report(0, TransientFailure, at(1)), [Created(1), Selected(1)]);
        assert_eq!(policy.tick(at(11)), [Created(2), Selected(2)]);
        assert_eq!(policy.report(2, TransientFailure, at(12)), [Selected(1)], "the first that connects");
        assert_eq!(policy.report(1, TransientFailure, at(13)), [Selected(2)], "the last");
        assert_eq!(policy.report(0, Ready, at(14)).last(), Some(&Selected(0)));
    }

    #[test]
    fn no_priorities_no_child() {
        let mut policy = policy(0);
        assert_eq!((policy.current(), policy.next_deadline()), (None, None));
        assert_eq!(policy.report(3, Ready, at(1)), []);
    }
}
