//! What nobody can read: an error with file, line and column each time, and never a panic.
#![allow(clippy::panic, clippy::unwrap_used)]

use evenkeel_convert::{ConvertError, Dialect, Limits, Options, Verdict, read, read_file};
use proptest::prelude::*;

fn error(from: Dialect, text: &str) -> String {
    match read(from, text, "f", &Options::default()) {
        Ok(conversion) => panic!("{text:?} was read: {:?}", conversion.setup),
        Err(error) => error.to_string(),
    }
}

/// Dialect, text, and the whole message.
const BAD: [(Dialect, &str, &str); 42] = [
    (
        Dialect::Nginx,
        "stream { server { listen 1; proxy_pass a; } }",
        "f:1:29: proxy_pass is \"a\": no upstream of this name, and nginx refuses an address without a port here",
    ),
    (
        Dialect::Nginx,
        "upstream a { server",
        "f:1:20: the file ends here, and \"server\" of line 1 is still open: it needs \";\" or \"{\"",
    ),
    (
        Dialect::Nginx,
        "upstream a {\n server 1.2.3.4:80;\n",
        "f:3:1: the file ends here, and the block \"upstream a\" of line 1 is still open: it needs \"}\"",
    ),
    (
        Dialect::Nginx,
        "upstream \"a",
        "f:1:12: the file ends here, and the quote of line 1 is still open: it needs another quote",
    ),
    (Dialect::Nginx, "http { } }", "f:1:10: \"}\" cannot stand here: no block is open"),
    (Dialect::Nginx, ";", "f:1:1: \";\" cannot stand here: a directive comes before it"),
    (
        Dialect::Nginx,
        "upstream a { server 1.2.3.4:80 weight=0; }",
        "f:1:32: weight is \"0\": 1 and more; mark the server `down`",
    ),
    (
        Dialect::Nginx,
        "upstream a { server 1.2.3.4:80 weight=x; }",
        "f:1:32: weight is \"x\": a whole number is allowed",
    ),
    (
        Dialect::Nginx,
        "upstream a { server 1.2.3.4:80 fail_timeout=1q; }",
        "f:1:32: time is \"1q\": a time such as 10s, 500ms or 1m30s is allowed",
    ),
    (
        Dialect::Nginx,
        "upstream a { server 1.2.3.4:80 fast; }",
        "f:1:32: fast cannot stand here: weight, max_conns, max_fails, fail_timeout, slow_start, backup, down and resolve are known",
    ),
    (
        Dialect::Nginx,
        "upstream a { server 1.2.3.4:999999; }",
        "f:1:21: server is \"1.2.3.4:999999\": port of the address is not a number from 0 to 65535",
    ),
    (
        Dialect::Nginx,
        "upstream a { server $b; }",
        "f:1:14: $b cannot stand here: a server is named without variables",
    ),
    (
        Dialect::Nginx,
        "upstream a { hash $k; server 1.2.3.4:80; server 1.2.3.5:80 backup; }",
        "f:1:42: backup cannot stand here: nginx refuses it with hash",
    ),
    (
        Dialect::Nginx,
        "upstream a { }",
        "f:1:1: upstream a without a server cannot stand here: nginx needs a server in every upstream, and so does this",
    ),
    (
        Dialect::Nginx,
        "upstream a { server 1.2.3.4:80; }\nupstream a { server 1.2.3.4:80; }",
        "f:2:1: upstream a is there twice: first at f:1:1",
    ),
    (
        Dialect::Nginx,
        "upstream a { hash; server 1.2.3.4:80; }",
        "f:1:14: hash cannot stand here: nginx knows no such arguments",
    ),
    (
        Dialect::Nginx,
        "include x.conf;",
        "f:1:9: include x.conf cannot stand here: includes need a file and its folder; this text has none",
    ),
    (
        Dialect::Nginx,
        "include $x;",
        "f:1:9: $x cannot stand here: a file name without variables: nginx expands none here either",
    ),
    (
        Dialect::Nginx,
        "server { location / { proxy_pass http://a b; } }",
        "f:1:23: proxy_pass with 2 arguments cannot stand here: it takes one",
    ),
    (
        Dialect::Nginx,
        "split_clients $a $b { 60% x; 50% y; }",
        "f:1:30: split_clients is \"50%\": a percentage with at most two decimals, and not more than 100% in all",
    ),
    (
        Dialect::Nginx,
        "proxy_next_upstream sometimes;",
        "f:1:21: sometimes cannot stand here: error, timeout, invalid_header, http_500 and others, non_idempotent or off",
    ),
    (
        Dialect::Nginx,
        "frontend web\n  bind *:80\n",
        "f:1:1: this looks like the configuration of haproxy, not of nginx: choose it with --from",
    ),
    (
        Dialect::Nginx,
        "static_resources:\n  clusters: []\n",
        "f:1:1: this looks like the configuration of envoy, not of nginx: choose it with --from",
    ),
    (Dialect::Nginx, "a\0;", "f:1:2: a zero byte: this is no text file"),
    (
        Dialect::Haproxy,
        "upstream a {\n server 1.2.3.4:80;\n}\n",
        "f:1:1: this looks like the configuration of nginx, not of haproxy: choose it with --from",
    ),
    (
        Dialect::Haproxy,
        "server a 1.2.3.4:80\n",
        "f:1:1: server a 1.2.3.4:80 cannot stand here: a section comes first: global, defaults, frontend, backend or listen",
    ),
    (Dialect::Haproxy, "backend\n", "f:1:1: backend cannot stand here: a name comes after it"),
    (
        Dialect::Haproxy,
        "backend a\n server b \"1.2.3.4:80\n",
        "f:3:1: the file ends here, and the quote of line 2, column 11 is still open: it needs another quote on the same line",
    ),
    (
        Dialect::Haproxy,
        "backend a\n server b 1.2.3.4:80 weight 300\n",
        "f:2:29: weight is \"300\": a whole number from 0 to 256 is allowed",
    ),
    (
        Dialect::Haproxy,
        "backend a\n server b 1.2.3.4:80 weight\n",
        "f:2:22: weight cannot stand here: a value comes after it",
    ),
    (
        Dialect::Haproxy,
        "backend a\n server b 1.2.3.4:80 check inter 5x\n",
        "f:2:34: inter is \"5x\": a time such as 5s, 500ms or 2000 (milliseconds) is allowed",
    ),
    (
        Dialect::Haproxy,
        "backend a\n balance fastest\n",
        "f:2:10: balance is \"fastest\": roundrobin, static-rr, leastconn, first, source, uri, url_param, hdr, hash or random",
    ),
    (
        Dialect::Haproxy,
        "backend a\n hash-type sometimes\n",
        "f:2:2: hash-type sometimes cannot stand here: map-based or consistent comes first",
    ),
    (
        Dialect::Haproxy,
        "frontend a\n mode http\n use_backend b if c\nbackend b\n",
        "f:3:19: c cannot stand here: no acl of the name \"c\" comes before it",
    ),
    (
        Dialect::Haproxy,
        "frontend a\n default_backend b\n",
        "f:1:1: b cannot stand here: there is no backend of this name",
    ),
    (
        Dialect::Haproxy,
        "backend a\n server s 1.2.3.4:80\n server s 1.2.3.5:80\n",
        "f:3:2: server s is there twice: first at f:2:2",
    ),
    (
        Dialect::Envoy,
        "upstream a {\n server 1.2.3.4:80;\n}\n",
        "f:1:1: this looks like the configuration of nginx, not of envoy: choose it with --from",
    ),
    (
        Dialect::Envoy,
        "clusters:\n  - { lb_policy: RANDOM }\n",
        "f:2:5: clusters[0].name cannot stand here: this field is needed",
    ),
    (
        Dialect::Envoy,
        "clusters:\n  - { name: a, lb_policy: FASTEST }\n",
        "f:2:5: clusters[0].lb_policy is \"FASTEST\": ROUND_ROBIN, LEAST_REQUEST, RING_HASH, MAGLEV or RANDOM",
    ),
    (
        Dialect::Envoy,
        "clusters:\n  - { name: a, name: b }\n",
        "f:2:5: name cannot stand here: this key stands in the table twice",
    ),
    (
        Dialect::Envoy,
        "",
        "f:1:1: the file ends here, and the configuration is still open: it needs something in it",
    ),
    (Dialect::Evenkeel, "[[clusters]]\nname = 3\n", "f:2:8: invalid type: integer `3`, expected a string"),
];

