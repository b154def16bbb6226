//! Bytes over loopback: a server of a few lines that misbehaves on wish, and garbage.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test of threads and sockets"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use domain::base::iana::{Class, Rcode as WireRcode};
use domain::base::{Message, MessageBuilder, Name as WireName, Ttl};
use domain::rdata::{A, Soa};
use evenkeel_dns::wire::{self, Kind, Name, Question};
use evenkeel_dns::{Dns, DnsConfig, Handle};
use evenkeel_registry::{MirrorConfig, Registry, ServiceName, SourceState, TroubleKind};
use evenkeel_types::Timestamp;
use proptest::prelude::*;

/// What a server does with a question: the bytes of its datagrams, and over TCP.
type Behaviour = fn(query: &[u8], tcp: bool) -> Vec<Vec<u8>>;

struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    fn new(behaviour: Behaviour) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (asked.clone(), stop.clone());
        let datagrams = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = udp.recv_from(&mut buffer) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                for answer in behaviour(&buffer[..length], false) {
                    udp.send_to(&answer, from).unwrap();
                }
            }
        });
        let ended = stop.clone();
        let streams = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = tcp.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let mut head = [0; 2];
                stream.read_exact(&mut head).unwrap();
                let mut query = vec![0; u16::from_be_bytes(head).into()];
                stream.read_exact(&mut query).unwrap();
                for answer in behaviour(&query, true) {
                    let length = u16::try_from(answer.len()).unwrap();
                    let _ = stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat());
                }
            }
        });
        Self { address, asked, stop, threads: vec![datagrams, streams] }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// An answer with so many addresses.
fn answer(query: &[u8], rcode: WireRcode, addresses: u16, ttl: u32) -> Vec<u8> {
    let query = Message::from_octets(query).unwrap();
    let mut message = MessageBuilder::new_vec().start_answer(&query, rcode).unwrap();
    let owner = query.sole_question().unwrap().qname().to_owned();
    for n in 0..addresses {
        let [high, low] = n.to_be_bytes();
        message.push((&owner, Class::IN, Ttl::from_secs(ttl), A::from_octets(10, 9, high, low))).unwrap();
    }
    message.finish()
}

fn truncated(query: &[u8]) -> Vec<u8> {
    let mut bytes = answer(query, WireRcode::NOERROR, 0, 1);
    bytes[2] |= 0x02;
    bytes
}

const HOUR: Duration = Duration::from_secs(3600);

struct World {
    registry: Registry,
    service: ServiceName,
    handle: Option<Handle>,
}

impl World {
    fn new(config: DnsConfig) -> Self {
        let registry = Registry::default();
        let service: ServiceName = "users".parse().unwrap();
        let start = Instant::now();
        let clock = move || Timestamp::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap());
        let feed = registry.feed(&service, &"dns".parse().unwrap(), MirrorConfig::default(), clock).unwrap();
        let handle = Some(Dns::start(feed, config).unwrap());
        Self { registry, service, handle }
    }

    fn ask(servers: &[&Server]) -> DnsConfig {
        DnsConfig {
            servers: servers.iter().map(|server| server.address).collect(),
            timeout: Duration::from_millis(300),
            min_ttl: Duration::from_millis(100),
            retry: Duration::from_millis(100),
            ..DnsConfig::host("h.x", 80)
        }
    }

    fn count(&self) -> usize {
        self.registry.snapshot(&self.service).endpoints().len()
    }

    fn trouble(&self) -> Option<TroubleKind> {
        Some(self.registry.sources(&self.service).first()?.error.as_ref()?.kind)
    }

    #[track_caller]
    fn until(&self, what: &str, seen: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !seen(self) {
            let sources = self.registry.sources(&self.service);
            assert!(start.elapsed() < Duration::from_secs(20), "{what}: {} {sources:?}", self.count());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    let server = Server::new(|query, tcp| {
        vec![if tcp { answer(query, WireRcode::NOERROR, 3000, 60) } else { truncated(query) }]
    });
    let world = World::new(World::ask(&[&server]));
    world.until("3000 addresses over TCP", |world| world.count() == 3000);
}

#[test]
fn absurd_answers_are_too_large_and_empty_nothing() {
    fn huge(query: &[u8]) -> Vec<u8> {
        answer(query, WireRcode::NOERROR, 3000, 60)
    }
    let over_tcp = Server::new(|query, tcp| vec![if tcp { huge(query) } else { truncated(query) }]);
    let over_udp = Server::new(|query, _| vec![huge(query)]);
    for server in [over_tcp, over_udp] {
        let world = World::new(DnsConfig { max_answer_bytes: 4096, ..World::ask(&[&server]) });
        world.until("too large", |world| world.trouble() == Some(TroubleKind::TooLarge));
        assert_eq!(world.count(), 0);
    }
}

#[test]
fn answers_to_other_questions_are_left_alone() {
    let server = Server::new(|query, _| {
        let good = answer(query, WireRcode::NOERROR, 2, 60);
        let mut foreign = answer(query, WireRcode::NXDOMAIN, 0, 1);
        foreign[0] ^= 0xff;
        vec![vec![], vec![0; 5], foreign.clone(), foreign, good]
    });
    let world = World::new(World::ask(&[&server]));
    world.until("the true answer", |world| world.count() == 2);
}

#[test]
fn a_guesser_is_evaded_over_tcp() {
    let server = Server::new(|query, tcp| {
        if tcp {
            return vec![answer(query, WireRcode::NOERROR, 2, 60)];
        }
        let mut foreign = answer(query, WireRcode::NOERROR, 9, 60);
        foreign[0] ^= 0xff;
        vec![foreign; 100]
    });
    let world = World::new(World::ask(&[&server]));
    world.until("the answer over TCP", |world| world.count() == 2);
}

#[test]
fn the_next_server_is_asked_if_one_fails() {
    let broken = Server::new(|query, _| vec![answer(query, WireRcode::SERVFAIL, 0, 1)]);
    let mute = Server::new(|_, _| vec![]);
    let good = Server::new(|query, _| vec![answer(query, WireRcode::NOERROR, 1, 0)]);
    let world = World::new(World::ask(&[&broken, &mute, &good]));
    world.until("an answer", |world| world.count() == 1);
    let asked = broken.asked.load(Ordering::Relaxed);
    world.until("it stays with the good one", |_| good.asked.load(Ordering::Relaxed) > 5);
    assert_eq!(broken.asked.load(Ordering::Relaxed), asked);
}

#[test]
fn a_server_without_edns_is_asked_without() {
    let server = Server::new(|query, _| {
        let edns = Message::from_octets(query).unwrap().opt().is_some();
        vec![if edns {
            answer(query, WireRcode::FORMERR, 0, 1)
        } else {
            answer(query, WireRcode::NOERROR, 1, 60)
        }]
    });
    let world = World::new(World::ask(&[&server]));
    world.until("an answer", |world| world.count() == 1);
}

#[test]
fn no_time_to_live_is_no_busy_loop() {
    let server = Server::new(|query, _| vec![answer(query, WireRcode::NOERROR, 1, 0)]);
    let world = World::new(DnsConfig { min_ttl: HOUR, max_ttl: HOUR, ..World::ask(&[&server]) });
    world.until("an answer", |world| world.count() == 1);
    for _ in 0..50 {
        world.handle.as_ref().unwrap().ask_now();
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), 1);
}

