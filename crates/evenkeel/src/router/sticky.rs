//! Where a user was, where lists and memories say it, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_route::affinity::{
    EndpointState, Learned, MAX_OVERRIDES, NoCookie, StickyCookie, StickyCounts, override_at,
};
use evenkeel_route::matching::{Headers, is_token};
use evenkeel_types::{EndpointId, SplitMix64, Timestamp};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::affinity::{AffinityConfig, LearnedAffinity};
use super::error::{RouterError, RouterProblem};
use super::key::{Asked, KeyBytes, KeySource, checked, key_hash};

/// What affinity did for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Affinity {
    /// The route has none, or the request has no key for it.
    #[default]
    None,
    /// The user had no endpoint; the one that is picked becomes the user's.
    New,
    /// The user stayed.
    Stayed,
    /// A list named the endpoint.
    Listed,
    /// The user's endpoint is like this, so another one is picked and becomes the user's.
    Moved(EndpointState),
    /// The user's endpoint is like this, so another one serves this request.
    Lent(EndpointState),
    /// The user's endpoint is like this, and the request is refused.
    Refused(EndpointState),
}

#[derive(Debug)]
pub(crate) struct Sticky {
    pub(crate) config: AffinityConfig,
    list_header: Option<Box<str>>,
    cookie: Option<StickyCookie>,
    learned: Option<Memory>,
}

/// The keys that were learnt, by the lowest bits of a hash of theirs: one short lock each.
#[derive(Debug)]
struct Memory {
    by: Box<[KeySource]>,
    seed: u64,
    shards: Box<[Mutex<Learned>]>,
}

/// What a request says of where it belongs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sought {
    list: SmallVec<[Option<EndpointId>; 2]>,
    pub(crate) home: Option<EndpointId>,
    /// Whether the cookie that told it is to be issued anew.
    is_due: bool,
    /// Why there is no home, if a cookie was to tell.
    pub(crate) no_cookie: Option<NoCookie>,
    /// The key to be learnt.
    key: Option<KeyBytes>,
    pub(crate) verdict: Affinity,
}

impl Sought {
    /// The endpoint that the list names for the attempt of this number, 0 first.
    pub(crate) fn listed(&self, attempt: usize) -> Option<&EndpointId> {
        self.list.get(attempt)?.as_ref()
    }
}

impl Sticky {
    pub(crate) fn new(config: &AffinityConfig, field: &str) -> Result<Arc<Self>, RouterError> {
        let error = |name: &str, problem| RouterError::new(format!("{field}{name}"), problem);
        if config.list_header.is_none() && config.cookie.is_none() && config.learned.is_none() {
            let problem = RouterProblem::Setting(" is empty: give cookie, learned or list_header");
            return Err(error("", problem));
        }
        if config.cookie.is_some() && config.learned.is_some() {
            let problem =
                RouterProblem::Ignored("the cookie is asked and the table is not; give one of them");
            return Err(error(".learned", problem));
        }
        if let Some(name) = config.list_header.as_ref().filter(|name| !is_token(name)) {
            return Err(error(".list_header", RouterProblem::Name(name.clone())));
        }
        let cookie = config.cookie.as_ref().map(StickyCookie::new).transpose();
        let learned =
            config.learned.as_ref().map(|learned| Memory::new(learned, &format!("{field}.learned")));
        Ok(Arc::new(Self {
            config: config.clone(),
            list_header: config.list_header.as_ref().map(|name| name.to_ascii_lowercase().into()),
            cookie: cookie.map_err(|problem| error(".cookie", problem.into()))?,
            learned: learned.transpose()?,
        }))
    }

