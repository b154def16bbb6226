//! An API server by script: lists in pages, watches in chunks, and every fault that can be asked for by `POST /control`. It
//! runs on threads of the test, or as a process of its own so that it can be stopped and killed.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "real time and sockets, for tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub const LABEL: &str = "kubernetes.io/service-name";
const PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";

/// What the server does wrong; all by default nothing.
#[derive(Clone, Default)]
struct Script {
    /// So many watches are answered 410: as status, or as an event of the stream.
    gone_status: u64,
    gone_event: u64,
    /// So many watches are answered 504, "too large resource version".
    ahead: u64,
    /// A watch from a version not reached yet goes on from the present one, instead of being refused.
    forget: bool,
    /// Watches end after so many milliseconds.
    watch_ms: Option<u64>,
    /// Bookmarks come so often.
    bookmark_ms: Option<u64>,
    /// The token asked for.
    token: Option<String>,
    forbid: bool,
    /// The status of every list.
    list_status: Option<u64>,
    /// Sent in place of every list, or line of a watch.
    list_text: Option<String>,
    watch_text: Option<String>,
    /// A line without end.
    endless: bool,
    /// Pages without end.
    endless_pages: bool,
    /// Watches break in the middle of a chunk after so many milliseconds.
    break_ms: Option<u64>,
}

#[derive(Default)]
struct State {
    version: u64,
    compacted: u64,
    slices: BTreeMap<String, Value>,
    log: Vec<(u64, &'static str, Value)>,
    script: Script,
    /// Watches of an older number end.
    cut: u64,
    lists: u64,
    watches: u64,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// Serves until the process ends.
pub fn serve(listener: &TcpListener, tls: Option<&Arc<rustls::ServerConfig>>, load: &Value) {
    let shared: Shared = Shared::default();
    shared.0.lock().unwrap().version = 100;
    control(&shared, load);
    for stream in listener.incoming().flatten() {
        let (shared, tls) = (shared.clone(), tls.cloned());
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let _ = match tls {
                None => connection(stream, &shared),
                Some(tls) => {
                    let Ok(session) = rustls::ServerConnection::new(tls) else { return };
                    connection(rustls::StreamOwned::new(session, stream), &shared)
                }
            };
        });
    }
}

pub fn on_a_thread() -> Remote {
    on_a_thread_with(None)
}

pub fn on_a_thread_with(tls: Option<Arc<rustls::ServerConfig>>) -> Remote {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(&listener, tls.as_ref(), &Value::Null));
    Remote { address }
}

fn connection(stream: impl Read + Write, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length, mut token) = (String::new(), 0, None);
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let header = header.trim();
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or((header, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => token = value.trim().strip_prefix("Bearer ").map(str::to_owned),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (decoded(k), decoded(v)))
            .collect();
        let out = stream.get_mut();
        if path == "/control" {
            let answer = control(shared, &serde_json::from_slice(&body).unwrap());
            whole(out, 200, &answer.to_string())?;
            continue;
        }
        let script = shared.0.lock().unwrap().script.clone();
        if script.token.is_some() && script.token != token {
            whole(out, 401, &status(401, "Unauthorized"))?;
        } else if script.forbid {
            let why = "endpointslices.discovery.k8s.io is forbidden: User \"system:anonymous\" cannot list";
            whole(out, 403, &status(403, why))?;
        } else if path != PATH {
            whole(out, 404, "404 page not found")?;
        } else if query.get("watch").is_some_and(|watch| watch == "true") {
            watch(out, shared, &query)?;
        } else {
            list(out, shared, &query)?;
        }
    }
}

fn decoded(text: &str) -> String {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

fn status(code: u64, message: &str) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code})
        .to_string()
}

fn whole(out: &mut impl Write, code: u64, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    out.write_all(head.as_bytes())?;
    out.write_all(body.as_bytes())?;
    out.flush()
}

fn selected(slice: &Value, query: &BTreeMap<String, String>) -> bool {
    let selector = query.get("labelSelector").map_or("", String::as_str);
    selector.split(',').filter_map(|part| part.split_once('=')).all(|(label, wanted)| {
        slice["metadata"]["labels"][label].as_str().is_none_or(|value| value == wanted)
    })
}

