//! Certificates, and TLS to endpoints: ours, written as theirs and read again, is ours; and what must not be lost is not.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;

use evenkeel::router::{
    Action, RouteConfig, RouterConfig, StreamAction, StreamRouteConfig, StreamRouterConfig,
};
use evenkeel::{ClusterConfig, PolicyConfig};
use evenkeel_config::{Loaded, Syntax};
use evenkeel_convert::{
    Certificate, ClientCertificate, Conversion, Dialect, EnvoyHash, Finding, KeyPart, KeyRule, Listener,
    ListenerTls, Options, Report, Serves, Setup, UpstreamTls, Verdict, read, write,
};
use evenkeel_types::{Endpoint, EndpointId};
use proptest::prelude::*;

fn given(from: Dialect, text: &str) -> Conversion {
    read(from, text, "given", &Options::default()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn finding<'r>(report: &'r Report, subject: &str) -> &'r Finding {
    let found = report.findings.iter().find(|finding| finding.subject.contains(subject));
    found.unwrap_or_else(|| panic!("{subject} is not in\n{report}"))
}

/// A cluster that one listener leads to.
fn setup(is_http: bool, tls: Option<ListenerTls>, upstream: Option<UpstreamTls>) -> Setup {
    let mut cluster = ClusterConfig::new("users");
    cluster.policy = PolicyConfig::nginx();
    let endpoint = |at: &str| Endpoint::new(EndpointId::new(at).unwrap(), at.parse().unwrap());
    cluster.endpoints = vec![endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80")];
    let serves = if is_http {
        let routes = vec![RouteConfig::new("all", Action::Cluster("users".into()))];
        Serves::Http(RouterConfig { routes, ..RouterConfig::default() })
    } else {
        let action = StreamAction::Cluster("users".into());
        let route = StreamRouteConfig { name: "all".into(), rule: Default::default(), action };
        Serves::Stream(StreamRouterConfig { routes: vec![route], ..StreamRouterConfig::default() })
    };
    let listener =
        Listener { name: "web".into(), addresses: vec!["10.0.0.9:443".into()], tls, udp: false, serves };
    Setup {
        listeners: vec![listener],
        clusters: vec![cluster],
        upstream_tls: upstream.map(|tls| ("users".to_owned(), tls)).into_iter().collect(),
        ..Setup::default()
    }
}

/// What is said of TLS in a setup.
type Said = (Vec<Option<ListenerTls>>, BTreeMap<String, UpstreamTls>);

fn said(setup: &Setup) -> Said {
    (setup.listeners.iter().map(|listener| listener.tls.clone()).collect(), setup.upstream_tls.clone())
}

fn again(dialect: Dialect, setup: &Setup) -> Result<(), TestCaseError> {
    let written = write(dialect, setup);
    let read = read(dialect, &written.text, "written", &Options::default())
        .map_err(|error| TestCaseError::fail(format!("{error}\n{}", written.text)))?;
    prop_assert_eq!(said(&read.setup), said(setup), "{}\n{}", written.text, read.report);
    Ok(())
}

fn file() -> impl Strategy<Value = String> {
    "/etc/[a-z]{1,6}( [a-z\"\\\\#;{}']{1,3})?\\.[a-z]{3}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-z]{1,6}\\.example"
}

prop_compose! {
    /// Certificates of different names; a single one needs none. `joined` as HAProxy has them.
    fn listener(joined: bool)(
        files in prop::collection::btree_set(file(), 1..5),
        kinds in prop::collection::vec(any::<bool>(), 5),
        client_ca_file in prop::option::of(file()),
        h2 in any::<bool>(),
    ) -> ListenerTls {
        let is_one = files.len() == 1 || joined;
        let certificates = files.into_iter().enumerate().map(|(number, file)| {
            let host = if kinds[number] { format!("h{number}.example") } else { format!("*.h{number}.example") };
            Certificate {
                hosts: if is_one { Vec::new() } else { vec![host.parse().unwrap()] },
                key_file: if joined { file.clone() } else { format!("{file}.pem") },
                cert_file: file,
            }
        });
        let alpn = if h2 { vec!["h2".to_owned(), "http/1.1".to_owned()] } else { Vec::new() };
        ListenerTls { certificates: certificates.collect(), client_ca_file, alpn }
    }
}

prop_compose! {
    fn upstream(joined: bool, offers: bool, names: bool)(
        name in prop::option::of(name()),
        ca in file(),
        insecure in any::<bool>(),
        h2 in any::<bool>(),
        client in prop::option::of(file()),
    ) -> UpstreamTls {
        // nginx always checks a name where it checks anything.
        let needed = || (names && !insecure).then(|| "a.example".to_owned());
        UpstreamTls {
            server_name: name.or_else(needed),
            ca_file: (!insecure).then_some(ca),
            insecure,
            alpn: if h2 && offers { vec!["h2".into(), "http/1.1".into()] } else { Vec::new() },
            client: client.map(|file| ClientCertificate {
                key_file: if joined { file.clone() } else { format!("{file}.pem") },
                cert_file: file,
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nginx(tls in prop::option::of(listener(false)), upstream in prop::option::of(upstream(false, false, true))) {
        again(Dialect::Nginx, &setup(true, tls.clone(), upstream.clone()))?;
        // A server of a stream has one certificate, and offers nothing.
        let one = |mut tls: ListenerTls| {
            tls.certificates.truncate(1);
            tls.certificates[0].hosts.clear();
            tls.alpn.clear();
            tls
        };
        again(Dialect::Nginx, &setup(false, tls.map(one), upstream))?;
    }

    #[test]
    fn haproxy(is_http in any::<bool>(), tls in prop::option::of(listener(true)), upstream in prop::option::of(upstream(true, true, false))) {
        again(Dialect::Haproxy, &setup(is_http, tls, upstream))?;
    }

    #[test]
    fn envoy(is_http in any::<bool>(), tls in prop::option::of(listener(false)), upstream in prop::option::of(upstream(false, true, false))) {
        again(Dialect::Envoy, &setup(is_http, tls, upstream))?;
    }

    #[test]
    fn our_own(tls in prop::option::of(listener(false)), upstream in prop::option::of(upstream(false, true, false))) {
        again(Dialect::Evenkeel, &setup(true, tls, upstream))?;
    }
}

#[test]
fn certificates_of_nginx() {
    let text = "http {
        ssl_certificate /c/all.pem; ssl_certificate_key /c/all.key;
        upstream x { server 10.0.0.1:80; }
        server { listen 443 ssl http2 default_server; server_name a.example; location / { proxy_pass http://x; } }
        server { listen 443 ssl; server_name b.example *.b.example; ssl_certificate /c/b.pem; ssl_certificate_key /c/b.key;
            ssl_certificate /c/b-ec.pem; ssl_certificate_key /c/b-ec.key; location / { proxy_pass http://x; } }
        server { listen 8443 ssl; ssl_client_certificate /c/ca.pem; ssl_verify_client on; location / { proxy_pass http://x; } }
        server { listen 9443 ssl; ssl_certificate $ssl_server_name.pem; location / { proxy_pass http://x; } }
    }";
    let conversion = given(Dialect::Nginx, text);
    let tls: Vec<ListenerTls> =
        conversion.setup.listeners.iter().map(|listener| listener.tls.clone().unwrap()).collect();
    let files = |tls: &ListenerTls| -> Vec<String> {
        tls.certificates.iter().map(|it| format!("{} {}", it.cert_file, it.key_file)).collect()
    };
    assert_eq!(files(&tls[0]), ["/c/all.pem /c/all.key", "/c/b.pem /c/b.key", "/c/b-ec.pem /c/b-ec.key"]);
    let hosts =
        |number: usize| tls[0].certificates[number].hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (hosts(0), hosts(2)),
        (vec!["a.example".into()], vec!["b.example".into(), "*.b.example".into()])
    );
    assert_eq!(tls[0].alpn, ["h2", "http/1.1"]);
    assert_eq!(files(&tls[1]), ["/c/all.pem /c/all.key"]);
    assert_eq!(tls[1].client_ca_file.as_deref(), Some("/c/ca.pem"));
    assert!(tls[2].certificates.is_empty(), "which one it is is not known");
    assert_eq!(finding(&conversion.report, "$ssl_server_name").verdict, Verdict::NoEquivalent);
    let written = write(Dialect::Nginx, &conversion.setup).text;
    assert_eq!(written.matches("ssl_certificate /c/b-ec.pem;").count(), 1, "{written}");
}

#[test]
fn one_cluster_is_spoken_to_in_one_way() {
    let text = "upstream x { server 10.0.0.1:443; }
        server { listen 80; proxy_ssl_verify on; proxy_ssl_trusted_certificate /c/ca.pem;
            location /a { proxy_pass http://x; } location /b { proxy_pass https://x; } }";
    let conversion = given(Dialect::Nginx, text);
    let tls = &conversion.setup.upstream_tls["x"];
    assert_eq!((tls.server_name.as_deref(), tls.insecure), (Some("x"), false));
    assert_eq!(finding(&conversion.report, "https://x").verdict, Verdict::NoEquivalent);
    let written = write(Dialect::Nginx, &conversion.setup).text;
    assert_eq!(written.matches("proxy_pass https://x;").count(), 2, "{written}");

    let text = "backend x\n mode http\n server a 10.0.0.1:443 ssl verify none sni ssl_fc_sni\n server b 10.0.0.2:443\n";
    let conversion = given(Dialect::Haproxy, text);
    assert!(conversion.setup.upstream_tls["x"].insecure);
    assert_eq!(finding(&conversion.report, "the TLS of b").verdict, Verdict::NoEquivalent);
    assert_eq!(finding(&conversion.report, "sni ssl_fc_sni").verdict, Verdict::NoEquivalent);
}

/// Without a certificate no program starts, and nothing goes out in the open.
#[test]
fn what_is_not_known_is_not_written_as_open() {
    let setup = setup(true, Some(ListenerTls::default()), None);
    let nginx = write(Dialect::Nginx, &setup);
    assert!(nginx.text.contains("listen 10.0.0.9:443 ssl default_server;"), "{}", nginx.text);
    let haproxy = write(Dialect::Haproxy, &setup);
    assert!(haproxy.text.contains("bind 10.0.0.9:443 ssl\n"), "{}", haproxy.text);
    let envoy = write(Dialect::Envoy, &setup);
    assert!(envoy.text.contains("DownstreamTlsContext"), "{}", envoy.text);
    for report in [nginx.report, haproxy.report, envoy.report] {
        assert_eq!(finding(&report, ".tls").verdict, Verdict::NoEquivalent);
    }
}

#[test]
fn haproxy_wants_certificate_and_key_in_one_file() {
    let certificate = |cert: &str, key: &str| Certificate {
        hosts: Vec::new(),
        cert_file: cert.into(),
        key_file: key.into(),
    };
    let certificates = vec![
        certificate("/c/a b.pem", "/c/a.key"),
        certificate("/c/both.pem", "/c/both.pem"),
        certificate("/c/c.pem", "/c/c.pem.key"),
    ];
    let tls = ListenerTls { certificates, ..ListenerTls::default() };
    let written = write(Dialect::Haproxy, &setup(true, Some(tls), None));
    let line = "bind 10.0.0.9:443 ssl crt \"/c/a b.pem.both\" crt /c/both.pem crt /c/c.pem\n";
    assert!(written.text.contains(line), "{}", written.text);
    let told = finding(&written.report, "listeners.web.tls: /c/a b.pem");
    assert_eq!(told.verdict, Verdict::Differs);
    assert!(told.detail.ends_with("cat '/c/a b.pem' /c/a.key > '/c/a b.pem.both'"), "{}", told.detail);
}

/// HAProxy looks into certificates for the names that they are for; nginx must be told.
#[test]
fn certificates_without_names_are_told_of() {
    let text = "frontend web\n mode http\n bind :443 ssl crt /c/a.pem crt /c/b.pem\n default_backend x\nbackend x\n mode http\n server a 10.0.0.1:80\n";
    let setup = given(Dialect::Haproxy, text).setup;
    let report = write(Dialect::Nginx, &setup).report;
    assert_eq!(finding(&report, "tls.certificates").verdict, Verdict::Differs);
    let one = given(Dialect::Haproxy, &text.replace(" crt /c/b.pem", "")).setup;
    assert_eq!(
        write(Dialect::Nginx, &one)
            .report
            .findings
            .iter()
            .filter(|it| it.subject.ends_with("tls.certificates"))
            .count(),
        0
    );
}

/// Checks of HAProxy are encrypted as requests are, unless they go elsewhere.
#[test]
fn checks_by_tls() {
    let text = "backend x\n mode http\n option httpchk GET /h\n server a 10.0.0.1:443 check ssl verify required ca-file /ca.pem sni str(a.example) check-sni a.example\n";
    let conversion = given(Dialect::Haproxy, text);
    let probe = format!("{:?}", conversion.setup.checks["x"].probe);
    assert!(probe.contains("/ca.pem") && probe.contains("a.example"), "{probe}");
    let written = write(Dialect::Haproxy, &conversion.setup).text;
    assert!(written.contains(" sni str(a.example)") && written.contains(" check-sni a.example"), "{written}");
    assert!(!written.contains("check-ssl"), "{written}");
    let again = given(Dialect::Haproxy, &written);
    assert_eq!(again.setup.checks, conversion.setup.checks);
    let open = text.replace(" check-sni a.example", " no-check-ssl");
    let conversion = given(Dialect::Haproxy, &open);
    let again = given(Dialect::Haproxy, &write(Dialect::Haproxy, &conversion.setup).text);
    assert_eq!(again.setup.checks, conversion.setup.checks);
    assert!(format!("{:?}", again.setup.checks["x"].probe).contains("tls: None"));
}

#[test]
fn files_of_evenkeel_config() {
    let text = "
listeners = [{ name = \"web\", address = \"10.0.0.9:443\", tls = { cert_file = \"/c/a.pem\", key_file = \"/c/a.key\", client_ca_file = \"/c/ca.pem\" } }]
clusters = [{ name = \"x\" }, { name = \"y\" }, { name = \"z\" }]
[program.upstream]
x = { protocol = \"auto\", tls = { server_name = \"x.example\", ca_file = \"/c/x.pem\" } }
y = { protocol = \"http2\" }
z = { words = 1 }
[[http.routes]]
name = \"all\"
action = { cluster = \"x\" }
";
    let conversion = given(Dialect::Config, text);
    let tls = &conversion.setup.upstream_tls["x"];
    assert_eq!((tls.server_name.as_deref(), tls.ca_file.as_deref()), (Some("x.example"), Some("/c/x.pem")));
    assert_eq!(tls.alpn, ["h2", "http/1.1"]);
    for subject in ["program.upstream.y", "program.upstream.z"] {
        assert_eq!(finding(&conversion.report, subject).verdict, Verdict::NoEquivalent);
    }
    let written = write(Dialect::Config, &conversion.setup);
    Loaded::parse(&written.text, Syntax::Toml).and_then(|loaded| loaded.check()).unwrap();
    assert_eq!(
        said(&given(Dialect::Config, &written.text).setup),
        said(&conversion.setup),
        "{}",
        written.text
    );

    let mut several = conversion.setup;
    let tls = several.listeners[0].tls.as_mut().unwrap();
    tls.certificates.push(Certificate {
        hosts: vec!["b.example".parse().unwrap()],
        cert_file: "/c/b.pem".into(),
        key_file: "/c/b.key".into(),
    });
    // A name that has a certificate already.
    tls.certificates.push(Certificate { cert_file: "/c/again.pem".into(), ..tls.certificates[1].clone() });
    several.upstream_tls.insert("y".into(), UpstreamTls { insecure: true, ..UpstreamTls::default() });
    let written = write(Dialect::Config, &several);
    assert_eq!(finding(&written.report, "/c/b.pem").verdict, Verdict::Taken);
    assert_eq!(finding(&written.report, "/c/again.pem").verdict, Verdict::NoEquivalent);
    let read = given(Dialect::Config, &written.text).setup;
    let certificates = &read.listeners[0].tls.as_ref().unwrap().certificates;
    assert_eq!(
        certificates[..],
        several.listeners[0].tls.as_ref().unwrap().certificates[..2],
        "{}",
        written.text
    );
    assert_eq!(finding(&written.report, "upstream_tls.y.server_name").verdict, Verdict::NoEquivalent);
    assert!(written.text.contains("server_name = \"\""), "it does not start, so nothing goes in the open");
}

/// Datagrams stay datagrams.
#[test]
fn datagrams_go_round() {
    let mut setup = setup(false, None, None);
    setup.listeners[0].udp = true;
    for dialect in [Dialect::Evenkeel, Dialect::Config, Dialect::Nginx, Dialect::Envoy] {
        let text = write(dialect, &setup).text;
        let read = given(dialect, &text).setup;
        assert_eq!(read.listeners.len(), 1, "{text}");
        let (ours, theirs) = (&setup.listeners[0], &read.listeners[0]);
        assert_eq!((&theirs.addresses, theirs.udp), (&ours.addresses, true), "{text}");
        let Serves::Stream(router) = &theirs.serves else { panic!("{text}") };
        assert_eq!(router.routes[0].action, StreamAction::Cluster("users".into()), "{text}");
        assert_eq!(read.clusters.len(), 1, "{text}");
    }
    setup.keys.insert("users".into(), KeyRule::Source);
    let text = write(Dialect::Envoy, &setup).text;
    let by_source = KeyRule::Envoy(vec![EnvoyHash { of: KeyPart::Source, terminal: false }]);
    assert_eq!(given(Dialect::Envoy, &text).setup.keys["users"], by_source, "{text}");
    setup.keys.insert("users".into(), KeyRule::UrlParam("x".into()));
    assert_eq!(finding(&write(Dialect::Envoy, &setup).report, "keys.users").verdict, Verdict::NoEquivalent);
    setup.keys.clear();
    let haproxy = write(Dialect::Haproxy, &setup);
    assert!(!haproxy.text.contains("frontend") && !haproxy.text.contains("backend"), "{}", haproxy.text);
    assert_eq!(finding(&haproxy.report, "listeners.web").verdict, Verdict::NoEquivalent);
    // TCP and UDP at one address are two listeners.
    let mut both = setup.clone();
    both.listeners.push(Listener { name: "tcp".into(), udp: false, ..setup.listeners[0].clone() });
    let text = write(Dialect::Config, &both).text;
    assert_eq!(given(Dialect::Config, &text).setup.listeners.len(), 2, "{text}");
    setup.listeners[0].tls = Some(ListenerTls::default());
    let text = write(Dialect::Evenkeel, &setup).text;
    assert!(Setup::from_toml(&text, "f").is_err());
}
