use std::net::IpAddr;
use std::time::Duration;

use evenkeel_types::Timestamp;
use smallvec::SmallVec;
use thiserror::Error;

use super::chain::Chain;
use super::method::Method;
use super::peer::{Peer, State, seconds, whole_seconds};
use super::server::{Server, host_and_port};
use super::smooth::{least_connected, smooth};
use crate::compat::ketama::{Ketama, Share, TooManyPoints};
use crate::hash::crc32;

/// An `upstream` block of nginx 1.22: which server a request goes to, and where it is tried next.
///
/// **Idea.** All methods rest on smooth weighted round robin: the turn of each usable server comes nearer by its effective
/// weight, the nearest is taken and put back by the sum. A failure takes `weight / max_fails` off the effective weight, and
/// each pick gives one back; `max_fails` failures suspend a server until more than `fail_timeout` whole seconds have
/// passed, and then one request at a time may probe it. `least_conn` asks for the fewest connections for the weight first,
/// and lets only equals take turns. The hashing methods follow a chain of places that the key or the address gives; after
/// 20 that were not usable, or without a key, round robin decides. Backup servers are asked when none of the others is
/// usable.
/// **Cost.** O(n) a pick; `hash` and `ip_hash` O(log n) as a rule. Built in O(p log p) for the 160 points that
/// `hash consistent` makes for each unit of weight. **When.** Picks must agree with those of nginx, server by server.
/// **When not.** Anywhere else: `hash` moves nearly all keys when a server is added, `ip_hash` tells clients of one /24
/// apart no more, and when all servers are suspended nobody is served.
/// **Source.** nginx 1.22.1, `ngx_http_upstream_round_robin.c`, `ngx_http_upstream_hash_module.c`,
/// `ngx_http_upstream_ip_hash_module.c`, `ngx_http_upstream_least_conn_module.c`; reproduced from recorded answers.
///
/// ```
/// use evenkeel_balance::compat::nginx::{Answer, Method, Server, Subject, Then, Upstream};
/// use evenkeel_types::Timestamp;
///
/// let servers = [Server::new("10.0.0.1:80").with_weight(2), Server::new("10.0.0.2:80")];
/// let mut upstream = Upstream::new(Method::RoundRobin, &servers)?;
/// let now = Timestamp::from_secs(1);
/// let mut request = upstream.begin(Subject::None);
/// assert_eq!(upstream.pick(&mut request, now).map(|place| place.server), Some(0));
/// assert_eq!(upstream.finish(&mut request, Answer::Refused, now), Then::TryNext);
/// assert_eq!(upstream.pick(&mut request, now).map(|place| place.server), Some(1));
/// assert_eq!(upstream.finish(&mut request, Answer::Served, now), Then::Done);
/// # Ok::<(), evenkeel_balance::compat::nginx::InvalidUpstream>(())
/// ```
#[derive(Clone, Debug)]
pub struct Upstream {
    method: Method,
    primary: Group,
    backup: Group,
    ring: Ketama,
    /// How often a request may be tried: once for each address that is not `down`.
    tries: u32,
}

/// Servers that are asked together: those that are no backup, or those that are.
#[derive(Clone, Debug, Default)]
struct Group {
    peers: Vec<Peer>,
    marks: Vec<Marks>,
    states: Vec<State>,
    /// For each peer the weights up to it and with it.
    sums: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Marks {
    place: Place,
    /// Servers of the same text have the same number: they share their points on the ring.
    owner: usize,
    down: bool,
    max_conns: u32,
}

/// An address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The index of the server, as configured.
    pub server: usize,
    /// Which of its addresses.
    pub address: usize,
}

/// What the hashing methods look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Nothing: an empty key, a client without an IP address.
    #[default]
    None,
    /// The value of the key of `hash`. Empty is as good as none.
    Key(&'a [u8]),
    /// The client's address, for `ip_hash`.
    Address(IpAddr),
}

/// A request on its way through the servers. End each pick with [`Upstream::finish`], or its connection counts for ever.
#[derive(Clone, Debug)]
#[must_use = "a request that is not picked for goes nowhere"]
pub struct Request {
    key: Box<[u8]>,
    chain: Chain,
    is_backup: bool,
    tried: Tried,
    current: Option<usize>,
    tries: u32,
}

