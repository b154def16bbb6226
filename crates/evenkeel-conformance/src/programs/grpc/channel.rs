use std::net::SocketAddr;

use evenkeel_balance::compat::envoy::{Weighted, socket_text};
use serde_json::Value;

use crate::Case;

/// The addresses of a case. An address that is listed twice is one endpoint with the weights of both.
pub(super) struct Channel {
    texts: Vec<String>,
    endpoints: Vec<Weighted>,
    ready: Vec<u32>,
}

impl Channel {
    pub(super) fn of(case: &Case) -> Self {
        let texts: Vec<String> = case.servers().iter().map(text_of).collect();
        let mut endpoints: Vec<Weighted> = Vec::new();
        let mut ready = Vec::new();
        for (index, server) in case.servers().iter().enumerate() {
            let weight = Case::weight(server);
            let known = endpoints.iter_mut().find(|(other, _)| texts[*other as usize] == texts[index]);
            if let Some((_, sum)) = known {
                *sum = sum.saturating_add(weight);
                continue;
            }
            endpoints.push((index as u32, weight));
            if !server["refuses_connections"].as_bool().unwrap_or(false) {
                ready.push(index as u32);
            }
        }
        Self { texts, endpoints, ready }
    }

    pub(super) fn text(&self, endpoint: u32) -> &str {
        &self.texts[endpoint as usize]
    }

    pub(super) fn endpoints(&self) -> &[Weighted] {
        &self.endpoints
    }

    /// Those that answer, in order.
    pub(super) fn ready(&self) -> &[u32] {
        &self.ready
    }

    pub(super) fn accepts(&self, endpoint: u32) -> bool {
        self.ready.binary_search(&endpoint).is_ok()
    }
}

fn text_of(server: &Value) -> String {
    let text = server["addr"].as_str().unwrap_or_default();
    text.parse::<SocketAddr>().map_or_else(|_| text.to_owned(), socket_text)
}
