use std::net::{IpAddr, SocketAddr};

/// The name servers of a `resolv.conf`, in order, with port 53; at most eight. Other lines are left alone: names here
/// are absolute, so that a search list cannot lead to another service.
///
/// ```
/// let text = "search example\nnameserver 10.0.0.53 # first\nnameserver fd00::53\n";
/// let servers = evenkeel_dns::name_servers(text);
/// assert_eq!(servers, ["10.0.0.53:53".parse()?, "[fd00::53]:53".parse()?]);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn name_servers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let ip: IpAddr = words.next().filter(|word| *word == "nameserver").and(words.next())?.parse().ok()?;
        Some(SocketAddr::new(ip, 53))
    };
    text.lines().filter_map(server).take(MAX_SERVERS).collect()
}

pub(crate) const MAX_SERVERS: usize = 8;
