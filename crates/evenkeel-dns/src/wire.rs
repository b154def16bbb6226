//! Questions as bytes, and bytes as answers. No IO: for those who bring their own sockets, and for tests.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use domain::base::iana::{Class, OptRcode, Rcode as WireRcode, Rtype};
use domain::base::message::RecordSection;
use domain::base::{
    Message, MessageBuilder, Name as WireName, ParsedName, ParsedRecord, Question as WireQuestion, ToName,
    Ttl,
};
use domain::rdata::{A, Aaaa, Cname, Soa, Srv};
use smol_str::SmolStr;
use thiserror::Error;

/// A name to ask for: lower case, without the dot at the end, at most 253 bytes of letters, digits, `-`, `_` and `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(SmolStr);

impl Name {
    /// A name of this text; a dot at its end is left out. It is absolute: no search list is applied.
    ///
    /// # Errors
    ///
    /// [`InvalidName`].
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        let good = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_allowed);
        if bare.len() > 253 || !bare.split('.').all(good) {
            return Err(InvalidName(text.chars().take(64).collect()));
        }
        Ok(Self(SmolStr::from(bare.to_ascii_lowercase())))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `zone` or below it.
    fn is_in(&self, zone: &str) -> bool {
        zone.is_empty()
            || self.0.strip_suffix(zone).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

/// The text is no name of a host or service.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no DNS name: labels of 1 to 63 letters, digits, - and _, 253 bytes in all")]
pub struct InvalidName(pub String);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// For which name.
    pub name: Name,
    /// For which records.
    pub kind: Kind,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)
    }
}

/// A type of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Services.
    Srv,
}

impl Kind {
    const fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
            Self::Srv => Rtype::SRV,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
        })
    }
}

/// One record of an answer, of the types that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub owner: Name,
    /// How long it may be kept.
    pub ttl: Duration,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A or AAAA.
    Ip(IpAddr),
    /// CNAME.
    Alias(Name),
    /// SRV; no target is the target `.`.
    Srv {
        /// Lower ones are used first.
        priority: u16,
        /// The share among those of one priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The host, or `None`: decidedly not there.
        target: Option<Name>,
    },
    /// An SRV record whose target is no name of a host; as text.
    BadTarget(SmolStr),
}

impl Data {
    fn is(&self, kind: Kind) -> bool {
        match self {
            Self::Ip(ip) => kind == if ip.is_ipv4() { Kind::A } else { Kind::Aaaa },
            Self::Srv { .. } | Self::BadTarget(_) => kind == Kind::Srv,
            Self::Alias(_) => false,
        }
    }
}

/// How a server takes a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rcode {
    /// Well.
    NoError,
    /// The name does not exist.
    NameError,
    /// SERVFAIL.
    ServerFailure,
    /// REFUSED.
    Refused,
    /// FORMERR: among others that it does not know EDNS.
    FormatError,
    /// Others.
    Other(u16),
}

/// An answer, read and checked against its question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How the question was taken.
    pub rcode: Rcode,
    /// It did not fit: ask again over TCP.
    pub truncated: bool,
    /// The answer section.
    pub answer: Vec<Record>,
    /// The additional section.
    pub additional: Vec<Record>,
    /// Of the SOA in the authority section, if there is one: its zone, and the time for which "no" may be kept.
    pub negative: Option<(SmolStr, Duration)>,
    /// The authority section names other servers, and no SOA: this one does not know.
    pub referral: bool,
}

/// Bytes that are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadReply {
    /// Another question's answer, or somebody guesses: keep listening.
    #[error("an answer to another question")]
    Foreign,
    /// It cannot be read.
    #[error("an answer that cannot be read")]
    Malformed,
}

/// The bytes of a question; `edns` says whether to offer answers of 1232 bytes over UDP (the limit of DNS flag day 2020,
/// which passes everywhere without fragments) or 512.
///
/// # Errors
///
/// [`InvalidName`]; never for what [`Name::new`] made.
pub fn encode(question: &Question, id: u16, edns: bool) -> Result<Vec<u8>, InvalidName> {
    let invalid = || InvalidName(question.name.to_string());
    let name = WireName::<Vec<u8>>::from_str(question.name.as_str()).map_err(|_| invalid())?;
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(id);
    message.header_mut().set_rd(true);
    let mut message = message.question();
    message.push(WireQuestion::new(name, question.kind.rtype(), Class::IN)).map_err(|_| invalid())?;
    let mut message = message.additional();
    if edns {
        message
            .opt(|opt| {
                opt.set_udp_payload_size(UDP_PAYLOAD);
                Ok(())
            })
            .map_err(|_| invalid())?;
    }
    Ok(message.finish())
}

