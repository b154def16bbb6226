//! A case as the reader of nginx gives it.

use std::net::IpAddr;

use evenkeel::PolicyConfig;
use evenkeel::router::RouteConfig;
use evenkeel_balance::compat::nginx::Method;
use evenkeel_convert::{Dialect, Key, KeyPart, KeyRule, RequestParts, Serves};
use evenkeel_types::Announced;

use super::block::Block;
use crate::programs::converted::{Converted, NAME};

impl Block {
    /// Puts what the reader gives in the place of what the directives say.
    pub(super) fn convert(&mut self, directives: &str) -> Result<(), String> {
        let of_location = |directive: &&str| directive.trim_start().starts_with("proxy_");
        let (proxy, upstream): (Vec<&str>, Vec<&str>) =
            directives.split(';').filter(|text| !text.trim().is_empty()).partition(of_location);
        let block = |list: Vec<&str>| list.iter().map(|text| format!("{text};")).collect::<String>();
        let text = format!(
            "upstream {NAME} {{ {} }} server {{ listen 80; location / {{ {} proxy_pass http://{NAME}; }} }}",
            block(upstream),
            block(proxy)
        );
        let converted = Converted::read(Dialect::Nginx, &text)?;
        let cluster = converted.cluster()?;
        let PolicyConfig::Nginx(config) = &cluster.policy else {
            return Err(format!("evenkeel-convert gives the policy {}", cluster.policy.name()));
        };
        if cluster.endpoints.len() != self.servers.len() {
            return Err(format!("{} endpoints of {} servers", cluster.endpoints.len(), self.servers.len()));
        }
        self.method = config.method;
        // Those of the first stand for all.
        let shared = self.servers.first().map(|first| (first.max_fails, first.fail_timeout));
        for (server, endpoint) in self.servers.iter_mut().zip(&cluster.endpoints) {
            let line = format!("server {}", server.name);
            server.weight = endpoint.weight().get();
            server.down = endpoint.announced() == Announced::Down;
            server.backup = endpoint.priority().get() > 0;
            if Some((server.max_fails, server.fail_timeout)) == shared {
                (server.max_fails, server.fail_timeout) = (config.max_fails, config.fail_timeout);
            } else {
                converted.must_tell(&line)?;
            }
            let name = endpoint.address().to_string();
            if name == server.name || self.method != Method::HashConsistent {
                server.name = if name == server.name { name } else { server.name.clone() };
            } else {
                converted.must_tell(&line)?;
            }
        }
        if let Some(retry) = route(&converted).and_then(|route| route.retry.as_ref()) {
            self.retries_503 =
                retry.on.statuses.iter().any(|range| (range.first..=range.last).contains(&503));
            if self.tries > 0 && retry.attempts > self.tries {
                return Err(format!("{} attempts, where nginx makes {}", retry.attempts, self.tries));
            }
        }
        self.rule = converted.rule().cloned();
        match (&self.text, &self.rule) {
            // A variable that a request does not show.
            (Some(_), None) => converted.must_tell("hash"),
            (Some(text), Some(rule)) if is_variable(text) => match rule {
                KeyRule::Text(parts) if matches!(parts.as_slice(), [part] if !matches!(part, KeyPart::Literal(_))) => {
                    Ok(())
                }
                _ => Err(format!("evenkeel-convert makes {rule:?} of {text}")),
            },
            _ => Ok(()),
        }
    }

    /// The key that nginx looks at, of the one that was recorded.
    pub(super) fn key(&self, key: &[u8]) -> Result<Option<Key>, String> {
        let source = std::str::from_utf8(key).ok().and_then(|text| text.parse::<IpAddr>().ok());
        let Some(text) = &self.text else {
            let parts = RequestParts { source, ..RequestParts::default() };
            return Ok(self.rule.as_ref().and_then(|rule| rule.of(&parts)));
        };
        if is_variable(text) {
            // What was recorded is its value, whichever it is.
            return Ok(Some(Key::Bytes(key.to_vec())));
        }
        let has_place = |name: &str| match name {
            "arg_key" | "http_x_key" => true,
            "remote_addr" => source.is_some(),
            _ => false,
        };
        match &self.rule {
            Some(rule) if variables(text).all(has_place) => {
                let target = [b"/?key=".as_slice(), key].concat();
                let headers = [("x-key", key)];
                Ok(rule.of(&RequestParts { method: "GET", target: &target, headers: &headers, source }))
            }
            _ => Err(format!("hash {text}: where the key stood in it is not recorded")),
        }
    }
}

/// Whether a text is a variable and nothing else.
fn is_variable(text: &str) -> bool {
    let name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.strip_prefix('$').is_some_and(|rest| {
        name(rest) || rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(name)
    })
}

/// The names of the variables in a text.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

fn route(converted: &Converted) -> Option<&RouteConfig> {
    let listener = converted.conversion().setup.listeners.first()?;
    match &listener.serves {
        Serves::Http(router) => router.routes.first(),
        Serves::Stream(_) => None,
    }
}
