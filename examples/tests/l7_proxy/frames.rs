//! A server of HTTP/2 of which nothing is there but frames, for what no well-behaved library does on request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Answers 200 without a body.
    Answers,
    /// Says that it has looked at no request of this connection, and that it ends it: `GOAWAY` with `NO_ERROR`.
    GoesAway,
}

/// How many connections it has had; the first of each is numbered 0 for `does`.
pub(crate) fn server(does: impl Fn(usize) -> Does + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let (count, does) = (Arc::clone(&connections), Arc::new(does));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (number, does) = (count.fetch_add(1, Ordering::Relaxed), Arc::clone(&does));
            std::thread::spawn(move || serve(stream.unwrap(), does(number)));
        }
    });
    (address, connections)
}

/// Ends when the other side has.
fn serve(mut stream: TcpStream, does: Does) -> Option<()> {
    stream.read_exact(&mut [0; 24]).ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).ok()?;
        match (head[3], does) {
            (SETTINGS, _) if head[4] & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, &[])).ok()?;
            }
            (HEADERS, Does::Answers) => {
                // `:status: 200` is number 8 of the static table (RFC 7541, appendix A).
                stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, number, &[0x88])).ok()?;
            }
            // The last stream is 0, and the code `NO_ERROR`.
            (HEADERS, Does::GoesAway) => stream.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).ok()?,
            _ => {}
        }
    }
}

/// RFC 9113, section 4.1.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
