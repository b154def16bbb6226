//! The machines of this crate, as scenarios see them.

use std::fmt::Debug;

use serde::de::DeserializeOwned;

pub(crate) mod check;
pub(crate) mod drain;
pub(crate) mod envoy_slow_start;
pub(crate) mod flap;
pub(crate) mod outlier;
pub(crate) mod outlier_compat;
pub(crate) mod phi;
pub(crate) mod slow_start;
pub(crate) mod standing;

/// Reads the settings of a scenario.
pub(crate) fn settings<T: DeserializeOwned>(config: &str) -> Result<T, String> {
    toml::from_str(config).map_err(|error| error.to_string())
}

/// The name of a plain variant as it is written in files: `CheckDown` is `check_down`.
pub(crate) fn snake(variant: impl Debug) -> String {
    let mut name = String::new();
    for letter in format!("{variant:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Reads `on`, `off` and what people write for them; `on` if nothing is said.
pub(crate) fn on_or_off(word: Option<&str>) -> Result<bool, String> {
    match word {
        None | Some("on" | "true" | "yes") => Ok(true),
        Some("off" | "false" | "no") => Ok(false),
        Some(other) => Err(format!("{other:?} is neither on nor off")),
    }
}
