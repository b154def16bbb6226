use std::future::Future;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::ZooKeeperError;

/// Starts a thread with a runtime of its own, in which `work` runs to its end.
pub(crate) fn start<F: Future<Output = ()>>(
    name: String,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<JoinHandle<()>, ZooKeeperError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(ZooKeeperError::Thread)?;
    let thread = std::thread::Builder::new().name(name);
    thread.spawn(move || runtime.block_on(work())).map_err(ZooKeeperError::Thread)
}

/// Says once that it is time to stop; so does dropping it.
#[derive(Debug)]
pub(crate) struct Stop(watch::Sender<bool>);

/// Hears it.
#[derive(Clone, Debug)]
pub(crate) struct Stopped(watch::Receiver<bool>);

impl Stop {
    pub(crate) fn new() -> (Self, Stopped) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stopped(receiver))
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stopped {
    pub(crate) async fn wait(&mut self) {
        // An error says that the other side is gone, which means the same.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
