//! evenkeel in [pingora](https://docs.rs/pingora) proxies.
//!
//! | you | use |
//! |---|---|
//! | write a proxy | [`Attempts`] in its context: picks a peer, tries elsewhere after a failure, tells the cluster how it went |
//! | have one with `LoadBalancer::select` | [`Balancer`]: the same calls over a [`Cluster`](evenkeel::Cluster), with pingora's discovery and health checks |
//! | want to keep pingora's `LoadBalancer` | [`Policy`] in place of `RoundRobin`: any policy of evenkeel that needs no loads |
//! | have a registry of evenkeel | [`RegistryDiscovery`]: its services as pingora's `ServiceDiscovery` |
//!
//! What pingora's balancer cannot know, since it hands out an address and never hears of it again, is what is in flight and how
//! requests end. With [`Attempts`] the pick lives in the request's context until `logging`, so that least request, latencies,
//! breakers, outlier detection, limits and budgets work.
//!
//! ```
//! use evenkeel::{Cluster, Request};
//! use evenkeel_pingora::Attempts;
//! use pingora_core::upstreams::peer::HttpPeer;
//! use pingora_error::{Error, Result};
//! use pingora_proxy::{ProxyHttp, Session};
//!
//! struct Proxy(Cluster<()>);
//!
//! #[async_trait::async_trait]
//! impl ProxyHttp for Proxy {
//!     type CTX = Attempts<()>;
//!     fn new_ctx(&self) -> Attempts<()> {
//!         Attempts::at_most(3)
//!     }
//!     async fn upstream_peer(&self, _: &mut Session, attempts: &mut Attempts<()>) -> Result<Box<HttpPeer>> {
//!         attempts.peer(&self.0, &Request::new(), false, "")
//!     }
//!     fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, attempts: &mut Attempts<()>, error: Box<Error>) -> Box<Error> {
//!         attempts.failed_to_connect(error)
//!     }
//!     fn error_while_proxy(
//!         &self,
//!         peer: &HttpPeer,
//!         session: &mut Session,
//!         error: Box<Error>,
//!         attempts: &mut Attempts<()>,
//!         client_reused: bool,
//!     ) -> Box<Error> {
//!         // This hook takes the place of pingora's, which decides what may be sent again. So it has to.
//!         let mut error = error.more_context(format!("peer: {peer}"));
//!         if !session.req_header().method.is_idempotent() || session.as_ref().retry_buffer_truncated() {
//!             error.set_retry(false);
//!         } else {
//!             error.retry.decide_reuse(client_reused);
//!         }
//!         attempts.failed_on_the_way(error, client_reused)
//!     }
//!     async fn response_filter(
//!         &self,
//!         _: &mut Session,
//!         response: &mut pingora_http::ResponseHeader,
//!         attempts: &mut Attempts<()>,
//!     ) -> Result<()> {
//!         attempts.answered(response.status.as_u16());
//!         Ok(())
//!     }
//!     async fn logging(&self, _: &mut Session, error: Option<&Error>, attempts: &mut Attempts<()>) {
//!         attempts.end(error);
//!     }
//! }
//! ```
//!
//! # Features
//!
//! `load-balancing` (default): everything that has to do with the crate `pingora-load-balancing`. TLS is chosen by the features of
//! pingora in your own program; nothing here turns one on.

mod attempts;
#[cfg(feature = "load-balancing")]
mod backend;
#[cfg(feature = "load-balancing")]
mod balancer;
#[cfg(feature = "load-balancing")]
mod discovery;
mod error;
mod outcome;
mod peer;
#[cfg(feature = "load-balancing")]
mod policy;
#[cfg(feature = "load-balancing")]
mod service;

pub use attempts::Attempts;
#[cfg(feature = "load-balancing")]
pub use balancer::{BackendError, Balancer};
#[cfg(feature = "load-balancing")]
pub use discovery::RegistryDiscovery;
pub use error::{NO_ENDPOINT, refused};
pub use outcome::outcome_of;
pub use peer::{PeerError, peer_at};
#[cfg(feature = "load-balancing")]
pub use policy::{Policy, PolicyIter};

/// The page on moving here, compiled and run.
#[cfg(all(doctest, feature = "load-balancing"))]
#[doc = include_str!("../../../docs/migrating-from-pingora.md")]
struct Moving;
