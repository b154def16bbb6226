use std::sync::Arc;
use std::time::Duration;

use super::chain::Chain;
use super::method::Method;
use super::peer::{Peer, State, seconds, whole_seconds};
use super::smooth::{least_connected, smooth};
use super::states::States;
use crate::compat::ketama::Ketama;
use crate::hash::crc32;
use crate::sync::Mutex;
use crate::{
    BuiltIn, Caller, Event, InvalidPolicy, Members, Observation, Observed, Policy, PolicySettings, View,
    Wants,
};

/// Settings of [`Nginx`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct NginxConfig {
    /// The method: `round_robin` unless set, as in an `upstream` block without a directive.
    pub method: Method,
    /// After so many failures a server is left alone: 1 unless set, nginx's default. Zero: failures are not counted.
    pub max_fails: u32,
    /// For so long, in whole seconds: 10 unless set, nginx's default.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub fail_timeout: Duration,
}

impl Default for NginxConfig {
    fn default() -> Self {
        Self { method: Method::default(), max_fails: 1, fail_timeout: Duration::from_secs(10) }
    }
}

impl PolicySettings for NginxConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Nginx::new(self.clone(), members)?))
    }
}

/// The methods of nginx in a cluster: see [the module](super) for what they do.
///
/// The text of an endpoint's address is the name of the server, and the order of the members is the order of the lines. An
/// endpoint that is not usable counts as `down`, one that the request excludes as tried.
#[derive(Debug)]
pub struct Nginx {
    config: NginxConfig,
    peers: Box<[Peer]>,
    /// For each peer the weights up to it and with it.
    sums: Box<[u64]>,
    /// For each peer the first one of the same name: they share points on the ring.
    owners: Box<[usize]>,
    ring: Ketama,
    /// The tokens and their positions, sorted.
    tokens: Box<[(u64, usize)]>,
    states: Arc<Mutex<States>>,
}

impl Nginx {
    /// The policy of these settings for these members.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`], if `fail_timeout` is no whole number of seconds, or the ring would have too many points.
    pub fn new(config: NginxConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        Self::with_states(config, members, Arc::new(Mutex::new(States::default())))
    }

    fn with_states(
        config: NginxConfig,
        members: &dyn Members,
        states: Arc<Mutex<States>>,
    ) -> Result<Self, InvalidPolicy> {
        if config.fail_timeout.subsec_nanos() != 0 {
            let problem = format!("{:?} is no whole number of seconds, as nginx counts", config.fail_timeout);
            return Err(InvalidPolicy::setting(NAME, "fail_timeout", problem));
        }
        let weights = members.weights();
        let (owners, ring) = match config.method {
            Method::HashConsistent => owners_and_ring(members)?,
            _ => (Box::default(), Ketama::default()),
        };
        let mut tokens: Box<[(u64, usize)]> =
            (0..weights.len()).map(|position| (members.token(position), position)).collect();
        tokens.sort_unstable();
        let mut sum = 0_u64;
        let sums = weights.iter().map(|&weight| {
            sum = sum.saturating_add(weight.into());
            sum
        });
        let sums = sums.collect();
        let peers = {
            let mut held = states.lock();
            let peer = |(position, &weight): (usize, &u32)| Peer {
                slot: held.hold(members.token(position)),
                weight,
                max_fails: config.max_fails,
                fail_timeout: whole_seconds(config.fail_timeout),
            };
            weights.iter().enumerate().map(peer).collect()
        };
        Ok(Self { config, peers, sums, owners, ring, tokens, states })
    }

    /// The pick of a request with this chain and key.
    fn choose(&self, view: &dyn View, chain: Chain, key: &[u8], now: u64) -> Option<usize> {
        let mut states = self.states.lock();
        let states = states.all.as_mut_slice();
        let is_ready = |index: usize, state: &State| !self.peers[index].is_suspended(state, now);
        let picked = self
            .among(view, states, chain, key, |index, state| view.is_open(index) && is_ready(index, state))
            // nginx has nobody now, and the client gets 502. A policy answers none only if nobody is open.
            .or_else(|| self.among(view, states, chain, key, |index, _| view.is_open(index)))?;
        let peer = self.peers.get(picked)?;
        peer.picked(&mut states[peer.slot], now);
        Some(picked)
    }

