use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use evenkeel_registry::{
    Action, Answer, LeaseToken, Order, Owner, Registrar, RegistrarError, RegistrarState, Ticket, TroubleKind,
};
use evenkeel_types::{Endpoint, EndpointId, Timestamp};
use parking_lot::{Condvar, Mutex};
use thiserror::Error;
use tokio::sync::mpsc;
use zookeeper_client::{Acls, AuthId, Client, CreateMode, Error as ZkError, Permission, SessionState, Stat};

use crate::link::{self, Trouble};
use crate::runtime::{self, Stop, Stopped};
use crate::{Acl, InvalidZooKeeperConfig, Reading, Writing, ZooKeeperError, ZooKeeperRegistrarConfig, whose};

/// Keeps one endpoint in ZooKeeper, as an ephemeral node, by the machine [`Registrar`].
///
/// | order of the machine | what is done |
/// |---|---|
/// | grant | a new session, of the time to live as its timeout; the server may grant another |
/// | write | the node is created, with those above it; if it is ours already, its data are set |
/// | renew | the node is looked at: still there and ours. Lost connections are no lost leases; the end of the session and the loss of the node are |
/// | delete the older session's | the node is deleted, if its session is an earlier one of this process or it says our address |
/// | remove | the node is deleted if it is ours, and the session is closed |
///
/// What is written is always what the endpoint is now, drained or not; the data of an earlier session are never brought
/// back (apache/curator#702).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ZooKeeperRegistrar;

impl ZooKeeperRegistrar {
    /// Starts the thread, which waits until the endpoint is [`ready`](RegistrarHandle::ready).
    ///
    /// # Errors
    ///
    /// [`ZooKeeperError`]: settings, an endpoint that the format cannot hold, or no thread.
    pub fn start(
        endpoint: Endpoint,
        config: ZooKeeperRegistrarConfig,
    ) -> Result<RegistrarHandle, ZooKeeperError> {
        config.validate()?;
        let store = Store::new(config, wall_ms());
        store.check(&endpoint)?;
        let id = endpoint.id().clone();
        let name = format!("zk registrar {id}");
        let machine = Registrar::new(endpoint, store.config.registrar.clone(), store.config.seed)
            .map_err(InvalidZooKeeperConfig::from)?;
        let shared = Arc::new(Shared::default());
        let store = Arc::new(store);
        let (orders, wishes) = mpsc::unbounded_channel();
        let (stop, stopped) = Stop::new();
        let keeper = Keeper {
            machine,
            store: store.clone(),
            shared: shared.clone(),
            session: None,
            earlier: BTreeSet::new(),
            start: origin(),
        };
        let thread = runtime::start(name, move || keeper.run(wishes, stopped))?;
        Ok(RegistrarHandle { id, store, shared, wishes: orders, stop, thread: Some(thread) })
    }
}

/// A registrar that runs. Dropping it takes the entry away without a drain, as far as the server answers at once;
/// [`leave`](Self::leave) first is better.
#[derive(Debug)]
pub struct RegistrarHandle {
    id: EndpointId,
    store: Arc<Store>,
    shared: Arc<Shared>,
    wishes: mpsc::UnboundedSender<Wish>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

/// Where a registrar stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistrarStatus {
    /// The state of the machine.
    pub state: RegistrarState,
    /// Why it does not get on, if it does not.
    pub error: Option<RegistrarError>,
    /// The session, if one is held, as the server's log has it.
    pub session: Option<String>,
}

/// The entry was not removed in time. The registrar goes on trying until its handle is dropped; at last the session runs
/// out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("still {:?} after {waited:?}", status.state)]
pub struct StillThere {
    /// Where it stands.
    pub status: RegistrarStatus,
    /// How long was waited.
    pub waited: Duration,
}

impl RegistrarHandle {
    /// Whether the process can serve: registers, or drains and takes the entry away.
    pub fn ready(&self, ready: bool) {
        self.wish(Wish::Ready(ready));
    }

    /// Describes the endpoint anew.
    ///
    /// # Errors
    ///
    /// [`ZooKeeperError::OtherId`], and [`Endpoint`](ZooKeeperError::Endpoint) or [`Entry`](ZooKeeperError::Entry) if the
    /// format cannot hold it.
    pub fn update(&self, endpoint: Endpoint) -> Result<(), ZooKeeperError> {
        if *endpoint.id() != self.id {
            return Err(ZooKeeperError::OtherId { id: self.id.clone(), given: endpoint.id().clone() });
        }
        self.store.check(&endpoint)?;
        self.wish(Wish::Update(Box::new(endpoint)));
        Ok(())
    }

