//! The clusters of a router by name, and who serves when one cannot.

use std::collections::BTreeMap;

use evenkeel_route::split::{ClusterRef, FallbackError, Fallbacks};

use super::error::{RouterError, RouterProblem};
use crate::cluster::Cluster;

pub(crate) struct Clusters<T> {
    /// Sorted by name.
    all: Box<[Cluster<T>]>,
    fallbacks: Box<[Option<u32>]>,
}

impl<T> Clusters<T> {
    /// The given ones, and of those known before the ones whose names are not among them.
    pub(crate) fn new(
        given: impl IntoIterator<Item = Cluster<T>>,
        before: &[Cluster<T>],
        fallbacks: &BTreeMap<String, String>,
    ) -> Result<Self, RouterError> {
        let mut all: BTreeMap<String, Cluster<T>> = BTreeMap::new();
        for cluster in given {
            let name = cluster.name().to_owned();
            if all.insert(name.clone(), cluster).is_some() {
                return Err(RouterError::new("clusters", RouterProblem::ClusterTwice(name)));
            }
        }
        for cluster in before {
            all.entry(cluster.name().to_owned()).or_insert_with(|| cluster.clone());
        }
        let mut clusters = Self { all: all.into_values().collect(), fallbacks: Box::default() };
        clusters.fallbacks = clusters.chains(fallbacks)?;
        Ok(clusters)
    }

    fn chains(&self, fallbacks: &BTreeMap<String, String>) -> Result<Box<[Option<u32>]>, RouterError> {
        let mut next = vec![None; self.all.len()];
        for (of, to) in fallbacks {
            let field = format!("fallbacks.{of}");
            let at = self.position(of).ok_or_else(|| {
                let problem = RouterProblem::NoSuchCluster { name: of.clone(), similar: self.similar(of) };
                RouterError::new("fallbacks: key", problem)
            })?;
            next[at as usize] = Some(self.find(to, || field)?);
        }
        let name_of = |at: u32| self.get(at).name().to_owned();
        let chain = |(at, to): (usize, &Option<u32>)| ClusterRef {
            name: name_of(at as u32),
            fallback: to.map(name_of),
        };
        let chains: Vec<ClusterRef> = next.iter().enumerate().map(chain).collect();
        if let Err(FallbackError::Circle { path }) = Fallbacks::new(&chains) {
            return Err(RouterError::new("fallbacks", RouterProblem::Circle { path }));
        }
        Ok(next.into())
    }

    pub(crate) fn all(&self) -> &[Cluster<T>] {
        &self.all
    }

    pub(crate) fn get(&self, at: u32) -> &Cluster<T> {
        &self.all[at as usize]
    }

    pub(crate) fn fallback(&self, of: u32) -> Option<u32> {
        self.fallbacks[of as usize]
    }

    /// The number of the cluster of this name, which `field` asks for.
    pub(crate) fn find(&self, name: &str, field: impl FnOnce() -> String) -> Result<u32, RouterError> {
        self.position(name).ok_or_else(|| {
            let problem = RouterProblem::NoSuchCluster { name: name.to_owned(), similar: self.similar(name) };
            RouterError::new(field(), problem)
        })
    }

    fn position(&self, name: &str) -> Option<u32> {
        self.all.binary_search_by(|cluster| cluster.name().cmp(name)).ok().map(|at| at as u32)
    }

    /// The name that is the fewest slips away, if those are at most a third of it, or one.
    fn similar(&self, name: &str) -> Option<String> {
        let most = (name.chars().count() / 3).max(1);
        let far = |cluster: &Cluster<T>| strsim::osa_distance(name, cluster.name());
        let nearest = self.all.iter().map(|cluster| (far(cluster), cluster.name())).min();
        nearest.filter(|&(far, _)| far <= most).map(|(_, name)| name.to_owned())
    }
}
