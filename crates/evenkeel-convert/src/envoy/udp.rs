//! `udp_proxy`: datagrams, read and written.

use evenkeel::router::{StreamAction, StreamRouteConfig, StreamRouterConfig};
use evenkeel_route::matching::StreamRule;
use serde_json::{Value, json};

use super::listener::unused;
use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::key_rule::{EnvoyHash, KeyPart, KeyRule};
use crate::setup::{Listener, Serves};

/// Reads the filters of a listener of datagrams.
pub(super) fn read(
    listener: &mut Table<'_>,
    name: &str,
    addresses: Vec<String>,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let mut router = StreamRouterConfig::default();
    let path = listener.path("listener_filters");
    for (number, node) in listener.list("listener_filters")?.iter().enumerate() {
        let mut filter = Table::new(node, format!("{path}[{number}]"))?;
        let filter_name = filter.text("name")?.unwrap_or("");
        let Some(mut config) = filter.table("typed_config")?.filter(|_| filter_name.ends_with("udp_proxy"))
        else {
            conversion.report.none(filter.place(), filter.path(filter_name), "filters are your server's");
            continue;
        };
        config.get("stat_prefix");
        let Some(cluster) = cluster(&mut config, conversion)? else {
            let detail = "where this leads is only known when datagrams come: write a route for each";
            conversion.report.none(config.place(), config.path("matcher"), detail);
            continue;
        };
        let field = config.path("hash_policies");
        for node in config.list("hash_policies")? {
            let mut policy = Table::new(node, &field)?;
            if policy.boolean("source_ip")? == Some(true) {
                let rule = KeyRule::Envoy(vec![EnvoyHash { of: KeyPart::Source, terminal: false }]);
                conversion.setup.keys.entry(cluster.clone()).or_insert(rule);
            }
            policy.rest(&mut conversion.report, |_| "datagrams are told apart by where they come from");
        }
        conversion.report.taken(
            config.place(),
            config.path(""),
            "a route of datagrams, those of one address together",
        );
        config.rest(&mut conversion.report, |_| "it is about sessions: set it in your server");
        let (rule, action) = (StreamRule::default(), StreamAction::Cluster(cluster));
        router.routes.push(StreamRouteConfig { name: number.to_string(), rule, action });
        filter.rest(&mut conversion.report, |_| "filters are your server's");
    }
    if router.routes.is_empty() {
        let detail = "no route of datagrams: the listener is left out";
        conversion.report.none(listener.place(), path, detail);
        return Ok(());
    }
    let (name, serves) = (unused(name, conversion), Serves::Stream(router));
    conversion.setup.listeners.push(Listener { name, addresses, tls: None, udp: true, serves });
    Ok(())
}

/// The cluster that all datagrams go to: by a matcher that looks at nothing, or in the older way.
fn cluster(config: &mut Table<'_>, conversion: &mut Conversion) -> Result<Option<String>, ConvertError> {
    if let Some(name) = config.text("cluster")? {
        return Ok(Some(name.to_owned()));
    }
    let Some(mut matcher) = config.table("matcher")? else { return Ok(None) };
    if matcher.get("matcher_list").is_some() || matcher.get("matcher_tree").is_some() {
        return Ok(None);
    }
    let Some(mut rest) = matcher.table("on_no_match")? else { return Ok(None) };
    let Some(mut action) = rest.table("action")? else { return Ok(None) };
    let Some(mut route) = action.table("typed_config")? else { return Ok(None) };
    let found = route.text("cluster")?.map(str::to_owned);
    action.get("name");
    for table in [route, action, rest, matcher] {
        table.rest(&mut conversion.report, |_| "where datagrams go is one cluster");
    }
    Ok(found)
}

/// The filters of a listener of datagrams.
pub(super) fn filters(number: usize, cluster: &str, by_source: bool) -> Value {
    let route = json!({ "@type": format!("{TYPES}.Route"), "cluster": cluster });
    let mut config = json!({
        "@type": format!("{TYPES}.UdpProxyConfig"),
        "stat_prefix": format!("listener_{number}"),
        "matcher": { "on_no_match": { "action": { "name": "route", "typed_config": route } } },
    });
    if by_source {
        config["hash_policies"] = json!([{ "source_ip": true }]);
    }
    json!([{ "name": "envoy.filters.udp_listener.udp_proxy", "typed_config": config }])
}

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3";
