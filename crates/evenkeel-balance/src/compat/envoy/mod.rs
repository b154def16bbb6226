//! Envoy 1.40: ring hash, Maglev, round robin and least request, hashes of requests, shares of priority levels.

mod address_text;
mod edf;
mod least_request;
mod maglev;
mod priority;
mod request_hash;
mod ring;
mod round_robin;
mod share;

pub use address_text::{ip_text, socket_text};
pub use edf::Edf;
pub use least_request::{InvalidLeastRequest, LeastRequest, LeastRequestSettings};
pub use maglev::{InvalidTableSize, Maglev, TableSize};
pub use priority::{LevelHealth, LevelLoad, priority_loads, priority_of};
pub use request_hash::{HashPolicy, HashSource, Request, Rewrite, request_hash};
pub use ring::{InvalidRingSizes, Ring, RingFunction, RingSizes};
pub use round_robin::RoundRobin;
pub use share::{LocalityHosts, Share, Weighted, WeightsTooLarge, shares, shares_by_locality};