/// How a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// With what the client gets.
    Served,
    /// Not at all: no connection, an error, a timeout, a header that is none. Always a failure.
    Refused,
    /// With a status that `proxy_next_upstream` names, such as 503. A failure, unless it was the last try: then the client
    /// gets this answer, and nginx counts it as served.
    Retryable,
    /// With 403 or 404, and `proxy_next_upstream` names it: the next is tried, and nothing is counted.
    Missing,
}

/// What comes after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// Pick again.
    TryNext,
    /// The client gets the answer, or 502 if there was none.
    Done,
}

/// Why nginx would not start with such a block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidUpstream {
    /// There is no server that is not a backup.
    #[error("no servers in upstream besides backups")]
    NoServers,
    /// `weight=0`: use `down`.
    #[error("server {server}: weight 0 is not allowed, at least 1 is: mark it `down`")]
    ZeroWeight {
        /// The index of the server.
        server: usize,
    },
    /// A server without a name.
    #[error("server {server}: the name is empty")]
    NoName {
        /// The index of the server.
        server: usize,
    },
    /// A name that resolves to nothing.
    #[error("server {server}: no address, at least 1 is needed")]
    NoAddresses {
        /// The index of the server.
        server: usize,
    },
    /// A `fail_timeout` that is no whole number of seconds.
    #[error("server {server}: fail_timeout {fail_timeout:?} is no whole number of seconds")]
    FailTimeout {
        /// The index of the server.
        server: usize,
        /// Its setting.
        fail_timeout: Duration,
    },
    /// `backup` with a hashing method.
    #[error("server {server}: `backup` is not allowed with {}, only with round robin and least_conn", method.name())]
    Backup {
        /// The index of the server.
        server: usize,
        /// The method.
        method: Method,
    },
    /// Names that resolve to more addresses than can be counted, or weights beyond any memory.
    #[error(transparent)]
    TooManyPoints(#[from] TooManyPoints),
    /// More addresses than a block can sensibly have.
    #[error("{addresses} addresses, more than {MOST_ADDRESSES}")]
    TooManyAddresses {
        /// So many.
        addresses: u64,
    },
}

impl Upstream {
    /// The block with this method and these servers, before its first request.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream`], where nginx would not start, or the weights ask for too many points on the ring.
    pub fn new(method: Method, servers: &[Server]) -> Result<Self, InvalidUpstream> {
        for (index, server) in servers.iter().enumerate() {
            check(index, server, method)?;
        }
        let addresses: u64 = servers.iter().map(|server| u64::from(server.addresses)).sum();
        if addresses > MOST_ADDRESSES {
            return Err(InvalidUpstream::TooManyAddresses { addresses });
        }
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        let owners = owners(&names);
        let (primary, backup) = (Group::new(servers, &owners, false), Group::new(servers, &owners, true));
        if primary.peers.is_empty() {
            return Err(InvalidUpstream::NoServers);
        }
        let weights: Vec<u32> = servers.iter().map(|server| server.weight).collect();
        let ring = match method {
            Method::HashConsistent => ring(&names, &weights, &owners)?,
            _ => Ketama::default(),
        };
        let tries = primary.tries().saturating_add(backup.tries());
        Ok(Self { method, primary, backup, ring, tries })
    }

    /// A request comes in.
    pub fn begin(&self, subject: Subject<'_>) -> Request {
        let (key, address): (&[u8], _) = match subject {
            Subject::None => (&[], None),
            Subject::Key(key) => (key, None),
            Subject::Address(address) => (&[], Some(address)),
        };
        let chain = match self.method {
            _ if self.is_single() => Chain::NONE,
            Method::RoundRobin | Method::LeastConn => Chain::NONE,
            Method::IpHash => Chain::of_address(address),
            Method::Hash => Chain::of_key(key),
            Method::HashConsistent => Chain::of_ring(key, || self.ring.at_or_after(crc32(key))),
        };
        Request {
            key: if chain.goes_on() { key.into() } else { Box::default() },
            chain,
            is_backup: false,
            tried: Tried::default(),
            current: None,
            tries: self.tries,
        }
    }

