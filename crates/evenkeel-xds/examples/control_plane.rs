//! The control plane of the tests in a process of its own, so that it can be stopped and killed: gRPC by tonic, commands
//! on standard input, what it hears on standard output. Ends when its input does.
//!
//! ```text
//! set cds|eds VERSION     all resources of a type, each on a line of `res NAME HEX`, up to `end`; then it is pushed
//! manners [terse] [stubborn]
//! close                   ends all streams
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a program for tests"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use support::Resources;
use support::plane::{Manners, Plane, Stream};
use support::proto::{CDS, EDS};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

/// Counts changes, and says when all streams are to end.
#[derive(Clone, Copy, Default)]
struct Signal {
    changes: u64,
    closes: u64,
}

#[derive(Clone)]
struct Ads {
    plane: Arc<Mutex<Plane>>,
    signal: watch::Receiver<Signal>,
}

impl NamedService for Ads {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tower_service::Service<http::Request<tonic::body::Body>> for Ads {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let delta = request.uri().path().ends_with("/DeltaAggregatedResources");
        let call = Call { ads: self.clone(), delta };
        Box::pin(async move { Ok(Grpc::new(Raw).streaming(call, request).await) })
    }
}

struct Call {
    ads: Ads,
    delta: bool,
}

impl StreamingService<Vec<u8>> for Call {
    type Response = Vec<u8>;
    type ResponseStream = ReceiverStream<Result<Vec<u8>, Status>>;
    type Future = BoxFuture<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(serve(self.ads.clone(), self.delta, request.into_inner(), sender));
        Box::pin(async move { Ok(Response::new(ReceiverStream::new(receiver))) })
    }
}

async fn serve(
    mut ads: Ads,
    delta: bool,
    mut requests: Streaming<Vec<u8>>,
    responses: mpsc::Sender<Result<Vec<u8>, Status>>,
) {
    let mut stream = Stream::new(delta);
    let closes = ads.signal.borrow().closes;
    loop {
        let out = tokio::select! {
            request = requests.next() => {
                let Some(Ok(request)) = request else { return };
                let (said, out) = stream.request(&ads.plane.lock().unwrap(), &request);
                let kind = if said.url == CDS { "cds" } else { "eds" };
                let names = said.names.join(",");
                let error = said.error.replace(['\n', '\t'], " ");
                println!("said\t{}\t{kind}\t{}\t{}\t{names}\t{error}", said.node, said.what, said.version);
                out
            }
            changed = ads.signal.changed() => {
                if changed.is_err() || ads.signal.borrow().closes != closes {
                    return;
                }
                stream.push(&ads.plane.lock().unwrap())
            }
        };
        for response in out {
            if responses.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

async fn commands(plane: Arc<Mutex<Plane>>, signal: watch::Sender<Signal>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["set", kind, version] => {
                let mut resources = Resources::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    let Some((name, hex)) = line.strip_prefix("res ").and_then(|rest| rest.split_once(' '))
                    else {
                        break;
                    };
                    let digits: Vec<_> = hex.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
                    let bytes = digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap());
                    resources.insert(name.to_owned(), bytes.collect());
                }
                let mut plane = plane.lock().unwrap();
                let typed = if kind == "cds" { &mut plane.clusters } else { &mut plane.endpoints };
                typed.set(version, &resources);
                drop(plane);
                signal.send_modify(|signal| signal.changes += 1);
            }
            ["manners", ref rest @ ..] => {
                let manners =
                    Manners { terse: rest.contains(&"terse"), stubborn: rest.contains(&"stubborn") };
                plane.lock().unwrap().manners = manners;
            }
            ["close"] => signal.send_modify(|signal| signal.closes += 1),
            _ => panic!("what is {line:?}? known are set, manners, close, and types {CDS} and {EDS}"),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address = std::env::args().nth(1).expect("usage: control_plane 127.0.0.1:PORT");
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    println!("ready\t{}", listener.local_addr().unwrap().port());
    let plane = Arc::new(Mutex::new(Plane::default()));
    let (sender, signal) = watch::channel(Signal::default());
    let ads = Ads { plane: plane.clone(), signal };
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder().add_service(ads).serve_with_incoming(incoming);
    tokio::select! {
        served = server => served.unwrap(),
        () = commands(plane, sender) => {}
    }
}
