use std::fmt;

use evenkeel::{Cluster, Outcome, Pick, Request, Tried};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result, RetryType};

use crate::error::refused;
use crate::outcome::{of_status, outcome_of};
use crate::peer::peer_at;

/// Where a request is, and where it has been: part of a proxy's context.
///
/// It holds the pick until [`end`](Self::end), so the request counts as in flight for as long as its body flows. If it is dropped
/// before, the pick has no verdict and everything taken is given back.
pub struct Attempts<T> {
    pick: Option<Pick<T>>,
    /// Who takes the request next: chosen before an answer was given up for it.
    next: Option<Pick<T>>,
    tried: Tried,
    attempts: usize,
    most: usize,
    /// A verdict of this attempt was given.
    judged: bool,
    /// It failed on a connection that was kept from an earlier request: the endpoint may be asked again.
    stale: bool,
}

impl<T> Attempts<T> {
    /// Nothing tried yet; the request may be sent this many times at most, at least once.
    ///
    /// Pingora has a limit of its own, `max_retries` of its server configuration, 16 by default.
    #[must_use]
    pub fn at_most(most: usize) -> Self {
        Self {
            pick: None,
            next: None,
            tried: Tried::default(),
            attempts: 0,
            most: most.max(1),
            judged: false,
            stale: false,
        }
    }

    /// Picks an endpoint where the request was not yet: for `upstream_peer`. A key, a source address and the like are in `request`; what was
    /// tried is added here.
    ///
    /// # Errors
    ///
    /// [`NO_ENDPOINT`](crate::NO_ENDPOINT) with the reason if nobody can take it; `ErrorType::ConnectError` if the address is
    /// one that pingora cannot use, which counts against the endpoint and may be tried elsewhere.
    pub fn peer(
        &mut self,
        cluster: &Cluster<T>,
        request: &Request<'_>,
        tls: bool,
        sni: &str,
    ) -> Result<Box<HttpPeer>> {
        self.leave(!self.stale);
        let pick = match self.next.take() {
            Some(pick) => pick,
            None => {
                let request = if self.tried.is_empty() { *request } else { request.excluding(&self.tried) };
                cluster.pick(&request).map_err(|error| refused(&error))?
            }
        };
        let peer = peer_at(&pick.endpoint().address(), tls, sni);
        self.pick = Some(pick);
        self.attempts += 1;
        (self.judged, self.stale) = (false, false);
        peer.map_err(|error| {
            let error = Error::explain(ErrorType::ConnectError, error.to_string());
            self.failed_to_connect(error)
        })
    }

    /// The pick of this attempt.
    #[must_use]
    pub const fn pick(&self) -> Option<&Pick<T>> {
        self.pick.as_ref()
    }

    /// How often the request was sent, or was to be.
    #[must_use]
    pub const fn attempts(&self) -> usize {
        self.attempts
    }

    /// No connection: for `fail_to_connect`. The endpoint hears of it, and the error says whether pingora shall ask for another peer:
    /// nothing of the request was sent, so any method may be.
    #[must_use]
    pub fn failed_to_connect(&mut self, mut error: Box<Error>) -> Box<Error> {
        let outcome =
            outcome_of(&error).unwrap_or_else(|| Outcome::failure().with_origin(evenkeel::Origin::Local));
        self.judge(outcome);
        self.leave(true);
        error.retry = RetryType::Decided(self.attempts < self.most);
        error
    }

    /// The connection failed under way: for `error_while_proxy`, after pingora's own decision whether the request can be sent again
    /// (idempotent, body kept). That is only ever turned from yes to no here.
    ///
    /// `client_reused` is what pingora passes: the connection had been kept from an earlier request. If the request may be sent again, such
    /// a failure says nothing about the endpoint, which may close connections that are idle, and it may be asked again.
    ///
    /// A hook of your own replaces pingora's, so it has to decide first: the [crate's page](crate) shows it whole. What is still
    /// undecided here (`RetryType::ReusedOnly`) is not sent again, since only the hook sees the method and what is left of the body.
    #[must_use]
    pub fn failed_on_the_way(&mut self, mut error: Box<Error>, client_reused: bool) -> Box<Error> {
        error.retry.decide_reuse(false);
        // Who has answered was there, whatever became of the connection.
        if client_reused && error.retry() && !self.judged {
            self.stale = true;
        } else if let Some(outcome) = outcome_of(&error) {
            self.judge(outcome);
        }
        if self.attempts >= self.most {
            error.retry = RetryType::Decided(false);
        }
        if !error.retry() {
            self.next = None;
        }
        error
    }

