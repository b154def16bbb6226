use std::time::Duration;

/// One `server` line of an `upstream` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The text as configured: `10.0.0.1:80`, `[fd00::1]:80`, `api.example`, `unix:/run/api.sock`. The ring hashes it.
    pub name: String,
    /// `weight=`, 1 unless given. Zero is refused.
    pub weight: u32,
    /// `max_fails=`, 1 unless given. Zero: failures are not counted.
    pub max_fails: u32,
    /// `fail_timeout=`, ten seconds unless given; whole seconds count.
    pub fail_timeout: Duration,
    /// `max_conns=`, zero unless given, which means no limit.
    pub max_conns: u32,
    /// `down`: never used, and still part of the sums that the hashing methods divide by.
    pub down: bool,
    /// `backup`: used when none of the others is usable.
    pub backup: bool,
    /// How many addresses the name resolved to. Each counts as a server of this weight.
    pub addresses: u32,
}

impl Server {
    /// The line `server NAME;`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            weight: 1,
            max_fails: 1,
            fail_timeout: Duration::from_secs(10),
            max_conns: 0,
            down: false,
            backup: false,
            addresses: 1,
        }
    }

    /// The same with a weight.
    #[must_use]
    pub const fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }
}

/// The text of a server as the ring hashes it: host and port.
pub(super) fn host_and_port(name: &str) -> (&str, &str) {
    if let Some(prefix) = name.get(..UNIX.len())
        && prefix.eq_ignore_ascii_case(UNIX)
    {
        return (&name[UNIX.len()..], "");
    }
    match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (name, ""),
    }
}

const UNIX: &str = "unix:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_what_follows_the_last_colon_if_it_is_a_number() {
        for (name, expected) in [
            ("10.0.0.1:80", ("10.0.0.1", "80")),
            ("10.0.0.1", ("10.0.0.1", "")),
            ("api.example:8080", ("api.example", "8080")),
            ("api.example", ("api.example", "")),
            ("[fd00::1]:80", ("[fd00::1]", "80")),
            ("[fd00::1]", ("[fd00::1]", "")),
            ("api.example:", ("api.example", "")),
            ("api.example:http", ("api.example:http", "")),
            ("unix:/run/api:80", ("/run/api:80", "")),
            ("UNIX:/run/api", ("/run/api", "")),
            ("unix:", ("", "")),
            (":80", ("", "80")),
            ("", ("", "")),
            ("é:1", ("é", "1")),
        ] {
            assert_eq!(host_and_port(name), expected, "{name}");
        }
    }
}
