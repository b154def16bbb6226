//! The variables of nginx, HAProxy and Envoy: which ones say when, how long, and how it ended.
//!
//! Sources: nginx, ngx_http_log_module and ngx_http_upstream_module; HAProxy, configuration manual, "Custom log format" and
//! "Timing events"; Envoy, "Access logging".

use super::found::{Found, Upstream, hash, path, status};
use super::parser::{Skip, Wrong};
use super::quantity::{MILLISECOND, Nanos, SECOND, decimal};
use super::settings::StampOf;
use super::stamp;
use super::template::Template;
use crate::error::Invalid;

/// A template whose variables are understood.
#[derive(Debug)]
pub(crate) struct Dialect {
    program: Program,
    template: Template,
    /// For each variable what it is, if it is of use.
    roles: Vec<Option<Role>>,
    /// The variable that is the key, and whether it is a request that has a path.
    key: Option<(usize, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Nginx,
    Haproxy,
    Envoy,
}

/// What a variable says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Role {
    /// When, best first.
    Seconds,
    Time,
    Status,
    Server,
    Total,
    Upstream,
    /// HAProxy's timers; `Total` is `Ta`, or else `Tt`.
    Session,
    Handshake,
    Idle,
    Receive,
    Question,
    Queue,
    Connect,
    Answer,
}

const ROLES: usize = Role::Answer as usize + 1;

/// The values of a line, by role.
struct Values<'a> {
    by_role: [Option<&'a [u8]>; ROLES],
    key: Option<&'a [u8]>,
}

impl Dialect {
    pub(crate) fn nginx(log_format: &str, key: Option<&str>) -> Result<Self, Invalid> {
        let template = Template::nginx(FORMAT, log_format)?;
        let role = |name: &str| match name {
            "msec" => Some(Role::Seconds),
            "time_local" | "time_iso8601" => Some(Role::Time),
            "request_time" => Some(Role::Total),
            "upstream_response_time" => Some(Role::Upstream),
            "status" => Some(Role::Status),
            "upstream_addr" => Some(Role::Server),
            _ => None,
        };
        let own = Self::new(Program::Nginx, template, role, key, &["request", "request_uri", "uri"])?;
        own.need(&[Role::Seconds, Role::Time], log_format, "$msec, $time_iso8601 or $time_local")?;
        let durations =
            "$upstream_response_time or $request_time: without them it does not say how long requests took";
        own.need(&[Role::Total, Role::Upstream], log_format, durations)?;
        Ok(own)
    }

    pub(crate) fn haproxy(log_format: &str, key: Option<&str>) -> Result<Self, Invalid> {
        let template = Template::haproxy(FORMAT, log_format)?;
        let role = |name: &str| match name {
            "tr" | "trg" | "trl" | "t" | "T" | "Tl" => Some(Role::Time),
            "Ts" => Some(Role::Seconds),
            "Ta" => Some(Role::Total),
            "Tt" => Some(Role::Session),
            "Th" => Some(Role::Handshake),
            "Ti" => Some(Role::Idle),
            "TR" => Some(Role::Receive),
            "Tq" => Some(Role::Question),
            "Tw" => Some(Role::Queue),
            "Tc" => Some(Role::Connect),
            "Tr" => Some(Role::Answer),
            "ST" => Some(Role::Status),
            "s" => Some(Role::Server),
            _ => None,
        };
        let own = Self::new(Program::Haproxy, template, role, key, &["r", "HU", "HP", "HPO"])?;
        own.need(&[Role::Seconds, Role::Time], log_format, "%tr or %t")?;
        own.need(&[Role::Total, Role::Session], log_format, "%Ta or %Tt")?;
        Ok(own)
    }

