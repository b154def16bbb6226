//! HTTP/1.1 and HTTP/2 on either side: what a client sees does not depend on which.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::backend::until;
use super::protocols::runtime;
use super::{cluster_at, route, start};

type Body = BoxBody<Bytes, Infallible>;

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// Data without a length, and fields after them.
fn parts(data: &[&'static [u8]], trailers: &[(&'static str, &str)]) -> Body {
    let mut frames: Vec<Result<Frame<Bytes>, Infallible>> =
        data.iter().map(|part| Ok(Frame::data(Bytes::from_static(part)))).collect();
    if !trailers.is_empty() {
        let map: HeaderMap = trailers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        frames.push(Ok(Frame::trailers(map)));
    }
    BodyExt::boxed(StreamBody::new(stream::iter(frames)))
}

async fn answered(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let response = Response::builder().header("x-method", request.method().as_str());
    let response = match path.as_str() {
        // Over HTTP/2 hyper would send what it is given.
        "/length" if request.method() == "HEAD" => response.header("content-length", "5").body(whole("")),
        "/length" => response.header("content-length", "5").body(whole("hello")),
        "/large" => response.body(whole(vec![b'x'; 1 << 20])),
        "/none" => response.status(204).body(whole("")),
        "/same" => response.status(304).header("etag", "\"1\"").body(whole("")),
        "/early" => {
            // The body is not read.
            return Ok(response.status(413).body(whole("too long")).unwrap());
        }
        "/stream" => response.body(parts(&[b"one ", b"two ", b"three"], &[])),
        "/trailers" => {
            let all = request.into_body().collect().await.unwrap();
            let sum = all.trailers().and_then(|all| all.get("x-sum")).cloned();
            let sum = sum.map_or_else(|| "none".to_owned(), |sum| sum.to_str().unwrap().to_owned());
            response.header("trailer", "x-back").body(parts(&[b"body"], &[("x-back", &sum)]))
        }
        "/call" => {
            let response =
                response.header("content-type", "application/grpc").header("trailer", "grpc-status");
            response.body(parts(&[b"\0\0\0\0\0"], &[("grpc-status", "0")]))
        }
        "/refused" => {
            let response = response.header("content-type", "application/grpc").header("grpc-status", "7");
            response.body(parts(&[], &[]))
        }
        "/echo" => {
            let length = request.headers().get("content-length").cloned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let response = match length {
                Some(length) => response.header("x-length", length),
                None => response,
            };
            response.body(whole(body))
        }
        other => response.body(whole(other.to_owned())),
    };
    Ok(response.unwrap())
}

fn server(runtime: &Runtime, is_h2: bool) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        loop {
            let io = TokioIo::new(listener.accept().await.unwrap().0);
            if is_h2 {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(io, service_fn(answered)));
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(io, service_fn(answered)));
            }
        }
    });
    address
}

