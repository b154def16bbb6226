//! What is written for `evenkeel-config` is a file that it takes, and is read back as what it was.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::path::Path;

use evenkeel_config::{Loaded, Protocol, Syntax};
use evenkeel_convert::{Dialect, Options, Verdict, read, read_file, write};

/// The text as a file of evenkeel-config, which has been checked.
fn converted(from: Dialect, text: &str) -> (String, evenkeel_convert::Report) {
    let conversion = read(from, text, "given", &Options::default()).unwrap();
    let written = write(Dialect::Config, &conversion.setup);
    let loaded = Loaded::parse(&written.text, Syntax::Toml);
    let checked = loaded.and_then(|loaded| loaded.check());
    assert!(checked.is_ok(), "{}\n{}", checked.unwrap_err(), written.text);
    (written.text, written.report)
}

const SHOP: &str = "
upstream shop { hash $cookie_user consistent; server 10.0.0.1:80 weight=3; server 10.0.0.2:80; }
upstream api { hash $host$request_uri; server 10.0.1.1:80; }
server { listen 80; server_name shop.example; return 301 https://shop.example$request_uri; }
server {
    listen 443 ssl;
    server_name shop.example;
    ssl_certificate /etc/shop.pem;
    ssl_certificate_key /etc/shop.key;
    location / { proxy_pass http://shop; }
    location /api/ { proxy_pass http://api; }
}";

#[test]
fn listeners_keep_their_own_routes() {
    let (text, report) = converted(Dialect::Nginx, SHOP);
    let loaded = Loaded::parse(&text, Syntax::Toml).unwrap();
    let config = loaded.config();
    assert_eq!(config.listeners.len(), 2);
    assert!(config.listeners.iter().all(|listener| listener.protocol == Protocol::Http));
    let tls: Vec<bool> = config.listeners.iter().map(|listener| listener.tls.is_some()).collect();
    assert_eq!(tls.iter().filter(|is| **is).count(), 1, "what was encrypted does not become open");
    for route in &config.http.routes {
        assert_eq!(route.rule.listeners.len(), 1, "{route:?}");
    }
    let key = config.http.routes.iter().find_map(|route| route.key.first()).unwrap();
    assert_eq!(*key, evenkeel::router::KeySource::Cookie("user".into()));
    let about = |what: &str| report.findings.iter().find(|finding| finding.subject.contains(what));
    assert_eq!(about("tls").unwrap().verdict, Verdict::Taken, "{report}");
    assert!(text.contains("cert_file = \"/etc/shop.pem\""), "{text}");
    assert_eq!(about("keys.api").unwrap().verdict, Verdict::NoEquivalent, "{report}");
}

/// A route that names no listener is asked at all of them.
#[test]
fn routes_of_a_listener_that_cannot_be_bound_go_nowhere() {
    let haproxy = |bind: &str| {
        format!(
            "frontend a\n mode http\n bind *:80\n default_backend x\n\
             frontend b\n mode http\n bind {bind}\n default_backend y\n\
             backend x\n mode http\n server s 10.0.0.1:80\n\
             backend y\n mode http\n server s 10.0.0.2:80\n"
        )
    };
    let envoy = |name: &str, host: &str| {
        format!(
            "  - name: {name}\n    address: {{ socket_address: {{ address: {host}, port_value: 80 }} }}\n\
             \x20   filter_chains:\n    - filters:\n      - typed_config:\n          \"@type\": x.TcpProxy\n          cluster: {name}\n"
        )
    };
    let envoy = format!(
        "static_resources:\n  listeners:\n{}{}\n  clusters:\n  - {{ name: x, type: STATIC }}\n  - {{ name: y, type: STATIC }}\n",
        envoy("x", "10.9.9.9"),
        envoy("y", "local.example")
    );
    let nginx = "upstream x { server 10.0.0.1:80; } upstream y { server 10.0.0.2:80; }\
        server { listen 80; location / { proxy_pass http://x; } }\
        server { listen localhost:8080; location / { proxy_pass http://y; } }";
    for (dialect, text) in [
        (Dialect::Haproxy, haproxy("localhost:8080")),
        (Dialect::Haproxy, haproxy("abns@x")),
        (Dialect::Haproxy, haproxy("*:8000-8010")),
        (Dialect::Nginx, nginx.to_owned()),
        (Dialect::Envoy, envoy),
    ] {
        let (text, report) = converted(dialect, &text);
        let loaded = Loaded::parse(&text, Syntax::Toml).unwrap();
        let config = loaded.config();
        assert_eq!(config.listeners.len(), 1, "{text}");
        let actions = format!("{:?} {:?}", config.http.routes, config.stream.routes);
        assert!(
            actions.contains("Cluster(\"x\")") && !actions.contains("Cluster(\"y\")"),
            "{text}\n{report}"
        );
        let told = report.findings.iter().find(|finding| finding.subject.ends_with(".routes")).unwrap();
        assert_eq!(told.verdict, Verdict::NoEquivalent);
        assert!(told.detail.contains("left out are "), "{report}");
    }
    // The only one is no exception, and sockets that can be said are bound.
    let alone = "frontend b\n mode http\n bind localhost:80\n default_backend x\nbackend x\n mode http\n server s 10.0.0.1:80\n";
    let (text, _) = converted(Dialect::Haproxy, alone);
    assert!(!text.contains("routes"), "{text}");
    for (bind, address) in [(":::8443", "[::]:8443"), ("/run/x.sock", "unix:/run/x.sock")] {
        let (text, report) = converted(Dialect::Haproxy, &haproxy(bind));
        assert!(text.contains(&format!("address = \"{address}\"")), "{text}");
        assert!(!report.findings.iter().any(|finding| finding.subject.ends_with(".routes")), "{report}");
    }
}

#[test]
fn one_socket_is_one_listener() {
    let (text, report) = converted(
        Dialect::Haproxy,
        "frontend a\n bind :80,127.0.0.1:81\n default_backend x\nfrontend b\n bind *:80\n default_backend x\n\
         backend x\n mode http\n server s 10.0.0.1:80\n",
    );
    let loaded = Loaded::parse(&text, Syntax::Toml).unwrap();
    let names: Vec<&str> = loaded.config().listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["a", "a-2"]);
    assert!(
        report.findings.iter().any(|finding| finding.detail.contains("the listener \"a\" too")),
        "{report}"
    );
}

/// What was encrypted does not become open by a second listener of the same address, nor the other way round.
#[test]
fn one_socket_speaks_one_protocol() {
    let both = "frontend a\n mode http\n bind *:80\n default_backend x\n\
         frontend b\n mode tcp\n bind :80\n default_backend y\n\
         frontend c\n mode http\n bind :80 ssl\n default_backend y\n\
         backend x\n mode http\n server s 10.0.0.1:80\nbackend y\n mode http\n server s 10.0.0.2:80\n";
    let (text, report) = converted(Dialect::Haproxy, both);
    let loaded = Loaded::parse(&text, Syntax::Toml).unwrap();
    let config = loaded.config();
    assert_eq!((config.listeners.len(), config.http.routes.len(), config.stream.routes.len()), (1, 1, 0));
    assert!(config.listeners[0].tls.is_none());
    for name in ["b", "c"] {
        let told = finding(&report, &format!("listeners.{name}: :80"));
        assert_eq!(told.verdict, Verdict::NoEquivalent, "{report}");
        assert!(told.detail.contains("another protocol"), "{report}");
        assert_eq!(finding(&report, &format!("listeners.{name}.routes")).verdict, Verdict::NoEquivalent);
    }
}

/// The one finding whose subject contains this.
fn finding<'r>(report: &'r evenkeel_convert::Report, subject: &str) -> &'r evenkeel_convert::Finding {
    let found = report.findings.iter().find(|finding| finding.subject.contains(subject));
    found.unwrap_or_else(|| panic!("{subject} is not in\n{report}"))
}

