//! Discovery and checks for real: a file on disk, a listener on loopback. Nothing here is decided by time, but all waits end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests, and an agent on a thread of its own"
)]

use std::fs;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use evenkeel::{CheckState, Notice, Observer};
use evenkeel_config::{Loaded, Running, Syntax, watch_changes, watch_file};

struct Tell(mpsc::Sender<()>);

impl Observer for Tell {
    fn notice(&self, _: &Notice) {
        let _ = self.0.send(());
    }
}

/// Waits until it holds, at most half a minute.
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let (_keep, never) = mpsc::channel::<()>();
    for _ in 0..3000 {
        if holds() {
            return;
        }
        let _ = never.recv_timeout(Duration::from_millis(10));
    }
    panic!("{what}");
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("evenkeel-config-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn load(text: &str) -> Loaded {
    Loaded::parse(text, Syntax::Toml).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn ids(running: &Running<()>) -> Vec<String> {
    let users = running.cluster("users").unwrap();
    let mut ids: Vec<String> = users.endpoints().iter().map(|endpoint| endpoint.id().to_string()).collect();
    ids.sort();
    ids
}

#[test]
fn a_cluster_moves_from_a_list_to_a_file_and_back() {
    let folder = folder("file");
    let file = folder.join("users.toml");
    let entry = |id: &str| {
        format!("version = 1\n[[services.users.endpoints]]\nid = {id:?}\naddress = \"10.0.1.1:80\"\n")
    };
    fs::write(&file, entry("from-file")).unwrap();
    let list =
        "[[clusters]]\nname = \"users\"\nendpoints = [{ id = \"from-list\", address = \"10.0.0.1:80\" }]\n";
    let running = Running::<()>::start(load(list)).unwrap();
    assert_eq!(ids(&running), ["from-list"]);

    let both = format!(
        "{list}merge = \"fall_back\"\n[[clusters.discovery]]\nfile = {{ path = {file:?}, poll = \"10ms\" }}\n"
    );
    let diff = running.apply(load(&both)).unwrap();
    assert!(diff.to_string().contains("discovery changed"), "{diff}");
    wait_for("the file is read", || ids(&running) == ["from-file"]);
    assert!(!running.cluster("users").unwrap().report().sources.is_empty());

    // Another policy: the sources go on, and nothing is lost meanwhile.
    let policy = both.replacen("merge", "policy = \"random\"\nmerge", 1);
    running.apply(load(&policy)).unwrap();
    assert_eq!(ids(&running), ["from-file"]);
    // Built anew: it begins with what was known.
    let anew = policy.replacen("merge", "latency = {}\nmerge", 1);
    running.apply(load(&anew)).unwrap();
    assert_eq!(ids(&running), ["from-file"]);
    // Other sources: the old set stays until the new ones answer.
    let other = folder.join("other.toml");
    let moved = anew.replace("users.toml", "other.toml").replacen("merge = \"fall_back\"", "", 1).replacen(
        "endpoints = [{ id = \"from-list\", address = \"10.0.0.1:80\" }]",
        "",
        1,
    );
    running.apply(load(&moved)).unwrap();
    assert_eq!(ids(&running), ["from-file"]);
    fs::write(&other, entry("from-other")).unwrap();
    wait_for("the other file is read", || ids(&running) == ["from-other"]);

    running.apply(load(list)).unwrap();
    assert_eq!(ids(&running), ["from-list"]);
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_source_that_cannot_start_leaves_all_as_it_was() {
    let list =
        "[[clusters]]\nname = \"users\"\nendpoints = [{ id = \"from-list\", address = \"10.0.0.1:80\" }]\n";
    let running = Running::<()>::start(load(list)).unwrap();
    let bad = format!(
        "{list}policy = \"random\"\n[[clusters.discovery]]\netcd = {{ prefix = \"users/\", connection = {{ endpoints = [\"http://127.0.0.1:1\"], tls = {{ ca_file = \"/nowhere\" }} }} }}\n"
    );
    let errors = running.apply(load(&bad)).unwrap_err();
    assert!(errors.to_string().contains("clusters[0].discovery[0].etcd"), "{errors}");
    assert_eq!(running.report().clusters[0].policy, "least_request");
    assert_eq!(ids(&running), ["from-list"]);
}

#[test]
fn checks_follow_endpoints_and_clusters() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let up = listener.local_addr().unwrap();
    // Bound and closed: nobody listens there.
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "[[clusters]]\nname = \"users\"\ncheck = {{ probe = {{ tcp = {{}} }}, schedule = {{ interval = \"20ms\" }} }}\n\
         endpoints = [{{ id = \"up\", address = \"{up}\" }}, {{ id = \"down\", address = \"{down}\" }}]\n"
    );
    let (tell, told) = mpsc::channel();
    let running =
        Running::start_observed(load(&text), |_| (), move |_| Box::new(Tell(tell.clone()))).unwrap();
    let state = |id: &str| {
        let users = running.cluster("users").unwrap();
        users.endpoint(&id.parse().unwrap()).unwrap().status().check()
    };
    wait_for("both are checked", || state("up") == CheckState::Up && state("down") == CheckState::Down);
    assert!(told.try_recv().is_ok());
    assert_eq!(running.report().prober.unwrap().targets, 2);

    // A cluster that is built anew is told at once what the checks know.
    running.apply(load(&format!("{text}latency = {{}}\n"))).unwrap();
    assert_eq!((state("up"), state("down")), (CheckState::Up, CheckState::Down));
    // Who left is not checked any more.
    let fewer = text.replace(&format!(", {{ id = \"down\", address = \"{down}\" }}"), "");
    running.apply(load(&fewer)).unwrap();
    assert_eq!(running.report().prober.unwrap().targets, 1);
    // And without checks there is no prober.
    let none = fewer.replace("check =", "#");
    running.apply(load(&none)).unwrap();
    assert!(running.report().prober.is_none());
}

