use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ledger::Ledger;
use crate::resolver::Resolver;
use crate::upstream::Upstream;

/// A client: what it asks when it wants something of the service.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    /// It follows the registry, and sends to an instance.
    Resolving(Arc<Resolver>),
    /// It knows the address of a proxy.
    Simple(Arc<Upstream>),
}

impl Client {
    async fn get(&self) -> Result<(), String> {
        match self {
            Self::Resolving(resolver) => resolver.get().await.map(drop).map_err(|error| error.to_string()),
            Self::Simple(proxy) => proxy.get().await.map(drop).map_err(|error| error.to_string()),
        }
    }

    /// Sends on schedule, whether or not earlier requests were answered, until it is told to stop; then it waits for what
    /// is under way.
    pub(crate) async fn run(self, every: Duration, ledger: Arc<Ledger>, mut stop: watch::Receiver<bool>) {
        let mut under_way = JoinSet::new();
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            while under_way.try_join_next().is_some() {}
            let (client, ledger, start) = (self.clone(), Arc::clone(&ledger), due);
            under_way.spawn(async move {
                let result = client.get().await;
                ledger.note_request(start.elapsed(), result);
            });
            due += every;
        }
        while under_way.join_next().await.is_some() {}
    }
}