fn list(out: &mut impl Write, shared: &Shared, query: &BTreeMap<String, String>) -> std::io::Result<()> {
    let mut state = shared.0.lock().unwrap();
    state.lists += 1;
    if let Some(code) = state.script.list_status {
        return whole(out, code, &status(code, "by script"));
    }
    if let Some(text) = &state.script.list_text {
        return whole(out, 200, text);
    }
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    // The token of a page: the version of the list, and how many come before.
    let from =
        query.get("continue").and_then(|token| token.split_once('-')?.1.parse().ok()).unwrap_or(0_usize);
    let all: Vec<_> = state.slices.values().filter(|slice| selected(slice, query)).collect();
    let page: Vec<_> = all.iter().skip(from).take(limit).collect();
    let end = from + page.len();
    let more = end < all.len() || state.script.endless_pages;
    let token = if more { format!("{}-{end}", state.version) } else { String::new() };
    let body = json!({
        "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"resourceVersion": state.version.to_string(), "continue": token},
        "items": page,
    })
    .to_string();
    drop(state);
    whole(out, 200, &body)
}

fn watch(out: &mut impl Write, shared: &Shared, query: &BTreeMap<String, String>) -> std::io::Result<()> {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
    let mut position = number("resourceVersion").unwrap_or(0);
    let mut state = shared.0.lock().unwrap();
    state.watches += 1;
    let (cut, script) = (state.cut, state.script.clone());
    let gone = "too old resource version";
    if script.gone_status > 0 || (position < state.compacted && script.gone_event == 0) {
        state.script.gone_status = script.gone_status.saturating_sub(1);
        drop(state);
        return whole(out, 410, &status(410, gone));
    }
    if script.forget {
        position = position.min(state.version);
    }
    if script.ahead > 0 || position > state.version {
        state.script.ahead = script.ahead.saturating_sub(1);
        drop(state);
        return whole(out, 504, &status(504, "Timeout: Too large resource version"));
    }
    out.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    out.flush()?;
    if script.gone_event > 0 {
        state.script.gone_event = script.gone_event.saturating_sub(1);
        drop(state);
        let error: Value = serde_json::from_str(&status(410, gone)).unwrap();
        chunk(out, &format!("{}\n", json!({"type": "ERROR", "object": error})))?;
        return chunk(out, "");
    }
    if let Some(text) = script.watch_text {
        drop(state);
        chunk(out, &text)?;
        return chunk(out, "");
    }
    if script.endless {
        drop(state);
        let part = "x".repeat(64 << 10);
        chunk(out, "{\"type\":\"ADDED\",\"object\":\"")?;
        loop {
            chunk(out, &part)?;
        }
    }
    let begun = Instant::now();
    let asked = Duration::from_secs(number("timeoutSeconds").unwrap_or(300));
    let (mut marked, mut text) = (Instant::now(), String::new());
    loop {
        for (version, kind, slice) in &state.log {
            if *version > position && selected(slice, query) {
                text += &format!("{}\n", json!({"type": kind, "object": slice}));
            }
        }
        position = position.max(state.version);
        let script = state.script.clone();
        let ended = state.cut != cut
            || begun.elapsed() >= asked
            || script.watch_ms.is_some_and(|ms| begun.elapsed() >= Duration::from_millis(ms));
        if script.bookmark_ms.is_some_and(|ms| marked.elapsed() >= Duration::from_millis(ms)) {
            marked = Instant::now();
            let object = json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
                "metadata": {"resourceVersion": position.to_string(), "creationTimestamp": null}});
            text += &format!("{}\n", json!({"type": "BOOKMARK", "object": object}));
        }
        drop(state);
        if !text.is_empty() {
            chunk(out, &text)?;
            text.clear();
        }
        if script.break_ms.is_some_and(|ms| begun.elapsed() >= Duration::from_millis(ms)) {
            out.write_all(b"ff\r\n{\"type\":")?;
            out.flush()?;
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        if ended {
            return chunk(out, "");
        }
        state = shared.0.lock().unwrap();
        if state.version == position {
            state = shared.1.wait_timeout(state, Duration::from_millis(5)).unwrap().0;
        }
    }
}

