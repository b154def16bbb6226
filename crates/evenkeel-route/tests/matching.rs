//! The index agrees with asking every rule in turn, for random tables and random requests.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use evenkeel_route::matching::{
    Case, Cidr, Connection, CookieMatch, EscapedSlashes, Fraction, HeaderMatch, HostMatch, HttpRule,
    HttpRules, HttpRulesConfig, NoHeaders, PathMatch, PathOptions, Percent, PortRange, Precedence,
    QueryMatch, Request, Scratch, Shadow, StreamRule, StreamRules, StreamRulesConfig, ValueMatch, escape,
    normalise,
};
use evenkeel_types::Ratio;
use proptest::prelude::*;
use proptest::sample::select;

const HOSTS: [&str; 8] = ["a.b", "x.a.b", "y.x.a.b", "a.c", "x.c", "q", "*.a.b", "*"];
const PATTERNS: [&str; 7] = ["*.a.b", "*.b", "a.*", "x.a.*", "a.b", "x.a.b", "*"];

/// The naive reference: the words of the documentation, straight on the configuration.
fn fits(
    rule: &HttpRule,
    host: &str,
    path: &str,
    method: &str,
    headers: &[(String, String)],
    hash: u64,
) -> bool {
    let host_fits = |pattern: &HostMatch| match pattern {
        HostMatch::Exact(name) => name == host,
        HostMatch::Suffix(end) => host.len() > end.len() && host.ends_with(end.as_str()),
        HostMatch::Prefix(start) => host.len() > start.len() && host.starts_with(start.as_str()),
        HostMatch::Any => true,
    };
    let header_fits = |wanted: &HeaderMatch| {
        let values: Vec<&String> = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(&wanted.name))
            .map(|(_, v)| v)
            .collect();
        let holds = match &wanted.test {
            ValueMatch::Present => !values.is_empty(),
            ValueMatch::Absent => values.is_empty(),
            ValueMatch::Exact(text) => values.contains(&text),
            ValueMatch::Prefix(text) => values.iter().any(|value| value.starts_with(text.as_str())),
            ValueMatch::Suffix(text) => values.iter().any(|value| value.ends_with(text.as_str())),
            ValueMatch::Contains(text) => values.iter().any(|value| value.contains(text.as_str())),
            ValueMatch::Range { from, to } => values
                .iter()
                .any(|value| value.parse().is_ok_and(|number: i64| (*from..*to).contains(&number))),
            _ => unreachable!("not generated"),
        };
        holds != wanted.invert
    };
    (rule.hosts.is_empty() || rule.hosts.iter().any(host_fits))
        && (rule.paths.is_empty() || rule.paths.iter().any(|pattern| path_fits(pattern, path)))
        && (rule.methods.is_empty() || rule.methods.iter().any(|wanted| wanted == method))
        && rule.headers.iter().all(header_fits)
        && rule.fraction.is_none_or(|fraction| fraction.holds(hash))
}

fn path_fits(pattern: &PathMatch, path: &str) -> bool {
    match pattern {
        PathMatch::Any => true,
        PathMatch::Exact(text) => text == path,
        PathMatch::Prefix(text) if text == "/" => path.starts_with('/'),
        PathMatch::Prefix(text) => path == text || path.starts_with(&format!("{text}/")),
        PathMatch::RawPrefix(text) => path.starts_with(text.as_str()),
        PathMatch::Template(text) => {
            let wanted: Vec<&str> = text.split('/').collect();
            let given: Vec<&str> = path.split('/').collect();
            let is_rest = |part: &str| part == "**" || part.starts_with("{*");
            let fixed = wanted.iter().take_while(|part| !is_rest(part)).count();
            let capture = |part: &str| part == "*" || part.starts_with('{');
            given.len() >= fixed
                && (given.len() == fixed || fixed < wanted.len())
                && wanted[..fixed]
                    .iter()
                    .zip(&given)
                    .all(|(w, g)| if capture(w) { !g.is_empty() } else { w == g })
        }
        // Two that take the same paths: both must be found, whichever comes first.
        PathMatch::Regex(text) if text == ".*a" => path.ends_with('a'),
        PathMatch::Regex(_) => path.starts_with("/a") || path.starts_with("/b/"),
        _ => unreachable!("not generated"),
    }
}

