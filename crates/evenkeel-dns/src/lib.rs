//! Service discovery from DNS, for evenkeel: SRV, A and AAAA, without a runtime.
//!
//! [`Dns::start`] follows a name into a [`Feed`](evenkeel_registry::Feed), on one thread. It asks again when the
//! answer's time to live is over, and never advances with requests.
//!
//! ```no_run
//! use std::time::Instant;
//! use evenkeel_dns::{Dns, DnsConfig};
//! use evenkeel_registry::{MirrorConfig, Registry};
//! use evenkeel_types::Timestamp;
//!
//! let registry = Registry::default();
//! let start = Instant::now();
//! let clock = move || Timestamp::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
//! let feed = registry.feed(&"users".parse()?, &"dns".parse()?, MirrorConfig::default(), clock)?;
//! let handle = Dns::start(feed, DnsConfig::srv("_http._tcp.users.example"))?;
//! // … until the end of the program:
//! handle.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | the answer | what is said | asked again after |
//! |---|---|---|
//! | records | `Full` | the lowest time to live on the way to them, within [`min_ttl`](DnsConfig::min_ttl) and [`max_ttl`](DnsConfig::max_ttl) |
//! | records, and [`Answers::Rotating`] | `Full` that may be a part: a union, out of which who is in no answer of two times to live leaves | the same |
//! | NXDOMAIN or no such records, with an SOA | `Absent`, believed when a second such answer comes | the negative time to live (RFC 2308), within the same bounds |
//! | the same without an SOA | `Full`, empty, without proof: held by the registry's guard | [`min_ttl`](DnsConfig::min_ttl), at least 10 s if [`max_ttl`](DnsConfig::max_ttl) allows |
//! | one SRV record with the target `.` | `Absent`: decidedly not there (RFC 2782) | its time to live |
//! | SERVFAIL, REFUSED, nonsense, silence | `Trouble`: the set stays, as in serving stale (RFC 8767) | a growing wait with jitter, 30 s at most |
//! | an SRV target without address | `Reject`, the rest | as with records |
//! | an SRV target whose address cannot be asked for | its last known address, or `Reject` | as with records |
//!
//! # What a record becomes
//!
//! An A or AAAA record is an endpoint `address:port`. An SRV record is an endpoint `target:port` with the target's
//! addresses. SRV priorities are ranked, not cast: the lowest that is known is tier 0, the next tier 1. SRV weights are
//! kept; **a weight of 0 becomes 1**, for in RFC 2782 it means a very small chance beside others, and an equal share among
//! its like, and never a drain: with records of weights 0, w₁ … wₙ the RFC draws the first with 1/(1 + Σw), which is what
//! weight 1 gives.
//!
//! # Without a thread
//!
//! [`Tracker`] says when to ask and what to tell the registry, [`Lookup`] what to ask next, [`wire`] makes questions of
//! bytes and answers of bytes. None of them does IO.
//!
//! # The client
//!
//! The codec is that of the `domain` crate, the exchange is our own: some two hundred lines over UDP and TCP of the standard library. A resolver
//! with a cache of its own (hickory) would have brought a runtime and its tasks, and hides what matters here: whether
//! "nobody" was proven by an SOA, what SERVFAIL was, and the time to live of each step.

mod adapter;
mod config;
mod exchange;
mod lookup;
mod resolv_conf;
mod targets;
mod tracker;
pub mod wire;

pub use adapter::{Dns, Handle};
pub use config::{Answers, DnsConfig, DnsError, Families, TargetAddresses};
pub use lookup::{Failure, Lookup};
pub use resolv_conf::name_servers;
pub use tracker::Tracker;
