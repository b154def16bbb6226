//! Requests of one user to one endpoint, for as long as that is good for the user.

mod cookie;
mod learned;
mod lost;
mod overrides;

pub use cookie::{
    CookieConfig, CookieError, CookieKey, NoCookie, Remembered, Renewal, SameSite, StickyCookie, StickyCounts,
};
pub use learned::{Learned, LearnedConfig, LearnedError};
pub use lost::{AffinityRules, EndpointState, OnLost, Stay};
pub use overrides::{MAX_OVERRIDES, override_at};
