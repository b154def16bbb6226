use std::hash::Hasher;
use std::net::IpAddr;

use evenkeel_balance::{Caller, Wants};
use evenkeel_limit::Extra;
use evenkeel_route::locality::Coordinates;
use evenkeel_types::{Priority, Timestamp, below};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::lanes::Lane;
use crate::moment::Moment;
use crate::pick::Pick;

/// What a pick needs to know of a request: nothing, a key, what was tried before.
///
/// ```
/// use evenkeel::{Request, Tried};
/// let tried = Tried::default();
/// let request = Request::with_key("user-42").excluding(&tried);
/// # let _ = request;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    key: Key<'a>,
    source: Option<IpAddr>,
    place: Option<Coordinates>,
    tried: &'a [u64],
    strictness: Strictness,
    is_hedge: bool,
    /// Tiers to be used last.
    avoided: &'a [Priority],
    /// Whether the budget has been asked already.
    is_paid: bool,
    /// Whether it is a retry, though nothing is excluded.
    is_retry: bool,
    /// Whether it has asked before and waits.
    is_waiting: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Key<'a> {
    #[default]
    None,
    Bytes(&'a [u8]),
    Hash(u64),
}

/// What a request does when only tried endpoints are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It fails with [`AllTried`](crate::PickError::AllTried).
    #[default]
    Exclude,
    /// It takes one of them again.
    Prefer,
}

impl<'a> Request<'a> {
    /// A request without a key, tried nowhere yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            key: Key::None,
            source: None,
            place: None,
            tried: &[],
            strictness: Strictness::Exclude,
            is_hedge: false,
            avoided: &[],
            is_paid: false,
            is_retry: false,
            is_waiting: false,
        }
    }

    /// A request with a key, for policies that send equal keys to one endpoint.
    ///
    /// The key is hashed only if the policy asks for it, by SipHash-1-3 under the cluster's hash seed: a client that
    /// chooses keys cannot aim at an endpoint without knowing the seed.
    #[must_use]
    pub fn with_key(key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { key: Key::Bytes(key.as_ref()), ..Self::new() }
    }

    /// A request whose key the caller has hashed.
    #[must_use]
    pub const fn with_hash(hash: u64) -> Self {
        Self { key: Key::Hash(hash), ..Self::new() }
    }

    /// The same from a client at this address, for policies that go by it, and for
    /// [`LocalityConfig::ClientRegion`](crate::LocalityConfig::ClientRegion).
    #[must_use]
    pub const fn from_address(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// The same from a client at this place, as far as that is known: for
    /// [`LocalityConfig::ClientRegion`](crate::LocalityConfig::ClientRegion), of which at least one region has a place.
    #[must_use]
    pub const fn at_place(mut self, place: Coordinates) -> Self {
        self.place = Some(place);
        self
    }

    /// The same from a client of whom so much is known.
    pub(crate) const fn of_client(mut self, source: Option<IpAddr>, place: Option<Coordinates>) -> Self {
        self.source = source;
        self.place = place;
        self
    }

    /// The same, never to be sent where `tried` was: a retry. If nothing else is usable the pick fails with
    /// [`AllTried`](crate::PickError::AllTried).
    #[must_use]
    pub fn excluding(mut self, tried: &'a Tried) -> Self {
        self.tried = &tried.0;
        self.strictness = Strictness::Exclude;
        self
    }

    /// The same, sent elsewhere than `tried` if anything else is usable.
    #[must_use]
    pub fn preferring_others(mut self, tried: &'a Tried) -> Self {
        self.tried = &tried.0;
        self.strictness = Strictness::Prefer;
        self
    }

    /// The same, sent besides one that is still under way, because that is slow: a hedge, which has its own place in the
    /// budget. Exclude where the first one went.
    #[must_use]
    pub const fn as_hedge(mut self) -> Self {
        self.is_hedge = true;
        self
    }

    /// The same, sent to another tier than these if one has a share and a plainly usable endpoint: for a retry, since what broke one
    /// endpoint of a tier often breaks its neighbours. Counts for requests that exclude something. Without `failover` the first tier
    /// with a usable endpoint has all requests, and so it has all retries.
    #[must_use]
    pub const fn avoiding(mut self, tiers: &'a [Priority]) -> Self {
        self.avoided = tiers;
        self
    }

    /// The same, which has been refused and asks once more: for a caller who waits until somebody can take it. A budget for retries
    /// grows with the requests that come in, so each is to be counted once, and not with each look. A retry or a hedge has to be
    /// within the budget all the same.
    #[must_use]
    pub const fn waiting(mut self) -> Self {
        self.is_waiting = true;
        self
    }

    /// The same, for which the budget has been asked and has agreed.
    pub(crate) const fn paid(mut self) -> Self {
        self.is_paid = true;
        self
    }

    /// The same, sent elsewhere before: in another cluster, whose endpoints need not be excluded here.
    pub(crate) const fn again(mut self) -> Self {
        self.is_retry = true;
        self
    }

    pub(crate) const fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    pub(crate) const fn is_paid(&self) -> bool {
        self.is_paid
    }

    pub(crate) const fn avoided(&self) -> &'a [Priority] {
        self.avoided
    }

    /// What it is to the budget, if it is not a first attempt.
    pub(crate) const fn extra(&self) -> Option<Extra> {
        match (self.is_hedge, self.is_retry || !self.tried.is_empty()) {
            (true, _) => Some(Extra::Hedge),
            (false, true) => Some(Extra::Retry),
            (false, false) => None,
        }
    }

    #[inline]
    pub(crate) const fn tried(&self) -> &'a [u64] {
        self.tried
    }

    pub(crate) const fn source(&self) -> Option<IpAddr> {
        self.source
    }

    pub(crate) const fn place(&self) -> Option<Coordinates> {
        self.place
    }

    pub(crate) const fn strictness(&self) -> Strictness {
        self.strictness
    }
}

