use std::time::Duration;

use evenkeel_balance::compat::haproxy::HashType;
use evenkeel_probe::{BodyMatch, HttpProbe, Statuses};
use evenkeel_route::retry::{RetryOn, StatusRange};
use evenkeel_route::split::HeaderChange;

use super::balance::{self, Chosen};
use super::lexer::Line;
use super::server::Parameters;
use super::units::{number, time};
use crate::error::ConvertError;
use crate::key_rule::KeyRule;
use crate::place::Place;
use crate::report::Report;

/// What `defaults` and the lines of a proxy set, but for servers, conditions and addresses.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) is_http: bool,
    pub(crate) balance: Option<(Chosen, Option<KeyRule>)>,
    pub(crate) hash_type: HashType,
    pub(crate) hash_balance_factor: Option<u32>,
    pub(crate) uses_all_backups: bool,
    pub(crate) retries: u32,
    pub(crate) retry_on: RetryOn,
    pub(crate) server_timeout: Option<Duration>,
    pub(crate) check_timeout: Option<Duration>,
    pub(crate) check: Check,
    pub(crate) server: Parameters,
    pub(crate) cookie: Option<Cookie>,
    pub(crate) table: Option<(u32, Option<Duration>)>,
    pub(crate) sticks_to_source: bool,
    pub(crate) default_backend: Option<String>,
    pub(crate) request_headers: Vec<HeaderChange>,
    pub(crate) response_headers: Vec<HeaderChange>,
}

/// How servers are checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Check {
    Tcp { send: Option<String>, expect: Option<String>, port: Option<u16> },
    Http(Box<HttpProbe>, Option<u16>),
}

/// `cookie NAME insert …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) is_secure: bool,
    /// Words that say something that ours does not.
    pub(crate) unread: Vec<String>,
    pub(crate) line: Line,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_http: false,
            balance: None,
            hash_type: HashType::default(),
            hash_balance_factor: None,
            uses_all_backups: false,
            retries: 3,
            retry_on: nothing_but_connections(),
            server_timeout: None,
            check_timeout: None,
            check: Check::Tcp { send: None, expect: None, port: None },
            server: Parameters::default(),
            cookie: None,
            table: None,
            sticks_to_source: false,
            default_backend: None,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
        }
    }
}

/// What HAProxy tries again unless it is told otherwise.
pub(crate) fn nothing_but_connections() -> RetryOn {
    RetryOn {
        statuses: Vec::new(),
        grpc_codes: Vec::new(),
        connect_failed: true,
        refused: false,
        reset: false,
        timed_out: false,
    }
}

