use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::backend::Backend;
use super::balance::{BackendConfig, Balance};
use super::hash_type::HashType;
use super::server::{InvalidBackend, Server};
use crate::{BuiltIn, Caller, Event, InvalidPolicy, Mask, Members, Policy, PolicySettings, View, Wants};

/// Settings of [`Haproxy`], in HAProxy's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HaproxyConfig {
    /// `balance`: `roundrobin` unless set, as in HAProxy. The algorithms that hash take the key of the request, `source` the
    /// client's address.
    pub balance: Balance,
    /// `hash-type`: the map, sdbm and no avalanche unless set, as in HAProxy. What HAProxy means by a bare
    /// `hash-type consistent` has `avalanche = true`.
    pub hash_type: HashType,
    /// `hash-balance-factor`, above 100: off unless set, as in HAProxy.
    pub hash_balance_factor: Option<u32>,
    /// `maxconn` of every server, above 0: unlimited unless set, as in HAProxy. Where HAProxy would let a request wait
    /// because all are full, it goes to the one with the fewest connections: nothing waits here.
    pub maxconn: Option<u32>,
}

/// Endpoints as HAProxy 2.6 would pick them: see the [module](super).
#[derive(Debug)]
pub struct Haproxy {
    config: HaproxyConfig,
    parts: Mutex<Parts>,
    /// The requests in flight at each position, shared with the predecessors and successors of this policy: they end
    /// wherever they began.
    counts: Vec<Arc<AtomicU32>>,
    /// Tokens and their positions, by token.
    positions: Vec<(u64, u32)>,
}

/// A backend for each of two parts that have no endpoint in common, as the plainly usable ones and those that are degraded: requests
/// are asked for the one and the other in turn. A single one would take all servers of one part down and bring the others up at each switch,
/// and who comes up first would get most.
#[derive(Debug)]
struct Parts {
    current: Machine,
    other: Option<Machine>,
    ids: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Machine {
    backend: Backend,
    /// What the backend believes of the mask: how many are usable, the first of them, and all of them, a bit each.
    usable: usize,
    first: usize,
    words: Vec<u64>,
    /// Whether something may have changed that this was not told.
    is_stale: bool,
    /// Whether there is a place in a sequence to be kept.
    has_picked: bool,
}

impl PolicySettings for HaproxyConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Haproxy::new(self.clone(), members).map(BuiltIn::dynamic)
    }
}

impl Haproxy {
    /// The policy for these members, numbered from 1 in their order.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`], if a setting or a weight is out of HAProxy's range, or there are more members than `roundrobin`
    /// takes.
    pub fn new(config: HaproxyConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let servers = config.servers(members, |_| None);
        let backend = Backend::new(config.backend(), &servers).map_err(refusal)?;
        let counts = members.weights().iter().map(|_| Arc::default()).collect();
        Self::of(config, members, (backend, false), counts)
    }

    fn of(
        config: HaproxyConfig,
        members: &dyn Members,
        (backend, has_picked): (Backend, bool),
        counts: Vec<Arc<AtomicU32>>,
    ) -> Result<Self, InvalidPolicy> {
        if config.maxconn == Some(0) {
            return Err(InvalidPolicy::setting(
                NAME,
                "maxconn",
                "0 lets nothing through: allowed are 1 and more",
            ));
        }
        let mut positions: Vec<(u64, u32)> =
            (0..counts.len()).map(|position| (members.token(position), position as u32)).collect();
        positions.sort_unstable();
        let ids = backend.ids();
        let current = Machine { backend, usable: 0, first: 0, words: Vec::new(), is_stale: true, has_picked };
        let parts = Parts { current, other: None, ids };
        Ok(Self { config, parts: Mutex::new(parts), counts, positions })
    }

    fn position(&self, token: u64) -> Option<usize> {
        let place = self.positions.binary_search_by_key(&token, |&(token, _)| token).ok()?;
        Some(self.positions[place].1 as usize)
    }

    fn hash(&self, caller: &mut dyn Caller) -> Option<u32> {
        match self.config.balance {
            Balance::RoundRobin | Balance::StaticRr | Balance::LeastConn | Balance::First => None,
            Balance::Source => caller.source().map(|address| self.config.hash_type.hash_source(address)),
            // Who has the hash of a key but not the key cannot agree with HAProxy, and is still always sent the same way.
            _ => match caller.key_bytes() {
                Some(key) => Some(self.config.hash_type.hash(key)),
                None => caller.key().map(|hash| hash as u32),
            },
        }
    }

