use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};

use super::answer::Answer;
use super::service::Admin;

/// Who may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposure {
    /// Programs and people on this machine. Orders are not authenticated, so this is the default.
    #[default]
    Loopback,
    /// Whoever reaches the address: something in front of it decides who that is.
    Anyone,
}

/// Nobody listens.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// The address is not one of this machine's own.
    #[error(
        "{0} is open to others: orders are not authenticated, so say `Exposure::Anyone` if that is meant"
    )]
    NotLoopback(SocketAddr),
    /// The operating system refuses.
    #[error("cannot listen on {0}: {1}")]
    Io(SocketAddr, io::Error),
}

/// Serves an [`Admin`] over HTTP/1.1, on one thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Starts to serve. Port 0 takes any free one.
    ///
    /// # Errors
    ///
    /// [`ListenerError::NotLoopback`] for an address that others reach, if that was not stated.
    pub fn start(address: SocketAddr, exposure: Exposure, admin: Arc<Admin>) -> Result<Self, ListenerError> {
        if exposure == Exposure::Loopback && !address.ip().is_loopback() {
            return Err(ListenerError::NotLoopback(address));
        }
        let failed = |error| ListenerError::Io(address, error);
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, admin) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { address: bound, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, admin: Arc<Admin>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file handles, as a rule: some will be free in a moment.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(MOST_HEAD)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| respond(Arc::clone(&admin), request)),
            );
        tokio::spawn(async move {
            let _ = connection.await;
            drop(permit);
        });
    }
}

async fn respond(admin: Arc<Admin>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(IDLE, Limited::new(body, admin.max_body()).collect()).await;
    let answer = match body {
        Ok(Ok(body)) => {
            let headers: Vec<_> = head
                .headers
                .iter()
                .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
                .collect();
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
            admin.answer(head.method.as_str(), path, &headers, &body.to_bytes())
        }
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Answer::failed(
            413,
            "body_too_long",
            &format!("the body is longer than {} bytes", admin.max_body()),
        ),
        Ok(Err(error)) => Answer::failed(400, "body", &error.to_string()),
        Err(_) => Answer::failed(408, "body", "the body did not come"),
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let whole = response.body(Full::from(answer.body));
    Ok(whole.unwrap_or_else(|_| Response::new(Full::default())))
}

/// An operator, a few colleagues, Prometheus.
const MOST_CONNECTIONS: usize = 64;
/// How long a head or a body may take to come, and a connection may be idle.
const IDLE: Duration = Duration::from_secs(30);
/// Of a request line and its header fields.
const MOST_HEAD: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use evenkeel::Cluster;

    use super::*;
    use crate::admin::AdminSettings;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn it_serves_loopback_and_ends() {
        let cluster = Cluster::<()>::builder("users").build().unwrap();
        let admin = Arc::new(Admin::new(AdminSettings::default()).unwrap().with_cluster(&cluster));
        let listener =
            Listener::start("127.0.0.1:0".parse().unwrap(), Exposure::Loopback, Arc::clone(&admin)).unwrap();
        let address = listener.address();
        let answer = ask(address, "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n")
                && answer.contains("content-security-policy: default-src"),
            "{answer}"
        );
        let answer = ask(address, "GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
        let long = format!(
            "POST /api/explain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{}",
            admin.max_body() + 1,
            " ".repeat(admin.max_body() + 1)
        );
        assert!(ask(address, &long).starts_with("HTTP/1.1 413 "));
        drop(listener);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn what_others_reach_must_be_meant() {
        let admin = || Arc::new(Admin::new(AdminSettings::default()).unwrap());
        let open = "0.0.0.0:0".parse().unwrap();
        let refused = Listener::start(open, Exposure::Loopback, admin());
        assert!(matches!(refused, Err(ListenerError::NotLoopback(_))));
        assert!(Listener::start(open, Exposure::Anyone, admin()).is_ok());
    }
}
