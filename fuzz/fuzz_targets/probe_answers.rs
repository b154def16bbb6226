#![no_main]
//! Whatever a server answers to a check over a real socket: HTTP/1.1, HTTP/2, gRPC health, TCP, agent. The first byte says
//! which check. The check ends, with a result or a reason.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use evenkeel_probe::{
    AgentProbe, BodyMatch, Finding, GrpcProbe, HttpProbe, HttpVersion, Notify, ProbeConfig, Prober,
    ProberConfig, Report, Target, TcpProbe,
};
use evenkeel_types::Address;
use libfuzzer_sys::fuzz_target;

struct World {
    prober: Prober,
    address: Address,
    answers: Sender<Vec<u8>>,
}

/// A prober, and a server that answers every connection with the bytes that it was given last, and closes.
fn world() -> &'static Mutex<World> {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    WORLD.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("evenkeel-fuzz-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let (answers, given) = channel();
        thread::spawn(move || serve(&listener, &given));
        let address = format!("unix:{}", path.display()).parse().expect("an address");
        let prober = Prober::start(ProberConfig::default()).expect("the defaults can stand");
        Mutex::new(World { prober, address, answers })
    })
}

fn serve(listener: &UnixListener, given: &Receiver<Vec<u8>>) {
    let mut answer = Vec::new();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        while let Ok(newer) = given.try_recv() {
            answer = newer;
        }
        let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
        let _ = stream.write_all(&answer);
        // What was asked is read, or closing would cut the answer off.
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked);
    }
}

fn probe(first: u8) -> ProbeConfig {
    let timeout = Duration::from_millis(500);
    let http = |version, body| HttpProbe { version, body, timeout, max_body: 512, ..HttpProbe::default() };
    match first % 6 {
        0 => http(HttpVersion::Http1, None).into(),
        1 => http(HttpVersion::Http1, Some(BodyMatch::Contains("ok".to_owned()))).into(),
        2 => http(HttpVersion::Http1, Some(BodyMatch::Regex("o+k$".to_owned()))).into(),
        3 => http(HttpVersion::Http2, None).into(),
        4 => GrpcProbe { timeout, ..GrpcProbe::default() }.into(),
        _ if first > 127 => TcpProbe { timeout, ..TcpProbe::default() }.into(),
        _ => AgentProbe { timeout, ..AgentProbe::default() }.into(),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, answer)) = data.split_first() else { return };
    let world = world().lock().expect("no target panicked before");
    world.answers.send(answer.to_vec()).expect("the server lives");
    let (found, finding) = channel::<Finding>();
    let mut target = Target::new("a".parse().expect("an id"), world.address.clone(), probe(first));
    target.notify = Notify::Results;
    // The first check comes within an interval.
    target.check.interval = Duration::from_millis(1);
    let sink = move |report: Report| {
        if let Some(finding) = report.finding {
            let _ = found.send(finding);
        }
    };
    world.prober.add(target, sink).expect("there is room");
    let finding = finding.recv_timeout(Duration::from_secs(10)).expect("a check ends");
    assert!(finding.result.is_some() || finding.reason.is_some() || first % 6 == 5, "{finding:?}");
    world.prober.remove(&"a".parse().expect("an id"));
    assert_eq!(world.prober.report().sink_panics, 0);
});
