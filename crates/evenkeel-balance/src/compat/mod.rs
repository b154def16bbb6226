//! What other programs do, to the bit.
//!
//! Each module reproduces one program, proven by recorded answers of that program (the package `evenkeel-conformance`). A
//! mode here does as its program does, also where ours would do better: it is for those who move over, or who share keys
//! with a fleet that has not moved yet.

pub mod envoy;
pub mod grpc;
mod ketama;
mod key;
pub mod nginx;
pub mod pingora;
mod table_of_usable;
pub mod traefik;
mod turns_of_usable;

pub use ketama::TooManyPoints;