    /// Where the request is tried next; `None` if nobody is usable, and the client gets 502.
    ///
    /// `now` counts in whole seconds.
    #[must_use]
    pub fn pick(&mut self, request: &mut Request, now: Timestamp) -> Option<Place> {
        let now = seconds(now);
        let is_single = self.is_single();
        let mut picked = None;
        if !request.is_backup {
            picked = match self.method {
                _ if is_single => self.primary.only(),
                Method::RoundRobin => self.primary.in_turn(&request.tried, now),
                Method::LeastConn => self.primary.least(&request.tried, now),
                Method::IpHash | Method::Hash | Method::HashConsistent => {
                    self.primary.chained(request, &self.ring, now)
                }
            };
            if picked.is_none() && !self.backup.peers.is_empty() {
                // For the rest of the request, as in nginx: the others are not asked again.
                request.is_backup = true;
                request.tried = Tried::default();
            }
        }
        if request.is_backup {
            picked = match self.method {
                Method::LeastConn => self.backup.least(&request.tried, now),
                _ => self.backup.in_turn(&request.tried, now),
            };
        }
        let index = picked?;
        request.current = Some(index);
        if !is_single {
            request.tried.insert(index);
        }
        self.group(request.is_backup).take(index, now, is_single)
    }

    /// The server that was picked has answered.
    pub fn finish(&mut self, request: &mut Request, answer: Answer, now: Timestamp) -> Then {
        let is_single = self.is_single();
        let is_last = request.tries <= 1;
        let (is_failure, tries_next) = match answer {
            Answer::Served => (false, false),
            Answer::Refused => (true, true),
            Answer::Retryable => (!is_last, !is_last),
            Answer::Missing => (false, !is_last),
        };
        if let Some(index) = request.current.take() {
            self.group(request.is_backup).release(index, is_failure, seconds(now), is_single);
        }
        request.tries = if is_single { 0 } else { request.tries.saturating_sub(1) };
        if tries_next && request.tries > 0 { Then::TryNext } else { Then::Done }
    }

    /// Whether there is one address in all: nginx then counts no failures.
    fn is_single(&self) -> bool {
        self.primary.peers.len() == 1 && self.backup.peers.is_empty()
    }

    fn group(&mut self, is_backup: bool) -> &mut Group {
        if is_backup { &mut self.backup } else { &mut self.primary }
    }
}

impl Request {
    /// The same with no more than `tries` tries: `proxy_next_upstream_tries`. Zero sets no limit.
    pub const fn with_tries(mut self, tries: u32) -> Self {
        if tries > 0 && tries < self.tries {
            self.tries = tries;
        }
        self
    }
}

impl Group {
    fn new(servers: &[Server], owners: &[usize], is_backup: bool) -> Self {
        let mut group = Self::default();
        let mut sum = 0_u64;
        for (index, server) in servers.iter().enumerate().filter(|(_, server)| server.backup == is_backup) {
            for address in 0..server.addresses as usize {
                sum = sum.saturating_add(server.weight.into());
                group.sums.push(sum);
                group.marks.push(Marks {
                    place: Place { server: index, address },
                    owner: owners[index],
                    down: server.down,
                    max_conns: server.max_conns,
                });
                group.peers.push(Peer {
                    slot: group.states.len(),
                    weight: server.weight,
                    max_fails: server.max_fails,
                    fail_timeout: whole_seconds(server.fail_timeout),
                });
                group.states.push(State::default());
            }
        }
        group
    }

    fn tries(&self) -> u32 {
        u32::try_from(self.marks.iter().filter(|marks| !marks.down).count()).unwrap_or(u32::MAX)
    }

    /// The only one, even if it keeps failing.
    fn only(&self) -> Option<usize> {
        let (marks, state) = (self.marks.first()?, self.states.first()?);
        (!marks.down && !marks.is_full(state)).then_some(0)
    }

    fn in_turn(&mut self, tried: &Tried, now: u64) -> Option<usize> {
        let Self { peers, marks, states, .. } = self;
        smooth(peers, states, 0, is_open(peers, marks, tried, now))
    }

    fn least(&mut self, tried: &Tried, now: u64) -> Option<usize> {
        let Self { peers, marks, states, .. } = self;
        let is_open = is_open(peers, marks, tried, now);
        least_connected(peers, states, is_open, |_, state| state.connections)
    }

