//! Nothing to use: the tests are in `tests/partition.rs`.
