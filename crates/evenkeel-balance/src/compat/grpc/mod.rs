//! gRPC C-core (grpcio 1.85): `ring_hash`, `round_robin`, and the static stride of `weighted_round_robin`.
//!
//! The policy of clusters is [`Grpc`]; the machines that it is made of are here too.
//!
//! **Idea.** Pick what a gRPC channel would pick for the same endpoints and keys. `ring_hash` is Envoy's ring with at most
//! 4096 points, built for all endpoints, up or down: who is down is passed over for the next point of another
//! ([`RingHash`]). `round_robin` rotates over the usable ones in order, from a start that is drawn whenever they change
//! ([`RoundRobin`]). `weighted_round_robin` lets each endpoint pass some of the rounds ([`StaticStride`]); the weights here
//! are those of the endpoints. An endpoint is known by its address as text, `10.0.0.1:80`, a request by xxHash64 of its
//! key; [`request_hash`] makes the hash of a header that is given several times. A request without key goes to a random
//! point.
//! **Cost.** The ring: O(1) and no lock, one step more for each point of an endpoint that is not open. Turns: a short lock
//! and O(1); at a stride as many steps as the largest weight over the mean one, on average.
//! **When.** Keys are shared with gRPC clients, or a move away from gRPC must not move keys.
//! **When not.** Nothing has to agree with gRPC: a ring of 4096 points is uneven from a few dozen endpoints on, and
//! `round_robin` ignores weights.
//! **Source.** gRPC C-core `src/core/load_balancing`: `ring_hash/ring_hash.cc`, `round_robin/round_robin.cc`,
//! `weighted_round_robin/static_stride_scheduler.cc`; gRFC A42, A58, A61 and A76.

mod config;
mod policy;
mod request_hash;
mod ring_hash;
mod round_robin;
mod static_stride;

pub use config::{GrpcConfig, GrpcPolicy, RingHashSettings, RoundRobinSettings};
pub use policy::Grpc;
pub use request_hash::request_hash;
pub use ring_hash::RingHash;
pub use round_robin::RoundRobin;
pub use static_stride::StaticStride;
