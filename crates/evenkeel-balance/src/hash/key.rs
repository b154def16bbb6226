use evenkeel_types::SplitMix64;

use crate::hash::{HashFunction, HotKeySettings};
use crate::{Caller, InvalidPolicy};

/// What the policies that send equal keys to one endpoint share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct KeySettings {
    /// How the key becomes a number. Default `sip13`, which nobody can aim with who does not know the seed, except where
    /// a policy exists for agreeing with another program: then it is that program's.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub function: Option<HashFunction>,
    /// Where a request without a key goes. Default `random`, so that requests without a key load nobody more than others.
    pub missing_key: MissingKey,
    /// The most that an endpoint may have in flight, in percent of its fair share, at least 100: a key whose endpoint is
    /// full goes on to the next one. Default none, since a bound moves keys and counts requests; 125 is usual.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub balance_factor: Option<u32>,
    /// Spreads keys that bring more than their share of the requests over several endpoints, the less loaded of two of
    /// them for each request. Default none, since what endpoints remember of such keys is then kept several times.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub hot_keys: Option<HotKeySettings>,
}

/// Where a request without a key goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum MissingKey {
    /// Each to a usable endpoint drawn by weight.
    #[default]
    Random,
    /// All to one place, as if they had the empty key.
    Fixed,
}

/// What a placement needs of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 64 uniform bits. What functions of 32 bits, or with weak upper bits, say is mixed first.
    Uniform,
    /// What the function says, unchanged: the placement agrees with another program.
    AsTheyAre,
}

/// The way from a request to a hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    function: HashFunction,
    mixed: bool,
}

impl Keys {
    pub(crate) const fn new(settings: &KeySettings, bits: Bits) -> Self {
        let function = match settings.function {
            Some(function) => function,
            None => HashFunction::Sip13,
        };
        let strong = matches!(function, HashFunction::Sip13 | HashFunction::Xxh64 | HashFunction::Murmur2);
        Self { function, mixed: matches!(bits, Bits::Uniform) && !strong }
    }

    /// The hash of the request's key, if it has one. A caller that gives a hash and no bytes has hashed already.
    #[inline]
    pub(crate) fn of<C: Caller + ?Sized>(self, caller: &mut C) -> Option<u64> {
        if self.function == HashFunction::Sip13 {
            return caller.key();
        }
        match caller.key_bytes() {
            Some(bytes) => Some(self.of_bytes(bytes)),
            None => caller.key(),
        }
    }

    /// The hash of these bytes.
    pub(crate) fn of_bytes(self, bytes: &[u8]) -> u64 {
        let hash = self.function.hash(0, bytes);
        if self.mixed { SplitMix64::mix(hash) } else { hash }
    }
}

impl KeySettings {
    /// Whether the settings are in range.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] that names `policy` and the setting.
    pub fn validate(&self, policy: &'static str) -> Result<(), InvalidPolicy> {
        if let Some(hot_keys) = &self.hot_keys {
            hot_keys.validate(policy)?;
        }
        match self.balance_factor {
            Some(percent @ 0..100) => Err(InvalidPolicy::setting(
                policy,
                "key.balance_factor",
                format!("{percent} is below 100, the fair share of an endpoint in percent"),
            )),
            _ => Ok(()),
        }
    }
}
