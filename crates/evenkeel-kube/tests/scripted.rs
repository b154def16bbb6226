//! The adapter against an API server by script: every fault that a real one is known for, and some that it is not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]
#![allow(clippy::disallowed_methods, reason = "a real thread and real sockets are tested")]

#[path = "support/site.rs"]
mod site;
mod support;

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_kube::{Access, Kube, KubeConfig, KubeError, Server};
use evenkeel_registry::conformance::Eyes;
use evenkeel_registry::{MirrorConfig, Registry, ServiceName, SourceName, SourceState, TroubleKind};
use evenkeel_types::{Announced, Timestamp};
use serde_json::json;
use site::{LONG, Site, config, since};
use support::{Remote, numbered, on_a_thread, on_a_thread_with, pod, slice, terminating};

fn with_three() -> Remote {
    let server = on_a_thread();
    server.put(&[slice("a", &[numbered(1), numbered(2)]), slice("b", &[numbered(3)])]);
    server
}

fn counted(server: Remote) -> (u64, u64) {
    let told = server.control(&json!({}));
    (told["lists"].as_u64().unwrap(), told["watches"].as_u64().unwrap())
}

#[test]
fn handles_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<evenkeel_kube::KubeHandle>();
}

#[test]
fn the_set_and_its_changes() {
    let server = with_three();
    let site = Site::start(config(server.url()));
    site.until("three", |site| site.len() == 3 && site.state() == SourceState::Live);
    let first = site.endpoint("uid-p00001").unwrap();
    assert_eq!((first.address().to_string(), first.announced()), ("10.0.0.1:8080".to_owned(), Announced::Up));
    assert_eq!((first.label("pod"), first.label("node")), (Some("p00001"), Some("node-1")));
    server.put(&[slice("b", &[numbered(3), numbered(4)])]);
    site.until("four", |site| site.len() == 4);
    server.put(&[slice("b", &[terminating(numbered(3)), numbered(4)])]);
    site.until("draining", |site| site.endpoint("uid-p00003").unwrap().announced() == Announced::Draining);
    server.put(&[slice("b", &[numbered(4)])]);
    site.until("gone", |site| site.len() == 3);
    server.control(&json!({"delete": ["b"]}));
    site.until("the slice gone", |site| site.len() == 2);
    // Slices of other services are none of ours.
    let mut other = slice("c", &[numbered(9)]);
    other["metadata"]["labels"] = json!({"kubernetes.io/service-name": "orders"});
    server.put(&[other, slice("d", &[numbered(10)])]);
    site.until("ours", |site| site.len() == 3);
    assert_eq!((site.endpoint("uid-p00009"), site.status().rejected), (None, 0));
    site.stop();
}

#[test]
fn both_shapes_of_410_and_504_lead_to_a_list() {
    for (name, script) in [
        ("as a status", json!({"gone_status": 3})),
        ("as an event", json!({"gone_event": 3})),
        ("too large resource version", json!({"ahead": 3})),
    ] {
        let server = with_three();
        let site = Site::start(config(server.url()));
        site.until("three", |site| site.len() == 3);
        let mut eyes = Eyes::new(site.registry.watch(&site.service));
        eyes.look().unwrap();
        // Missed while there is no watch, and compacted away.
        server.script(&script);
        server.control(&json!({"put": [slice("c", &[numbered(7)])], "compact": true, "cut": true}));
        site.until(name, |site| site.len() == 4 && site.state() == SourceState::Live);
        eyes.look().unwrap();
        server.put(&[slice("c", &[numbered(7), numbered(8)])]);
        site.until("watching again", |site| site.len() == 5);
        eyes.look().unwrap();
        site.stop();
    }
}

