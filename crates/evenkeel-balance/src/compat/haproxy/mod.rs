//! HAProxy 2.6, pick for pick.
//!
//! **Idea.** A [`Backend`] is one backend section of HAProxy's configuration: its algorithm, its servers, and what happens
//! to them. It gives the server that HAProxy gives, for every request in turn. [`Haproxy`] is the same as a policy of a
//! cluster.
//!
//! | `balance` | picks |
//! |---|---|
//! | `roundrobin` | in turn by weight; weights may change at any time; full servers are passed over and keep their place |
//! | `static-rr` | the slots of a map in turn |
//! | `leastconn` | the fewest connections for the weight; equals by who has waited longest |
//! | `first` | the lowest number that has room |
//! | `source`, `uri`, `url_param`, `hdr`, `hash` | by the hash of a key, over a map of slots or a ring of points; a request without a key takes slots or points in turn |
//!
//! What of a request is the key is told by [`UriKey`], [`url_param`], [`header_key`] and [`domain_only`]. Backups, run-time
//! weights and states, `maxconn`, `hash-balance-factor` and the numbers of servers (`id`) are part of it. HAProxy's queues
//! are not: where all servers are full, [`Backend::choose`] says so. Nor is `balance random`, whose draws nobody can
//! repeat.
//!
//! **Cost.** `roundrobin` and `leastconn` O(log n) for each server that is looked at, `first` O(1) for each, a map O(1), a
//! ring about O(1). A server that comes or goes costs O(log n) in the first two, O(n) in `first`, a new map in
//! O(weight log n), a new ring in O(points), 16 for each unit of weight. Nothing is allocated by a pick. The policy takes
//! one short lock for a pick, and for each event if it counts connections.
//!
//! **When.** To move a service from HAProxy without moving its keys, to run beside HAProxy and agree with it, or to test a
//! configuration.
//!
//! **When not.** Anywhere else. A ring of 16 points a server strays from its shares by a quarter, a map moves most keys
//! when a server comes or goes, and the hash functions can be aimed at by whoever chooses the keys.
//!
//! **Source.** HAProxy 2.6: `src/lb_fwrr.c`, `src/lb_map.c`, `src/lb_fwlc.c`, `src/lb_fas.c`, `src/lb_chash.c`,
//! `src/backend.c` and its configuration manual; checked against recorded answers of version 2.6.12.
//!
//! The policy differs from HAProxy in three ways, since a policy must answer whenever an endpoint is open. A request that
//! may not go to an endpoint again goes on to the next one of the structure. Where all are full, it goes to the one with
//! the fewest connections. And priorities of the cluster take the place of `backup`.

mod backend;
mod balance;
mod consistent;
mod first;
mod hash_type;
mod header;
mod least_conn;
mod map;
mod policy;
mod queue;
mod ring;
mod round_robin;
mod server;
mod uri;
mod url_param;

pub use backend::Backend;
pub use balance::{BackendConfig, Balance};
pub use hash_type::{Function, HashType, Method, full_hash};
pub use header::{domain_only, header_key, header_values};
pub use policy::{Haproxy, HaproxyConfig};
pub use server::{Admin, InvalidBackend, InvalidWeight, Server};
pub use uri::{UriKey, normalized_target};
pub use url_param::url_param;
