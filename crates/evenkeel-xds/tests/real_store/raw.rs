//! A bare stream: tells when a message has come, and does no more with it than the protocol wants.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use evenkeel_types::Timestamp;
use evenkeel_xds::{Frames, Variant, XdsClient};
use hyper::body::{Body, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{mpsc, oneshot};

struct Outgoing(mpsc::UnboundedReceiver<Bytes>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        c: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(c).map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

/// Runs it on a thread; what is given back ends it.
pub fn stream(
    port: u16,
    variant: Variant,
    client: XdsClient,
    came: impl Fn() + Send + 'static,
) -> impl FnOnce() {
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                _ = ended => {}
                () = run(port, variant, client, came) => {}
            }
        });
    });
    move || {
        let _ = end.send(());
        thread.join().unwrap();
    }
}

async fn run(port: u16, variant: Variant, mut client: XdsClient, came: impl Fn()) {
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(async move { _ = connection.await });
    let (messages, outgoing) = mpsc::unbounded_channel();
    let method = match variant {
        Variant::StateOfTheWorld => "StreamAggregatedResources",
        Variant::Delta => "DeltaAggregatedResources",
    };
    let request = hyper::Request::post(format!(
        "http://127.0.0.1:{port}/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}"
    ));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    client.opened(Timestamp::ORIGIN);
    let send = |client: &mut XdsClient| {
        while let Some(message) = client.next_request(Timestamp::ORIGIN) {
            messages.send(Frames::framed(&message)).unwrap();
        }
    };
    send(&mut client);
    let mut body = sender.send_request(request.body(Outgoing(outgoing)).unwrap()).await.unwrap().into_body();
    let mut frames = Frames::new(1 << 20);
    while let Some(Ok(frame)) = std::future::poll_fn(|c| Pin::new(&mut body).poll_frame(c)).await {
        if let Ok(data) = frame.into_data() {
            frames.push(&data);
        }
        while let Some(message) = frames.next_message().unwrap() {
            came();
            client.received(Timestamp::ORIGIN, &message).unwrap();
            client.take_events();
        }
        send(&mut client);
    }
}
