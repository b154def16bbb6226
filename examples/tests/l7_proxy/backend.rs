//! Servers written with plain sockets, which do what they are told and remember what reached them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// What a server does with a request.
type Script = dyn Fn(&mut TcpStream, &Seen) -> io::Result<bool> + Send + Sync;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// All values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Backend {
    /// Answers everything with its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::new(move |stream, _| answer(stream, 200, &[("x-backend", name)], name.as_bytes()))
    }

    /// Does as `script` says; it says whether the connection goes on.
    pub(crate) fn new(
        script: impl Fn(&mut TcpStream, &Seen) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn at(
        listener: TcpListener,
        script: impl Fn(&mut TcpStream, &Seen) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        let backend = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            stopped: Arc::default(),
            open: Arc::default(),
        };
        let (seen, connections, stopped, open) = (
            Arc::clone(&backend.seen),
            Arc::clone(&backend.connections),
            Arc::clone(&backend.stopped),
            Arc::clone(&backend.open),
        );
        let script: Arc<Script> = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { return };
                let _ = stream.set_nodelay(true);
                connections.fetch_add(1, Ordering::Relaxed);
                open.lock().push(stream.try_clone().unwrap());
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let _ = serve(stream, &*script, &seen);
                });
            }
        });
        backend
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// As if its process had been killed.
    pub(crate) fn kill(&self) {
        self.stopped.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        self.close_all();
    }

    /// Closes what is open, and goes on serving.
    pub(crate) fn close_all(&self) {
        for stream in self.open.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(mut stream: TcpStream, script: &Script, seen: &Mutex<Vec<Seen>>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read_message(&mut stream, &mut buffer)? {
        seen.lock().push(request.clone());
        if !script(&mut stream, &request)? {
            return stream.shutdown(Shutdown::Both);
        }
    }
    Ok(())
}

/// A message with a length, in chunks, or without a body.
pub(crate) fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Seen>> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        if !more(stream, buffer)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    let mut message = Seen { head, body: Vec::new() };
    if message.values("transfer-encoding").contains(&"chunked") {
        loop {
            let line = loop {
                if let Some(end) = find(buffer, b"\r\n") {
                    break end;
                }
                if !more(stream, buffer)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            };
            let size = String::from_utf8_lossy(&buffer[..line]).into_owned();
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(io::Error::other)?;
            buffer.drain(..line + 2);
            if size == 0 {
                // Trailers, up to an empty line.
                loop {
                    while find(buffer, b"\r\n").is_none() {
                        if !more(stream, buffer)? {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                    let end = find(buffer, b"\r\n").unwrap();
                    let line: Vec<u8> = buffer.drain(..end + 2).collect();
                    if line == b"\r\n" {
                        return Ok(Some(message));
                    }
                    message.head.push_str(&String::from_utf8_lossy(&line));
                }
            }
            while buffer.len() < size + 2 {
                if !more(stream, buffer)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            message.body.extend(buffer.drain(..size));
            buffer.drain(..2);
        }
    }
    let length = message.values("content-length").first().and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        if !more(stream, buffer)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    message.body.extend(buffer.drain(..length));
    Ok(Some(message))
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut part = [0; 16 << 10];
    let read = stream.read(&mut part)?;
    buffer.extend_from_slice(&part[..read]);
    Ok(read > 0)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// A whole answer.
pub(crate) fn answer(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<bool> {
    let mut text = format!("HTTP/1.1 {status} Words\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)?;
    Ok(true)
}

/// Waits until something holds; nobody's clock decides, but this one gives up at last.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within a minute");
}
