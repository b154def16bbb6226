//! Discovery from Kubernetes and from control planes, as a configuration describes it, against servers on the loopback.

#![cfg(all(feature = "kube", feature = "xds"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests with real sockets")]

#[path = "../../evenkeel-kube/tests/support/mod.rs"]
mod api_server;
#[path = "../../evenkeel-xds/tests/support/mod.rs"]
mod control_plane;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api_server::{numbered, on_a_thread, slice};
use bytes::Bytes;
use control_plane::plane::{Plane, Stream};
use control_plane::{cluster, encoded, simple};
use evenkeel_config::{Loaded, Running, Syntax};
use evenkeel_xds::Frames;
use h2::server::SendResponse;

fn load(text: &str) -> Loaded {
    Loaded::parse(text, Syntax::Toml).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn said(text: &str) -> String {
    match Loaded::parse(text, Syntax::Toml).and_then(|loaded| loaded.check()) {
        Ok(_) => "ok".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

fn ids(running: &Running<()>, cluster: &str) -> Vec<String> {
    let cluster = running.cluster(cluster).unwrap();
    let mut ids: Vec<String> = cluster.endpoints().iter().map(|endpoint| endpoint.id().to_string()).collect();
    ids.sort();
    ids
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

/// A type, and names.
type Asked = (String, Vec<String>);

#[derive(Clone, Default)]
struct Server {
    plane: Arc<Mutex<Plane>>,
    streams: Arc<AtomicUsize>,
    /// How many are open.
    open: Arc<AtomicUsize>,
    /// The names that each stream asks for, by type.
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(&self) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((tcp, _)) = listener.accept().await {
                    let server = server.clone();
                    tokio::spawn(async move {
                        let Ok(mut connection) = h2::server::handshake(tcp).await else { return };
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::spawn(server.clone().call(request.into_body(), respond));
                        }
                    });
                }
            });
        });
        address
    }

    async fn call(self, mut body: h2::RecvStream, mut respond: SendResponse<Bytes>) {
        self.streams.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut send = respond.send_response(head, false).unwrap();
        let (mut stream, mut frames) = (Stream::new(false), Frames::new(1 << 20));
        loop {
            // Changes of the plane are looked for now and then.
            let data = tokio::time::timeout(Duration::from_millis(5), body.data()).await;
            let mut responses = Vec::new();
            match data {
                Err(_) => responses = stream.push(&self.plane.lock().unwrap()),
                Ok(Some(Ok(data))) => {
                    let _ = body.flow_control().release_capacity(data.len());
                    frames.push(&data);
                    while let Some(request) = frames.next_message().unwrap() {
                        let (said, more) = stream.request(&self.plane.lock().unwrap(), &request);
                        self.asked.lock().unwrap().push((said.url, said.names));
                        responses.extend(more);
                    }
                }
                Ok(_) => break,
            }
            for response in responses {
                let _ = send.send_data(Frames::framed(&response), false);
            }
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn set(&self, version: &str, users: &[u8], orders: &[u8]) {
        let mut plane = self.plane.lock().unwrap();
        let endpoints = [
            ("users".to_owned(), encoded(&simple("users", users))),
            ("orders-v1".to_owned(), encoded(&simple("orders-v1", orders))),
        ];
        plane.endpoints.set(version, &endpoints.into());
        plane.clusters.set("1", &[("orders".to_owned(), encoded(&cluster("orders", "orders-v1")))].into());
    }
}

fn at(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|n| format!("10.0.0.{n}:80")).collect()
}

