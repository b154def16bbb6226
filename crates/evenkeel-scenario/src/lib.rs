//! Scenario files: what happens to a machine when, and what must then hold.
//!
//! The grammar is in `docs/scenarios.md`. A crate whose machines are tested so implements [`Machine`] for each, and calls
//! [`Suite::run`] from one test:
//!
//! ```
//! use evenkeel_scenario::{Action, Fact, Machine, Suite};
//! use evenkeel_types::Timestamp;
//!
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl Machine for Counter {
//!     fn act(&mut self, _now: Timestamp, action: &Action) -> Result<(), String> {
//!         match action.verb() {
//!             "add" => self.0 += action.number("by")?.unwrap_or(1.0) as u64,
//!             _ => return Err(action.unknown()),
//!         }
//!         action.no_more()
//!     }
//!
//!     fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
//!         (name == "sum").then(|| Fact::from(self.0))
//!     }
//! }
//!
//! let mut suite = Suite::new();
//! suite.machine("counter", |_config, _seed| Ok(Box::<Counter>::default()));
//! let text = "scenario: adds\nmachine: counter\nsteps:\n    add x2, add by=3  => sum=5\n";
//! assert_eq!(suite.run_text("inline", text).expect("passes"), 1);
//! ```

mod action;
mod crowd;
mod expectation;
mod fact;
mod interleave;
mod lines;
mod replay;
mod scenario;
mod settings;
mod suite;
mod time;

pub use action::Action;
pub use crowd::{Crowd, Crowded};
pub use fact::Fact;
pub use interleave::Interleave;
pub use scenario::{Body, Scenario, Step, parse};
pub use suite::{Machine, Suite};
pub use time::duration;