#[test]
fn a_watched_file_is_reloaded_and_mistakes_are_told() {
    let folder = folder("watch");
    let file = folder.join("main.toml");
    let list = |port: u16| {
        format!(
            "[[clusters]]\nname = \"users\"\nendpoints = [{{ id = \"a\", address = \"10.0.0.1:{port}\" }}]\n"
        )
    };
    fs::write(&file, list(1)).unwrap();
    let running = Arc::new(Running::<()>::start(Loaded::load(&file).unwrap()).unwrap());
    let (tell, told) = mpsc::channel();
    let watching = watch_file(&running, &file, Duration::from_millis(10), move |reload| {
        tell.send(reload.result).unwrap();
    })
    .unwrap();
    let replace = |text: &str| {
        fs::write(folder.join("new"), text).unwrap();
        fs::rename(folder.join("new"), &file).unwrap();
    };
    replace(&list(22));
    let diff = told.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
    assert_eq!(diff.to_string(), "cluster users: endpoints changed, in place");
    replace("clusterz = 1");
    let errors = told.recv_timeout(Duration::from_secs(30)).unwrap().unwrap_err();
    assert!(errors.to_string().contains("main.toml:1:1: clusterz"), "{errors}");
    assert_eq!(running.cluster("users").unwrap().len(), 1);
    drop(watching);
    let _ = fs::remove_dir_all(folder);
}

/// The file changes after it was read, and before anybody watches it.
#[test]
fn a_change_before_the_watching_is_not_missed() {
    let folder = folder("before");
    let file = folder.join("main.toml");
    fs::write(&file, LIST).unwrap();
    let running = Arc::new(Running::<()>::start(Loaded::load(&file).unwrap()).unwrap());
    fs::write(&file, LIST.replace("from-list", "from-change")).unwrap();
    let (tell, told) = mpsc::channel();
    let watching = watch_file(&running, &file, Duration::from_millis(10), move |reload| {
        tell.send(reload.result).unwrap();
    })
    .unwrap();
    let diff = told.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
    assert_eq!(diff.to_string(), "cluster users: endpoints changed, in place");
    assert_eq!(ids(&running), ["from-change"]);
    drop(watching);
    // The same again: nobody is told, and nothing is counted.
    let (tell, told) = mpsc::channel();
    let watching = watch_file(&running, &file, Duration::from_millis(10), move |reload| {
        tell.send(reload.result).unwrap();
    })
    .unwrap();
    assert!(told.recv_timeout(Duration::from_millis(100)).is_err());
    assert_eq!(running.report().reloads, 1);
    drop(watching);
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_change_can_be_left_to_the_program() {
    let folder = folder("changes");
    let file = folder.join("main.toml");
    fs::write(&file, "").unwrap();
    let (tell, told) = mpsc::channel();
    let watching = watch_changes(&file, Duration::from_millis(10), move |path| {
        tell.send(fs::read_to_string(path).unwrap()).unwrap();
        ControlFlow::Break(())
    });
    let watching = watching.unwrap();
    fs::write(&file, "# more").unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(30)).unwrap(), "# more");
    // It has broken off, and its end of the channel is gone.
    assert!(told.recv_timeout(Duration::from_secs(30)).is_err());
    drop(watching);
    let _ = fs::remove_dir_all(folder);
}

