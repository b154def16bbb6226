//! Any sequence of updates, flips, picks and endings agrees with a naive model of the cluster.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use evenkeel::{
    Cluster, Endpoint, EndpointId, ManualClock, Outcome, Pick, PolicyConfig, Priority, Request, Tried, Weight,
};
use evenkeel_balance::{BuiltIn, MemberList};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Apply(Vec<(u8, u32, u8)>),
    Upsert(u8, u32, u8),
    Reincarnate(u8),
    Remove(u8),
    SetWeight(u8, u32),
    Drain(u8, bool),
    Check(u8, bool),
    SetPolicy(u8),
    Clear,
    Pick,
    PickExcludingHeld,
    Finish(usize),
}

#[derive(Clone, Debug, Default)]
struct Known {
    weight: u32,
    priority: u8,
    incarnation: u64,
    /// Told apart from an endpoint of the same name that left before it came.
    life: u64,
    drained: bool,
    /// Results in a row and the verdict: rise 2, fall 3, the first result decides.
    check: Option<(bool, u8)>,
}

impl Known {
    fn is_usable(&self) -> bool {
        self.weight > 0 && !self.drained && self.check.is_none_or(|(up, _)| up)
    }

    fn on_check(&mut self, passed: bool) {
        self.check = Some(match self.check {
            None => (passed, 0),
            Some((up, _)) if up == passed => (up, 0),
            Some((up, row)) if row + 1 == if up { 3 } else { 2 } => (passed, 0),
            Some((up, row)) => (up, row + 1),
        });
    }
}

fn op() -> impl Strategy<Value = Op> {
    let member = || (0_u8..8, prop_oneof![Just(0_u32), 1_u32..5, Just(u32::MAX)], 0_u8..3);
    prop_oneof![
        2 => prop::collection::vec(member(), 1..8).prop_map(Op::Apply),
        2 => member().prop_map(|(name, weight, priority)| Op::Upsert(name, weight, priority)),
        1 => (0_u8..8).prop_map(Op::Reincarnate),
        1 => (0_u8..8).prop_map(Op::Remove),
        2 => (0_u8..8, 0_u32..4).prop_map(|(name, weight)| Op::SetWeight(name, weight)),
        3 => (0_u8..8, any::<bool>()).prop_map(|(name, on)| Op::Drain(name, on)),
        4 => (0_u8..8, any::<bool>()).prop_map(|(name, passed)| Op::Check(name, passed)),
        1 => any::<u8>().prop_map(Op::SetPolicy),
        1 => Just(Op::Clear),
        8 => Just(Op::Pick),
        3 => Just(Op::PickExcludingHeld),
        6 => (0_usize..20).prop_map(Op::Finish),
    ]
}

struct World {
    cluster: Cluster<()>,
    known: BTreeMap<u8, Known>,
    held: Vec<Held>,
    lives: u64,
}

struct Held {
    name: u8,
    life: u64,
    pick: Pick<()>,
}

fn id(name: u8) -> EndpointId {
    format!("e{name}").parse().expect("a valid id")
}

fn describe(name: u8, known: &Known) -> Endpoint {
    Endpoint::new(id(name), format!("10.0.0.{name}:80").parse().expect("an address"))
        .with_weight(Weight::new(known.weight))
        .with_priority(Priority::new(known.priority).expect("in range"))
        .with_incarnation(known.incarnation)
}

/// One of the policies that serve any weights; the others refuse some by name, as `updates.rs` tests.
fn policy_at(number: u8) -> PolicyConfig {
    static ALL: LazyLock<Vec<PolicyConfig>> = LazyLock::new(|| {
        let weights = [u32::MAX, u32::MAX - 1, 7, 1];
        let endpoint = |(name, weight): (u8, u32)| describe(name, &Known { weight, ..Known::default() });
        let members = MemberList::new((0..).zip(weights).map(endpoint));
        let all = PolicyConfig::all().into_iter();
        all.filter(|policy| BuiltIn::new(policy, &members).is_ok()).collect()
    });
    assert!(ALL.len() >= 15);
    ALL[usize::from(number) % ALL.len()].clone()
}

impl World {
    fn new(policy: u8) -> Self {
        let config = policy_at(policy);
        let builder = Cluster::builder("model").policy(config).seed(5).clock(ManualClock::default());
        Self {
            cluster: builder.build().expect("valid settings"),
            known: BTreeMap::new(),
            held: Vec::new(),
            lives: 0,
        }
    }