#[test]
fn a_position_that_is_lost_is_told() {
    let server = with_three();
    let site = Site::start(config(server.url()));
    site.until("three", |site| site.len() == 3);
    for script in [json!({"gone_status": 1000}), json!({"gone_event": 1000}), json!({"ahead": 1000})] {
        server.script(&script);
        server.control(&json!({"cut": true}));
        site.until_trouble(TroubleKind::Gap, "resource version");
        assert_eq!(site.len(), 3);
        // Lists that work and watches that do not are no reason to hurry.
        let before = counted(server).0;
        site.wait(Duration::from_millis(1500));
        assert!(counted(server).0 - before < 15, "{} lists in 1.5 s", counted(server).0 - before);
    }
    server.script(&json!({}));
    site.until("live", |site| site.state() == SourceState::Live && site.status().error.is_none());
    site.stop();
}

#[test]
fn versions_that_go_back_lead_to_a_list() {
    for forget in [false, true] {
        let server = with_three();
        let site = Site::start(config(server.url()));
        site.until("three", |site| site.len() == 3);
        server.put(&[slice("b", &[numbered(3), numbered(4)])]);
        site.until("four", |site| site.len() == 4);
        let (before, watches) = counted(server);
        // Restored from a copy, behind a watch that ends as if nothing had happened. The next one is refused, or is not.
        server.control(&json!({"version": 50, "script": {"forget": forget}, "cut": true}));
        site.until("another watch", |_| counted(server).1 > watches);
        server.put(&[slice("b", &[numbered(3), numbered(5)])]);
        site.until("listed anew", |_| counted(server).0 > before);
        site.until("the newer", |site| {
            site.endpoint("uid-p00005").is_some() && site.endpoint("uid-p00004").is_none()
        });
        site.stop();
    }
}

#[test]
fn a_quiet_service_is_fresh_and_not_listed_again() {
    for script in [json!({"bookmark_ms": 200}), json!({})] {
        let server = with_three();
        server.script(&script);
        let site = Site::start(config(server.url()));
        site.until("three", |site| site.len() == 3);
        let mut oldest = Duration::ZERO;
        let from = Instant::now();
        while from.elapsed() < Duration::from_secs(5) {
            site.wait(Duration::from_millis(20));
            oldest = oldest.max(site.status().age(since(site.start)).unwrap());
            assert_eq!(site.state(), SourceState::Live);
        }
        let (lists, watches) = counted(server);
        assert_eq!(lists, 1);
        assert!((3..=7).contains(&watches), "{watches} watches of a second each");
        assert!(oldest < Duration::from_secs(4), "{oldest:?} old");
        println!("quiet for 5 s, {script}: {watches} watches, never older than {oldest:.2?}");
        site.stop();
    }
}

#[test]
fn watches_that_end_at_once_lose_nothing_and_do_not_spin() {
    let server = with_three();
    server.script(&json!({"watch_ms": 3}));
    let site = Site::start(config(server.url()));
    let mut eyes = Eyes::new(site.registry.watch(&site.service));
    for number in 10..60 {
        let entries: Vec<_> = (10..=number).map(numbered).collect();
        server.put(&[slice("b", &entries)]);
        site.wait(Duration::from_millis(20));
        eyes.look().unwrap();
    }
    site.until("all", |site| site.len() == 52 && site.endpoint("uid-p00059").is_some());
    let (lists, watches) = counted(server);
    assert_eq!(lists, 1, "between two watches nothing is lost");
    assert!(watches < 40, "{watches} watches in a few seconds");
    assert!(site.status().error.is_none(), "{:?}", site.status());
    site.stop();
}

#[test]
fn watches_that_break_lead_to_a_list() {
    let server = with_three();
    server.script(&json!({"break_ms": 50}));
    let site = Site::start(config(server.url()));
    site.until_trouble(TroubleKind::Closed, "watch broke off");
    assert!(counted(server).0 >= 1);
    server.script(&json!({}));
    site.until("live", |site| site.len() == 3 && site.status().error.is_none());
    site.stop();
}

