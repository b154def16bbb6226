use evenkeel::{Origin, Outcome};
use pingora_error::{Error, ErrorSource, ErrorType};

/// What an error of pingora says about the endpoint. `None`: nothing, since the client or the proxy is at fault.
#[must_use]
pub fn outcome_of(error: &Error) -> Option<Outcome> {
    match (&error.esource, &error.etype) {
        (ErrorSource::Downstream | ErrorSource::Internal, _) => None,
        (_, ErrorType::HTTPStatus(status)) => Some(of_status(*status)),
        (_, kind) if is_local(kind) => Some(Outcome::failure().with_origin(Origin::Local)),
        (ErrorSource::Upstream, _) => Some(Outcome::failure()),
        (ErrorSource::Unset, kind) => is_of_connecting(kind).then(Outcome::failure),
    }
}

/// A response by its status: as for all of evenkeel, 5xx is a failure, 429 and 503 an overload.
pub(crate) fn of_status(status: u16) -> Outcome {
    Outcome::from(&evenkeel::HttpStatus(status))
}

/// The request never reached the endpoint.
fn is_local(kind: &ErrorType) -> bool {
    is_of_connecting(kind)
        || matches!(
            kind,
            ErrorType::TLSHandshakeFailure
                | ErrorType::TLSHandshakeTimedout
                | ErrorType::InvalidCert
                | ErrorType::HandshakeError
        )
}

fn is_of_connecting(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError
    )
}
