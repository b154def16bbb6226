use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evenkeel_adapter::{BaseUrl, Clock, Stop, Worker};
use evenkeel_registry::{Event, Feed, FeedError, TroubleKind};
use evenkeel_types::{RandomSource, SplitMix64, Timestamp};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::connect::{Dialer, Over};
use crate::stream::{self, Ended};
use crate::{Counts, End, Follow, Frames, Members, OverloadPolicy, Scope, XdsClient, XdsConfig, XdsError};

/// The adapter: mirrors what a control plane says into feeds, over one stream.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Xds;

/// A running adapter; stopped by [`stop`](Self::stop) or by dropping it, within a second, also if the control plane
/// hangs.
#[derive(Debug)]
pub struct XdsHandle {
    worker: Worker,
    shared: Arc<Shared>,
}

/// Where an adapter stands.
#[derive(Clone, Debug, PartialEq)]
pub struct XdsStatus {
    /// The server to which a stream is open, if there is one.
    pub server: Option<String>,
    /// What has happened so far.
    pub counts: Counts,
    /// The clusters that are known, and the EDS resource of each that has one.
    pub clusters: BTreeMap<String, Option<String>>,
    /// The assignments that are known.
    pub assignments: Vec<AssignmentStatus>,
}

/// The last good assignment of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct AssignmentStatus {
    /// The name.
    pub name: String,
    /// How many endpoints it has.
    pub endpoints: usize,
    /// What it wants besides.
    pub policy: OverloadPolicy,
}

/// A resource that is followed until this is dropped. It does not keep the stream: hold the handle besides.
#[derive(Debug)]
#[must_use = "dropped, it ends"]
pub struct Followed {
    shared: Arc<Shared>,
    follow: Follow,
    number: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    stopped: Notify,
    /// Something was sent.
    news: Notify,
}

#[derive(Debug)]
struct State {
    client: XdsClient,
    feeds: BTreeMap<Follow, Vec<(u64, Feed)>>,
    /// The number of the next feed.
    next: u64,
    server: Option<String>,
    over: bool,
}

/// Opens a feed for a cluster, if it is to be followed.
type Opener = Box<dyn FnMut(&str) -> Option<Feed> + Send>;

impl Xds {
    /// Starts the thread. The stream is opened when there is something to follow.
    ///
    /// # Errors
    ///
    /// [`XdsError`] with the field that cannot stand. That the control plane cannot be reached is no error here: the
    /// feeds tell.
    pub fn start(config: XdsConfig) -> Result<XdsHandle, XdsError> {
        start(config, Scope::Followed, Box::new(|_| None))
    }

    /// Starts the thread, and follows the clusters that the control plane has for this node: `open` is called once for
    /// each when it is first listed, on the adapter's thread, and gives the feed, or `None` to leave the cluster alone.
    /// A cluster that is deleted leaves its feed where it is, and may come back.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_all(
        config: XdsConfig,
        open: impl FnMut(&str) -> Option<Feed> + Send + 'static,
    ) -> Result<XdsHandle, XdsError> {
        start(config, Scope::All, Box::new(open))
    }
}

fn start(config: XdsConfig, scope: Scope, open: Opener) -> Result<XdsHandle, XdsError> {
    config.validate()?;
    let servers = config.connection.validate()?;
    let headers = config.connection.headers()?;
    let dialer = Dialer::new(&config)?;
    let client = XdsClient::new(&config, scope);
    let state = State { client, feeds: BTreeMap::new(), next: 0, server: None, over: false };
    let (changed, stopped, news) = (Notify::new(), Notify::new(), Notify::new());
    let shared = Arc::new(Shared { state: Mutex::new(state), changed, stopped, news });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| XdsError::Thread(error.to_string()))?;
    let first = SplitMix64::new(config.seed).next_u64() % u64::try_from(servers.len()).unwrap_or(1);
    let running = Running {
        shared: shared.clone(),
        clock: Clock::new(),
        dialer,
        servers,
        server: usize::try_from(first).unwrap_or(0),
        headers,
        config,
        open,
        accepted: false,
        wary: false,
    };
    let (of_thread, of_stop) = (shared.clone(), shared.clone());
    let run = move || {
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = of_thread.stopped.notified() => {}
                () = running.run() => {}
                () = keep_time(&of_thread) => {}
            }
        });
        let feeds = {
            let mut state = of_thread.state.lock();
            (state.over, state.server) = (true, None);
            std::mem::take(&mut state.feeds)
        };
        drop(feeds);
        // A name that is being looked up is not waited for.
        runtime.shutdown_background();
    };
    let worker = Worker::start("evenkeel-xds", Stop::new(), move || of_stop.stopped.notify_one(), run);
    Ok(XdsHandle { worker: worker.map_err(|error| XdsError::Thread(error.to_string()))?, shared })
}