#[test]
fn refusals_are_told_and_end_by_themselves() {
    let server = with_three();
    let (dir, token) = scratch("token");
    std::fs::write(&token, "wrong").unwrap();
    server.script(&json!({"token": "right"}));
    let mut settings = config(server.url());
    let access = Server { url: server.url(), token_file: Some(token.clone()), ..Server::default() };
    settings.access = Access::Server(access);
    let site = Site::start(settings);
    site.until_trouble(TroubleKind::Denied, "status 401");
    assert_eq!(site.state(), SourceState::Pending, "unknown is not empty");
    // The token is exchanged, as a kubelet does.
    std::fs::write(&token, "right").unwrap();
    site.until("three", |site| site.len() == 3);
    server.script(&json!({"forbid": true}));
    server.control(&json!({"cut": true}));
    site.until_trouble(TroubleKind::Denied, "status 403");
    assert!(site.status().error.unwrap().text.as_str().contains("cannot list"));
    assert_eq!(site.len(), 3);
    server.script(&json!({"list_status": 429}));
    site.until_trouble(TroubleKind::Overloaded, "429");
    server.script(&json!({"list_status": 500}));
    site.until_trouble(TroubleKind::Server, "500");
    server.script(&json!({"list_status": 410}));
    site.until_trouble(TroubleKind::Gap, "410");
    server.script(&json!({}));
    site.until("live", |site| site.status().error.is_none() && site.state() == SourceState::Live);
    site.stop();
    std::fs::remove_dir_all(dir).unwrap();

    let mut elsewhere = config(server.url());
    elsewhere.namespace = Some("nowhere".into());
    let site = Site::start(elsewhere);
    site.until_trouble(TroubleKind::Malformed, "status 404");
    site.stop();
}

#[test]
fn nonsense_is_told() {
    let server = with_three();
    let site = Site::start(config(server.url()));
    site.until("three", |site| site.len() == 3);
    for text in ["{", "<html>", "[]", "7", r#"{"items":{}}"#, r#"{"metadata":{},"items":[]}"#, ""] {
        server.script(&json!({"list_text": text}));
        server.control(&json!({"cut": true, "compact": true}));
        site.until_trouble(TroubleKind::Malformed, "");
        assert_eq!(site.len(), 3);
        server.script(&json!({}));
        site.until("live", |site| site.status().error.is_none());
    }
    for text in [
        "garbage\n",
        "{\"type\":\"ADDED\"}\n",
        "{\"type\":\"NEW\",\"object\":{}}\n",
        "\u{0}\u{1}\n",
        "[]\n\n\n",
    ] {
        server.script(&json!({"watch_text": text}));
        server.control(&json!({"cut": true}));
        site.until_trouble(TroubleKind::Malformed, "");
        assert_eq!(site.len(), 3);
        server.script(&json!({}));
        site.until("live", |site| site.status().error.is_none());
    }
    // An object that makes no sense has no version to go on from.
    server.script(&json!({"watch_text": "{\"type\":\"ADDED\",\"object\":7}\n"}));
    server.control(&json!({"cut": true}));
    site.until_trouble(TroubleKind::Malformed, "resourceVersion");
    site.stop();
}

#[test]
fn what_is_too_large_is_not_read() {
    let server = with_three();
    let mut settings = config(server.url());
    settings.bounds.max_line_bytes = 1 << 20;
    settings.bounds.max_answer_bytes = 2 << 20;
    settings.bounds.list_timeout = Duration::from_secs(2);
    let site = Site::start(settings);
    site.until("three", |site| site.len() == 3);
    let before = memory();
    server.script(&json!({"endless": true}));
    server.control(&json!({"cut": true}));
    site.until_trouble(TroubleKind::TooLarge, "1048576 bytes");
    site.wait(Duration::from_millis(500));
    server.script(&json!({"list_text": "x".repeat(3 << 20)}));
    site.until_trouble(TroubleKind::TooLarge, "2097152 bytes");
    let grown = memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    println!("endless line and list of 3 MiB: {} MiB more in the process, server included", grown >> 20);
    // A list without end is too long, whatever is in it.
    server.script(&json!({"endless_pages": true}));
    site.until_trouble(TroubleKind::Timeout, "list: nothing heard");
    assert_eq!(site.len(), 3);
    server.script(&json!({}));
    site.until("live", |site| site.status().error.is_none());
    site.stop();
    let site = Site::start(config(server.url()));
    site.until("three", |site| site.len() == 3);
    let many: Vec<_> = (0..20_001).map(numbered).collect();
    let many: Vec<_> =
        many.chunks(1_000).enumerate().map(|(n, chunk)| slice(&format!("m{n}"), chunk)).collect();
    for slice in &many {
        server.put(std::slice::from_ref(slice));
    }
    site.until_trouble(TroubleKind::TooLarge, "more than 20000");
    assert!(site.len() >= 3);
    site.stop();
}

