use std::iter::{Map, Zip};
use std::slice;
use std::sync::Arc;

use evenkeel_types::Endpoint;

use crate::Members;
use crate::hash::xxh64;

/// The part of the members that one client uses: positions in ascending order, each with a weight.
///
/// A weight is what the client should give to its policy for that position. Only the ratios between the weights of one
/// subset mean anything. They are the members' own weights, except at an aperture: there each is the weight times the
/// part of the endpoint that belongs to this client, as the smallest whole numbers with exactly these ratios; where such
/// numbers would not fit 32 bits, each is rounded by less than 2⁻³¹ of the greatest and to no less than 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    positions: Vec<u32>,
    weights: Vec<u32>,
    fallback: Option<SubsetFallback>,
}

/// Where a subset came from when nothing had the labels that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SubsetFallback {
    /// From nowhere: it is empty.
    None,
    /// From all members.
    Any,
    /// From the default subset, which may be empty too.
    DefaultSubset,
}

impl Subset {
    /// These positions with the weights of the members.
    pub(crate) fn of(members: &dyn Members, mut positions: Vec<u32>) -> Self {
        positions.sort_unstable();
        let weights = members.weights();
        let weights = positions.iter().map(|&position| weights[position as usize]).collect();
        Self { positions, weights, fallback: None }
    }

    /// All of the members.
    pub(crate) fn all(members: &dyn Members) -> Self {
        Self::of(members, (0..count(members) as u32).collect())
    }

    pub(crate) fn with_weights(mut rows: Vec<(u32, u32)>) -> Self {
        rows.sort_unstable();
        let (positions, weights) = rows.into_iter().unzip();
        Self { positions, weights, fallback: None }
    }

    pub(crate) fn falling_back(mut self, fallback: SubsetFallback) -> Self {
        self.fallback = Some(fallback);
        self
    }

    /// The positions, ascending.
    #[must_use]
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The weights, position by position.
    #[must_use]
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// How many positions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The weight of a position, if it belongs to the subset. O(log n).
    #[must_use]
    pub fn weight(&self, position: usize) -> Option<u32> {
        let position = u32::try_from(position).ok()?;
        self.positions.binary_search(&position).ok().map(|index| self.weights[index])
    }

    /// Which fallback of a label subset was used; `None` if something had the labels.
    #[must_use]
    pub const fn fallback(&self) -> Option<SubsetFallback> {
        self.fallback
    }

    /// Each position with its weight.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (usize, u32)> {
        self.into_iter()
    }
}

impl<'a> IntoIterator for &'a Subset {
    type Item = (usize, u32);
    type IntoIter = Map<Zip<slice::Iter<'a, u32>, slice::Iter<'a, u32>>, fn((&u32, &u32)) -> (usize, u32)>;

    fn into_iter(self) -> Self::IntoIter {
        self.positions.iter().zip(&self.weights).map(|(&position, &weight)| (position as usize, weight))
    }
}

/// How many members there are.
pub(crate) fn count(members: &dyn Members) -> usize {
    members.weights().len()
}

/// The members in the order of their ids' hashes: the same for all clients, whatever their source said first, and one
/// that comes or goes moves nobody past another. Neighbours there are not neighbours in a rack.
pub(crate) fn shuffled(members: &dyn Members, seed: u64) -> Vec<u32> {
    let mut order: Vec<(u64, Arc<Endpoint>, u32)> = (0..count(members))
        .map(|position| {
            let endpoint = members.endpoint(position);
            (xxh64(endpoint.id().as_str().as_bytes(), seed), endpoint, position as u32)
        })
        .collect();
    order.sort_unstable_by(|a, b| (a.0, a.1.id(), a.2).cmp(&(b.0, b.1.id(), b.2)));
    order.into_iter().map(|(.., position)| position).collect()
}
