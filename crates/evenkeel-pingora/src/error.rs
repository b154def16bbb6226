use evenkeel::PickError;
use pingora_error::{Error, ErrorSource, ErrorType, RetryType};

/// The type of the error of a request that no endpoint can take. Pingora answers it with status 503.
pub const NO_ENDPOINT: ErrorType = ErrorType::HTTPStatus(503);

/// A refused pick as an error of pingora: status 503, of internal source, not to be retried. What was wrong is its context.
#[must_use]
pub fn refused(error: &PickError) -> Box<Error> {
    let mut refused = Error::explain(NO_ENDPOINT, error.to_string());
    refused.esource = ErrorSource::Internal;
    refused.retry = RetryType::Decided(false);
    refused
}
