//! A proxy for `tests/same_traffic/run`: it does what a configuration file says and no more. GET without a body, one thread a
//! connection. It decides nothing by itself, so that what the test sees is the router's and the clusters' doing.
//!
//! ```sh
//! same_traffic evenkeel.toml
//! ```
#![allow(clippy::disallowed_methods, reason = "a program, which has sockets, threads and a clock")]

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use evenkeel::route::matching::Request;
use evenkeel::route::retry::Ending;
use evenkeel::router::{Decision, Exchange, Incoming, Next, Scratch};
use evenkeel_config::{Loaded, Running};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which configuration?")?;
    let loaded = Loaded::load(&path)?;
    let running = Arc::new(Running::<()>::start(loaded)?);
    let config = running.config();
    let listener = config.listeners.first().ok_or("the configuration has no listener")?;
    let listener = TcpListener::bind(listener.address.to_string())?;
    for client in listener.incoming() {
        let (client, running) = (client?, Arc::clone(&running));
        std::thread::spawn(move || {
            if let Err(error) = serve(client, &running) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

/// The head of a message: its first line, and its fields with names in lower case.
struct Head {
    line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Nothing if the peer has closed the connection.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut fields = Vec::new();
    loop {
        let mut field = String::new();
        reader.read_line(&mut field)?;
        match field.split_once(':') {
            Some((name, value)) => fields.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => return Ok(Some(Head { line: line.trim_end().to_owned(), fields })),
        }
    }
}

fn serve(client: TcpStream, running: &Running<()>) -> Result<(), Box<dyn Error>> {
    client.set_nodelay(true)?;
    let source = client.peer_addr()?.ip();
    let mut writer = client.try_clone()?;
    let mut reader = BufReader::new(client);
    let mut scratch = Scratch::default();
    while let Some(head) = read_head(&mut reader)? {
        let (status, body) = answer(&head, source, running, &mut scratch)?;
        // In one piece: small writes one by one wait for each other's acknowledgement.
        let text = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        writer.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn answer(
    head: &Head,
    source: IpAddr,
    running: &Running<()>,
    scratch: &mut Scratch<()>,
) -> Result<(u16, String), Box<dyn Error>> {
    let mut words = head.line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let host = head.field("host").unwrap_or_default();
    let fields: Vec<(&str, &str)> = head.fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let request = Request::new(method, host, target).with_headers(&fields[..]);
    let incoming = Incoming::new(request).from_address(source);
    Ok(match running.router().route(&incoming, scratch)?.decision {
        Decision::Send(exchange) => send(exchange, head),
        Decision::Respond(response) => (response.status, String::new()),
        Decision::Redirect { status, .. } => (status, String::new()),
    })
}

/// Goes from endpoint to endpoint until the router is content.
fn send(mut exchange: Exchange<()>, head: &Head) -> (u16, String) {
    loop {
        let mut pick = match exchange.pick() {
            Ok(pick) => pick,
            Err(error) => return (503, error.to_string()),
        };
        let (ending, answer) = attempt(&pick.endpoint().address().to_string(), head);
        match exchange.after(&mut pick, &ending) {
            Next::RetryAfter(wait) => std::thread::sleep(wait),
            _ => return answer,
        }
    }
}

fn attempt(address: &str, head: &Head) -> (Ending, (u16, String)) {
    let Ok(stream) = TcpStream::connect(address) else {
        return (Ending::ConnectFailed, (502, "no connection".to_owned()));
    };
    match exchange_heads(stream, head) {
        Ok((status, body)) => (Ending::Http { status, retry_after: None }, (status, body)),
        Err(error) => (Ending::Reset, (502, error.to_string())),
    }
}

fn exchange_heads(mut stream: TcpStream, head: &Head) -> io::Result<(u16, String)> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let host = head.field("host").unwrap_or_default();
    stream.write_all(format!("{}\r\nhost: {host}\r\nconnection: close\r\n\r\n", head.line).as_bytes())?;
    let mut reader = BufReader::new(stream);
    let closed = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let answer = read_head(&mut reader)?.ok_or_else(closed)?;
    let status = answer.line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(closed)?;
    let mut body = String::new();
    reader.read_to_string(&mut body)?;
    Ok((status, body))
}
