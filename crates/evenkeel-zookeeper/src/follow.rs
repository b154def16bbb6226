use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use evenkeel_registry::{Event, Feed, FeedError, TroubleKind};
use evenkeel_types::SplitMix64;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use zookeeper_client::{AddWatchMode, Client, Error, EventType, SessionState, WatchedEvent};

use crate::keep_time::keep_time;
use crate::link::{self, Trouble};
use crate::runtime::{self, Stop, Stopped};
use crate::{Ask, Before, Directory, EntryError, Touch, ZooKeeperConfig, ZooKeeperError};

/// Follows the entries below a path of ZooKeeper.
///
/// | what happens | what the feed is told |
/// |---|---|
/// | the first session, a new session, a connection again | everything is read: `Full`; a new session is a new incarnation |
/// | children come, go or change | `Delta`, after the nodes have been read again |
/// | a probe is answered and nothing changed | `Fresh` |
/// | the connection is lost, within two fifths of the session timeout | `Trouble`: the set stays, since nobody knows |
/// | the session expires | `Trouble`, then a new session |
/// | the path does not exist | a set that is known is held, as after an empty answer; else `Trouble`, and the source stays pending |
/// | an entry cannot be read | `Reject`, the others count |
/// | more children than allowed | `Trouble` (`TooLarge`), the set stays |
///
/// Deletions are [`Cause::Unknown`](evenkeel_registry::Cause::Unknown): an operator's, a goodbye and the end of a session
/// look the same.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ZooKeeper;

impl ZooKeeper {
    /// Starts the thread. It opens no connection before it returns: what fails later is told to the feed.
    ///
    /// # Errors
    ///
    /// [`ZooKeeperError`]: settings, or no thread.
    pub fn start(feed: Feed, config: ZooKeeperConfig) -> Result<ZooKeeperHandle, ZooKeeperError> {
        config.validate()?;
        let (stop, stopped) = Stop::new();
        let name = format!("zk {}", feed.service());
        let thread = runtime::start(name, move || Follower::new(feed, config, stopped).run())?;
        Ok(ZooKeeperHandle { stop, thread: Some(thread) })
    }
}

/// A follower that runs. Dropping it stops it too; the set stays and goes stale.
#[derive(Debug)]
pub struct ZooKeeperHandle {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl ZooKeeperHandle {
    /// Stops the thread and waits for it: a quarter of a second at most, whether the server answers or not.
    pub fn stop(self) {
        drop(self);
    }

    /// Whether the thread has ended by itself, because its source was detached.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for ZooKeeperHandle {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // A panic has shown itself on standard error, and the feed's end tells the registry.
            let _ = thread.join();
        }
    }
}

struct Follower {
    feed: Feed,
    /// Something was sent.
    news: Arc<Notify>,
    config: ZooKeeperConfig,
    stopped: Stopped,
    directory: Directory,
    draws: SplitMix64,
    failures: u32,
}

/// Why a session is over.
enum End {
    /// The adapter was stopped, or its source detached.
    Stop,
    /// A new session is needed.
    Lost(Trouble),
}

/// An answer of the server to something asked.
enum Heard {
    Counted(Result<Option<usize>, Trouble>),
    Listed(Result<Listing, Trouble>),
    Read(String, Result<Option<Result<Vec<u8>, EntryError>>, Trouble>),
}

enum Listing {
    Names(Vec<String>),
    NoNode,
    TooMany(usize),
}

type Answers = FuturesUnordered<Pin<Box<dyn Future<Output = Heard>>>>;

impl Follower {
    fn new(feed: Feed, config: ZooKeeperConfig, stopped: Stopped) -> Self {
        let directory = Directory::new(&config.path, config.entries.clone(), config.bounds.max_entries);
        let draws = SplitMix64::new(config.bounds.seed);
        Self { feed, news: Arc::default(), config, stopped, directory, draws, failures: 0 }
    }

    async fn run(self) {
        let (feed, news) = (self.feed.clone(), Arc::clone(&self.news));
        tokio::select! {
            biased;
            () = self.follow() => {}
            () = keep_time(&feed, &news) => {}
        }
    }

