//! The programs of the examples, as parts that tests can use too.

pub mod l7;