const UDP_PAYLOAD: u16 = 1232;

/// Reads an answer. O(length).
///
/// # Errors
///
/// [`BadReply`].
pub fn decode(bytes: &[u8], question: &Question, id: u16) -> Result<Reply, BadReply> {
    let message = Message::from_octets(bytes).map_err(|_| BadReply::Foreign)?;
    let header = message.header();
    if header.id() != id || !header.qr() {
        return Err(BadReply::Foreign);
    }
    let rcode = rcode(message.opt_rcode());
    match message.sole_question() {
        Ok(asked) => {
            let same = asked.qtype() == question.kind.rtype()
                && asked.qclass() == Class::IN
                && name(asked.qname()).as_ref() == Some(&question.name);
            if !same {
                return Err(BadReply::Foreign);
            }
        }
        // Servers that cannot read a question do not repeat it.
        Err(_) if rcode == Rcode::FormatError || rcode == Rcode::Other(4) => {}
        Err(_) => return Err(BadReply::Foreign),
    }
    let mut reply = Reply {
        rcode,
        truncated: header.tc(),
        answer: Vec::new(),
        additional: Vec::new(),
        negative: None,
        referral: false,
    };
    // A truncated message may end anywhere, and is not used.
    if !reply.truncated && rcode != Rcode::FormatError {
        sections(&message, &mut reply).ok_or(BadReply::Malformed)?;
    }
    Ok(reply)
}

fn sections(message: &Message<&[u8]>, reply: &mut Reply) -> Option<()> {
    let mut section = message.answer().ok()?;
    records(&mut section, &mut reply.answer)?;
    let mut section = section.next_section().ok()??;
    let mut servers = false;
    for record in section.by_ref() {
        let record = record.ok()?;
        match record.rtype() {
            Rtype::NS => servers = true,
            Rtype::SOA => {
                let zone = name_text(&record.owner()).unwrap_or_default();
                let soa = record.to_record::<Soa<ParsedName<_>>>().ok()??;
                let kept = ttl(soa.ttl()).min(ttl(soa.data().minimum()));
                reply.negative = Some((zone, kept));
            }
            _ => {}
        }
    }
    reply.referral = servers && reply.negative.is_none();
    let mut section = section.next_section().ok()??;
    records(&mut section, &mut reply.additional)
}

fn records(section: &mut RecordSection<'_, &[u8]>, into: &mut Vec<Record>) -> Option<()> {
    for record in section.by_ref() {
        let record = record.ok()?;
        if record.class() != Class::IN {
            continue;
        }
        // A name that no question of ours can have is no answer to one.
        let Some(owner) = name(&record.owner()) else { continue };
        if let Some(data) = data(&record)? {
            into.push(Record { owner, ttl: ttl(record.ttl()), data });
        }
    }
    Some(())
}

/// What a record says; an inner `None` if it is of another type.
fn data(record: &ParsedRecord<'_, &[u8]>) -> Option<Option<Data>> {
    Some(Some(match record.rtype() {
        Rtype::A => Data::Ip(record.to_record::<A>().ok()??.data().addr().into()),
        Rtype::AAAA => Data::Ip(record.to_record::<Aaaa>().ok()??.data().addr().into()),
        Rtype::CNAME => {
            let alias = record.to_record::<Cname<ParsedName<_>>>().ok()??;
            match name(alias.data().cname()) {
                Some(to) => Data::Alias(to),
                None => return Some(None),
            }
        }
        Rtype::SRV => {
            let record = record.to_record::<Srv<ParsedName<_>>>().ok()??;
            let srv = record.data();
            let (priority, weight, port) = (srv.priority(), srv.weight(), srv.port());
            if srv.target().is_root() {
                Data::Srv { priority, weight, port, target: None }
            } else {
                match name(srv.target()) {
                    Some(target) => Data::Srv { priority, weight, port, target: Some(target) },
                    None => Data::BadTarget(smol_str::format_smolstr!("{}", srv.target())),
                }
            }
        }
        _ => return Some(None),
    }))
}