/// Where a request was sent before. Holds eight without an allocation.
///
/// ```
/// use evenkeel::{Cluster, Endpoint, Outcome, PickError, Request, Tried};
///
/// let cluster = Cluster::<()>::builder("users").build()?;
/// cluster.apply([
///     Endpoint::at("10.0.0.1:80".parse()?)?,
///     Endpoint::at("10.0.0.2:80".parse()?)?,
/// ])?;
/// let mut tried = Tried::default();
/// let first = cluster.pick(&Request::new())?;
/// tried.add(&first);
/// first.finish(Outcome::failure());
///
/// let second = cluster.pick(&Request::new().excluding(&tried))?;
/// tried.add(&second);
/// assert!(matches!(
///     cluster.pick(&Request::new().excluding(&tried)),
///     Err(PickError::AllTried { tried: 2 })
/// ));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tried(SmallVec<[u64; 8]>);

impl Tried {
    /// Remembers where `pick` went.
    pub fn add<T>(&mut self, pick: &Pick<T>) {
        self.add_token(pick.endpoint().token);
    }

    pub(crate) fn add_token(&mut self, token: u64) {
        if !self.0.contains(&token) {
            self.0.push(token);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many endpoints were tried.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The inputs of one pick: the lane of the thread or of the picker, and the request.
pub(crate) struct LaneCaller<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) moment: &'a Moment<'a>,
    pub(crate) request: &'a Request<'a>,
    /// Which of the lane's places a turn takes: every tier, and its degraded part, goes round by itself.
    pub(crate) cycle: usize,
    /// Whom the first try passed over for its factor, if the policy would name it again.
    pub(crate) passed_over: Option<u64>,
}

/// The lane alone, for the first draw of a request that was tried nowhere: it knows no key, no client and no time, for which
/// [`BuiltIn::first`](evenkeel_balance::BuiltIn::first) never asks.
pub(crate) struct LaneAlone<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) cycle: usize,
}

impl Caller for LaneAlone<'_> {
    #[inline(always)]
    fn draw(&mut self) -> u64 {
        self.lane.draw()
    }

    #[inline(always)]
    fn turn(&mut self, length: u32) -> u32 {
        self.lane.turn(self.cycle, length)
    }
}

impl<'a> LaneCaller<'a> {
    #[inline]
    pub(crate) const fn new(lane: &'a Lane, moment: &'a Moment<'a>, request: &'a Request<'a>) -> Self {
        Self { lane, moment, request, cycle: 0, passed_over: None }
    }
}

impl LaneCaller<'_> {
    /// What ties this request to an endpoint under a policy that wants this.
    pub(crate) fn affinity(&mut self, wants: Wants) -> Option<u64> {
        if wants.contains(Wants::KEY)
            && let Some(key) = self.key()
        {
            return Some(key);
        }
        let source = self.source().filter(|_| wants.contains(Wants::SOURCE))?;
        Some(match source {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 ^ ip.to_bits() as u64,
        })
    }
}

impl Caller for LaneCaller<'_> {
    #[inline(always)]
    fn draw(&mut self) -> u64 {
        self.lane.draw()
    }

    #[inline(always)]
    fn turn(&mut self, length: u32) -> u32 {
        if self.request.tried().is_empty() {
            self.lane.turn(self.cycle, length)
        } else {
            // A retry takes no turn: first attempts would skip the endpoint after every one that fails.
            below((self.lane.draw() >> 32) as u32, length)
        }
    }

    fn key(&mut self) -> Option<u64> {
        match self.request.key {
            Key::None => None,
            Key::Hash(hash) => Some(hash),
            Key::Bytes(bytes) => {
                let (first, second) = self.moment.control.hash_key;
                let mut hasher = SipHasher13::new_with_keys(first, second);
                hasher.write(bytes);
                Some(hasher.finish())
            }
        }
    }

    fn key_bytes(&mut self) -> Option<&[u8]> {
        match self.request.key {
            Key::Bytes(bytes) => Some(bytes),
            Key::None | Key::Hash(_) => None,
        }
    }

    fn key_seed(&self) -> u64 {
        self.moment.control.hash_key.0
    }

    fn source(&mut self) -> Option<IpAddr> {
        self.request.source
    }

    fn now(&mut self) -> Timestamp {
        self.moment.now()
    }
}
