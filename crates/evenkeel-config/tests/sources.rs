//! Discovery and checks for real: a file on disk, a listener on loopback. Nothing here is decided by time, but all waits end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

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
