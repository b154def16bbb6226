use std::error::Error;
use std::fmt;

use evenkeel::PickError;

/// Any error, as tower has it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// No connection came about, so nothing of the request was sent: an error that [`Judgement::of_error`](crate::Judgement::of_error)
/// takes for [`Ending::ConnectFailed`](evenkeel_route::retry::Ending::ConnectFailed), wherever it stands in the chain of sources.
///
/// For services of your own that connect in `call`, where only they know. [`Pool`](crate::Pool) wraps the errors of its connector so.
/// An `io::Error` is no such sign: a refused connection and one that broke under way can have the same kind.
///
/// ```
/// use evenkeel_route::retry::Ending;
/// use evenkeel_tower::{Judgement, NotConnected};
///
/// let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
/// assert_eq!(Judgement::of_error(&refused()).ending, Some(Ending::Reset));
/// assert_eq!(Judgement::of_error(&NotConnected::new(refused())).ending, Some(Ending::ConnectFailed));
/// ```
#[derive(Debug)]
pub struct NotConnected(BoxError);

impl NotConnected {
    /// Of the error that connecting failed with.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }

    /// The error that connecting failed with.
    #[must_use]
    pub fn into_inner(self) -> BoxError {
        self.0
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NotConnected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // Itself and not its source, so that whoever walks the chain finds its type.
        Some(&*self.0)
    }
}

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

    /// The error of the endpoint's service, if it is one of this type, or a [`NotConnected`] around one.
    #[must_use]
    pub fn inner<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Inner(error) => error
                .downcast_ref()
                .or_else(|| error.downcast_ref::<NotConnected>().and_then(|error| error.0.downcast_ref())),
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