impl XdsHandle {
    /// Mirrors a resource into a feed, from now on. Several feeds may follow the same. Detach the feed's source from
    /// the registry to end it.
    ///
    /// # Errors
    ///
    /// [`XdsError::NoName`], [`XdsError::Stopped`].
    pub fn follow(&self, follow: Follow, feed: Feed) -> Result<(), XdsError> {
        self.add(follow, feed).map(drop)
    }

    /// The same for as long as what it gives is held; then the set stays, and its source is
    /// [`AdapterGone`](evenkeel_registry::TroubleKind::AdapterGone).
    ///
    /// # Errors
    ///
    /// As [`follow`](Self::follow).
    pub fn follow_while(&self, follow: Follow, feed: Feed) -> Result<Followed, XdsError> {
        let number = self.add(follow.clone(), feed)?;
        Ok(Followed { shared: self.shared.clone(), follow, number })
    }

    fn add(&self, follow: Follow, feed: Feed) -> Result<u64, XdsError> {
        let (Follow::Endpoints(name) | Follow::Cluster(name)) = &follow;
        if name.is_empty() {
            return Err(XdsError::NoName);
        }
        let number = {
            let mut state = self.shared.state.lock();
            if state.over {
                return Err(XdsError::Stopped);
            }
            state.add(follow, feed)
        };
        self.shared.changed.notify_one();
        Ok(number)
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> XdsStatus {
        let state = self.shared.state.lock();
        let clusters = state.client.clusters().map(|cluster| {
            let service = match &cluster.members {
                Members::Eds(service) => Some(service.clone()),
                _ => None,
            };
            (cluster.name.clone(), service)
        });
        let assignments = state.client.assignments().map(|assignment| AssignmentStatus {
            name: assignment.name.clone(),
            endpoints: assignment.endpoints.len(),
            policy: assignment.policy.clone(),
        });
        XdsStatus {
            server: state.server.clone(),
            counts: state.client.counts().clone(),
            clusters: clusters.collect(),
            assignments: assignments.collect(),
        }
    }

    /// Stops the thread and waits for its end. The endpoints stay, as those of stale sources.
    pub fn stop(&self) {
        self.worker.stop();
    }

    /// Whether the thread runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.worker.is_running()
    }
}

impl State {
    fn add(&mut self, follow: Follow, feed: Feed) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.client.follow(&follow);
        self.feeds.entry(follow).or_default().push((number, feed));
        number
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let Self { shared, follow, number } = self;
        let mut state = shared.state.lock();
        let Some(feeds) = state.feeds.get_mut(follow) else { return };
        let at = feeds.iter().position(|(known, _)| known == number);
        let feed = at.map(|at| feeds.swap_remove(at));
        if feeds.is_empty() {
            state.feeds.remove(follow);
            state.client.unfollow(follow);
        }
        drop(state);
        shared.changed.notify_one();
        // Not under the lock: its end is told to readers, which is somebody else's code.
        drop(feed);
    }
}

struct Running {
    shared: Arc<Shared>,
    clock: Clock,
    dialer: Dialer,
    servers: Vec<BaseUrl>,
    server: usize,
    headers: Vec<(HeaderName, HeaderValue)>,
    config: XdsConfig,
    open: Opener,
    /// The server has accepted the call of this stream.
    accepted: bool,
    /// The last stream was accepted, and ended all the same: that the next one is accepted says nothing.
    wary: bool,
}

/// An open stream.
struct Session {
    server: BaseUrl,
    frames: Frames,
    alive_at: Timestamp,
}

impl Running {
    async fn run(mut self) {
        let mut open_at = self.clock.now();
        loop {
            self.idle(open_at).await;
            let server = self.servers[self.server % self.servers.len()].clone();
            let ended = match self.session(&server).await {
                Ok(never) => match never {},
                Err(ended) => ended,
            };
            self.wary = std::mem::take(&mut self.accepted) && ended.kind != TroubleKind::Timeout;
            let mut state = self.shared.state.lock();
            state.server = None;
            open_at = state.client.ended(self.clock.now(), ended.end, ended.kind, &ended.text);
            drop(state);
            if ended.calm {
                self.dialer.keepalive = self.dialer.keepalive.saturating_mul(2).min(MAX_KEEPALIVE);
            }
            if ended.end == End::Broken {
                self.server = self.server.wrapping_add(1);
            }
        }
    }

