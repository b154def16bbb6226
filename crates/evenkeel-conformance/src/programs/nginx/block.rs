//! The directives of an `upstream` block, as a case gives them.

use std::time::Duration;

use evenkeel_balance::compat::nginx::{Method, Place, Server};
use evenkeel_convert::KeyRule;

use crate::Case;

/// What the directives say.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) method: Method,
    pub(super) servers: Vec<Server>,
    /// For each server whether it refuses connections: the record says so, no directive does.
    pub(super) refuses: Vec<bool>,
    /// Whether `proxy_next_upstream` names 503.
    pub(super) retries_503: bool,
    /// `proxy_next_upstream_tries`, zero for no limit.
    pub(super) tries: u32,
    /// The addresses of names, as the comment tells them.
    names: Vec<(String, Vec<String>)>,
    /// What `hash` names.
    pub(super) text: Option<String>,
    /// What the method goes by.
    pub(super) rule: Option<KeyRule>,
}

impl Block {
    /// Reads the text in `config`; the list `servers` adds what is not a directive.
    pub(super) fn read(case: &Case) -> Result<Self, String> {
        let config = case.0["config"].as_str().ok_or("config is no text")?;
        let (directives, comment) = config.split_once('#').unwrap_or((config, ""));
        let mut block = Self {
            method: Method::RoundRobin,
            servers: Vec::new(),
            refuses: Vec::new(),
            retries_503: false,
            tries: 0,
            names: names_in(comment),
            text: None,
            rule: None,
        };
        for directive in directives.split(';') {
            block.take(&directive.split_whitespace().collect::<Vec<_>>())?;
        }
        let listed = case.servers();
        if block.servers.len() != listed.len() {
            return Err(format!("{} server lines and {} servers", block.servers.len(), listed.len()));
        }
        for (server, listed) in block.servers.iter().zip(listed) {
            if listed["name"].as_str().is_some_and(|name| name != server.name) {
                return Err(format!("line of {} and server {}", server.name, listed["name"]));
            }
            block.refuses.push(listed["refuses_connections"] == true);
        }
        block.convert(directives)?;
        Ok(block)
    }

    fn take(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            [] | ["zone" | "keepalive" | "proxy_connect_timeout" | "proxy_next_upstream_timeout", ..] => {}
            ["server", name, parameters @ ..] => {
                let addresses = self.names.iter().find(|(of, _)| host(name) == of);
                let mut server = Server::new(*name);
                server.addresses = addresses.map_or(1, |(_, addresses)| addresses.len() as u32);
                for parameter in parameters {
                    set(&mut server, parameter)?;
                }
                self.servers.push(server);
            }
            ["ip_hash"] => self.method = Method::IpHash,
            ["least_conn"] => self.method = Method::LeastConn,
            ["hash", text] => {
                self.method = Method::Hash;
                self.text = Some(unquoted(text));
            }
            ["hash", text, "consistent"] => {
                self.method = Method::HashConsistent;
                self.text = Some(unquoted(text));
            }
            ["proxy_next_upstream", conditions @ ..] => {
                self.retries_503 = conditions.contains(&"http_503");
            }
            ["proxy_next_upstream_tries", tries] => self.tries = number(tries)?,
            other => return Err(format!("directive {other:?}")),
        }
        Ok(())
    }

    /// Whether picks go by keys.
    pub(super) const fn is_keyed(&self) -> bool {
        matches!(self.method, Method::IpHash | Method::Hash | Method::HashConsistent)
    }

    /// The address and port of a place.
    pub(super) fn address(&self, place: Place) -> String {
        let Some(server) = self.servers.get(place.server) else { return String::new() };
        let found = self.names.iter().find(|(name, _)| host(&server.name) == name);
        match found.and_then(|(_, addresses)| addresses.get(place.address)) {
            Some(address) => format!("{address}{}", &server.name[host(&server.name).len()..]),
            None => server.name.clone(),
        }
    }
}

fn set(server: &mut Server, parameter: &str) -> Result<(), String> {
    match parameter.split_once('=') {
        Some(("weight", value)) => server.weight = number(value)?,
        Some(("max_fails", value)) => server.max_fails = number(value)?,
        Some(("max_conns", value)) => server.max_conns = number(value)?,
        Some(("fail_timeout", value)) => server.fail_timeout = time(value)?,
        None if parameter == "down" => server.down = true,
        None if parameter == "backup" => server.backup = true,
        _ => return Err(format!("parameter {parameter:?}")),
    }
    Ok(())
}

fn unquoted(text: &str) -> String {
    text.trim_matches(['"', '\'']).to_owned()
}

/// The name without its port.
fn host(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if !name.starts_with("unix:") && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => name,
    }
}

/// `a.example = 10.0.0.1, 10.0.0.2; b.example = 10.0.0.3`
fn names_in(comment: &str) -> Vec<(String, Vec<String>)> {
    let known = KNOWN_NAMES.iter().map(|(name, addresses)| {
        ((*name).to_owned(), addresses.iter().map(|&address| address.to_owned()).collect())
    });
    let of = |part: &str| {
        let (name, addresses) = part.split_once('=')?;
        let addresses = addresses.split(',').map(|address| address.trim().to_owned()).collect();
        Some((name.trim().to_owned(), addresses))
    };
    comment.split(';').filter_map(of).chain(known).collect()
}

/// Names with several addresses on the network of the recordings.
const KNOWN_NAMES: [(&str, &[&str]); 1] = [("pool.example", &["10.0.2.1", "10.0.2.2"])];

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// `90`, `90s`, `1m30s`.
fn time(text: &str) -> Result<Duration, String> {
    let mut seconds = 0_u64;
    let mut left = text;
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit()).unwrap_or(left.len());
        let count: u64 = left[..digits].parse().map_err(|_| format!("{text:?} is no time"))?;
        let unit = left[digits..].chars().next();
        let unit_seconds = match unit {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some(_) => return Err(format!("{text:?} is no time")),
        };
        seconds = seconds.saturating_add(count.saturating_mul(unit_seconds));
        left = &left[digits + usize::from(unit.is_some())..];
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn directives_are_read() {
        let case = Case(json!({
            "config": "hash $k consistent; server a.example:80 weight=2 max_fails=3 fail_timeout=1m30s; \
                server unix:/run/b down; proxy_next_upstream error http_503; # a.example = 10.0.0.1, 10.0.0.2",
            "servers": [{"name": "a.example:80"}, {"name": "unix:/run/b", "refuses_connections": true}],
        }));
        let block = Block::read(&case).expect("known directives");
        assert_eq!(block.method, Method::HashConsistent);
        assert_eq!(block.refuses, [false, true]);
        assert!(block.retries_503);
        let [a, b] = block.servers.as_slice() else { panic!("two servers") };
        assert_eq!((a.weight, a.max_fails, a.fail_timeout.as_secs(), a.addresses), (2, 3, 90, 2));
        assert!(b.down);
        assert_eq!(block.address(Place { server: 0, address: 1 }), "10.0.0.2:80");
        assert_eq!(block.address(Place { server: 1, address: 0 }), "unix:/run/b");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for config in
            ["random; server a", "server a speed=9", "server a weight=x", "server a fail_timeout=1q"]
        {
            let case = Case(json!({"config": config, "servers": [{"name": "a"}]}));
            assert!(Block::read(&case).is_err(), "{config}");
        }
        assert!(Block::read(&Case(json!({"config": "server a", "servers": []}))).is_err());
    }
}
