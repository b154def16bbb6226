use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A range of addresses: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
///
/// IPv4 addresses written as IPv6 (`::ffff:10.0.0.1`) are IPv4 addresses, in ranges and in connections: a socket that
/// listens for both sees the first form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "String", into = "String")
)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// The addresses whose first `length` bits are those of `address`.
    ///
    /// # Errors
    ///
    /// [`ParseCidrError`] if the length is larger than the address, or `address` has bits beyond it.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, ParseCidrError> {
        let (address, length) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) if length >= 96 => (IpAddr::V4(v4), length - 96),
            (address, _) => (address, length),
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if length > bits {
            return Err(ParseCidrError::Length { length, bits });
        }
        let first = masked(address, length);
        if first != address {
            return Err(ParseCidrError::HostBits { first, length });
        }
        Ok(Self { address, length })
    }

    /// Whether `address` is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.length) == self.address
    }

    /// Whether all of `other` is in the range.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// The first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits are fixed.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }
}

pub(crate) fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let not_a_range = || ParseCidrError::NotARange(text.to_owned());
        let (address, length) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| not_a_range())?;
        let length = match length {
            // `parse` would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| not_a_range())?
            }
            Some(_) => return Err(not_a_range()),
            None => {
                if address.is_ipv4() {
                    32
                } else {
                    128
                }
            }
        };
        Self::new(address, length)
    }
}

impl TryFrom<String> for Cidr {
    type Error = ParseCidrError;

    fn try_from(text: String) -> Result<Self, ParseCidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseCidrError {
    /// Neither an address nor a range.
    #[error("{0:?} is not a range of addresses: write for example \"10.0.0.0/8\"")]
    NotARange(String),
    /// The length is larger than the address.
    #[error("length {length} is out of range: allowed are 0 to {bits}")]
    Length {
        /// The length.
        length: u8,
        /// The bits of the address.
        bits: u8,
    },
    /// The address has bits beyond the length: a typing error in one of them.
    #[error("the address has bits beyond its length: write \"{first}/{length}\"")]
    HostBits {
        /// The first address of the range that was perhaps meant.
        first: IpAddr,
        /// The length.
        length: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed() {
        for (text, canonical) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), canonical);
        }
        for text in
            ["", "/", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/", "::/129", "a/8"]
        {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let range: Cidr = "10.0.0.0/8".parse().unwrap();
        assert!(range.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!range.contains("11.0.0.0".parse().unwrap()));
        assert!(!"::/0".parse::<Cidr>().unwrap().contains("10.0.0.1".parse().unwrap()));
    }
}