/// What the process holds, in bytes; 0 where that is not known.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    resident.unwrap_or(0) * 4096
}

#[test]
fn malformed_entries_among_good_ones() {
    let server = on_a_thread();
    let mut bad = numbered(2);
    bad["conditions"] = json!({"ready": "yes"});
    let mut names = slice("names", &[]);
    names["addressType"] = "FQDN".into();
    let mut fields = slice("fields", &[numbered(5)]);
    fields["unknown"] = json!({"to": ["us"]});
    server.put(&[slice("a", &[numbered(1), bad, json!(null), numbered(4)]), names, fields]);
    let site = Site::start(config(server.url()));
    site.until("the good ones", |site| site.ids() == ["uid-p00001", "uid-p00004", "uid-p00005"]);
    assert_eq!(site.status().rejected, 3);
    let rejects = format!("{:?}", site.registry.rejects(&site.service, site.feed.source()));
    assert!(rejects.contains("conditions.ready") && rejects.contains("FQDN"), "{rejects}");
    site.stop();
}

#[test]
fn moves_between_slices_are_not_seen() {
    let server = on_a_thread();
    let all: Vec<_> = (0..10).map(numbered).collect();
    server.put(&[slice("a", &all[..5]), slice("b", &all[5..])]);
    let mut settings = config(server.url());
    settings.bounds.linger = Duration::from_secs(20); // whatever else the machine is doing
    let site = Site::start(settings);
    site.until("ten", |site| site.len() == 10);
    let mut eyes = Eyes::new(site.registry.watch(&site.service));
    eyes.look().unwrap();
    let generation = site.registry.snapshot(&site.service).generation();
    for round in 0..50 {
        // One goes over and comes back; sometimes it is in none for a moment, sometimes in both.
        let cut = if round % 2 == 0 { 4 } else { 5 };
        let mut slices = [slice("a", &all[..cut]), slice("b", &all[cut..])];
        if round % 4 < 2 {
            slices.reverse();
        }
        for slice in slices {
            server.put(&[slice]);
            site.wait(Duration::from_millis(2));
            eyes.look().unwrap();
            assert_eq!(site.len(), 10);
        }
    }
    site.wait(Duration::from_millis(300));
    assert_eq!(site.registry.snapshot(&site.service).generation(), generation, "nothing happened");
    site.stop();
}

#[test]
fn a_reader_that_sleeps_finds_the_last_set() {
    let server = with_three();
    let others: Vec<_> = (100..130).map(numbered).collect();
    server.put(&[slice("others", &others)]);
    let site = Site::start(config(server.url()));
    site.until("all", |site| site.len() == 33);
    let mut eyes = Eyes::new(site.registry.watch(&site.service));
    eyes.look().unwrap();
    for round in 0..2_000 {
        server.put(&[slice("b", &[numbered(10 + round % 7), numbered(3)])]);
    }
    server.put(&[slice("b", &[numbered(77), numbered(3)])]);
    site.until("the last set", |site| site.len() == 34 && site.ids().iter().any(|id| id == "uid-p00077"));
    eyes.look().unwrap();
    site.stop();
}

#[test]
fn both_families_and_a_successor_at_the_address() {
    let server = on_a_thread();
    server.put(&[
        slice("v4", &[pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]),
        slice("v6", &[pod("a", "fd00::1")]),
    ]);
    let site = Site::start(config(server.url()));
    site.until("two", |site| site.len() == 2);
    assert_eq!(site.endpoint("uid-a").unwrap().addresses().count(), 2);
    server.put(&[slice("v4", &[pod("a", "10.0.0.1"), pod("b2", "10.0.0.2")])]);
    site.until("replaced", |site| site.ids() == ["uid-a", "uid-b2"]);
    site.stop();
}

