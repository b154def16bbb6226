//! Questions over UDP, and over TCP when the answer does not fit.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use evenkeel_registry::TroubleKind;

use crate::resolv_conf::{MAX_SERVERS, name_servers};
use crate::wire::{self, BadReply, Question, Rcode, Reply};
use crate::{DnsConfig, Failure};

/// Asks servers in turn, beginning with the one that answered last.
pub(crate) struct Exchange {
    servers: Vec<SocketAddr>,
    first: usize,
    buffer: Vec<u8>,
}

impl Exchange {
    pub(crate) fn new(config: &DnsConfig) -> Self {
        Self { servers: servers(config), first: 0, buffer: vec![0; config.max_answer_bytes + 1] }
    }

    /// Reads the list of servers anew, if it comes from a file: the network may be another one.
    pub(crate) fn refresh(&mut self, config: &DnsConfig) {
        let now = servers(config);
        if now != self.servers {
            (self.servers, self.first) = (now, 0);
        }
    }

    /// The answer of the first server that has one. Takes `servers × attempts × timeout` at most, twice that if answers
    /// are truncated, and ends within 0.8 s once `stop` says so.
    pub(crate) fn ask(
        &mut self,
        question: &Question,
        config: &DnsConfig,
        stop: &dyn Fn() -> bool,
    ) -> Result<Reply, Failure> {
        if self.servers.is_empty() {
            let text = format!("no name server is listed in {}", config.resolv_conf.display());
            return Err(Failure { kind: TroubleKind::Unreachable, text });
        }
        let mut failure = None;
        for attempt in 0..config.attempts as usize * self.servers.len() {
            let place = (self.first + attempt) % self.servers.len();
            let server = self.servers[place];
            match self.ask_one(server, question, config, stop) {
                Ok(reply) => {
                    self.first = place;
                    return Ok(reply);
                }
                // What a server says tells more than that another says nothing.
                Err(next) => {
                    let silent = |failure: &Failure| {
                        matches!(failure.kind, TroubleKind::Timeout | TroubleKind::Unreachable)
                    };
                    if failure.as_ref().is_none_or(|known| silent(known) || !silent(&next)) {
                        failure = Some(next);
                    }
                }
            }
            if stop() {
                break;
            }
        }
        Err(failure.unwrap_or(Failure { kind: TroubleKind::Timeout, text: "stopped".to_owned() }))
    }

    fn ask_one(
        &mut self,
        server: SocketAddr,
        question: &Question,
        config: &DnsConfig,
        stop: &dyn Fn() -> bool,
    ) -> Result<Reply, Failure> {
        let fail = |fault: &Fault| Failure {
            kind: fault.kind,
            text: format!("{question}: {server}: {}", fault.text),
        };
        let mut reply = None;
        for edns in [true, false] {
            let query = Query::new(question, edns, config, stop).map_err(|fault| fail(&fault))?;
            let heard = query.udp(server, &mut self.buffer).map_err(|fault| fail(&fault))?;
            let understood = heard.as_ref().is_none_or(|reply| reply.rcode != Rcode::FormatError);
            reply = match heard {
                Some(reply) if !reply.truncated => Some(reply),
                // It does not fit, or somebody guesses at answers: over TCP nobody can.
                _ => Some(query.tcp(server, &mut self.buffer).map_err(|fault| fail(&fault))?),
            };
            if understood {
                break;
            }
        }
        let Some(reply) = reply else { return Err(fail(&Fault::of(TroubleKind::Malformed, "no answer"))) };
        let refusal = match reply.rcode {
            Rcode::NoError | Rcode::NameError => return Ok(reply),
            Rcode::ServerFailure => Fault::of(TroubleKind::Server, "SERVFAIL"),
            Rcode::Refused => Fault::of(TroubleKind::Denied, "REFUSED"),
            Rcode::FormatError => Fault::of(TroubleKind::Malformed, "FORMERR"),
            Rcode::Other(code) => Fault::of(TroubleKind::Server, &format!("answer code {code}")),
        };
        Err(fail(&refusal))
    }
}

fn servers(config: &DnsConfig) -> Vec<SocketAddr> {
    if !config.servers.is_empty() {
        return config.servers.clone();
    }
    let Ok(file) = std::fs::File::open(&config.resolv_conf) else { return Vec::new() };
    let mut text = String::new();
    let read = file.take(64 << 10).read_to_string(&mut text);
    let mut found = if read.is_ok() { name_servers(&text) } else { Vec::new() };
    found.truncate(MAX_SERVERS);
    found
}

struct Fault {
    kind: TroubleKind,
    text: String,
}

impl Fault {
    fn of(kind: TroubleKind, text: &str) -> Self {
        Self { kind, text: text.to_owned() }
    }

    fn io(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => TroubleKind::Timeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => TroubleKind::Closed,
            io::ErrorKind::PermissionDenied => TroubleKind::Denied,
            _ => TroubleKind::Unreachable,
        };
        Self { kind, text: error.to_string() }
    }

    fn silence() -> Self {
        Self::of(TroubleKind::Timeout, "no answer")
    }
}

