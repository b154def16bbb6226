//! Where a request or a connection would go.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use evenkeel::route::matching::{Connection, Request};
use evenkeel::router::{ExplainedCluster, Incoming, LimitWord, RouteExplanation};
use evenkeel_config::{Config, Loaded, Protocol, Running};

/// A request as it was described.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) listener: Option<String>,
}

/// A connection as it was described.
pub(crate) struct AskedConnection {
    pub(crate) listener: Option<String>,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) sni: String,
    pub(crate) alpn: Vec<String>,
}

pub(crate) fn request(file: &Path, asked: &Asked) -> ExitCode {
    let (running, listener) =
        match begin(file, asked.listener.as_deref(), |protocol| protocol == Protocol::Http) {
            Ok(begun) => begun,
            Err(code) => return code,
        };
    let headers: Vec<(&str, &str)> =
        asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let request = Request::new(&asked.method, &asked.host, &asked.path).with_headers(headers.as_slice());
    let mut incoming = Incoming::new(request.at_listener(&listener));
    if let Some(source) = asked.source {
        incoming = incoming.from_address(source);
    }
    match running.router().explain(&incoming) {
        Ok(trail) => {
            println!("{trail}");
            if is_served(&trail) { ExitCode::SUCCESS } else { UNSERVED.into() }
        }
        Err(error) => {
            eprintln!("{error}");
            UNSERVED.into()
        }
    }
}

pub(crate) fn connection(file: &Path, asked: &AskedConnection) -> ExitCode {
    let (running, listener) =
        match begin(file, asked.listener.as_deref(), |protocol| protocol != Protocol::Http) {
            Ok(begun) => begun,
            Err(code) => return code,
        };
    let alpn: Vec<&[u8]> = asked.alpn.iter().map(String::as_bytes).collect();
    let trail = running.stream_router().explain(&Connection {
        listener: &listener,
        source: asked.source,
        destination: asked.destination,
        sni: asked.sni.as_bytes(),
        alpn: &alpn,
    });
    println!("{trail}");
    if trail.route.is_some() && somebody_serves(&trail.clusters) {
        ExitCode::SUCCESS
    } else {
        UNSERVED.into()
    }
}

/// What the file says is built, and the listener found; or the exit code after all was said.
fn begin(
    file: &Path,
    listener: Option<&str>,
    is_theirs: impl Fn(Protocol) -> bool,
) -> Result<(Running<()>, String), ExitCode> {
    let wrong = |errors: evenkeel_config::ConfigErrors| {
        eprintln!("{errors}");
        ExitCode::from(1)
    };
    let loaded = Loaded::load(file).and_then(|loaded| loaded.check().map(|_| loaded)).map_err(wrong)?;
    let mut config = loaded.into_config();
    let listener = the_listener(&config, listener, is_theirs).map_err(|text| {
        eprintln!("{text}");
        ExitCode::from(2)
    })?;
    let left_out = leave_out_discovery(&mut config);
    if !left_out.is_empty() {
        eprintln!(
            "note: discovery is not asked, so these have no endpoints but those in the file: {}",
            left_out.join(", ")
        );
    }
    Ok((Running::<()>::start(config).map_err(wrong)?, listener))
}

/// The listener of this name, or the only one that there is.
fn the_listener(
    config: &Config,
    wanted: Option<&str>,
    is_theirs: impl Fn(Protocol) -> bool,
) -> Result<String, String> {
    let theirs = config.listeners.iter().filter(|listener| is_theirs(listener.protocol));
    let names: Vec<&str> = theirs.map(|listener| listener.name.as_str()).collect();
    match (wanted, names.as_slice()) {
        (Some(wanted), names) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (Some(wanted), []) => Err(format!("--listener {wanted}: the file has none of that protocol")),
        (Some(wanted), names) => Err(format!("--listener {wanted}: known are {}", names.join(", "))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => Ok(String::new()),
        (None, names) => {
            let text = "note: there are several listeners, and routes that ask for one take nothing: give --listener, one of";
            eprintln!("{text} {}", names.join(", "));
            Ok(String::new())
        }
    }
}

/// Nothing is asked and nothing is checked: what the file says is all there is. Gives the clusters that miss something.
fn leave_out_discovery(config: &mut Config) -> Vec<String> {
    config.prober = Default::default();
    let mut left_out = Vec::new();
    for cluster in &mut config.clusters {
        (cluster.merge, cluster.check) = (None, None);
        if !std::mem::take(&mut cluster.discovery).is_empty() {
            left_out.push(cluster.cluster.name.clone());
        }
    }
    left_out
}

fn is_served(trail: &RouteExplanation) -> bool {
    let is_let_in = !matches!(trail.limits.last(), Some(LimitWord::Wait(_) | LimitWord::NoKey));
    trail.route.is_some() && is_let_in && (trail.arm.is_none() || somebody_serves(&trail.clusters))
}

/// The cluster, or a fallback after it.
fn somebody_serves(clusters: &[ExplainedCluster]) -> bool {
    clusters.iter().any(|cluster| cluster.explanation.failure.is_none())
}

const UNSERVED: u8 = 3;
