//! HAProxy 2.6, pick for pick.

mod backend;
mod consistent;
mod first;
mod hash_type;
mod header;
mod least_conn;
mod map;
mod queue;
mod ring;
mod round_robin;
mod server;
mod uri;
mod url_param;

pub use backend::{Backend, BackendConfig, Balance};
pub use hash_type::{Function, HashType, Method, full_hash};
pub use header::{domain_only, header_key};
pub use server::{Admin, InvalidBackend, InvalidWeight, Server};
pub use uri::UriKey;
pub use url_param::url_param;
