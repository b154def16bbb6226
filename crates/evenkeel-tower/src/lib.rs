//! [evenkeel](https://github.com/evenkeel/evenkeel) as a tower [`Service`](tower_service::Service): a balanced client for
//! hyper, tonic, reqwest and any stack of middleware.
//!
//! [`Balance`] picks an endpoint of a [`Cluster`](evenkeel::Cluster) for each request, sends the request there, and tells the
//! cluster how it went. It is `Clone + Send + Sync`, so it needs no `Buffer`, and between a request and its endpoint there is
//! no lock and no allocation.
//!
//! ```
//! use evenkeel::{Cluster, Endpoint};
//! use evenkeel_tower::Balance;
//! use tower::{Service, ServiceExt};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! // Stands for a client of yours: anything that is a `Service` and can be cloned.
//! let client = |name: &'static str| tower::service_fn(move |(): ()| async move { Ok::<_, std::io::Error>(name) });
//! let cluster = Cluster::builder("users").build()?;
//! cluster.apply([
//!     Endpoint::at("10.0.0.1:80".parse()?)?.with_payload(client("first")),
//!     Endpoint::at("10.0.0.2:80".parse()?)?.with_payload(client("second")),
//! ])?;
//! let answer = Balance::new(cluster).oneshot(()).await?;
//! assert!(["first", "second"].contains(&answer));
//! # Ok::<(), evenkeel_tower::BoxError>(())
//! # }).map_err(|error| error.to_string())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to go from here
//!
//! - One client for all endpoints, such as hyper-util's or reqwest's, and middleware: [`Balance::over`], [`BalanceLayer`].
//! - Connections that take one request at a time: [`Pool`].
//! - Keys for policies that go by them: [`Balance::keyed_by`].
//! - What answers mean, and until when a request is in flight: [`Balance::http`], [`Balance::grpc`],
//!   [`Balance::judged_by`], [`Track`].
//! - Once more, and elsewhere: [`Balance::retrying`], [`Balance::hedging`].
//! - Clients of tonic: [`grpc::Channel`].
//! - `tower::discover::Discover`, both ways: the module `discover`.
//! - What is and is not waited for: [`Balance`], under *Readiness*.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `http` | yes | the modules [`http`] and [`grpc`] |
//! | `discover` | | the module `discover` |
//! | `h2` | | streams of HTTP/2 that the endpoint never looked at (`REFUSED_STREAM`, `GOAWAY`) are known as such |
//! | `hyper-util` | | errors of connecting of hyper-util's client, and of reqwest's, are known as such |
//! | `tokio` | | `TokioTimer` |

mod again;
mod balance;
#[cfg(feature = "discover")]
pub mod discover;
mod error;
mod future;
#[cfg(feature = "http")]
pub mod grpc;
#[cfg(feature = "http")]
pub mod http;
mod judge;
mod key;
mod layer;
mod pool;
mod seek;
mod track;
mod via;

#[cfg(feature = "tokio")]
pub use again::TokioTimer;
pub use again::{Again, Cloned, Copies, CopyBy, Timer};
pub use balance::Balance;
pub use error::{BalanceError, BoxError, NotConnected};
pub use future::ResponseFuture;
pub use judge::{AnyAnswer, ByItself, Judge, JudgeBy, Judgement};
pub use key::{Key, KeyBy, Keys, NoKeys};
pub use layer::BalanceLayer;
pub use pool::{Pool, PoolFuture};
pub use track::{OnResponse, Track};
pub use via::{Aim, OneService, OwnService, Via};

/// The page on moving over from tower, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/migrating-from-tower.md")]
struct Migrating;

/// The README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