    fn among(
        &self,
        view: &dyn View,
        states: &mut [State],
        mut chain: Chain,
        key: &[u8],
        is_open: impl Fn(usize, &State) -> bool,
    ) -> Option<usize> {
        let mut tried = Tried::default();
        while chain.goes_on() {
            let (found, met) = match chain.ring_index() {
                Some(index) => (self.of_owner(self.ring.owner(index)?, states, &is_open), None),
                None => {
                    let index = self.at_unit(chain.next_unit(key, self.sums.last().copied()?)?)?;
                    let state = &states[self.peers[index].slot];
                    (is_open(index, state).then_some(index), Some(index))
                }
            };
            if found.is_some() {
                return found;
            }
            // A server that this request has tried was no miss when it was first met: the chain led to it, then.
            let was_tried = |index: usize| view.mask().contains(index) && !view.admits(index);
            if !met.is_some_and(|index| was_tried(index) && tried.insert(index)) {
                chain.missed();
            }
        }
        match self.config.method {
            Method::LeastConn => least_connected(&self.peers, states, &is_open, |index, _| view.load(index)),
            _ => smooth(&self.peers, states, 0, &is_open),
        }
    }

    fn of_owner(
        &self,
        owner: usize,
        states: &mut [State],
        is_open: impl Fn(usize, &State) -> bool,
    ) -> Option<usize> {
        smooth(&self.peers, states, owner, |index, state| {
            self.owners.get(index) == Some(&owner) && is_open(index, state)
        })
    }

    fn at_unit(&self, unit: u64) -> Option<usize> {
        let index = self.sums.partition_point(|&sum| sum <= unit);
        (index < self.peers.len()).then_some(index)
    }

    fn chain_of(&self, key: &[u8]) -> Chain {
        match self.config.method {
            Method::Hash => Chain::of_key(key),
            Method::HashConsistent if self.ring.len() > 0 => {
                Chain::of_ring(key, || self.ring.at_or_after(crc32(key)))
            }
            _ => Chain::NONE,
        }
    }

    fn heard(&self, token: u64, observation: Observation) {
        let Ok(found) = self.tokens.binary_search_by_key(&token, |&(token, _)| token) else { return };
        let peer = &self.peers[self.tokens[found].1];
        let mut states = self.states.lock();
        let state = &mut states.all[peer.slot];
        match observation.kind {
            Observed::Failure => peer.failed(state, seconds(observation.at)),
            Observed::Success | Observed::Overload => state.served(),
            Observed::Neutral | Observed::Censored => {}
        }
    }
}

impl Policy for Nginx {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        let now = if self.config.max_fails > 0 { seconds(caller.now()) } else { 0 };
        match self.config.method {
            Method::RoundRobin | Method::LeastConn => self.choose(view, Chain::NONE, &[], now),
            Method::IpHash => {
                let source = caller.source();
                let chain = source.map_or(Chain::NONE, |address| Chain::of_address(Some(address)));
                self.choose(view, chain, &[], now)
            }
            Method::Hash | Method::HashConsistent => {
                if let Some(key) = caller.key_bytes() {
                    return self.choose(view, self.chain_of(key), key, now);
                }
                let hash = caller.key().map(u64::to_le_bytes);
                let key = hash.as_ref().map_or(&[][..], |bytes| bytes);
                self.choose(view, self.chain_of(key), key, now)
            }
        }
    }

    fn wants(&self) -> Wants {
        let of_method = match self.config.method {
            Method::RoundRobin => Wants::SEQUENCE,
            Method::LeastConn => Wants::LOADS | Wants::SEQUENCE,
            Method::IpHash => Wants::SOURCE | Wants::SEQUENCE,
            Method::Hash | Method::HashConsistent => Wants::KEY | Wants::SEQUENCE,
        };
        if self.config.max_fails > 0 { of_method | Wants::OBSERVED | Wants::CLOCK } else { of_method }
    }

    fn on_event(&self, event: Event) {
        if let Event::Observed(token, observation) = event {
            self.heard(token, observation);
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let successor = Self::with_states(self.config.clone(), members, Arc::clone(&self.states))?;
        Ok(Some(Arc::new(successor)))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let mut states = self.states.lock();
        for &(token, _) in &self.tokens {
            states.release(token);
        }
    }
}

