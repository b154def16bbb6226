//! Other protocols: WebSocket, HTTP/2, gRPC.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use super::backend::{Backend, until};
use super::client::Client;
use super::frames::{self, Does};
use super::{cluster, cluster_at, route, start};

#[test]
fn a_web_socket_goes_through_and_counts_as_in_flight() {
    let echo = Backend::new(|stream, seen| {
        if seen.values("upgrade").is_empty() {
            return Ok(false);
        }
        assert_eq!(seen.values("upgrade"), ["websocket"]);
        assert_eq!(seen.values("sec-websocket-key"), ["abc"]);
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Ok: 1\r\n\r\n")?;
        let mut part = [0; 1000];
        loop {
            let read = stream.read(&mut part)?;
            if read == 0 {
                return Ok(false);
            }
            stream.write_all(&part[..read])?;
        }
    });
    let listener =
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nlimits = { max_connections = 1 }\n";
    let (proxy, address) = start(&(listener.to_owned() + &route("") + &cluster("all", &[&echo], "")));
    let mut client = Client::new(address);
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n\r\n");
    let agreed = client.answer();
    assert_eq!(
        (agreed.status, agreed.field("upgrade"), agreed.field("x-ok")),
        (101, Some("websocket"), Some("1"))
    );
    for i in 0..100_u8 {
        let sent = [i; 500];
        client.stream.write_all(&sent).unwrap();
        let mut back = [0; 500];
        client.stream.read_exact(&mut back).unwrap();
        assert_eq!(sent, back);
    }
    let in_flight = |so_many: usize| {
        let report = proxy.running().cluster("all").unwrap().report();
        report.endpoints[0].in_flight == so_many
    };
    assert!(in_flight(1));
    let connected = || proxy.counts().map(|counts| counts.clients.get()).sum::<u64>();
    // The service has ended, the client has not: there is room for one, and it is taken.
    let mut second = Client::new(address);
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    second.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.try_answer().is_err() && connected() == 1);
    drop(client);
    until("the tunnel is closed", || in_flight(0));
}

/// Servers and clients of HTTP/2 run on this.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A server of HTTP/2 without TLS. It answers `/grpc…` as gRPC does, all else with what it saw.
fn h2_server(runtime: &Runtime) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&connections);
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let service = service_fn(|request: Request<Incoming>| async move {
                let path = request.uri().path().to_owned();
                let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
                let te = request.headers().get("te").map(|te| te.to_str().unwrap().to_owned());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = vec![Ok(Frame::data(body))];
                let mut response = Response::builder().header("x-authority", authority);
                if let Some(code) = path.strip_prefix("/grpc/") {
                    assert_eq!(te.as_deref(), Some("trailers"));
                    response = response.header("content-type", "application/grpc+proto");
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", code.parse().unwrap());
                    frames.push(Ok(Frame::trailers(trailers)));
                }
                Ok::<_, Infallible>(
                    response.body(StreamBody::new(futures_util::stream::iter(frames))).unwrap(),
                )
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, connections)
}

async fn h2_client(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[test]
fn http_2_on_both_sides_with_trailers() {
    let runtime = runtime();
    let (server, connections) = h2_server(&runtime);
    let config = route("")
        + &cluster_at("all", &[server], "")
        + "[program]\nworkers = 1\nupstream.all = { protocol = \"http2\" }\n";
    let (proxy, address) = start(&config);
    runtime.block_on(async {
        let sender = h2_client(address).await;
        let calls = (0..50).map(|i| {
            let mut sender = sender.clone();
            async move {
                let code = if i % 2 == 0 { 0 } else { 14 };
                let request = Request::post(format!("http://shop.example/grpc/{code}"))
                    .header("content-type", "application/grpc+proto")
                    .header("te", "trailers")
                    .body(Full::from(format!("message {i}")))
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.headers()["x-authority"], "shop.example");
                let all = response.into_body().collect().await.unwrap();
                assert_eq!(all.trailers().unwrap()["grpc-status"], code.to_string());
                assert_eq!(all.to_bytes(), format!("message {i}"));
            }
        });
        futures_util::future::join_all(calls).await;
    });
    // A few, if several requests found none at the same time; then one.
    assert!(connections.load(Ordering::Relaxed) < 50);
    until("nothing is in flight", || {
        proxy.running().cluster("all").unwrap().report().endpoints[0].in_flight == 0
    });
}

