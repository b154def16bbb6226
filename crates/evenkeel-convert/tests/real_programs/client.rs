use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends requests over one connection, and over a new one when that is closed.
pub(crate) struct Client {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// The body of the answer, which has to be a good one.
    pub(crate) fn get(&mut self, request: &str) -> String {
        for _ in 0..3 {
            if let Some(body) = self.try_get(request) {
                return body;
            }
            self.stream = None;
        }
        panic!("no answer to {request}");
    }

    fn try_get(&mut self, request: &str) -> Option<String> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_nodelay(true).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut()?;
        stream.get_mut().write_all(request.as_bytes()).ok()?;
        let (mut length, mut closes, mut status) = (0, false, String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if status.is_empty() {
                status = line.to_owned();
            }
            let Some((name, value)) = line.split_once(':') else {
                if line.is_empty() { break } else { continue }
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "connection" => closes = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        if closes {
            self.stream = None;
        }
        let body = String::from_utf8(body).ok()?;
        assert!(status.contains(" 200"), "{status} {body}");
        Some(body)
    }
}
