//! Judging heartbeats by how unusual their absence is.

mod accrual;
mod config;
mod form;
mod history;

pub use accrual::{PhiAccrual, PhiChange};
pub use config::{PhiConfig, PhiConfigError};
pub use form::PhiForm;
