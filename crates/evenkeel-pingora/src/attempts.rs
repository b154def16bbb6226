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
    tried: Tried,
    most: usize,
    /// A verdict of this attempt was given.
    judged: bool,
}

impl<T> Attempts<T> {
    /// Nothing tried yet; the request may be sent to this many endpoints at most, at least one.
    ///
    /// Pingora has a limit of its own, `max_retries` of its server configuration, 16 by default.
    #[must_use]
    pub fn at_most(most: usize) -> Self {
        Self { pick: None, tried: Tried::default(), most: most.max(1), judged: false }
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
        self.give_up_pick();
        let request = if self.tried.is_empty() { *request } else { request.excluding(&self.tried) };
        let pick = cluster.pick(&request).map_err(|error| refused(&error))?;
        let peer = peer_at(&pick.endpoint().address(), tls, sni);
        self.tried.add(&pick);
        self.pick = Some(pick);
        self.judged = false;
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

    /// How many endpoints were tried.
    #[must_use]
    pub fn tried(&self) -> usize {
        self.tried.len()
    }

    /// No connection: for `fail_to_connect`. The endpoint hears of it, and the error says whether pingora shall ask for another peer:
    /// nothing of the request was sent, so any method may be.
    #[must_use]
    pub fn failed_to_connect(&mut self, mut error: Box<Error>) -> Box<Error> {
        let outcome =
            outcome_of(&error).unwrap_or_else(|| Outcome::failure().with_origin(evenkeel::Origin::Local));
        self.judge(outcome);
        self.give_up_pick();
        error.retry = RetryType::Decided(self.tried.len() < self.most);
        error
    }

    /// The connection failed under way: for `error_while_proxy`, after pingora's own decision whether the request can be sent again
    /// (idempotent, body kept). That is only ever turned from yes to no here.
    #[must_use]
    pub fn failed_on_the_way(&mut self, mut error: Box<Error>) -> Box<Error> {
        if let Some(outcome) = outcome_of(&error) {
            self.judge(outcome);
        }
        if self.tried.len() >= self.most {
            error.retry = RetryType::Decided(false);
        }
        error
    }

    /// The endpoint has answered with this status: for `upstream_response_filter` or `response_filter`. The verdict is given now, the
    /// request stays in flight until its body is through.
    pub fn answered(&mut self, status: u16) {
        self.judge(of_status(status));
    }

    /// The same with a classification of your own.
    pub fn judged_as(&mut self, outcome: Outcome) {
        self.judge(outcome);
    }

    /// The request has ended: for `logging`. Without a status and without an error of the endpoint there is no verdict, as when the
    /// client went away.
    pub fn end(&mut self, error: Option<&Error>) {
        if let Some(outcome) =
            error.filter(|error| error.esource != ErrorSource::Downstream).and_then(outcome_of)
        {
            self.judge(outcome);
        }
        self.give_up_pick();
    }

    /// The first verdict of an attempt counts.
    fn judge(&mut self, outcome: Outcome) {
        if let (false, Some(pick)) = (self.judged, &mut self.pick) {
            pick.record(outcome);
            self.judged = true;
        }
    }

    fn give_up_pick(&mut self) {
        self.pick = None;
    }
}

impl<T> fmt::Debug for Attempts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.pick.as_ref().map(|pick| pick.endpoint().id());
        f.debug_struct("Attempts")
            .field("at", &at)
            .field("tried", &self.tried.len())
            .field("most", &self.most)
            .finish()
    }
}
