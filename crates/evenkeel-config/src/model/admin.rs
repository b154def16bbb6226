use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Where a proxy answers its operators.
///
/// Nothing here listens: it is for whoever serves [`Running::report`](crate::Running::report).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AdminConfig {
    /// The address and port. No default: what is open to everybody was meant to be.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub address: SocketAddr,
}
