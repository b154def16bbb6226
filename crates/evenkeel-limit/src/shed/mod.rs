//! What a server does not serve, so that it can serve the rest in time.

mod codel;
mod deadline;
mod little;
mod priority;

pub use codel::{Codel, CodelConfig};
pub use deadline::{DeadlineConfig, DeadlineShed};
pub use little::{LittleConfig, LittleQueue, Place};
pub use priority::{LevelChange, PriorityConfig, PriorityShed};

use thiserror::Error;

/// A request is not served, so that others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Shed {
    /// It has waited in a queue that does not get shorter.
    #[error("shed: the queue has been too slow for too long")]
    QueueSlow,
    /// More important ones need the place.
    #[error("shed: less important than what is served at present")]
    LessImportant,
    /// Its deadline has passed, so nobody waits for the answer.
    #[error("shed: its deadline has passed")]
    TooLate,
    /// The queue is as long as the latency that is aimed at allows.
    #[error("shed: the queue is full")]
    QueueFull,
}