fn segment() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "ab", "abcdefgh", "c"]).prop_map(str::to_owned)
}

fn literal() -> impl Strategy<Value = String> {
    prop::collection::vec(segment(), 1..4).prop_map(|parts| format!("/{}", parts.join("/")))
}

fn template() -> impl Strategy<Value = String> {
    let part = prop_oneof![segment(), Just("*".to_owned()), Just("{id}".to_owned())];
    let rest = prop_oneof![Just(""), Just("/**"), Just("/{*rest}")];
    (prop::collection::vec(part, 1..4), rest).prop_filter_map("one capture of a name", |(parts, rest)| {
        (parts.iter().filter(|part| *part == "{id}").count() < 2)
            .then(|| format!("/{}{rest}", parts.join("/")))
    })
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        1 => Just(PathMatch::Any),
        4 => literal().prop_map(PathMatch::Exact),
        1 => literal().prop_map(|path| PathMatch::Exact(path + "/")),
        4 => prop_oneof![literal(), Just("/".to_owned())].prop_map(PathMatch::Prefix),
        3 => (literal(), prop::bool::ANY)
            .prop_map(|(path, slash)| PathMatch::RawPrefix(if slash { path + "/" } else { path })),
        6 => template().prop_map(PathMatch::Template),
        1 => Just(PathMatch::Regex(".*a".into())),
        1 => Just(PathMatch::Regex("/(a|b/).*".into())),
    ]
}

fn header_match() -> impl Strategy<Value = HeaderMatch> {
    let text = || select(vec!["1", "2", "12", "21"]).prop_map(str::to_owned);
    let test = prop_oneof![
        6 => text().prop_map(ValueMatch::Exact),
        1 => text().prop_map(ValueMatch::Prefix),
        1 => text().prop_map(ValueMatch::Suffix),
        1 => text().prop_map(ValueMatch::Contains),
        1 => Just(ValueMatch::Present),
        1 => Just(ValueMatch::Range { from: 2, to: 20 }),
    ];
    (select(vec!["x-a", "X-B"]), test, prop::bool::weighted(0.2))
        .prop_map(|(name, test, invert)| HeaderMatch { name: name.to_owned(), test, invert })
}

fn rule() -> impl Strategy<Value = HttpRule> {
    let host = select(PATTERNS.to_vec()).prop_map(|text| text.parse().unwrap());
    (
        prop::collection::vec(host, 0..3),
        prop::collection::vec(path_match(), 0..3),
        prop::collection::vec(select(vec!["GET", "PUT"]).prop_map(str::to_owned), 0..2),
        prop::collection::vec(header_match(), 0..3),
        prop::option::weighted(
            0.1,
            (0..=100_u32).prop_map(|percent| Fraction { share: Ratio::percent(percent).unwrap(), salt: 1 }),
        ),
        0..3_u32,
    )
        .prop_map(|(hosts, paths, methods, headers, fraction, weight)| HttpRule {
            hosts,
            paths,
            methods,
            headers,
            fraction,
            weight,
            ..HttpRule::default()
        })
}

type Asked = (String, String, String, Vec<(String, String)>, u64);

fn asked() -> impl Strategy<Value = Asked> {
    let part = prop_oneof![segment(), Just(String::new()), Just("z".to_owned())];
    let path = prop::collection::vec(part, 0..5).prop_map(|parts| format!("/{}", parts.join("/")));
    let header = (select(vec!["x-a", "x-b"]), select(vec!["1", "2", "12", "21", "7"]))
        .prop_map(|(name, value)| (name.to_owned(), value.to_owned()));
    (
        select(HOSTS.to_vec()).prop_map(str::to_owned),
        prop_oneof![20 => path, 1 => Just("*".to_owned()), 1 => Just(String::new())],
        select(vec!["GET", "PUT", "POST"]).prop_map(str::to_owned),
        prop::collection::vec(header, 0..4),
        any::<u64>(),
    )
}