const LIST: &str =
    "[[clusters]]\nname = \"users\"\nendpoints = [{ id = \"from-list\", address = \"10.0.0.1:80\" }]\n";

fn file_of(id: &str) -> String {
    format!("version = 1\n[[services.users.endpoints]]\nid = {id:?}\naddress = \"10.0.1.1:80\"\n")
}

fn from_file(file: &std::path::Path) -> String {
    format!(
        "[[clusters]]\nname = \"users\"\n[[clusters.discovery]]\nfile = {{ path = {file:?}, poll = \"10ms\" }}\n"
    )
}

/// The end of a source is news to its registry, which must not reach a cluster that has other endpoints now.
#[test]
fn a_source_that_left_does_not_come_back() {
    let folder = folder("left");
    let (one, other, none) = (folder.join("one.toml"), folder.join("other.toml"), folder.join("none.toml"));
    fs::write(&one, file_of("from-one")).unwrap();
    fs::write(&other, file_of("from-other")).unwrap();
    fs::write(&none, "version = 1\n[services.users]\nendpoints = []\n").unwrap();
    let running = Running::<()>::start(load(&from_file(&one))).unwrap();
    wait_for("the file is read", || ids(&running) == ["from-one"]);
    // To a list, and nothing else changes: the cluster stays.
    running.apply(load(LIST)).unwrap();
    assert_eq!(ids(&running), ["from-list"]);
    running.apply(load(&from_file(&one))).unwrap();
    wait_for("the file is read", || ids(&running) == ["from-one"]);
    // To another file, which is there.
    running.apply(load(&from_file(&other))).unwrap();
    wait_for("the other file is read", || ids(&running) == ["from-other"]);
    running.tick();
    assert_eq!(ids(&running), ["from-other"]);
    // From a source that says nobody to an emergency list.
    running.apply(load(&from_file(&none))).unwrap();
    wait_for("the empty file is read", || ids(&running).is_empty());
    running.apply(load(LIST)).unwrap();
    assert_eq!(ids(&running), ["from-list"]);
    let _ = fs::remove_dir_all(folder);
}

/// A listener, and an address where nobody listens.
fn up_and_down() -> (TcpListener, std::net::SocketAddr, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let up = listener.local_addr().unwrap();
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (listener, up, down)
}

const TCP: &str = "check = { probe = { tcp = {} }, schedule = { interval = \"20ms\" } }\n";

fn checked(up: std::net::SocketAddr, down: std::net::SocketAddr) -> String {
    format!(
        "[[clusters]]\nname = \"users\"\n{TCP}\
         endpoints = [{{ id = \"up\", address = \"{up}\" }}, {{ id = \"down\", address = \"{down}\" }}]\n"
    )
}

fn state_of(running: &Running<()>, id: &str) -> CheckState {
    running.cluster("users").unwrap().endpoint(&id.parse().unwrap()).unwrap().status().check()
}

#[test]
fn without_its_check_an_endpoint_is_as_if_it_had_never_been_checked() {
    let (_listener, up, down) = up_and_down();
    let text = checked(up, down);
    let another = "[[clusters]]\nname = \"second\"\ncheck = { probe = { tcp = {} } }\nendpoints = [{ id = \"a\", address = \"127.0.0.1:1\" }]\n";
    let prober = "prober = { max_in_flight = 7 }\n";
    // The check of the last cluster, of one of two, and of one while another prober begins.
    let without = text.replace(TCP, "");
    for (from, to) in [
        (text.clone(), without.clone()),
        (format!("{text}{another}"), format!("{without}{another}")),
        (format!("{text}{another}"), format!("{prober}{without}{another}")),
    ] {
        let running = Running::<()>::start(load(&from)).unwrap();
        wait_for("it is down", || state_of(&running, "down") == CheckState::Down);
        running.apply(load(&to)).unwrap();
        assert_eq!(state_of(&running, "down"), CheckState::Unknown);
        assert_eq!(running.cluster("users").unwrap().usable(), 2);
    }
    // Another prober alone: verdicts stay until there are new ones.
    let running = Running::<()>::start(load(&text)).unwrap();
    wait_for("both are checked", || {
        state_of(&running, "down") == CheckState::Down && state_of(&running, "up") == CheckState::Up
    });
    running.apply(load(&format!("{prober}{text}"))).unwrap();
    assert_eq!(state_of(&running, "down"), CheckState::Down);
    // Outside the subset it is not checked.
    running
        .apply(load(&text.replacen(
            TCP,
            &format!("{TCP}subset = {{ type = \"label\", labels = {{ zone = \"x\" }} }}\n"),
            1,
        )))
        .unwrap();
    assert_eq!(state_of(&running, "down"), CheckState::Unknown);
}

