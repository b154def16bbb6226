//! The programs of the examples, as parts that tests can use too.

pub mod admin;
pub mod l4;