#[test]
fn a_server_that_never_answers_is_told_and_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = config(format!("http://{}", listener.local_addr().unwrap()));
    settings.bounds.list_timeout = Duration::from_secs(1);
    let site = Site::start(settings.clone());
    let told = site.until("told", |site| site.status().error.is_some());
    assert!(told < Duration::from_secs(3), "{told:?}");
    site.until_trouble(TroubleKind::Timeout, "list");
    assert_eq!(site.state(), SourceState::Pending);
    site.stop();
    Site::start(settings.clone()).stop();
    drop(listener);
    let site = Site::start(settings);
    site.until_trouble(TroubleKind::Unreachable, "list");
    site.stop();
    // A name that does not resolve.
    let site = Site::start(config("http://no-such-host.invalid:6443".into()));
    site.until("told", |site| site.status().error.is_some());
    site.stop();
}

#[test]
fn no_server_of_the_protocol() {
    for nonsense in
        [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{", &[0xff; 64]]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(nonsense);
            }
        });
        let site = Site::start(config(url));
        site.until("told", |site| site.status().error.is_some());
        assert_eq!(site.state(), SourceState::Pending);
        site.stop();
    }
}

#[test]
fn encrypted_with_certificates_on_both_sides() {
    let ca = rcgen::KeyPair::generate().unwrap();
    let mut of_ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    of_ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = of_ca.self_signed(&ca).unwrap();
    let issuer = rcgen::Issuer::new(of_ca, ca);
    let signed = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert =
            rcgen::CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (cert, key)
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_cert.der().clone()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .unwrap();
    let (cert, key) = signed("127.0.0.1");
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let server = on_a_thread_with(Some(Arc::new(server)));
    let (dir, ca_file) = scratch("ca.pem");
    std::fs::write(&ca_file, ca_cert.pem()).unwrap();
    let (cert, key) = signed("adapter");
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    let access = Server {
        url: format!("https://{}", server.address),
        ca_file: Some(ca_file.clone()),
        cert_file: Some(dir.join("cert.pem")),
        key_file: Some(dir.join("key.pem")),
        ..Server::default()
    };
    let follow = |access: &Server| {
        let mut settings = config(String::new());
        settings.access = Access::Server(access.clone());
        Site::start(settings)
    };
    let site = follow(&access);
    // The list is empty, and an answer.
    site.until("an answer", |site| site.status().as_of.is_some());
    site.stop();
    // No certificate of ours; nobody who vouches for the server's.
    let site = follow(&Server { cert_file: None, key_file: None, ..access.clone() });
    site.until_trouble(TroubleKind::Denied, "");
    site.stop();
    let site = follow(&Server { ca_file: None, ..access.clone() });
    site.until_trouble(TroubleKind::Denied, "");
    site.stop();
    // By a kubeconfig, with the same in it.
    let file = dir.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: none\nclusters:\n- name: c\n  cluster:\n    server: https://{}\n    \
         certificate-authority: ca.pem\nusers:\n- name: u\n  user:\n    client-certificate: cert.pem\n    client-key: \
         key.pem\ncontexts:\n- name: good\n  context: {{cluster: c, user: u, namespace: shop}}\n",
        server.address
    );
    std::fs::write(&file, text).unwrap();
    let mut settings = config(String::new());
    (settings.access, settings.namespace) =
        (Access::Kubeconfig { path: file.clone(), context: Some("good".into()) }, None);
    let site = Site::start(settings.clone());
    site.until("an answer", |site| site.status().as_of.is_some());
    site.stop();
    // What is wrong with files is said at the start.
    for (context, part) in [(Some("other".to_owned()), "other"), (None, "none")] {
        settings.access = Access::Kubeconfig { path: file.clone(), context };
        assert!(refused(&settings).contains(part));
    }
    for (field, access) in [
        ("ca_file", Server { ca_file: Some(dir.join("none")), ..access.clone() }),
        ("ca_file", Server { ca_file: Some(file), ..access.clone() }),
        ("token_file", Server { token_file: Some(dir.join("none")), ..access.clone() }),
    ] {
        settings.access = Access::Server(access);
        assert!(refused(&settings).contains(field), "{}", refused(&settings));
    }
    settings.access = Access::InCluster;
    assert!(refused(&settings).contains("access"));
    std::fs::remove_dir_all(dir).unwrap();
}