/// A client of HTTP/2 and a server of HTTP/1.1, and the other way round.
#[test]
fn the_two_sides_need_not_speak_the_same() {
    let runtime = runtime();
    let one = Backend::named("one");
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&one], "")));
    runtime.block_on(async {
        let mut sender = h2_client(address).await;
        // Browsers send their cookies in several fields over HTTP/2.
        let request = Request::get("http://shop.example/x").header("cookie", "a=1").header("cookie", "b=2");
        let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "one");
    });
    let seen = &one.seen()[0];
    assert_eq!((seen.values("host"), seen.values("cookie")), (vec!["shop.example"], vec!["a=1; b=2"]));
    let (server, _) = h2_server(&runtime);
    let config = route("")
        + &cluster_at("all", &[server], "")
        + "[program]\nworkers = 1\nupstream.all = { protocol = \"http2\" }\n";
    let (_proxy, address) = start(&config);
    let answer =
        Client::new(address).send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab").answer();
    assert_eq!((answer.status, answer.text().as_str(), answer.field("x-authority")), (200, "ab", Some("a")));
}

/// Who does not know another protocol may ignore the wish for one (RFC 9110, section 7.8); that is no fault of the endpoint.
#[test]
fn a_wish_for_another_protocol_is_ignored_over_http_2() {
    let runtime = runtime();
    let (server, _) = h2_server(&runtime);
    let breaker = "[clusters.breaker]\nrules = [{ consecutive = { failures = 1 } }]\n";
    let program = "[program]\nworkers = 1\nupstream.all = { protocol = \"http2\" }\n";
    let (proxy, address) = start(&(route("") + &cluster_at("all", &[server], breaker) + program));
    for _ in 0..3 {
        let mut client = Client::new(address);
        client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.field("x-authority"), answer.field("upgrade")),
            (200, Some("a"), None)
        );
    }
    assert!(proxy.running().cluster("all").unwrap().report().endpoints[0].usable);
}

/// A call whose status is a trailer is judged by it.
#[test]
fn failing_calls_open_the_breaker_though_their_status_is_200() {
    let runtime = runtime();
    let (server, _) = h2_server(&runtime);
    let breaker = "[clusters.breaker]\nrules = [{ consecutive = { failures = 3 } }]\n";
    let program = "[program]\nworkers = 1\nupstream.all = { protocol = \"http2\" }\n";
    let (proxy, address) = start(&(route("") + &cluster_at("all", &[server], breaker) + program));
    runtime.block_on(async {
        let mut sender = h2_client(address).await;
        for _ in 0..3 {
            let request = Request::post("http://a/grpc/13")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::default())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let _ = response.into_body().collect().await.unwrap();
        }
    });
    until("the breaker is open", || !proxy.running().cluster("all").unwrap().report().endpoints[0].usable);
    // A client of gRPC is told in its own words.
    runtime.block_on(async {
        let mut sender = h2_client(address).await;
        let request = Request::post("http://a/grpc/0").header("content-type", "application/grpc");
        let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "14");
    });
}

/// A client of HTTP/2 may keep its connection busy and take nothing of one answer; that one is given up, the others go on.
#[test]
fn a_stream_that_takes_nothing_is_reset_and_its_neighbours_go_on() {
    let runtime = runtime();
    let backend = Backend::new(|stream, seen| {
        let length = if seen.line().contains("/long") { 300_000 } else { 2 };
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
        stream.write_all(&vec![b'x'; length])?;
        Ok(true)
    });
    let listener =
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntimeouts = { idle = \"300ms\" }\n";
    let (proxy, address) = start(&(listener.to_owned() + &route("") + &cluster("all", &[&backend], "")));
    let in_flight = || proxy.running().cluster("all").unwrap().report().endpoints[0].in_flight;
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(20_000).initial_connection_window_size(1 << 20);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let get =
            |path: &str| Request::get(format!("http://a{path}")).body(Full::<Bytes>::default()).unwrap();
        // One that is read to the end comes whole, however many pieces it is.
        let whole = sender.send_request(get("/long")).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(whole.to_bytes().len(), 300_000);
        let stuck = sender.send_request(get("/long")).await.unwrap();
        assert_eq!(stuck.status(), 200);
        assert!(in_flight() > 0);
        let mut others = 0;
        while in_flight() > 0 {
            let other = sender.send_request(get("/short")).await.unwrap();
            assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "xx");
            others += 1;
            assert!(others < 10_000, "it is never given up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stuck.into_body().collect().await.unwrap_err();
        let other = sender.send_request(get("/short")).await.unwrap();
        assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "xx");
    });
}

