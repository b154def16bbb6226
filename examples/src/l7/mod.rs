//! A complete layer 7 proxy, from the public API of evenkeel, hyper, tokio and rustls.
//!
//! ```text
//! listener ─► connection ─► service ─► request_rules ─► Router ─► forward ─► attempt ─► upstream (h1, h2)
//!  (worker)   (watch)          │                                    ▲            │
//!                              │                                    └── retry ◄──┤
//!                              └◄── reply_body ◄──────────────────────────────────┘
//! ```
//!
//! Each worker is a thread with a runtime, listening sockets, connections and pools of its own. What its requests share with those
//! of others is what has to be the same for all: the counts and verdicts of the library, the meters of the status page, and for each
//! connection the room of its listener. `Running` of `evenkeel-config` is everything else: clusters, routes, checks, discovery and
//! reloads.

#![expect(
    missing_debug_implementations,
    reason = "most of it holds sockets, futures or closures, of which nothing can be shown"
)]

pub mod access_log;
pub mod admin;
pub mod attempt;
pub mod cause;
pub mod certificates;
pub mod client_stream;
pub mod connect;
pub mod connection;
pub mod cookies;
pub mod counts;
pub mod deadline;
pub mod error;
pub mod forward;
pub mod forwarded;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod h2_pool;
pub mod handover;
pub mod head;
pub mod hop_by_hop;
pub mod last_words;
pub mod lingering;
pub mod listener;
pub mod live;
pub mod message;
pub mod metrics;
pub mod mirror;
pub mod pending;
pub mod proxy;
pub mod quiet;
pub mod renewal;
pub mod reply_body;
pub mod request_body;
pub mod request_rules;
pub mod service;
pub mod settings;
pub mod short_writes;
pub mod stalled;
pub mod stream;
pub mod timer;
pub mod tls;
pub mod trailers;
pub mod unanswered;
pub mod upgrade;
pub mod upstream;
pub mod via;
pub mod waiting;
pub mod watch;
pub mod worker;

pub use proxy::Proxy;
