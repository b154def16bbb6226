//! HTTP: what answers mean, guards in their bodies, requests that can be sent again, addresses in requests.

mod authority;
mod body;
mod judge;
mod kept;
mod repeat;
#[cfg(feature = "orca")]
mod reported;
mod retry_after;

pub use authority::Authority;
pub use body::{GuardedBody, OnBody};
pub use judge::{BodyEnd, ErrorsBy, HttpJudge, JudgeHeadBy, StatusJudge};
pub use kept::{KeepBody, KeepBodyLayer, Kept, KeptFuture, KeptWhole};
pub use repeat::Idempotent;
pub(crate) use retry_after::pushback;
pub use retry_after::retry_after;

use crate::balance::Balance;
use crate::grpc::GrpcJudge;

impl<T, V, K, J> Balance<T, V, K, J> {
    /// For HTTP: a request is in flight until the body of its answer is through, and its verdict is its status.
    #[must_use]
    pub fn http(self) -> Balance<T, V, K, OnBody<StatusJudge>> {
        self.tracked_by(OnBody(StatusJudge::default()))
    }

    /// For gRPC: a request is in flight until its trailers, which have its status, are there.
    #[must_use]
    pub fn grpc(self) -> Balance<T, V, K, OnBody<GrpcJudge>> {
        self.tracked_by(OnBody(GrpcJudge))
    }
}
