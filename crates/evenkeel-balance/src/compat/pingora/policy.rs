use std::sync::Arc;

use super::{Backend, LoadBalancer, Selection};
use crate::sync::AtomicU64;
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Settings of [`Pingora`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PingoraConfig {
    /// The argument of `select`: after so many steps on a request's way any open endpoint will do. 256 unless set, the
    /// number in pingora's own examples.
    pub max_iterations: usize,
    /// The selection: `round_robin` unless set.
    pub selection: Selection,
}

impl Default for PingoraConfig {
    fn default() -> Self {
        Self { max_iterations: 256, selection: Selection::default() }
    }
}

impl PolicySettings for PingoraConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Pingora::new(self.clone(), members)?))
    }
}

/// A `LoadBalancer` of pingora in a cluster: see [the module](super) for what it does.
#[derive(Debug)]
pub struct Pingora {
    config: PingoraConfig,
    balancer: LoadBalancer,
}

impl Pingora {
    /// The policy of these settings for these members.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`], if a setting is zero, there are more members than pingora numbers, or the ring would have too
    /// many points.
    pub fn new(config: PingoraConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        Self::with_count(config, members, Arc::default())
    }

    fn with_count(
        config: PingoraConfig,
        members: &dyn Members,
        count: Arc<AtomicU64>,
    ) -> Result<Self, InvalidPolicy> {
        if config.max_iterations == 0 {
            return Err(InvalidPolicy::setting(NAME, "max_iterations", "0 is not allowed, at least 1 is"));
        }
        if let Selection::Consistent { point_multiple: 0 } = config.selection {
            return Err(InvalidPolicy::setting(NAME, "point_multiple", "0 is not allowed, at least 1 is"));
        }
        let backends: Vec<Backend> = members
            .weights()
            .iter()
            .enumerate()
            .map(|(position, &weight)| Backend {
                address: members.endpoint(position).address().clone(),
                weight,
            })
            .collect();
        let balancer = LoadBalancer::lenient(config.selection, &backends, count)
            .map_err(|why| InvalidPolicy::members(NAME, why.to_string()))?;
        Ok(Self { config, balancer })
    }

    fn choose(&self, view: &dyn View, key: &[u8]) -> Option<usize> {
        let is_open = |position: usize| view.is_open(position);
        self.balancer
            .select_with(key, self.config.max_iterations, is_open)
            // pingora has nobody now. A policy answers none only if nobody is open.
            .or_else(|| self.balancer.any_from(key, is_open))
            // An endpoint that is another's doublet is not in the balancer.
            .or_else(|| view.mask().iter().find(|&position| view.admits(position)))
    }
}

impl Policy for Pingora {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        if self.config.selection == Selection::RoundRobin {
            return self.choose(view, &[]);
        }
        if let Some(key) = caller.key_bytes() {
            return self.choose(view, key);
        }
        let hash = caller.key().unwrap_or_else(|| caller.draw());
        self.choose(view, &hash.to_le_bytes())
    }

    fn wants(&self) -> Wants {
        match self.config.selection {
            Selection::RoundRobin => Wants::empty(),
            Selection::FnvHash | Selection::Consistent { .. } => Wants::KEY,
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let successor = Self::with_count(self.config.clone(), members, self.balancer.count())?;
        Ok(Some(Arc::new(successor)))
    }
}

const NAME: &str = "pingora";
