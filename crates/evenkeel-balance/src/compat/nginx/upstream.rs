use std::net::IpAddr;

use evenkeel_types::Timestamp;

use super::chain::Chain;
use super::invalid_upstream::{InvalidUpstream, MOST_ADDRESSES, check};
use super::method::Method;
use super::peer::seconds;
use super::server::Server;
use super::shared_names::{owners, ring};
use crate::compat::ketama::Ketama;
use crate::hash::crc32;
use group::{Group, Tried};

mod group;
#[cfg(test)]
mod tests;

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
