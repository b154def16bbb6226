//! A case as the reader of nginx gives it.

use std::net::IpAddr;

use evenkeel::PolicyConfig;
use evenkeel::router::RouteConfig;
use evenkeel_balance::compat::nginx::Method;
use evenkeel_convert::{Dialect, Key, RequestParts, Serves};
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
        Ok(())
    }

    /// What the rule makes of a request that carries this key wherever one may stand.
    pub(super) fn key(&self, key: &[u8]) -> Option<Key> {
        let target = [b"/?key=".as_slice(), key].concat();
        let source = std::str::from_utf8(key).ok().and_then(|text| text.parse::<IpAddr>().ok());
        let headers = [("x-key", key)];
        let parts = RequestParts { method: "GET", target: &target, headers: &headers, source };
        self.rule.as_ref()?.of(&parts)
    }
}

fn route(converted: &Converted) -> Option<&RouteConfig> {
    let listener = converted.conversion().setup.listeners.first()?;
    match &listener.serves {
        Serves::Http(router) => router.routes.first(),
        Serves::Stream(_) => None,
    }
}
