//! Reloads, restarts and drains while requests go on: none is lost.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_config::{Loaded, Syntax};
use evenkeel_examples::l7::Proxy;

use super::backend::{Backend, answer, until};
use super::client::{Client, get};
use super::{cluster, route, start};

/// Clients that ask on, some on kept connections, some on new ones, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..6).map(|i| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut wrong = Vec::new();
                let mut client = Client::new(address);
                while !stop.load(Ordering::Relaxed) {
                    match client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").try_answer() {
                        Ok(Some(answer)) if answer.status == 200 => {
                            done.fetch_add(1, Ordering::Relaxed);
                            if i % 2 == 0 || answer.seen.values("connection").contains(&"close") {
                                client = Client::new(address);
                            }
                        }
                        other => {
                            wrong.push(format!("{other:?}"));
                            client = Client::new(address);
                        }
                    }
                }
                wrong
            })
        });
        let clients = clients.collect();
        Self { stop, done, clients }
    }

    fn more(&self, requests: usize) {
        let before = self.done.load(Ordering::Relaxed);
        until("load goes on", || self.done.load(Ordering::Relaxed) >= before + requests);
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

#[test]
fn reloads_under_load_lose_nothing() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let text = |backends: &[&Backend], policy: &str| {
        "program.workers = 2\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n".to_owned()
            + &route("retry = { attempts = 2 }")
            + &cluster("all", backends, policy)
    };
    let folder = std::env::temp_dir().join(format!("evenkeel-l7-reload-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("l7.toml");
    std::fs::write(&file, text(&[&one], "")).unwrap();
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    let proxy = Proxy::start_file(&file, move |told| hears.lock().push(told.to_owned())).unwrap();
    let address = proxy.address("web").unwrap();
    let load = Load::on(address);
    load.more(100);
    let replace = |text: &str| {
        std::fs::write(folder.join("new"), text).unwrap();
        std::fs::rename(folder.join("new"), &file).unwrap();
    };
    replace(&text(&[&one, &two], "policy = \"round_robin\""));
    until("the file is followed", || told.lock().len() == 1);
    until("the new one serves", || !two.seen().is_empty());
    // What is wrong in the part of the program refuses the whole.
    replace(&text(&[&one], "").replace("workers", "workerz"));
    until("the file is followed", || told.lock().len() == 2);
    // A cluster that is built anew, in a row, beside the file.
    for turn in 0..20 {
        let policy = format!("policy = \"least_request\"\nhash_seed = {turn}");
        let loaded = Loaded::parse(&text(&[&one, &two], &policy), Syntax::Toml).unwrap();
        proxy.reload(&loaded).unwrap();
        load.more(20);
    }
    assert_eq!(load.end(), Vec::<String>::new());
    let told = told.lock().clone();
    assert!(told[0].starts_with("reloaded: cluster all: "), "{told:?}");
    assert!(told[1].contains("workerz") && told[1].starts_with("not reloaded: "), "{told:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What is under way ends, what waits in kept connections is answered once more, and all is over before the deadline.
#[test]
fn a_drain_under_load_loses_nothing() {
    let one = Backend::new(|stream, seen| {
        if seen.line().contains("/slow") {
            std::thread::sleep(Duration::from_millis(700));
        }
        answer(stream, 200, &[], b"one")
    });
    let (proxy, address) = start(&(route("") + &cluster("all", &[&one], "")));
    let mut waiting = Client::new(address);
    assert_eq!(waiting.get("/").status, 200);
    let slow = std::thread::spawn(move || get(address, "/slow").status);
    until("the slow one is under way", || one.seen().iter().any(|seen| seen.line().contains("/slow")));
    let drained = std::thread::spawn(move || proxy.drain());
    until("nobody listens", || std::net::TcpStream::connect(address).is_err());
    let last = waiting.get("/");
    assert_eq!((last.status, last.field("connection")), (200, Some("close")));
    assert!(waiting.is_closed());
    assert_eq!(slow.join().unwrap(), 200);
    assert_eq!(drained.join().unwrap(), 0, "nothing was cut");
}

/// What does not end is cut when the deadline is over.
#[test]
fn a_drain_ends_at_its_deadline() {
    let one = Backend::new(|_, _| {
        std::thread::sleep(Duration::from_secs(120));
        Ok(false)
    });
    let listener =
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntimeouts = { drain = \"300ms\" }\n";
    let (proxy, address) = start(&(listener.to_owned() + &route("") + &cluster("all", &[&one], "")));
    let mut client = Client::new(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is under way", || one.seen().len() == 1);
    assert_eq!(proxy.drain(), 1);
    assert!(client.is_closed());
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("evenkeel-l7-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// One proxy after the other gets the sockets, while clients go on connecting: none is refused, none is reset.
#[test]
fn restarts_under_load_lose_nothing() {
    let folder = folder("restart");
    let one = Backend::named("one");
    // A port of our own: the next process asks for the same one.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = |workers: usize| {
        format!(
            "[program]\nworkers = {workers}\nhandover = {:?}\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:{port}\"\n",
            folder.join("socket").display().to_string()
        ) + &route("")
            + &cluster("all", &[&one], "")
    };
    let begin = |workers| Proxy::start(&Loaded::parse(&text(workers), Syntax::Toml).unwrap()).unwrap();
    let mut proxy = begin(2);
    let load = Load::on(proxy.address("web").unwrap());
    load.more(100);
    // More workers, fewer, and as many.
    for workers in [3, 1, 2, 2] {
        let next = begin(workers);
        until("the old one drains", || proxy.counts().count() > 0 && is_draining(&proxy));
        assert_eq!(proxy.drain(), 0);
        proxy = next;
        load.more(100);
    }
    assert_eq!(load.end(), Vec::<String>::new());
    drop(proxy);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Both processes have the socket of operators: as soon as the next one serves, nobody speaks for the old one any more.
#[test]
fn operators_reach_the_new_process() {
    let folder = folder("operators");
    let release = Arc::<AtomicBool>::default();
    let wait = Arc::clone(&release);
    let one = Backend::new(move |stream, seen| {
        if seen.line().contains("/slow") {
            until("it is released", || wait.load(Ordering::Relaxed));
        }
        answer(stream, 200, &[], b"one")
    });
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "[admin]\naddress = \"127.0.0.1:{}\"\n[program]\nworkers = 1\nhandover = {:?}\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:{}\"\n",
        port(),
        folder.join("socket").display().to_string(),
        port(),
    ) + &route("")
        + &cluster("all", &[&one], "");
    let begin = || Proxy::start(&Loaded::parse(&text, Syntax::Toml).unwrap()).unwrap();
    let old = begin();
    let (address, admin) = (old.address("web").unwrap(), old.admin().unwrap());
    let mut kept = Client::new(admin);
    assert_eq!(kept.get("/healthz").status, 200);
    // It has to wait for this one.
    let slow = std::thread::spawn(move || get(address, "/slow").status);
    until("it is under way", || one.seen().len() == 1);
    let new = begin();
    until("the old one drains", || is_draining(&old));
    let drained = std::thread::spawn(move || old.drain());
    assert!(kept.is_closed(), "it connects anew");
    for _ in 0..50 {
        assert_eq!(get(admin, "/healthz").text(), "ok\n");
        assert!(!drained.is_finished());
    }
    // An order reaches the process that serves.
    let mut client = Client::new(admin);
    let body = r#"{"by": "ann", "reason": "disk"}"#;
    client.send(format!("POST /api/clusters/all/endpoints/all-1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let done = client.answer();
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(!new.running().cluster("all").unwrap().report().endpoints[0].usable);
    release.store(true, Ordering::Relaxed);
    assert_eq!(slow.join().unwrap(), 200);
    assert_eq!(drained.join().unwrap(), 0);
    drop(new);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Listeners that come, go or move wait for the next process, and the reload says so.
#[test]
fn a_reload_tells_what_waits_for_the_next_process() {
    let one = Backend::named("one");
    let more = "[[listeners]]\nname = \"more\"\naddress = \"127.0.0.2:0\"\n";
    let text = |more: &str| {
        "program.workers = 1\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n".to_owned()
            + more
            + &route("")
            + &cluster("all", &[&one], "")
    };
    let parse = |text: &str| Loaded::parse(text, Syntax::Toml).unwrap();
    let proxy = Proxy::start(&parse(&text(""))).unwrap();
    let told = proxy.reload(&parse(&text(more))).unwrap();
    assert_eq!(told.to_string(), "listener more: added, takes effect with the next process");
    assert_eq!(proxy.address("more"), None);
    // It goes on waiting, whatever else changes.
    let told = proxy.reload(&parse(&text(&format!("{more}limits = {{ body_bytes = 5 }}\n")))).unwrap();
    assert_eq!(told.to_string(), "listener more: added, takes effect with the next process");
    // One that the next process could not open is refused now.
    let wrong = more.to_owned() + "tls = { cert_file = \"/nothing\", key_file = \"/nothing\" }\n";
    assert!(proxy.reload(&parse(&text(&wrong))).is_err());
    assert!(proxy.reload(&parse(&text(""))).unwrap().is_empty());
    assert_eq!(get(proxy.address("web").unwrap(), "/").status, 200);
}

fn is_draining(proxy: &Proxy) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told =
        runtime.block_on(async { tokio::time::timeout(Duration::from_millis(10), proxy.draining()).await });
    told.is_ok()
}

/// The program itself, with a signal.
#[test]
fn the_program_ends_on_sigterm() {
    let folder = folder("program");
    let one = Backend::named("one");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text =
        format!("program.workers = 2\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:{port}\"\n")
            + &route("")
            + &cluster("all", &[&one], "");
    let file = folder.join("l7.toml");
    std::fs::write(&file, text).unwrap();
    let program = env!("CARGO_BIN_EXE_l7_proxy");
    assert!(std::process::Command::new(program).arg("--check").arg(&file).status().unwrap().success());
    let mut child = std::process::Command::new(program).arg(&file).spawn().unwrap();
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    until("it serves", || std::net::TcpStream::connect(address).is_ok());
    assert_eq!(get(address, "/").status, 200);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    // Endpoints from a control plane are built in.
    let xds = "[[clusters]]\nname = \"a\"\ndiscovery = [{ xds = { control_plane = { node = { id = \"l7\" }, connection = { servers = [\"http://127.0.0.1:1\"] } } } }]\n";
    std::fs::write(&file, xds).unwrap();
    assert!(std::process::Command::new(program).arg("--check").arg(&file).status().unwrap().success());
    std::fs::write(&file, "program.worker = 2\n").unwrap();
    let wrong = std::process::Command::new(program).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("program.worker: unknown key"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The example that the README names.
#[test]
fn the_example_is_right() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/l7.toml");
    let loaded = Loaded::load(path).unwrap();
    assert_eq!(loaded.check().unwrap(), []);
    let settings = loaded.program().unwrap();
    evenkeel_examples::l7::live::Live::new(settings, loaded.config(), None).unwrap();
}
