use std::sync::Arc;

use super::{Backend, LoadBalancer, Selection};
use crate::sync::AtomicU64;
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Settings of [`Pingora`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// [`InvalidPolicy`], if a setting is zero, or the ring would have too many points.
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
        let unit = unit(members.weights());
        let backend = |(position, &weight): (usize, &u32)| Backend {
            address: members.endpoint(position).address().clone(),
            weight: weight / unit,
        };
        let backends: Vec<Backend> = members.weights().iter().enumerate().map(backend).collect();
        let balancer = LoadBalancer::of_all(config.selection, &backends, count)
            .map_err(|why| InvalidPolicy::members(NAME, why.to_string()))?;
        Ok(Self { config, balancer })
    }

    fn choose(&self, view: &dyn View, key: &[u8]) -> Option<usize> {
        let is_open = |position: usize| view.is_open(position);
        self.balancer
            .select_with(key, self.config.max_iterations, is_open)
            // pingora has nobody now. A policy answers none only if nobody is open.
            .or_else(|| self.balancer.any_from(key, is_open))
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
            Selection::RoundRobin => Wants::SEQUENCE,
            Selection::FnvHash | Selection::Consistent { .. } => Wants::KEY,
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let successor = Self::with_count(self.config.clone(), members, self.balancer.count())?;
        Ok(Some(Arc::new(successor)))
    }
}

/// What weights are counted in: 1, or their greatest common divisor if the list would be too long for pingora.
fn unit(weights: &[u32]) -> u32 {
    let entries: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    if entries <= MOST_ENTRIES {
        return 1;
    }
    weights.iter().copied().fold(0, greatest_common_divisor).max(1)
}

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// 8 GiB of pingora's list of two bytes an entry: no pingora has one as long.
const MOST_ENTRIES: u64 = 1 << 32;

const NAME: &str = "pingora";

#[cfg(test)]
mod tests {
    use evenkeel_types::{Endpoint, Weight};

    use super::*;
    use crate::{Mask, MemberList, Script, Table};

    fn members(weights: &[u32]) -> MemberList {
        MemberList::new(weights.iter().enumerate().map(|(position, &weight)| {
            let address = format!("10.0.0.{position}:80").parse().unwrap();
            Endpoint::new(format!("e{position}").parse().unwrap(), address).with_weight(Weight::new(weight))
        }))
    }

    fn picks(policy: &dyn Policy, count: usize, key: Option<u64>) -> Vec<usize> {
        let mask = Mask::all_usable(count);
        let view = Table::new(&mask, &[], &[]);
        let mut caller = Script::seeded(3);
        if let Some(key) = key {
            caller = caller.with_key(key);
        }
        (0..20).map(|_| policy.pick(&view, &mut caller).unwrap()).collect()
    }

    #[test]
    fn endpoints_of_one_address_are_two() {
        let endpoint = |name: &str| Endpoint::new(name.parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        let members = MemberList::new([endpoint("a"), endpoint("b")]);
        let policy = Pingora::new(PingoraConfig::default(), &members).unwrap();
        assert_eq!(picks(&policy, 2, None)[..4], [0, 1, 0, 1]);
    }

    #[test]
    fn weights_beyond_any_list_are_brought_into_one() {
        let policy = Pingora::new(PingoraConfig::default(), &members(&[u32::MAX; 3])).unwrap();
        assert_eq!(picks(&policy, 3, None)[..6], [0, 1, 2, 0, 1, 2]);
        assert_eq!((unit(&[4, 6]), unit(&[1 << 31, 1 << 31, 1 << 30]), unit(&[])), (1, 1 << 30, 1));
    }

    #[test]
    fn the_counter_goes_on_when_members_change() {
        let old = Pingora::new(PingoraConfig::default(), &members(&[1; 5])).unwrap();
        assert_eq!(picks(&old, 5, None)[19], 4);
        let new = old.rebuild(&members(&[1; 7])).unwrap().unwrap();
        assert_eq!(picks(&*new, 7, None)[0], 20 % 7);
    }

    #[test]
    fn equal_keys_stay_and_without_a_key_it_draws() {
        for selection in [Selection::FnvHash, Selection::Consistent { point_multiple: 160 }] {
            let config = PingoraConfig { selection, ..PingoraConfig::default() };
            let policy = Pingora::new(config, &members(&[1; 5])).unwrap();
            let kept = picks(&policy, 5, Some(9));
            assert!(kept.iter().all(|&pick| pick == kept[0]));
            let drawn = picks(&policy, 5, None);
            assert!((0..5).all(|position| drawn.contains(&position)), "{drawn:?}");
        }
    }
}
