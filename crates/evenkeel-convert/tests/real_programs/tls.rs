//! Certificates and TLS to servers, as written for each program, in handshakes with the real ones.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use evenkeel_convert::{Dialect, Options, Verdict, read, write};

use crate::program::{self, Program, free_ports};

/// A folder with certificates by `ca`, each for the name that it is called by.
fn certificates(names: &[&str]) -> PathBuf {
    let folder = program::folder("certificates");
    let make = |name: &str, more: &[&str]| {
        let mut command = Command::new("openssl");
        command.current_dir(&folder).args(["req", "-x509", "-nodes", "-days", "2"]);
        command.args([
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-subj",
            &format!("/CN={name}"),
        ]);
        command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    make("ca", &[]);
    for name in names {
        let of = format!("subjectAltName=DNS:{name}");
        make(
            name,
            &[
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-addext",
                &of,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ],
        );
    }
    folder
}

/// What a client hears who asks for this name: the handshake and the answer.
fn asked(port: u16, name: &str, path: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-ign_eof", "-connect", &format!("127.0.0.1:{port}"), "-servername", name]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

/// Does what the report says of files that HAProxy wants joined.
fn join(report: &evenkeel_convert::Report) {
    for finding in &report.findings {
        let Some((_, command)) = finding.detail.split_once("one file: ") else { continue };
        assert_eq!(finding.verdict, Verdict::Differs);
        let status = Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(status.success(), "{command}");
    }
}

fn server(folder: &Path, name: &str, port: u16) -> String {
    let at = folder.display();
    format!(
        "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {at}/{name}.pem; ssl_certificate_key {at}/{name}.key; \
         location / {{ return 200 \"from $ssl_server_name over TLS\"; }} }}\n"
    )
}

/// A proxy as nginx is told: two names, servers that prove who they are and one that cannot, TCP and UDP.
fn proxy(folder: &Path, servers: &[u16], ports: &[u16]) -> String {
    let at = folder.display();
    let (good, wrong, web, tcp, udp) = (servers[0], servers[1], ports[0], ports[1], ports[2]);
    format!(
        "events {{}}
        http {{
            proxy_ssl_verify on; proxy_ssl_trusted_certificate {at}/ca.pem; proxy_ssl_server_name on; proxy_ssl_name s.example;
            ssl_certificate {at}/a.example.pem; ssl_certificate_key {at}/a.example.key;
            upstream good {{ server 127.0.0.1:{good}; }}
            upstream wrong {{ server 127.0.0.1:{wrong}; }}
            server {{ listen 127.0.0.1:{web} ssl http2 default_server; server_name a.example;
                location / {{ proxy_pass https://good; }} location /wrong/ {{ proxy_pass https://wrong; }} }}
            server {{ listen 127.0.0.1:{web} ssl http2; server_name b.example;
                ssl_certificate {at}/b.example.pem; ssl_certificate_key {at}/b.example.key;
                location / {{ proxy_pass https://good; }} }}
        }}
        stream {{
            upstream plain {{ server 127.0.0.1:{good}; }}
            server {{ listen 127.0.0.1:{udp} udp; proxy_pass plain; }}
            server {{ listen 127.0.0.1:{tcp} ssl; ssl_certificate {at}/a.example.pem; ssl_certificate_key {at}/a.example.key; proxy_pass plain; }}
        }}"
    )
}

#[test]
fn what_is_written_of_tls_holds_in_handshakes() {
    let names = ["a.example", "b.example", "s.example", "wrong.example"];
    let (folder, ports) = (certificates(&names), free_ports(2));
    let servers =
        [server(&folder, "s.example", ports[0]), server(&folder, "wrong.example", ports[1])].concat();
    let backends = format!(
        "worker_processes 1; error_log stderr crit; events {{}}
         http {{ access_log off; {servers} }}"
    );
    let _backends = Program::start(Dialect::Nginx, "tls-backends", &backends, ports[1]);
    for to in [Dialect::Nginx, Dialect::Haproxy, Dialect::Envoy] {
        // Ports of its own: nobody else answers for it.
        let listen = free_ports(3);
        let web = listen[0];
        let source = proxy(&folder, &ports[..2], &listen);
        let setup = read(Dialect::Nginx, &source, "nginx.conf", &Options::default()).unwrap().setup;
        let written = write(to, &setup);
        join(&written.report);
        let path = folder.join(format!("{to}.conf"));
        std::fs::write(&path, &written.text).unwrap();
        program::check(to, &path);
        println!("{to}: accepted");
        // What was checked: without the block of streams, where nginx has no module for it.
        let text = std::fs::read_to_string(&path).unwrap();
        let _program = Program::start(to, &format!("tls-{to}"), &text, web);
        for (name, shown) in
            [("a.example", "a.example"), ("b.example", "b.example"), ("c.example", "a.example")]
        {
            let heard = asked(web, name, "/");
            assert!(heard.contains(&format!("subject=CN = {shown}")), "{to} {name}: {heard}");
            assert!(heard.contains("from s.example over TLS"), "{to} {name}: {heard}");
        }
        let heard = asked(web, "a.example", "/wrong/");
        assert!(heard.contains("HTTP/1.1 50"), "{to} sends nothing to who cannot prove the name: {heard}");
        println!("{to}: shows each name its certificate, and checks those of servers");
    }
}
