use std::fmt::Write;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use evenkeel_config::{Loaded, Syntax};
use evenkeel_examples::l4::{Proxy, ProxyError};

use crate::wait::LIMIT;

/// A configuration: one listener `front` (TCP, unless said otherwise) before one cluster `backs`.
pub(crate) struct Setup {
    pub(crate) protocol: &'static str,
    /// More keys of the listener.
    pub(crate) listener: String,
    /// More keys of the cluster.
    pub(crate) cluster: String,
    /// `[program]`.
    pub(crate) program: String,
    pub(crate) backends: Vec<SocketAddr>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            protocol: "tcp",
            listener: String::new(),
            cluster: "policy = \"round_robin\"".to_owned(),
            program: "workers = 2".to_owned(),
            backends: Vec::new(),
        }
    }
}

impl Setup {
    pub(crate) fn of(backends: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { backends: backends.into_iter().collect(), ..Self::default() }
    }

    pub(crate) fn text(&self) -> String {
        let Self { protocol, listener, cluster, program, backends } = self;
        let mut endpoints = String::new();
        for (i, address) in backends.iter().enumerate() {
            write!(endpoints, "{{ id = \"b{i}\", address = \"{address}\" }}, ").unwrap();
        }
        format!(
            "admin = {{ address = \"127.0.0.1:0\" }}\n\
             [[listeners]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"{protocol}\"\n{listener}\n\
             [[stream.routes]]\nname = \"all\"\naction = {{ cluster = \"backs\" }}\n\
             [[clusters]]\nname = \"backs\"\n{cluster}\nendpoints = [{endpoints}]\n\
             [program]\n{program}\n"
        )
    }

    pub(crate) fn start(&self) -> Proxy {
        start(&self.text()).unwrap()
    }
}

pub(crate) fn load(text: &str) -> Loaded {
    Loaded::parse(text, Syntax::Toml).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

pub(crate) fn start(text: &str) -> Result<Proxy, ProxyError> {
    Proxy::start(load(text))
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.set_write_timeout(Some(LIMIT)).unwrap();
    socket
}

pub(crate) fn front(proxy: &Proxy) -> TcpStream {
    connect(proxy.address("front").unwrap())
}

/// So many bytes.
pub(crate) fn read(socket: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    socket.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Whether the other side has ended, well or not.
pub(crate) fn is_over(socket: &mut TcpStream) -> bool {
    !matches!(socket.read(&mut [0; 1 << 10]), Ok(1..))
}

/// The sum of a counter of the proxy.
pub(crate) fn metric(admin: SocketAddr, name: &str) -> u64 {
    let text = get(admin, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

pub(crate) fn get(admin: SocketAddr, path: &str) -> String {
    use std::io::Write as _;
    let mut socket = connect(admin);
    write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}