fn owners_and_ring(members: &dyn Members) -> Result<(Box<[usize]>, Ketama), InvalidPolicy> {
    let names: Vec<String> = (0..members.weights().len())
        .map(|position| members.endpoint(position).address().to_string())
        .collect();
    let owners = super::shared_names::owners(&names);
    let weights = members.weights();
    let ring = super::shared_names::ring(&names, weights, &owners)
        .map_err(|why| InvalidPolicy::members(NAME, why.to_string()))?;
    Ok((owners.into(), ring))
}

/// The first few servers of a chain that the request has tried.
#[derive(Default)]
struct Tried {
    known: [usize; 16],
    count: usize,
}

impl Tried {
    /// Whether this is the first time; beyond sixteen nothing is.
    fn insert(&mut self, index: usize) -> bool {
        if self.count == self.known.len() || self.known[..self.count].contains(&index) {
            return false;
        }
        self.known[self.count] = index;
        self.count += 1;
        true
    }
}

const NAME: &str = "nginx";

#[cfg(test)]
mod tests {
    use evenkeel_types::{Endpoint, Timestamp};
    use proptest::prelude::*;

    use super::super::{Answer, Server, Subject, Upstream};
    use super::*;
    use crate::{Mask, MemberList, Script, Table};

    fn members(weights: &[u32]) -> MemberList {
        MemberList::new(weights.iter().enumerate().map(|(position, &weight)| {
            let address = format!("10.0.0.{position}:80").parse().unwrap();
            Endpoint::new(format!("e{position}").parse().unwrap(), address)
                .with_weight(evenkeel_types::Weight::new(weight))
        }))
    }

    fn config(method: Method, max_fails: u32) -> NginxConfig {
        NginxConfig { method, max_fails, ..NginxConfig::default() }
    }

    fn observed(position: usize, kind: Observed, at: Timestamp) -> Event {
        let observation = Observation { latency: Duration::ZERO, kind, in_flight: 1, at };
        Event::Observed(position as u64, observation)
    }

    const METHODS: [Method; 5] =
        [Method::RoundRobin, Method::IpHash, Method::Hash, Method::HashConsistent, Method::LeastConn];

    /// A request: its key, the seconds since the one before, who fails it, and whether it stays open.
    type Step = (u8, u64, u8, bool);