    /// Counts a request in or out.
    fn count(&self, token: u64, change: impl Fn(u32) -> u32) {
        let Some(position) = self.position(token) else { return };
        let mut parts = self.parts.lock();
        let count = &self.counts[position];
        let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(change(count)));
        for machine in parts.each() {
            machine.backend.set_connections(position, count.load(Ordering::Relaxed));
        }
    }

    fn flip(&self, token: u64) {
        if self.position(token).is_some() {
            self.parts.lock().each().for_each(|machine| machine.is_stale = true);
        }
    }

    /// Believes the mask. O(n), and what HAProxy does for every server that came or went.
    fn look_again(&self, machine: &mut Machine, view: &dyn View) {
        let mask = view.mask();
        machine.backend.set_up_each(|position| mask.contains(position));
        for (position, count) in self.counts.iter().enumerate() {
            machine.backend.set_connections(position, count.load(Ordering::Relaxed));
        }
        machine.usable = mask.usable();
        machine.words.clear();
        machine.words.extend(mask.words());
        machine.first = mask.iter().next().unwrap_or(0);
        machine.is_stale = false;
    }
}

impl Policy for Haproxy {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        let hash = self.hash(caller);
        let mut parts = self.parts.lock();
        parts.turn_to(view.mask());
        let machine = &mut parts.current;
        machine.has_picked = true;
        if machine.is_stale || machine.usable != view.mask().usable() {
            self.look_again(machine, view);
        }
        let mut has_met_closed = false;
        let picked = machine.backend.choose_among(hash, |position| {
            has_met_closed |= !view.mask().contains(position);
            view.is_open(position)
        });
        if picked.is_some() && !has_met_closed {
            return picked;
        }
        self.look_again(machine, view);
        let again = || machine.backend.choose_among(hash, |position| view.is_open(position));
        picked.or_else(again).or_else(|| least_busy(view, &self.counts))
    }

    fn wants(&self) -> Wants {
        let mut wants = Wants::SEQUENCE;
        let is_bounded = self.config.maxconn.is_some() || self.config.hash_balance_factor.is_some();
        wants.set(Wants::EVENTS, is_bounded || self.config.balance == Balance::LeastConn);
        wants.set(Wants::SOURCE, self.config.balance == Balance::Source);
        let is_keyed =
            matches!(self.config.balance, Balance::Uri | Balance::UrlParam | Balance::Hdr | Balance::Hash);
        wants.set(Wants::KEY, is_keyed);
        wants
    }

    fn on_event(&self, event: Event) {
        match event {
            Event::Picked(token) => self.count(token, |count| count.saturating_add(1)),
            Event::Released(token) => self.count(token, |count| count.saturating_sub(1)),
            Event::Up(token) | Event::Down(token) => self.flip(token),
            _ => {}
        }
    }

    /// Endpoints that stay keep their number, their connections and their place.
    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let count = members.weights().len();
        let from: Vec<_> = (0..count).map(|position| self.position(members.token(position))).collect();
        let backend = {
            let parts = self.parts.lock();
            let machine = &parts.current;
            let servers = self.config.servers(members, |position| Some(parts.ids[from[position]?]));
            // Who has served nobody yet starts with all its servers at once, as a program that was just configured.
            let backend = match machine.has_picked {
                true => machine.backend.successor(&servers, &from),
                false => Backend::new(self.config.backend(), &servers),
            };
            (backend.map_err(refusal)?, machine.has_picked)
        };
        let shared = |old: &Option<usize>| old.map_or_else(Arc::default, |old| Arc::clone(&self.counts[old]));
        let counts = from.iter().map(shared).collect();
        let successor = Self::of(self.config.clone(), members, backend, counts)?;
        Ok(Some(Arc::new(successor)))
    }
}

impl Parts {
    /// Turns to the part of this mask, if that is another one: then one look at the first server tells that it may be.
    fn turn_to(&mut self, mask: &Mask) {
        if !mask.contains(self.current.first) && self.current.shares_nobody_with(mask) {
            self.switch();
        }
    }

