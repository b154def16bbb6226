//! The prober's thread: sleeps until something is due, starts checks, takes in their ends, tells sinks.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_types::Timestamp;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::answer::Answer;
use crate::clock::Clock;
use crate::connect::Progress;
use crate::evidence::Mailbox;
use crate::lookup::Resolver;
use crate::probe::Prepared;
use crate::reason::Reason;
use crate::schedule::{Delivery, Schedule, Start};

/// What the thread and the prober's owner share.
pub(crate) struct Shared {
    pub(crate) schedule: Mutex<Schedule>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) stopping: AtomicBool,
    pub(crate) clock: Clock,
    pub(crate) sink_panics: AtomicU64,
    resolver: Resolver,
    #[cfg(all(feature = "command", unix))]
    starting: crate::command::Starting,
}

impl Shared {
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self {
            schedule: Mutex::new(schedule),
            mailbox: Arc::default(),
            stopping: AtomicBool::new(false),
            clock: Clock::start(),
            sink_panics: AtomicU64::new(0),
            resolver: Resolver::new(),
            #[cfg(all(feature = "command", unix))]
            starting: crate::command::Starting::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Has the thread look what is to be done.
    pub(crate) fn wake(&self) {
        self.mailbox.wake.notify_one();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Calls the sink, outside all locks. What it panics with has been printed by then.
    fn deliver(&self, (sink, report): Delivery) {
        #[cfg(feature = "tracing")]
        trace(&report);
        if catch_unwind(AssertUnwindSafe(|| sink.report(report))).is_err() {
            self.sink_panics.fetch_add(1, Ordering::Relaxed);
        }
        // The last owner of a sink may be this thread, and its drop is user code too.
        if catch_unwind(AssertUnwindSafe(|| drop(sink))).is_err() {
            self.sink_panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a program is being started that nobody may know of any more.
    fn is_starting(&self) -> bool {
        #[cfg(all(feature = "command", unix))]
        return !self.starting.starter.is_idle();
        #[cfg(not(all(feature = "command", unix)))]
        false
    }

    /// Reaps killed children; whether some are left.
    fn sweep(&self) -> bool {
        #[cfg(all(feature = "command", unix))]
        return self.starting.reaper.sweep();
        #[cfg(not(all(feature = "command", unix)))]
        false
    }
}

/// The life of the thread.
pub(crate) fn run(runtime: Runtime, shared: &Arc<Shared>) {
    runtime.block_on(async {
        serve(shared).await;
        wind_up(shared).await;
    });
    if shared.resolver.is_idle() && !shared.is_starting() {
        // Threads that wait for work end at once.
        runtime.shutdown_timeout(PATIENCE);
    } else {
        // Those that wait for a dead resolver or file system are left behind: they end when it answers.
        runtime.shutdown_background();
    }
}

async fn serve(shared: &Arc<Shared>) {
    while !shared.is_stopping() {
        let wait = step(shared);
        let children = shared.sweep();
        let wait = if children { wait.min(SWEEP) } else { wait };
        // A wake that came since the step was begun is not lost: `notified` returns at once.
        let _ = timeout(wait, shared.mailbox.wake.notified()).await;
    }
}

/// Does what is due. How long until the next thing is.
fn step(shared: &Arc<Shared>) -> Duration {
    let now = shared.now();
    {
        let mut schedule = shared.schedule.lock();
        schedule.convict(shared.mailbox.take(), now);
        schedule.turn(now);
    }
    loop {
        let start = shared.schedule.lock().start(now);
        let Some(start) = start else { break };
        tokio::spawn(check(Arc::clone(shared), start));
    }
    loop {
        let news = shared.schedule.lock().next_news(now);
        let Some(news) = news else { break };
        shared.deliver(news);
    }
    let deadline = shared.schedule.lock().next_deadline();
    shared.clock.until(deadline.unwrap_or(Timestamp::MAX))
}

/// Lets checks that were given up end, and reaps what they started.
async fn wind_up(shared: &Arc<Shared>) {
    let begun = shared.now();
    loop {
        let running = shared.schedule.lock().running();
        let is_starting = shared.is_starting();
        if running == 0 && !is_starting && !shared.sweep() {
            return;
        }
        if shared.now().saturating_since(begun) > PATIENCE {
            return;
        }
        if running > 0 {
            let _ = timeout(SWEEP, shared.mailbox.wake.notified()).await;
        } else {
            sleep(LAST_SWEEP).await;
        }
    }
}

async fn check(shared: Arc<Shared>, start: Start) {
    let begun = shared.now();
    let (ticket, prepared) = (start.ticket(), start.prepared);
    // Dropped here, and with it sockets and children, before the place is given to the next check.
    let answer = {
        let run = guarded(ask(&shared, &prepared));
        tokio::select! {
            biased;
            _ = start.cancelled => None,
            answer = run => Some(answer.unwrap_or_else(|| Answer::fail(Reason::Internal))),
        }
    };
    let now = shared.now();
    let latency = now.saturating_since(begun);
    let delivery = shared.schedule.lock().end(ticket, answer, latency, now);
    if let Some(delivery) = delivery.filter(|_| !shared.is_stopping()) {
        shared.deliver(delivery);
    }
    shared.wake();
}

async fn ask(shared: &Shared, prepared: &Prepared) -> Answer {
    prepared
        .run(
            &shared.resolver,
            &Progress::default(),
            #[cfg(all(feature = "command", unix))]
            &shared.starting,
        )
        .await
}

/// `None` if the future panics: a bug, in this crate or below, must not leave a place taken for ever.
async fn guarded<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => std::task::Poll::Ready(None),
    })
    .await
}

#[cfg(feature = "tracing")]
fn trace(report: &crate::sink::Report) {
    let reason = report.finding.as_ref().and_then(|finding| finding.reason.as_ref());
    let said = reason.map(ToString::to_string).unwrap_or_default();
    let kind = reason.map_or("", Reason::kind);
    match &report.change {
        Some(change) => tracing::warn!(
            target: "evenkeel_probe",
            id = report.id.as_str(), before = ?change.before, after = ?change.after, reason = kind, said,
            "verdict changed"
        ),
        None => tracing::debug!(
            target: "evenkeel_probe",
            id = report.id.as_str(), state = ?report.state, reason = kind, said,
            "checked"
        ),
    }
}

/// How often killed children that hang in the kernel are looked for.
const SWEEP: Duration = Duration::from_millis(50);
const LAST_SWEEP: Duration = Duration::from_millis(1);

/// How long a stop waits for killed children. They are gone within moments, unless they hang in the kernel.
const PATIENCE: Duration = Duration::from_secs(2);