fn name<N: ToName>(wire: &N) -> Option<Name> {
    Name::new(&name_text(wire)?).ok()
}

/// The text of a name of plain labels; empty for the root.
fn name_text<N: ToName + ?Sized>(wire: &N) -> Option<SmolStr> {
    let mut text = String::new();
    for label in wire.iter_labels().filter(|label| !label.is_root()) {
        if !label.as_slice().iter().copied().all(is_allowed) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.as_slice().iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    Some(text.into())
}

/// Above 2^31 it counts as 0 (RFC 2181, section 8).
fn ttl(ttl: Ttl) -> Duration {
    let seconds = ttl.as_secs();
    Duration::from_secs(if seconds > i32::MAX.unsigned_abs() { 0 } else { seconds.into() })
}

fn rcode(rcode: OptRcode) -> Rcode {
    match rcode.rcode() {
        _ if rcode.is_ext() => Rcode::Other(rcode.to_int()),
        WireRcode::NOERROR => Rcode::NoError,
        WireRcode::NXDOMAIN => Rcode::NameError,
        WireRcode::SERVFAIL => Rcode::ServerFailure,
        WireRcode::REFUSED => Rcode::Refused,
        WireRcode::FORMERR => Rcode::FormatError,
        _ => Rcode::Other(rcode.to_int()),
    }
}

/// What an answer says about its question, aliases within it followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// These, for so long.
    Found {
        /// Records of the type that was asked for.
        records: Vec<Record>,
        /// The lowest time to live on the way.
        ttl: Duration,
    },
    /// It is another name's business: ask for that.
    Alias {
        /// Which.
        to: Name,
        /// How many aliases led there.
        hops: usize,
        /// The lowest time to live on the way.
        ttl: Duration,
    },
    /// There are none; proven for so long, or not proven.
    Nobody {
        /// The negative time to live, if an SOA proves it.
        proven: Option<Duration>,
    },
    /// Aliases that lead in a circle, or too far.
    Endless,
    /// The server points elsewhere.
    Referral,
}

/// The most aliases from a question to its answer; resolvers allow 8 to 16.
pub const MAX_ALIASES: usize = 8;

impl Reply {
    /// What the answer to `question` is, if its [`rcode`](Self::rcode) is `NoError` or `NameError`.
    #[must_use]
    pub fn finding(&self, question: &Question) -> Finding {
        let (mut at, mut ttl) = (&question.name, Duration::MAX);
        for hops in 0..=MAX_ALIASES {
            let here = || self.answer.iter().filter(|record| record.owner == *at);
            let records: Vec<_> = here().filter(|record| record.data.is(question.kind)).cloned().collect();
            if !records.is_empty() {
                let ttl = records.iter().map(|record| record.ttl).fold(ttl, Ord::min);
                return Finding::Found { records, ttl };
            }
            let alias = here().find_map(|record| match &record.data {
                Data::Alias(to) => Some((to, record.ttl)),
                _ => None,
            });
            match alias {
                Some((to, lives)) => (at, ttl) = (to, ttl.min(lives)),
                None => return self.nothing(at, hops, ttl),
            }
        }
        Finding::Endless
    }

    fn nothing(&self, at: &Name, hops: usize, ttl: Duration) -> Finding {
        let proven = self.negative.as_ref().filter(|(zone, _)| at.is_in(zone)).map(|(_, kept)| *kept);
        if proven.is_some() || self.rcode == Rcode::NameError {
            Finding::Nobody { proven }
        } else if hops > 0 {
            Finding::Alias { to: at.clone(), hops, ttl }
        } else if self.referral {
            Finding::Referral
        } else {
            Finding::Nobody { proven: None }
        }
    }

    /// Addresses of a host that the server sent along, and for how long.
    #[must_use]
    pub fn sent_along(&self, host: &Name) -> Option<(Vec<IpAddr>, Duration)> {
        let mut ttl = Duration::MAX;
        let mut ips = Vec::new();
        for record in self.additional.iter().filter(|record| record.owner == *host) {
            if let Data::Ip(ip) = record.data {
                ips.push(ip);
                ttl = ttl.min(record.ttl);
            }
        }
        (!ips.is_empty()).then_some((ips, ttl))
    }
}
