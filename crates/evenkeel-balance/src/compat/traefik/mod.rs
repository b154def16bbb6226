//! Traefik: its strategies `wrr` and `hrw`.

mod hrw;
mod wrr;

pub use hrw::Hrw;
pub use wrr::Wrr;