    pub(crate) fn envoy(log_format: &str, key: Option<&str>) -> Result<Self, Invalid> {
        let template = Template::envoy(FORMAT, log_format)?;
        let role = |name: &str| match name {
            "DURATION" => Some(Role::Total),
            "RESPONSE_CODE" => Some(Role::Status),
            "UPSTREAM_HOST" => Some(Role::Server),
            _ if name.starts_with("START_TIME") => Some(Role::Time),
            _ if name.eq_ignore_ascii_case("RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)") => Some(Role::Upstream),
            _ => None,
        };
        let paths = ["REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "REQ(:PATH)", "PATH"];
        let own = Self::new(Program::Envoy, template, role, key, &paths)?;
        own.need(&[Role::Time], log_format, "%START_TIME%")?;
        own.need(&[Role::Total, Role::Upstream], log_format, "%DURATION%")?;
        Ok(own)
    }

    fn new(
        program: Program,
        template: Template,
        role: impl Fn(&str) -> Option<Role>,
        key: Option<&str>,
        requests: &[&str],
    ) -> Result<Self, Invalid> {
        let names = template.names();
        let position = |wanted: &str| names.iter().position(|name| name == wanted);
        let key = match key {
            Some(wanted) => {
                let wanted = wanted.trim_start_matches(['$', '%']).trim_end_matches('%');
                let known = || format!("allowed is a variable of the format: {}", names.join(", "));
                let at = position(wanted).ok_or_else(|| Invalid::new(KEY, wanted, known()))?;
                Some((at, requests.contains(&wanted)))
            }
            None => requests.iter().find_map(|name| position(name)).map(|at| (at, true)),
        };
        let roles = names.iter().map(|name| role(name)).collect();
        Ok(Self { program, template, roles, key })
    }

    fn need(&self, one_of: &[Role], log_format: &str, named: &str) -> Result<(), Invalid> {
        let is_there = self.roles.iter().flatten().any(|role| one_of.contains(role));
        let needed =
            || Invalid::new(FORMAT, format_args!("{log_format:?}"), format_args!("it needs {named}"));
        if is_there { Ok(()) } else { Err(needed()) }
    }

    /// Linear in the line.
    pub(crate) fn read(&self, line: &[u8]) -> Result<Found, Wrong> {
        let line = if self.program == Program::Haproxy { without_syslog(line) } else { line };
        let mut values = Values { by_role: [None; ROLES], key: None };
        self.template.read(line, |number, value| {
            if let Some(role) = self.roles[number] {
                values.by_role[role as usize].get_or_insert(value);
            }
            if let Some((at, is_request)) = self.key
                && at == number
            {
                values.key = Some(if is_request { path(value) } else { value });
            }
        })?;
        let mut found = match self.program {
            Program::Nginx => nginx(&values),
            Program::Haproxy => haproxy(&values),
            Program::Envoy => envoy(&values),
        }?;
        found.key = values.key.map(hash);
        found.status = values.get(Role::Status).map_or(Ok(None), |text| status("status", text))?;
        Ok(found)
    }
}

impl<'a> Values<'a> {
    const fn get(&self, role: Role) -> Option<&'a [u8]> {
        self.by_role[role as usize]
    }

    /// The best time that there is.
    fn at(&self) -> Result<Nanos, Wrong> {
        if let Some(text) = self.get(Role::Seconds) {
            return decimal(text, SECOND).ok_or_else(|| Wrong::value("time", text, "seconds since 1970"));
        }
        let text = self.get(Role::Time).unwrap_or_default();
        stamp::parse(text, SECOND).ok_or_else(|| Wrong::value("time", text, "a date with a time"))
    }

    /// A timer of HAProxy, in milliseconds. -1 is none.
    fn timer(&self, role: Role, name: &str) -> Result<Option<u64>, Wrong> {
        match self.get(role) {
            None | Some(b"-1") => Ok(None),
            Some([b'+', ..]) => {
                Err(Wrong::value(name, self.get(role).unwrap_or_default(), "a final time, without logasap"))
            }
            Some(text) => match decimal(text, MILLISECOND) {
                Some(time) => Ok(Some(time.nanos)),
                None => Err(Wrong::value(name, text, "milliseconds")),
            },
        }
    }
}

fn nginx(values: &Values<'_>) -> Result<Found, Wrong> {
    // The line is written when the request has ended.
    let mut found = Found::new(values.at()?, StampOf::End);
    if let Some(text) = values.get(Role::Total) {
        let time =
            decimal(text, SECOND).ok_or_else(|| Wrong::value("request_time", text, "seconds, as 0.013"))?;
        found.total = Some(time);
    }
    found.server = values.get(Role::Server).and_then(|text| listed(text).last()).map(hash);
    if let Some(text) = values.get(Role::Upstream) {
        let mut upstream: Option<Upstream> = None;
        for part in listed(text) {
            let time = decimal(part, SECOND);
            let expected = "seconds, as 0.013, or several between commas and colons, or -";
            let time = time.ok_or_else(|| Wrong::value("upstream_response_time", text, expected))?;
            let before = upstream.map_or(0, |upstream| upstream.all);
            upstream = Some(Upstream { all: before.saturating_add(time.nanos), ..Upstream::one(time) });
        }
        found.upstream = upstream;
        if upstream.is_none() {
            found.skip = Some(Skip::NotSent);
        }
    }
    Ok(found)
}

