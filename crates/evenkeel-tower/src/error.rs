use std::error::Error;
use std::fmt;

use evenkeel::PickError;

/// Any error, as tower has it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a balanced request has no answer.
///
/// Errors of services are boxed, as everywhere in tower: stacks of middleware have boxed errors already, and those that do
/// not are found with [`inner`](Self::inner). Only failures pay for the box.
#[derive(Debug)]
#[non_exhaustive]
pub enum BalanceError {
    /// There was nobody to send it to. The request was not sent.
    Pick(PickError),
    /// The service of the endpoint failed.
    Inner(BoxError),
    /// The time that an attempt, or the request, may take was over.
    TimedOut,
}

impl BalanceError {
    /// Why there was nobody to send it to, if that is what went wrong.
    #[must_use]
    pub const fn pick(&self) -> Option<PickError> {
        match self {
            Self::Pick(error) => Some(*error),
            _ => None,
        }
    }

    /// The error of the endpoint's service, if it is one of this type.
    #[must_use]
    pub fn inner<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Inner(error) => error.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for BalanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pick(error) => error.fmt(f),
            Self::Inner(error) => error.fmt(f),
            Self::TimedOut => f.write_str("the endpoint took longer than allowed"),
        }
    }
}

impl Error for BalanceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Pick(error) => Some(error),
            // Itself and not its source, so that whoever walks the chain finds its type.
            Self::Inner(error) => Some(&**error),
            Self::TimedOut => None,
        }
    }
}

impl From<PickError> for BalanceError {
    fn from(error: PickError) -> Self {
        Self::Pick(error)
    }
}

impl From<BoxError> for BalanceError {
    fn from(error: BoxError) -> Self {
        Self::Inner(error)
    }
}
