use evenkeel::Address;
use pingora_core::upstreams::peer::HttpPeer;
use thiserror::Error;

/// Pingora cannot connect to this address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It is a name, and looking names up blocks the proxy's threads. Follow it by `evenkeel-dns`, which gives addresses.
    #[error("address {0}: a name; pingora needs an IP address, so let discovery resolve it")]
    Name(Address),
    /// The path is too long for a Unix socket, or not UTF-8.
    #[error("address {0}: cannot be the path of a Unix socket")]
    Path(Address),
}

/// The peer at an address.
///
/// # Errors
///
/// [`PeerError`] if the address is a name, or a path that no socket can have.
pub fn peer_at(address: &Address, tls: bool, sni: &str) -> Result<Box<HttpPeer>, PeerError> {
    match address {
        Address::Socket(address) => Ok(Box::new(HttpPeer::new(*address, tls, sni.to_owned()))),
        #[cfg(unix)]
        Address::Unix(path) => {
            let at = path.to_str().ok_or_else(|| PeerError::Path(address.clone()))?;
            let peer = HttpPeer::new_uds(at, tls, sni.to_owned());
            peer.map(Box::new).map_err(|_| PeerError::Path(address.clone()))
        }
        other => Err(PeerError::Name(other.clone())),
    }
}