#[test]
fn each_error_tells_where_it_is_and_what_is_allowed() {
    let mut wrong = Vec::new();
    for (from, text, expected) in BAD {
        let found = error(from, text);
        if !found.starts_with(expected) {
            wrong.push(format!("{text:?}\n  found    {found}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn limited(limits: Limits, from: Dialect, text: &str) -> ConvertError {
    read(from, text, "f", &Options { limits, ..Options::default() }).unwrap_err()
}

#[test]
fn what_is_too_much_is_refused_before_memory_is_gone() {
    let few = || Limits { nesting: 10, words: 100, ..Limits::default() };
    let deep = "a { ".repeat(20);
    assert!(
        limited(few(), Dialect::Nginx, &deep)
            .to_string()
            .contains("nested blocks: more than 10 are not read")
    );
    let many = "a b c d e;".repeat(30);
    assert!(limited(few(), Dialect::Nginx, &many).to_string().contains("words: more than 100 are not read"));
    let many = format!("global\n{}", "a b c d e\n".repeat(30));
    assert!(limited(few(), Dialect::Haproxy, &many).to_string().contains("words: more than 100"));
    let deep = format!("clusters: {}{}", "[".repeat(50), "]".repeat(50));
    assert!(limited(few(), Dialect::Envoy, &deep).to_string().contains("nested values: more than 10"));
    // A few lines that would be 10^9 values.
    let mut laughs = String::from("node:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let names = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("  a{level}: &a{level} [{names}]\n"));
    }
    let told = read(Dialect::Envoy, &laughs, "f", &Options::default()).unwrap_err().to_string();
    assert!(told.contains("values: more than 2000000 are not read"), "{told}");
    let huge = "# a comment\n".repeat(100_000);
    let small = Limits { bytes: 1000, ..Limits::default() };
    assert!(
        limited(small, Dialect::Nginx, &huge).to_string().contains("bytes of configuration: more than 1000")
    );
    // Deeper than any stack would bear.
    let deep = "{".repeat(1_000_000);
    assert!(read(Dialect::Envoy, &deep, "f", &Options::default()).is_err());
    assert!(read(Dialect::Nginx, &"a{".repeat(1_000_000), "f", &Options::default()).is_err());
}

#[test]
fn includes_stay_in_their_folder() {
    let base = std::env::temp_dir().join(format!("evenkeel-convert-includes-{}", std::process::id()));
    let folder = base.join("in");
    std::fs::create_dir_all(folder.join("conf.d")).unwrap();
    std::fs::write(base.join("secret.conf"), "upstream secret { server 10.0.0.1:80; }").unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("conf.d/b.conf", "upstream b { server 10.0.0.2:80; }");
    write("conf.d/a.conf", "upstream a { server 10.0.0.1:80; }");
    let read_main = |text: &str| {
        write("main.conf", text);
        read_file(Dialect::Nginx, folder.join("main.conf"), &Options::default())
    };
    let found = read_main("include conf.d/*.conf;").unwrap();
    let names: Vec<&str> = found.setup.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(
        read_main("include none/*.conf;").unwrap().setup.clusters.is_empty(),
        "a pattern may find nothing"
    );
    for (text, told) in [
        ("include ../secret.conf;", "is outside of"),
        ("include /etc/hostname;", "is outside of"),
        ("include /etc/host*;", "is outside of"),
        ("include ../*.conf;", "a pattern with \"..\" is not followed"),
        ("include missing.conf;", "cannot read"),
        ("include conf.d;", "it is not a plain file"),
        ("include main.conf;", "files that include each other: more than 16"),
    ] {
        let error = read_main(text).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("main.conf:1:9"), "{text}: {error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(base.join("secret.conf"), folder.join("link.conf")).unwrap();
        assert!(read_main("include link.conf;").unwrap_err().to_string().contains("is outside of"));
    }
    let wider = Options { root: Some(base.clone()), ..Options::default() };
    write("main.conf", "include ../secret.conf;");
    assert_eq!(
        read_file(Dialect::Nginx, folder.join("main.conf"), &wider).unwrap().setup.clusters[0].name,
        "secret"
    );
    std::fs::write(folder.join("main.conf"), b"upstream \xff").unwrap();
    let error =
        read_file(Dialect::Nginx, folder.join("main.conf"), &Options::default()).unwrap_err().to_string();
    assert!(error.ends_with("main.conf:1:10: this byte is not UTF-8"), "{error}");
    std::fs::remove_dir_all(base).unwrap();
}

/// To open one would wait for ever.
#[cfg(unix)]
#[test]
#[expect(clippy::disallowed_methods, reason = "what would wait for ever has a thread of its own")]
fn a_pipe_that_nobody_writes_to_is_no_file() {
    let folder = std::env::temp_dir().join(format!("evenkeel-convert-pipe-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.join("pipe.conf")).status().unwrap().success());
    std::fs::write(folder.join("main.conf"), "include p*.conf;").unwrap();
    for name in ["pipe.conf", "main.conf"] {
        let (told, heard) = std::sync::mpsc::channel();
        let path = folder.join(name);
        std::thread::spawn(move || {
            let found = read_file(Dialect::Nginx, path, &Options::default());
            told.send(found.unwrap_err().to_string())
        });
        let error = heard.recv_timeout(std::time::Duration::from_secs(30)).expect("it waits for nobody");
        assert!(error.contains("it is not a plain file"), "{error}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn variables_are_told_and_never_guessed() {
    for (from, text, part) in [
        (Dialect::Nginx, "server { location / { proxy_pass http://$backend; } }", "$backend"),
        (Dialect::Nginx, "upstream a { hash $my_own; server 1.2.3.4:80; }", "$my_own"),
        (Dialect::Haproxy, "backend a\n server b \"${HOST}:80\"\n", "${HOST}"),
        (
            Dialect::Haproxy,
            "frontend a\n mode http\n use_backend %[req.hdr(x)]\n",
            "only known when requests come",
        ),
    ] {
        let report = read(from, text, "f", &Options::default()).unwrap().report;
        let told = report
            .findings
            .iter()
            .any(|finding| finding.verdict == Verdict::NoEquivalent && finding.to_string().contains(part));
        assert!(told, "{text}: {report}");
    }
}

#[test]
fn every_directive_is_in_the_report() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/nginx/shop.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let report = read_file(Dialect::Nginx, path, &Options::default()).unwrap().report;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let is_inner =
            line.contains('%') || ["default", "gold", "~^plat"].iter().any(|word| line.starts_with(word));
        if !line.ends_with(';') && !line.ends_with('{')
            || line.starts_with("http {")
            || line.starts_with("include")
            || is_inner
            || line.starts_with('*')
        {
            continue;
        }
        let is_told = report.findings.iter().any(|finding| {
            finding
                .place
                .as_ref()
                .is_some_and(|place| place.line as usize == number + 1 && place.file.ends_with("shop.conf"))
        });
        assert!(is_told, "line {}: {line}", number + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9 {};:\"'#$\\\\\n\\[\\],&*@!|<>.%/=~^()-]{0,200}") {
        for from in Dialect::ALL {
            let _ = read(from, &text, "f", &Options::default());
        }
    }

    #[test]
    fn no_cut_makes_it_panic(cut in 0_usize..4000, drop in 0_usize..40) {
        for (from, file) in [(Dialect::Nginx, "nginx/shop.conf"), (Dialect::Haproxy, "haproxy/shop.cfg"), (Dialect::Envoy, "envoy/shop.yaml")] {
            let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let cut = cut % text.len();
            // A piece is missing in the middle, and the end.
            let end = (cut + drop).min(text.len());
            let _ = read(from, &text[..cut], "f", &Options::default());
            let _ = read(from, &format!("{}{}", &text[..cut], &text[end..]), "f", &Options::default());
        }
    }
}

/// nginx keeps the names of http and stream apart, and clusters have one name each.
#[test]
fn one_name_is_one_cluster() {
    let read = |text: &str| read(Dialect::Nginx, text, "f", &Options::default());
    let one = "upstream d { server 10.0.0.1:80; }";
    for text in [
        format!("http {{ {one} }} stream {{ {one} }}"),
        format!("stream {{ {one} }} http {{ {one} }}"),
        format!("http {{ {one} }} http {{ {one} }}"),
        format!("stream {{ {one} {one} }}"),
    ] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains("upstream d"), "{text}: {error}");
    }
    let direct = "http { server { location / { proxy_pass http://10.0.0.1:80; } } } stream { server { listen 81; proxy_pass 10.0.0.1:80; } }";
    assert_eq!(read(direct).unwrap().setup.clusters.len(), 1);
}
