use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use evenkeel_registry::TroubleKind;
use smol_str::SmolStr;

use crate::wire::{Data, Finding, Kind, MAX_ALIASES, Name, Question, Rcode, Record, Reply};
use crate::{DnsConfig, Families};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of what kind.
    pub kind: TroubleKind,
    /// For people.
    pub text: String,
}

/// One round of questions about a service: what to ask next, and what was learnt. Made by
/// [`Tracker::begin`](crate::Tracker::begin).
///
/// Ask [`question`](Self::question), [`hear`](Self::hear) what came of it, until there is none; then
/// [`Tracker::conclude`](crate::Tracker::conclude). The number of questions is bounded by eight aliases a name, two
/// address families, and [`max_targets`](DnsConfig::max_targets).
#[derive(Clone, Debug)]
pub struct Lookup {
    families: Families,
    max_targets: usize,
    asking: Option<Asking>,
    todo: VecDeque<Name>,
    /// SRV targets that need no question.
    fresh: BTreeMap<Name, Found>,
    pub(crate) service: Option<Heard<Vec<Record>>>,
    pub(crate) hosts: BTreeMap<Name, Heard<Vec<IpAddr>>>,
    /// SRV targets beyond the bound.
    pub(crate) left_out: usize,
    /// Targets that were asked for last time, or in this round, and nothing was heard: they come last, so that they hold
    /// nobody up.
    pub(crate) mute: BTreeSet<Name>,
    /// Targets in a row about which nobody answered.
    silence: u32,
}

/// Addresses, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) ttl: Duration,
}

/// What was learnt about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard<T> {
    These { what: T, ttl: Duration },
    Nobody { proven: Option<Duration> },
    Failed(Failure),
}

/// The question under way, for `subject`, perhaps under an alias of it.
#[derive(Clone, Debug)]
struct Asking {
    subject: Name,
    question: Question,
    hops: usize,
    ttl: Duration,
    /// What the families asked before gave.
    before: Option<Heard<Vec<IpAddr>>>,
}

impl Lookup {
    pub(crate) fn new(
        name: &Name,
        config: &DnsConfig,
        fresh: BTreeMap<Name, Found>,
        mute: BTreeSet<Name>,
    ) -> Self {
        let mut lookup = Self {
            families: config.families,
            max_targets: config.max_targets,
            asking: None,
            todo: VecDeque::new(),
            fresh,
            service: None,
            hosts: BTreeMap::new(),
            left_out: 0,
            mute,
            silence: 0,
        };
        let kind = if config.port.is_none() { Kind::Srv } else { lookup.first_family() };
        lookup.ask(name.clone(), kind, None);
        lookup
    }

    /// Whether there was no answer about any host.
    pub(crate) fn is_mute(&self) -> bool {
        !self.hosts.is_empty() && self.hosts.values().all(|heard| matches!(heard, Heard::Failed(_)))
    }

    /// What to ask now; `None` if all is known that can be.
    #[must_use]
    pub fn question(&self) -> Option<&Question> {
        self.asking.as_ref().map(|asking| &asking.question)
    }

    /// Takes in what came of the question. Without one it does nothing.
    pub fn hear(&mut self, reply: Result<Reply, Failure>) {
        let Some(asking) = self.asking.take() else { return };
        let reply = match reply.and_then(|reply| usable(&asking.question, reply)) {
            Ok(reply) => reply,
            Err(failure) => return self.conclude(asking, Heard::Failed(failure)),
        };
        match reply.finding(&asking.question) {
            Finding::Found { records, ttl } => {
                let ttl = ttl.min(asking.ttl);
                if asking.question.kind == Kind::Srv {
                    self.targets(&records, &reply);
                }
                self.conclude(asking, Heard::These { what: records, ttl });
            }
            Finding::Alias { to, hops, ttl } if asking.hops + hops <= MAX_ALIASES => {
                let (hops, ttl) = (asking.hops + hops, asking.ttl.min(ttl));
                let question = Question { name: to, ..asking.question };
                self.asking = Some(Asking { question, hops, ttl, ..asking });
            }
            Finding::Alias { .. } | Finding::Endless => {
                let text = format!("{}: more than {MAX_ALIASES} aliases, or a circle", asking.question);
                self.conclude(asking, Heard::Failed(Failure { kind: TroubleKind::Malformed, text }));
            }
            Finding::Nobody { proven } => self.conclude(asking, Heard::Nobody { proven }),
            Finding::Referral => {
                let text = format!("{}: the server points to others: it is no resolver", asking.question);
                self.conclude(asking, Heard::Failed(Failure { kind: TroubleKind::Denied, text }));
            }
        }
    }

    fn first_family(&self) -> Kind {
        if self.families == Families::V6 { Kind::Aaaa } else { Kind::A }
    }

    fn ask(&mut self, subject: Name, kind: Kind, before: Option<Heard<Vec<IpAddr>>>) {
        let question = Question { name: subject.clone(), kind };
        self.asking = Some(Asking { subject, question, hops: 0, ttl: Duration::MAX, before });
    }

