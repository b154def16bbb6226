//! New connections to endpoints.

use std::io;

use evenkeel::Address;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::cause::Cause;
use super::live::Speaking;
use super::settings::UpstreamProtocol;
use super::stream::Stream;
use super::tls::{certificate_fault, speaks_other};

/// A new connection, and whether HTTP/2 is spoken on it.
///
/// # Errors
///
/// Why there is none.
pub async fn connect(address: &Address, speaking: &Speaking) -> Result<(Stream, bool), Cause> {
    let connector = speaking.tls.as_ref().map(|asking| &asking.connector);
    match timeout(speaking.connect, dial(address, speaking, connector)).await {
        Ok(connected) => connected.map_err(NotDialled::cause),
        Err(_) => Err(Cause::ConnectTimeout),
    }
}

/// A new connection for HTTP/1.1, which is all that is offered in a TLS handshake; none if the other side does not speak it.
///
/// # Errors
///
/// Why there is none.
pub async fn connect_h1(address: &Address, speaking: &Speaking) -> Result<Option<Stream>, Cause> {
    let connector = speaking.tls.as_ref().map(|asking| &asking.only_h1);
    match timeout(speaking.connect, dial(address, speaking, connector)).await {
        Ok(Ok((stream, is_h2))) => Ok((!is_h2).then_some(stream)),
        Ok(Err(NotDialled::SpeaksOther)) => Ok(None),
        Ok(Err(NotDialled::Cause(cause))) => Err(cause),
        Err(_) => Err(Cause::ConnectTimeout),
    }
}

enum NotDialled {
    /// It speaks nothing of what was offered (RFC 7301, section 3.2).
    SpeaksOther,
    Cause(Cause),
}

impl NotDialled {
    const fn cause(self) -> Cause {
        match self {
            Self::SpeaksOther => Cause::TlsFailed,
            Self::Cause(cause) => cause,
        }
    }
}

impl From<Cause> for NotDialled {
    fn from(cause: Cause) -> Self {
        Self::Cause(cause)
    }
}

async fn dial(
    address: &Address,
    speaking: &Speaking,
    connector: Option<&TlsConnector>,
) -> Result<(Stream, bool), NotDialled> {
    let is_h2 = speaking.protocol == UpstreamProtocol::Http2;
    let stream = match address {
        Address::Socket(address) => TcpStream::connect(address).await,
        Address::Host(name, port) => TcpStream::connect((name.as_str(), *port)).await,
        // Rather none than one that is not encrypted, though the settings say so.
        Address::Unix(_) if speaking.tls.is_some() => return Err(Cause::TlsFailed.into()),
        Address::Unix(path) => {
            let stream = UnixStream::connect(&**path).await.map_err(|_| Cause::ConnectFailed)?;
            return Ok((Stream::Unix(stream), is_h2));
        }
        _ => return Err(Cause::ConnectFailed.into()),
    };
    let stream = stream.map_err(|_| Cause::ConnectFailed)?;
    let _ = stream.set_nodelay(true);
    let (Some(asking), Some(connector)) = (&speaking.tls, connector) else {
        return Ok((Stream::Tcp(stream), is_h2));
    };
    let stream = connector.connect(asking.name.clone(), stream).await.map_err(|error| not_dialled(&error))?;
    let is_h2 = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => true,
        Some(_) => false,
        // Servers that do not answer ALPN at all speak what they speak.
        None => is_h2,
    };
    Ok((Stream::Tls(Box::new(stream)), is_h2))
}

fn not_dialled(error: &io::Error) -> NotDialled {
    if speaks_other(error) {
        return NotDialled::SpeaksOther;
    }
    certificate_fault(error).map_or(Cause::TlsFailed, Cause::BadCertificate).into()
}
