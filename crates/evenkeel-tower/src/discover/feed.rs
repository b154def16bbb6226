use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel::{ApplyError, Cluster, Endpoint};
use tower::discover::{Change, Discover};

/// Keeps a cluster equal to what a [`Discover`] says, until its stream ends, or fails with its error. Spawn it.
///
/// `describe` says which endpoint a key is: its id, its address, a weight that tower has no word for. It is asked for the same
/// key again when that leaves, so it must give the same id; `None` leaves the key out. A key that is inserted again is a new
/// incarnation with a new service, as tower has it; also if an earlier run, whose stream has ended, had inserted it. What the cluster does not take is told to `refused`, and the rest goes on.
/// When the stream ends, the cluster keeps what it has.
///
/// ```
/// use evenkeel::{Cluster, Endpoint};
/// use evenkeel_tower::discover::feed;
/// use tower::discover::ServiceList;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let services = ["a client", "another"].map(|client| tower::service_fn(move |(): ()| async move { Ok::<_, ()>(client) }));
/// let cluster = Cluster::builder("users").build()?;
/// let describe = |key: &usize| Endpoint::at(format!("10.0.0.{key}:80").parse().ok()?).ok();
/// feed(&cluster, ServiceList::new::<()>(services), describe, |refused| eprintln!("{refused}")).await?;
/// assert_eq!(cluster.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// # }).map_err(|error| error.to_string())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// What the stream fails with.
pub async fn feed<D: Discover>(
    cluster: &Cluster<D::Service>,
    discover: D,
    mut describe: impl FnMut(&D::Key) -> Option<Endpoint>,
    mut refused: impl FnMut(ApplyError),
) -> Result<(), D::Error> {
    let mut discover = pin!(discover);
    while let Some(change) = poll_fn(|cx| discover.as_mut().poll_discover(cx)).await {
        let applied = match change? {
            Change::Insert(key, service) => describe(&key).map(|endpoint| {
                let incarnation = NEXT_INCARNATION.fetch_add(1, Ordering::Relaxed);
                cluster.upsert(endpoint.with_incarnation(incarnation).with_payload(service))
            }),
            Change::Remove(key) => describe(&key).map(|endpoint| cluster.remove(endpoint.id())),
        };
        if let Some(Err(error)) = applied {
            refused(error);
        }
    }
    Ok(())
}

/// One for all runs in the process: a cluster keeps the service of an endpoint whose incarnation it knows, so a run that began to count
/// anew would leave the services of the one before in place.
static NEXT_INCARNATION: AtomicU64 = AtomicU64::new(1);
