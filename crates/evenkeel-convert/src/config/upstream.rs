//! How clusters are spoken to, in the words of `l7_proxy`: `[program.upstream.NAME]`. evenkeel-config itself leaves that to the
//! program that sends.

use evenkeel_config::Config;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::report::{Report, Verdict};
use crate::setup::Setup;
use crate::tls::UpstreamTls;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Upstream {
    #[serde(default)]
    protocol: Protocol,
    #[serde(default)]
    tls: Option<Tls>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Protocol {
    #[default]
    Http1,
    Http2,
    Auto,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    server_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<String>,
}

/// The part of the program that says how clusters are spoken to.
pub(super) fn program(setup: &Setup, report: &mut Report) -> Option<Value> {
    let mut all = serde_json::Map::new();
    for (name, tls) in &setup.upstream_tls {
        let subject = format!("upstream_tls.{name}");
        if tls.server_name.is_none() {
            let detail =
                "l7_proxy does not start without a name to ask for: set server_name in program.upstream";
            report.add(None, format!("{subject}.server_name"), Verdict::NoEquivalent, detail);
        }
        if tls.insecure {
            let detail = "l7_proxy looks at certificates: name who signs them as ca_file";
            report.add(None, format!("{subject}.insecure"), Verdict::Differs, detail);
        }
        if tls.client.is_some() {
            let detail = "l7_proxy shows endpoints no certificate";
            report.add(None, format!("{subject}.client"), Verdict::NoEquivalent, detail);
        }
        let has = |name: &str| tls.alpn.iter().any(|offered| offered == name);
        let protocol = match (has("h2"), has("http/1.1")) {
            (false, _) => Protocol::Http1,
            (true, false) => Protocol::Http2,
            (true, true) => Protocol::Auto,
        };
        let detail = format!("program.upstream.{name}, in the words of l7_proxy");
        report.add(None, subject, Verdict::Taken, detail);
        let tls = Some(Tls {
            server_name: tls.server_name.clone().unwrap_or_default(),
            ca_file: tls.ca_file.clone(),
        });
        all.insert(name.clone(), json!(Upstream { protocol, tls }));
    }
    (!all.is_empty()).then(|| json!({ "upstream": all }))
}

/// Reads that part; what it is not is left to others.
pub(super) fn read(config: &Config, setup: &mut Setup, report: &mut Report) {
    let Some(all) = config.program.as_ref().and_then(|program| program["upstream"].as_object()) else {
        return;
    };
    for (name, value) in all {
        let subject = format!("program.upstream.{name}");
        let Ok(upstream) = serde_json::from_value::<Upstream>(value.clone()) else {
            let detail = "it is the program's own: tell the proxy in its words";
            report.add(None, subject, Verdict::NoEquivalent, detail);
            continue;
        };
        let alpn: &[&str] = match upstream.protocol {
            Protocol::Http1 => &[],
            Protocol::Http2 => &["h2"],
            Protocol::Auto => &["h2", "http/1.1"],
        };
        let Some(tls) = upstream.tls else {
            let detail = "HTTP/2 without TLS: tell the proxy in its words";
            if upstream.protocol != Protocol::Http1 {
                report.add(None, subject, Verdict::NoEquivalent, detail);
            }
            continue;
        };
        let (server_name, ca_file) = (Some(tls.server_name), tls.ca_file);
        let alpn = alpn.iter().map(|&name| name.to_owned()).collect();
        let tls = UpstreamTls { server_name, ca_file, alpn, ..UpstreamTls::default() };
        report.add(None, subject, Verdict::Taken, format!("upstream_tls.{name}"));
        setup.upstream_tls.insert(name.clone(), tls);
    }
}