    /// What a request says of where it belongs. Clocks are read if they are needed.
    pub(crate) fn seek<H: Headers + ?Sized>(
        &self,
        asked: &Asked<'_, '_, H>,
        now: impl FnOnce() -> Timestamp,
        unix: impl FnOnce() -> Duration,
    ) -> Sought {
        let mut sought = Sought::default();
        if let Some(name) = &self.list_header {
            asked.request.headers.any(name, &mut |list| {
                sought.list = read_list(list);
                !sought.list.is_empty()
            });
        }
        if let Some(cookie) = &self.cookie {
            let (mut read, unix) = (Err(NoCookie::Missing), unix());
            asked.request.headers.any("cookie", &mut |field| {
                match cookie.read_field(field, unix) {
                    Err(NoCookie::Missing) => {}
                    other => read = other,
                }
                read.is_ok()
            });
            sought.verdict = Affinity::New;
            match read {
                Ok(home) => (sought.home, sought.is_due) = (Some(home.endpoint), home.is_due),
                Err(why) => sought.no_cookie = Some(why),
            }
        }
        if let Some(memory) = &self.learned
            && let Some(key) = asked.key(&memory.by)
        {
            sought.home = memory.shard(&key).lock().find(&key, now()).cloned();
            sought.verdict = Affinity::New;
            sought.key = Some(key);
        }
        sought
    }

    /// The request was sent there: remembers that, if the user is to stay.
    pub(crate) fn remember(&self, sought: &Sought, at: &EndpointId, now: impl FnOnce() -> Timestamp) {
        if let (Some(memory), Some(key)) = (&self.learned, &sought.key)
            && matches!(sought.verdict, Affinity::New | Affinity::Moved(_))
        {
            memory.shard(key).lock().learn(key, at, now());
        }
    }

    /// The field `Set-Cookie`, if the user is to get one.
    pub(crate) fn set_cookie(
        &self,
        sought: &Sought,
        at: &EndpointId,
        unix: impl FnOnce() -> Duration,
    ) -> Option<String> {
        let cookie = self.cookie.as_ref()?;
        let owner = match sought.verdict {
            Affinity::New | Affinity::Moved(_) => Some(at).filter(|&at| sought.home.as_ref() != Some(at)),
            // Whoever was lent to another one for this request was here all the same.
            Affinity::Stayed | Affinity::Lent(_) => sought.home.as_ref().filter(|_| sought.is_due),
            Affinity::None | Affinity::Listed | Affinity::Refused(_) => None,
        };
        owner.map(|owner| cookie.set_cookie(owner, unix()))
    }

    /// How many cookies were as good as none.
    pub(crate) fn counts(&self) -> Option<StickyCounts> {
        self.cookie.as_ref().map(StickyCookie::counts)
    }

    pub(crate) fn sweep(&self, now: Timestamp) {
        if let Some(memory) = &self.learned {
            memory.shards.iter().for_each(|shard| shard.lock().sweep(now));
        }
    }
}

impl Memory {
    fn new(config: &LearnedAffinity, field: &str) -> Result<Self, RouterError> {
        if config.by.is_empty() {
            let problem = RouterProblem::Setting(" is empty: say what the key is");
            return Err(RouterError::new(format!("{field}.by"), problem));
        }
        let refused = |error| RouterError::new(format!("{field}.table"), RouterProblem::Learned(error));
        let count = if config.table.capacity >= 1024 { SHARDS } else { 1 };
        Learned::new(&config.table).map_err(refused)?;
        let mut each = config.table;
        each.capacity /= count;
        let shards = (0..count).map(|_| Ok(Mutex::new(Learned::new(&each).map_err(refused)?)));
        Ok(Self {
            by: checked(&config.by, &format!("{field}.by"))?,
            seed: SplitMix64::mix(config.table.seed),
            shards: shards.collect::<Result<_, RouterError>>()?,
        })
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Learned> {
        &self.shards[key_hash(self.seed, key) as usize % self.shards.len()]
    }
}

/// As many as any plan of retries has attempts; what is no name names nobody.
fn read_list(list: &[u8]) -> SmallVec<[Option<EndpointId>; 2]> {
    let count = list.split(|&byte| byte == b',').count().min(MOST_LISTED).min(MAX_OVERRIDES);
    let ids = (0..count as u32).map(|at| override_at(list, at).and_then(|id| EndpointId::new(id).ok()));
    ids.collect()
}

const SHARDS: u32 = 16;
const MOST_LISTED: usize = 16;
