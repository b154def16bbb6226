use thiserror::Error;

/// One `server` line of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// `weight`: 0 to 256, 1 unless set. Of weight 0 no requests go there.
    pub weight: u32,
    /// `id`: from 1 on. A server without one takes the number of its place in the section, or if that is taken the next
    /// free one, after which those behind it go on. The number decides where a server stands on the ring, and the order of
    /// `first`.
    pub id: Option<u32>,
    /// `backup`: used only while no other server is usable.
    pub is_backup: bool,
    /// `disabled`: it starts in maintenance.
    pub is_disabled: bool,
    /// `maxconn`: so many connections at once; unlimited unless set.
    pub max_connections: Option<u32>,
}

impl Default for Server {
    fn default() -> Self {
        Self { weight: 1, id: None, is_backup: false, is_disabled: false, max_connections: None }
    }
}

impl Server {
    /// A server of this weight.
    #[must_use]
    pub fn weighing(weight: u32) -> Self {
        Self { weight, ..Self::default() }
    }
}

/// What somebody ordered for a server at run time: `set server B/S state …`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Admin {
    /// It takes requests.
    #[default]
    Ready,
    /// It takes no new requests, and its checks go on.
    Drain,
    /// It takes no new requests, and is not checked.
    Maintenance,
}

/// Servers that HAProxy would refuse, or settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidBackend {
    /// A weight beyond HAProxy's range.
    #[error("server {server}: weight {weight} is out of range: allowed are 0 to {MOST_WEIGHT}")]
    Weight {
        /// Which server, from 0.
        server: usize,
        /// What was asked for.
        weight: u32,
    },
    /// A number is zero, or was given twice.
    #[error("server {server}: id {id} is zero or taken: allowed are numbers from 1 on, each once")]
    Id {
        /// Which server, from 0.
        server: usize,
        /// What was asked for.
        id: u32,
    },
    /// More than `roundrobin` can order.
    #[error(
        "{count} servers are too many for roundrobin, which HAProxy limits to {MOST_SERVERS}: use static-rr"
    )]
    TooMany {
        /// How many servers there are, backups or others.
        count: usize,
    },
    /// `hash-balance-factor` leaves no room.
    #[error("hash-balance-factor {factor} is out of range: allowed are 101 and more")]
    BalanceFactor {
        /// What was asked for.
        factor: u32,
    },
}

/// A change of weight that HAProxy would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidWeight {
    /// Beyond HAProxy's range.
    #[error("weight {weight} is out of range: allowed are 0 to {MOST_WEIGHT}")]
    OutOfRange {
        /// What was asked for.
        weight: u32,
    },
    /// The algorithm is static: a server of it has its configured weight, or none.
    #[error("weight {weight} cannot be set under a static algorithm: allowed are 0 and {configured}")]
    IsStatic {
        /// What was asked for.
        weight: u32,
        /// The weight in the configuration.
        configured: u32,
    },
}

/// The numbers of all servers: their own, or free ones.
pub(super) fn ids(servers: &[Server]) -> Result<Vec<u32>, InvalidBackend> {
    let mut taken: Vec<u32> = servers.iter().filter_map(|server| server.id).collect();
    taken.sort_unstable();
    let twice = taken.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    let bad = |id: u32| id == 0 || Some(id) == twice;
    // The second of two is the one that comes too late.
    if let Some((server, id)) = servers
        .iter()
        .enumerate()
        .rev()
        .find_map(|(n, server)| server.id.filter(|&id| bad(id)).map(|id| (n, id)))
    {
        return Err(InvalidBackend::Id { server, id });
    }
    let mut next = 1_u32;
    let own_or_free = |server: &Server| {
        let id = server.id.unwrap_or_else(|| {
            while taken.binary_search(&next).is_ok() {
                next = next.wrapping_add(1);
            }
            next
        });
        // A server with a number of its own uses one up as well.
        next = next.wrapping_add(1);
        id
    };
    Ok(servers.iter().map(own_or_free).collect())
}

/// The largest weight that can be configured.
pub(super) const MOST_WEIGHT: u32 = 256;
/// Effective units of a unit of weight, where weights can change at run time.
pub(super) const SCALE: u32 = 16;
/// The largest effective weight.
pub(super) const MOST_EFFECTIVE: u32 = MOST_WEIGHT * SCALE;
/// The most servers of `roundrobin`, by HAProxy's documentation.
pub(super) const MOST_SERVERS: usize = 4095;

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(own: &[Option<u32>]) -> Result<Vec<u32>, InvalidBackend> {
        ids(&own.iter().map(|&id| Server { id, ..Server::default() }).collect::<Vec<_>>())
    }

    #[test]
    fn free_numbers_are_given_in_order() {
        assert_eq!(numbers(&[None, None, None]), Ok(vec![1, 2, 3]));
        assert_eq!(numbers(&[None, Some(1), None, Some(3), None]), Ok(vec![2, 1, 4, 3, 6]));
        assert_eq!(numbers(&[Some(20), None, Some(5), Some(4), None]), Ok(vec![20, 2, 5, 4, 6]));
        assert_eq!(numbers(&[Some(1), Some(7), Some(7)]), Err(InvalidBackend::Id { server: 2, id: 7 }));
        assert_eq!(numbers(&[Some(0)]), Err(InvalidBackend::Id { server: 0, id: 0 }));
    }
}
