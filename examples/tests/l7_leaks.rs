//! Nothing is left over: sockets, tasks and memory are what they were, whatever clients and upstreams did.
//!
//! Alone in its program, since it counts what belongs to all of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use evenkeel_config::{Loaded, Syntax};
use evenkeel_examples::l7::Proxy;

fn sockets() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Connections of this process, at either end, as the system has them.
fn connections() -> usize {
    let links =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let own: Vec<String> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    // State 0A listens.
    rows.filter(|row| row[3] != "0A" && own.iter().any(|inode| inode == row[9])).count()
}

fn memory_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// An upstream that answers, breaks off, or closes, by what the path says.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(read) = stream.read(&mut part)
                    && read > 0
                {
                    let head = String::from_utf8_lossy(&part[..read]);
                    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    let (text, goes_on) = match head.split(' ').nth(1) {
                        Some("/half") => ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", false),
                        Some("/none") => ("", false),
                        Some("/garbage") => ("garbage\r\n\r\n", false),
                        _ => (whole, true),
                    };
                    if stream.write_all(text.as_bytes()).is_err() || !goes_on {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn round(address: SocketAddr, requests: usize) {
    for i in 0..requests {
        let path = ["/", "/half", "/none", "/garbage", "/"][i % 5];
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        if i % 3 > 0 {
            let _ = stream.read(&mut [0; 1000]);
        }
        // The others leave before the answer, or in the middle of a head.
        if i % 7 == 0 {
            let _ = stream.write_all(b"GET / HT");
        }
    }
}

#[test]
fn nothing_is_left_over() {
    let text = format!(
        "[program]\nworkers = 2\npool = {{ idle = 4, idle_time = \"1s\" }}\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[http.routes]]\nname = \"all\"\naction = {{ cluster = \"all\" }}\nretry = {{ attempts = 2 }}\n\
         [[clusters]]\nname = \"all\"\nendpoints = [{{ id = \"one\", address = \"{}\" }}]\n",
        upstream()
    );
    // What tokio opens once for the whole program, for signals, is not the proxy's.
    drop(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let before_all = sockets();
    let proxy = Proxy::start(&Loaded::parse(&text, Syntax::Toml).unwrap()).unwrap();
    let address = proxy.address("web").unwrap();
    round(address, 500);
    let settle = || {
        for _ in 0..3000 {
            if connections() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} connections are left", connections());
    };
    // Now every worker has its runtime.
    settle();
    let (memory, handles) = (memory_kib(), sockets());
    round(address, 3000);
    settle();
    let more = memory_kib().saturating_sub(memory);
    assert!(more < 4096, "{more} KiB more after 3,000 requests: more than 1.3 KiB each");
    assert_eq!(sockets(), handles);
    let in_flight: usize =
        proxy.running().cluster("all").unwrap().report().endpoints.iter().map(|one| one.in_flight).sum();
    assert_eq!(in_flight, 0);
    assert_eq!(proxy.counts().map(|counts| counts.clients.get()).sum::<u64>(), 0);
    assert_eq!(proxy.drain(), 0);
    for _ in 0..1000 {
        if sockets() <= before_all {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} handles, {before_all} before it started", sockets());
}
