//! What a configuration does, asked of the routes that came of it: each case is something that once came out otherwise.
#![allow(clippy::panic, clippy::unwrap_used)]

use evenkeel::router::{Action, KeySource, Redirect, RouteConfig, RouterConfig};
use evenkeel_convert::{
    Conversion, Dialect, EnvoyHash, Key, KeyPart, KeyRule, Listener, Options, RequestParts, Serves, Setup,
    Verdict, read, write,
};
use evenkeel_probe::ProbeConfig;
use evenkeel_route::matching::{HttpRules, HttpRulesConfig, PathMatch, Request, Scratch};
use evenkeel_route::split::HeaderChange;

fn convert(from: Dialect, text: &str) -> Conversion {
    read(from, text, "f", &Options::default()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn router(setup: &Setup) -> &RouterConfig {
    match &setup.listeners[0].serves {
        Serves::Http(router) => router,
        Serves::Stream(_) => panic!("routes of connections"),
    }
}

/// What is done with a request: the cluster, the status, or the address.
fn done(setup: &Setup, target: &str, headers: &[(&str, &str)]) -> String {
    let router = router(setup);
    let rules = router.routes.iter().map(|route| route.rule.clone()).collect();
    let rules =
        HttpRules::new(&HttpRulesConfig { rules, path: router.path.clone(), limits: router.limits }).unwrap();
    let mut scratch = Scratch::default();
    let request = Request::new("GET", "example.com", target).with_headers(headers);
    match rules.find(&request, &mut scratch).unwrap() {
        Some(found) => what(&router.routes[found.rule()].action),
        None => "nothing".to_owned(),
    }
}

fn what(action: &Action) -> String {
    match action {
        Action::Cluster(name) => name.clone(),
        Action::Respond(answer) => answer.status.to_string(),
        Action::Redirect(redirect) => redirect.location.clone(),
        other => panic!("{other:?}"),
    }
}

const POOLS: &str = "upstream files { server 10.0.0.1:80; } upstream app { server 10.0.0.2:80; } upstream other { server 10.0.0.3:80; }";

/// Locations of nginx, and where paths go.
fn nginx(locations: &str, expected: &[(&str, &str)]) -> Conversion {
    let found = convert(Dialect::Nginx, &format!("{POOLS} server {{ listen 80; {locations} }}"));
    for (path, to) in expected {
        assert_eq!(done(&found.setup, path, &[]), *to, "{path} of {locations}\n{:#?}", router(&found.setup));
    }
    found
}

#[test]
fn what_is_inside_of_a_location_stays_inside() {
    let app = "location / { proxy_pass http://app; }";
    let guard = r"location ~ \.php$ { return 403; }";
    // The guard of uploads is neither lost nor that of the whole site.
    let found = nginx(
        &format!("location ^~ /uploads/ {{ {guard} proxy_pass http://files; }} {app}"),
        &[
            ("/uploads/x.php", "403"),
            ("/admin.php", "app"),
            ("/uploads/x", "files"),
            ("/uploads/.php", "403"),
            ("/", "app"),
        ],
    );
    assert_eq!(found.report.worst(), Verdict::Taken, "{}", found.report);
    // Also where the longer prefix is inside too, and where expressions of the server follow.
    nginx(
        &format!(
            "location ^~ /a/ {{ location /a/b/ {{ proxy_pass http://other; }} {guard} proxy_pass http://files; }} {app}"
        ),
        &[("/a/b/x.php", "403"), ("/a/b/x", "other"), ("/a/x", "files"), ("/x.php", "app")],
    );
    nginx(
        &format!(
            r"location /api/ {{ location ~ \.json$ {{ proxy_pass http://other; }} proxy_pass http://files; }} location ~ \.(json|php)$ {{ return 404; }} {app}"
        ),
        &[("/api/x.json", "other"), ("/x.json", "404"), ("/api/x.php", "404"), ("/api/x", "files")],
    );
    // A longer location keeps its requests where no expression comes between.
    nginx(
        &format!(
            r"location /api/ {{ {guard} proxy_pass http://files; }} location /api/v2/ {{ proxy_pass http://other; }} {app}"
        ),
        &[("/api/x.php", "403"), ("/api/v2/x.php", "other"), ("/api/v2/x", "other"), ("/x.php", "app")],
    );
    // Where one does, no order of routes is nginx's, and that is told.
    let found = nginx(
        &format!(
            r"location /api/ {{ {guard} proxy_pass http://files; }} location /api/v2/ {{ proxy_pass http://other; }} location ~ x {{ return 404; }} {app}"
        ),
        &[("/api/y.php", "403"), ("/api/v2/y", "other"), ("/api/v2/x", "404")],
    );
    assert!(
        found.report.to_string().contains("is asked first, where nginx prefers /api/v2/"),
        "{}",
        found.report
    );
    // Inside of `^~` prefixes too come before the expressions of the server.
    nginx(
        &format!(
            "location ^~ /s/ {{ location /s/i/ {{ proxy_pass http://other; }} proxy_pass http://files; }} location ~ png$ {{ return 404; }} {app}"
        ),
        &[("/s/i/x.png", "other"), ("/s/x.png", "files"), ("/x.png", "404")],
    );
    // Case counts in the prefix alone.
    nginx(
        &format!(r"location /up/ {{ location ~* \.php$ {{ return 403; }} proxy_pass http://files; }} {app}"),
        &[("/up/x.PHP", "403"), ("/UP/x.php", "app")],
    );
    for inner in [
        "location ~ /a { location ~ /b { return 403; } proxy_pass http://files; }",
        r"location /a/ { location ~ ^/a/\Bx { return 403; } proxy_pass http://files; }",
        "location /a/ { location ~ ^/b/ { return 403; } proxy_pass http://files; }",
        "location /a/ { location /b/ { return 403; } proxy_pass http://files; }",
    ] {
        let found = nginx(&format!("{inner} {app}"), &[("/b", "app"), ("/b/x", "app"), ("/a/c", "files")]);
        assert_eq!(found.report.worst(), Verdict::NoEquivalent, "{inner}: {}", found.report);
    }
}

#[test]
fn a_sign_may_touch_its_path() {
    for sign in ["=", "^~", "~", "~*"] {
        let text = |blank: &str| {
            format!(
                r"location {sign}{blank}/a\.php {{ return 403; }} location / {{ proxy_pass http://app; }}"
            )
        };
        let paths = [r"/a\.php", "/a.php", "/A.PHP", r"/a\.php/x", "/a.php/x", "/b"];
        let of = |text: &str| {
            let found = nginx(text, &[]);
            paths.map(|path| done(&found.setup, path, &[]))
        };
        assert_eq!(of(&text("")), of(&text(" ")), "{sign}");
        assert!(of(&text("")).contains(&"403".to_owned()), "{sign}");
    }
}

#[test]
fn maps_of_nginx_know_the_empty_text_and_no_case() {
    let map = |source: &str, cases: &str| {
        convert(
            Dialect::Nginx,
            &format!("{POOLS} map {source} $pool {{ {cases} }} server {{ listen 80; location / {{ proxy_pass http://$pool; }} }}"),
        )
        .setup
    };
    let check = |setup: &Setup, target: &str, headers: &[(&str, &str)], to: &str| {
        assert_eq!(done(setup, target, headers), to, "{target} {headers:?}\n{:#?}", router(setup));
    };
    for nothing in ["\"\" app; default other;", "~^$ app; default other;", "~^x?$ app; default other;"] {
        let setup = map("$http_x_canary", nothing);
        check(&setup, "/", &[], "app");
        check(&setup, "/", &[("x-canary", "")], "app");
        check(&setup, "/", &[("x-canary", "1")], "other");
        let setup = map("$arg_canary", nothing);
        check(&setup, "/", &[], "app");
        check(&setup, "/?canary=", &[], "app");
        check(&setup, "/?canary=1", &[], "other");
        let setup = map("$cookie_canary", nothing);
        check(&setup, "/", &[], "app");
        check(&setup, "/", &[("cookie", "canary=1")], "other");
    }
    let setup = map("$cookie_group", "Beta.1 other; 7 files; default app;");
    for (value, to) in [
        ("beta.1", "other"),
        ("Beta.1", "other"),
        ("BETA.1", "other"),
        ("betaX1", "app"),
        ("beta.10", "app"),
        ("7", "files"),
    ] {
        check(&setup, "/", &[("cookie", &format!("group={value}"))], to);
    }
    check(&setup, "/", &[], "app");
    let setup = map("$request_method", "get other; default app;");
    check(&setup, "/", &[], "other");
    for host in ["$host", "$http_host"] {
        check(&map(host, "Example.com other; default app;"), "/", &[], "other");
    }
}

#[test]
fn anchors_of_a_choice_are_its_own() {
    nginx(
        "location ~ ^/a|/b$ { return 403; } location / { proxy_pass http://app; }",
        &[("/a/x", "403"), ("/x/b", "403"), ("/x/a", "app"), ("/b/x", "app")],
    );
}

#[test]
fn redirects_keep_the_scheme_of_the_request() {
    let told = |location: &str, to: &str| {
        let found = nginx(&format!("location / {{ return 301 {location}; }}"), &[("/", to)]);
        assert_eq!(found.report.worst(), Verdict::Taken, "{}", found.report);
    };
    told("$scheme://www.example.com$request_uri", "//www.example.com{path}{query}");
    told("${scheme}://$host$request_uri", "//{host}{path}{query}");
    told("https://$host$uri$is_args$args", "https://{host}{path}{query}");
    told("https://x.example/%7Bhost%7D", "https://x.example/%7Bhost%7D");
    told("\"https://x.example/{host}\"", "https://x.example/%7Bhost%7D");
    for unknown in ["https://$hostname/", "https://x.example/?was=$scheme", "https://$hosts/"] {
        let found = nginx(&format!("location / {{ return 301 {unknown}; }}"), &[("/", "404")]);
        assert_eq!(found.report.worst(), Verdict::NoEquivalent, "{unknown}: {}", found.report);
    }
    let envoy = |redirect: &str| {
        let text = format!(
            "virtual_hosts: [{{ name: a, domains: ['*'], routes: [{{ match: {{ prefix: / }}, redirect: {{ {redirect} }} }}] }}]"
        );
        let found = envoy(&text);
        assert_eq!(found.report.worst(), Verdict::Taken, "{redirect}: {}", found.report);
        // And as it was, when it is written and read again.
        let written = write(Dialect::Envoy, &found.setup).text;
        let again = convert(Dialect::Envoy, &written).setup;
        assert_eq!(done(&again, "/", &[]), done(&found.setup, "/", &[]), "{written}");
        done(&found.setup, "/", &[])
    };
    for (redirect, location) in [
        ("host_redirect: www.example.com", "//www.example.com{path}{query}"),
        ("https_redirect: true", "https://{host}{path}{query}"),
        ("scheme_redirect: http, host_redirect: a.example", "http://a.example{path}{query}"),
        ("path_redirect: /new", "/new{query}"),
        ("path_redirect: /new, strip_query: true", "/new"),
        ("path_redirect: '/new?a=b'", "/new?a=b"),
        ("https_redirect: true, strip_query: true", "https://{host}{path}"),
        ("host_redirect: a.example, path_redirect: /x", "//a.example/x{query}"),
    ] {
        assert_eq!(envoy(redirect), location, "{redirect}");
    }
}

fn envoy(route_config: &str) -> Conversion {
    let manager = format!("{{ '@type': x.HttpConnectionManager, route_config: {{ {route_config} }} }}");
    convert(
        Dialect::Envoy,
        &format!(
            "static_resources:\n  listeners: [{{ name: web, address: {{ socket_address: {{ address: 127.0.0.1, port_value: 80 }} }}, filter_chains: [{{ filters: [{{ typed_config: {manager} }}] }}] }}]\n  clusters:\n    - {{ name: all }}\n    - {{ name: debug }}\n"
        ),
    )
}

#[test]
fn routes_of_envoy_do_not_vanish() {
    let ask = |parameter: &str| {
        envoy(&format!(
            "virtual_hosts: [{{ name: a, domains: ['*'], routes: [{{ match: {{ prefix: /, query_parameters: [{{ name: q, {parameter} }}] }}, route: {{ cluster: debug, timeout: 0s }} }}, {{ match: {{ prefix: / }}, route: {{ cluster: all }} }}] }}]"
        ))
    };
    for (test, yes, no) in [
        ("exact", "x.y", "x.y1"),
        ("prefix", "x.yz", "axyz"),
        ("suffix", "ax.y", "axyz"),
        ("contains", "ax.yb", "axb"),
    ] {
        for (ignore, upper) in [("", "all"), (", ignore_case: true", "debug")] {
            let found = ask(&format!("string_match: {{ {test}: x.Y{ignore} }}"));
            assert_eq!(found.report.count(Verdict::NoEquivalent), 0, "{}", found.report);
            let to = |value: &str| done(&found.setup, &format!("/?q={value}"), &[]);
            assert_eq!(
                (to(&yes.replace('y', "Y")), to(yes), to(no)),
                ("debug".into(), upper.into(), "all".into()),
                "{test}{ignore}"
            );
        }
    }
    for unknown in ["string_match: { custom: {} }", "string_match: { exact: a }, colour: red"] {
        assert_eq!(ask(unknown).report.worst(), Verdict::NoEquivalent, "{unknown}");
    }
    // Whatever a route says, something is told of it.
    for test in [
        "string_match: { exact: a }",
        "string_match: { exact: a, ignore_case: true }",
        "string_match: {}",
        "present_match: true",
        "string_match: { custom: {} }",
    ] {
        let report = ask(test).report;
        for route in ["routes[0]", "routes[1]"] {
            assert!(
                report.findings.iter().any(|finding| finding.subject.contains(route)),
                "{test} {route}: {report}"
            );
        }
    }
}

#[test]
fn checks_of_haproxy_keep_their_host() {
    let probe = |lines: &str| {
        let found = convert(
            Dialect::Haproxy,
            &format!("backend x\n mode http\n{lines}\n server a 10.0.0.1:80 check\n"),
        );
        match found.setup.checks["x"].probe.clone() {
            ProbeConfig::Http(probe) => (probe, found.report),
            other => panic!("{other:?}"),
        }
    };
    for line in [
        r" option httpchk GET /health HTTP/1.1\r\nHost:\ app.example.com\r\nX-Check:\ yes",
        r#" option httpchk GET /health "HTTP/1.1\r\nHost: app.example.com\r\nX-Check: yes""#,
        " option httpchk GET /health HTTP/1.1 app.example.com\n http-check send hdr X-Check yes",
        " http-check send hdr X-Check yes hdr Host app.example.com meth GET uri /health\n option httpchk",
    ] {
        let (probe, report) = probe(line);
        assert_eq!((probe.method.as_str(), probe.path.as_str()), ("GET", "/health"), "{line}");
        assert_eq!(probe.host.as_deref(), Some("app.example.com"), "{line}");
        assert_eq!(probe.headers.get("X-Check").map(String::as_str), Some("yes"), "{line}");
        assert_eq!(report.count(Verdict::NoEquivalent), 0, "{report}");
    }
    let (probe_, _) = probe(" http-check expect status 200\n option httpchk GET /");
    assert_eq!(probe_.expected.to_string(), "200");
    for line in [
        r" option httpchk GET / HTTP/1.1\r\nnothing",
        r" option httpchk GET / HTTP/1.1\r\nA:\ b\r\n\r\nbody",
        " option httpchk GET / HTTP/1.1 h more",
    ] {
        assert_eq!(probe(line).1.worst(), Verdict::NoEquivalent, "{line}");
    }
}

/// A line of HAProxy's, what came of it, and how many words have no equivalent.
#[test]
fn every_word_of_an_answer_is_told() {
    for (line, to, untold) in [
        ("http-request deny", "403", 0),
        ("http-request deny status 429", "429", 0),
        ("http-request deny deny_status 429", "429", 0),
        ("http-request deny deny_status 429 hdr Retry-After 5", "429", 0),
        ("http-request deny status 404 content-type text/html string gone", "404", 0),
        ("http-request deny status 429 hdr X-Id %[unique-id]", "429", 1),
        ("http-request deny status 429 errorfile /e.http", "429", 1),
        ("http-request deny status 429 default-errorfiles soon", "429", 2),
        ("http-request tarpit", "500", 0),
        ("http-request tarpit deny_status 503", "503", 0),
        ("http-request return status 200 content-type text/plain string ok", "200", 0),
        ("http-request return status 200 errorfile f", "503", 1),
        ("http-request return status 200 content-type a/b lf-file f", "503", 1),
        ("http-request return status 700", "503", 1),
        ("http-request return status", "503", 1),
        ("redirect prefix https://x code 301", "https://x{path}{query}", 0),
        ("redirect prefix https://x drop-query", "https://x{path}", 0),
        ("redirect scheme https drop-query", "https://{host}{path}", 0),
        ("redirect prefix https://x append-slash", "https://x{path}{query}", 1),
        ("redirect location /a set-cookie seen=1", "/a", 1),
        ("redirect location /{host}", "/%7Bhost%7D", 0),
        ("redirect location /a code 200", "503", 1),
        ("redirect location", "503", 1),
    ] {
        let found = convert(Dialect::Haproxy, &format!("frontend web\n mode http\n bind *:80\n {line}\n"));
        assert_eq!(done(&found.setup, "/", &[]), to, "{line}");
        assert_eq!(found.report.count(Verdict::NoEquivalent), untold, "{line}: {}", found.report);
    }
    let found = convert(
        Dialect::Haproxy,
        "frontend web\n mode http\n http-request deny status 429 hdr Retry-After 5 content-type a/b string no\n http-request tarpit\n",
    );
    let route = &router(&found.setup).routes[0];
    assert_eq!(route.headers.response, [HeaderChange::Add { name: "Retry-After".into(), value: "5".into() }]);
    let Action::Respond(answer) = &route.action else { panic!("{route:?}") };
    assert_eq!((answer.body.as_str(), answer.content_type.as_str()), ("no", "a/b"));
    assert_eq!(found.report.count(Verdict::Differs), 1, "it waits: {}", found.report);
}

fn written(to: Dialect, route: RouteConfig, keys: Option<KeyRule>) -> evenkeel_convert::Written {
    let mut setup = convert(Dialect::Nginx, POOLS).setup;
    setup.keys.extend(keys.map(|rule| ("app".to_owned(), rule)));
    let router = RouterConfig { routes: vec![route], ..RouterConfig::default() };
    let serves = Serves::Http(router);
    setup.listeners.push(Listener {
        name: "web".into(),
        addresses: vec!["127.0.0.1:80".into()],
        tls: None,
        udp: false,
        serves,
    });
    write(to, &setup)
}

#[test]
fn a_key_becomes_a_hash_policy_of_envoy_or_is_told() {
    let check = |key: Vec<KeySource>, rule: Option<KeyRule>, subject: &str, expected: Option<&str>| {
        let about = format!("{key:?} {rule:?}");
        let mut route = RouteConfig::new("r", Action::Cluster("app".into()));
        route.key = key;
        let written = written(Dialect::Envoy, route, rule);
        let is_told = written
            .report
            .findings
            .iter()
            .any(|it| it.verdict == Verdict::NoEquivalent && it.subject == subject);
        let text: String = written.text.split_whitespace().collect();
        assert_eq!(
            (text.contains("hash_policy"), is_told),
            (expected.is_some(), expected.is_none()),
            "{about}: {}",
            written.report
        );
        assert!(expected.is_none_or(|expected| text.contains(expected)), "{about}: {text}");
    };
    for (source, expected) in [
        (KeySource::Header("x".into()), "\"header_name\":\"x\""),
        (KeySource::Cookie("x".into()), "\"cookie\":{\"name\":\"x\"}"),
        (KeySource::Query("x".into()), "\"query_parameter\":{\"name\":\"x\"}"),
        (KeySource::Source, "\"source_ip\":true"),
        (KeySource::Path, "\"header_name\":\":path\""),
        (KeySource::Host, "\"header_name\":\":authority\""),
    ] {
        check(vec![source], None, "routes.r.key", Some(expected));
    }
    for (part, expected) in [
        (KeyPart::Header("x".into()), Some("\"header_name\":\"x\"")),
        (KeyPart::Header("host".into()), Some("\"header_name\":\":authority\"")),
        (KeyPart::Query("x".into()), Some("query_parameter")),
        (KeyPart::Cookie("x".into()), Some("cookie")),
        (KeyPart::Source, Some("source_ip")),
        (KeyPart::Target, Some("\"header_name\":\":path\"")),
        (KeyPart::Path, Some("\"header_name\":\":path\"")),
        (KeyPart::Host, Some("\"header_name\":\":authority\"")),
        (KeyPart::Method, Some("\"header_name\":\":method\"")),
        (KeyPart::Literal("x".into()), None),
        (KeyPart::QueryString, None),
    ] {
        check(Vec::new(), Some(KeyRule::Text(vec![part.clone()])), "keys.app", expected);
        check(Vec::new(), Some(KeyRule::Sample(part.clone())), "keys.app", expected);
        check(
            Vec::new(),
            Some(KeyRule::Envoy(vec![EnvoyHash { of: part, terminal: false }])),
            "keys.app",
            expected,
        );
    }
    check(Vec::new(), Some(KeyRule::Text(vec![KeyPart::Host, KeyPart::Target])), "keys.app", None);
    check(Vec::new(), Some(KeyRule::Header { name: "x".into(), domain_only: true }), "keys.app", None);
    check(Vec::new(), Some(KeyRule::Source), "keys.app", Some("source_ip"));
    check(Vec::new(), Some(KeyRule::UrlParam("x".into())), "keys.app", Some("query_parameter"));
}

#[test]
fn addresses_that_nginx_is_told_are_not_decoded() {
    for (location, expected, verdict) in [
        ("https://{host}/new{path}", "return 301 https://$host/new$request_uri;", Verdict::Differs),
        ("https://{host}{path}{query}", "return 301 https://$host$request_uri;", Verdict::Taken),
        (
            "//www.example.com{path}{query}",
            "return 301 $scheme://www.example.com$request_uri;",
            Verdict::Taken,
        ),
        ("/new{query}", "return 301 /new$is_args$args;", Verdict::Taken),
        ("/u/{id}", "return 404;", Verdict::NoEquivalent),
        ("{path}/more{query}", "return 404;", Verdict::NoEquivalent),
        ("https://x.example/$1", "return 404;", Verdict::NoEquivalent),
    ] {
        let mut route =
            RouteConfig::new("r", Action::Redirect(Redirect { location: location.into(), status: 301 }));
        route.rule.paths.push(PathMatch::Template("/x/{id}".into()));
        route.rule.paths.push(PathMatch::Exact("/y".into()));
        let written = written(Dialect::Nginx, route, None);
        assert!(
            written.text.contains(expected) && !written.text.contains("$uri"),
            "{location}: {}",
            written.text
        );
        let worst = written
            .report
            .findings
            .iter()
            .filter(|it| it.subject.ends_with("redirect"))
            .map(|it| it.verdict)
            .max();
        assert_eq!(worst.unwrap_or(Verdict::Taken), verdict, "{location}: {}", written.report);
    }
}

#[test]
fn a_closed_connection_is_no_answer() {
    for text in ["return 444;", "location / { return 444; }"] {
        let found = nginx(text, &[("/", "404")]);
        assert_eq!(found.report.worst(), Verdict::NoEquivalent, "{}", found.report);
    }
}

#[test]
fn hidden_fields_are_inherited_apart_from_added_ones() {
    let add = |name: &str| HeaderChange::Add { name: name.into(), value: "1".into() };
    let hide = |name: &str| HeaderChange::Remove { name: name.into() };
    for (inner, expected) in [
        ("", vec![hide("X-Powered-By"), add("A")]),
        ("add_header B 1 always;", vec![hide("X-Powered-By"), add("B")]),
        ("proxy_hide_header Server;", vec![hide("Server"), add("A")]),
    ] {
        let found = nginx(
            &format!(
                "add_header A 1 always; proxy_hide_header X-Powered-By; location / {{ {inner} proxy_pass http://app; }}"
            ),
            &[("/", "app")],
        );
        assert_eq!(router(&found.setup).routes[0].headers.response, expected, "{inner}");
    }
}

#[test]
fn the_field_host_is_hashed_as_it_came() {
    let found = convert(
        Dialect::Nginx,
        "upstream app { hash $http_host consistent; server 10.0.0.1:80; } server { location / { proxy_pass http://app; } }",
    );
    let key = |value: &str| {
        let headers = [("Host", value.as_bytes())];
        found.setup.keys["app"].of(&RequestParts { headers: &headers, ..RequestParts::default() })
    };
    assert_ne!(key("Example.com:8080"), key("example.com"));
    assert_eq!(router(&found.setup).routes[0].key, [KeySource::Host]);
}

#[test]
fn servers_of_haproxy_are_counted_as_haproxy_counts_them() {
    let report = convert(
        Dialect::Haproxy,
        "backend x\n balance source\n hash-type consistent\n server a 10.0.0.1:80\n server b 10.0.0.2:80 id 1\n server c 10.0.0.3:80\n",
    )
    .report
    .to_string();
    for (server, number, place) in [("a", 2, 1), ("b", 1, 2), ("c", 4, 3)] {
        let told = format!(
            "server {server}: HAProxy counts this server as number {number}, and here it is number {place}"
        );
        assert!(report.contains(&told), "{told}\n{report}");
    }
}

#[test]
fn converters_of_haproxy_are_part_of_the_key() {
    let rule = |expression: &str| {
        let text = format!("backend app\n mode http\n balance hash {expression}\n server a 10.0.0.1:80\n");
        let found = convert(Dialect::Haproxy, &text);
        (found.setup.keys.get("app").cloned(), found.report.worst())
    };
    let headers = [("cookie", &b"sid=AbC-d"[..])];
    let request =
        RequestParts { target: b"/shop/Carts/7?id=u-9", headers: &headers, ..RequestParts::default() };
    for (expression, key) in [
        ("req.cook(sid)", Some("AbC-d")),
        // Once a cookie by the name of all that stands behind the bracket.
        ("req.cook(sid),lower", Some("abc-d")),
        ("req.cook(sid),upper,bytes(1,2)", Some("BC")),
        ("path,field(3,/)", Some("Carts")),
        ("path,field(-1,/)", Some("7")),
        ("path,field(9,/)", None),
        ("path,word(1,/,2)", Some("shop/Carts")),
        ("path,word(9,/)", Some("")),
        ("url_param(id),field(2,-),lower", Some("9")),
    ] {
        let (rule, worst) = rule(expression);
        let found = rule.unwrap_or_else(|| panic!("{expression}")).of(&request);
        assert_eq!(found, key.map(|key| Key::Bytes(key.as_bytes().to_vec())), "{expression}");
        assert_eq!(worst, Verdict::Taken, "{expression}");
    }
    for expression in [
        "path,regsub(a,b)",
        "path,field(1)",
        "path,field(0,/)",
        "path,field(1,)",
        "path,word(1,/,x)",
        "path,bytes()",
        "path,bytes(-1)",
        "path,lower(a)",
        "path,lower)",
        "path,(lower",
        "path,field(1,\\,)",
        "path,,lower",
        "path,",
        "req.cook(sid)x,lower",
        "req.cook()",
        "src,lower",
    ] {
        assert_eq!(rule(expression), (None, Verdict::NoEquivalent), "{expression}");
    }
}

/// A cluster of Envoy with this `load_balancing_policy`.
fn typed(policies: &str, others: &str) -> Result<Conversion, String> {
    let text = format!(
        "static_resources:\n  clusters:\n  - name: app\n    {others}\n    load_balancing_policy: {{ policies: [{policies}] }}\n    \
         load_assignment: {{ endpoints: [ {{ locality: {{ sub_zone: s }}, load_balancing_weight: 7, lb_endpoints: [ {{ endpoint: \
         {{ address: {{ socket_address: {{ address: 10.0.0.1, port_value: 80 }} }} }} }} ] }} ] }}\n"
    );
    read(Dialect::Envoy, &text, "f", &Options::default()).map_err(|error| error.to_string())
}

fn extension(kind: &str, settings: &str) -> String {
    let url = "type.googleapis.com/envoy.extensions.load_balancing_policies";
    format!(
        "{{ typed_extension_config: {{ name: x, typed_config: {{ \"@type\": {url}.{kind}{settings} }} }} }}"
    )
}

#[test]
fn typed_policies_of_envoy_are_what_the_old_fields_say() {
    for (kind, settings, old) in [
        ("round_robin.v3.RoundRobin", "", "lb_policy: ROUND_ROBIN"),
        (
            "round_robin.v3.RoundRobin",
            ", slow_start_config: { slow_start_window: 10s }",
            "round_robin_lb_config: { slow_start_config: { slow_start_window: 10s } }",
        ),
        (
            "round_robin.v3.RoundRobin",
            ", locality_lb_config: { locality_weighted_lb_config: {} }",
            "common_lb_config: { locality_weighted_lb_config: {} }",
        ),
        (
            "least_request.v3.LeastRequest",
            ", choice_count: 5, active_request_bias: { default_value: 0.5, runtime_key: k }",
            "lb_policy: LEAST_REQUEST, least_request_lb_config: { choice_count: 5, active_request_bias: { default_value: 0.5, runtime_key: k } }",
        ),
        (
            "ring_hash.v3.RingHash",
            ", hash_function: MURMUR_HASH_2, minimum_ring_size: 10, maximum_ring_size: 99, locality_weighted_lb_config: {}",
            "lb_policy: RING_HASH, ring_hash_lb_config: { hash_function: MURMUR_HASH_2, minimum_ring_size: 10, maximum_ring_size: 99 }, common_lb_config: { locality_weighted_lb_config: {} }",
        ),
        ("ring_hash.v3.RingHash", ", hash_function: DEFAULT_HASH", "lb_policy: RING_HASH"),
        (
            "maglev.v3.Maglev",
            ", table_size: 5003, consistent_hashing_lb_config: { use_hostname_for_hashing: true }",
            "lb_policy: MAGLEV, maglev_lb_config: { table_size: 5003 }, common_lb_config: { consistent_hashing_lb_config: { use_hostname_for_hashing: true } }",
        ),
        ("random.v3.Random", "", "lb_policy: RANDOM"),
    ] {
        let text = format!(
            "{{ static_resources: {{ clusters: [ {{ name: app, {old}, load_assignment: {{ endpoints: [ {{ locality: {{ sub_zone: s }}, \
             load_balancing_weight: 7, lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ address: 10.0.0.1, \
             port_value: 80 }} }} }} }} ] }} ] }} }} ] }} }}"
        );
        let old = convert(Dialect::Envoy, &text);
        let new = typed(&extension(kind, settings), "connect_timeout: 1s").unwrap();
        assert_eq!(new.setup.to_toml().unwrap(), old.setup.to_toml().unwrap(), "{kind}{settings}");
    }
}

#[test]
fn typed_policies_of_envoy_that_have_no_old_field() {
    let reports = "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin";
    let settings = ", blackout_period: 5s, weight_expiration_period: 60s, weight_update_period: 2s, error_utilization_penalty: 2.5, enable_oob_load_report: true";
    let found = typed(&extension(reports, settings), "").unwrap();
    let toml = found.setup.to_toml().unwrap();
    for part in ["client_side_weighted_round_robin", "5s", "1m", "2s", "2.5", "median"] {
        assert!(toml.contains(part), "{part} in {toml}");
    }
    assert!(found.report.to_string().contains("no equivalent: clusters[0].load_balancing_policy.policies[0].typed_extension_config.typed_config.enable_oob_load_report: true"), "{}", found.report);
    assert!(found.setup.clusters[0].locality.is_none());
    let inner = format!(", endpoint_picking_policy: {{ policies: [{}] }}", extension(reports, ""));
    let found = typed(&extension("wrr_locality.v3.WrrLocality", &inner), "").unwrap();
    assert_eq!(found.setup.clusters[0].policy.name(), "client_side_weighted_round_robin");
    assert!(found.setup.clusters[0].locality.is_some());
}

#[test]
fn typed_policies_that_envoy_refuses_are_refused() {
    let plain = extension("round_robin.v3.RoundRobin", "");
    let inner = format!(", endpoint_picking_policy: {{ policies: [{plain}] }}");
    for (policies, others, message) in [
        (plain.as_str(), "common_lb_config: { zone_aware_lb_config: {} }", "beside load_balancing_policy"),
        (&plain, "common_lb_config: { locality_weighted_lb_config: {} }", "beside load_balancing_policy"),
        (&plain, "common_lb_config: { consistent_hashing_lb_config: {} }", "beside load_balancing_policy"),
        (&plain, "lb_subset_config: {}", "beside load_balancing_policy"),
        (
            "{ typed_extension_config: { name: x } }",
            "",
            "typed_config cannot stand here: this field is needed",
        ),
        (&extension("ring_hash.v3.RingHash", ", minimum_ring_size: 10, maximum_ring_size: 5"), "", "f:3:5"),
        (&extension("maglev.v3.Maglev", ", table_size: 6"), "", "f:3:5"),
        (&extension("wrr_locality.v3.WrrLocality", &inner), "", "client_side_weighted_round_robin alone"),
        (&extension("wrr_locality.v3.WrrLocality", ""), "", "endpoint_picking_policy"),
    ] {
        let error = typed(policies, others).unwrap_err();
        assert!(error.starts_with("f:") && error.contains(message), "{policies} {others}: {error}");
    }
}

#[test]
fn of_typed_policies_the_first_that_is_known_is_taken() {
    let [random, ring, subset] =
        ["random.v3.Random", "ring_hash.v3.RingHash", "subset.v3.Subset"].map(|kind| extension(kind, ""));
    let found = typed(&format!("{random}, {ring}"), "lb_policy: MAGLEV").unwrap();
    assert_eq!(found.setup.clusters[0].policy.name(), "random");
    let report = found.report.to_string();
    assert!(report.contains("no equivalent: clusters[0].load_balancing_policy.policies[1]"), "{report}");
    assert!(report.contains("lb_policy: MAGLEV: ignored, as by Envoy"), "{report}");
    let found = typed(&format!("{subset}, {ring}"), "").unwrap();
    assert_eq!(found.setup.clusters[0].policy.name(), "envoy");
    assert!(found.report.to_string().contains("subset.v3.Subset is not known here"), "{}", found.report);
    let found = typed(&subset, "").unwrap();
    assert!(found.report.to_string().contains("choose a policy by hand"), "{}", found.report);
}

/// The kind of a policy was left out where it is the default one, and what other kinds have by default was measured by that one.
#[test]
fn a_policy_is_written_with_its_kind() {
    use evenkeel::{Choices, ClusterConfig, PolicyConfig};
    use evenkeel_balance::{LeastRequestConfig, PeakEwmaConfig};
    let least = |choices| PolicyConfig::LeastRequest(LeastRequestConfig { choices, ..Default::default() });
    let peak = |choices| PolicyConfig::PeakEwma(PeakEwmaConfig { choices, ..Default::default() });
    let choices = [Choices::All, Choices::Draw(2), Choices::Draw(3)];
    let some = choices.into_iter().flat_map(|choices| [least(choices), peak(choices)]);
    for policy in PolicyConfig::all().into_iter().chain(some) {
        let mut cluster = ClusterConfig::new("a");
        cluster.policy = policy.clone();
        let setup = Setup { clusters: vec![cluster], ..Setup::default() };
        for dialect in [Dialect::Evenkeel, Dialect::Config] {
            let text = write(dialect, &setup).text;
            let again = convert(dialect, &text).setup;
            assert_eq!(format!("{:?}", again.clusters[0].policy), format!("{policy:?}"), "{dialect}\n{text}");
        }
    }
}
