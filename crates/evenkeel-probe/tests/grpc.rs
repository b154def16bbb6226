//! The gRPC health protocol against tonic's server, and against what is none.

#![cfg(feature = "grpc")]
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests against real sockets and processes, which take real time"
)]

mod support;

use std::convert::Infallible;

use evenkeel_probe::{GrpcProbe, Reason};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{LATE, SOON, Server, fails, fails_at_once, nobody, passes};
use tokio::io::AsyncWriteExt;
use tonic_health::ServingStatus;

fn check(service: &str) -> GrpcProbe {
    GrpcProbe { service: service.to_owned(), timeout: LATE, ..GrpcProbe::default() }
}

fn tonic() -> Server {
    Server::with(|listener| async move {
        let (reporter, service) = tonic_health::server::health_reporter();
        reporter.set_service_status("users", ServingStatus::Serving).await;
        reporter.set_service_status("orders", ServingStatus::NotServing).await;
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    })
}

#[test]
fn services_that_serve_do_not_or_are_unknown() {
    let server = tonic();
    passes(server.address, check(""));
    passes(server.address, check("users"));
    passes(server.address, GrpcProbe { authority: Some("api.example".into()), ..check("users") });
    assert_eq!(fails_at_once(server.address, check("orders"), "not_serving"), Reason::NotServing(2));
    let reason = fails_at_once(server.address, check("nobody"), "grpc_status");
    assert!(matches!(reason, Reason::GrpcStatus { code: 5, .. }), "{reason}");
}

#[test]
fn a_server_without_the_health_service() {
    let server = Server::with(|listener| async move {
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let routes = tonic::service::Routes::default();
        tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming).await.unwrap();
    });
    let reason = fails_at_once(server.address, check(""), "grpc_status");
    assert!(matches!(reason, Reason::GrpcStatus { code: 12, .. }), "{reason}");
}

fn answering(answer: fn() -> Response<String>) -> Server {
    Server::new(move |stream| async move {
        let service = service_fn(move |_: Request<Incoming>| async move { Ok::<_, Infallible>(answer()) });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    })
}

#[test]
fn answers_that_are_not_grpc() {
    let plain = answering(|| Response::new("fine".to_owned()));
    fails(plain.address, check(""), "protocol");
    let missing = answering(|| Response::builder().status(404).body(String::new()).unwrap());
    assert_eq!(fails(missing.address, check(""), "wrong_status"), Reason::WrongStatus(404));
    let busy = answering(|| {
        let builder = Response::builder().header("content-type", "application/grpc");
        builder.header("grpc-status", "14").header("grpc-message", "in a moment").body(String::new()).unwrap()
    });
    let reason = fails(busy.address, check(""), "grpc_status");
    assert_eq!(reason.to_string(), "gRPC status 14: in a moment");
    let huge = answering(|| {
        let builder = Response::builder().header("content-type", "application/grpc");
        builder.header("grpc-status", "0").body("x".repeat(1 << 20)).unwrap()
    });
    fails(huge.address, check(""), "protocol");
}

#[test]
fn peers_that_are_not_http2() {
    assert_eq!(fails(nobody(), check(""), "refused"), Reason::Refused);
    let silent = Server::new(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    fails(silent.address, GrpcProbe { timeout: SOON, ..check("") }, "timed_out");
    let garbage =
        Server::new(|mut stream| async move { while stream.write_all(&[0x41; 512]).await.is_ok() {} });
    fails(garbage.address, check(""), "protocol");
}
