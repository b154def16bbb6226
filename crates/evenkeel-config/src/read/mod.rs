//! The tree as a source for serde: errors know the place and the field where they happened.

mod error;
mod key;
mod node;
mod unexpected;

use serde::de::DeserializeOwned;

use crate::document::Node;
use crate::error::ConfigError;

pub(crate) fn read<T: DeserializeOwned>(root: &Node) -> Result<T, ConfigError> {
    T::deserialize(node::Reader(root))
}
