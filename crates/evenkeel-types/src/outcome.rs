use std::time::Duration;

/// How a request went: the verdict, where it was formed, and how long it took.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_types::{HttpStatus, Outcome, Verdict};
///
/// let outcome = Outcome::success().with_latency(Duration::from_millis(12));
/// assert_eq!(outcome.verdict(), Verdict::Success);
///
/// // An `Ok` that carries status 500 is a failure.
/// let answer: Result<HttpStatus, std::io::Error> = Ok(HttpStatus(500));
/// assert_eq!(Outcome::from(&answer).verdict(), Verdict::Failure);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    verdict: Verdict,
    origin: Origin,
    latency: Option<Duration>,
}

impl Outcome {
    /// The endpoint answered as it should.
    #[must_use]
    pub const fn success() -> Self {
        Self::new(Verdict::Success)
    }

    /// The endpoint did not do its job.
    #[must_use]
    pub const fn failure() -> Self {
        Self::new(Verdict::Failure)
    }

    /// The endpoint asked for less: HTTP 429 or 503, gRPC `RESOURCE_EXHAUSTED`.
    #[must_use]
    pub const fn overload(retry_after: Option<Duration>) -> Self {
        Self::new(Verdict::Overload { retry_after })
    }

    /// The outcome says nothing about the endpoint: the caller gave up, or sent nonsense.
    #[must_use]
    pub const fn neutral() -> Self {
        Self::new(Verdict::Neutral)
    }

    /// An outcome of this verdict, from the remote side, of unknown duration.
    #[must_use]
    pub const fn new(verdict: Verdict) -> Self {
        Self { verdict, origin: Origin::Remote, latency: None }
    }

    /// The same with the time from pick to answer. Without it the façade measures by itself where a part needs it.
    #[must_use]
    pub const fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = Some(latency);
        self
    }

    /// The same, formed on this side: no connection, our own timeout.
    #[must_use]
    pub const fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Which side formed it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The time from pick to answer, if the caller measured it.
    #[must_use]
    pub const fn latency(&self) -> Option<Duration> {
        self.latency
    }
}

impl<C: Classify + ?Sized> From<&C> for Outcome {
    fn from(answer: &C) -> Self {
        answer.classify()
    }
}

/// What an outcome says about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered as it should.
    Success,
    /// It did not.
    Failure,
    /// It asked for less: not a failure, but a reason to send less for a while.
    Overload {
        /// How long it asked us to stay away.
        retry_after: Option<Duration>,
    },
    /// Nothing: neither resets nor counts.
    Neutral,
}

/// Which side formed an outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The endpoint's own answer.
    #[default]
    Remote,
    /// A gateway between this side and the endpoint's work answered for it: HTTP 502 and 504.
    Gateway,
    /// This side: the connection failed, or our timeout ended the wait.
    Local,
}

/// Turns an answer into an [`Outcome`]; implement it for the answers of your protocol.
///
/// `Result<A, E>` classifies an `Ok` by its content and an `Err` as a failure of local origin.
pub trait Classify {
    /// The outcome that this answer stands for.
    fn classify(&self) -> Outcome;
}

impl Classify for () {
    fn classify(&self) -> Outcome {
        Outcome::success()
    }
}

impl Classify for Outcome {
    fn classify(&self) -> Outcome {
        *self
    }
}

impl<A: Classify, E> Classify for Result<A, E> {
    fn classify(&self) -> Outcome {
        match self {
            Ok(answer) => answer.classify(),
            Err(_) => Outcome::failure().with_origin(Origin::Local),
        }
    }
}

/// An HTTP status code, classified as Envoy's outlier detection and linkerd do it.
///
/// | status | verdict |
/// |---|---|
/// | 429, 503 | overload |
/// | 502, 504 | failure, told by a gateway |
/// | other 5xx, and anything outside 100–599 | failure |
/// | 4xx other than 429 | neutral: the request was at fault |
/// | 1xx–3xx | success |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HttpStatus(pub u16);

impl Classify for HttpStatus {
    fn classify(&self) -> Outcome {
        match self.0 {
            429 | 503 => Outcome::overload(None),
            400..=499 => Outcome::neutral(),
            100..=399 => Outcome::success(),
            502 | 504 => Outcome::failure().with_origin(Origin::Gateway),
            _ => Outcome::failure(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_classified() {
        for (status, verdict) in [
            (200, Verdict::Success),
            (101, Verdict::Success),
            (304, Verdict::Success),
            (404, Verdict::Neutral),
            (429, Verdict::Overload { retry_after: None }),
            (500, Verdict::Failure),
            (503, Verdict::Overload { retry_after: None }),
            (599, Verdict::Failure),
            (0, Verdict::Failure),
        ] {
            assert_eq!(HttpStatus(status).classify().verdict(), verdict, "{status}");
        }
    }

    #[test]
    fn an_error_is_a_failure_of_this_side() {
        let answer: Result<(), &str> = Err("connection refused");
        assert_eq!(Outcome::from(&answer), Outcome::failure().with_origin(Origin::Local));
    }
}