/// One request on a connection of its own.
async fn ask(address: SocketAddr, is_h2: bool, request: Request<Body>) -> Response<Incoming> {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let answer = async {
        if is_h2 {
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (mut sender, connection) = builder.handshake(io).await.unwrap();
            tokio::spawn(connection);
            let said = format!("{} {}", request.method(), request.uri());
            sender.send_request(request).await.unwrap_or_else(|error| panic!("{said}: {error:?}"))
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answer).await.expect("an answer in time")
}

struct Setting {
    address: SocketAddr,
    is_h2: bool,
    name: String,
}

impl Setting {
    fn request(&self, method: &str, path: &str, fields: &[(&str, &str)], body: Body) -> Request<Body> {
        let uri = if self.is_h2 { format!("http://a{path}") } else { path.to_owned() };
        let mut request = Request::builder().method(method).uri(uri);
        if !self.is_h2 {
            request = request.header("host", "a");
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(body).unwrap()
    }

    /// The status, the fields, the body, and the fields after it.
    async fn answer(&self, request: Request<Body>) -> (u16, HeaderMap, Bytes, HeaderMap) {
        let (head, body) = ask(self.address, self.is_h2, request).await.into_parts();
        let collected = tokio::time::timeout(Duration::from_secs(60), body.collect()).await;
        let body =
            collected.expect("a body in time").unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let trailers = body.trailers().cloned().unwrap_or_default();
        (head.status.as_u16(), head.headers, body.to_bytes(), trailers)
    }

    async fn get(&self, method: &str, path: &str) -> (u16, HeaderMap, Bytes, HeaderMap) {
        self.answer(self.request(method, path, &[], whole(""))).await
    }
}

/// Runs `check` for each of the four.
fn in_all(check: &impl AsyncFn(&Setting)) {
    for (of_client, of_server) in [(false, false), (false, true), (true, false), (true, true)] {
        let runtime = runtime();
        let server = server(&runtime, of_server);
        let protocol = if of_server { "http2" } else { "http1" };
        let program = format!(
            "[program]\nworkers = 1\nreplay_bytes = 0\nupstream.all = {{ protocol = \"{protocol}\" }}\n"
        );
        let (proxy, address) = start(&(route("") + &cluster_at("all", &[server], "") + &program));
        let name = format!("client of {}, server of {}", 1 + u8::from(of_client), 1 + u8::from(of_server));
        runtime.block_on(check(&Setting { address, is_h2: of_client, name }));
        until("nothing is in flight", || {
            proxy.running().cluster("all").unwrap().report().endpoints[0].in_flight == 0
        });
        assert_eq!(proxy.counts().map(|counts| counts.broken.get()).sum::<u64>(), 0);
    }
}

#[test]
fn answers_have_the_same_end() {
    in_all(&async |setting| {
        let name = &setting.name;
        let (status, head, body, _) = setting.get("GET", "/length").await;
        assert_eq!(
            (status, &body[..], &head["content-length"]),
            (200, &b"hello"[..], &"5".parse().unwrap()),
            "{name}"
        );
        let (status, head, body, _) = setting.get("HEAD", "/length").await;
        assert_eq!(
            (status, &body[..], &head["content-length"]),
            (200, &b""[..], &"5".parse().unwrap()),
            "{name}"
        );
        let (status, _, body, _) = setting.get("GET", "/large").await;
        assert_eq!((status, body.len()), (200, 1 << 20), "{name}");
        let (status, head, body, _) = setting.get("GET", "/none").await;
        assert_eq!((status, body.len(), head.get("content-length")), (204, 0, None), "{name}");
        let (status, head, body, _) = setting.get("GET", "/same").await;
        assert_eq!((status, body.len(), &head["etag"]), (304, 0, &"\"1\"".parse().unwrap()), "{name}");
        let (status, head, body, _) = setting.get("GET", "/stream").await;
        assert_eq!(
            (status, &body[..], head.get("content-length")),
            (200, &b"one two three"[..], None),
            "{name}"
        );
    });
}

#[test]
fn bodies_and_fields_after_them_pass_both_ways() {
    in_all(&async |setting| {
        let name = &setting.name;
        let fields = [("te", "trailers"), ("trailer", "x-sum")];
        let request =
            setting.request("POST", "/trailers", &fields, parts(&[b"abc", b"def"], &[("x-sum", "6")]));
        let (status, _, body, trailers) = setting.answer(request).await;
        assert_eq!((status, &body[..]), (200, &b"body"[..]), "{name}");
        assert_eq!(trailers.get("x-back"), Some(&HeaderValue::from_static("6")), "{name}");
        let request = setting.request("POST", "/echo", &[], whole(vec![b'y'; 300_000]));
        let (_, head, body, _) = setting.answer(request).await;
        assert_eq!((body.len(), head.get("x-length")), (300_000, Some(&"300000".parse().unwrap())), "{name}");
        for method in ["POST", "GET", "DELETE"] {
            // A client of hyper has to say so with a GET.
            let fields: &[_] = if setting.is_h2 { &[] } else { &[("transfer-encoding", "chunked")] };
            let request = setting.request(method, "/echo", fields, parts(&[b"abc", b"def"], &[]));
            let (_, head, body, _) = setting.answer(request).await;
            assert_eq!((&body[..], head.get("x-length")), (&b"abcdef"[..], None), "{name}, {method}");
        }
    });
}

/// Calls of gRPC: the status after the messages, or in the head if there are none.
#[test]
fn calls_end_with_their_status() {
    in_all(&async |setting| {
        let name = &setting.name;
        let fields = [("te", "trailers"), ("content-type", "application/grpc")];
        let ask = |path: &str| setting.request("POST", path, &fields, whole("\0\0\0\0\0"));
        let (status, _, body, trailers) = setting.answer(ask("/call")).await;
        assert_eq!((status, body.len()), (200, 5), "{name}");
        assert_eq!(trailers.get("grpc-status"), Some(&HeaderValue::from_static("0")), "{name}");
        let (status, head, body, trailers) = setting.answer(ask("/refused")).await;
        assert_eq!((status, body.len(), trailers.len()), (200, 0, 0), "{name}");
        assert_eq!(head.get("grpc-status"), Some(&HeaderValue::from_static("7")), "{name}");
    });
}

/// An answer that comes before the end of the request.
#[test]
fn an_early_answer_is_the_answer() {
    in_all(&async |setting| {
        for _ in 0..10 {
            let endless = stream::repeat(Bytes::from_static(&[b'x'; 16 << 10]));
            let endless =
                futures_util::StreamExt::map(endless, |data| Ok::<_, Infallible>(Frame::data(data)));
            let limited = futures_util::StreamExt::take(endless, 500);
            let request = setting.request("POST", "/early", &[], BodyExt::boxed(StreamBody::new(limited)));
            let (status, _, body, _) = setting.answer(request).await;
            assert_eq!((status, &body[..]), (413, &b"too long"[..]), "{}", setting.name);
        }
    });
}

/// What a client asks for that cannot be said over HTTP/2 is its own fault: the endpoint is not blamed, or anybody could have
/// it taken out.
#[test]
fn what_cannot_be_asked_is_not_the_fault_of_the_endpoint() {
    use super::client::raw;
    for of_server in [false, true] {
        let runtime = runtime();
        let server = server(&runtime, of_server);
        let protocol = if of_server { "http2" } else { "http1" };
        let program = format!("[program]\nworkers = 1\nupstream.all = {{ protocol = \"{protocol}\" }}\n");
        let breaker = "[clusters.breaker]\nrules = [{ consecutive = { failures = 1 } }]\n";
        let (proxy, address) = start(&(route("") + &cluster_at("all", &[server], breaker) + &program));
        for (request, status) in [
            ("GET / HTTP/1.0\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: [\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: ]a[\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a:b:c\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", Some(400)),
            ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Some(200)),
            ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", None),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Some(200)),
            ("GET /{}|^`\"<> HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("GET /a?b=[]{}|^`\" HTTP/1.1\r\nHost: a\r\n\r\n", None),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Connection, Keep-Alive, X\r\n\r\n1\r\na\r\n0\r\nConnection: X\r\nKeep-Alive: 5\r\nX: 1\r\n\r\n",
                Some(200),
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip\r\n\r\n", Some(200)),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nConnection: X, close\r\nX: 1\r\n\r\n",
                Some(200),
            ),
        ] {
            let answer = raw(address, request).map(|answer| answer.status);
            let report = proxy.running().cluster("all").unwrap().report();
            assert!(report.endpoints[0].usable, "{protocol} {request:?}: {answer:?}");
            assert!(matches!(answer, Some(200 | 400)), "{protocol} {request:?}: {answer:?}");
            if let Some(status) = status {
                assert_eq!(answer, Some(status), "{protocol} {request:?}");
            }
        }
    }
}