    /// Waits until a stream is to be opened.
    async fn idle(&mut self, open_at: Timestamp) {
        loop {
            self.deliver().await;
            let now = self.clock.now();
            let (wants, next) = {
                let mut state = self.shared.state.lock();
                state.client.tick(now);
                (state.client.wants_stream(), state.client.next_deadline())
            };
            if wants && now >= open_at {
                return;
            }
            let next = [wants.then_some(open_at), next].into_iter().flatten().min();
            let wait = next.map_or(LONG, |at| at.saturating_since(now)).min(LONG);
            tokio::select! {
                () = self.shared.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn session(&mut self, server: &BaseUrl) -> Result<std::convert::Infallible, Ended> {
        let (mut sender, mut over) = self.dialer.dial(server).await?;
        let connection = &self.config.connection;
        let (request, messages) =
            stream::call(server, self.config.variant, &self.headers, connection.token_file.as_deref())?;
        let response = sender.send_request(request);
        tokio::pin!(response);
        let now = self.clock.now();
        {
            let mut state = self.shared.state.lock();
            state.client.opened(now);
            state.server = Some(server.to_string());
        }
        let mut session = Session {
            server: server.clone(),
            frames: Frames::new(self.config.connection.max_answer_bytes),
            alive_at: now.saturating_add(self.behind()),
        };
        let mut body: Option<Incoming> = None;
        loop {
            self.deliver().await;
            let full = self.send(&messages);
            let mut wait = self.wait(&session, full);
            if wait.is_zero() {
                // Not left to the select, in which a busy stream always comes first.
                self.tick(&mut session);
                wait = self.wait(&session, full);
            }
            tokio::select! {
                biased;
                () = self.shared.changed.notified() => {}
                answer = &mut response, if body.is_none() => {
                    let answer = match answer {
                        Ok(answer) => answer,
                        Err(error) => return Err(why(server, &error, &mut over).await),
                    };
                    body = Some(stream::accepted(server, answer)?);
                    // It need not send again what it was told to be known: that it answers must do.
                    if !self.wary {
                        self.shared.state.lock().client.alive(self.clock.now(), Duration::ZERO);
                    }
                    self.accepted = true;
                }
                frame = next_frame(&mut body) => match frame {
                    None => {
                        let text = format!("{server}: the stream ended without a status");
                        return Err(Ended::new(End::Closed, TroubleKind::Closed, text));
                    }
                    Some(Err(error)) => return Err(why(server, &error, &mut over).await),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => self.hear(&mut session, &data).await?,
                        Err(frame) => {
                            if let Ok(trailers) = frame.into_trailers() {
                                return Err(stream::finished(server, &trailers));
                            }
                        }
                    },
                },
                room = messages.reserve(), if full => {
                    if room.is_err() {
                        let text = format!("{server}: the server reads no more");
                        return Err(Ended::new(End::Closed, TroubleKind::Closed, text));
                    }
                }
                () = tokio::time::sleep(wait) => self.tick(&mut session),
            }
        }
    }

    /// Hands over what there is to say; `true` if there is no room for more.
    fn send(&self, messages: &mpsc::Sender<Bytes>) -> bool {
        let now = self.clock.now();
        let mut state = self.shared.state.lock();
        loop {
            match messages.try_reserve() {
                Err(mpsc::error::TrySendError::Full(())) => return true,
                // The answer or the body says why.
                Err(mpsc::error::TrySendError::Closed(())) => return false,
                Ok(room) => match state.client.next_request(now) {
                    Some(message) => room.send(Frames::framed(&message)),
                    None => return false,
                },
            }
        }
    }

    async fn hear(&mut self, session: &mut Session, data: &[u8]) -> Result<(), Ended> {
        session.frames.push(data);
        let broken =
            |kind, text: String| Ended::new(End::Broken, kind, format!("{}: {text}", session.server));
        loop {
            let message = session.frames.next_message().map_err(|error| match error {
                crate::FrameError::TooLarge { .. } => broken(TroubleKind::TooLarge, error.to_string()),
                crate::FrameError::Compressed => broken(TroubleKind::Malformed, error.to_string()),
            })?;
            let Some(message) = message else { return Ok(()) };
            let heard = self.shared.state.lock().client.received(self.clock.now(), &message);
            heard.map_err(|error| broken(TroubleKind::Malformed, error.to_string()))?;
            // The next is not looked at before the feeds have taken this: the server waits, and memory is bounded.
            self.deliver().await;
        }
    }

    fn wait(&self, session: &Session, full: bool) -> Duration {
        let now = self.clock.now();
        let next = self.shared.state.lock().client.next_deadline();
        let next = next.map_or(session.alive_at, |at| at.min(session.alive_at));
        // What is due and cannot be sent is no reason to look again at once.
        let least = if full { Duration::from_millis(100) } else { Duration::ZERO };
        next.saturating_since(now).clamp(least, LONG)
    }

    fn tick(&self, session: &mut Session) {
        let now = self.clock.now();
        let mut state = self.shared.state.lock();
        state.client.tick(now);
        if now >= session.alive_at {
            // The connection would have been ended by now if a ping had not been answered.
            session.alive_at = now.saturating_add(self.dialer.keepalive);
            state.client.alive(now, self.behind());
            let state = &mut *state;
            state.feeds.retain(|follow, feeds| {
                feeds.retain(|(_, feed)| feed.is_attached());
                if feeds.is_empty() {
                    state.client.unfollow(follow);
                }
                !feeds.is_empty()
            });
        }
    }

    /// How long the server may be gone unnoticed.
    fn behind(&self) -> Duration {
        self.dialer.keepalive.saturating_add(self.dialer.keepalive_timeout)
    }

    /// Tells the feeds what there is to tell.
    async fn deliver(&mut self) {
        loop {
            let (listed, events) = {
                let mut state = self.shared.state.lock();
                (state.client.take_listed(), state.client.take_events())
            };
            if listed.is_empty() && events.is_empty() {
                return;
            }
            for name in listed {
                self.admit(name);
            }
            for (follow, event) in events {
                let feeds = self.shared.state.lock().feeds.get(&follow).cloned().unwrap_or_default();
                for (_, feed) in feeds {
                    self.tell(&feed, &event).await;
                }
            }
        }
    }

    fn admit(&mut self, name: String) {
        let follow = Follow::Cluster(name);
        let Follow::Cluster(name) = &follow else { return };
        if self.shared.state.lock().feeds.contains_key(&follow) {
            return;
        }
        // Not under the lock: it is somebody else's code.
        let Some(feed) = (self.open)(name) else { return };
        let mut state = self.shared.state.lock();
        let _ = state.add(follow, feed);
    }

    async fn tell(&self, feed: &Feed, event: &Event) {
        let event = on_axis(event, self.clock.now(), feed.now());
        while let Err(FeedError::TooFast { retry_at }) = feed.send(event.clone()) {
            let wait = retry_at.saturating_since(feed.now());
            tokio::time::sleep(wait.clamp(Duration::from_millis(1), LONG)).await;
        }
        self.shared.news.notify_one();
    }
}

/// Ticks the feeds when they are due, for ever: gathered changes and holds do not wait for the next word of the server.
async fn keep_time(shared: &Shared) {
    loop {
        let feeds: Vec<Feed> =
            shared.state.lock().feeds.values().flatten().map(|(_, feed)| feed.clone()).collect();
        let mut wait = LOOK;
        for feed in &feeds {
            let Some(next) = feed.next_deadline() else { continue };
            let now = feed.now();
            if now >= next {
                feed.tick();
            }
            wait = wait.min(next.saturating_since(now));
        }
        drop(feeds);
        // Many resources come at once: they are looked at together.
        tokio::time::sleep(GATHER).await;
        tokio::select! {
            () = shared.news.notified() => {}
            () = tokio::time::sleep(wait.saturating_sub(GATHER)) => {}
        }
    }
}

/// The clocks of feeds need not be ours: they are looked at again after this at the latest.
const LOOK: Duration = Duration::from_secs(1);
const GATHER: Duration = Duration::from_millis(10);

/// Why a call failed: as its connection says, if it says anything within a moment.
async fn why(server: &BaseUrl, error: &hyper::Error, over: &mut Over) -> Ended {
    match tokio::time::timeout(MOMENT, over).await {
        Ok(Ok(Some(told))) => Ended::of(server, &told),
        _ => Ended::of(server, error),
    }
}

async fn next_frame(body: &mut Option<Incoming>) -> Option<Result<hyper::body::Frame<Bytes>, hyper::Error>> {
    match body {
        Some(body) => stream::frame(body).await,
        None => std::future::pending().await,
    }
}

/// The event with its times on the feed's axis.
fn on_axis(event: &Event, ours: Timestamp, theirs: Timestamp) -> Event {
    let mut event = event.clone();
    if let Event::Trouble { retry_at: Some(at), .. } = &mut event {
        *at = theirs.saturating_add(at.saturating_since(ours));
    }
    event
}

/// A wait without a reason to end.
const LONG: Duration = Duration::from_secs(3600);

/// The connection and its stream end together, in two steps.
const MOMENT: Duration = Duration::from_millis(50);

/// What no server finds too often: gRPC for Go allows one ping in five minutes by default.
const MAX_KEEPALIVE: Duration = Duration::from_secs(600);
