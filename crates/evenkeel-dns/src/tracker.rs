use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use evenkeel_registry::{Coverage, Event, Proof, TroubleKind};
use evenkeel_types::{Endpoint, Priority, RandomSource, SplitMix64, Timestamp};

use crate::lookup::{Failure, Found, Heard, Lookup};
use crate::targets;
use crate::wire::{Data, Name, Record};
use crate::{Answers, DnsConfig, DnsError};

/// When to ask about a service, and what to tell a registry of the answers. A plain machine: no IO, no clock.
///
/// ```
/// use evenkeel_dns::{DnsConfig, Failure, Tracker, wire};
/// use evenkeel_registry::TroubleKind;
/// use evenkeel_types::Timestamp;
///
/// let mut tracker = Tracker::new(DnsConfig::srv("_http._tcp.users.example"))?;
/// let now = Timestamp::from_secs(1);
/// assert!(now >= tracker.next_at());
/// let mut lookup = tracker.begin(now);
/// while let Some(question) = lookup.question() {
///     let _bytes = wire::encode(question, 7, true)?;
///     // … send them, and `wire::decode` what comes back. Here nothing did:
///     lookup.hear(Err(Failure { kind: TroubleKind::Timeout, text: "no answer".into() }));
/// }
/// let events = tracker.conclude(now, &lookup);
/// assert_eq!(events.len(), 1); // Trouble, for the feed
/// assert!(tracker.next_at() > now);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// | a round gives | told | next round | failures in a row |
/// |---|---|---|---|
/// | records | `Full` | at the time to live | 0 |
/// | the target `.` | `Absent` | at the time to live | 0 |
/// | nobody, proven | `Absent` | at the negative time to live | 0 |
/// | nobody, unproven | `Full`, empty | in 10 s | 0 |
/// | records, some target without an answer | `Full` | in retry × 2ⁿ at the latest, n such rounds before | 0 |
/// | records, no target with an answer | `Full` with the last addresses, `Trouble` | in retry × 2ⁿ | n + 1 |
/// | a failure, or only targets without addresses | `Trouble` | in retry × 2ⁿ | n + 1 |
#[derive(Clone, Debug)]
pub struct Tracker {
    name: Name,
    config: DnsConfig,
    next: Timestamp,
    failures: u32,
    /// When records last came.
    answered: Option<Timestamp>,
    draws: SplitMix64,
    targets: BTreeMap<Name, Target>,
    known: BTreeMap<evenkeel_types::EndpointId, Known>,
    /// Targets that were asked for and nothing was heard.
    mute: BTreeSet<Name>,
    /// Rounds in a row in which some target had no answer.
    gaps: u32,
}

/// Addresses of an SRV target, and until when they need not be asked for.
#[derive(Clone, Debug)]
struct Target {
    ips: Vec<IpAddr>,
    fresh_until: Timestamp,
    used: Timestamp,
}

/// An endpoint of rotating SRV answers: needed to rank what no single answer has.
#[derive(Clone, Debug)]
struct Known {
    priority: u16,
    endpoint: Endpoint,
    seen: Timestamp,
}

impl Tracker {
    /// A tracker that has asked nothing yet.
    ///
    /// # Errors
    ///
    /// [`DnsError`] with the field.
    pub fn new(config: DnsConfig) -> Result<Self, DnsError> {
        let name = config.validate()?;
        Ok(Self {
            name,
            next: Timestamp::ORIGIN,
            failures: 0,
            answered: None,
            draws: SplitMix64::new(config.seed),
            targets: BTreeMap::new(),
            known: BTreeMap::new(),
            mute: BTreeSet::new(),
            gaps: 0,
            config,
        })
    }