/// A server that takes one request at a time on a connection gets the second one over another: it is not waited for the first, and
/// nobody is blamed. When there is room on the first again, that is used.
#[test]
fn long_calls_do_not_keep_short_ones_waiting() {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let (server, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let (count, (release, _)) = (Arc::clone(&connections), tokio::sync::broadcast::channel::<()>(1));
    let released = release.clone();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let released = released.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let mut released = released.subscribe();
                async move {
                    if request.uri().path() == "/long" {
                        let _ = released.recv().await;
                    }
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
                }
            });
            let mut connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            connection.max_concurrent_streams(1);
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    let breaker = "[clusters.breaker]\nrules = [{ consecutive = { failures = 1 } }]\n";
    let program = "[program]\nworkers = 1\nupstream.all = { protocol = \"http2\" }\n";
    let config = route("timeout = \"20s\"") + &cluster_at("all", &[server], breaker) + program;
    let (proxy, address) = start(&config);
    let in_flight = || proxy.running().cluster("all").unwrap().report().endpoints[0].in_flight;
    let mut long: Vec<Client> = (0..3).map(|_| Client::new(address)).collect();
    for (i, client) in long.iter_mut().enumerate() {
        client.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
        until("it is under way", || in_flight() == i + 1 && release.receiver_count() == i + 1);
    }
    let mut short = Client::new(address);
    for _ in 0..5 {
        assert_eq!(short.get("/short").status, 200);
    }
    // One for each of the long ones, and one for all short ones.
    assert_eq!(connections.load(Ordering::Relaxed), 4);
    release.send(()).unwrap();
    for client in &mut long {
        assert_eq!(client.answer().status, 200);
    }
    for _ in 0..5 {
        assert_eq!(short.get("/short").status, 200);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 4);
    assert!(proxy.running().cluster("all").unwrap().report().endpoints[0].usable);
}

/// nginx ends a connection so after `keepalive_requests`, and any server when it restarts: what it has not looked at is sent over
/// another connection, even a POST, and nobody is blamed.
#[test]
fn what_an_endpoint_says_it_has_not_seen_is_sent_again() {
    let breaker = "[clusters.breaker]\nrules = [{ consecutive = { failures = 1 } }]\n";
    let program = "[program]\nworkers = 1\nupstream.all = { protocol = \"http2\" }\n";
    let begin = |server| start(&(route("") + &cluster_at("all", &[server], breaker) + program));
    let is_usable = |proxy: &evenkeel_examples::l7::Proxy| {
        proxy.running().cluster("all").unwrap().report().endpoints[0].usable
    };
    let (server, connections) =
        frames::server(|number| if number < 2 { Does::GoesAway } else { Does::Answers });
    let (proxy, address) = begin(server);
    let mut client = Client::new(address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert_eq!((connections.load(Ordering::Relaxed), is_usable(&proxy)), (3, true));
    assert_eq!(proxy.counts().map(|counts| counts.again.get()).sum::<u64>(), 0);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(connections.load(Ordering::Relaxed), 3);
    // A body that was not kept is gone; that is not the fault of the endpoint either.
    let (server, _) = frames::server(|_| Does::GoesAway);
    let (proxy, address) = begin(server);
    let mut client = Client::new(address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (502, "upstream_reset\n"));
    assert!(is_usable(&proxy));
    // One that does nothing else is not asked for ever.
    assert_eq!(Client::new(address).get("/").status, 502);
}