    async fn follow(mut self) {
        loop {
            let mut stopped = self.stopped.clone();
            let opened = tokio::select! {
                biased;
                () = stopped.wait() => return,
                opened = link::open(&self.config.servers, self.config.servers.session_timeout) => opened,
            };
            let end = match opened {
                Err(trouble) => End::Lost(trouble),
                Ok(client) => {
                    let end = self.session(&client).await;
                    link::close(client).await;
                    end
                }
            };
            self.directory.disconnected();
            let End::Lost(trouble) = end else { return };
            self.failures = self.failures.saturating_add(1);
            let delay = self.config.bounds.backoff.delay(self.failures, &mut self.draws);
            if self.trouble(trouble, Some(delay)).is_err() || self.sleep(delay).await.is_err() {
                return;
            }
        }
    }

    /// Lives one session.
    async fn session(&mut self, client: &Client) -> End {
        let mut stopped = self.stopped.clone();
        let path = self.config.path.clone();
        let timeout = self.config.servers.request_timeout;
        let watching = within("watch", timeout, client.watch(&path, AddWatchMode::PersistentRecursive));
        let watching = tokio::select! {
            biased;
            () = stopped.wait() => return End::Stop,
            watching = watching => watching,
        };
        let mut watcher = match watching {
            Ok(Ok(watcher)) => watcher,
            Ok(Err(Error::Unimplemented)) => {
                let text = "the server is older than 3.6 and knows no persistent recursive watches";
                return End::Lost(Trouble::new(TroubleKind::Server, text));
            }
            Ok(Err(error)) => return End::Lost(Trouble::of("watch", &error)),
            Err(trouble) => return End::Lost(trouble),
        };
        let session = client.session_id().0;
        let mut answers = Answers::new();
        let mut probes = interval(self.config.bounds.probe_every);
        let mut resyncs = self.config.bounds.resync_every.map(interval);
        let mut connected = true;
        let mut probing = false;
        self.directory.connected(session);
        loop {
            if let Err(end) = self.tell().await {
                return end;
            }
            while let Some(ask) = self.directory.next_ask(self.config.bounds.max_in_flight) {
                answers.push(self.ask(client, ask));
            }
            // Notifications come first: what a probe says is compared with what they said.
            tokio::select! {
                biased;
                () = stopped.wait() => return End::Stop,
                event = watcher.changed() => match event.event_type {
                    EventType::Session => match event.session_state {
                        SessionState::Disconnected => {
                            (connected, probing) = (false, false);
                            answers.clear();
                            self.directory.disconnected();
                            let text = "connection lost: the session may live on";
                            if self.trouble(Trouble::new(TroubleKind::Closed, text), None).is_err() {
                                return End::Stop;
                            }
                        }
                        SessionState::SyncConnected | SessionState::ConnectedReadOnly => {
                            connected = true;
                            answers.clear();
                            probing = false;
                            self.directory.connected(session);
                        }
                        ended => return End::Lost(session_end(ended)),
                    },
                    _ => self.note(&event),
                },
                Some(heard) = answers.next() => {
                    probing &= !matches!(heard, Heard::Counted(_));
                    if let Err(trouble) = self.hear(heard) {
                        return End::Lost(trouble);
                    }
                }
                _ = probes.tick(), if connected && !probing => {
                    probing = true;
                    answers.push(self.probe(client));
                }
                () = tick(&mut resyncs), if connected => self.directory.resync(),
            }
        }
    }

    fn note(&mut self, event: &WatchedEvent) {
        let touch = match event.event_type {
            EventType::NodeDeleted => Touch::Gone,
            _ => Touch::Changed,
        };
        self.directory.touched(&event.path, touch);
    }

    fn hear(&mut self, heard: Heard) -> Result<(), Trouble> {
        match heard {
            Heard::Counted(count) => self.directory.probed(count?),
            Heard::Read(name, data) => {
                let data = data?;
                let data = data.as_ref().map(|data| data.as_ref().map(Vec::as_slice).map_err(Clone::clone));
                self.directory.read(&name, data);
            }
            Heard::Listed(listing) => match listing? {
                Listing::Names(names) => self.directory.listed(names),
                Listing::NoNode => self.directory.missing(self.before()),
                Listing::TooMany(count) => self.directory.too_many(count),
            },
        }
        Ok(())
    }

    fn ask(&self, client: &Client, ask: Ask) -> Pin<Box<dyn Future<Output = Heard>>> {
        let timeout = self.config.servers.request_timeout;
        match ask {
            Ask::Read { name, path } => {
                let data = client.get_data(&path);
                Box::pin(async move {
                    let data = match within(&path, timeout, data).await {
                        Err(trouble) => Err(trouble),
                        Ok(Ok((data, _))) => Ok(Some(Ok(data))),
                        Ok(Err(Error::NoNode)) => Ok(None),
                        Ok(Err(Error::NoAuth)) => Ok(Some(Err(EntryError::Denied))),
                        Ok(Err(error)) => Err(Trouble::of(&path, &error)),
                    };
                    Heard::Read(name, data)
                })
            }
            Ask::List => {
                let (client, path) = (client.clone(), self.config.path.clone());
                let most = self.config.bounds.max_entries;
                Box::pin(async move { Heard::Listed(list(&client, &path, most, timeout).await) })
            }
        }
    }

