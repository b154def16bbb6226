//! Policies that send equal keys to one endpoint, and what they are made of.

mod function;

pub use function::{HashFunction, MURMUR_SEED, crc32, djb2, fnv1a, murmur64a, sdbm, sip13, wt6, xxh64};
