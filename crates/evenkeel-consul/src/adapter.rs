use std::time::Duration;

use evenkeel_adapter::{BaseUrl, CallError, Client, Stop, Undelivered, Worker, deliver};
use evenkeel_registry::{Event, Feed};
use evenkeel_types::SplitMix64;

use crate::{ConsulConfig, ConsulError, Follower, Head, Pace};

/// The adapter: mirrors a service of Consul into a feed.
#[derive(Clone, Copy, Debug)]
pub struct Consul;

/// A running adapter; stopped by [`stop`](Self::stop) or by dropping it, within a second, also if Consul hangs.
#[derive(Debug)]
pub struct ConsulHandle {
    worker: Worker,
}

impl Consul {
    /// Starts to follow the service, on one thread.
    ///
    /// # Errors
    ///
    /// [`ConsulError`] with the field that cannot stand. That Consul cannot be reached is no error here: the feed tells.
    pub fn start(feed: Feed, config: ConsulConfig) -> Result<ConsulHandle, ConsulError> {
        config.validate()?;
        let (client, base) = config.connection.connect()?;
        let (stop, interrupt) = (Stop::new(), client.clone());
        let of_time = feed.clone();
        let running = Running {
            follower: Follower::new(&config),
            pace: Pace::new(config.burst, config.refill),
            draws: SplitMix64::new(config.seed),
            feed,
            client,
            base,
            config,
            stop: stop.clone(),
            failures: 0,
        };
        let worker = Worker::start_with(
            "evenkeel-consul",
            stop,
            &of_time,
            move || interrupt.stop(),
            move || running.run(),
        );
        Ok(ConsulHandle { worker: worker.map_err(|error| ConsulError::Thread(error.to_string()))? })
    }
}

impl ConsulHandle {
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
    config: ConsulConfig,
    feed: Feed,
    client: Client,
    base: BaseUrl,
    follower: Follower,
    pace: Pace,
    stop: Stop,
    draws: SplitMix64,
    /// In a row.
    failures: u32,
}

impl Running {
    fn run(mut self) {
        while !self.stop.is_set() && self.feed.is_attached() {
            let wait = self.pace.take(self.feed.now());
            if self.stop.wait(wait) {
                return;
            }
            match self.ask() {
                Ok(events) => {
                    self.failures = 0;
                    for event in events {
                        match deliver(&self.feed, &self.stop, &event) {
                            Ok(()) => {}
                            Err(Undelivered::Over) => return,
                            Err(Undelivered::NeedFull) => self.follower.resend(),
                        }
                    }
                }
                Err(error) => self.trouble(error),
            }
        }
    }

    fn ask(&mut self) -> Result<Vec<Event>, CallError> {
        let (call, waits) = self.follower.ask();
        // Consul adds up to a sixteenth to the wait, so that a fleet does not ask in step.
        let wait = self.config.wait.saturating_add(self.config.wait / 16);
        let wait = if waits { wait } else { Duration::ZERO };
        let answer = self.client.call(&self.base, &call, &self.config.connection.headers(), wait)?;
        if answer.status != 200 {
            let error = answer.trouble();
            return Err(CallError::new(error.kind, format!("{}: {}", self.base, error.text)));
        }
        let head = Head {
            index: answer.header("x-consul-index"),
            last_contact: answer.header("x-consul-lastcontact"),
            known_leader: answer.header("x-consul-knownleader"),
            filtered: answer.header("x-consul-results-filtered-by-acls"),
        };
        self.follower
            .answered(head, &answer.body)
            .map_err(|error| CallError::new(error.kind, format!("{}: {}", self.base, error.text)))
    }

    fn trouble(&mut self, mut error: CallError) {
        if self.stop.is_set() {
            return;
        }
        self.follower.restart();
        self.client.renew_after(&mut error);
        self.failures = self.failures.saturating_add(1);
        let wait = self.config.backoff.delay(self.failures, &mut self.draws);
        let retry_at = Some(self.feed.now().saturating_add(wait));
        for reject in self.follower.take_rejects() {
            let _ = self.feed.send(reject);
        }
        let _ = self.feed.send(Event::Trouble { kind: error.kind, text: error.text, retry_at });
        self.stop.wait(wait);
    }
}
