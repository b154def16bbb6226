//! nginx: the methods of an `upstream` block.
//!
//! [`Upstream`] is such a block by itself, with its servers, retries and backups. [`Nginx`] is the policy `nginx` of a
//! cluster, set up by [`NginxConfig`].
//!
//! **Idea.** All methods rest on smooth weighted round robin: the turn of each usable server comes nearer by its effective
//! weight, the nearest is taken and put back by the sum. A failure takes `weight / max_fails` off the effective weight, and
//! each pick gives one back; `max_fails` failures suspend a server until more than `fail_timeout` seconds have passed, and
//! from then on one pick in each `fail_timeout` probes it. `least_conn` asks for the fewest requests in flight for the
//! weight first, and lets only equals take turns. `ip_hash`, `hash` and `hash_consistent` follow a chain of places that the
//! client's address or the key gives; after 20 places that were not usable, or without an address or a key, round robin
//! decides.
//!
//! **Cost.** One short lock and O(n) a pick, O(log n) for `hash` and `ip_hash` as a rule. `hash_consistent` needs 8 bytes
//! for each of the 160 points that a unit of weight has.
//!
//! **When.** A fleet moves over from nginx, or shares keys with nginx servers that stay.
//!
//! **When not.** Anywhere else. `hash` and `ip_hash` move nearly all keys when a server is added, `ip_hash` cannot tell
//! clients of one /24 apart, and CRC-32 is easy to aim with for whoever chooses the keys. The cluster's own policies pick
//! faster and its breakers see more than `max_fails` does.
//!
//! **Source.** nginx 1.22.1, `ngx_http_upstream_round_robin.c` and the modules for `hash`, `ip_hash` and `least_conn`;
//! proven by recorded answers.
//!
//! # Where the policy differs
//!
//! - When all usable servers are suspended, nginx answers 502. A policy answers none only if nobody is open, so it picks as
//!   if nobody were suspended.
//! - Backup servers are endpoints of another priority, and `max_conns` is not kept.
//! - A failure is what the request's outcome says; success and overload end a probe well, a request that was dropped
//!   without a verdict says nothing.
//! - Without a client's address `ip_hash` takes turns. If a request has only the hash of its key, the hash is the key: eight
//!   bytes, little end first.
//! - Seconds count from the cluster's start, where nginx's begin with those of its clock.

mod chain;
mod invalid_upstream;
mod method;
mod peer;
mod policy;
mod server;
mod shared_names;
mod smooth;
mod states;
mod upstream;

pub use invalid_upstream::InvalidUpstream;
pub use method::Method;
pub use policy::{Nginx, NginxConfig};
pub use server::Server;
pub use upstream::{Answer, Place, Request, Subject, Then, Upstream};
