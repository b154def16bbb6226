use std::error::Error;
use std::io;

use evenkeel::{Classify, Origin, Outcome, Verdict};
use evenkeel_route::retry::Ending;

/// What an answer, or an error, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it says of the endpoint. `None` if that shows later, at the end of the body.
    pub outcome: Option<Outcome>,
    /// What it is to a plan that may send the request again. `None` for an answer that is one.
    pub ending: Option<Ending>,
}

impl Judgement {
    /// An answer as it should be.
    #[must_use]
    pub const fn success() -> Self {
        Self { outcome: Some(Outcome::success()), ending: None }
    }

    /// Nothing is known before the end of the body.
    #[must_use]
    pub const fn later() -> Self {
        Self { outcome: None, ending: None }
    }

    /// Of an error of the service: a failure that this side saw. [`Ending::ConnectFailed`] if the chain of its sources has an
    /// [`io::Error`] that only connecting can have (refused, no route), else [`Ending::Reset`].
    #[must_use]
    pub fn of_error(error: &(dyn Error + 'static)) -> Self {
        let ending = if is_unconnected(error) { Ending::ConnectFailed } else { Ending::Reset };
        Self { outcome: Some(Outcome::failure().with_origin(Origin::Local)), ending: Some(ending) }
    }

    /// Of an outcome alone. A failure is to a plan what a broken connection is, an overload what HTTP's 503 is.
    #[must_use]
    pub const fn of_outcome(outcome: Outcome) -> Self {
        let ending = match outcome.verdict() {
            Verdict::Success | Verdict::Neutral => None,
            Verdict::Failure => Some(Ending::Reset),
            Verdict::Overload { retry_after } => Some(Ending::Http { status: 503, retry_after }),
        };
        Self { outcome: Some(outcome), ending }
    }
}

fn is_unconnected(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| is_of_connecting(error.kind())) {
            return true;
        }
        next = error.source();
    }
    false
}

const fn is_of_connecting(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable
    )
}

/// Judges answers that are complete when they are there. For HTTP, whose answers have bodies, see `http::HttpJudge`.
pub trait Judge<Res> {
    /// What an answer means.
    fn answer(&self, answer: &Res) -> Judgement;

    /// What an error means. Default: [`Judgement::of_error`].
    fn error(&self, error: &(dyn Error + 'static)) -> Judgement {
        Judgement::of_error(error)
    }
}

/// Every answer is a success: only errors are failures.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyAnswer;

impl<Res> Judge<Res> for AnyAnswer {
    #[inline]
    fn answer(&self, _: &Res) -> Judgement {
        Judgement::success()
    }
}

/// Answers that know what they mean: those that implement [`Classify`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ByItself;

impl<Res: Classify> Judge<Res> for ByItself {
    fn answer(&self, answer: &Res) -> Judgement {
        Judgement::of_outcome(answer.classify())
    }
}

/// A function from answers to outcomes: what [`Balance::judged_by`](crate::Balance::judged_by) takes.
#[derive(Clone, Copy, Debug)]
pub struct JudgeBy<F>(pub F);

impl<Res, F: Fn(&Res) -> Outcome> Judge<Res> for JudgeBy<F> {
    fn answer(&self, answer: &Res) -> Judgement {
        Judgement::of_outcome((self.0)(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Wrapped(io::Error);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn errors_of_connecting_are_told_apart() {
        for (kind, ending) in [
            (io::ErrorKind::ConnectionRefused, Ending::ConnectFailed),
            (io::ErrorKind::NetworkUnreachable, Ending::ConnectFailed),
            (io::ErrorKind::ConnectionReset, Ending::Reset),
            (io::ErrorKind::BrokenPipe, Ending::Reset),
            (io::ErrorKind::TimedOut, Ending::Reset),
        ] {
            let judgement = Judgement::of_error(&Wrapped(kind.into()));
            assert_eq!(judgement.ending, Some(ending), "{kind}");
            assert_eq!(judgement.outcome, Some(Outcome::failure().with_origin(Origin::Local)));
        }
    }

    #[test]
    fn outcomes_are_endings() {
        let retry_after = Some(std::time::Duration::from_secs(1));
        for (outcome, ending) in [
            (Outcome::success(), None),
            (Outcome::neutral(), None),
            (Outcome::failure(), Some(Ending::Reset)),
            (Outcome::overload(retry_after), Some(Ending::Http { status: 503, retry_after })),
        ] {
            assert_eq!(Judgement::of_outcome(outcome), Judgement { outcome: Some(outcome), ending });
        }
    }
}