/// `0.1, 0.2 : 0.3`: servers that were tried one after the other, and after an internal redirect. `-` stands for none.
fn listed(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    // A colon stands alone between groups, and without spaces within an address.
    let groups = text.split(|&byte| byte == b',' || byte == b' ');
    groups.map(<[u8]>::trim_ascii).filter(|part| !matches!(*part, b"" | b"-" | b":"))
}

fn haproxy(values: &Values<'_>) -> Result<Found, Wrong> {
    let mut found = Found::new(values.at()?, StampOf::Start);
    found.server = values.get(Role::Server).map(hash);
    if values.get(Role::Server).is_some_and(|server| matches!(server, b"<NOSRV>" | b"-" | b"")) {
        found.skip = Some(Skip::NotSent);
        return Ok(found);
    }
    let timer = |role, name| values.timer(role, name);
    for (role, name) in [(Role::Connect, "Tc"), (Role::Answer, "Tr")] {
        if values.get(role).is_some() && timer(role, name)?.is_none() {
            found.skip = Some(Skip::Unanswered);
            return Ok(found);
        }
    }
    let receive = timer(Role::Receive, "TR")?.unwrap_or(0);
    let (active, before) = match timer(Role::Total, "Ta")? {
        Some(active) => (active, receive),
        None => {
            let session = timer(Role::Session, "Tt")?;
            let expected = "milliseconds";
            let shown = values.get(Role::Session).or(values.get(Role::Total)).unwrap_or_default();
            let session = session.ok_or_else(|| Wrong::value("Tt", shown, expected))?;
            let parts = timer(Role::Handshake, "Th")?.unwrap_or(0).saturating_add(receive);
            let parts = parts.saturating_add(timer(Role::Idle, "Ti")?.unwrap_or(0));
            (session, timer(Role::Question, "Tq")?.unwrap_or(parts))
        }
    };
    let queue = timer(Role::Queue, "Tw")?.unwrap_or(0);
    let seen = active.saturating_sub(before);
    found.delay = before;
    found.total = Some(Nanos { nanos: seen, step: MILLISECOND });
    // What waited at HAProxy did not keep a server busy.
    found.upstream = Some(Upstream { last: seen.saturating_sub(queue), all: seen, step: MILLISECOND });
    Ok(found)
}

fn envoy(values: &Values<'_>) -> Result<Found, Wrong> {
    let mut found = Found::new(values.at()?, StampOf::Start);
    let time = |role, name| match values.get(role) {
        None | Some(b"-") => Ok(None),
        Some(text) => {
            decimal(text, MILLISECOND).map(Some).ok_or_else(|| Wrong::value(name, text, "milliseconds"))
        }
    };
    found.total = time(Role::Total, "DURATION")?;
    found.upstream = time(Role::Upstream, "X-ENVOY-UPSTREAM-SERVICE-TIME")?.map(Upstream::one);
    let server = values.get(Role::Server).filter(|server| *server != b"-");
    found.server = server.map(hash);
    let says_none = values.get(Role::Upstream).is_some() && found.upstream.is_none();
    // Sent and never answered, or not sent at all: the host tells.
    if says_none {
        found.skip = Some(if server.is_some() { Skip::Unanswered } else { Skip::NotSent });
    }
    Ok(found)
}

/// The part of a line that HAProxy wrote: its client is the last word before the date in brackets.
fn without_syslog(line: &[u8]) -> &[u8] {
    let Some(bracket) = line.windows(2).position(|pair| pair == b" [") else { return line };
    let before = &line[..bracket];
    match before.iter().rposition(|&byte| byte == b' ') {
        Some(space) if before[..space].ends_with(b":") => &line[space + 1..],
        _ => line,
    }
}

const FORMAT: &str = "arrivals.replay.format.log_format";
const KEY: &str = "arrivals.replay.key";
