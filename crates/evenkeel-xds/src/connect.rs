use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use evenkeel_adapter::BaseUrl;
use evenkeel_registry::TroubleKind;
use hyper::Uri;
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::stream::Ended;
use crate::{End, XdsConfig, XdsError};

/// How connections are made.
pub(crate) struct Dialer {
    connect_timeout: Duration,
    /// Grows when a server finds it too short.
    pub(crate) keepalive: Duration,
    pub(crate) keepalive_timeout: Duration,
    #[cfg(feature = "tls")]
    tls: tokio_rustls::TlsConnector,
    #[cfg(feature = "tls")]
    server_name: Option<rustls::pki_types::ServerName<'static>>,
}

/// The body of a request: the messages that come out of a channel, until it is closed.
pub(crate) struct Outgoing(pub(crate) mpsc::Receiver<Bytes>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

/// The error of a connection, when it ends with one.
pub(crate) type Over = oneshot::Receiver<Option<hyper::Error>>;

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Dialer {
    pub(crate) fn new(config: &XdsConfig) -> Result<Self, XdsError> {
        let connection = &config.connection;
        #[cfg(feature = "tls")]
        let server_name = match &connection.server_name {
            None => None,
            Some(name) => {
                Some(name.clone().try_into().map_err(|_| XdsError::ServerName { given: name.clone() })?)
            }
        };
        #[cfg(not(feature = "tls"))]
        if connection.tls != evenkeel_adapter::TlsConfig::default() {
            return Err(XdsError::Tls(evenkeel_adapter::InvalidTls::FeatureOff));
        }
        Ok(Self {
            connect_timeout: connection.connect_timeout,
            keepalive: connection.keepalive,
            keepalive_timeout: connection.keepalive_timeout,
            #[cfg(feature = "tls")]
            tls: crate::tls::connector(&connection.tls).map_err(XdsError::Tls)?,
            #[cfg(feature = "tls")]
            server_name,
        })
    }

    /// A connection of HTTP/2, moved by a task of the runtime, and what comes when it is over: its streams are told that
    /// they are cancelled, it alone knows why.
    pub(crate) async fn dial(&self, server: &BaseUrl) -> Result<(SendRequest<Outgoing>, Over), Ended> {
        let opening = async {
            let io = self.open(server).await?;
            let mut builder = Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(self.keepalive)
                .keep_alive_timeout(self.keepalive_timeout)
                .keep_alive_while_idle(true)
                .max_header_list_size(MAX_HEAD);
            let (sender, connection) =
                builder.handshake(TokioIo::new(io)).await.map_err(|error| Ended::of(server, &error))?;
            let (end, over) = oneshot::channel();
            // It ends with the sender and its stream.
            tokio::spawn(async move { _ = end.send(connection.await.err()) });
            Ok((sender, over))
        };
        tokio::time::timeout(self.connect_timeout, opening).await.unwrap_or_else(|_| {
            let text = format!("{server}: no connection within {:?}", self.connect_timeout);
            Err(Ended::new(End::Broken, TroubleKind::Unreachable, text))
        })
    }

    async fn open(&self, server: &BaseUrl) -> Result<Box<dyn Io>, Ended> {
        let unreachable = |error: &io::Error| {
            Ended::new(End::Broken, TroubleKind::Unreachable, format!("{server}: {error}"))
        };
        let uri: Uri = server.as_str().parse().unwrap_or_default();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if server.is_secure() { 443 } else { 80 });
        let addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| unreachable(&error))?;
        let addresses: Vec<_> = addresses.collect();
        let tcp = first_of(&addresses, self.connect_timeout).await.map_err(|error| unreachable(&error))?;
        let _ = tcp.set_nodelay(true);
        self.secured(server, host, tcp).await
    }

    #[cfg(feature = "tls")]
    async fn secured(&self, server: &BaseUrl, host: &str, tcp: TcpStream) -> Result<Box<dyn Io>, Ended> {
        if !server.is_secure() {
            return Ok(Box::new(tcp));
        }
        let denied = |why: String| Ended::new(End::Broken, TroubleKind::Denied, format!("{server}: {why}"));
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => host.to_owned().try_into().map_err(|_| denied(format!("{host:?} has no certificate")))?,
        };
        let stream = self.tls.connect(name, tcp).await.map_err(|error| denied(error.to_string()))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            let why = format!("{server}: the server did not choose h2 by ALPN: it is no gRPC server");
            return Err(Ended::new(End::Broken, TroubleKind::Malformed, why));
        }
        Ok(Box::new(stream))
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with the feature `tls` it waits")]
    async fn secured(&self, _: &BaseUrl, _: &str, tcp: TcpStream) -> Result<Box<dyn Io>, Ended> {
        Ok(Box::new(tcp))
    }
}

/// A connection to the first address that takes one. Each has its share of the time: an address that swallows packets, as
/// those of a family without a route do, leaves some for the others.
async fn first_of(addresses: &[SocketAddr], within: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    let share = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => {
                let text = format!("{address}: no answer within {share:?}");
                last = io::Error::new(io::ErrorKind::TimedOut, text);
            }
        }
    }
    Err(last)
}

const MAX_HEAD: u32 = 16 << 10;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_that_swallows_packets_leaves_time_for_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // Nobody accepts, and its queue is full: further packets are dropped.
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
            let deaf = socket.listen(1).unwrap();
            let deaf = (deaf.local_addr().unwrap(), deaf);
            let mut waiting = Vec::new();
            let full = loop {
                let one = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(deaf.0)).await;
                match one {
                    Ok(tcp) if waiting.len() < 64 => waiting.push(tcp.unwrap()),
                    // A system that never drops them cannot show it.
                    other => break other.is_err(),
                }
            };
            let good = TcpListener::bind("127.0.0.1:0").unwrap();
            let good = (good.local_addr().unwrap(), good);
            let tcp = first_of(&[deaf.0, good.0], Duration::from_secs(1)).await.unwrap();
            assert!(!full || tcp.peer_addr().unwrap() == good.0);
            let none = first_of(&[], Duration::from_secs(1)).await.unwrap_err();
            assert!(none.to_string().contains("no address"));
        });
    }
}