/// An agent that answers each question with the words that it has been given last.
struct Agent {
    says: Arc<std::sync::Mutex<&'static str>>,
    at: std::net::SocketAddr,
}

impl Agent {
    fn start(says: &'static str) -> Self {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let says = Arc::new(std::sync::Mutex::new(says));
        let words = Arc::downgrade(&says);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Some(words), Ok(mut stream)) = (words.upgrade(), stream) else { return };
                let line = format!("{}\n", words.lock().unwrap());
                let _ = stream.write_all(line.as_bytes());
            }
        });
        Self { says, at }
    }

    fn say(&self, words: &'static str) {
        *self.says.lock().unwrap() = words;
    }
}

#[test]
fn what_an_agent_says_is_done_and_survives_a_cluster_that_is_built_anew() {
    use evenkeel_health::AdminState;
    let agent = Agent::start("up 10%");
    let check = "check = { probe = { agent = {} }, schedule = { interval = \"20ms\" } }\n";
    let text = format!(
        "[[clusters]]\nname = \"users\"\n{check}endpoints = [{{ id = \"a\", address = \"{}\" }}]\n",
        agent.at
    );
    let running = Running::<()>::start(load(&text)).unwrap();
    let endpoint = || running.cluster("users").unwrap().endpoint(&"a".parse().unwrap()).unwrap();
    let factor = || endpoint().factor();
    wait_for("the weight is heard", || (factor() - 0.1).abs() < 0.01);
    running.apply(load(&format!("{text}latency = {{}}\n"))).unwrap();
    assert!((factor() - 0.1).abs() < 0.01, "{}", factor());

    agent.say("maint");
    wait_for("maintenance", || endpoint().status().admin() == AdminState::Maintenance);
    assert!(running.cluster("users").unwrap().pick(&evenkeel::Request::new()).is_err());
    running.apply(load(&text)).unwrap();
    assert_eq!(endpoint().status().admin(), AdminState::Maintenance);
    agent.say("ready drain");
    wait_for("a drain", || endpoint().status().admin() == AdminState::Drain);
    // Without the check, all of it is taken back.
    running.apply(load(&text.replace(check, ""))).unwrap();
    assert_eq!(endpoint().status().admin(), AdminState::Ready);
    assert!((factor() - 1.0).abs() < 0.01, "{}", factor());
    assert!(running.cluster("users").unwrap().pick(&evenkeel::Request::new()).is_ok());
}

#[test]
fn an_operator_overrules_an_agent_that_says_the_same_again() {
    use evenkeel_health::AdminState;
    let agent = Agent::start("ready");
    let text = format!(
        "[[clusters]]\nname = \"users\"\ncheck = {{ probe = {{ agent = {{}} }}, schedule = {{ interval = \"20ms\" }} }}\n\
         endpoints = [{{ id = \"a\", address = \"{}\" }}]\n",
        agent.at
    );
    let running = Running::<()>::start(load(&text)).unwrap();
    let users = running.cluster("users").unwrap();
    let endpoint = users.endpoint(&"a".parse().unwrap()).unwrap();
    let _ = endpoint.set_admin(AdminState::Drain);
    agent.say("ready up 50%");
    wait_for("the weight is heard", || (endpoint.factor() - 0.5).abs() < 0.01);
    assert_eq!(endpoint.status().admin(), AdminState::Drain);
    agent.say("maint");
    wait_for("maintenance", || endpoint.status().admin() == AdminState::Maintenance);
}

/// A cluster that is built anew knows what the checks know before the first pick from it.
#[test]
fn an_endpoint_that_is_known_to_be_down_is_not_picked_during_reloads() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let (_listener, up, down) = up_and_down();
    let text = checked(up, down);
    let running = Running::<()>::start(load(&format!("tick = \"1m\"\n{text}"))).unwrap();
    wait_for("both are checked", || {
        running.tick();
        state_of(&running, "down") == CheckState::Down && state_of(&running, "up") == CheckState::Up
    });
    let (stop, picked, wrong) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let users = running.cluster("users").unwrap();
                let pick = users.pick(&evenkeel::Request::new());
                let bad = pick.is_ok_and(|pick| pick.endpoint().id().as_str() == "down");
                wrong.fetch_add(u64::from(bad), Ordering::Relaxed);
                picked.fetch_add(1, Ordering::Relaxed);
            }
        });
        for i in 0..50 {
            let seen = picked.load(Ordering::Relaxed);
            running
                .apply(load(&format!("tick = \"1m\"\n{text}latency = {{ decay = \"{}s\" }}\n", i + 1)))
                .unwrap();
            while picked.load(Ordering::Relaxed) < seen + 100 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
}