impl Settings {
    /// Takes a line; whether it is one of these.
    pub(crate) fn take(&mut self, line: &Line, report: &mut Report) -> Result<bool, ConvertError> {
        let (place, subject) = (line.place(), line.text());
        let texts = line.texts();
        let argument = || {
            line.words
                .get(1)
                .ok_or_else(|| ConvertError::unexpected(place, texts[0], "a value comes after it"))
        };
        match texts.as_slice() {
            ["mode", mode] => {
                self.is_http = match *mode {
                    "http" => true,
                    "tcp" => false,
                    other => {
                        return Err(ConvertError::value(
                            &line.words[1].place,
                            "mode",
                            other,
                            "http or tcp is read",
                        ));
                    }
                };
                report.taken(
                    place,
                    subject,
                    if self.is_http { "requests are routed" } else { "connections are routed" },
                );
            }
            ["balance", ..] => self.balance = balance::balance(line, report)?,
            ["hash-type", ..] => self.hash_type = balance::hash_type(line, report)?,
            ["hash-balance-factor", _] => {
                let factor = number("hash-balance-factor", argument()?, 0..=u32::MAX)?;
                if (1..=100).contains(&factor) {
                    return Err(ConvertError::value(
                        &line.words[1].place,
                        texts[0],
                        texts[1],
                        "0 or more than 100",
                    ));
                }
                self.hash_balance_factor = Some(factor).filter(|&factor| factor > 0);
                report.taken(place, subject, "policy haproxy, hash_balance_factor");
            }
            ["retries", _] => {
                self.retries = number("retries", argument()?, 0..=u32::MAX)?;
                report.differs(place, subject, "retry.attempts is one more, up to 16: each goes to another server, where HAProxy asks the same one again");
            }
            ["retry-on", conditions @ ..] => self.conditions(conditions, line, report)?,
            ["timeout", kind, _] => self.timeout(kind, line, report)?,
            ["option", "httpchk", rest @ ..] => {
                let (mut probe, port) = match &self.check {
                    // What `http-check` says holds wherever it stands.
                    Check::Http(probe, port) => (probe.clone(), *port),
                    Check::Tcp { .. } => (Box::new(http_check()), None),
                };
                for word in ask(&mut probe, rest) {
                    report.none(place, format!("option httpchk: {word}"), "checks send no such thing");
                }
                // What is put behind the version is read with it.
                let version = rest.get(2).and_then(|text| text.split("\r\n").next());
                if version == Some("HTTP/1.1") {
                    report.taken(place, subject, "a check by HTTP");
                } else {
                    let detail = "a check by HTTP/1.1, where HAProxy asks in 1.0 unless told otherwise";
                    report.differs(place, subject, detail);
                }
                self.check = Check::Http(probe, port);
            }
            ["option", "tcp-check"] => {
                self.check = Check::Tcp { send: None, expect: None, port: None };
                report.taken(place, subject, "a check by TCP");
            }
            ["no", "option", "httpchk" | "tcp-check"] => {
                self.check = Check::Tcp { send: None, expect: None, port: None };
                report.taken(place, subject, "a check by TCP");
            }
            ["http-check", rest @ ..] => self.http_check(rest, line, report)?,
            ["tcp-check", rest @ ..] => self.tcp_check(rest, line, report)?,
            [
                "option",
                "ssl-hello-chk" | "smtpchk" | "mysql-check" | "pgsql-check" | "redis-check" | "ldap-check"
                | "spop-check",
                words @ ..,
            ] => {
                self.check = Check::Tcp { send: None, expect: None, port: None };
                if !words.is_empty() {
                    let subject = format!("{}: {}", texts[1], words.join(" "));
                    report.none(place, subject, "checks send no such thing");
                }
                report.differs(
                    place,
                    subject,
                    "only whether a connection is made is checked: give send and expect, or a command",
                );
            }
            ["option", "external-check"] | ["external-check", ..] => {
                report.none(
                    place,
                    subject,
                    "a check by a program: give the cluster's check the probe command",
                );
            }
            ["option", "redispatch"] | ["option", "redispatch", _] => {
                if let Some(word) = line.words.get(2).filter(|word| word.text.parse::<i32>().is_err()) {
                    let allowed = "a whole number";
                    return Err(ConvertError::value(
                        &word.place,
                        "option redispatch",
                        word.text.clone(),
                        allowed,
                    ));
                }
                report.taken(place, subject, "every further attempt goes to another server");
            }
            ["option", "allbackups"] => {
                self.uses_all_backups = true;
                report.taken(place, subject, "all backups have the priority 1");
            }
            ["no", "option", "allbackups"] => {
                self.uses_all_backups = false;
                report.taken(place, subject, "one backup after the other");
            }
            ["default-server", ..] => {
                self.server.take(&line.words[1..], report)?;
                report.taken(place, subject, "taken for the servers that follow");
            }
            ["cookie", name, words @ ..] => {
                let after =
                    |word: &str| words.iter().position(|w| *w == word).and_then(|at| line.words.get(at + 3));
                let lifetime = match after("maxlife").or_else(|| after("maxidle")) {
                    Some(word) => Some(super::units::time_in("maxlife", word, 1_000_000)?),
                    None => None,
                };
                self.cookie = Some(Cookie {
                    name: (*name).to_owned(),
                    lifetime,
                    is_secure: words.contains(&"secure"),
                    unread: unread_of_cookie(words),
                    line: line.clone(),
                });
                if !words.contains(&"insert") {
                    report.differs(
                        place,
                        subject,
                        "a cookie of evenkeel's own, which it sets itself: `insert`",
                    );
                }
            }
            ["stick-table", words @ ..] => {
                let after =
                    |word: &str| words.iter().position(|w| *w == word).and_then(|at| line.words.get(at + 2));
                let found = after("size").map(|word| {
                    size(&word.text).filter(|size| (1..=100_000_000).contains(size)).ok_or_else(|| {
                        let allowed = "1 to 100000000, or with k or m";
                        ConvertError::value(&word.place, "stick-table size", word.text.clone(), allowed)
                    })
                });
                let size = found.transpose()?.unwrap_or(100_000);
                let expire = after("expire").map(|word| time("expire", word)).transpose()?;
                self.table = Some((size, expire));
                let by_ip = words.windows(2).any(|pair| pair == ["type", "ip"] || pair == ["type", "ipv6"]);
                for word in unread_of_table(words) {
                    let subject = format!("stick-table: {word}");
                    report.none(place, subject, "the table knows who is where, and nothing else");
                }
                if by_ip {
                    report.taken(place, subject, "affinity.learned.table, where `stick on src` uses it");
                } else {
                    report.none(
                        place,
                        subject,
                        "only tables of addresses are followed: give the route affinity.learned",
                    );
                }
            }
            ["stick", "on" | "match", "src", rest @ ..] => {
                self.sticks_to_source = true;
                if !rest.is_empty() {
                    let subject = format!("stick: {}", rest.join(" "));
                    report.none(place, subject, "every request sticks, and by the table of its own backend");
                }
                report.differs(
                    place,
                    subject,
                    "affinity.learned by the source: the memory of one process, without peers",
                );
            }
            ["stick", ..] => report.none(place, subject, "give the route affinity.learned with this key"),
            ["default_backend", name] => {
                self.default_backend = Some((*name).to_owned());
                report.taken(place, subject, "the last route");
            }
            [
                "http-request" | "http-response",
                kind @ ("set-header" | "add-header" | "del-header"),
                rest @ ..,
            ] => {
                self.header(texts[0], kind, rest, line, report);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn conditions(&mut self, words: &[&str], line: &Line, report: &mut Report) -> Result<(), ConvertError> {
        let mut on = RetryOn { connect_failed: false, ..nothing_but_connections() };
        for (word, place) in words.iter().zip(line.words[1..].iter().map(|word| &word.place)) {
            let subject = format!("retry-on {word}");
            match *word {
                "none" => {}
                "conn-failure" => on.connect_failed = true,
                "empty-response" => on.reset = true,
                "junk-response" => {
                    on.reset = true;
                    report.differs(
                        place,
                        subject,
                        "an answer that makes no sense counts as a broken connection",
                    );
                    continue;
                }
                "response-timeout" => on.timed_out = true,
                "all-retryable-errors" => {
                    (on.connect_failed, on.reset, on.timed_out, on.refused) = (true, true, true, true);
                    on.statuses
                        .extend([500, 502, 503, 504].map(|code| StatusRange { first: code, last: code }));
                }
                "0rtt-rejected" => {
                    report.none(place, subject, "early data is your client's");
                    continue;
                }
                code => {
                    let known = code.parse::<u16>().ok().filter(|code| (400..=599).contains(code));
                    let Some(code) = known else {
                        let allowed = "none, conn-failure, empty-response, junk-response, response-timeout, 0rtt-rejected, all-retryable-errors or a status";
                        return Err(ConvertError::unexpected(place, code, allowed));
                    };
                    on.statuses.push(StatusRange { first: code, last: code });
                }
            }
            report.taken(place, subject, "retry.on");
        }
        on.statuses.sort_by_key(|range| range.first);
        on.statuses.dedup();
        self.retry_on = on;
        Ok(())
    }

    fn timeout(&mut self, kind: &str, line: &Line, report: &mut Report) -> Result<(), ConvertError> {
        let (place, subject) = (line.place(), line.text());
        let found = time(&format!("timeout {kind}"), &line.words[2])?;
        match kind {
            "server" => {
                self.server_timeout = Some(found).filter(|found| !found.is_zero());
                report.differs(place, subject, "retry.per_try_timeout, where attempts are tried again: for all of an attempt, where HAProxy counts the server's silence");
            }
            "check" => {
                self.check_timeout = Some(found).filter(|found| !found.is_zero());
                report.taken(place, subject, "the timeout of checks");
            }
            "connect" => report.none(place, subject, "connections are your client's: set its timeout"),
            "queue" => report.none(place, subject, "nothing queues here"),
            _ => report.none(place, subject, "connections of clients are your server's"),
        }
        Ok(())
    }

    fn http_check(&mut self, words: &[&str], line: &Line, report: &mut Report) -> Result<(), ConvertError> {
        let (place, subject) = (line.place(), line.text());
        if !matches!(self.check, Check::Http(..)) {
            self.check = Check::Http(Box::new(http_check()), None);
        }
        let Check::Http(probe, port) = &mut self.check else { return Ok(()) };
        match words {
            ["send", rest @ ..] => {
                let mut rest = rest.iter();
                while let Some(word) = rest.next() {
                    let mut next = || rest.next().map_or(String::new(), |word| (*word).to_owned());
                    match *word {
                        "meth" => probe.method = next(),
                        "uri" => probe.path = next(),
                        "ver" => {
                            let version = next();
                            tell_version(&version, place, report);
                        }
                        "hdr" => {
                            let (name, value) = (next(), next());
                            put(probe, &name, &value);
                        }
                        other => report.none(
                            place,
                            format!("http-check send {other}"),
                            "checks send no such thing",
                        ),
                    }
                }
                report.taken(place, subject, "the request of the check");
            }
            ["expect", rest @ ..] => {
                let rest: Vec<&str> = rest.iter().copied().filter(|word| *word != "!").collect();
                match rest.as_slice() {
                    ["status", codes] if !line.texts().contains(&"!") => {
                        let statuses: Statuses = codes.replace(',', ", ").parse().map_err(|_| {
                            ConvertError::value(
                                place,
                                "http-check expect status",
                                *codes,
                                "statuses such as 200,204 or 200-399",
                            )
                        })?;
                        probe.retriable = all_but(&statuses);
                        probe.expected = statuses;
                        report.taken(place, subject, "the expected statuses");
                    }
                    ["string", text] if !line.texts().contains(&"!") => {
                        probe.body = Some(BodyMatch::Contains((*text).to_owned()));
                        report.taken(place, subject, "the expected body");
                    }
                    ["rstring", text] if !line.texts().contains(&"!") => {
                        probe.body = Some(BodyMatch::Regex((*text).to_owned()));
                        report.taken(place, subject, "the expected body");
                    }
                    _ => report.none(
                        place,
                        subject,
                        "checks expect statuses and bodies: write those that are good",
                    ),
                }
            }
            ["connect", rest @ ..] => {
                let at = rest.iter().position(|word| *word == "port");
                if let Some(word) = at.and_then(|at| line.words.get(at + 3)) {
                    *port = Some(number("http-check connect port", word, 1..=65_535)? as u16);
                }
                for (_, word) in
                    rest.iter().enumerate().filter(|&(n, _)| at.is_none_or(|at| n != at && n != at + 1))
                {
                    let detail = "checks connect as requests do: what is said of the server holds";
                    report.none(place, format!("http-check connect {word}"), detail);
                }
                report.taken(place, subject, "the port of the check");
            }
            ["disable-on-404"] => {
                report.none(place, subject, "say with the header degraded_header that a server works worse");
            }
            ["send-state"] => report.none(place, subject, "checks tell servers nothing"),
            _ => report.none(place, subject, "checks have no such step"),
        }
        Ok(())
    }

    fn tcp_check(&mut self, words: &[&str], line: &Line, report: &mut Report) -> Result<(), ConvertError> {
        let (place, subject) = (line.place(), line.text());
        if !matches!(self.check, Check::Tcp { .. }) {
            self.check = Check::Tcp { send: None, expect: None, port: None };
        }
        let Check::Tcp { send, expect, port } = &mut self.check else { return Ok(()) };
        match words {
            ["connect"] => report.taken(place, subject, "a check connects"),
            ["connect", "port", _] => {
                *port = Some(number("tcp-check connect port", &line.words[3], 1..=65_535)? as u16);
                report.taken(place, subject, "the port of the check");
            }
            ["send", text] if send.is_none() => {
                *send = Some((*text).to_owned());
                report.taken(place, subject, "what the check sends");
            }
            ["expect", "string", text] if expect.is_none() => {
                *expect = Some((*text).to_owned());
                report.taken(place, subject, "what the check expects");
            }
            _ => report.none(place, subject, "a check sends once and expects once: write a command for more"),
        }
        Ok(())
    }

    fn header(&mut self, way: &str, kind: &str, words: &[&str], line: &Line, report: &mut Report) {
        let (place, subject) = (line.place(), line.text());
        let changes =
            if way == "http-request" { &mut self.request_headers } else { &mut self.response_headers };
        let change = match (kind, words) {
            ("set-header", [name, value]) if !value.contains('%') => {
                HeaderChange::Set { name: (*name).to_owned(), value: (*value).to_owned() }
            }
            ("add-header", [name, value]) if !value.contains('%') => {
                HeaderChange::Add { name: (*name).to_owned(), value: (*value).to_owned() }
            }
            ("del-header", [name]) => HeaderChange::Remove { name: (*name).to_owned() },
            _ => {
                report.none(
                    place,
                    subject,
                    "values that are made of others, and changes under a condition, are set where you send",
                );
                return;
            }
        };
        changes.push(change);
        report.taken(place, subject, "headers of the routes");
    }
}

/// `OPTIONS /`, and any of 200 to 399, as HAProxy asks unless told otherwise. Other statuses count towards `fall`.
fn http_check() -> HttpProbe {
    let expected = Statuses::range(200, 399).unwrap_or_else(|_| Statuses::success());
    HttpProbe {
        method: "OPTIONS".to_owned(),
        path: "/".to_owned(),
        retriable: all_but(&expected),
        expected,
        ..HttpProbe::default()
    }
}

/// What follows `option httpchk`: a path, or a method, a path, a version and a host. Before HAProxy 2.2 header fields were written
/// behind the version, and are read there to this day. What comes back is not read.
fn ask(probe: &mut HttpProbe, words: &[&str]) -> Vec<String> {
    match words {
        [] => {}
        [path] => {
            "OPTIONS".clone_into(&mut probe.method);
            (*path).clone_into(&mut probe.path);
        }
        [method, path, ..] => {
            (*method).clone_into(&mut probe.method);
            (*path).clone_into(&mut probe.path);
        }
    }
    let mut unread = Vec::new();
    let (head, body) =
        words.get(2).map_or(("", ""), |text| text.split_once("\r\n\r\n").unwrap_or((text, "")));
    for field in head.split("\r\n").skip(1).filter(|field| !field.trim().is_empty()) {
        match field.split_once(':') {
            Some((name, value)) => put(probe, name.trim(), value.trim()),
            None => unread.push(field.trim().to_owned()),
        }
    }
    if !body.is_empty() {
        unread.push(body.to_owned());
    }
    if let Some(host) = words.get(3) {
        probe.host = Some((*host).to_owned());
    }
    unread.extend(words.iter().skip(4).map(|word| (*word).to_owned()));
    unread
}

/// Checks ask in HTTP/1.1.
fn tell_version(version: &str, place: &Place, report: &mut Report) {
    if version != "HTTP/1.1" {
        report.differs(place, format!("http-check send ver {version}"), "checks ask in HTTP/1.1");
    }
}

/// Words of `cookie NAME …` that say something that our cookie does not.
fn unread_of_cookie(words: &[&str]) -> Vec<String> {
    let mut unread = Vec::new();
    let mut words = words.iter();
    let has_life = words.as_slice().contains(&"maxlife");
    while let Some(&word) = words.next() {
        let mut value = || words.next().copied().unwrap_or_default();
        match word {
            // How it is set is told of the line, and that scripts do not see it is so in any case.
            "insert" | "rewrite" | "prefix" | "secure" | "httponly" => {}
            "maxlife" => drop(value()),
            "maxidle" => {
                let time = value();
                if has_life {
                    unread.push(format!("maxidle {time}"));
                }
            }
            "domain" | "attr" => unread.push(format!("{word} {}", value())),
            other => unread.push(other.to_owned()),
        }
    }
    unread
}

/// Words of `stick-table …` that say something that our table does not. What is peered and stored is written with a value.
fn unread_of_table(words: &[&str]) -> Vec<String> {
    let mut unread = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "type" | "size" | "expire" => drop(words.next()),
            // Only of other types than addresses, which are told as a whole.
            "len" => drop(words.next()),
            "store" | "peers" | "write-to" | "srvkey" | "brates-factor" => {
                unread.push(format!("{word} {}", words.next().unwrap_or_default()));
            }
            other => unread.push(other.to_owned()),
        }
    }
    unread
}

/// A header field of a check.
fn put(probe: &mut HttpProbe, name: &str, value: &str) {
    if name.eq_ignore_ascii_case("host") {
        probe.host = Some(value.to_owned());
    } else {
        probe.headers.insert(name.to_owned(), value.to_owned());
    }
}

/// The other statuses.
pub(crate) fn all_but(statuses: &Statuses) -> Statuses {
    let mut ranges = Vec::new();
    let mut first = None;
    for status in 100..=600_u16 {
        let is_in = status <= 599 && !statuses.contains(status);
        match (first, is_in) {
            (None, true) => first = Some(status),
            (Some(start), false) => {
                ranges.push(format!("{start}-{}", status - 1));
                first = None;
            }
            _ => {}
        }
    }
    ranges.join(", ").parse().unwrap_or_default()
}

/// `100k`
fn size(text: &str) -> Option<u32> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u32>().ok()?.checked_mul(factor)
}