/// Bytes as they are (but zero, which no address holds), escapes, escaped escapes, and what is special.
fn part_of_path() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (1..=u8::MAX).prop_map(|byte| vec![byte]),
        any::<u8>().prop_map(|byte| format!("%{byte:02x}").into_bytes()),
        any::<u8>().prop_map(|byte| format!("%25{byte:02X}").into_bytes()),
        select(vec!["/", "..", ".", "%", "%2F", "%5c", "\\", "%252F", "//", "%2e"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_index_agrees_with_asking_every_rule(
        rules in prop::collection::vec(rule(), 0..40),
        requests in prop::collection::vec(asked(), 1..20),
    ) {
        let config = HttpRulesConfig { rules, ..HttpRulesConfig::default() };
        let compiled = HttpRules::new(&config).unwrap();
        let mut order: Vec<usize> = (0..config.rules.len()).collect();
        order.sort_by_key(|&rule| std::cmp::Reverse(config.rules[rule].weight));
        let mut scratch = Scratch::default();
        for (host, path, method, headers, hash) in &requests {
            let expected = order.iter().copied().find(|&rule| fits(&config.rules[rule], host, path, method, headers, *hash));
            let request = Request { path: path.as_bytes(), ..Request::new(method, host, "") };
            let request = request.with_headers(headers).with_hash(*hash);
            let found = compiled.find(&request, &mut scratch).unwrap().map(|found| found.rule());
            prop_assert_eq!(found, expected, "{} {} {:?}", host, path, headers);
            let trail = compiled.explain(&request, &mut scratch).unwrap();
            prop_assert_eq!(trail.rule, expected);
            // What is reported as hidden is.
            for shadow in compiled.shadowed().iter().filter(|shadow| shadow.is_whole()) {
                prop_assert_ne!(found, Some(shadow.rule), "{:?}", shadow);
            }
        }
    }

    #[test]
    fn no_bytes_panic(
        host in prop::collection::vec(any::<u8>(), 0..300),
        path in prop::collection::vec(select(b"/.%2eEfF5c\\\0a\xff".to_vec()), 0..60),
        query in prop::collection::vec(any::<u8>(), 0..60),
        value in prop::collection::vec(any::<u8>(), 0..60),
        options in prop::bool::ANY,
    ) {
        let rule = |paths| HttpRule {
            hosts: PATTERNS.iter().map(|text| text.parse().unwrap()).collect(),
            paths,
            headers: vec![HeaderMatch { name: "a".into(), test: ValueMatch::Regex("(a|b)*c".into()), invert: true }],
            query: vec![QueryMatch { name: "q".into(), test: ValueMatch::Contains("x".into()), invert: true }],
            cookies: vec![CookieMatch { name: "c".into(), test: ValueMatch::Range { from: 0, to: 9 }, invert: true }],
            ..HttpRule::default()
        };
        let path_options = PathOptions { merge_slashes: options, backslash_is_slash: options, ..PathOptions::default() };
        let config = HttpRulesConfig {
            rules: vec![
                rule(vec![PathMatch::Template("/a/{*rest}".into()), PathMatch::RawPrefix("/a".into())]),
                rule(vec![PathMatch::Regex("(?s).*".into())]),
            ],
            path: path_options.clone(),
            ..HttpRulesConfig::default()
        };
        let rules = HttpRules::new(&config).unwrap();
        let headers = [("a", value.clone()), ("cookie", value)];
        let request = Request { path: &path, query: &query, ..Request::new("GET", &host, "") };
        let mut scratch = Scratch::default();
        if let Ok(Some(found)) = rules.find(&request.with_headers(&headers), &mut scratch) {
            let _ = found.captures().count();
        }
        // A normal form is normal.
        let mut buffer = Vec::new();
        if let Ok(normal) = normalise(&path, &path_options, &mut buffer) {
            let normal = normal.to_vec();
            let mut again = Vec::new();
            prop_assert_eq!(normalise(&normal, &path_options, &mut again).unwrap(), &normal[..]);
        }
    }

    #[test]
    fn what_is_sent_on_is_read_as_it_was_matched(
        parts in prop::collection::vec(part_of_path(), 0..20),
        percent in select(vec![Percent::Keep, Percent::Unreserved, Percent::All]),
        escaped_slashes in select(vec![EscapedSlashes::Keep, EscapedSlashes::Refuse, EscapedSlashes::Decode]),
        switch in prop::bool::ANY,
        insensitive in prop::bool::ANY,
    ) {
        let case = if insensitive { Case::Insensitive } else { Case::Sensitive };
        let options = PathOptions {
            percent, escaped_slashes, merge_slashes: switch, backslash_is_slash: switch, case, ..PathOptions::default()
        };
        let path = [b"/".to_vec(), parts.concat()].concat();
        let mut buffer = Vec::new();
        if let Ok(normal) = normalise(&path, &options, &mut buffer) {
            let sent = escape(normal, &options);
            let is_plain = |byte: &u8| (0x21..0x7f).contains(byte) && !b"?#\"<>^`{|}".contains(byte);
            prop_assert!(sent.iter().all(is_plain), "{}", String::from_utf8_lossy(&sent));
            let mut again = Vec::new();
            let read = normalise(&sent, &options, &mut again).unwrap();
            if percent == Percent::All {
                prop_assert_eq!(read, normal);
            }
            let as_sent = |path: &[u8]| escape(path, &options).to_ascii_lowercase();
            prop_assert_eq!(as_sent(read), as_sent(normal));
        }
    }

    #[test]
    fn connections_are_matched_as_if_every_rule_were_asked(
        rules in prop::collection::vec(stream_rule(), 0..30),
        longest in prop::bool::ANY,
        connections in prop::collection::vec(connection(), 1..30),
    ) {
        let precedence = if longest { Precedence::LongestPrefix } else { Precedence::FirstMatch };
        let rules = StreamRules::new(&StreamRulesConfig { rules, precedence, ..Default::default() }).unwrap();
        for (listener, source, destination, sni) in connections {
            let connection = Connection {
                listener,
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                sni: sni.as_bytes(),
                alpn: &[b"h2"],
            };
            let found = rules.find(&connection, &mut Scratch::default());
            prop_assert_eq!(found, rules.find_slowly(&connection));
            let trail = rules.explain(&connection);
            prop_assert_eq!(trail.rule, found);
            prop_assert!(trail.passed.iter().all(|passed| Some(passed.rule) != found));
            prop_assert!(found.is_some() || trail.passed.len() == rules.rules().len());
            for shadow in rules.shadowed().iter().filter(|shadow| shadow.is_whole()) {
                prop_assert_ne!(found, Some(shadow.rule), "{:?}", shadow);
            }
        }
    }
}

fn stream_rule() -> impl Strategy<Value = StreamRule> {
    let range = || {
        select(vec![
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::/0",
            "10.1.2.3",
        ])
        .prop_map(|text| text.parse().unwrap())
    };
    (
        prop::collection::vec(select(vec!["a", "b"]).prop_map(str::to_owned), 0..2),
        prop::collection::vec(range(), 0..3),
        prop::collection::vec(range(), 0..3),
        prop::collection::vec(select(PATTERNS.to_vec()).prop_map(|text| text.parse().unwrap()), 0..3),
        prop::collection::vec(select(vec!["h2", "http/1.1"]).prop_map(str::to_owned), 0..2),
        prop::collection::vec(Just(PortRange { first: 80, last: 443 }), 0..2),
        0..2_u32,
    )
        .prop_map(|(listeners, sources, destinations, sni, alpn, destination_ports, weight)| {
            StreamRule {
                listeners,
                sources,
                destinations,
                sni,
                alpn,
                destination_ports,
                weight,
                ..StreamRule::default()
            }
        })
}

fn connection() -> impl Strategy<Value = (&'static str, &'static str, &'static str, &'static str)> {
    let address = || {
        select(vec![
            "10.1.2.3:80",
            "10.1.9.9:443",
            "10.9.9.9:444",
            "[2001:db8::1]:80",
            "[::ffff:10.1.2.3]:80",
            "[::1]:1",
        ])
    };
    (select(vec!["a", "b", "c"]), address(), address(), select(vec!["", "a.b", "x.a.b", "A.C.", "q"]))
}

#[test]
fn a_rule_may_ask_for_listeners() {
    let rule = |listeners: &[&str]| HttpRule {
        listeners: listeners.iter().map(|name| (*name).to_owned()).collect(),
        ..HttpRule::default()
    };
    let config = |rules| HttpRulesConfig { rules, ..HttpRulesConfig::default() };
    let rules = HttpRules::new(&config(vec![rule(&["plain"]), rule(&["tls", "quic"]), rule(&[])])).unwrap();
    let mut scratch = Scratch::default();
    for (listener, expected) in [("plain", 0), ("tls", 1), ("quic", 1), ("", 2), ("other", 2)] {
        let request = Request::new("GET", "a.b", "/").at_listener(listener);
        assert_eq!(rules.find(&request, &mut scratch).unwrap().unwrap().rule(), expected, "{listener}");
        assert_eq!(rules.explain(&request, &mut scratch).unwrap().rule, Some(expected));
    }
    let with_headers =
        Request::new("GET", "a.b", "/").at_listener("tls").with_headers(&NoHeaders).with_hash(7);
    assert_eq!(rules.find(&with_headers, &mut scratch).unwrap().unwrap().rule(), 1, "it is kept");
    let covered = |earlier: &[&str], later: &[&str]| {
        !HttpRules::new(&config(vec![rule(earlier), rule(later)])).unwrap().shadowed().is_empty()
    };
    assert!(covered(&[], &["a"]) && covered(&["a", "b"], &["b"]));
    assert!(!covered(&["a"], &[]) && !covered(&["a"], &["a", "b"]));
    let error = HttpRules::new(&config(vec![rule(&["a", ""])])).unwrap_err();
    assert_eq!(error.to_string(), "rules[0].listeners[1]: \"\" names no listener: it takes 1 to 255 bytes");
}

#[test]
fn shadowed_rules_for_connections_are_reported() {
    let rule = |sni: &[&str], sources: &[&str], ports: Option<(u16, u16)>, listeners: &[&str]| StreamRule {
        sni: sni.iter().map(|name| name.parse().unwrap()).collect(),
        sources: sources.iter().map(|range| range.parse().unwrap()).collect(),
        destination_ports: ports.map(|(first, last)| PortRange { first, last }).into_iter().collect(),
        listeners: listeners.iter().map(|name| (*name).to_owned()).collect(),
        ..StreamRule::default()
    };
    let all = || rule(&[], &[], None, &[]);
    // earlier rule, later rule, whether the later one takes nothing
    let cases = [
        (all(), rule(&["a.b"], &["10.0.0.0/8"], Some((1, 2)), &["x"]), true),
        (rule(&["*"], &[], None, &[]), all(), true),
        (rule(&["*.b"], &[], None, &[]), rule(&["*.a.b", "q.b"], &[], None, &[]), true),
        (rule(&["*.b"], &[], None, &[]), rule(&["b"], &[], None, &[]), false),
        (rule(&["a.b"], &[], None, &[]), all(), false),
        (rule(&["*.b"], &[], None, &[]), rule(&["*"], &[], None, &[]), false),
        (rule(&["a.*"], &[], None, &[]), rule(&["a.b.*", "a.c"], &[], None, &[]), true),
        (rule(&["a.*", "*.b"], &[], None, &[]), rule(&["*.c", "b.*"], &[], None, &[]), false),
        (rule(&[], &["10.0.0.0/8"], None, &[]), rule(&[], &["10.1.0.0/16", "10.2.3.4/32"], None, &[]), true),
        (rule(&[], &["10.0.0.0/8"], None, &[]), rule(&[], &["10.1.0.0/16", "::/0"], None, &[]), false),
        (rule(&[], &["10.0.0.0/9", "10.128.0.0/9"], None, &[]), rule(&[], &["10.0.0.0/8"], None, &[]), false),
        (rule(&[], &[], Some((1, 1023)), &[]), rule(&[], &[], Some((80, 80)), &[]), true),
        (rule(&[], &[], Some((1, 1023)), &[]), rule(&[], &[], Some((80, 1024)), &[]), false),
        (rule(&[], &[], None, &["x", "y"]), rule(&[], &[], None, &["y"]), true),
    ];
    for (earlier, later, expected) in cases {
        let rules = vec![earlier, later];
        let config = StreamRulesConfig { rules, ..Default::default() };
        let found = StreamRules::new(&config).unwrap();
        assert_eq!(found.shadowed().iter().any(Shadow::is_whole), expected, "{:?}", config.rules);
        assert!(found.shadowed().iter().all(|shadow| (shadow.rule, shadow.by) == (1, 0)));
    }
}

#[test]
fn shadowed_rules_are_reported() {
    let rule = |hosts: &[&str], paths: &[PathMatch], header: Option<&str>| HttpRule {
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        paths: paths.to_vec(),
        headers: header
            .map(|value| HeaderMatch {
                name: "x".into(),
                test: ValueMatch::Exact(value.into()),
                invert: false,
            })
            .into_iter()
            .collect(),
        ..HttpRule::default()
    };
    let exact = |path: &str| PathMatch::Exact(path.into());
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    let raw = |path: &str| PathMatch::RawPrefix(path.into());
    let template = |path: &str| PathMatch::Template(path.into());
    // earlier rule, later rule, how much of the later is taken
    let cases = [
        (rule(&["*.a.b"], &[prefix("/x")], None), rule(&["q.a.b"], &[exact("/x/y")], None), Some((1, 1))),
        (rule(&["*.b"], &[prefix("/x")], None), rule(&["*.a.b"], &[prefix("/x/y")], Some("1")), Some((1, 1))),
        (rule(&["a.*"], &[], None), rule(&["a.b.*"], &[prefix("/")], None), Some((1, 1))),
        (rule(&["*.a.b"], &[], None), rule(&["a.b", "c.a.b"], &[], None), Some((1, 2))),
        (rule(&[], &[template("/u/{id}")], None), rule(&[], &[exact("/u/7")], None), Some((1, 1))),
        (rule(&[], &[template("/u/{id}")], None), rule(&[], &[template("/u/*")], None), Some((1, 1))),
        (rule(&[], &[template("/u/{id}")], None), rule(&[], &[prefix("/u")], None), None),
        (rule(&[], &[template("/u/{id}/**")], None), rule(&[], &[raw("/u/x")], None), Some((1, 1))),
        (rule(&[], &[template("/u/{id}/**")], None), rule(&[], &[raw("/u/")], None), None),
        (rule(&[], &[prefix("/u")], None), rule(&[], &[raw("/u/")], None), Some((1, 1))),
        (rule(&[], &[prefix("/u")], None), rule(&[], &[raw("/u")], None), None),
        (rule(&[], &[raw("/u/")], None), rule(&[], &[prefix("/u")], None), None),
        (rule(&[], &[raw("/u")], None), rule(&[], &[prefix("/u/v"), prefix("/w")], None), Some((1, 2))),
        (rule(&[], &[], Some("1")), rule(&[], &[], None), None),
        (rule(&[], &[], Some("1")), rule(&[], &[], Some("1")), Some((1, 1))),
        (rule(&[], &[], Some("1")), rule(&[], &[], Some("2")), None),
    ];
    for (earlier, later, expected) in cases {
        let rules = vec![earlier.clone(), later.clone()];
        let compiled = HttpRules::new(&HttpRulesConfig { rules, ..HttpRulesConfig::default() }).unwrap();
        let found = compiled.shadowed().first().map(|shadow| (shadow.taken, shadow.of));
        assert_eq!(found, expected, "{earlier:?} {later:?}");
    }
}

#[test]
fn errors_name_the_field() {
    let cases = [
        (
            r#"rules = [{}, { paths = [{ exact = "a" }] }]"#,
            "rules[1].paths[0]: \"a\" does not begin with a slash",
        ),
        (
            r#"rules = [{ paths = [{ prefix = "/a/" }] }]"#,
            "rules[0].paths[0]: the prefix \"/a/\" ends in a slash",
        ),
        (r#"rules = [{ paths = [{ exact = "/%7Ea" }] }]"#, "write \"/~a\""),
        (r#"rules = [{ paths = [{ exact = "/a/../b" }] }]"#, "write \"/b\""),
        (r#"rules = [{ paths = [{ template = "/a/x{id}" }] }]"#, "\"x{id}\""),
        (r#"rules = [{ paths = [{ template = "/{a}/{a}" }] }]"#, "twice"),
        (r#"rules = [{ paths = [{ template = "/**/a" }] }]"#, "after the rest"),
        (r#"rules = [{ paths = [{ template = "/a//b" }] }]"#, "empty segment"),
        (r#"rules = [{ paths = [{ regex = "a)|(b" }] }]"#, "rules[0].paths[0]: regular expression"),
        (r#"rules = [{ paths = [{ regex = "(\\w{1,50}){1,50}" }] }]"#, "larger than the limit"),
        (r#"rules = [{ headers = [{ name = "a b", test = "present" }] }]"#, "rules[0].headers[0].name"),
        (r#"rules = [{ headers = [{ name = "a", test = { regex = "(" } }] }]"#, "rules[0].headers[0].test"),
        (r#"rules = [{ headers = [{ name = "a", test = "absent", invert = true }] }]"#, "write present"),
        (r#"rules = [{ headers = [{ name = "a", test = { range = { from = 3, to = 3 } } }] }]"#, "empty"),
        (r#"rules = [{ methods = ["G T"] }]"#, "rules[0].methods[0]"),
        ("rules = [{}, {}]\nlimits = { rules = 1 }", "2 rules, more than the limit of 1"),
    ];
    for (text, expected) in cases {
        let config: HttpRulesConfig = toml::from_str(text).unwrap();
        let error = HttpRules::new(&config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for text in [r#"rules = [{ host = "a" }]"#, r#"rules = [{ hosts = ["a:80"] }]"#, "rule = []"] {
        assert!(toml::from_str::<HttpRulesConfig>(text).is_err(), "{text}");
    }
}

#[test]
fn captures_are_named() {
    let rules = vec![HttpRule {
        paths: vec![PathMatch::Template("/Users/{id}/posts/{post}/{*rest}".into())],
        ..HttpRule::default()
    }];
    let mut config = HttpRulesConfig { rules, ..HttpRulesConfig::default() };
    config.path.case = Case::Insensitive;
    let rules = HttpRules::new(&config).unwrap();
    for (path, expected) in [
        ("/users/7/POSTS/x-1/a/b", vec![("id", "7"), ("post", "x-1"), ("rest", "a/b")]),
        ("/users/7/posts/1", vec![("id", "7"), ("post", "1"), ("rest", "")]),
        ("/users/7/posts/1/", vec![("id", "7"), ("post", "1"), ("rest", "")]),
    ] {
        let mut scratch = Scratch::default();
        let request = Request::new("GET", "", path);
        let found = rules.find(&request, &mut scratch).unwrap().unwrap();
        let captures: Vec<(&str, &str)> =
            found.captures().map(|(name, value)| (name, std::str::from_utf8(value).unwrap())).collect();
        assert_eq!(captures, expected);
        assert_eq!(found.capture("nobody"), None);
    }
}

#[test]
fn a_match_allocates_nothing() {
    let text = r#"
        [[rules]]
        hosts = ["*.example.com"]
        paths = [{ template = "/users/{id}/**" }, { regex = "/v[0-9]+/.*" }, { raw_prefix = "/~" }]
        headers = [{ name = "x-a", test = { regex = "[0-9]+" } }]
        query = [{ name = "q", test = { exact = "a b" } }]
        cookies = [{ name = "c", test = { contains = "x" } }]
    "#;
    let rules = HttpRules::new(&toml::from_str(text).unwrap()).unwrap();
    let headers = [("X-A", "17"), ("Cookie", "a=1; c=axb")];
    let mut scratch = Scratch::default();
    let mut ask = |target| {
        let request = Request::new("GET", "API.Example.com:443", target).with_headers(&headers);
        let found = rules.find(&request, &mut scratch).unwrap().map(|found| found.captures().count());
        assert!(found.is_some(), "{target}");
    };
    let all = ["/users/7/%7Ex?q=a+b", "/v12/x?q=a%20b", "/~me?q=a%20b"];
    for target in all {
        ask(target);
    }
    let allocated = allocation_counter::measure(|| all.into_iter().for_each(ask));
    assert_eq!(allocated.count_total, 0);
}

#[test]
fn a_hundred_thousand_rules_compile() {
    let rule = |i: usize| HttpRule {
        hosts: vec![format!("h{}.example.com", i % 1000).parse().unwrap()],
        paths: vec![PathMatch::Prefix(format!("/p{i}"))],
        ..HttpRule::default()
    };
    let rules: Vec<HttpRule> = (0..100_000).map(rule).collect();
    let rules = HttpRules::new(&HttpRulesConfig { rules, ..HttpRulesConfig::default() }).unwrap();
    let mut scratch = Scratch::default();
    let request = Request::new("GET", "h77.example.com", "/p99077/x");
    assert_eq!(rules.find(&request, &mut scratch).unwrap().unwrap().rule(), 99_077);
    let long = vec![b'a'; 1 << 20];
    assert!(rules.find(&Request::new("GET", &long, "/"), &mut scratch).is_err());
    assert!(rules.find(&Request::new("GET", "", &long), &mut scratch).is_err());
}

/// Each comparison counts, so that long lists do not take minutes; what is cheap is compared first.
#[test]
fn long_lists_of_ranges_do_not_hold_up_the_rest() {
    let ranges = |from: u32| -> Vec<Cidr> {
        (from..from + 2000).map(|i| Cidr::new(std::net::Ipv4Addr::from(i).into(), 32).unwrap()).collect()
    };
    let of = |sources: Vec<Cidr>, port: u16| StreamRule {
        sources,
        destination_ports: vec![PortRange::one(port)],
        ..StreamRule::default()
    };
    let shadowed = |rules: Vec<StreamRule>| -> Vec<(usize, usize)> {
        let rules = StreamRules::new(&StreamRulesConfig { rules, ..Default::default() }).unwrap();
        rules.shadowed().iter().map(|shadow| (shadow.rule, shadow.by)).collect()
    };
    let last = vec![ranges(0)[1999]; 2000];
    // Four million comparisons of ranges.
    assert_eq!(shadowed(vec![of(ranges(0), 1), of(last.clone(), 1), of(ranges(0), 1)]), []);
    // Another port: none of them.
    assert_eq!(shadowed(vec![of(ranges(0), 1), of(last, 2), of(vec![ranges(0)[0]], 1)]), [(2, 0)]);
    // All pairs of 2,000 rules.
    let mut rules: Vec<StreamRule> = (0..1999)
        .map(|i| StreamRule { sni: vec![format!("n{i}.example").parse().unwrap()], ..StreamRule::default() })
        .collect();
    rules.push(rules[1998].clone());
    assert_eq!(shadowed(rules), [(1999, 1998)]);
}

/// Rules that differ by one header value are looked up, and the order of rules still decides.
#[test]
fn values_of_headers_are_looked_up() {
    let version = |value: usize| HeaderMatch {
        name: "X-Version".into(),
        test: ValueMatch::Exact(value.to_string()),
        invert: false,
    };
    let mut rules: Vec<HttpRule> =
        (0..1000).map(|i| HttpRule { headers: vec![version(i % 900)], ..HttpRule::default() }).collect();
    rules.insert(500, HttpRule { methods: vec!["PUT".into()], ..HttpRule::default() });
    let rules = HttpRules::new(&HttpRulesConfig { rules, ..HttpRulesConfig::default() }).unwrap();
    let mut scratch = Scratch::default();
    let mut find = |method, values: &[&str]| {
        let headers: Vec<(&str, &str)> = values.iter().map(|&value| ("x-version", value)).collect();
        let request = Request::new(method, "", "/").with_headers(&headers);
        rules.find(&request, &mut scratch).unwrap().map(|found| found.rule())
    };
    assert_eq!(find("GET", &["7"]), Some(7));
    assert_eq!(find("GET", &["899"]), Some(900));
    assert_eq!(find("PUT", &["899"]), Some(500));
    assert_eq!(find("PUT", &["499"]), Some(499));
    assert_eq!(find("GET", &["800", "3"]), Some(3), "the first rule, not the first value");
    assert_eq!(find("GET", &["900"]), None);
    // The second rule of a value is hidden by the first.
    assert_eq!(rules.shadowed().len(), 100);
    assert!(rules.shadowed().iter().all(|shadow| shadow.is_whole() && shadow.rule == shadow.by + 901));
}
