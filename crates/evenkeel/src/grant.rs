//! What a pick holds besides its endpoint: the breaker's permit, and slots of limits.

use evenkeel_breaker::Permit;
use evenkeel_limit::Token;

/// What one endpoint gave for a request: to be given back, each to whom it came from.
pub(crate) struct Grant {
    pub(crate) permit: Option<Permit>,
    /// The slot of the endpoint's limit; one that bypasses where there is none.
    pub(crate) slot: Token,
}

impl Grant {
    /// Of an endpoint that asks for nothing.
    pub(crate) const fn none() -> Self {
        Self { permit: None, slot: Token::bypass() }
    }

    pub(crate) const fn new(permit: Option<Permit>, slot: Token) -> Self {
        Self { permit, slot }
    }
}
