use evenkeel_types::Address;

use super::{Backend, InvalidBackends};
use crate::compat::ketama::{Ketama, Share};
use crate::hash::crc32;

/// The ring of `pingora-ketama`.
///
/// **Idea.** nginx's ring: each server has `point_multiple` points for each unit of weight, a chain of CRC-32 that begins
/// with its IP address, a zero byte and its port; a key goes to the first point at or after its own CRC-32. IPv6 addresses
/// are hashed without their brackets, where nginx keeps them. **Cost.** O(log p) for p points, 8 bytes each.
/// **When.** Keys must go where a pingora, or an nginx with IPv4 servers, sends them. **When not.** Clients choose the
/// keys: CRC-32 is easy to aim with. **Source.** The crate `pingora-ketama` 0.9; reproduced from recorded answers.
///
/// ```
/// use evenkeel_balance::compat::pingora::{Backend, Continuum};
///
/// let backends = [("127.0.0.1:12345", 1), ("127.0.0.2:12345", 2), ("127.0.0.3:12345", 3)]
///     .map(|(address, weight)| Backend { address: address.parse().expect("an address"), weight });
/// let ring = Continuum::new(&backends, Continuum::POINT_MULTIPLE)?;
/// assert_eq!(ring.node(b"some_key"), Some(2));
/// # Ok::<(), evenkeel_balance::compat::pingora::InvalidBackends>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuum {
    ring: Ketama,
}

impl Continuum {
    /// Points for each unit of weight unless told otherwise: nginx's number.
    pub const POINT_MULTIPLE: u32 = 160;

    /// The ring of these backends. Version 2 of the program's ring has a `point_multiple` of one's own. Backends with a
    /// path for an address have no points. O(p log p).
    ///
    /// # Errors
    ///
    /// [`InvalidBackends`], if a weight or `point_multiple` is zero, or there would be too many points.
    pub fn new(backends: &[Backend], point_multiple: u32) -> Result<Self, InvalidBackends> {
        if point_multiple == 0 {
            return Err(InvalidBackends::NoPoints);
        }
        if let Some(backend) = backends.iter().position(|backend| backend.weight == 0) {
            return Err(InvalidBackends::ZeroWeight { backend });
        }
        Ok(Self { ring: Ketama::new(&shares(backends, point_multiple))? })
    }

    /// The same, with no points for backends of weight zero.
    pub(super) fn of_weighted(backends: &[Backend], point_multiple: u32) -> Result<Self, InvalidBackends> {
        if point_multiple == 0 {
            return Err(InvalidBackends::NoPoints);
        }
        Ok(Self { ring: Ketama::new(&shares(backends, point_multiple))? })
    }

    /// The backend of a key; `None` without any points. O(log p).
    #[must_use]
    pub fn node(&self, key: &[u8]) -> Option<usize> {
        self.nodes(key).next()
    }

    /// The owners of the points from the key's own on, round and round for ever: where to go if that is refused. Repeats
    /// are kept.
    pub fn nodes(&self, key: &[u8]) -> impl Iterator<Item = usize> + '_ {
        let first = self.ring.at_or_after(crc32(key));
        (0..self.ring.len()).cycle().map_while(move |offset| self.ring.owner(first + offset))
    }
}

fn shares(backends: &[Backend], point_multiple: u32) -> Vec<Share> {
    let share = |backend: &Backend| {
        let points = u64::from(backend.weight) * u64::from(point_multiple);
        let (host, port, points) = match &backend.address {
            Address::Socket(address) => (address.ip().to_string(), address.port().to_string(), points),
            Address::Host(name, port) => (name.as_str().to_owned(), port.to_string(), points),
            _ => (String::new(), String::new(), 0),
        };
        Share { host: host.into(), port: port.into(), points }
    };
    backends.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(address: &str, weight: u32) -> Backend {
        Backend { address: address.parse().unwrap(), weight }
    }

    #[test]
    fn points_follow_weight_and_go_round() {
        let backends = [backend("[fd00::1]:80", 1), backend("10.0.0.1:80", 3), backend("unix:/run/a", 9)];
        let ring = Continuum::new(&backends, 2).unwrap();
        let once: Vec<usize> = ring.nodes(b"key").take(8).collect();
        assert_eq!(once.iter().filter(|&&owner| owner == 0).count(), 2);
        assert_eq!(once.iter().filter(|&&owner| owner == 1).count(), 6);
        let twice: Vec<usize> = ring.nodes(b"key").take(16).collect();
        assert_eq!(twice, [once.clone(), once].concat());
    }

    #[test]
    fn what_pingora_would_panic_on_is_refused() {
        let backends = [backend("10.0.0.1:80", 1), backend("10.0.0.2:80", 0)];
        assert_eq!(Continuum::new(&backends, 160), Err(InvalidBackends::ZeroWeight { backend: 1 }));
        assert_eq!(Continuum::new(&backends[..1], 0), Err(InvalidBackends::NoPoints));
        let heavy = [backend("10.0.0.1:80", u32::MAX)];
        assert!(matches!(Continuum::new(&heavy, u32::MAX), Err(InvalidBackends::TooManyPoints(_))));
        let empty = Continuum::new(&[], 160).unwrap();
        assert_eq!(empty.node(b"key"), None);
    }
}
