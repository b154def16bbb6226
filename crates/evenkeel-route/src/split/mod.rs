//! Which cluster of several gets a request that a rule has taken.

mod blue_green;
mod fallbacks;
mod header_changes;
mod mirror;
mod ramp;
mod weighted;

pub use blue_green::{BlueGreen, BlueGreenConfig, Colour, Switched};
pub use fallbacks::{ClusterRef, FallbackError, Fallbacks};
pub use header_changes::{
    HeaderChange, HeaderChangeError, HeaderChanges, HeaderEdits, HeaderFields, HeaderRules,
};
pub use mirror::{Mirror, MirrorConfig, MirrorCounting};
pub use ramp::{ErrorBudget, Ramp, RampArm, RampChange, RampConfig, RampError, RampState, RampStep, RampWhy};
pub use weighted::{Arm, ArmWhy, Canary, Chosen, Split, SplitConfig, SplitError, Stickiness};