#[test]
fn clusters_share_the_stream_to_their_control_plane() {
    let server = Server::default();
    server.set("1", &[1, 2], &[3]);
    let url = server.start();
    let source = |extra: &str| {
        format!(
            "[[clusters.discovery]]\n{extra}\nmirror = {{ settle = {{ quiet = \"0s\" }}, empty = {{ hold = \"never\" }} }}\n\
             [clusters.discovery.xds.control_plane]\nnode = {{ id = \"n\" }}\n\
             connection = {{ servers = [\"http://{url}\"] }}\n"
        )
    };
    let users = format!("[[clusters]]\nname = \"users\"\n{}", source(""));
    let orders = format!(
        "[[clusters]]\nname = \"shop\"\n{}",
        source("service = \"orders\"\nxds.resource = \"cluster\"")
    );
    let both = format!("{users}{orders}");
    let running = Running::<()>::start(load(&both)).unwrap();
    wait_for("both are told", || ids(&running, "users") == at(&[1, 2]) && ids(&running, "shop") == at(&[3]));
    assert_eq!(server.streams.load(Ordering::SeqCst), 1, "one stream for both");

    // A reload of one leaves the other, and the stream, alone.
    let calm = both.replacen("quiet = \"0s\"", "quiet = \"1ms\"", 1);
    let diff = running.apply(load(&calm)).unwrap();
    assert!(diff.to_string().starts_with("cluster users: discovery changed"), "{diff}");
    assert_eq!(diff.changes.len(), 1, "{diff}");
    assert_eq!((ids(&running, "users"), ids(&running, "shop")), (at(&[1, 2]), at(&[3])));
    server.set("2", &[1, 2, 7], &[3, 4]);
    wait_for("both go on", || {
        ids(&running, "users") == at(&[1, 2, 7]) && ids(&running, "shop") == at(&[3, 4])
    });
    assert_eq!(server.streams.load(Ordering::SeqCst), 1);

    // What nobody follows any more is not asked for any more.
    running.apply(load(&users)).unwrap();
    let last = || server.asked.lock().unwrap().iter().rfind(|(url, _)| url.contains("Assignment")).cloned();
    wait_for("orders are left", || last().is_some_and(|(_, names)| names == ["users"]));
    assert_eq!(server.open.load(Ordering::SeqCst), 1);
    // Another control plane is another stream, and the first one ends with its last source.
    let other = Server::default();
    other.set("1", &[9], &[]);
    let elsewhere = users.replace(&url.to_string(), &other.start().to_string());
    running.apply(load(&elsewhere)).unwrap();
    wait_for("the other is heard", || ids(&running, "users") == at(&[9]));
    wait_for("the first is left", || server.open.load(Ordering::SeqCst) == 0);
    drop(running);
    wait_for("the other is left", || other.open.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_service_of_kubernetes_is_followed() {
    let server = on_a_thread();
    server.put(&[slice("a", &[numbered(1), numbered(2)])]);
    let text = format!(
        "[[clusters]]\nname = \"people\"\n[[clusters.discovery]]\nmirror = {{ settle = {{ quiet = \"0s\" }} }}\n\
         [clusters.discovery.kube]\nservice = \"users\"\nnamespace = \"shop\"\n\
         access = {{ server = {{ url = \"{}\" }} }}\nendpoints = {{ port = {{ named = \"http\" }} }}\n",
        server.url()
    );
    let running = Running::<()>::start(load(&text)).unwrap();
    wait_for("two", || ids(&running, "people") == ["uid-p00001", "uid-p00002"]);
    server.put(&[slice("a", &[numbered(1), numbered(2), numbered(3)])]);
    wait_for("three", || ids(&running, "people").len() == 3);
    assert_eq!(running.report().clusters[0].name, "people");
    // Another port: the sources begin anew, and the old set stays until they answer.
    let numbered_port = text.replace("{ named = \"http\" }", "{ number = 9090 }");
    let diff = running.apply(load(&numbered_port)).unwrap();
    assert!(diff.to_string().contains("discovery changed"), "{diff}");
    assert_eq!(ids(&running, "people").len(), 3);
    let port = || running.cluster("people").unwrap().endpoints()[0].description().address().port();
    wait_for("the other port", || port() == Some(9090));
}

#[test]
fn a_source_that_cannot_start_is_named() {
    let list = "[[clusters]]\nname = \"users\"\nendpoints = [{ id = \"a\", address = \"10.0.0.1:80\" }]\n";
    let running = Running::<()>::start(load(list)).unwrap();
    for (source, part) in [
        (
            "kube = { service = \"users\", access = { kubeconfig = { path = \"/nowhere\" } } }",
            "clusters[0].discovery[0].kube.access: /nowhere",
        ),
        (
            "xds.control_plane = { node = { id = \"a\" }, connection = { servers = [\"https://a:1\"], tls = { ca_file = \"/nowhere\" } } }",
            "clusters[0].discovery[0].xds.control_plane.connection.tls",
        ),
    ] {
        let bad = format!("{list}policy = \"random\"\n[[clusters.discovery]]\n{source}\n");
        let errors = running.apply(load(&bad)).unwrap_err().to_string();
        assert!(errors.contains(part), "{errors}");
        assert_eq!(
            (ids(&running, "users"), running.report().clusters[0].policy),
            (vec!["a".to_owned()], "least_request")
        );
    }
}

#[test]
fn errors_name_the_field() {
    let of = |source: &str| said(&format!("[[clusters]]\nname = \"users\"\ndiscovery = [{{ {source} }}]\n"));
    for (source, wanted) in [
        ("kube = { namespace = \"shop\" }", "3:16: clusters[0].discovery[0].kube.service: is \"\": 1 to 63"),
        (
            "kube = { service = \"users\", bounds = { watch_for = \"10m\" } }",
            "3:67: clusters[0].discovery[0].kube.bounds.watch_for: is 600s: whole seconds from 1 s to 290 s",
        ),
        (
            "service = \"people\", kube = { service = \"users\" }",
            "clusters[0].discovery[0].service: would be ignored, kube names its service itself",
        ),
        (
            "kube = { service = \"users\", endpoints = { port = \"http\" } }",
            "clusters[0].discovery[0].kube.endpoints.port",
        ),
        ("kube = { servic = \"users\" }", "clusters[0].discovery[0].kube.servic"),
    ] {
        let found = of(source);
        assert!(found.contains(wanted), "{source}\n{found}\n{wanted}");
    }
}
