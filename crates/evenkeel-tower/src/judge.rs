use std::error::Error;

use evenkeel::{Classify, Origin, Outcome, Verdict};
use evenkeel_route::retry::Ending;

use crate::error::NotConnected;

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

    /// Of an error of the service: a failure that this side saw, unless the endpoint said that it never looked at the request.
    ///
    /// With the feature `h2` those are known that say so by HTTP/2: [`Ending::Refused`], after which even what must not be done twice
    /// is sent again (RFC 9113, 8.7). A stream that was refused (`REFUSED_STREAM`) tells of an overload; one that came too late
    /// for a connection that ends in good order (`GOAWAY` with `NO_ERROR`) says nothing of the endpoint.
    ///
    /// [`Ending::ConnectFailed`], after which even what must not be done twice is sent again, only if the chain of its sources has
    /// an error that nothing but connecting can have: [`NotConnected`], or with the feature `hyper-util` one of its client that
    /// `is_connect`. Everything else is [`Ending::Reset`]: by its kind alone an `io::Error` of a connection that was in use
    /// cannot be told from one of connecting.
    #[must_use]
    pub fn of_error(error: &(dyn Error + 'static)) -> Self {
        #[cfg(feature = "h2")]
        if let Some(outcome) = unseen(error) {
            return Self { outcome: Some(outcome), ending: Some(Ending::Refused) };
        }
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

/// What the endpoint says of itself by not looking at a stream of HTTP/2.
#[cfg(feature = "h2")]
fn unseen(error: &(dyn Error + 'static)) -> Option<Outcome> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>().filter(|error| error.is_remote()) {
            return match error.reason()? {
                h2::Reason::REFUSED_STREAM if error.is_reset() => Some(Outcome::overload(None)),
                // Streams that are still served end by themselves: those with this error are above the last one that was seen.
                h2::Reason::NO_ERROR if error.is_go_away() => Some(Outcome::neutral()),
                _ => None,
            };
        }
        next = error.source();
    }
    None
}

fn is_unconnected(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if is_of_connecting(error) {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_of_connecting(error: &(dyn Error + 'static)) -> bool {
    #[cfg(feature = "hyper-util")]
    if error.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect) {
        return true;
    }
    error.is::<NotConnected>()
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
    use std::{fmt, io};

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
    fn only_a_sign_of_connecting_says_that_nothing_was_sent() {
        for kind in [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::TimedOut,
        ] {
            let plain = Judgement::of_error(&Wrapped(kind.into()));
            assert_eq!(plain.ending, Some(Ending::Reset), "a socket in use can end so: {kind}");
            assert_eq!(plain.outcome, Some(Outcome::failure().with_origin(Origin::Local)));
            let marked = NotConnected::new(Wrapped(kind.into()));
            assert_eq!(Judgement::of_error(&marked).ending, Some(Ending::ConnectFailed), "{kind}");
            let outer = crate::BalanceError::Inner(marked.into());
            assert_eq!(Judgement::of_error(&outer).ending, Some(Ending::ConnectFailed), "{kind}");
            assert!(outer.inner::<Wrapped>().is_some() && outer.inner::<NotConnected>().is_some());
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
