//! Against the real programs: what is written passes their own checks, and one source file makes them and us pick alike.
//! Started by `tests/convert/run`.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod client;
mod program;
mod tls;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use client::Client;
use evenkeel::Cluster;
use evenkeel_convert::{Dialect, Options, RequestParts, Setup, read, read_file, write};
use program::{Program, free_ports};

const KEYS: usize = 10_000;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn what_is_written_passes_the_checks_of_all_programs() {
    let folder = program::folder("written");
    for (from, file) in [
        (Dialect::Nginx, "nginx/shop.conf"),
        (Dialect::Haproxy, "haproxy/shop.cfg"),
        (Dialect::Envoy, "envoy/shop.yaml"),
    ] {
        let mut conversion = read_file(from, data(file), &Options::default()).unwrap();
        // Their certificates are not here: `tls.rs` has some.
        conversion.setup.listeners.iter_mut().for_each(|listener| listener.tls = None);
        for to in [Dialect::Nginx, Dialect::Haproxy, Dialect::Envoy] {
            let path = folder.join(format!("{from}-{to}"));
            std::fs::write(&path, write(to, &conversion.setup).text).unwrap();
            program::check(to, &path);
            println!("{file} as {to}: accepted");
        }
    }
}

/// A request that carries a key in every place that anybody looks at.
struct Keyed {
    key: String,
    client: IpAddr,
    target: String,
}

impl Keyed {
    fn new(number: usize, path: &str) -> Self {
        // Two octets and more change, so that ip_hash, which leaves out the last one, sees many clients too.
        let client = IpAddr::from([10, (number >> 8) as u8, number as u8, (number % 250) as u8]);
        Self { key: format!("user-{number}"), client, target: format!("{path}/a{number}/b?id=u{number}&x=1") }
    }

    fn text(&self) -> String {
        format!(
            "GET {} HTTP/1.1\r\nHost: keys.example\r\nX-Key: {}\r\nX-Client: {}\r\nCookie: sid={}\r\n\r\n",
            self.target, self.key, self.client, self.key
        )
    }

    /// What we pick for it.
    fn pick(&self, setup: &Setup, cluster: &Cluster<()>) -> String {
        let cookie = format!("sid={}", self.key);
        let headers =
            [("host", &b"keys.example"[..]), ("x-key", self.key.as_bytes()), ("cookie", cookie.as_bytes())];
        let parts = RequestParts {
            method: "GET",
            target: self.target.as_bytes(),
            headers: &headers,
            source: Some(self.client),
        };
        let key = setup.keys[cluster.name()].of(&parts).expect("every request has a key");
        let pick = cluster.pick(&key.request()).unwrap();
        pick.endpoint().address().to_string()
    }
}

/// Compares the picks of a program with ours, for each cluster that has keys: it is reached below a path of its name.
fn compare(setup: &Setup, port: u16) {
    for name in setup.keys.keys() {
        let cluster: Cluster<()> = Cluster::from_config(setup.cluster(name).unwrap().clone()).unwrap();
        let mut client = Client::new(port);
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        let mut wrong = 0;
        for number in 0..KEYS {
            let request = Keyed::new(number, &format!("/{name}"));
            let theirs = client.get(&request.text());
            let ours = request.pick(setup, &cluster);
            wrong += usize::from(theirs != ours);
            *counts.entry(theirs).or_default() += 1;
        }
        println!("{name}: {} of {KEYS} equal, over {} servers", KEYS - wrong, counts.len());
        assert_eq!(wrong, 0, "{name}: {counts:?}");
        assert!(counts.len() > 2, "{name}: all keys to a few servers prove nothing: {counts:?}");
    }
}