    proptest! {
        /// The policy picks what the block picks, retry by retry, as long as nginx has anybody.
        #[test]
        fn agrees_with_an_upstream_block(
            method in prop::sample::select(METHODS.to_vec()),
            weights in prop::collection::vec(1_u32..5, 2..6),
            down in any::<u8>(),
            max_fails in 0_u32..3,
            steps in prop::collection::vec(any::<Step>().prop_map(|(k, s, f, o)| (k, s % 7, f, o)), 1..60),
        ) {
            let is_down = |position: usize| down >> position & 1 == 1;
            let servers: Vec<Server> = weights
                .iter()
                .enumerate()
                .map(|(position, &weight)| Server {
                    weight,
                    max_fails,
                    down: is_down(position),
                    ..Server::new(format!("10.0.0.{position}:80"))
                })
                .collect();
            let mut upstream = Upstream::new(method, &servers).unwrap();
            let policy = Nginx::new(config(method, max_fails), &members(&weights)).unwrap();
            let mask = Mask::new(weights.len(), |position| !is_down(position));
            let mut loads = vec![0; weights.len()];
            let mut second = 100;
            for (key, seconds, fails, stays) in steps {
                second += seconds;
                let now = Timestamp::from_secs(second);
                let key = format!("key-{key}");
                let client = std::net::IpAddr::from([10, key.len() as u8, fails, 1]);
                let subject = match method {
                    Method::IpHash => Subject::Address(client),
                    _ => Subject::Key(key.as_bytes()),
                };
                let mut request = upstream.begin(subject);
                let mut tried = Vec::new();
                while let Some(place) = upstream.pick(&mut request, now) {
                    let view = Table::new(&mask, &weights, &loads).excluding(&tried);
                    let mut caller =
                        Script::seeded(1).with_key_bytes(key.as_bytes()).with_source(client).at(now);
                    let ours = policy.pick(&view, &mut caller);
                    prop_assert_eq!(ours, Some(place.server), "{:?} after {:?}", method, &tried);
                    tried.push(place.server);
                    let fails = fails >> place.server & 1 == 1;
                    if !fails && stays {
                        loads[place.server] += 1;
                        break;
                    }
                    let (answer, kind) = match fails {
                        true => (Answer::Refused, Observed::Failure),
                        false => (Answer::Served, Observed::Success),
                    };
                    let _ = upstream.finish(&mut request, answer, now);
                    policy.on_event(observed(place.server, kind, now));
                    if !fails {
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn when_all_are_suspended_somebody_is_picked_all_the_same() {
        for method in METHODS {
            let policy = Nginx::new(config(method, 1), &members(&[1, 1, 1])).unwrap();
            let now = Timestamp::from_secs(9);
            (0..3).for_each(|position| policy.on_event(observed(position, Observed::Failure, now)));
            let mask = Mask::new(3, |position| position != 0);
            let view = Table::new(&mask, &[1; 3], &[0; 3]);
            for key in ["a", "b", "c", "d"] {
                let mut caller = Script::seeded(1).with_key_bytes(key).at(now);
                assert!(matches!(policy.pick(&view, &mut caller), Some(1 | 2)), "{method:?}");
            }
        }
    }

    #[test]
    fn failures_outlive_an_update_and_events_reach_both() {
        let old = Nginx::new(config(Method::RoundRobin, 1), &members(&[1, 1])).unwrap();
        let new = old.rebuild(&members(&[1, 1, 4])).unwrap().unwrap();
        let now = Timestamp::from_secs(9);
        old.on_event(observed(0, Observed::Failure, now));
        drop(old);
        let mask = Mask::all_usable(3);
        let view = Table::new(&mask, &[1, 1, 4], &[0; 3]);
        let picks: Vec<_> =
            (0..10).map(|_| new.pick(&view, &mut Script::seeded(1).at(now)).unwrap()).collect();
        assert!(!picks.contains(&0), "{picks:?}");
        let later = Timestamp::from_secs(20);
        assert!((0..10).any(|_| new.pick(&view, &mut Script::seeded(1).at(later)) == Some(0)));
    }

    #[test]
    fn a_hash_of_a_key_is_a_key() {
        let policy = Nginx::new(config(Method::Hash, 1), &members(&[1; 5])).unwrap();
        let mask = Mask::all_usable(5);
        let view = Table::new(&mask, &[1; 5], &[0; 5]);
        let by_hash = policy.pick(&view, &mut Script::seeded(1).with_key(77));
        let bytes = 77_u64.to_le_bytes();
        assert_eq!(by_hash, policy.pick(&view, &mut Script::seeded(2).with_key_bytes(bytes)));
    }

    #[test]
    fn bad_settings_are_refused() {
        let uneven = NginxConfig { fail_timeout: Duration::from_millis(1500), ..NginxConfig::default() };
        let error = Nginx::new(uneven, &members(&[1])).unwrap_err().to_string();
        assert_eq!(error, "policy nginx: fail_timeout: 1.5s is no whole number of seconds, as nginx counts");
        let heavy = members(&[u32::MAX, 1]);
        let error = Nginx::new(config(Method::HashConsistent, 1), &heavy).unwrap_err();
        assert!(error.to_string().contains("choose smaller weights"), "{error}");
    }
}
