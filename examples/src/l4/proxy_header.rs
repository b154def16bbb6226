use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use proxy_header::{Error, ParseConfig, ProxiedAddress, ProxyHeader, Tlv};

use super::settings::ProxyVersion;

/// What a PROXY header says, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proxied {
    /// The client and where it was going; `None` if the balancer in front speaks for itself, as for its checks.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    pub(crate) length: usize,
}

/// It is no PROXY header.
#[derive(Debug)]
pub(crate) struct NoHeader;

/// Reads a header of either version; `None` if more is needed.
///
/// Version 1 is taken to the letter, since what differs may be read otherwise elsewhere.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Proxied>, NoHeader> {
    if !may_begin(bytes) {
        return Err(NoHeader);
    }
    // What follows the header may be anything, also what looks like more of it.
    let end = bytes.iter().take(LONGEST_LINE).position(|&byte| byte == b'\n').map(|end| end + 1);
    let is_line = bytes.first() == Some(&b'P');
    let whole = match end {
        Some(end) if is_line => &bytes[..end],
        None if is_line && bytes.len() >= LONGEST_LINE => return Err(NoHeader),
        None if is_line => return Ok(None),
        _ => bytes,
    };
    match ProxyHeader::parse(whole, ParseConfig { include_tlvs: false, ..ParseConfig::default() }) {
        Ok((header, length)) => {
            let proxied = header.proxied_address();
            if is_line && proxied.is_some_and(|proxied| line(proxied) != whole) {
                return Err(NoHeader);
            }
            let addresses = proxied.map(|proxied| (proxied.source, proxied.destination));
            Ok(Some(Proxied { addresses, length }))
        }
        Err(Error::BufferTooShort) if !is_line && !is_whole(bytes) => Ok(None),
        Err(_) => Err(NoHeader),
    }
}

/// The header for an endpoint: who the client is, where it was going, and the server name if it is known.
pub(crate) fn write(
    version: ProxyVersion,
    source: SocketAddr,
    destination: SocketAddr,
    server_name: &str,
) -> Vec<u8> {
    let (source, destination) = one_family(source, destination);
    let mut header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination));
    let mut bytes = Vec::with_capacity(128);
    let written = match version {
        ProxyVersion::V1 => header.encode_v1(&mut bytes),
        ProxyVersion::V2 => {
            if !server_name.is_empty() {
                header.append_tlv(Tlv::Authority(server_name.into()));
            }
            header.encode_v2(&mut bytes)
        }
    };
    // Of one family, and a server name has at most 255 bytes.
    written.expect("such a header can be written");
    bytes
}

/// Whether this can be the beginning of a header, as far as it goes.
fn may_begin(bytes: &[u8]) -> bool {
    [&b"PROXY "[..], V2].iter().any(|mark| bytes.iter().zip(*mark).all(|(given, wanted)| given == wanted))
}

/// Whether there is as much as a header of version 2 says that it has.
fn is_whole(bytes: &[u8]) -> bool {
    let length = bytes.get(14..16).map(|length| usize::from(length[0]) << 8 | usize::from(length[1]));
    length.is_some_and(|length| bytes.len() >= 16 + length)
}

/// As every writer has to write it.
fn line(proxied: &ProxiedAddress) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LONGEST_LINE);
    let _ = ProxyHeader::with_address(proxied.clone()).encode_v1(&mut bytes);
    bytes
}

/// Both as IPv6 if they differ.
fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddrV6::new(ip.to_ipv6_mapped(), address.port(), 0, 0).into(),
        IpAddr::V6(_) => address,
    };
    (mapped(source), mapped(destination))
}

/// With its end, as the specification counts.
const LONGEST_LINE: usize = 107;
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: &[u8], wanted: Option<(&str, &str)>) {
        let addresses = wanted.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
        let mut with_more = bytes.to_vec();
        with_more.extend(b"GET / HTTP/1.1\r\n");
        let said = read(&with_more).unwrap().unwrap();
        assert_eq!(said, Proxied { addresses, length: bytes.len() });
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]).unwrap(), None, "{end} bytes of {}", bytes.escape_ascii());
        }
    }

    /// The examples of section 2.1, and the layout of section 2.2, of
    /// <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>.
    #[test]
    fn the_examples_of_the_specification() {
        check(
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            Some(("255.255.255.255:65535", "255.255.255.255:65535")),
        );
        check(
            b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Some((
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            )),
        );
        check(b"PROXY UNKNOWN\r\n", None);
        check(
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            Some(("192.168.0.1:56324", "192.168.0.11:443")),
        );
        check(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", None);
        check(
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\x0a\0\0\x01\x0a\0\0\x02\xc3\x50\x01\xbb\x04\0\0",
            Some(("10.0.0.1:50000", "10.0.0.2:443")),
        );
    }

    #[test]
    fn what_differs_is_refused() {
        for wrong in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 1.2.3.4 5.6.7.8 080 443\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +80 443\r\n",
            b"PROXY  TCP4 1.2.3.4 5.6.7.8 80 443\r\n",
            b"PROXYxTCP4 1.2.3.4 5.6.7.8 80 443\r\n",
            b"PROXY TCP4 ::1 ::1 80 443\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 80 443\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 80\r\n",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 80 443\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\xc3\x50\x01\xbb",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\x0a\0\0\x01",
        ] {
            assert!(read(wrong).is_err(), "{}", wrong.escape_ascii());
        }
        assert!(read(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat()).is_err());
    }

    fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        any::<(SocketAddr, SocketAddr)>().prop_map(|(from, to)| {
            // A scope or a flow has no place in a header.
            (SocketAddr::new(from.ip(), from.port()), SocketAddr::new(to.ip(), to.port()))
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((from, to) in addresses(), name in "[a-z.]{0,80}", more in any::<Vec<u8>>()) {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let mut bytes = write(version, from, to, &name);
                let length = bytes.len();
                bytes.extend(&more);
                let said = read(&bytes).unwrap().unwrap();
                prop_assert_eq!(said.length, length);
                prop_assert_eq!(said.addresses, Some(one_family(from, to)));
            }
        }

        #[test]
        fn garbage_is_refused_or_waited_for(bytes in any::<Vec<u8>>(), version_2 in any::<bool>()) {
            let mark = if version_2 { V2 } else { b"PROXY " };
            let _ = read(&[mark, &bytes].concat());
            let _ = read(&bytes);
        }
    }
}
