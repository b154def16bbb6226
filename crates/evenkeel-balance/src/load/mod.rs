//! Policies that compare loads: requests in flight.

mod least_request;

pub use least_request::{Choices, LeastRequest, LeastRequestConfig};