    /// When to ask again.
    #[must_use]
    pub fn next_at(&self) -> Timestamp {
        self.next
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &DnsConfig {
        &self.config
    }

    /// Starts a round.
    #[must_use]
    pub fn begin(&self, now: Timestamp) -> Lookup {
        let fresh = self.targets.iter().filter(|(_, target)| now < target.fresh_until);
        let found = |target: &Target| Found {
            ips: target.ips.clone(),
            ttl: target.fresh_until.saturating_since(now),
        };
        let fresh = fresh.map(|(name, target)| (name.clone(), found(target))).collect();
        Lookup::new(&self.name, &self.config, fresh, self.mute.clone())
    }

    /// Ends a round: what to tell the registry, in order. A round that is not over counts as failed.
    pub fn conclude(&mut self, now: Timestamp, lookup: &Lookup) -> Vec<Event> {
        if let Some(question) = lookup.question() {
            let text = format!("{question}: given up");
            return self.failed(now, &Failure { kind: TroubleKind::Timeout, text });
        }
        match self.config.port {
            Some(port) => self.address_round(now, lookup, port),
            None => self.service_round(now, lookup),
        }
    }

    fn address_round(&mut self, now: Timestamp, lookup: &Lookup, port: u16) -> Vec<Event> {
        match lookup.hosts.get(&self.name) {
            Some(Heard::These { what, ttl }) => {
                let addresses = targets::addresses(what, port);
                if addresses.is_empty() {
                    let text = format!("{}: no usable address among {}", self.name, what.len());
                    return self.failed(now, &Failure { kind: TroubleKind::Malformed, text });
                }
                let named = |address| Endpoint::at(address).map(|e| e.with_hostname(self.name.as_str())).ok();
                let endpoints = addresses.into_iter().filter_map(named).collect();
                let coverage = self.coverage(now, *ttl);
                self.succeeded(now, *ttl);
                vec![Event::Full { revision: None, endpoints, coverage }]
            }
            Some(Heard::Nobody { proven }) => self.nobody(now, *proven),
            Some(Heard::Failed(failure)) => self.failed(now, failure),
            None => self.unasked(now),
        }
    }

    fn service_round(&mut self, now: Timestamp, lookup: &Lookup) -> Vec<Event> {
        match &lookup.service {
            Some(Heard::These { what, ttl }) => self.records(now, what, *ttl, lookup),
            Some(Heard::Nobody { proven }) => self.nobody(now, *proven),
            Some(Heard::Failed(failure)) => self.failed(now, failure),
            None => self.unasked(now),
        }
    }

    fn records(&mut self, now: Timestamp, records: &[Record], ttl: Duration, lookup: &Lookup) -> Vec<Event> {
        if let [Record { data: Data::Srv { target: None, .. }, .. }] = records {
            self.succeeded(now, ttl);
            self.known.clear();
            return vec![Event::Absent { proof: Proof::NoTarget }];
        }
        self.keep_targets(now, lookup);
        let last = |target: &Name| self.targets.get(target).map(|target| target.ips.clone());
        let hosts = targets::Hosts { heard: &lookup.hosts, last };
        let made = targets::endpoints(records, &hosts, self.config.target_addresses);
        let mut events: Vec<_> =
            made.bad.iter().map(|(name, reason)| Event::reject(Some(name), reason.clone())).collect();
        if made.endpoints.is_empty() {
            let text = format!("{}: none of {} records has an address", self.name, records.len());
            let failure = made.failure.unwrap_or(Failure { kind: TroubleKind::Malformed, text });
            events.extend(self.failed(now, &failure));
            return events;
        }
        let coverage = self.coverage(now, ttl);
        let (endpoints, too_low) = self.ranked(now, made.endpoints, coverage);
        events.extend(too_low.iter().map(|id| Event::reject(Some(id), "more than 129 priorities")));
        events.push(Event::Full { revision: None, endpoints, coverage });
        if let Some(failure) = made.failure.filter(|_| lookup.is_mute()) {
            // The records are news, the addresses are not: whoever reads them is told that they are old.
            events.extend(self.failed(now, &failure));
            return events;
        }
        let again = self.gap(lookup);
        let hosts = lookup.hosts.values().filter_map(|heard| match heard {
            Heard::These { ttl, .. } => Some(*ttl),
            Heard::Nobody { proven } => *proven,
            Heard::Failed(_) => None,
        });
        let ttl = hosts.chain(again).fold(ttl, Ord::min);
        self.succeeded(now, ttl);
        events
    }

    /// When to ask again because of targets without an answer: a fleet shall not ask about all of them once a second for as long as
    /// one of them is wrong.
    fn gap(&mut self, lookup: &Lookup) -> Option<Duration> {
        let is_gap = |heard: &Heard<_>| matches!(heard, Heard::Failed(_) | Heard::Nobody { proven: None });
        if !lookup.hosts.values().any(is_gap) {
            self.gaps = 0;
            return None;
        }
        let wait = self.backoff(self.gaps);
        self.gaps = self.gaps.saturating_add(1);
        Some(wait)
    }

    /// Priorities become ranks among all that are known. Of rotating answers those known are told again whose rank is
    /// another now.
    fn ranked(
        &mut self,
        now: Timestamp,
        made: Vec<(u16, Endpoint)>,
        coverage: Coverage,
    ) -> (Vec<Endpoint>, Vec<String>) {
        let mut told = BTreeMap::new();
        if let Coverage::Partial { ttl } = coverage {
            let kept = ttl.saturating_mul(2);
            self.known.retain(|_, known| now < known.seen.saturating_add(kept));
            told.extend(self.known.iter().map(|(id, known)| (id.clone(), known.endpoint.priority())));
        } else {
            self.known.clear();
        }
        for (priority, endpoint) in made {
            self.known.insert(endpoint.id().clone(), Known { priority, endpoint, seen: now });
        }
        let mut levels: Vec<_> = self.known.values().map(|known| known.priority).collect();
        levels.sort_unstable();
        levels.dedup();
        let mut too_low = Vec::new();
        self.known.retain(|id, known| {
            let rank = levels.partition_point(|level| *level < known.priority);
            let tier = u8::try_from(rank).ok().and_then(|rank| Priority::new(rank).ok());
            match tier {
                Some(tier) => known.endpoint = known.endpoint.clone().with_priority(tier),
                None => too_low.push(id.to_string()),
            }
            tier.is_some()
        });
        let is_news = |known: &Known| {
            known.seen == now || told.get(known.endpoint.id()) != Some(&known.endpoint.priority())
        };
        let endpoints =
            self.known.values().filter(|known| is_news(known)).map(|known| known.endpoint.clone());
        (endpoints.collect(), too_low)
    }

    fn keep_targets(&mut self, now: Timestamp, lookup: &Lookup) {
        self.mute = lookup.mute.iter().filter(|name| lookup.hosts.contains_key(*name)).cloned().collect();
        for (name, heard) in &lookup.hosts {
            match heard {
                Heard::These { what, ttl } => {
                    let fresh_until =
                        now.saturating_add((*ttl).clamp(self.config.min_ttl, self.config.max_ttl));
                    let target = Target { ips: what.clone(), fresh_until, used: now };
                    self.targets.insert(name.clone(), target);
                }
                Heard::Nobody { .. } => _ = self.targets.remove(name),
                Heard::Failed(_) => {
                    if let Some(target) = self.targets.get_mut(name) {
                        target.used = now;
                    }
                }
            }
        }
        // Rotating answers bring targets back; others are needed no longer.
        let kept = self.config.max_ttl.saturating_mul(2);
        let rotating = self.config.answers == Answers::Rotating;
        self.targets
            .retain(|_, target| target.used == now || (rotating && now < target.used.saturating_add(kept)));
    }

    /// Whether an answer with this time to live is all there is. A part counts for its time to live, or for as long as we
    /// did not ask, whichever is longer: who was listed before an outage must have the chance to be listed after it.
    fn coverage(&mut self, now: Timestamp, ttl: Duration) -> Coverage {
        let since = self.answered.replace(now).map_or(Duration::ZERO, |last| now.saturating_since(last));
        match self.config.answers {
            Answers::Complete => Coverage::Complete,
            Answers::Rotating => {
                Coverage::Partial { ttl: ttl.clamp(self.config.min_ttl, self.config.max_ttl).max(since) }
            }
        }
    }

    fn nobody(&mut self, now: Timestamp, proven: Option<Duration>) -> Vec<Event> {
        match proven {
            Some(kept) => {
                let negative_ttl = self.succeeded(now, kept);
                vec![Event::Absent { proof: Proof::NameError { negative_ttl } }]
            }
            None => {
                self.succeeded(now, UNPROVEN);
                vec![Event::set(Vec::new())]
            }
        }
    }

    fn failed(&mut self, now: Timestamp, failure: &Failure) -> Vec<Event> {
        let wait = self.backoff(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.next = now.saturating_add(wait);
        let Failure { kind, text } = failure.clone();
        vec![Event::Trouble { kind, text, retry_at: Some(self.next) }]
    }

    /// The wait after so many failures before: doubled each time, and up to half of it less.
    fn backoff(&mut self, failures: u32) -> Duration {
        let doubled =
            self.config.retry.saturating_mul(1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX));
        let wait = doubled.min(self.config.max_retry);
        let half = u64::try_from(wait.as_nanos() / 2).unwrap_or(u64::MAX);
        wait.saturating_sub(Duration::from_nanos(self.draws.next_u64() % half.max(1)))
    }

    fn unasked(&mut self, now: Timestamp) -> Vec<Event> {
        self.failed(now, &Failure { kind: TroubleKind::Timeout, text: format!("{}: not asked", self.name) })
    }

    /// The wait until the next round.
    fn succeeded(&mut self, now: Timestamp, ttl: Duration) -> Duration {
        let wait = ttl.clamp(self.config.min_ttl, self.config.max_ttl);
        self.failures = 0;
        self.next = now.saturating_add(wait);
        wait
    }
}

/// How long an absence counts that nobody has proven: three such answers over 30 s end the registry's hold.
const UNPROVEN: Duration = Duration::from_secs(10);