#[test]
fn what_a_file_says_of_itself_is_reported() {
    let text = r#"
program = { listeners = { web = { accept_proxy = true } }, send_proxy = "v2" }
listeners = [
    { name = "web", address = "127.0.0.1:80", tls = { cert_file = "a", key_file = "b", client_ca_file = "c" } },
    { name = "dns", address = "127.0.0.1:53", protocol = "udp" },
]
clusters = [{ name = "x" }, { name = "y" }, { name = "z" }]

[[http.routes]]
name = "first"
key = [{ header = "x-user" }]
action = { cluster = "x" }
match = { paths = [{ exact = "/1" }] }

[[http.routes]]
name = "second"
key = [{ cookie = "user" }]
action = { cluster = "x" }
match = { paths = [{ exact = "/2" }] }

[[http.routes]]
name = "none"
action = { cluster = "x" }
match = { paths = [{ exact = "/3" }] }

[[http.routes]]
name = "split"
key = [{ cookie = "user" }]
action = { split = { arms = [{ cluster = "y", weight = 1 }, { cluster = "z", weight = 1 }] } }

[[stream.routes]]
name = "dns"
action = { cluster = "x" }
"#;
    let conversion = read(Dialect::Config, text, "f", &Options::default()).unwrap();
    let (setup, report) = (&conversion.setup, &conversion.report);
    let key = |cluster: &str| format!("{:?}", setup.keys.get(cluster));
    assert!(key("x").contains("x-user"), "{}", key("x"));
    assert!(key("y").contains("Cookie") && key("z").contains("Cookie"), "{:?}", setup.keys);
    assert_eq!(setup.listeners.iter().map(|it| it.udp).collect::<Vec<_>>(), [false, true]);
    let tls = setup.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.client_ca_file.as_deref(), Some("c"));
    for subject in
        ["program.listeners", "program.send_proxy", "http.routes.second.key", "http.routes.none.key"]
    {
        assert_eq!(finding(report, subject).verdict, Verdict::NoEquivalent, "{report}");
    }
    assert!(!report.to_string().contains("first.key"), "{report}");
    let nginx = write(Dialect::Nginx, setup).text;
    assert!(nginx.contains("listen 127.0.0.1:53 udp;") && !nginx.contains("127.0.0.1:53;"), "{nginx}");
    let haproxy = write(Dialect::Haproxy, setup);
    assert!(!haproxy.text.contains(":53"), "{}", haproxy.text);
    assert_eq!(finding(&haproxy.report, "listeners.dns").verdict, Verdict::NoEquivalent);
}

