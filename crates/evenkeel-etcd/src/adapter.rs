use std::time::Duration;

use evenkeel_adapter::{CallError, Lines, Stop, Undelivered, Worker, deliver};
use evenkeel_registry::{Event, Feed, TroubleKind};
use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

use crate::follower::{Ask, Follower, Probe, Seen};
use crate::session::{Refused, Session};
use crate::{EtcdConfig, EtcdError, FollowError, request};

/// The adapter: mirrors a prefix of etcd into a feed.
#[derive(Clone, Copy, Debug)]
pub struct Etcd;

/// A running adapter; stopped by [`stop`](Self::stop) or by dropping it, within a second, also if etcd hangs.
#[derive(Debug)]
pub struct EtcdHandle {
    worker: Worker,
}

impl Etcd {
    /// Starts to follow the prefix, on one thread.
    ///
    /// # Errors
    ///
    /// [`EtcdError`] with the field that cannot stand. That etcd cannot be reached is no error here: the feed tells.
    pub fn start(feed: Feed, config: EtcdConfig) -> Result<EtcdHandle, EtcdError> {
        config.validate()?;
        let session = Session::new(&config.connection, config.seed)?;
        let (client, stop) = (session.client(), Stop::new());
        let of_time = feed.clone();
        let running = Running {
            follower: Follower::new((&config).into()),
            draws: SplitMix64::new(config.seed),
            feed,
            config,
            session,
            stop: stop.clone(),
            failures: 0,
        };
        let worker =
            Worker::start_with("evenkeel-etcd", stop, &of_time, move || client.stop(), move || running.run());
        Ok(EtcdHandle { worker: worker.map_err(|error| EtcdError::Thread(error.to_string()))? })
    }
}

impl EtcdHandle {
    /// Stops the thread and waits for its end. The endpoints stay, as those of a stale source.
    pub fn stop(&self) {
        self.worker.stop();
    }

    /// Whether the thread runs; it ends by itself only when the source is detached from the registry.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.worker.is_running()
    }
}

struct Running {
    config: EtcdConfig,
    feed: Feed,
    session: Session,
    follower: Follower,
    stop: Stop,
    draws: SplitMix64,
    /// In a row.
    failures: u32,
}

/// Why a round has ended.
enum End {
    /// Nobody listens any more.
    Over,
    /// List again, all is well.
    Relist,
    /// Something went wrong.
    Trouble(CallError),
}

impl Running {
    fn run(mut self) {
        while !self.stop.is_set() {
            let start = self.feed.now();
            let end = self.round();
            self.follower.relist();
            match end {
                Err(End::Over) => return,
                // A store that is compacted all the time is not to be asked without a pause.
                Ok(()) | Err(End::Relist) => {
                    if self.feed.now() < start.saturating_add(self.config.backoff.min) {
                        self.stop.wait(self.config.backoff.min);
                    }
                }
                Err(End::Trouble(error)) => self.trouble(error),
            }
        }
    }

