//! How do I check endpoints, and keep requests away from those that fail?
//!
//! A prober asks each endpoint for its health page and tells the cluster what it knows. Here one of three servers says
//! after a while that it is not well, and later that it is again.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use evenkeel::{Address, Cluster, Endpoint, Request};
use evenkeel_probe::{HttpProbe, Prober, ProberConfig, Report, Target};

/// A server of two lines: it answers 200 while it is well, else 503.
fn serve(well: Arc<AtomicBool>) -> Result<Address, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
            let _ = stream.read(&mut [0; 1_024]);
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        }
    });
    Ok(address.into())
}

/// Prints changes until so many endpoints are usable.
fn wait_for(usable: usize, cluster: &Cluster<()>, changes: &Receiver<Report>) -> Result<(), Box<dyn Error>> {
    while cluster.report().endpoints.iter().filter(|endpoint| endpoint.status.usable()).count() != usable {
        let report = changes.recv_timeout(Duration::from_secs(10))?;
        let reason = report.finding.and_then(|finding| finding.reason);
        println!(
            "{} is {:?}{}",
            report.id,
            report.state,
            reason.map_or(String::new(), |why| format!(": {why}"))
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("users").build()?;
    let moody = Arc::new(AtomicBool::new(true));
    for number in 1..=3 {
        let well = if number == 1 { Arc::clone(&moody) } else { Arc::new(AtomicBool::new(true)) };
        cluster.upsert(Endpoint::new(format!("users-{number}").parse()?, serve(well)?))?;
    }

    let prober = Prober::start(ProberConfig::default())?;
    let (tell, changes) = mpsc::channel();
    for endpoint in cluster.endpoints() {
        let mut target = Target::new(endpoint.id(), endpoint.address(), HttpProbe::path("/health"));
        target.check.interval = Duration::from_millis(100);
        let tell = tell.clone();
        // The handle names this very process behind the id: what a late check says never reaches its successor.
        prober.add(target, move |report: Report| {
            endpoint.set_check(report.state);
            let _ = tell.send(report);
        })?;
    }
    for _ in 0..3 {
        let report = changes.recv_timeout(Duration::from_secs(10))?;
        println!("{} is {:?}", report.id, report.state);
    }

    println!("\nusers-1 answers 503 from now on");
    moody.store(false, Ordering::SeqCst);
    wait_for(2, &cluster, &changes)?;
    for _ in 0..100 {
        assert_ne!(cluster.pick(&Request::new())?.endpoint().id().as_str(), "users-1");
    }
    println!("100 requests: none of them to users-1");

    println!("\nusers-1 is well again");
    moody.store(true, Ordering::SeqCst);
    wait_for(3, &cluster, &changes)?;

    for target in prober.targets() {
        println!("{}: {} checks passed, {} failed", target.id, target.counts.passed, target.counts.failed);
    }
    prober.stop();
    Ok(())
}
