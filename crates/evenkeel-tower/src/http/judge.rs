use std::error::Error;

use evenkeel::{Classify, HttpStatus, Outcome, Verdict};
use evenkeel_route::retry::Ending;
use http::{HeaderMap, StatusCode};

use super::retry_after::retry_after;
use crate::judge::Judgement;

/// What HTTP answers mean. One is judged when its head is there, and if the head does not tell, at the end of its body.
pub trait HttpJudge {
    /// What the head means; [`Judgement::later`] if the end of the body tells.
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Judgement;

    /// What the end means of an answer whose head did not tell. Default: a body that is through is a success, one that broke
    /// off a failure.
    fn end(&self, end: BodyEnd<'_>) -> Outcome {
        match end {
            BodyEnd::Whole { .. } => Outcome::success(),
            BodyEnd::Broken => Outcome::failure(),
        }
    }

    /// What an error in place of an answer means. Default: [`Judgement::of_error`].
    fn error(&self, error: &(dyn Error + 'static)) -> Judgement {
        Judgement::of_error(error)
    }
}

/// How the body of an answer ended.
#[derive(Clone, Copy, Debug)]
pub enum BodyEnd<'a> {
    /// All of it came.
    Whole {
        /// Its trailers, if it had any.
        trailers: Option<&'a HeaderMap>,
    },
    /// It broke off.
    Broken,
}

/// Judges by the status, as [`HttpStatus`] does; an overload says for how long if `retry-after` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusJudge {
    until_end: bool,
}

impl StatusJudge {
    /// The same, but what starts well must end well: an answer whose head is a success is judged at the end of its body, and
    /// one that breaks off is a failure.
    ///
    /// By default the head is the verdict, so that a long download holds no probe of a breaker, and latency is the time to
    /// the head. Take this where endpoints are known to die in the middle of bodies, which the default does not see.
    #[must_use]
    pub const fn until_end() -> Self {
        Self { until_end: true }
    }
}

impl HttpJudge for StatusJudge {
    #[inline]
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Judgement {
        let mut outcome = HttpStatus(status.as_u16()).classify();
        let mut asked = None;
        match outcome.verdict() {
            Verdict::Success if self.until_end => return Judgement::later(),
            Verdict::Success => return Judgement::success(),
            Verdict::Overload { .. } => {
                asked = retry_after(headers);
                outcome = Outcome::overload(asked);
            }
            Verdict::Failure | Verdict::Neutral => {}
        }
        let ending = Ending::Http { status: status.as_u16(), retry_after: asked };
        Judgement { outcome: Some(outcome), ending: Some(ending) }
    }
}

/// A function from heads to outcomes. What a retry sees is the status all the same.
#[derive(Clone, Copy, Debug)]
pub struct JudgeHeadBy<F>(pub F);

impl<F: Fn(StatusCode, &HeaderMap) -> Outcome> HttpJudge for JudgeHeadBy<F> {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Judgement {
        let ending = Ending::Http { status: status.as_u16(), retry_after: retry_after(headers) };
        Judgement { outcome: Some((self.0)(status, headers)), ending: Some(ending) }
    }
}

/// A judge of answers, and a function that judges errors: for a client that tells more than [`Judgement::of_error`] can see. (What
/// stands here about hyper-util's client is what the feature `hyper-util` does by itself.)
///
/// ```
/// use std::error::Error;
/// use evenkeel_route::retry::Ending;
/// use evenkeel_tower::Judgement;
/// use evenkeel_tower::http::{ErrorsBy, StatusJudge};
/// use hyper_util::client::legacy;
///
/// let judge = ErrorsBy(StatusJudge::default(), |error: &(dyn Error + 'static)| {
///     let mut judgement = Judgement::of_error(error);
///     if error.downcast_ref().is_some_and(legacy::Error::is_connect) {
///         judgement.ending = Some(Ending::ConnectFailed);
///     }
///     judgement
/// });
/// # let _ = judge;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ErrorsBy<J, F>(pub J, pub F);

impl<J: HttpJudge, F: Fn(&(dyn Error + 'static)) -> Judgement> HttpJudge for ErrorsBy<J, F> {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Judgement {
        self.0.head(status, headers)
    }

    fn end(&self, end: BodyEnd<'_>) -> Outcome {
        self.0.end(end)
    }

    fn error(&self, error: &(dyn Error + 'static)) -> Judgement {
        (self.1)(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn heads_are_judged() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", http::HeaderValue::from_static("7"));
        let seven = Some(Duration::from_secs(7));
        for (status, verdict, ending) in [
            (200, Verdict::Success, None),
            (204, Verdict::Success, None),
            (404, Verdict::Neutral, Some((404, None))),
            (429, Verdict::Overload { retry_after: seven }, Some((429, seven))),
            (500, Verdict::Failure, Some((500, None))),
            (503, Verdict::Overload { retry_after: seven }, Some((503, seven))),
        ] {
            let judgement = StatusJudge::default().head(StatusCode::from_u16(status).unwrap(), &headers);
            assert_eq!(judgement.outcome.map(|outcome| outcome.verdict()), Some(verdict), "{status}");
            let ending = ending.map(|(status, retry_after)| Ending::Http { status, retry_after });
            assert_eq!(judgement.ending, ending, "{status}");
        }
        assert_eq!(StatusJudge::until_end().head(StatusCode::OK, &headers), Judgement::later());
        assert!(StatusJudge::until_end().head(StatusCode::NOT_FOUND, &headers).outcome.is_some());
    }
}
