//! Second requests for what is slow.

mod delay;
mod hedger;
mod plan;

pub use delay::HedgeDelay;
pub use hedger::{HedgeConfig, Hedger};
pub use plan::{HedgePlan, HedgeStep, Leg};
