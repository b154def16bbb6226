//! The program `evenkeel-config` as it is called.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::path::PathBuf;
use std::process::Command;

/// A file for the time of one test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-config-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    /// The exit code, and what was written to both streams.
    fn call(&self, act: &str, more: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel-config"));
        let output = command.arg(act).arg(&self.0).args(more).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const TWO_LISTENERS: &str = r#"
[[listeners]]
name = "inside"
address = "127.0.0.1:8080"
[[listeners]]
name = "outside"
address = "127.0.0.1:8081"
[[listeners]]
name = "tls"
address = "127.0.0.1:8443"
protocol = "tls_passthrough"

[[http.routes]]
name = "admin"
match = { listeners = ["inside"] }
action = { cluster = "admin" }
[[http.routes]]
name = "web"
match = { listeners = ["outside"] }
action = { cluster = "web" }
[[stream.routes]]
name = "mail"
match = { listeners = ["tls"], sni = ["mail.example.com"] }
action = { cluster = "admin" }

[[clusters]]
name = "admin"
endpoints = [{ id = "admin-1", address = "10.0.0.1:80" }]
[[clusters]]
name = "web"
endpoints = [{ id = "web-1", address = "10.0.0.2:80" }]
"#;

#[test]
fn the_listener_decides_where_it_matters() {
    let file = File::new("listeners", TWO_LISTENERS);
    for (listener, route) in [("inside", "route admin"), ("outside", "route web")] {
        let (code, said) = file.call("explain", &["GET", "x", "/", "--listener", listener]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(route), "{said}");
    }
    let (code, said) = file.call("explain", &["GET", "x", "/"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("give --listener, one of inside, outside"), "{said}");
    // One that there is not, and one of another protocol.
    for listener in ["insde", "tls"] {
        let (code, said) = file.call("explain", &["GET", "x", "/", "--listener", listener]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("known are inside, outside"), "{said}");
    }
    // The only one needs no word.
    let one =
        TWO_LISTENERS.replacen("[[listeners]]\nname = \"inside\"\naddress = \"127.0.0.1:8080\"\n", "", 1);
    let one = one.replacen("match = { listeners = [\"inside\"] }", "match = { methods = [\"PUT\"] }", 1);
    let (code, said) = File::new("one", &one).call("explain", &["GET", "x", "/"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("route web"), "{said}");
}

#[test]
fn connections_are_explained() {
    let file = File::new("connections", TWO_LISTENERS);
    let (code, said) = file.call("explain-connection", &["--sni", "mail.example.com"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("route mail") && said.contains("admin-1"), "{said}");
    let (code, said) = file.call("explain-connection", &["--sni", "www.example.com", "--alpn", "h2"]);
    assert_eq!(code, 3, "{said}");
}

#[test]
fn a_request_that_nobody_can_serve_is_no_success() {
    let route = "[[http.routes]]\nname = \"all\"\naction = { cluster = \"users\" }\n";
    let cluster = "[[clusters]]\nname = \"users\"\n";
    let limit =
        "rate_limits = [{ requests = 1, by = [{ header = \"x-user\" }], without_key = \"refuse\" }]\n";
    let endpoints = |more: &str| format!("endpoints = [{{ id = \"a\", address = \"10.0.0.1:80\"{more} }}]\n");
    for (text, code, says) in [
        (format!("{route}{cluster}{}", endpoints("")), 0, "picked a"),
        (format!("{route}{cluster}{}", endpoints(", weight = 0")), 3, "picked nothing"),
        (format!("{route}{cluster}"), 3, "picked nothing"),
        (
            format!("{route}{cluster}[[clusters.discovery]]\nfile = {{ path = \"/nowhere.toml\" }}\n"),
            3,
            "note: discovery is not asked, so these have no endpoints but those in the file: users",
        ),
        // A fallback serves it.
        (
            format!(
                "[http]\nfallbacks = {{ users = \"others\" }}\n{route}{cluster}[[clusters]]\nname = \"others\"\n{}",
                endpoints("")
            ),
            0,
            "picked a",
        ),
        ("[[http.routes]]\nname = \"all\"\naction = { respond = { status = 404 } }\n".to_owned(), 0, "404"),
        (format!("{route}{limit}{cluster}{}", endpoints("")), 3, "no key"),
        ("nonsense = 1\n".to_owned(), 1, "nonsense: unknown key"),
    ] {
        let (found, said) = File::new("served", &text).call("explain", &["GET", "x", "/"]);
        assert_eq!(found, code, "{text}\n{said}");
        assert!(said.contains(says), "{text}\n{said}");
    }
}

#[test]
fn checks_and_their_exit_codes() {
    let file = File::new("check", TWO_LISTENERS);
    let (code, said) = file.call("check", &["--strict"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("3 listeners, 2 routes, 1 stream routes, 2 clusters, 0 warnings"), "{said}");
    let unused = File::new("unused", &format!("{TWO_LISTENERS}[[clusters]]\nname = \"nobody\"\n"));
    assert_eq!((unused.call("check", &[]).0, unused.call("check", &["--strict"]).0), (0, 1));
    assert_eq!(unused.call("explain", &["GET", "x", "/", "-H", "no colon"]).0, 2);
}