    /// The endpoint has answered with this status: for `upstream_response_filter` or `response_filter`. The verdict is given now, the
    /// request stays in flight until its body is through.
    ///
    /// Pingora passes interim answers (100, 103) to these filters too. They are no verdict: the answer is yet to come. Nothing
    /// comes after a 101, so that is one.
    pub fn answered(&mut self, status: u16) {
        if (100..200).contains(&status) && status != SWITCHING_PROTOCOLS {
            return;
        }
        self.judge(of_status(status));
    }

    /// As [`answered`](Self::answered), for an answer that another endpoint may better: for `upstream_response_filter`, which comes before
    /// anything is sent to the client, with statuses that you choose, of requests that may be sent twice.
    ///
    /// ```
    /// # use evenkeel::{Cluster, Request};
    /// # use evenkeel_pingora::Attempts;
    /// # use pingora_error::Result;
    /// # use pingora_http::ResponseHeader;
    /// # use pingora_proxy::{ProxyHttp, Session};
    /// # use pingora_core::upstreams::peer::HttpPeer;
    /// # struct Proxy(Cluster<()>);
    /// # #[async_trait::async_trait]
    /// # impl ProxyHttp for Proxy {
    /// #     type CTX = Attempts<()>;
    /// #     fn new_ctx(&self) -> Attempts<()> { Attempts::at_most(3) }
    /// #     async fn upstream_peer(&self, _: &mut Session, attempts: &mut Attempts<()>) -> Result<Box<HttpPeer>> {
    /// #         attempts.peer(&self.0, &Request::new(), false, "")
    /// #     }
    /// async fn upstream_response_filter(
    ///     &self,
    ///     session: &mut Session,
    ///     answer: &mut ResponseHeader,
    ///     attempts: &mut Attempts<()>,
    /// ) -> Result<()> {
    ///     let status = answer.status.as_u16();
    ///     let is_repeatable =
    ///         session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
    ///     if is_repeatable && [502, 503, 504].contains(&status) {
    ///         return attempts.answered_or_elsewhere(&self.0, &Request::new(), status);
    ///     }
    ///     attempts.answered(status);
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// The other endpoint is picked here. If there is none, or the budget of the cluster or the number of attempts is spent, the answer
    /// goes to the client as it is.
    ///
    /// # Errors
    ///
    /// With this status, and to be retried: pingora gives up the answer and asks for another peer.
    pub fn answered_or_elsewhere(
        &mut self,
        cluster: &Cluster<T>,
        request: &Request<'_>,
        status: u16,
    ) -> Result<()> {
        self.answered(status);
        if (100..200).contains(&status) || self.attempts >= self.most {
            return Ok(());
        }
        let mut tried = self.tried.clone();
        if let Some(pick) = &self.pick {
            tried.add(pick);
        }
        let Ok(next) = cluster.pick(&request.excluding(&tried)) else { return Ok(()) };
        self.next = Some(next);
        let mut error = Error::explain(ErrorType::HTTPStatus(status), "another endpoint is asked");
        error.esource = ErrorSource::Upstream;
        error.retry = RetryType::Decided(true);
        Err(error)
    }

    /// As [`answered`](Self::answered), with a classification of your own.
    pub fn judged_as(&mut self, outcome: Outcome) {
        self.judge(outcome);
    }

    /// The request has ended: for `logging`. Without a status and without an error of the endpoint there is no verdict, as when the
    /// client went away or a filter of the proxy failed.
    pub fn end(&mut self, error: Option<&Error>) {
        self.next = None;
        if let Some(outcome) = error.and_then(outcome_of) {
            self.judge(outcome);
        }
        self.leave(true);
    }

    /// The first verdict of an attempt counts.
    fn judge(&mut self, outcome: Outcome) {
        if let (false, Some(pick)) = (self.judged, &mut self.pick) {
            pick.record(outcome);
            self.judged = true;
        }
    }

    /// The request is there no longer, and is not sent there again if it was `tried`.
    fn leave(&mut self, tried: bool) {
        if let Some(pick) = self.pick.take()
            && tried
        {
            self.tried.add(&pick);
        }
    }
}

impl<T> fmt::Debug for Attempts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.pick.as_ref().map(|pick| pick.endpoint().id());
        f.debug_struct("Attempts")
            .field("at", &at)
            .field("attempts", &self.attempts)
            .field("most", &self.most)
            .finish()
    }
}

const SWITCHING_PROTOCOLS: u16 = 101;
