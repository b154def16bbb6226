//! New connections to endpoints.

use std::io;

use evenkeel::Address;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::cause::Cause;
use super::live::Speaking;
use super::settings::UpstreamProtocol;
use super::stream::Stream;
use super::tls::certificate_fault;

/// A new connection, and whether HTTP/2 is spoken on it.
///
/// # Errors
///
/// Why there is none.
pub async fn connect(address: &Address, speaking: &Speaking) -> Result<(Stream, bool), Cause> {
    match timeout(speaking.connect, dial(address, speaking)).await {
        Ok(connected) => connected,
        Err(_) => Err(Cause::ConnectTimeout),
    }
}

async fn dial(address: &Address, speaking: &Speaking) -> Result<(Stream, bool), Cause> {
    let is_h2 = speaking.protocol == UpstreamProtocol::Http2;
    let stream = match address {
        Address::Socket(address) => TcpStream::connect(address).await,
        Address::Host(name, port) => TcpStream::connect((name.as_str(), *port)).await,
        Address::Unix(path) => {
            let stream = UnixStream::connect(&**path).await.map_err(|_| Cause::ConnectFailed)?;
            return Ok((Stream::Unix(stream), is_h2));
        }
        _ => return Err(Cause::ConnectFailed),
    };
    let stream = stream.map_err(|_| Cause::ConnectFailed)?;
    let _ = stream.set_nodelay(true);
    let Some(asking) = &speaking.tls else { return Ok((Stream::Tcp(stream), is_h2)) };
    let stream =
        asking.connector.connect(asking.name.clone(), stream).await.map_err(|error| tls_cause(&error))?;
    let is_h2 = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => true,
        Some(_) => false,
        // Servers that do not answer ALPN at all speak what they speak.
        None => is_h2,
    };
    Ok((Stream::Tls(Box::new(stream)), is_h2))
}

fn tls_cause(error: &io::Error) -> Cause {
    certificate_fault(error).map_or(Cause::TlsFailed, Cause::BadCertificate)
}
