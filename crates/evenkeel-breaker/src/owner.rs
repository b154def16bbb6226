use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Who forced a breaker: a short name that fits a word.
///
/// One to eight of `a`–`z`, `0`–`9`, `-`, `_` and `.`: a person, a team, a runbook. It is for the reader of a dashboard; the
/// breaker takes the last word, whoever spoke it.
///
/// ```
/// use evenkeel_breaker::Owner;
///
/// let owner: Owner = "oncall-2".parse()?;
/// assert_eq!(owner.to_string(), "oncall-2");
/// assert!("On call".parse::<Owner>().is_err());
/// # Ok::<(), evenkeel_breaker::InvalidOwner>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u64);

impl Owner {
    /// Nobody in particular: a dash.
    pub const UNNAMED: Self = Self(37);

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Of what [`bits`](Self::bits) gave; anything else is nobody.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        if bits == 0 { Self::UNNAMED } else { Self(bits) }
    }
}

impl FromStr for Owner {
    type Err = InvalidOwner;

    fn from_str(name: &str) -> Result<Self, InvalidOwner> {
        if name.is_empty() || name.len() > LONGEST {
            return Err(InvalidOwner);
        }
        let digit = |byte| LETTERS.iter().position(|letter| *letter == byte).ok_or(InvalidOwner);
        let digits = name.bytes().rev().try_fold(0, |bits, byte| Ok(bits * BASE + digit(byte)? as u64 + 1));
        digits.map(Self)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while rest > 0 {
            let letter = (rest % BASE).checked_sub(1).and_then(|digit| LETTERS.get(digit as usize));
            fmt::Write::write_char(f, letter.map_or('-', |letter| char::from(*letter)))?;
            rest /= BASE;
        }
        Ok(())
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Owner {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The name does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an owner: allowed are one to eight of a to z, 0 to 9, '-', '_' and '.'")]
pub struct InvalidOwner;

/// 40^8 is below 2^43.
const LONGEST: usize = 8;
const BASE: u64 = 40;
const LETTERS: &[u8; 39] = b"abcdefghijklmnopqrstuvwxyz0123456789-_.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for name in ["a", "ops", "........", "99999999", "-", "z_9.a-b"] {
            let owner: Owner = name.parse().unwrap();
            assert_eq!(owner.to_string(), name);
            assert!(owner.bits() < 1 << 45);
        }
        assert_eq!(Owner::UNNAMED.to_string(), "-");
        for name in ["", "ninechars", "Ops", "a b", "ä"] {
            assert_eq!(name.parse::<Owner>(), Err(InvalidOwner), "{name}");
        }
    }
}