#[test]
fn nginx_and_we_pick_alike() {
    let (_backends, servers) = program::backends("nginx-backends", 5);
    let listen = free_ports(1)[0];
    let lines = |skip: usize| {
        let weights = ["", " weight=3", "", " weight=2", ""];
        let lines = servers.iter().zip(weights).skip(skip);
        lines.map(|(server, weight)| format!("server {server}{weight};")).collect::<Vec<_>>().join(" ")
    };
    let (all, some) = (lines(0), lines(1));
    let source = format!(
        "worker_processes 1; error_log stderr crit;
        events {{ worker_connections 512; }}
        http {{
            access_log off; proxy_http_version 1.1; proxy_set_header Connection \"\";
            set_real_ip_from 127.0.0.1; real_ip_header X-Client; keepalive_requests 1000000;
            upstream ring {{ hash $http_x_key consistent; {all} keepalive 8; }}
            upstream plain {{ hash $http_x_key; {all} keepalive 8; }}
            upstream mixed {{ hash \"$arg_id-$cookie_sid\" consistent; {some} keepalive 8; }}
            upstream target {{ hash $request_uri consistent; {some} keepalive 8; }}
            upstream address {{ ip_hash; {all} keepalive 8; }}
            server {{ listen 127.0.0.1:{listen};
                location /ring {{ proxy_pass http://ring; }}
                location /plain {{ proxy_pass http://plain; }}
                location /mixed {{ proxy_pass http://mixed; }}
                location /target {{ proxy_pass http://target; }}
                location /address {{ proxy_pass http://address; }} }}
        }}"
    );
    let setup = read(Dialect::Nginx, &source, "nginx.conf", &Options::default()).unwrap().setup;
    assert_eq!(setup.keys.len(), 5);
    let _program = Program::start(Dialect::Nginx, "nginx", &source, listen);
    compare(&setup, listen);
}

#[test]
fn haproxy_and_we_pick_alike() {
    let (_backends, servers) = program::backends("haproxy-backends", 5);
    let listen = free_ports(1)[0];
    let weights = [1, 3, 1, 2, 10];
    let lines: String = servers
        .iter()
        .zip(weights)
        .enumerate()
        .map(|(number, (server, weight))| format!("    server s{number} {server} weight {weight}\n"))
        .collect();
    let mut source = format!(
        "global\n    nbthread 1\ndefaults\n    mode http\n    http-reuse always\n    timeout connect 5s\n    \
         timeout client 30s\n    timeout server 30s\nfrontend keys\n    bind 127.0.0.1:{listen}\n    \
         http-request set-src hdr(X-Client)\n"
    );
    let backends = [
        ("ring", "balance hdr(X-Key)\n    hash-type consistent"),
        ("map", "balance hdr(X-Key)"),
        ("client", "balance source\n    hash-type consistent"),
        ("clientmap", "balance source"),
        ("target", "balance uri\n    hash-type consistent"),
        ("whole", "balance uri whole depth 4\n    hash-type consistent crc32 avalanche"),
        ("parameter", "balance url_param id\n    hash-type consistent djb2 avalanche"),
        ("sample", "balance hash req.cook(sid)\n    hash-type consistent wt6 avalanche"),
        ("upper", "balance hash req.hdr(x-key),upper\n    hash-type consistent"),
        ("field", "balance hash path,field(3,/)\n    hash-type consistent"),
        ("word", "balance hash path,word(-2,/),bytes(1)"),
        ("words", "balance hash pathq,word(2,/?&,2)\n    hash-type consistent"),
        ("cut", "balance hash url_param(id),bytes(1,3)"),
    ];
    for (name, _) in backends {
        source.push_str(&format!("    use_backend {name} if {{ path_beg /{name}/ }}\n"));
    }
    for (name, balance) in backends {
        source.push_str(&format!("backend {name}\n    {balance}\n{lines}"));
    }
    let setup = read(Dialect::Haproxy, &source, "haproxy.cfg", &Options::default()).unwrap().setup;
    assert_eq!(setup.keys.len(), backends.len());
    let _program = Program::start(Dialect::Haproxy, "haproxy", &source, listen);
    compare(&setup, listen);
}

#[test]
fn envoy_and_we_pick_alike() {
    let (_backends, servers) = program::backends("envoy-backends", 5);
    let listen = free_ports(1)[0];
    let endpoints: Vec<String> = servers
        .iter()
        .zip([1, 3, 1, 2, 1])
        .map(|(server, weight)| {
            let port = server.rsplit_once(':').unwrap().1;
            format!(
                "{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}, \
                 load_balancing_weight: {weight} }}"
            )
        })
        .collect();
    let endpoints = endpoints.join(", ");
    let cluster = |name: &str, policy: &str| {
        format!(
            "    - {{ name: {name}, connect_timeout: 5s, {policy}, load_assignment: {{ cluster_name: {name}, \
             endpoints: [{{ lb_endpoints: [{endpoints}] }}] }} }}\n"
        )
    };
    let typed = |settings: &str| {
        format!(
            "load_balancing_policy: {{ policies: [{{ typed_extension_config: {{ name: x, typed_config: {{ \
             \"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.{settings} }} }} }}] }}"
        )
    };
    let route = |name: &str, hash: &str| {
        format!("{{ match: {{ prefix: /{name}/ }}, route: {{ cluster: {name}, hash_policy: [{hash}] }} }}")
    };
    let source = format!(
        "static_resources:\n  listeners:\n    - name: keys\n      \
         address: {{ socket_address: {{ address: 127.0.0.1, port_value: {listen} }} }}\n      filter_chains:\n        \
         - filters:\n            - name: envoy.filters.network.http_connection_manager\n              typed_config:\n                \
         \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n                \
         stat_prefix: keys\n                http_filters: [{{ name: router, typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }}]\n                \
         route_config: {{ virtual_hosts: [{{ name: all, domains: [\"*\"], routes: [{}, {}, {}, {}, {}] }}] }}\n  clusters:\n{}{}{}{}{}",
        route("ring", "{ header: { header_name: x-key } }"),
        route("maglev", "{ header: { header_name: x-key } }"),
        route("both", "{ cookie: { name: sid } }, { query_parameter: { name: id } }"),
        route("typedring", "{ header: { header_name: x-key } }"),
        route("typedmaglev", "{ header: { header_name: x-key } }"),
        cluster("ring", "lb_policy: RING_HASH"),
        cluster("maglev", "lb_policy: MAGLEV, maglev_lb_config: { table_size: 5003 }"),
        cluster(
            "both",
            "lb_policy: RING_HASH, ring_hash_lb_config: { minimum_ring_size: 300, hash_function: MURMUR_HASH_2 }"
        ),
        cluster(
            "typedring",
            // What the old field says is not looked at.
            &format!(
                "lb_policy: MAGLEV, {}",
                typed("ring_hash.v3.RingHash, minimum_ring_size: 300, hash_function: MURMUR_HASH_2")
            )
        ),
        cluster("typedmaglev", &typed("maglev.v3.Maglev, table_size: 5003")),
    );
    let setup = read(Dialect::Envoy, &source, "envoy.yaml", &Options::default()).unwrap().setup;
    assert_eq!(setup.keys.len(), 5);
    let _program = Program::start(Dialect::Envoy, "envoy", &source, listen);
    compare(&setup, listen);
}
