//! Envoy 1.40: ring hash, Maglev, round robin and least request, hashes of requests, shares of priority levels.
//!
//! The policy of clusters is [`Envoy`]; the machines that it is made of are here too, for those who have hosts and keys in
//! hand.
//!
//! **Idea.** Pick what Envoy 1.40 would pick for the same endpoints and keys. `RING_HASH` puts each host on a ring as many
//! times as its weight asks for ([`Ring`]); `MAGLEV` lets hosts take the slots of a table in turn ([`Maglev`]);
//! `ROUND_ROBIN` rotates, and keeps deadlines where weights differ ([`RoundRobin`], [`Edf`]); `LEAST_REQUEST` takes the
//! less loaded of a few draws, and keeps deadlines under load where weights differ ([`LeastRequest`]). Envoy builds its
//! tables and schedules from the hosts that are up, so one host that goes down moves keys of the others too: so does this
//! policy, at the first pick after a change. An endpoint that the request excludes is passed over as Envoy's retries pass
//! it over: the next points of the ring, other slots of the table, the next turn. A host is known by its address as text,
//! `10.0.0.1:80`; the label `envoy.lb.hash_key` overrides that, as Envoy's metadata of that name does. A request is known
//! by xxHash64 of its key; [`request_hash`] makes the hash that a route's `hash_policy` makes, to be given as the hash of
//! the key. A request without key goes to a random point, as in Envoy.
//! **Cost.** A table: O(1), a short lock and one look. Turns: a short lock, O(1) or O(log n) where weights differ. Building
//! anew after each change of health: a Maglev table of 65 537 slots takes 1 to 2 ms for 1000 hosts, a ring of 1024 points
//! 0.1 ms; picks that come in between use the old one. A ring holds 16 bytes a point, a table 4 bytes a slot.
//! **When.** Keys are shared with a fleet of Envoys, or a move away from Envoy must not move keys.
//! **When not.** Nothing has to agree with Envoy: its ring is rebuilt with other points per host whenever the number of
//! hosts changes, and moves more keys than need be. Only what is picked is taken over: panic, priority levels and slow
//! start are the cluster's business, not this policy's.
//! **Source.** Envoy's `source/extensions/load_balancing_policies` (`ring_hash`, `maglev`, `round_robin`,
//! `least_request`), `edf_scheduler.h` and `thread_aware_lb_impl.cc`; D. Karger et al., "Consistent hashing and random
//! trees", 1997; D. Eisenbud et al., "Maglev: a fast and reliable software network load balancer", NSDI 2016.

mod address_text;
mod config;
mod edf;
mod hosts;
mod least_request;
mod maglev;
mod policy;
mod priority;
mod request_hash;
mod ring;
mod round_robin;
mod share;

pub use address_text::{ip_text, socket_text};
pub use config::{
    EnvoyConfig, EnvoyPolicy, LocalityWeight, MaglevSettings, RingHashSettings, RoundRobinSettings,
};
pub use edf::Edf;
pub use least_request::{InvalidLeastRequest, LeastRequest, LeastRequestSettings};
pub use maglev::{InvalidTableSize, Maglev, TableSize};
pub use policy::Envoy;
pub use priority::{LevelHealth, LevelLoad, priority_loads, priority_of};
pub use request_hash::{HashPolicy, HashSource, Request, Rewrite, request_hash};
pub use ring::{InvalidRingSizes, Ring, RingFunction, RingSizes};
pub use round_robin::RoundRobin;
pub use share::{LocalityHosts, Share, Weighted, WeightsTooLarge, shares, shares_by_locality};