    fn probe(&self, client: &Client) -> Pin<Box<dyn Future<Output = Heard>>> {
        let timeout = self.config.servers.request_timeout;
        let stat = client.check_stat(&self.config.path);
        Box::pin(async move {
            let stat = match within("probe", timeout, stat).await {
                Ok(Ok(stat)) => Ok(stat.map(|stat| count(stat.num_children))),
                Ok(Err(error)) => Err(Trouble::of("probe", &error)),
                Err(trouble) => Err(trouble),
            };
            Heard::Counted(stat)
        })
    }

    /// Says to the feed what there is to say.
    async fn tell(&mut self) -> Result<(), End> {
        while let Some(event) = self.directory.next_event() {
            let good = matches!(event, Event::Full { .. } | Event::Delta { .. } | Event::Fresh { .. });
            loop {
                // Kept for the case that the registry wants it later.
                match self.feed.send(event.clone()) {
                    Ok(_) => {
                        self.news.notify_one();
                        if good {
                            self.failures = 0;
                        }
                    }
                    Err(FeedError::Detached) => return Err(End::Stop),
                    Err(FeedError::TooFast { retry_at }) => {
                        let wait = retry_at.saturating_since(self.feed.now());
                        self.sleep(wait.max(Duration::from_millis(1))).await?;
                        continue;
                    }
                    // The position is lost: everything once more. (`Fresh` of a path that is not there needs nothing.)
                    Err(_) => self.directory.resync(),
                }
                break;
            }
        }
        Ok(())
    }

    fn trouble(&self, trouble: Trouble, again: Option<Duration>) -> Result<(), End> {
        let Trouble { kind, text } = trouble;
        let retry_at = again.map(|delay| self.feed.now().saturating_add(delay));
        match self.feed.send(Event::Trouble { kind, text, retry_at }) {
            Err(FeedError::Detached) => Err(End::Stop),
            _ => Ok(()),
        }
    }

    async fn sleep(&mut self, time: Duration) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.stopped.wait() => Err(End::Stop),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the time is not kept: only whether there is anybody is asked"
    )]
    fn before(&self) -> Before {
        if self.feed.save(SystemTime::now()).is_some() { Before::Somebody } else { Before::Nobody }
    }
}

/// Lists the children, unless there are too many to be named in one answer.
async fn list(client: &Client, path: &str, most: usize, timeout: Duration) -> Result<Listing, Trouble> {
    // A server may lag behind the one that was asked before.
    within("sync", timeout, client.sync(path)).await?.map_err(|error| Trouble::of("sync", &error))?;
    let stat = within(path, timeout, client.check_stat(path)).await?;
    match stat.map_err(|error| Trouble::of(path, &error))? {
        None => return Ok(Listing::NoNode),
        Some(stat) if count(stat.num_children) > most => {
            return Ok(Listing::TooMany(count(stat.num_children)));
        }
        Some(_) => {}
    }
    match within(path, timeout, client.list_children(path)).await? {
        Ok(names) => Ok(Listing::Names(names)),
        Err(Error::NoNode) => Ok(Listing::NoNode),
        Err(error) => Err(Trouble::of(path, &error)),
    }
}

async fn within<T>(what: &str, timeout: Duration, answer: impl Future<Output = T>) -> Result<T, Trouble> {
    tokio::time::timeout(timeout, answer).await.map_err(|_| Trouble::timeout(what, timeout))
}

fn count(children: i32) -> usize {
    usize::try_from(children).unwrap_or(0)
}

fn session_end(state: SessionState) -> Trouble {
    match state {
        SessionState::AuthFailed => Trouble::new(TroubleKind::Denied, "the server refuses the credentials"),
        state => Trouble::new(TroubleKind::Closed, format!("session over: {state}")),
    }
}

fn interval(every: Duration) -> tokio::time::Interval {
    // From now on, not at once; and not in a hurry after a pause. A year is never, and the clock can count it.
    let every = every.min(Duration::from_secs(365 * 86_400));
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => _ = interval.tick().await,
        None => std::future::pending().await,
    }
}