#[test]
fn files_of_the_tests_become_files_that_are_taken() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut seen = 0;
    for (folder, dialect) in
        [("nginx", Dialect::Nginx), ("haproxy", Dialect::Haproxy), ("envoy", Dialect::Envoy)]
    {
        for entry in std::fs::read_dir(data.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let options = Options { cookie_secret: Some("sixteen bytes ok".into()), ..Options::default() };
            let Ok(conversion) = read_file(dialect, &path, &options) else { continue };
            let written = write(Dialect::Config, &conversion.setup);
            let checked = Loaded::parse(&written.text, Syntax::Toml).and_then(|loaded| loaded.check());
            assert!(checked.is_ok(), "{}: {}\n{}", path.display(), checked.unwrap_err(), written.text);
            // And back: the same clusters, and as many listeners as there are sockets.
            let again = read(Dialect::Config, &written.text, "written", &options).unwrap().setup;
            let clusters = |setup: &evenkeel_convert::Setup| {
                evenkeel_convert::Setup { clusters: setup.clusters.clone(), ..Default::default() }
                    .to_toml()
                    .unwrap()
            };
            assert_eq!(clusters(&again), clusters(&conversion.setup), "{}", path.display());
            assert_eq!(again.checks, conversion.setup.checks);
            // A second round changes nothing any more.
            assert_eq!(write(Dialect::Config, &again).text, written.text, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn what_is_wrong_says_so() {
    let error = read(Dialect::Config, "[[clusters]]\nnam = 1\n", "f", &Options::default()).unwrap_err();
    assert!(error.to_string().contains("did you mean \"name\""), "{error}");
    let file = "[[clusters]]\nname = \"a\"\n[[clusters.discovery]]\nfile = { path = \"x.toml\" }\n";
    if let Ok(conversion) = read(Dialect::Config, file, "f", &Options::default()) {
        assert_eq!(conversion.report.worst(), Verdict::NoEquivalent);
    }
}