    /// Tells, goes to the next member, and waits if all have failed.
    fn trouble(&mut self, error: CallError) {
        if self.stop.is_set() {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.session.next_member();
        let members = u32::try_from(self.session.members()).unwrap_or(u32::MAX);
        let all = self.failures.is_multiple_of(members);
        let wait = match all {
            true => self.config.backoff.delay(self.failures / members, &mut self.draws),
            false => Duration::ZERO,
        };
        let retry_at = Some(self.feed.now().saturating_add(wait));
        let _ = self.feed.send(Event::Trouble { kind: error.kind, text: error.text, retry_at });
        self.stop.wait(wait);
    }

    /// A list, and the watch after it for as long as it goes well.
    fn round(&mut self) -> Result<(), End> {
        let call = loop {
            match self.follower.ask() {
                Ask::Watch(call) => break call,
                Ask::List(call) => {
                    let page = self.session.call(&call)?;
                    for event in self.follower.listed(&page)? {
                        deliver(&self.feed, &self.stop, &event)?;
                    }
                }
            }
        };
        let mut lines = self.session.open(&call, self.config.keepalive)?;
        self.watch(&mut lines)
    }

    fn watch(&mut self, lines: &mut Lines) -> Result<(), End> {
        let spread = self.config.relist_every / 10;
        let cut = spread.mul_f64(fraction(self.draws.next_u64()));
        let relist_at = self.feed.now().saturating_add(self.config.relist_every.saturating_sub(cut));
        let mut probe_at = self.feed.now().saturating_add(self.config.keepalive);
        let mut differs = false;
        while self.feed.now() < relist_at {
            match lines.read()? {
                None => {
                    differs = self.probe(differs)?;
                    probe_at = self.next_probe();
                }
                Some(line) => {
                    let line = line.to_vec();
                    self.line(&line, lines)?;
                    differs = false;
                    // A busy watch shows that its own connection lives; whether its member still has a quorum, it does not.
                    if self.feed.now() >= probe_at {
                        self.probe(false)?;
                        probe_at = self.next_probe();
                    }
                }
            }
            if !self.feed.is_attached() {
                return Err(End::Over);
            }
        }
        Ok(())
    }

    /// The watch has lived for a while, and its member answers: only that is a success. One that is ended as soon as it
    /// stands must not be opened again without a pause.
    fn next_probe(&mut self) -> Timestamp {
        self.failures = 0;
        self.feed.now().saturating_add(self.config.keepalive)
    }

    /// This line and all that came with it.
    fn line(&mut self, first: &[u8], lines: &mut Lines) -> Result<(), End> {
        let mut seen = self.take(first);
        while seen.is_ok() {
            let Some(line) = lines.ready() else { break };
            let line = line.to_vec();
            seen = self.take(&line);
        }
        for event in self.follower.take_events() {
            deliver(&self.feed, &self.stop, &event)?;
        }
        seen
    }

    fn take(&mut self, line: &[u8]) -> Result<(), End> {
        match self.follower.watched(line)? {
            Seen::Changes => Ok(()),
            Seen::Created | Seen::Progress => Ok(deliver(&self.feed, &self.stop, &Event::fresh())?),
            Seen::Compacted => Err(End::Relist),
            Seen::Canceled(reason) => {
                let text = format!("etcd ended the watch: {reason}");
                Err(End::Trouble(CallError::new(TroubleKind::Closed, text)))
            }
        }
    }

    /// Asks whether etcd is there, and has as many keys as we know. Says whether it has not: twice in a row, with nothing
    /// heard in between, is a watch that hangs.
    fn probe(&mut self, differed: bool) -> Result<bool, End> {
        let answer = self.session.call(&request::count(&self.config.prefix))?;
        match self.follower.probed(&answer)? {
            Probe::Agrees => {
                deliver(&self.feed, &self.stop, &Event::fresh())?;
                Ok(false)
            }
            Probe::Differs if differed => {
                let text = "the watch is silent, and the store has changed".to_owned();
                Err(End::Trouble(CallError::new(TroubleKind::Gap, text)))
            }
            Probe::Differs => Ok(true),
            Probe::OtherLife => Err(End::Relist),
        }
    }
}

/// A draw as a number from 0 to 1.
fn fraction(draw: u64) -> f64 {
    f64::from(u32::try_from(draw >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

impl From<Undelivered> for End {
    fn from(undelivered: Undelivered) -> Self {
        match undelivered {
            Undelivered::NeedFull => Self::Relist,
            Undelivered::Over => Self::Over,
        }
    }
}

impl From<CallError> for End {
    fn from(error: CallError) -> Self {
        Self::Trouble(error)
    }
}

impl From<FollowError> for End {
    fn from(error: FollowError) -> Self {
        Self::Trouble(CallError::new(error.kind, format!("etcd: {}", error.text)))
    }
}

impl From<Refused> for End {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Compacted => Self::Relist,
            other => Self::Trouble(other.into()),
        }
    }
}