    /// The next of the request's chain, or in turn when it has none or it has ended.
    fn chained(&mut self, request: &mut Request, ring: &Ketama, now: u64) -> Option<usize> {
        while request.chain.goes_on() {
            let found = match request.chain.ring_index() {
                Some(index) => self.of_owner(ring.owner(index)?, &request.tried, now),
                None => self.at_unit(request, now),
            };
            if found.is_some() {
                return found;
            }
            request.chain.missed();
        }
        self.in_turn(&request.tried, now)
    }

    /// In turn among the addresses of the servers of one text.
    fn of_owner(&mut self, owner: usize, tried: &Tried, now: u64) -> Option<usize> {
        let Self { peers, marks, states, .. } = self;
        let is_open = is_open(peers, marks, tried, now);
        smooth(peers, states, 0, |index, state| marks[index].owner == owner && is_open(index, state))
    }

    /// The peer that owns the next unit of weight of the chain, if it is open.
    fn at_unit(&self, request: &mut Request, now: u64) -> Option<usize> {
        let unit = request.chain.next_unit(&request.key, self.sums.last().copied().unwrap_or(0))?;
        let index = self.sums.partition_point(|&sum| sum <= unit);
        let is_open = is_open(&self.peers, &self.marks, &request.tried, now);
        is_open(index, self.states.get(index)?).then_some(index)
    }

    fn take(&mut self, index: usize, now: u64, is_single: bool) -> Option<Place> {
        let (peer, state) = (self.peers.get(index)?, self.states.get_mut(index)?);
        if !is_single {
            peer.picked(state, now);
        }
        state.connections = state.connections.saturating_add(1);
        self.marks.get(index).map(|marks| marks.place)
    }

    fn release(&mut self, index: usize, is_failure: bool, now: u64, is_single: bool) {
        let (Some(peer), Some(state)) = (self.peers.get(index), self.states.get_mut(index)) else { return };
        state.connections = state.connections.saturating_sub(1);
        match (is_single, is_failure) {
            (true, _) => {}
            (false, true) => peer.failed(state, now),
            (false, false) => state.served(),
        }
    }
}

impl Marks {
    const fn is_full(&self, state: &State) -> bool {
        self.max_conns > 0 && state.connections >= self.max_conns
    }
}

fn is_open(peers: &[Peer], marks: &[Marks], tried: &Tried, now: u64) -> impl Fn(usize, &State) -> bool {
    move |index, state| {
        let (peer, marks) = (&peers[index], &marks[index]);
        !marks.down && !tried.contains(index) && !peer.is_suspended(state, now) && !marks.is_full(state)
    }
}

/// A set of indexes.
#[derive(Clone, Debug, Default)]
struct Tried(SmallVec<[u64; 2]>);

