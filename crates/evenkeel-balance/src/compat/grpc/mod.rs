//! gRPC C-core (grpcio 1.85): `ring_hash`, `round_robin`, and the static stride of `weighted_round_robin`.

mod request_hash;
mod ring_hash;
mod round_robin;
mod static_stride;

pub use request_hash::request_hash;
pub use ring_hash::RingHash;
pub use round_robin::RoundRobin;
pub use static_stride::StaticStride;
