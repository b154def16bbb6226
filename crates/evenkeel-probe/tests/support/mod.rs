//! Servers on loopback that misbehave on purpose, and one check against them.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use evenkeel_health::{CheckConfig, CheckResult};
use evenkeel_probe::{Notify, ProbeConfig, Prober, ProberConfig, Reason, Report, Target};
use evenkeel_types::Address;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A server on loopback that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Runs `handle` for each connection, on one thread.
    pub(crate) fn new<F, H>(handle: H) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        H: Fn(TcpStream) -> F + Send + 'static,
    {
        Self::with(|listener| async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(handle(stream));
            }
        })
    }

    /// Runs `serve` with the listener.
    pub(crate) fn with<F: Future<Output = ()>, S: FnOnce(TcpListener) -> F + Send + 'static>(
        serve: S,
    ) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! { _ = stopped => {}, () = serve(listener) => {} }
            });
        });
        Self { address, _stop: stop }
    }
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Checks often, so that no test waits long for the first turn.
pub(crate) fn often() -> CheckConfig {
    CheckConfig { interval: Duration::from_millis(10), ..CheckConfig::default() }
}

pub(crate) fn target(id: &str, address: impl Into<Address>, probe: impl Into<ProbeConfig>) -> Target {
    Target { check: often(), ..Target::new(id.parse().unwrap(), address.into(), probe) }
}

/// Adds a target whose every result comes out of the receiver.
pub(crate) fn watch(prober: &Prober, mut target: Target) -> Receiver<Report> {
    let (tell, told) = mpsc::channel();
    target.notify = Notify::Results;
    prober.add(target, move |report: Report| drop(tell.send(report))).unwrap();
    told
}

/// The next report that a check led to.
pub(crate) fn next(reports: &Receiver<Report>) -> Report {
    loop {
        match reports.recv_timeout(PATIENCE) {
            Ok(report) if report.finding.is_some() => return report,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => panic!("the prober stalls"),
            Err(RecvTimeoutError::Disconnected) => panic!("the prober is gone"),
        }
    }
}

/// What the first check of a prober of its own finds.
pub(crate) fn find(
    address: impl Into<Address>,
    probe: impl Into<ProbeConfig>,
) -> (Option<CheckResult>, Option<Reason>) {
    let prober = Prober::start(ProberConfig::default()).unwrap();
    let reports = watch(&prober, target("it", address, probe));
    let finding = next(&reports).finding.unwrap();
    (finding.result, finding.reason)
}

pub(crate) fn passes(address: impl Into<Address>, probe: impl Into<ProbeConfig>) {
    assert_eq!(find(address, probe), (Some(CheckResult::Pass), None));
}

/// Counts towards `fall`, for this kind of reason.
pub(crate) fn fails(address: impl Into<Address>, probe: impl Into<ProbeConfig>, kind: &str) -> Reason {
    let (result, reason) = find(address, probe);
    let reason = reason.expect("a failure has a reason");
    assert_eq!((result, reason.kind()), (Some(CheckResult::Fail), kind), "{reason}");
    reason
}

/// Fails at once, for this kind of reason.
pub(crate) fn fails_at_once(
    address: impl Into<Address>,
    probe: impl Into<ProbeConfig>,
    kind: &str,
) -> Reason {
    let (result, reason) = find(address, probe);
    let reason = reason.expect("a failure has a reason");
    assert_eq!((result, reason.kind()), (Some(CheckResult::FailAtOnce), kind), "{reason}");
    reason
}

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// For checks that have to run into their time limit.
pub(crate) const SOON: Duration = Duration::from_millis(150);

/// For checks that must not, on a busy machine.
pub(crate) const LATE: Duration = Duration::from_secs(20);
