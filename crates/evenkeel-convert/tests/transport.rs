//! What comes in by TLS, UDP or with a PROXY header does not silently become plain TCP.
#![allow(clippy::panic, clippy::unwrap_used)]

use evenkeel_convert::{Conversion, Dialect, Options, Serves, Verdict, read, write};

fn given(from: Dialect, text: &str) -> Conversion {
    read(from, text, "given", &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Addresses and whether they are encrypted.
fn sockets(conversion: &Conversion) -> Vec<(Vec<&str>, bool)> {
    let listeners = conversion.setup.listeners.iter().filter(|listener| !listener.udp);
    listeners.map(|it| (it.addresses.iter().map(String::as_str).collect(), it.tls.is_some())).collect()
}

/// Addresses of datagrams.
fn datagrams(conversion: &Conversion) -> Vec<&str> {
    let listeners = conversion.setup.listeners.iter().filter(|listener| listener.udp);
    listeners.flat_map(|it| it.addresses.iter().map(String::as_str)).collect()
}

fn is_told(conversion: &Conversion, subject: &str) {
    let mut found = conversion.report.findings.iter().filter(|finding| finding.subject.contains(subject));
    assert!(
        found.any(|finding| finding.verdict == Verdict::NoEquivalent),
        "{subject}\n{}",
        conversion.report
    );
}

#[test]
fn flags_of_nginx() {
    let text = "stream { upstream x { server 10.0.0.1:80; }
        server { listen 53 udp; listen 53; listen 853 ssl proxy_protocol backlog=5; proxy_pass x; }
        server { listen 54 udp reuseport; proxy_pass x; } }";
    let conversion = given(Dialect::Nginx, text);
    assert_eq!(sockets(&conversion), [(vec!["*:53"], false), (vec!["*:853"], true)]);
    assert_eq!(datagrams(&conversion), ["*:53", "*:54"]);
    for subject in ["853 proxy_protocol", "853 backlog=5"] {
        is_told(&conversion, subject);
    }
    let nginx = write(Dialect::Nginx, &conversion.setup).text;
    for line in ["listen *:853 ssl;", "listen *:53 udp;", "listen *:53;", "listen *:54 udp;"] {
        assert!(nginx.contains(line), "{nginx}");
    }
    let both = "stream { server { listen 53 udp ssl; } }";
    assert!(read(Dialect::Nginx, both, "f", &Options::default()).is_err());
    assert!(read(Dialect::Nginx, "stream { server { listen; } }", "f", &Options::default()).is_err());

    let quic = "http { server { listen 443 quic; return 404; } }";
    let conversion = given(Dialect::Nginx, quic);
    assert_eq!(sockets(&conversion), [(vec!["*:443"], true)]);
    is_told(&conversion, "quic");
}

fn envoy(protocol: &str, chains: &str) -> String {
    format!(
        "static_resources:\n  listeners:\n  - name: x\n    address: {{ socket_address: {{ protocol: {protocol}, address: 10.0.0.9, port_value: 80 }} }}\n    filter_chains: [{chains}]\n  clusters:\n  - {{ name: x, type: STATIC }}\n"
    )
}

#[test]
fn chains_of_envoy() {
    let tcp = "filters: [{ typed_config: { \"@type\": x.TcpProxy, cluster: x } }]";
    let tls = "transport_socket: { name: envoy.transport_sockets.tls, typed_config: { a: b } }";
    let raw = "transport_socket: { name: envoy.transport_sockets.raw_buffer }";
    let conversion = given(Dialect::Envoy, &envoy("TCP", &format!("{{ {tcp}, {tls} }}, {{ {tcp}, {raw} }}")));
    assert_eq!(sockets(&conversion), [(vec!["10.0.0.9:80"], false), (vec!["10.0.0.9:80"], true)]);
    is_told(&conversion, "transport_socket");
    let conversion = given(Dialect::Envoy, &envoy("TCP", &format!("{{ {tcp}, {tls} }}")));
    assert_eq!(sockets(&conversion), [(vec!["10.0.0.9:80"], true)]);

    let conversion = given(Dialect::Envoy, &envoy("UDP", &format!("{{ {tcp} }}")));
    assert_eq!((sockets(&conversion), datagrams(&conversion)), (vec![], vec![]));
    is_told(&conversion, "listener_filters");
    assert!(read(Dialect::Envoy, &envoy("SCTP", ""), "f", &Options::default()).is_err());

    let http = "filter_chain_match: { server_names: [a.example] }, filters: [{ typed_config: { \"@type\": x.HttpConnectionManager, route_config: { virtual_hosts: [] } } }]";
    let conversion = given(Dialect::Envoy, &envoy("TCP", &format!("{{ {http} }}")));
    is_told(&conversion, "server_names: a.example");
}

#[test]
fn binds_of_haproxy() {
    let text = "frontend web\n mode http\n bind :80,:81\n bind :443 ssl crt /x.pem\n bind :82 accept-proxy\n default_backend x\n\
        frontend only\n mode tcp\n bind :444 ssl\n default_backend x\n\
        backend x\n mode http\n server s 10.0.0.1:80\n";
    let conversion = given(Dialect::Haproxy, text);
    assert_eq!(
        sockets(&conversion),
        [(vec![":80", ":81", ":82"], false), (vec![":443"], true), (vec![":444"], true)]
    );
    let names: Vec<&str> = conversion.setup.listeners.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["web", "web#tls", "only"]);
    assert_eq!(conversion.setup.listeners[0].serves, conversion.setup.listeners[1].serves);
    assert!(matches!(conversion.setup.listeners[2].serves, Serves::Stream(_)));
    let tls = conversion.setup.listeners[1].tls.as_ref().unwrap();
    assert_eq!(
        (tls.certificates[0].cert_file.as_str(), tls.certificates[0].key_file.as_str()),
        ("/x.pem", "/x.pem")
    );
    is_told(&conversion, "bind :82: accept-proxy");
}
