use std::sync::Arc;

use evenkeel_types::Endpoint;

use super::error::check_size;
use super::selected::count;
use super::{InvalidSubset, Subset};
use crate::Members;
use crate::hash::xxh64;

/// Settings of a random subset: the servers whose hash under the seed of this process is lowest.
///
/// **Idea.** Every server has a rank: the 64-bit xxHash of its id, seeded with a number that belongs to this process. The
/// `size` lowest ranks are the subset. A server that leaves is replaced by the next rank, and one that comes takes at most
/// one place: one server's change moves at most one connection of a client.
/// **Cost.** O(n) for each membership, without a sort.
/// **When.** Clients know nothing of each other; servers come and go.
/// **When not.** Few clients, or small subsets: a server's clients are a binomial draw, so their number strays by about
/// √(n ÷ (clients · size)) of the mean. Of 300 servers and 300 clients, size 90 gives the unluckiest server about 0.76 of
/// the mean and the luckiest 1.26; size 30 gives 0.53 and 1.57.
/// **Source.** gRPC A68, `random_subsetting`. gRPC hashes the address; ours is the id unless `by` says `address`, since an
/// id stays when a server moves. Same idea: highest random weight (Thaler and Ravishankar 1998), the k best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RandomSubsetConfig {
    /// How many servers one client uses. Default 20. If there are fewer servers, all of them are used.
    pub size: u32,
    /// What makes this process choose otherwise than its peers; never the same number for all. The façade gives the seed
    /// of the cluster if there is none. A number that survives a restart (a hash of the host's name) keeps the subset over
    /// restarts.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub seed: Option<u64>,
    /// What is hashed. Default: the id.
    pub by: HashedBy,
}

/// What stands for a server when it is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum HashedBy {
    /// Its id.
    #[default]
    Id,
    /// Its preferred address as text, as gRPC does: `10.0.0.1:80`.
    Address,
}

impl Default for RandomSubsetConfig {
    fn default() -> Self {
        Self { size: 20, seed: None, by: HashedBy::Id }
    }
}

impl RandomSubsetConfig {
    pub(crate) fn validate(&self) -> Result<(), InvalidSubset> {
        check_size("random", self.size)
    }

    pub(crate) fn select(&self, members: &dyn Members) -> Result<Subset, InvalidSubset> {
        self.validate()?;
        let seed = self.seed.ok_or(InvalidSubset::NoSeed)?;
        let (count, size) = (count(members), self.size as usize);
        if size >= count {
            return Ok(Subset::all(members));
        }
        let mut ranked: Vec<(u64, Arc<Endpoint>, u32)> = (0..count)
            .map(|position| {
                let endpoint = members.endpoint(position);
                (self.rank(&endpoint, seed), endpoint, position as u32)
            })
            .collect();
        // Equal ranks are told apart by the id, so that the order of the members decides nothing.
        ranked.select_nth_unstable_by(size - 1, |a, b| (a.0, a.1.id(), a.2).cmp(&(b.0, b.1.id(), b.2)));
        Ok(Subset::of(members, ranked[..size].iter().map(|&(.., position)| position).collect()))
    }

    fn rank(&self, endpoint: &Endpoint, seed: u64) -> u64 {
        match self.by {
            HashedBy::Id => xxh64(endpoint.id().as_str().as_bytes(), seed),
            HashedBy::Address => xxh64(endpoint.address().to_string().as_bytes(), seed),
        }
    }
}