impl Tried {
    fn insert(&mut self, index: usize) {
        if self.0.len() <= index / 64 {
            self.0.resize(index / 64 + 1, 0);
        }
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

fn check(server: usize, line: &Server, method: Method) -> Result<(), InvalidUpstream> {
    if line.name.is_empty() {
        Err(InvalidUpstream::NoName { server })
    } else if line.weight == 0 {
        Err(InvalidUpstream::ZeroWeight { server })
    } else if line.addresses == 0 {
        Err(InvalidUpstream::NoAddresses { server })
    } else if line.fail_timeout.subsec_nanos() != 0 {
        Err(InvalidUpstream::FailTimeout { server, fail_timeout: line.fail_timeout })
    } else if line.backup && !method.allows_backup() {
        Err(InvalidUpstream::Backup { server, method })
    } else {
        Ok(())
    }
}

/// For each server the index of the first one of the same text.
pub(super) fn owners(names: &[impl AsRef<str>]) -> Vec<usize> {
    let name = |index: usize| names[index].as_ref();
    let mut by_name: Vec<usize> = (0..names.len()).collect();
    by_name.sort_by(|&a, &b| name(a).cmp(name(b)));
    let mut owners = vec![0; names.len()];
    for group in by_name.chunk_by(|&a, &b| name(a) == name(b)) {
        for &index in group {
            owners[index] = group[0];
        }
    }
    owners
}

/// The ring. Servers of the same text make the same points, as many as the heaviest of them asks for.
pub(super) fn ring(
    names: &[impl AsRef<str>],
    weights: &[u32],
    owners: &[usize],
) -> Result<Ketama, TooManyPoints> {
    let share = |name: &dyn AsRef<str>| {
        let (host, port) = host_and_port(name.as_ref());
        Share { host: host.into(), port: port.into(), points: 0 }
    };
    let mut shares: Vec<Share> = names.iter().map(|name| share(name)).collect();
    for (&weight, &owner) in weights.iter().zip(owners) {
        let points = u64::from(weight) * POINTS_PER_WEIGHT;
        shares[owner].points = shares[owner].points.max(points);
    }
    Ketama::new(&shares)
}

/// Points on the ring for each unit of weight: nginx's number.
const POINTS_PER_WEIGHT: u64 = 160;

/// More addresses in a block are a mistake.
const MOST_ADDRESSES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn servers(count: usize) -> Vec<Server> {
        (0..count).map(|index| Server::new(format!("10.0.0.{index}:80"))).collect()
    }

    /// Asks once and is served.
    fn served(upstream: &mut Upstream, subject: Subject<'_>) -> Option<usize> {
        let mut request = upstream.begin(subject);
        let place = upstream.pick(&mut request, NOW)?;
        assert_eq!(upstream.finish(&mut request, Answer::Served, NOW), Then::Done);
        Some(place.server)
    }

    /// Asks until it is done, and everybody answers so.
    fn tried(upstream: &mut Upstream, answer: Answer) -> Vec<usize> {
        let mut request = upstream.begin(Subject::None);
        let mut tried = Vec::new();
        while let Some(place) = upstream.pick(&mut request, NOW) {
            tried.push(place.server);
            if upstream.finish(&mut request, answer, NOW) == Then::Done {
                break;
            }
        }
        tried
    }

    const NOW: Timestamp = Timestamp::from_secs(1000);
    const METHODS: [Method; 5] =
        [Method::RoundRobin, Method::IpHash, Method::Hash, Method::HashConsistent, Method::LeastConn];

    #[test]
    fn a_block_that_nginx_refuses_is_refused() {
        let bad = |change: fn(&mut Server)| {
            let mut servers = servers(2);
            change(&mut servers[1]);
            Upstream::new(Method::Hash, &servers).unwrap_err()
        };
        assert_eq!(bad(|server| server.weight = 0), InvalidUpstream::ZeroWeight { server: 1 });
        assert_eq!(bad(|server| server.name.clear()), InvalidUpstream::NoName { server: 1 });
        assert_eq!(bad(|server| server.addresses = 0), InvalidUpstream::NoAddresses { server: 1 });
        let backup = bad(|server| server.backup = true);
        assert_eq!(backup, InvalidUpstream::Backup { server: 1, method: Method::Hash });
        assert_eq!(
            backup.to_string(),
            "server 1: `backup` is not allowed with hash, only with round robin and least_conn"
        );
        let half = Duration::from_millis(500);
        let mut list = servers(1);
        list[0].fail_timeout = half;
        assert_eq!(
            Upstream::new(Method::RoundRobin, &list).unwrap_err(),
            InvalidUpstream::FailTimeout { server: 0, fail_timeout: half }
        );
        assert_eq!(Upstream::new(Method::RoundRobin, &[]).unwrap_err(), InvalidUpstream::NoServers);
        let backups = [Server { backup: true, ..Server::new("a") }];
        assert_eq!(Upstream::new(Method::LeastConn, &backups).unwrap_err(), InvalidUpstream::NoServers);
        let heavy = [Server::new("a").with_weight(u32::MAX)];
        assert!(matches!(
            Upstream::new(Method::HashConsistent, &heavy),
            Err(InvalidUpstream::TooManyPoints(_))
        ));
        let many = [Server { addresses: u32::MAX, ..Server::new("a") }];
        assert!(matches!(
            Upstream::new(Method::RoundRobin, &many),
            Err(InvalidUpstream::TooManyAddresses { .. })
        ));
    }

    #[test]
    fn the_last_status_goes_to_the_client_and_is_no_failure() {
        let mut upstream = Upstream::new(Method::RoundRobin, &servers(2)).unwrap();
        assert_eq!(tried(&mut upstream, Answer::Retryable), [0, 1]);
        assert_eq!(tried(&mut upstream, Answer::Served), [1], "only the first has failed");
        let mut upstream = Upstream::new(Method::RoundRobin, &servers(2)).unwrap();
        assert_eq!(tried(&mut upstream, Answer::Refused), [0, 1]);
        assert_eq!(tried(&mut upstream, Answer::Served), [] as [usize; 0], "a refusal always counts");
        let mut upstream = Upstream::new(Method::RoundRobin, &servers(2)).unwrap();
        assert_eq!(tried(&mut upstream, Answer::Missing), [0, 1]);
        assert_eq!(tried(&mut upstream, Answer::Served), [1]);
        assert_eq!(tried(&mut upstream, Answer::Served), [0], "404 is no failure");
    }

    #[test]
    fn a_single_server_keeps_its_requests() {
        for method in [Method::RoundRobin, Method::Hash, Method::LeastConn] {
            let mut upstream = Upstream::new(method, &servers(1)).unwrap();
            for _ in 0..3 {
                assert_eq!(tried(&mut upstream, Answer::Refused), [0], "{method:?}");
            }
        }
        let down = [Server { down: true, ..Server::new("a") }];
        let mut upstream = Upstream::new(Method::RoundRobin, &down).unwrap();
        assert_eq!(served(&mut upstream, Subject::None), None);
    }

    #[test]
    fn backups_come_when_nobody_else_does_and_stay_for_the_request() {
        for method in [Method::RoundRobin, Method::LeastConn] {
            let mut list = servers(4);
            list[2].backup = true;
            list[3].backup = true;
            let mut upstream = Upstream::new(method, &list).unwrap();
            assert_eq!(tried(&mut upstream, Answer::Refused), [0, 1, 2, 3], "{method:?}");
            assert_eq!(served(&mut upstream, Subject::None), None, "{method:?}: all have failed");
            let mut upstream = Upstream::new(method, &list).unwrap();
            assert_eq!(served(&mut upstream, Subject::None), Some(0));
        }
    }

    #[test]
    fn tries_can_be_fewer() {
        let mut upstream = Upstream::new(Method::RoundRobin, &servers(3)).unwrap();
        let mut request = upstream.begin(Subject::None).with_tries(2);
        assert!(upstream.pick(&mut request, NOW).is_some());
        assert_eq!(upstream.finish(&mut request, Answer::Refused, NOW), Then::TryNext);
        assert!(upstream.pick(&mut request, NOW).is_some());
        assert_eq!(upstream.finish(&mut request, Answer::Refused, NOW), Then::Done);
    }

    #[test]
    fn a_server_at_max_conns_is_passed_over() {
        let mut list = servers(2);
        list[0].max_conns = 1;
        let mut upstream = Upstream::new(Method::RoundRobin, &list).unwrap();
        let mut first = upstream.begin(Subject::None);
        assert_eq!(upstream.pick(&mut first, NOW).map(|place| place.server), Some(0));
        assert_eq!(served(&mut upstream, Subject::None), Some(1));
        assert_eq!(served(&mut upstream, Subject::None), Some(1));
        let _ = upstream.finish(&mut first, Answer::Served, NOW);
        assert_eq!([(); 2].map(|()| served(&mut upstream, Subject::None)), [Some(1), Some(0)]);
    }

    #[test]
    fn a_server_that_is_down_keeps_its_part_of_the_hash() {
        for method in [Method::Hash, Method::HashConsistent] {
            let mut list = servers(5);
            let mut all = Upstream::new(method, &list).unwrap();
            list[2].down = true;
            let mut some = Upstream::new(method, &list).unwrap();
            for key in 0..200 {
                let key = format!("key {key}");
                let before = served(&mut all, Subject::Key(key.as_bytes()));
                let after = served(&mut some, Subject::Key(key.as_bytes()));
                assert!(before == Some(2) || before == after, "{method:?}");
                assert_ne!(after, Some(2));
            }
        }
    }

    /// The chain of a key that meets one server of a thousand hardly ever finds the one that is left.
    #[test]
    fn after_20_misses_round_robin_decides() {
        let mut list = servers(1000);
        list.iter_mut().for_each(|server| server.down = true);
        list[999].down = false;
        for (method, subject) in [
            (Method::Hash, Subject::Key(b"key")),
            (Method::HashConsistent, Subject::Key(b"key")),
            (Method::IpHash, Subject::Address([10, 0, 0, 1].into())),
        ] {
            let mut upstream = Upstream::new(method, &list).unwrap();
            let mut request = upstream.begin(subject);
            assert_eq!(upstream.pick(&mut request, NOW).map(|place| place.server), Some(999), "{method:?}");
            assert!(!request.chain.goes_on(), "{method:?}");
        }
    }

    #[test]
    fn without_a_key_servers_take_turns() {
        for method in [Method::Hash, Method::HashConsistent] {
            let mut upstream = Upstream::new(method, &servers(3)).unwrap();
            let picks: Vec<_> = (0..4).map(|_| served(&mut upstream, Subject::Key(b""))).collect();
            assert_eq!(picks, [0, 1, 2, 0].map(Some), "{method:?}");
        }
    }

    #[test]
    fn addresses_of_one_name_take_turns_on_its_points() {
        let list = [Server { addresses: 2, ..Server::new("pool:80") }, Server::new("solo:80")];
        let mut upstream = Upstream::new(Method::HashConsistent, &list).unwrap();
        let mut of_pool = Vec::new();
        for key in 0..40 {
            let mut request = upstream.begin(Subject::Key(format!("key {key}").as_bytes()));
            let place = upstream.pick(&mut request, NOW).unwrap();
            let _ = upstream.finish(&mut request, Answer::Served, NOW);
            if place.server == 0 {
                of_pool.push(place.address);
            }
        }
        let turns: Vec<usize> = (0..of_pool.len()).map(|turn| turn % 2).collect();
        assert_eq!(of_pool, turns);
    }

    #[test]
    fn a_request_of_another_block_harms_nobody() {
        let mut large = Upstream::new(Method::RoundRobin, &servers(9)).unwrap();
        let mut small = Upstream::new(Method::Hash, &servers(2)).unwrap();
        let mut requests: Vec<Request> = (0..9).map(|_| large.begin(Subject::None)).collect();
        for request in &mut requests {
            let _ = large.pick(request, NOW);
            let _ = small.finish(request, Answer::Refused, NOW);
            let _ = small.pick(request, NOW);
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_only_usable_servers_are_tried_and_each_once(
            method in prop::sample::select(METHODS.to_vec()),
            lines in prop::collection::vec((1_u32..9, 0_u32..3, 0_u32..3, any::<bool>(), any::<bool>(), 1_u32..3), 1..6),
            requests in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), any::<u8>(), 0..4, any::<u32>()), 0..40),
        ) {
            let list: Vec<Server> = lines
                .iter()
                .map(|&(weight, max_fails, max_conns, down, backup, addresses)| Server {
                    weight, max_fails, max_conns, down, addresses,
                    backup: backup && method.allows_backup(),
                    ..Server::new(format!("s{weight}"))
                })
                .collect();
            let Ok(mut upstream) = Upstream::new(method, &list) else { return Ok(()) };
            let mut open = Vec::new();
            for (key, fails, kind, second) in requests {
                let now = Timestamp::from_secs(second.into());
                let subject = match method {
                    Method::IpHash => Subject::Address([fails, 1, 2, 3].into()),
                    _ => Subject::Key(&key),
                };
                let mut request = upstream.begin(subject);
                let mut tried: Vec<Place> = Vec::new();
                while let Some(place) = upstream.pick(&mut request, now) {
                    prop_assert!(!list[place.server].down);
                    prop_assert!((place.address as u32) < list[place.server].addresses);
                    prop_assert!(!tried.contains(&place) || upstream.is_single());
                    tried.push(place);
                    if kind == 0 {
                        open.push(request.clone());
                        break;
                    }
                    let fails = fails >> (tried.len() % 8) & 1 == 1;
                    let answers = [Answer::Refused, Answer::Retryable, Answer::Missing];
                    let answer = if fails { answers[kind as usize - 1] } else { Answer::Served };
                    if upstream.finish(&mut request, answer, now) == Then::Done {
                        break;
                    }
                    prop_assert!(tried.len() < 20);
                }
            }
            for request in &mut open {
                let _ = upstream.finish(request, Answer::Served, NOW);
            }
            let connections = |group: &Group| group.states.iter().map(|state| state.connections).sum::<u32>();
            prop_assert_eq!(connections(&upstream.primary) + connections(&upstream.backup), 0);
        }
    }
}
