//! Scripts of events, for tables of scenarios.

use std::collections::BTreeMap;

use evenkeel_breaker::{
    Admission, Breaker, BreakerConfig, Permit, Reason, Refusal, RefusalReason, State, Transition,
};
use evenkeel_types::{Outcome, Timestamp};

/// Runs a script from second 0, and compares what then holds.
///
/// ```text
/// F S O N      one request that is a failure, a success, an overload, neutral; it must be admitted
/// a b c …      a permit is taken and kept; the first is number 1 (any letter not named here will do)
/// f1 s1 o1     permit 1 ends as a failure, a success, an overload
/// r1           permit 1 is released
/// @5.25        it is second 5.25 now
/// t x          tick, reset
/// ?open=5      refused because open, to retry at second 5 (may be left out)
/// ?taken=5     refused because the probes are taken
/// ```
pub(crate) fn check(config: &BreakerConfig, script: &str, expected: &str) {
    let mut run = Run::new(config);
    script.split_whitespace().for_each(|word| run.word(word));
    let actual = run.facts();
    for fact in expected.split_whitespace() {
        assert!(actual.iter().any(|known| known == fact), "{script:?}: {fact} is not in {actual:?}");
    }
}

struct Run {
    breaker: Breaker,
    now: Timestamp,
    kept: BTreeMap<u32, Permit>,
    taken: u32,
    last: Option<Transition>,
}

impl Run {
    fn new(config: &BreakerConfig) -> Self {
        let breaker = Breaker::new(config).unwrap();
        Self { breaker, now: Timestamp::ORIGIN, kept: BTreeMap::new(), taken: 0, last: None }
    }

    fn word(&mut self, word: &str) {
        if let Some(time) = word.strip_prefix('@') {
            self.now = second(time);
        } else if let Some(refusal) = word.strip_prefix('?') {
            self.refused(refusal);
        } else if let Ok(number) = word[1..].parse() {
            let permit = self.kept.remove(&number).expect("no such permit");
            self.end(permit, &word[..1].to_uppercase());
        } else {
            word.chars().for_each(|letter| self.letter(letter));
        }
    }

    fn letter(&mut self, letter: char) {
        match letter {
            'F' | 'S' | 'O' | 'N' => {
                let permit = self.acquire();
                self.end(permit, &letter.to_string());
            }
            't' => self.note(self.breaker.tick(self.now)),
            'x' => self.note(self.breaker.reset(self.now)),
            _ => {
                self.taken += 1;
                let permit = self.acquire();
                self.kept.insert(self.taken, permit);
            }
        }
    }

    fn acquire(&mut self) -> Permit {
        assert_eq!(self.breaker.peek(self.now), Ok(()));
        let Admission { permit, transition } = self.breaker.try_acquire(self.now).expect("refused");
        self.note(transition);
        permit
    }

    fn end(&mut self, permit: Permit, how: &str) {
        let outcome = match how {
            "F" => Outcome::failure(),
            "S" => Outcome::success(),
            "O" => Outcome::overload(None),
            "N" => Outcome::neutral(),
            "R" => return self.note(self.breaker.release(permit, self.now)),
            other => panic!("no such end: {other}"),
        };
        self.note(self.breaker.record(permit, &outcome, self.now));
    }

    fn refused(&self, expected: &str) {
        let (reason, at) =
            expected.split_once('=').map_or((expected, None), |(reason, at)| (reason, Some(at)));
        let reason = if reason == "open" { RefusalReason::Open } else { RefusalReason::ProbesTaken };
        let before = format!("{:?} {:?}", self.breaker, self.breaker.stats(self.now));
        let refusal: Refusal = self.breaker.try_acquire(self.now).expect_err("admitted");
        assert_eq!(refusal.reason, reason);
        if let Some(at) = at {
            assert_eq!(refusal.retry_at, Some(second(at)));
        }
        assert_eq!(self.breaker.peek(self.now), Err(refusal));
        assert_eq!(
            before,
            format!("{:?} {:?}", self.breaker, self.breaker.stats(self.now)),
            "a refusal writes nothing"
        );
    }

    fn note(&mut self, transition: Option<Transition>) {
        if let Some(transition) = transition {
            assert_ne!(transition.from, transition.to);
            assert_eq!(transition.to, self.breaker.state());
            self.last = Some(transition);
        }
    }

    fn facts(&self) -> Vec<String> {
        let stats = self.breaker.stats(self.now);
        let mut facts = vec![
            format!("row={}", stats.failures_in_row),
            format!("window={}/{}", stats.window_failures, stats.window_requests),
            format!("probes={}", stats.probes_in_flight),
            format!("passed={}", stats.probes_passed),
            format!("opened={}", stats.times_opened),
        ];
        match stats.state {
            State::Closed => facts.push("closed".into()),
            State::HalfOpen => facts.push("half-open".into()),
            State::Open { until } => {
                facts.extend(["open".into(), format!("until={}", until.as_nanos() as f64 / 1e9)]);
            }
        }
        facts.extend(self.last.map(|transition| match transition.reason {
            Reason::Consecutive { .. } => "reason=consecutive".into(),
            Reason::Ratio { .. } => "reason=ratio".into(),
            reason => format!("reason={reason:?}"),
        }));
        facts
    }
}

fn second(text: &str) -> Timestamp {
    let seconds: f64 = text.parse().unwrap();
    Timestamp::from_millis((seconds * 1000.0).round() as u64)
}
