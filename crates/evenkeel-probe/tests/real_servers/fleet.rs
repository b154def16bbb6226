//! Ten thousand endpoints on one prober: what it costs, and what is left afterwards.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_health::{CheckConfig, CheckState};
use evenkeel_probe::{HttpProbe, Prober, ProberConfig, Report, Target, TcpProbe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{PATIENCE, Server};

const ENDPOINTS: u32 = 10_000;

/// Every address of 127.0.0.0/8 is this machine, so one listener on `0.0.0.0` is ten thousand servers.
fn server() -> (Server, u16) {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::with(move |_| async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            tokio::spawn(async move {
                let mut held = [0; 1_024];
                while stream.read(&mut held).await.is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            });
        }
    });
    (server, port)
}

/// Processor time of the prober's thread.
fn spent() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    for task in tasks {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim() == "evenkeel-probe" {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            // User and system time, in hundredths of a second on every Linux.
            let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
            return Duration::from_millis(ticks * 10);
        }
    }
    Duration::ZERO
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn ten_thousand_endpoints_on_one_prober() {
    for (kind, probe) in [
        ("TCP", TcpProbe { timeout: Duration::from_secs(5), ..TcpProbe::default() }.into()),
        ("HTTP", HttpProbe { timeout: Duration::from_secs(5), ..HttpProbe::path("/health") }.into()),
    ] {
        let (server, port) = server();
        crate::support::passes(SocketAddr::from(([127, 0, 0, 1], port)), TcpProbe::default());
        let (sockets, workers) = (descriptors(), threads());
        let prober = Prober::start(ProberConfig::default()).unwrap();
        let up = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let interval = Duration::from_secs(5);
        for number in 0..ENDPOINTS {
            let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + number);
            let mut target: Target = Target::new(
                format!("e{number}").parse().unwrap(),
                SocketAddr::from((ip, port)).into(),
                TcpProbe::default(),
            );
            target.probe = evenkeel_probe::ProbeConfig::clone(&probe);
            target.check = CheckConfig { interval, ..CheckConfig::default() };
            let up = Arc::clone(&up);
            let count = move |report: Report| {
                assert_eq!(report.state, CheckState::Up, "{:?}", report.finding);
                up.fetch_add(1, Ordering::SeqCst);
            };
            prober.add(target, count).unwrap();
        }
        let added = begun.elapsed();

        let (done, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let watcher = {
            let (done, peak) = (Arc::clone(&done), Arc::clone(&peak));
            thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    peak.fetch_max(descriptors(), Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(5));
                }
            })
        };
        while up.load(Ordering::SeqCst) < ENDPOINTS as usize {
            assert!(begun.elapsed() < PATIENCE * 4, "{:?}", prober.report());
            thread::sleep(Duration::from_millis(10));
        }
        let first = begun.elapsed();
        let (before, checks) = (spent(), prober.report().counts.passed);
        let since = Instant::now();
        thread::sleep(interval * 2);
        let (span, used) = (since.elapsed(), spent() - before);
        let report = prober.report();
        let checks = report.counts.passed - checks;
        done.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
        assert_eq!(
            (report.counts.failed, report.counts.inconclusive, report.sink_panics),
            (0, 0, 0),
            "{report:?}"
        );
        assert!(report.peak_in_flight <= 256);

        let stopping = Instant::now();
        prober.stop();
        let stopped = stopping.elapsed();
        assert_eq!(threads(), workers);
        let noticed = Instant::now();
        while descriptors() > sockets {
            assert!(noticed.elapsed() < PATIENCE, "{} descriptors, {sockets} before", descriptors());
            thread::yield_now();
        }
        println!(
            "{kind}: {ENDPOINTS} endpoints every {interval:?}: added in {added:.0?}, all up after {first:.1?}; then \
             {:.0} checks/s at {:.1} % of one core ({:.0} us each), {} left out; at most {} checks in flight and {} \
             descriptors of this process, both sides ({sockets} before); stopped in {stopped:.1?}",
            checks as f64 / span.as_secs_f64(),
            100.0 * used.as_secs_f64() / span.as_secs_f64(),
            used.as_secs_f64() * 1e6 / checks as f64,
            report.counts.skipped,
            report.peak_in_flight,
            peak.load(Ordering::SeqCst),
        );
        drop(server);
    }
}
