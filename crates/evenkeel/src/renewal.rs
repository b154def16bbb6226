//! Several settings of a cluster that change together.

use std::sync::atomic::{AtomicBool, Ordering};

use evenkeel_balance::PolicyConfig;
use evenkeel_balance::subset::{InvalidSubset, SubsetConfig};
use evenkeel_types::Endpoint;

use crate::applied::{Applied, Leftover};
use crate::edit;
use crate::error::ApplyError;
use crate::shared::Shared;
use crate::subset::{OutsideSubset, Rule};
use crate::update::State;

/// What [`Cluster::renew_with`](crate::Cluster::renew_with) changes. What is not named stays as it is.
///
/// ```
/// use evenkeel::{Cluster, Endpoint, PolicyConfig, Renewal};
///
/// let users = Cluster::<()>::builder("users").build()?;
/// let endpoint: Endpoint = Endpoint::at("10.0.0.1:80".parse()?)?;
/// let renewal = Renewal::default().policy(PolicyConfig::RoundRobin(Default::default())).endpoints(vec![endpoint]);
/// let applied = users.renew_with(renewal, |_| ())?;
/// assert!(applied.policy_changed && applied.added.len() == 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Renewal {
    policy: Option<PolicyConfig>,
    subset: Option<(Option<SubsetConfig>, Option<OutsideSubset>)>,
    endpoints: Option<Vec<Endpoint>>,
}

impl Renewal {
    /// Another policy.
    #[must_use]
    pub fn policy(self, policy: PolicyConfig) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// Another part of the endpoints is used, or all of them. `outside` as in [`Cluster::set_subset`](crate::Cluster::set_subset).
    #[must_use]
    pub fn subset(self, subset: Option<SubsetConfig>, outside: Option<OutsideSubset>) -> Self {
        Self { subset: Some((subset, outside)), ..self }
    }

    /// The whole set of endpoints from now on. It must not be empty: for that there is [`Cluster::clear`](crate::Cluster::clear).
    #[must_use]
    pub fn endpoints(self, endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints: Some(endpoints), ..self }
    }

    pub(crate) fn ready(self, seed: u64) -> Result<(Besides<'static>, Option<Vec<Endpoint>>), InvalidSubset> {
        let rule = |(subset, outside): (Option<SubsetConfig>, _)| {
            subset.map(|subset| Rule::new(subset, outside, seed)).transpose()
        };
        let subset = self.subset.map(rule).transpose()?;
        Ok((Besides { policy: self.policy, subset, ended: None }, self.endpoints))
    }
}

/// What changes in the same swap as the endpoints.
#[derive(Default)]
pub(crate) struct Besides<'a> {
    pub(crate) policy: Option<PolicyConfig>,
    subset: Option<Option<Rule>>,
    /// Once it is true, nothing is changed any more: whoever wanted this has left.
    ended: Option<&'a AtomicBool>,
}

impl<'a> Besides<'a> {
    pub(crate) fn unless(ended: &'a AtomicBool) -> Self {
        Self { ended: Some(ended), ..Self::default() }
    }

    pub(crate) const fn is_nothing(&self) -> bool {
        self.policy.is_none() && self.subset.is_none()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some_and(|ended| ended.load(Ordering::Acquire))
    }

    /// The rule that holds afterwards.
    pub(crate) fn subset<'s, T>(&'s self, state: &'s State<T>) -> Option<&'s Rule> {
        self.subset.as_ref().unwrap_or(&state.subset).as_ref()
    }

    /// Whether what is new can be used together, and with what stays.
    pub(crate) fn fit<T>(&self, shared: &Shared<T>, state: &State<T>) -> Result<(), ApplyError> {
        if self.is_nothing() {
            return Ok(());
        }
        edit::fits(shared, self.policy.as_ref().unwrap_or(&state.policy), self.subset(state))
    }

    /// The swap is made.
    pub(crate) fn settle<T>(
        &mut self,
        state: &mut State<T>,
        applied: &mut Applied,
        leftover: &mut Leftover<T>,
    ) {
        if let Some(policy) = self.policy.take() {
            leftover.policies.push(std::mem::replace(&mut state.policy, policy));
            applied.policy_changed = true;
        }
        if let Some(subset) = self.subset.take() {
            state.subset = subset;
            applied.subset_changed = true;
        }
    }
}
