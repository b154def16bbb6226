use evenkeel_types::SplitMix64;

use super::error::{check_index, check_size};
use super::selected::{count, shuffled};
use super::{InvalidSubset, Subset};
use crate::Members;

/// Settings of a deterministic subset: slices of a list that is shuffled anew for each round of clients.
///
/// **Idea.** Cut a list of n servers into n ÷ size slices. The first n ÷ size clients, a *round*, take one each, so every
/// server of a slice has the same number of clients. The next round does the same on another shuffle, seeded by the number
/// of the round: whoever shared a server before shares it with others now. The shuffle is the order of the servers' ids
/// by their hash under that seed. So the order in which discovery names them does not matter, and while n ÷ size (rounded
/// down) stays the same, a server that comes or goes moves at most one connection of a client.
/// **Cost.** O(n log n) for each membership.
/// **When.** Clients have contiguous indices (a StatefulSet, Borg tasks), and both numbers divide well.
/// **When not.** Equal load comes only if the clients are a multiple of n ÷ size **and** size divides n:
/// [`is_even_over`](Self::is_even_over) says whether. What a round leaves over (n mod size servers) gets no client of that
/// round, and an unfinished last round reaches only a part. With 300 servers and 300 clients, size 30 gives every server
/// exactly 30 clients, size 90 between about 0.90 and 1.08 of the mean. When n ÷ size changes, all slices change and most
/// of the fleet reconnects: prefer [`random`](super::RandomSubsetConfig) where servers come and go, and
/// [`aperture`](super::ApertureConfig) where the number of clients is known too.
/// **Source.** Beyer, Jones, Petoff and Murphy, "Site Reliability Engineering", chapter 20, 2016, where the shuffle is the
/// library's and moves everything with each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct DeterministicSubsetConfig {
    /// The index of this client: 0, 1, 2 … without gaps. No default, since two clients of one index would use the same
    /// servers.
    pub client: u32,
    /// How many clients there are, if that is known; then an index beyond it is an error. Default: not known.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub clients: Option<u32>,
    /// How many servers one client uses. Default 20: the book's usual range begins there. If there are fewer servers, all
    /// of them are used.
    #[cfg_attr(feature = "serde", serde(default = "default_size"))]
    pub size: u32,
    /// Seeds the shuffles; equal over the fleet. Default 0. Two services with different seeds do not put the same clients
    /// together.
    #[cfg_attr(feature = "serde", serde(default))]
    pub seed: u64,
}

impl DeterministicSubsetConfig {
    /// The defaults for the client of this index.
    #[must_use]
    pub const fn new(client: u32) -> Self {
        Self { client, clients: None, size: default_size(), seed: 0 }
    }

    /// Whether every one of so many servers gets the same number of clients; `None` if the number of clients is not known.
    #[must_use]
    pub fn is_even_over(&self, servers: u32) -> Option<bool> {
        let clients = self.clients?;
        if self.size >= servers {
            return Some(true);
        }
        let slices = servers.checked_div(self.size).filter(|&slices| slices > 0)?;
        Some(servers.is_multiple_of(self.size) && clients.is_multiple_of(slices))
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidSubset> {
        check_size(KIND, self.size)?;
        self.clients.map_or(Ok(()), |clients| check_index(KIND, "client", self.client, clients))
    }

    pub(crate) fn select(&self, members: &dyn Members) -> Result<Subset, InvalidSubset> {
        self.validate()?;
        let (count, size) = (count(members), self.size as usize);
        if size >= count {
            return Ok(Subset::all(members));
        }
        let slices = count / size;
        let (round, slice) = (self.client as usize / slices, self.client as usize % slices);
        let seed = SplitMix64::mix(SplitMix64::mix(self.seed).wrapping_add(round as u64));
        let order = shuffled(members, seed);
        Ok(Subset::of(members, order[slice * size..(slice + 1) * size].to_vec()))
    }
}

const fn default_size() -> u32 {
    20
}

const KIND: &str = "deterministic";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_when_load_is_even() {
        let config =
            |clients, size| DeterministicSubsetConfig { clients, size, ..DeterministicSubsetConfig::new(0) };
        for (clients, size, servers, even) in [
            (Some(300), 30, 300, Some(true)),
            (Some(300), 90, 300, Some(false)),
            (Some(301), 30, 300, Some(false)),
            (Some(7), 500, 300, Some(true)),
            (Some(7), 0, 300, None),
            (None, 30, 300, None),
        ] {
            assert_eq!(config(clients, size).is_even_over(servers), even, "{clients:?} {size} {servers}");
        }
    }
}
