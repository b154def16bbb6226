//! Traefik: its strategies `wrr` and `hrw`.
//!
//! [`Wrr`] and [`Hrw`] are those by themselves. [`Traefik`] is the policy `traefik` of a cluster, set up by
//! [`TraefikConfig`].
//!
//! **Idea.** `wrr`: each server has a deadline; the earliest is picked and put off by 1 ÷ weight, and equal deadlines stand
//! as a binary heap leaves them. `hrw`: the FNV-1a of the client's address and the server's URL gives each server a score
//! that its weight stretches; the highest wins. **Cost.** `wrr` one short lock and O(log n), `hrw` O(n). **When.** A fleet
//! moves over from Traefik, or clients must go where Traefik servers that stay send them. **When not.** Anywhere else:
//! `hrw` cannot tell clients behind one address apart and looks at every server; and FNV-1a mixes the last bytes badly, so
//! that shares stray from the weights where URLs differ near their end (10.0.0.0:80 to 10.0.0.2:80 with weights 1, 2, 3:
//! the first got 13.6 % of 20,000 drawn keys, not 16.7 %). **Source.** Traefik 3.7,
//! `pkg/server/service/loadbalancer`; proven by recorded answers.
//!
//! # Where the policy differs
//!
//! - Servers enter in the order of the members; Traefik shuffles them when it builds a service.
//! - Those that stay keep their deadline when members change; Traefik begins again.
//! - Without a client's address `hrw` goes by the request's key, and without a key it draws.

mod hrw;
mod policy;
mod wrr;

pub use hrw::Hrw;
pub use policy::{Strategy, Traefik, TraefikConfig};
pub use wrr::Wrr;
