//! [evenkeel](https://github.com/evenkeel/evenkeel) as a tower [`Service`](tower_service::Service).

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
pub use error::{BalanceError, BoxError};
pub use future::ResponseFuture;
pub use judge::{AnyAnswer, ByItself, Judge, JudgeBy, Judgement};
pub use key::{Key, KeyBy, Keys, NoKeys};
pub use layer::BalanceLayer;
pub use pool::{Pool, PoolFuture};
pub use track::{OnResponse, Track};
pub use via::{Aim, OneService, OwnService, Via};