#[test]
fn the_handle_stops_while_the_server_hangs() {
    let server = Server::new(|_, _| vec![]);
    let mut world = World::new(DnsConfig { timeout: Duration::from_secs(60), ..World::ask(&[&server]) });
    world.until("a question", |_| server.asked.load(Ordering::Relaxed) > 0);
    let start = Instant::now();
    world.handle.take().unwrap().stop();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(world.registry.snapshot(&world.service).state(), SourceState::Pending);
}

#[test]
fn nobody_listening_is_trouble() {
    let gone = Server::new(|_, _| vec![]).address;
    let world = World::new(DnsConfig { servers: vec![gone], ..World::ask(&[]) });
    world.until("unreachable", |world| world.trouble() == Some(TroubleKind::Unreachable));
    let world = World::new(DnsConfig { resolv_conf: "/nonexistent".into(), ..World::ask(&[]) });
    world.until("unreachable", |world| world.trouble() == Some(TroubleKind::Unreachable));
}

fn question() -> Question {
    Question { name: Name::new("h.x").unwrap(), kind: Kind::A }
}

#[test]
fn an_soa_proves_that_there_is_nobody() {
    let bytes = wire::encode(&question(), 7, true).unwrap();
    let query = Message::from_octets(bytes.as_slice()).unwrap();
    let mut message =
        MessageBuilder::new_vec().start_answer(&query, WireRcode::NXDOMAIN).unwrap().authority();
    let zone: WireName<Vec<u8>> = "x".parse().unwrap();
    let seconds = Ttl::from_secs;
    let soa = Soa::new(zone.clone(), zone.clone(), 1.into(), seconds(9), seconds(9), seconds(9), seconds(4));
    message.push((zone, Class::IN, seconds(60), soa)).unwrap();
    let reply = wire::decode(&message.finish(), &question(), 7).unwrap();
    assert_eq!(reply.negative, Some(("x".into(), Duration::from_secs(4))));
    assert_eq!(wire::decode(&bytes, &question(), 7), Err(wire::BadReply::Foreign), "a question is no answer");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No bytes panic, neither noise nor a true answer that was cut or hit.
    #[test]
    fn garbage_is_survived(noise in prop::collection::vec(any::<u8>(), 0..600), cut in 0_usize..400, hits in prop::collection::vec((0_usize..400, any::<u8>()), 0..8)) {
        let asked = wire::encode(&question(), 7, true).unwrap();
        let mut damaged = answer(&asked, WireRcode::NOERROR, 20, 60);
        damaged.truncate(cut.max(12));
        for (place, byte) in hits {
            if let Some(place) = damaged.get_mut(place) {
                *place = byte;
            }
        }
        for bytes in [noise, damaged] {
            if let Ok(reply) = wire::decode(&bytes, &question(), 7) {
                let _ = reply.finding(&question());
            }
        }
    }
}