struct Query<'a> {
    question: &'a Question,
    id: u16,
    bytes: Vec<u8>,
    max_bytes: usize,
    timeout: Duration,
    stop: &'a dyn Fn() -> bool,
}

impl<'a> Query<'a> {
    fn new(
        question: &'a Question,
        edns: bool,
        config: &DnsConfig,
        stop: &'a dyn Fn() -> bool,
    ) -> Result<Self, Fault> {
        // A number that can be guessed lets anybody answer, so it is not drawn from a seed.
        let mut drawn = [0; 2];
        getrandom::fill(&mut drawn).map_err(|error| Fault::of(TroubleKind::Server, &error.to_string()))?;
        let id = u16::from_ne_bytes(drawn);
        let bytes = wire::encode(question, id, edns)
            .map_err(|error| Fault::of(TroubleKind::Malformed, &error.to_string()))?;
        Ok(Self { question, id, bytes, max_bytes: config.max_answer_bytes, timeout: config.timeout, stop })
    }

    /// The answer; `None` if there was so much else that it should be asked for over TCP. A new socket for each question
    /// has a port of the system's choice, which has to be guessed too.
    fn udp(&self, server: SocketAddr, buffer: &mut [u8]) -> Result<Option<Reply>, Fault> {
        let any: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).map_err(|error| Fault::io(&error))?;
        socket.connect(server).map_err(|error| Fault::io(&error))?;
        socket.send(&self.bytes).map_err(|error| Fault::io(&error))?;
        let until = later(present(), self.timeout);
        for _ in 0..MAX_STRANGERS {
            let length = self.read(until, |slice| {
                socket.set_read_timeout(Some(slice))?;
                socket.recv(buffer)
            })?;
            if length > self.max_bytes {
                return Err(self.too_large());
            }
            match wire::decode(&buffer[..length], self.question, self.id) {
                Ok(reply) => return Ok(Some(reply)),
                Err(BadReply::Foreign) => {}
                Err(bad) => return Err(Fault::of(TroubleKind::Malformed, &bad.to_string())),
            }
        }
        Ok(None)
    }

    fn tcp(&self, server: SocketAddr, buffer: &mut [u8]) -> Result<Reply, Fault> {
        let until = later(present(), self.timeout);
        let mut stream = TcpStream::connect_timeout(&server, self.timeout.min(LONGEST_CONNECT))
            .map_err(|error| Fault::io(&error))?;
        stream
            .set_write_timeout(Some(self.timeout.min(LONGEST_CONNECT)))
            .map_err(|error| Fault::io(&error))?;
        let length = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        let framed = [&length.to_be_bytes(), self.bytes.as_slice()].concat();
        stream.write_all(&framed).map_err(|error| Fault::io(&error))?;
        let mut head = [0; 2];
        self.fill(&mut stream, &mut head, until)?;
        let length = usize::from(u16::from_be_bytes(head));
        let Some(body) = buffer.get_mut(..length).filter(|_| length <= self.max_bytes) else {
            return Err(self.too_large());
        };
        self.fill(&mut stream, body, until)?;
        wire::decode(body, self.question, self.id)
            .map_err(|bad| Fault::of(TroubleKind::Malformed, &bad.to_string()))
    }

    /// Reads all of it, however slowly it comes, until the time is over.
    fn fill(&self, stream: &mut TcpStream, into: &mut [u8], until: Instant) -> Result<(), Fault> {
        let mut done = 0;
        while done < into.len() {
            let read = self.read(until, |slice| {
                stream.set_read_timeout(Some(slice))?;
                stream.read(&mut into[done..])
            })?;
            if read == 0 {
                return Err(Fault::of(TroubleKind::Closed, "the server closed the connection"));
            }
            done += read;
        }
        Ok(())
    }

    /// Waits in slices, so that a stop is seen.
    fn read(
        &self,
        until: Instant,
        mut once: impl FnMut(Duration) -> io::Result<usize>,
    ) -> Result<usize, Fault> {
        loop {
            let left = until.saturating_duration_since(present());
            if left.is_zero() || (self.stop)() {
                return Err(Fault::silence());
            }
            match once(left.clamp(Duration::from_millis(1), SLICE)) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) => {}
                other => return other.map_err(|error| Fault::io(&error)),
            }
        }
    }

    fn too_large(&self) -> Fault {
        Fault::of(TroubleKind::TooLarge, &format!("an answer above max_answer_bytes, {}", self.max_bytes))
    }
}

#[expect(clippy::disallowed_methods, reason = "the adapter's thread waits in real time")]
pub(crate) fn present() -> Instant {
    Instant::now()
}

/// A wait that overflows the clock is as good as a year.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).or_else(|| now.checked_add(Duration::from_secs(31_536_000))).unwrap_or(now)
}

/// How soon a stop is seen while waiting for an answer.
const SLICE: Duration = Duration::from_millis(100);
/// A name server that takes longer to be connected to is as good as dead; and a stop must not wait longer.
const LONGEST_CONNECT: Duration = Duration::from_millis(800);
/// So many datagrams that answer something else are no accident.
const MAX_STRANGERS: usize = 64;
