use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address as the C library writes it (`inet_ntop`), and so as Envoy and gRPC hash it.
///
/// It is Rust's own text but for the long-dead addresses `::a.b.c.d`, whose last half C writes with dots.
///
/// ```
/// use evenkeel_balance::compat::envoy::ip_text;
/// assert_eq!(ip_text("2001:DB8:0:0:0:0:0:1".parse()?), "2001:db8::1");
/// assert_eq!(ip_text("::102:304".parse()?), "::1.2.3.4");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn ip_text(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if v6.segments()[..6] == [0; 6] && v6.segments()[6] != 0 => {
            let [.., a, b, c, d] = v6.octets();
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        other => other.to_string(),
    }
}

/// An address with its port: `10.0.0.1:80`, `[fd00::1]:80`.
#[must_use]
pub fn socket_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.to_string(),
        SocketAddr::V6(v6) => format!("[{}]:{}", ip_text(address.ip()), v6.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_c_library() {
        for (given, text) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::", "::"),
            ("::1", "::1"),
            ("::1:0", "::0.1.0.0"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("0:0:0:0:1:0:0:0", "::1:0:0:0"),
            ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
            ("1:0:0:2:0:0:3:4", "1::2:0:0:3:4"),
            ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
        ] {
            assert_eq!(ip_text(given.parse().unwrap()), text);
        }
        assert_eq!(socket_text("[FD00::0:1]:8080".parse().unwrap()), "[fd00::1]:8080");
        assert_eq!(socket_text("10.0.0.1:80".parse().unwrap()), "10.0.0.1:80");
    }
}