/// One chunk; an empty one ends the answer.
fn chunk(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    out.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())?;
    out.flush()
}

fn control(shared: &Shared, order: &Value) -> Value {
    let mut state = shared.0.lock().unwrap();
    let state = &mut *state;
    for slice in order["put"].as_array().into_iter().flatten() {
        let mut slice = slice.clone();
        state.version += 1;
        slice["metadata"]["resourceVersion"] = state.version.to_string().into();
        let name = slice["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let known = state.slices.insert(name, slice.clone()).is_some();
        state.log.push((state.version, if known { "MODIFIED" } else { "ADDED" }, slice));
    }
    for name in order["delete"].as_array().into_iter().flatten() {
        if let Some(mut slice) = state.slices.remove(name.as_str().unwrap()) {
            state.version += 1;
            slice["metadata"]["resourceVersion"] = state.version.to_string().into();
            state.log.push((state.version, "DELETED", slice));
        }
    }
    if let Some(script) = order.get("script") {
        let number = |name: &str| script[name].as_u64();
        let text = |name: &str| script[name].as_str().map(str::to_owned);
        let truth = |name: &str| script[name].as_bool().unwrap_or(false);
        state.script = Script {
            gone_status: number("gone_status").unwrap_or(0),
            gone_event: number("gone_event").unwrap_or(0),
            ahead: number("ahead").unwrap_or(0),
            forget: truth("forget"),
            watch_ms: number("watch_ms"),
            bookmark_ms: number("bookmark_ms"),
            token: text("token"),
            forbid: truth("forbid"),
            list_status: number("list_status"),
            list_text: text("list_text"),
            watch_text: text("watch_text"),
            endless: truth("endless"),
            endless_pages: truth("endless_pages"),
            break_ms: number("break_ms"),
        };
    }
    if let Some(version) = order["version"].as_u64() {
        state.version = version;
        state.log.retain(|(at, ..)| *at <= version);
    }
    if order["load"].is_object() {
        state.version = order["load"]["version"].as_u64().unwrap();
        state.slices = serde_json::from_value(order["load"]["slices"].clone()).unwrap();
        state.log.clear();
    }
    if order["compact"] == true {
        // As if other resources had moved the version on.
        state.version += 10;
        state.compacted = state.version;
        state.log.clear();
    }
    if order["cut"] == true {
        state.cut += 1;
    }
    shared.1.notify_all();
    let slices = if order["dump"] == true { json!(state.slices) } else { Value::Null };
    json!({"version": state.version, "slices": slices, "lists": state.lists, "watches": state.watches})
}

/// The hand on a server.
#[derive(Clone, Copy)]
pub struct Remote {
    pub address: SocketAddr,
}

impl Remote {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn control(&self, order: &Value) -> Value {
        self.try_control(order).unwrap()
    }

    pub fn try_control(&self, order: &Value) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        let body = order.to_string();
        let head = format!("POST /control HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        let mut stream = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line)? > 2 {
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }

    pub fn put(&self, slices: &[Value]) {
        self.control(&json!({"put": slices}));
    }

    pub fn script(&self, script: &Value) {
        self.control(&json!({"script": script}));
    }
}

/// A slice of the service `users`.
pub fn slice(name: &str, entries: &[Value]) -> Value {
    let v6 = entries
        .first()
        .is_some_and(|entry| entry["addresses"][0].as_str().is_some_and(|ip| ip.contains(':')));
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "shop", "labels": {LABEL: "users"}},
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": entries,
    })
}

/// A pod that is ready.
pub fn pod(name: &str, ip: &str) -> Value {
    json!({
        "addresses": [ip], "conditions": {"ready": true, "serving": true, "terminating": false},
        "targetRef": {"kind": "Pod", "namespace": "shop", "name": name, "uid": format!("uid-{name}")},
        "nodeName": "node-1", "zone": "zone-a",
    })
}

pub fn terminating(mut pod: Value) -> Value {
    pod["conditions"] = json!({"ready": false, "serving": true, "terminating": true});
    pod
}

pub fn numbered(number: u32) -> Value {
    let [_, a, b, c] = number.to_be_bytes();
    pod(&format!("p{number:05}"), &format!("10.{a}.{b}.{c}"))
}
