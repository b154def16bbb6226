//! What a prober leaves behind: nothing. One test, so that no other opens anything meanwhile.

#![cfg(all(feature = "command", feature = "http", target_os = "linux"))]
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests against real sockets and processes, which take real time"
)]

mod support;

use std::time::Duration;

use evenkeel_probe::{CommandProbe, HttpProbe, Prober, ProberConfig, TcpProbe};
use support::{PATIENCE, Server, next, target, watch};

#[test]
fn no_socket_no_child_and_no_thread_is_left() {
    let silent = Server::new(|mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    // What the server itself opens, it has opened then.
    support::passes(silent.address, TcpProbe::default());
    let before = (descriptors(), threads());
    for dropped in [false, true] {
        let prober = Prober::start(ProberConfig { max_commands: 64, ..ProberConfig::default() }).unwrap();
        let long = Duration::from_secs(600);
        for number in 0..50 {
            let id = |kind| format!("{kind}-{number}");
            let hanging = HttpProbe { timeout: long, ..HttpProbe::default() };
            let _reports = watch(&prober, target(&id("http"), silent.address, hanging));
            let kept = TcpProbe { timeout: long, expect: Some("x".into()), ..TcpProbe::default() };
            let _reports = watch(&prober, target(&id("tcp"), silent.address, kept));
            let script = "sleep 1000 & sleep 1000";
            let command = CommandProbe { timeout: long, ..CommandProbe::new("/bin/sh", ["-c", script]) };
            let _reports = watch(&prober, target(&id("command"), silent.address, command));
        }
        let reports = watch(&prober, target("quick", silent.address, TcpProbe::default()));
        while prober.report().in_flight < 150 || children() < 50 || descriptors() < before.0 + 150 {
            next(&reports);
        }
        if dropped {
            drop(prober);
        } else {
            prober.stop();
        }
        let stopped = std::time::Instant::now();
        assert_eq!(children(), 0);
        // The server, in this process too, notices on its own thread.
        while descriptors() > before.0 {
            assert!(stopped.elapsed() < PATIENCE, "{} descriptors, {} before", descriptors(), before.0);
            std::thread::yield_now();
        }
        assert_eq!(threads(), before.1);
    }
    drop(silent);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Those of every thread of this process, zombies too.
fn children() -> usize {
    let me = std::process::id().to_string();
    let is_mine = |stat: String| {
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(&me)
    };
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| is_mine(stat.clone()))
        .count()
}