    /// The other part, which begins as a copy of this one.
    #[cold]
    fn switch(&mut self) {
        let other = self.other.take().unwrap_or_else(|| self.current.clone());
        self.other = Some(std::mem::replace(&mut self.current, other));
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Machine> {
        std::iter::once(&mut self.current).chain(self.other.as_mut())
    }
}

impl Machine {
    /// Whether the mask is another part: both have somebody, and nobody is in both.
    fn shares_nobody_with(&self, mask: &Mask) -> bool {
        let is_apart = self.words.iter().zip(mask.words()).all(|(one, other)| one & other == 0);
        self.usable > 0 && mask.usable() > 0 && is_apart
    }
}

impl HaproxyConfig {
    const fn backend(&self) -> BackendConfig {
        BackendConfig {
            balance: self.balance,
            hash_type: self.hash_type,
            hash_balance_factor: self.hash_balance_factor,
            uses_all_backups: false,
        }
    }

    fn servers(&self, members: &dyn Members, id: impl Fn(usize) -> Option<u32>) -> Vec<Server> {
        let servers = members.weights().iter().enumerate();
        let server = |(position, &weight)| Server {
            id: id(position),
            max_connections: self.maxconn,
            ..Server::weighing(weight)
        };
        servers.map(server).collect()
    }
}

/// All are full: the open position with the fewest requests, the first of equals. O(n).
#[cold]
fn least_busy(view: &dyn View, counts: &[Arc<AtomicU32>]) -> Option<usize> {
    let open = view.mask().iter().filter(|&position| view.admits(position));
    open.min_by_key(|&position| counts.get(position).map_or(0, |count| count.load(Ordering::Relaxed)))
}

fn refusal(error: InvalidBackend) -> InvalidPolicy {
    match error {
        InvalidBackend::BalanceFactor { factor } => InvalidPolicy::setting(
            NAME,
            "hash_balance_factor",
            format!("{factor} is out of range: allowed are 101 and more"),
        ),
        other => InvalidPolicy::members(NAME, other.to_string()),
    }
}

const NAME: &str = "haproxy";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Script, Table};

    /// Members with tokens of their own.
    struct Named(Vec<(u64, u32)>, Vec<u32>);

    impl Named {
        fn new(members: &[(u64, u32)]) -> Self {
            Self(members.to_vec(), members.iter().map(|&(_, weight)| weight).collect())
        }
    }

    impl Members for Named {
        fn weights(&self) -> &[u32] {
            &self.1
        }

        fn token(&self, position: usize) -> u64 {
            self.0[position].0
        }

        fn endpoint(&self, _: usize) -> Arc<evenkeel_types::Endpoint> {
            unreachable!("nobody asks")
        }
    }

    fn policy(config: HaproxyConfig, members: &[(u64, u32)]) -> Haproxy {
        Haproxy::new(config, &Named::new(members)).unwrap()
    }

    fn picks(policy: &dyn Policy, mask: &Mask, count: usize) -> Vec<usize> {
        let view = Table::new(mask, &[], &[]);
        (0..count).filter_map(|_| policy.pick(&view, &mut Script::seeded(1))).collect()
    }

    #[test]
    fn the_sequence_is_the_backends() {
        let policy = policy(HaproxyConfig::default(), &[(7, 5), (8, 1), (9, 1)]);
        let mask = Mask::all_usable(3);
        assert_eq!(picks(&policy, &mask, 7), [0, 0, 0, 1, 0, 0, 2]);
        mask.set(0, false);
        let later = picks(&policy, &mask, 40);
        let ones = later.iter().filter(|&&position| position == 1).count();
        assert!((19..=21).contains(&ones) && !later.contains(&0), "{later:?}");
    }

    #[test]
    fn two_flips_at_once_are_noticed() {
        let policy = policy(HaproxyConfig::default(), &[(7, 1), (8, 1), (9, 1)]);
        let mask = Mask::new(3, |position| position != 0);
        picks(&policy, &mask, 5);
        mask.set(0, true);
        mask.set(1, false);
        let later = picks(&policy, &mask, 20);
        assert!(!later.contains(&1) && later.iter().filter(|&&p| p == 0).count() >= 8, "{later:?}");
    }

    #[test]
    fn connections_decide_and_outlive_an_update() {
        let config = HaproxyConfig { balance: Balance::LeastConn, ..HaproxyConfig::default() };
        let old = policy(config, &[(7, 1), (8, 1), (9, 1)]);
        let mask = Mask::all_usable(3);
        old.on_event(Event::Picked(7));
        assert_eq!(picks(&old, &mask, 2), [1, 1]);
        old.on_event(Event::Picked(8));
        let new = old.rebuild(&Named::new(&[(9, 1), (8, 1), (7, 1)])).unwrap().unwrap();
        // What ends before the successor is in use is still told to the predecessor.
        old.on_event(Event::Picked(9));
        old.on_event(Event::Released(8));
        assert_eq!(picks(&*new, &mask, 1), [1]);
        for _ in 0..3 {
            new.on_event(Event::Released(8));
        }
        new.on_event(Event::Picked(8));
        new.on_event(Event::Picked(8));
        new.on_event(Event::Released(7));
        assert_eq!(picks(&*new, &mask, 1), [2]);
    }

    #[test]
    fn numbers_stay_with_their_endpoints() {
        let hash_type = HashType::bare(super::super::Method::Consistent);
        let config = HaproxyConfig { balance: Balance::Hash, hash_type, ..HaproxyConfig::default() };
        let old = policy(config, &[(7, 1), (8, 1), (9, 1)]);
        let new = old.rebuild(&Named::new(&[(9, 1), (11, 1), (7, 1)])).unwrap().unwrap();
        let to = [Some(2), None, Some(0)];
        let mask = Mask::all_usable(3);
        let view = Table::new(&mask, &[], &[]);
        for key in 0..200 {
            let mut caller = Script::seeded(1).with_key_bytes(format!("user:{key}"));
            let (before, after) =
                (old.pick(&view, &mut caller).unwrap(), new.pick(&view, &mut caller).unwrap());
            assert!(after == 1 || to[before] == Some(after), "{key}: {before} {after}");
        }
    }

    #[test]
    fn a_sequence_goes_on_after_an_update() {
        let old = policy(HaproxyConfig::default(), &[(7, 1), (8, 1), (9, 1)]);
        assert_eq!(picks(&old, &Mask::all_usable(3), 1), [0]);
        let new = old.rebuild(&Named::new(&[(7, 1), (8, 1), (9, 1)])).unwrap().unwrap();
        assert_eq!(picks(&*new, &Mask::all_usable(3), 4), [1, 2, 0, 1]);
        let grown = new.rebuild(&Named::new(&[(7, 1), (8, 3), (10, 1)])).unwrap().unwrap();
        let later = picks(&*grown, &Mask::all_usable(3), 100);
        assert!((55..65).contains(&later.iter().filter(|&&p| p == 1).count()), "{later:?}");
    }

    #[test]
    fn it_does_not_matter_how_many_updates_came_before_the_first_pick() {
        let members = [(7, 5), (8, 1), (9, 1)];
        let mut grown: Arc<dyn Policy> = Arc::new(policy(HaproxyConfig::default(), &members[..1]));
        for count in 2..=3 {
            grown = grown.rebuild(&Named::new(&members[..count])).unwrap().unwrap();
        }
        assert_eq!(picks(&*grown, &Mask::all_usable(3), 7), [0, 0, 0, 1, 0, 0, 2]);
    }

    #[test]
    fn nothing_waits_where_all_are_full() {
        let config = HaproxyConfig { maxconn: Some(1), ..HaproxyConfig::default() };
        let policy = policy(config, &[(7, 1), (8, 1)]);
        let mask = Mask::all_usable(2);
        policy.on_event(Event::Picked(7));
        assert_eq!(picks(&policy, &mask, 2), [1, 1]);
        policy.on_event(Event::Picked(7));
        policy.on_event(Event::Picked(8));
        assert_eq!(picks(&policy, &mask, 2), [1, 1]);
    }

    #[test]
    fn what_haproxy_refuses_is_refused() {
        let problem = |config: HaproxyConfig, members: &[(u64, u32)]| {
            Haproxy::new(config, &Named::new(members)).unwrap_err().to_string()
        };
        let plain = HaproxyConfig::default();
        let many: Vec<_> = (0..4096).map(|token| (token, 1)).collect();
        for (problem, part) in [
            (problem(plain.clone(), &[(7, 257)]), "weight 257 is out of range: allowed are 0 to 256"),
            (problem(plain.clone(), &many), "4096 servers are too many for roundrobin"),
            (problem(HaproxyConfig { maxconn: Some(0), ..plain.clone() }, &[]), "haproxy: maxconn: 0"),
            (
                problem(HaproxyConfig { hash_balance_factor: Some(100), ..plain }, &[]),
                "hash_balance_factor: 100 is out of range",
            ),
        ] {
            assert!(problem.contains(part), "{problem}");
        }
    }
}
