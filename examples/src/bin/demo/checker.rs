//! Active checks: one task for each incarnation of a backend.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Address, Cluster, Endpoint, EndpointId, Registry, ServiceName};
use http_body_util::{BodyExt, Either, Empty};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Uri};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::pool::{self, Upstream};

/// What is asked, and which answer passes.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) path: Uri,
    /// The first status that does not pass.
    pub(crate) fails_from: u16,
}

/// Checks whoever is registered, until it is dropped.
pub(crate) async fn check_all(
    cluster: Cluster<Upstream>,
    registry: Registry,
    service: ServiceName,
    check: Check,
) {
    let changed = Arc::new(Notify::new());
    let wake = Arc::clone(&changed);
    let watch = registry.watch(&service);
    watch.on_change(move || wake.notify_one());
    let mut tasks: BTreeMap<(EndpointId, u64), CheckTask> = BTreeMap::new();
    loop {
        if let Some((snapshot, _)) = watch.take() {
            tasks.retain(|(id, incarnation), _| {
                snapshot.endpoint(id).is_some_and(|endpoint| endpoint.incarnation() == *incarnation)
            });
            for endpoint in snapshot.endpoints().iter() {
                let key = (endpoint.id().clone(), endpoint.incarnation());
                tasks.entry(key).or_insert_with(|| CheckTask::start(&cluster, endpoint, &check));
            }
        }
        changed.notified().await;
    }
}

/// A running task, which ends with this.
struct CheckTask(AbortHandle);

impl CheckTask {
    fn start(cluster: &Cluster<Upstream>, endpoint: &Endpoint, check: &Check) -> Self {
        let (cluster, check) = (cluster.clone(), check.clone());
        let (id, incarnation) = (endpoint.id().clone(), endpoint.incarnation());
        let address = endpoint.address().clone();
        let task = async move {
            loop {
                let answer = tokio::time::timeout(TIMEOUT, ask(&address, &check)).await;
                let passed = matches!(answer, Ok(Ok(status)) if status < check.fails_from);
                // It may have left in the meantime, or be another process by now.
                let known = cluster.endpoint(&id).ok();
                if let Some(known) = known.filter(|known| known.description().incarnation() == incarnation) {
                    known.record_check(passed);
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for CheckTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A new connection each time: that one can be made is part of what is checked.
async fn ask(address: &Address, check: &Check) -> Result<u16, pool::ConnectError> {
    let mut connection = pool::connect(address).await?;
    let mut request = Request::new(Either::Right(Empty::new()));
    *request.uri_mut() = check.path.clone();
    if let Ok(host) = HeaderValue::from_str(&address.to_string()) {
        request.headers_mut().insert(HOST, host);
    }
    let answer = connection.send_request(request).await?;
    let status = answer.status().as_u16();
    answer.into_body().collect().await?;
    Ok(status)
}

/// With three failures in a row to take a backend down, a crash is noticed within about half a second.
const INTERVAL: Duration = Duration::from_millis(200);

/// Generous, so that a busy machine is not taken for a dead backend.
const TIMEOUT: Duration = Duration::from_secs(1);
