//! Streams of HTTP/2 that the endpoint never looked at, by a server that writes its frames itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::net::Ipv4Addr;

use bytes::Bytes;
use evenkeel::{Endpoint, Origin, Outcome};
use evenkeel_route::retry::Ending;
use evenkeel_tower::Judgement;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The kind of a frame.
const HEADERS: u8 = 1;
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// To a stream, with `REFUSED_STREAM`.
const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
/// To a stream, with `INTERNAL_ERROR`.
const BROKEN: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];
/// No stream was looked at, `NO_ERROR`.
const GO_AWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A server that answers the head of each request with this frame.
async fn server(frame: &'static [u8]) -> Endpoint {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, frame));
        }
    });
    Endpoint::at(address.to_string().parse().unwrap()).unwrap()
}

async fn serve(mut stream: TcpStream, frame: &[u8]) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(SETTINGS).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == HEADERS {
            let mut frame = frame.to_vec();
            // Frames of a stream are of the one that asked.
            if frame[5..9] != [0; 4] {
                frame[5..9].copy_from_slice(&head[5..9]);
            }
            stream.write_all(&frame).await?;
        }
    }
}

#[tokio::test]
async fn it_is_judged_by_what_the_endpoint_said() {
    let local = Outcome::failure().with_origin(Origin::Local);
    for (frame, outcome, ending) in [
        (REFUSED, Outcome::overload(None), Ending::Refused),
        (GO_AWAY, Outcome::neutral(), Ending::Refused),
        (BROKEN, local, Ending::Reset),
    ] {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let uri = format!("http://{}/", server(frame).await.address());
        let request = Request::post(uri).body(Full::<Bytes>::default()).unwrap();
        let error = client.request(request).await.unwrap_err();
        let expected = Judgement { outcome: Some(outcome), ending: Some(ending) };
        assert_eq!(Judgement::of_error(&error), expected, "{error:?}");
    }
}
