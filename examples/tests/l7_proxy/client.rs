//! A client of plain sockets: what it sends is what is written.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::backend::{Seen, read_message};

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) seen: Seen,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.body).into_owned()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.seen.values(name).first().copied()
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        // Whoever was refused may have closed already.
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// None if the connection ended before an answer.
    pub(crate) fn try_answer(&mut self) -> io::Result<Option<Answer>> {
        let Some(seen) = read_message(&mut self.stream, &mut self.buffer)? else { return Ok(None) };
        let status = seen.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok(Some(Answer { status, seen }))
    }

    /// The head alone, as of an answer that has no body whatever it says of one.
    pub(crate) fn head(&mut self) -> String {
        let mut head = std::mem::take(&mut self.buffer);
        let end = loop {
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let mut part = [0; 4096];
            let read = self.stream.read(&mut part).unwrap();
            assert_ne!(read, 0, "no head but {}", head.escape_ascii());
            head.extend_from_slice(&part[..read]);
        };
        self.buffer = head.split_off(end);
        String::from_utf8(head).unwrap().to_ascii_lowercase()
    }

    /// All there is until the other side ends.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.buffer);
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().unwrap().expect("an answer")
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// `fields` end with a line break each.
    pub(crate) fn get_with(&mut self, path: &str, fields: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).answer()
    }

    /// Whether the other side has closed, after reading what there was.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// One request on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    Client::new(address).get(path)
}

/// What is sent as it stands, and the first answer to it; none if there was none.
pub(crate) fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Option<Answer> {
    let mut client = Client::new(address);
    client.send(bytes);
    client.try_answer().ok().flatten()
}