    fn act(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Apply(members) => self.apply(&members),
            Op::Upsert(name, weight, priority) => self.upsert(name, |known| {
                (known.weight, known.priority) = (weight, priority);
            }),
            Op::Reincarnate(name) => {
                if let Some(known) = self.known.remove(&name) {
                    let Known { weight, priority, incarnation, .. } = known;
                    self.upsert(name, |known| {
                        (known.weight, known.priority, known.incarnation) =
                            (weight, priority, incarnation + 1);
                    });
                }
            }
            Op::Remove(name) => {
                prop_assert_eq!(self.cluster.remove(&id(name)).is_ok(), self.known.remove(&name).is_some());
            }
            Op::SetWeight(name, weight) => {
                let known = self.known.get_mut(&name).map(|known| known.weight = weight).is_some();
                prop_assert_eq!(self.cluster.set_weight(&id(name), Weight::new(weight)).is_ok(), known);
            }
            Op::Drain(name, on) => {
                let known = self.known.get_mut(&name).map(|known| known.drained = on).is_some();
                let done = if on { self.cluster.drain(&id(name)) } else { self.cluster.undrain(&id(name)) };
                prop_assert_eq!(done.is_ok(), known);
            }
            Op::Check(name, passed) => {
                if let Some(known) = self.known.get_mut(&name) {
                    known.on_check(passed);
                    let usable = self.cluster.record_check(&id(name), passed).expect("it exists").usable();
                    prop_assert_eq!(usable, known.is_usable());
                }
            }
            Op::SetPolicy(policy) => {
                let config = policy_at(policy);
                self.cluster.set_policy(config).expect("valid settings");
            }
            Op::Clear => {
                self.cluster.clear();
                self.known.clear();
            }
            Op::Pick => self.pick(&[])?,
            Op::PickExcludingHeld => {
                let tried: Vec<usize> = (0..self.held.len()).collect();
                self.pick(&tried)?;
            }
            Op::Finish(which) => {
                if which < self.held.len() {
                    let Held { pick, .. } = self.held.swap_remove(which);
                    if which % 2 == 0 { pick.finish(Outcome::failure()) } else { drop(pick) }
                }
            }
        }
        self.compare()
    }

    fn apply(&mut self, members: &[(u8, u32, u8)]) {
        let mut next = BTreeMap::new();
        let mut list = Vec::new();
        for &(name, weight, priority) in members {
            if next.contains_key(&name) {
                continue;
            }
            let before = self.known.get(&name).cloned();
            let known = Known { weight, priority, ..before.unwrap_or_else(|| self.new_life()) };
            list.push(describe(name, &known));
            next.insert(name, known);
        }
        self.cluster.apply(list).expect("a valid set");
        self.known = next;
    }

    fn upsert(&mut self, name: u8, change: impl FnOnce(&mut Known)) {
        let fresh = self.new_life();
        let known = self.known.entry(name).or_insert(fresh);
        change(known);
        self.cluster.upsert(describe(name, known)).expect("a valid endpoint");
    }

    fn new_life(&mut self) -> Known {
        self.lives += 1;
        Known { life: self.lives, ..Known::default() }
    }

    fn pick(&mut self, tried: &[usize]) -> Result<(), TestCaseError> {
        let mut excluded = Tried::default();
        tried.iter().for_each(|&index| excluded.add(&self.held[index].pick));
        let is_tried = |known: &Known| tried.iter().any(|&index| self.held[index].life == known.life);
        let open = self.known.values().filter(|known| known.is_usable() && !is_tried(known));
        let best = open.map(|known| known.priority).min();
        let picked = self.cluster.pick(&Request::new().excluding(&excluded));
        prop_assert_eq!(picked.is_ok(), best.is_some(), "{:?}", picked.as_ref().err());
        if let Ok(pick) = picked {
            let name = pick.endpoint().id().as_str()[1..].parse::<u8>().expect("our own name");
            let known = &self.known[&name];
            prop_assert!(known.is_usable() && !is_tried(known), "{} is not open", name);
            prop_assert_eq!(Some(known.priority), best, "the first tier with something usable");
            let life = known.life;
            self.held.push(Held { name, life, pick });
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let report = self.cluster.report();
        prop_assert_eq!(report.endpoints.len(), self.known.len());
        for endpoint in &report.endpoints {
            let name = endpoint.id.as_str()[1..].parse::<u8>().expect("our own name");
            let known = &self.known[&name];
            let here = self.held.iter().filter(|held| (held.name, held.life) == (name, known.life)).count();
            prop_assert_eq!(endpoint.usable, known.is_usable());
            prop_assert_eq!(endpoint.in_flight, here, "requests in flight at {}", name);
            prop_assert_eq!((endpoint.weight.get(), endpoint.priority.get()), (known.weight, known.priority));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn agrees_with_a_naive_model(policy in any::<u8>(), ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new(policy);
        for op in ops {
            world.act(op)?;
        }
    }
}