    /// Announces the drain, waits until readers know, and takes the entry away. There is no way back.
    pub fn drain(&self) {
        self.wish(Wish::Drain);
    }

    /// [`drain`](Self::drain), and waits for the end of it.
    ///
    /// # Errors
    ///
    /// [`StillThere`] after `timeout`.
    pub fn leave(&self, timeout: Duration) -> Result<(), StillThere> {
        self.drain();
        let mut status = self.shared.status.lock();
        let gone = |status: &mut RegistrarStatus| status.state != RegistrarState::Gone;
        let waited = self.shared.changed.wait_while_for(&mut status, gone, timeout);
        let is_left = waited.timed_out() && status.state != RegistrarState::Gone;
        // Gone with an error is one that was given up: the server has not said that the entry is gone.
        if is_left || status.error.is_some() {
            return Err(StillThere { status: status.clone(), waited: timeout });
        }
        Ok(())
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> RegistrarStatus {
        self.shared.status.lock().clone()
    }

    /// Waits until the registrar is in a state, for at most `timeout`; whether it was.
    #[must_use]
    pub fn wait_for(&self, state: RegistrarState, timeout: Duration) -> bool {
        let mut status = self.shared.status.lock();
        let other = |status: &mut RegistrarStatus| status.state != state;
        let _ = self.shared.changed.wait_while_for(&mut status, other, timeout);
        status.state == state
    }

    fn wish(&self, wish: Wish) {
        // The thread ends only with the handle, or after a panic that has shown itself.
        let _ = self.wishes.send(wish);
    }
}

impl Drop for RegistrarHandle {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Wish {
    Ready(bool),
    Update(Box<Endpoint>),
    Drain,
}

#[derive(Debug)]
struct Shared {
    status: Mutex<RegistrarStatus>,
    changed: Condvar,
}

impl Default for Shared {
    fn default() -> Self {
        let status = RegistrarStatus { state: RegistrarState::Waiting, error: None, session: None };
        Self { status: Mutex::new(status), changed: Condvar::new() }
    }
}

/// The thread's state.
struct Keeper {
    machine: Registrar,
    store: Arc<Store>,
    shared: Arc<Shared>,
    session: Option<Client>,
    /// The sessions that this process held before; the last few, since older ones have long run out.
    earlier: BTreeSet<i64>,
    start: Instant,
}

/// What came of an order: the answer, and the new session of a grant.
type Done = (Answer, Option<Client>);

type Work = Pin<Box<dyn Future<Output = Done>>>;

impl Keeper {
    async fn run(mut self, mut wishes: mpsc::UnboundedReceiver<Wish>, mut stopped: Stopped) {
        let mut under_way: Option<(Ticket, Work)> = None;
        loop {
            if let Some(order) = self.machine.poll(self.now()) {
                // An order that is still under way has timed out or was overtaken.
                under_way = Some((order.ticket, self.carry_out(order)));
            }
            self.publish();
            let pause = self.machine.next_deadline().map(|at| at.saturating_since(self.now()));
            let done = async {
                match &mut under_way {
                    Some((ticket, work)) => (*ticket, work.await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stopped.wait() => break,
                Some(wish) = wishes.recv() => self.take(wish),
                (ticket, (answer, opened)) = done => {
                    under_way = None;
                    self.heard(ticket, answer, opened).await;
                }
                () = sleep(pause) => {}
            }
        }
        drop(under_way);
        if let Some(client) = self.session.take() {
            link::close(client).await;
        }
    }

    fn take(&mut self, wish: Wish) {
        let now = self.now();
        match wish {
            Wish::Ready(ready) => self.machine.ready(now, ready),
            Wish::Drain => self.machine.drain(now),
            // The handle has seen to it that the id is the same.
            Wish::Update(endpoint) => _ = self.machine.update(now, *endpoint),
        }
    }

    fn carry_out(&self, order: Order) -> Work {
        let (store, session) = (self.store.clone(), self.session.clone());
        let earlier = self.earlier.clone();
        let own = self.machine.endpoint().clone();
        Box::pin(async move {
            match order.action {
                Action::Grant { ttl } => match link::open(&store.config.servers, ttl).await {
                    Ok(client) => {
                        let lease = LeaseToken::new(client.session_id());
                        (Answer::Granted { lease, ttl: client.session_timeout() }, Some(client))
                    }
                    Err(Trouble { kind, .. }) => (Answer::Failed { kind }, None),
                },
                action => (store.answer(action, session, &earlier, &own).await, None),
            }
        })
    }

    async fn heard(&mut self, ticket: Ticket, answer: Answer, opened: Option<Client>) {
        use evenkeel_registry::Heard;
        let heard = self.machine.answer(self.now(), ticket, answer);
        match (heard, opened) {
            (Heard::Counted, Some(client)) => {
                if let Some(old) = self.session.replace(client) {
                    self.forget(old).await;
                }
            }
            // Its order had timed out: nobody wants this session any more.
            (_, Some(client)) => link::close(client).await,
            (_, None) => {}
        }
        let over = matches!(self.machine.state(), RegistrarState::Waiting | RegistrarState::Gone);
        if over && let Some(old) = self.session.take() {
            self.forget(old).await;
        }
    }

    /// Closes a session and remembers whose it was.
    async fn forget(&mut self, client: Client) {
        while self.earlier.len() >= 64 {
            self.earlier.pop_first();
        }
        self.earlier.insert(client.session_id().0);
        link::close(client).await;
    }

    fn publish(&self) {
        let status = RegistrarStatus {
            state: self.machine.state(),
            error: self.machine.last_error(),
            session: self.session.as_ref().map(|client| client.session_id().to_string()),
        };
        let mut shown = self.shared.status.lock();
        if *shown != status {
            *shown = status;
            self.shared.changed.notify_all();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the clock of the thread")]
    fn now(&self) -> Timestamp {
        Timestamp::ORIGIN.saturating_add(self.start.elapsed())
    }
}

/// What orders do at the server.
#[derive(Debug)]
struct Store {
    config: ZooKeeperRegistrarConfig,
    registered_ms: u64,
}

impl Store {
    fn new(config: ZooKeeperRegistrarConfig, registered_ms: u64) -> Self {
        Self { config, registered_ms }
    }

    /// Whether the endpoint can be written, and read again.
    fn check(&self, endpoint: &Endpoint) -> Result<(), ZooKeeperError> {
        let data = self.data(endpoint)?;
        self.config.entries.read(&self.config.entries.name(endpoint.id()), &data)?;
        Ok(())
    }

    fn data(&self, endpoint: &Endpoint) -> Result<Vec<u8>, crate::Unwritable> {
        let service = self.config.path.rsplit('/').next().unwrap_or_default();
        self.config.entries.write(endpoint, &Writing { service, registered_ms: self.registered_ms })
    }

    fn path(&self, endpoint: &Endpoint) -> String {
        format!("{}/{}", self.config.path, self.config.entries.name(endpoint.id()))
    }

    async fn answer(
        &self,
        action: Action,
        session: Option<Client>,
        earlier: &BTreeSet<i64>,
        own: &Endpoint,
    ) -> Answer {
        let path = self.path(own);
        let client = match (session, &action) {
            (Some(client), _) => client,
            // The lease is lost, and with it what was written under it, sooner or later.
            (None, Action::Remove { .. }) => return Answer::Removed,
            (None, _) => return Answer::LeaseLost,
        };
        let done = match action {
            Action::Write { endpoint, .. } => self.write(&client, &path, &endpoint, earlier).await,
            Action::Renew { .. } => renew(&client, &path).await,
            Action::DeleteForeign { .. } => {
                self.delete(&client, &path, own, earlier, Owner::OlderSession).await
            }
            Action::Remove { .. } => self.delete(&client, &path, own, earlier, Owner::Mine).await,
            _ => return Answer::Failed { kind: TroubleKind::Server },
        };
        match done {
            Ok(answer) => answer,
            Err(_) if client.state().is_terminated() => Answer::LeaseLost,
            Err(ZkError::SessionExpired | ZkError::SessionMoved | ZkError::ClientClosed) => Answer::LeaseLost,
            Err(error) => Answer::Failed { kind: link::kind(&error) },
        }
    }

    async fn write(
        &self,
        client: &Client,
        path: &str,
        endpoint: &Endpoint,
        earlier: &BTreeSet<i64>,
    ) -> Result<Answer, ZkError> {
        let Ok(data) = self.data(endpoint) else {
            // Checked when it was given; a drain only takes weight away.
            return Ok(Answer::Failed { kind: TroubleKind::Malformed });
        };
        let acls = acls(self.config.acl);
        let options = CreateMode::Ephemeral.with_acls(Acls::new(&acls));
        // Twice: whoever removes empty nodes may do so between our making them and our creating the entry.
        for _ in 0..2 {
            match client.create(path, &data, &options).await {
                Ok(_) => return Ok(Answer::Written),
                Err(ZkError::NoNode) => {
                    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
                    client.mkdir(&self.config.path, &open).await?;
                }
                Err(ZkError::NodeExists) => {
                    let Some((there, stat)) = there(client, path).await? else { continue };
                    let owner = self.whose(client, &stat, &there, endpoint, earlier);
                    if owner != Owner::Mine {
                        return Ok(Answer::Exists { owner });
                    }
                    return match client.set_data(path, &data, Some(stat.version)).await {
                        Ok(_) => Ok(Answer::Written),
                        Err(ZkError::NoNode) => continue,
                        Err(error) => Err(error),
                    };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Answer::Failed { kind: TroubleKind::Server })
    }

    /// Deletes the node if it belongs to `whom` or to us.
    async fn delete(
        &self,
        client: &Client,
        path: &str,
        own: &Endpoint,
        earlier: &BTreeSet<i64>,
        whom: Owner,
    ) -> Result<Answer, ZkError> {
        let Some((there, stat)) = there(client, path).await? else { return Ok(Answer::Removed) };
        let owner = self.whose(client, &stat, &there, own, earlier);
        if owner != whom {
            // Ours, and to be written; or not ours any more.
            return Ok(Answer::Removed);
        }
        match client.delete(path, Some(stat.version)).await {
            Ok(()) | Err(ZkError::NoNode) => Ok(Answer::Removed),
            Err(error) => Err(error),
        }
    }

    fn whose(
        &self,
        client: &Client,
        stat: &Stat,
        data: &[u8],
        own: &Endpoint,
        earlier: &BTreeSet<i64>,
    ) -> Owner {
        let name = self.config.entries.name(own.id());
        let same = match self.config.entries.read(&name, data) {
            Ok(Reading::Endpoint { endpoint, .. }) => endpoint.address() == own.address(),
            _ => false,
        };
        whose(stat.ephemeral_owner, client.session_id().0, earlier, same)
    }
}

/// Whether the entry still stands, under this session.
async fn renew(client: &Client, path: &str) -> Result<Answer, ZkError> {
    let stat = client.check_stat(path).await?;
    let ours = stat.is_some_and(|stat| stat.ephemeral_owner == client.session_id().0);
    let connected = client.state() == SessionState::SyncConnected;
    Ok(match (ours, connected) {
        (true, true) => Answer::Renewed { ttl: client.session_timeout() },
        (true, false) => Answer::Failed { kind: TroubleKind::Closed },
        // Somebody deleted it: register again, from the start.
        (false, _) => Answer::LeaseLost,
    })
}

async fn there(client: &Client, path: &str) -> Result<Option<(Vec<u8>, Stat)>, ZkError> {
    match client.get_data(path).await {
        Ok(there) => Ok(Some(there)),
        Err(ZkError::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

fn acls(acl: Acl) -> Vec<zookeeper_client::Acl> {
    use zookeeper_client::Acl as Rule;
    match acl {
        Acl::Open => vec![Rule::new(Permission::ALL, AuthId::anyone())],
        Acl::OthersRead => {
            vec![Rule::new(Permission::ALL, AuthId::authed()), Rule::new(Permission::READ, AuthId::anyone())]
        }
        Acl::Private => vec![Rule::new(Permission::ALL, AuthId::authed())],
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        // The runtime's timer counts in milliseconds and rounds up; a day at most, so that nothing overflows.
        Some(pause) => tokio::time::sleep(pause.min(Duration::from_secs(86_400))).await,
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the origin of the thread's clock")]
fn origin() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "entries say when they were registered")]
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
