//! Policies that compare loads: requests in flight.

mod least_request;

pub use least_request::{LeastRequest, LeastRequestConfig};
