use evenkeel::{Origin, Outcome};
use pingora_error::{Error, ErrorSource, ErrorType};

/// What an error of pingora says about the endpoint. `None`: nothing, since the client or the proxy is at fault.
///
/// Only errors whose source is `Upstream` count. A filter's own error has no source (`Unset`) unless it is given one: a status that
/// it refuses a request with, or a connection to some other service that did not come about, is nothing that the endpoint did.
#[must_use]
pub fn outcome_of(error: &Error) -> Option<Outcome> {
    match (&error.esource, &error.etype) {
        (ErrorSource::Downstream | ErrorSource::Internal | ErrorSource::Unset, _) => None,
        (ErrorSource::Upstream, ErrorType::HTTPStatus(status)) => Some(of_status(*status)),
        (ErrorSource::Upstream, kind) if is_local(kind) => {
            Some(Outcome::failure().with_origin(Origin::Local))
        }
        (ErrorSource::Upstream, _) => Some(Outcome::failure()),
    }
}

/// A response by its status: as for all of evenkeel, 5xx is a failure, 429 and 503 an overload.
pub(crate) fn of_status(status: u16) -> Outcome {
    Outcome::from(&evenkeel::HttpStatus(status))
}

/// The request never reached the endpoint.
fn is_local(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::HandshakeError
    )
}