/// Commands of a kubeconfig, which cloud providers have people use.
#[test]
fn commands_give_tokens_or_hang() {
    let server = with_three();
    server.script(&json!({"token": "right"}));
    let (dir, file) = scratch("exec");
    let follow = |cluster: &str, command: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster: {{server: '{}'{cluster}}}\n\
             users:\n- name: u\n  user:\n    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: sh\n      \
             args: [-c, '{command}']\n      interactiveMode: Never\n\
             contexts:\n- name: c\n  context: {{cluster: c, user: u, namespace: shop}}\n",
            server.url()
        );
        std::fs::write(&file, text).unwrap();
        let mut settings = config(String::new());
        (settings.access, settings.namespace) =
            (Access::Kubeconfig { path: file.clone(), context: None }, None);
        Site::start(settings)
    };
    let credential = r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"right"}}"#;
    std::fs::write(dir.join("credential"), credential).unwrap();
    let site = follow("", &format!("cat {}", dir.join("credential").display()));
    site.until("three", |site| site.len() == 3);
    site.stop();
    let site = follow("", "exit 3");
    site.until_trouble(TroubleKind::Denied, "exec");
    site.stop();
    let site = follow("", "sleep 5");
    site.wait(Duration::from_millis(200));
    site.stop();
    if cfg!(not(feature = "proxy")) {
        let site = follow(", proxy-url: 'http://127.0.0.1:1'", "exit 0");
        site.until_trouble(TroubleKind::Denied, "proxy");
        site.stop();
    }
    std::fs::remove_dir_all(dir).unwrap();
}

fn refused(settings: &KubeConfig) -> String {
    let registry = Registry::default();
    let source = SourceName::new("kube").unwrap();
    let feed = registry
        .feed(&ServiceName::new("users").unwrap(), &source, MirrorConfig::default(), || Timestamp::ORIGIN);
    match Kube::start(feed.unwrap(), settings.clone()) {
        Err(error @ KubeError::Access { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_source_that_is_detached_ends_the_thread() {
    let server = with_three();
    let site = Site::start(config(server.url()));
    site.until("three", |site| site.len() == 3);
    site.registry.detach(since(site.start), &site.service, site.feed.source()).unwrap();
    server.put(&[slice("c", &[numbered(9)])]);
    let from = Instant::now();
    while !site.handle.as_ref().unwrap().is_finished() {
        assert!(from.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn everything_is_listed_again_now_and_then() {
    let server = with_three();
    let mut settings = config(server.url());
    settings.bounds.resync_every = Some(Duration::from_millis(300));
    let site = Site::start(settings);
    let mut eyes = Eyes::new(site.registry.watch(&site.service));
    site.until("five lists", |_| counted(server).0 >= 5);
    eyes.look().unwrap();
    assert!(site.status().error.is_none() && site.len() == 3);
    site.stop();
}

/// A list that takes longer than that was begun anew for ever.
#[test]
fn a_list_is_finished_before_the_next_is_due() {
    let server = on_a_thread();
    let many: Vec<_> = (0..120).map(|n| slice(&format!("s{n}"), &[numbered(n)])).collect();
    server.put(&many);
    let mut settings = config(server.url());
    (settings.bounds.page_size, settings.bounds.resync_every) = (1, Some(Duration::from_millis(5)));
    let site = Site::start(settings);
    site.until("all", |site| site.len() == 120 && site.state() == SourceState::Live);
    site.stop();
}

fn scratch(name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let dir = std::env::temp_dir().join(format!("evenkeel-kube-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    (dir.clone(), dir.join(name))
}