    /// Which SRV targets have still to be asked for.
    fn targets(&mut self, records: &[Record], reply: &Reply) {
        for record in records {
            let Data::Srv { target: Some(target), .. } = &record.data else { continue };
            if self.hosts.contains_key(target) || self.todo.contains(target) {
                continue;
            }
            let along = reply.sent_along(target).map(|(ips, ttl)| Found { ips: self.wanted(ips), ttl });
            let known = along.filter(|found| !found.ips.is_empty()).or_else(|| self.fresh.remove(target));
            if self.hosts.len() + self.todo.len() >= self.max_targets {
                self.left_out += 1;
            } else if let Some(Found { ips, ttl }) = known {
                self.hosts.insert(target.clone(), Heard::These { what: ips, ttl });
            } else {
                self.todo.push_back(target.clone());
            }
        }
        let mute = &self.mute;
        self.todo.make_contiguous().sort_by_key(|target| mute.contains(target));
    }

    /// Of addresses of both families, those that count.
    fn wanted(&self, mut ips: Vec<IpAddr>) -> Vec<IpAddr> {
        let some_v4 = ips.iter().any(IpAddr::is_ipv4);
        ips.retain(|ip| match self.families {
            Families::V4 => ip.is_ipv4(),
            Families::V6 => ip.is_ipv6(),
            Families::PreferV4 => ip.is_ipv4() || !some_v4,
            Families::Both => true,
        });
        ips
    }

    fn conclude(&mut self, asking: Asking, heard: Heard<Vec<Record>>) {
        if asking.question.kind == Kind::Srv {
            self.service = Some(heard);
        } else {
            self.address_heard(asking, heard);
        }
        if self.asking.is_none()
            && let Some(next) = self.todo.pop_front()
        {
            let kind = self.first_family();
            self.ask(next, kind, None);
        }
    }

    fn address_heard(&mut self, asking: Asking, heard: Heard<Vec<Record>>) {
        let Asking { subject, question, before, .. } = asking;
        let heard = match heard {
            Heard::These { what, ttl } => Heard::These { what: ips_of(&what), ttl },
            Heard::Nobody { proven } => Heard::Nobody { proven },
            Heard::Failed(failure) => Heard::Failed(failure),
        };
        let more = match (question.kind, self.families, &heard) {
            (Kind::A, Families::PreferV4, Heard::Nobody { .. }) => true,
            (Kind::A, Families::Both, heard) => !matches!(heard, Heard::Failed(_)),
            _ => false,
        };
        if more {
            self.ask(subject, Kind::Aaaa, Some(heard));
        } else {
            let both = match before {
                Some(before) => joined(before, heard),
                None => heard,
            };
            self.note_silence(&subject, &both);
            self.hosts.insert(subject, both);
        }
    }

    /// When nobody answers about one target after another, the resolver is gone, and each of the others would take as long.
    fn note_silence(&mut self, subject: &Name, heard: &Heard<Vec<IpAddr>>) {
        let Heard::Failed(failure) = heard else {
            self.silence = 0;
            self.mute.remove(subject);
            return;
        };
        self.mute.insert(subject.clone());
        if !matches!(failure.kind, TroubleKind::Timeout | TroubleKind::Unreachable) {
            self.silence = 0;
            return;
        }
        self.silence += 1;
        if self.silence >= SILENT {
            for name in std::mem::take(&mut self.todo) {
                self.hosts.insert(name, Heard::Failed(failure.clone()));
            }
        }
    }
}

/// After so many targets in a row without an answer the others are not asked for in this round. One alone may have a server of its
/// own that is mute.
const SILENT: u32 = 2;

/// Two families of one host. A failure of one is none of the whole that could be told from a loss.
fn joined(first: Heard<Vec<IpAddr>>, second: Heard<Vec<IpAddr>>) -> Heard<Vec<IpAddr>> {
    match (first, second) {
        (Heard::Failed(failure), _) | (_, Heard::Failed(failure)) => Heard::Failed(failure),
        (Heard::These { mut what, ttl }, Heard::These { what: more, ttl: other }) => {
            what.extend(more);
            Heard::These { what, ttl: ttl.min(other) }
        }
        (these @ Heard::These { .. }, Heard::Nobody { .. })
        | (Heard::Nobody { .. }, these @ Heard::These { .. }) => these,
        (Heard::Nobody { proven: first }, Heard::Nobody { proven: second }) => {
            Heard::Nobody { proven: first.zip(second).map(|(first, second)| first.max(second)) }
        }
    }
}

fn ips_of(records: &[Record]) -> Vec<IpAddr> {
    let ip = |record: &Record| match record.data {
        Data::Ip(ip) => Some(ip),
        _ => None,
    };
    records.iter().filter_map(ip).collect()
}

fn usable(question: &Question, reply: Reply) -> Result<Reply, Failure> {
    let fail = |kind, what: SmolStr| Err(Failure { kind, text: format!("{question}: {what}") });
    match reply.rcode {
        _ if reply.truncated => fail(TroubleKind::TooLarge, "the answer is truncated".into()),
        Rcode::NoError | Rcode::NameError => Ok(reply),
        Rcode::ServerFailure => fail(TroubleKind::Server, "SERVFAIL".into()),
        Rcode::Refused => fail(TroubleKind::Denied, "REFUSED".into()),
        Rcode::FormatError => fail(TroubleKind::Malformed, "FORMERR".into()),
        Rcode::Other(code) => fail(TroubleKind::Server, smol_str::format_smolstr!("answer code {code}")),
    }
}
