//! Starts programs, on threads that may block.

use std::io;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use crate::connect::{Lack, Progress};
use crate::reaper::Group;
use crate::reason::{Phase, Reason};

/// Starting a program can take long: the call returns once the child has changed its directory and replaced itself, which hangs on
/// a dead network file system, and a process of many gigabytes takes its time to be copied. So it is done beside the
/// prober's thread, by a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Starter {
    places: Arc<Semaphore>,
}

impl Starter {
    /// Programs that are being started at a time, each of which takes a thread.
    pub(crate) const THREADS: usize = 4;

    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(Self::THREADS)) }
    }

    /// Whether nothing is being started.
    pub(crate) fn is_idle(&self) -> bool {
        self.places.available_permits() == Self::THREADS
    }

    /// Does `start`, which may block. What it has started when nobody waits any more is killed and reaped.
    pub(crate) async fn start(
        &self,
        start: impl FnOnce() -> io::Result<Group> + Send + 'static,
        progress: &Progress,
    ) -> Result<io::Result<Group>, Reason> {
        progress.lacks(Lack::Starter);
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Reason::Internal)?;
        let (tell, started) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            if tell.is_closed() {
                return;
            }
            if let Err(Ok(unwanted)) = tell.send(start()) {
                let _ = unwanted.finish();
            }
            drop(place);
        });
        let started = started.await.map_err(|_| Reason::Internal)?;
        progress.enter(Phase::Command);
        Ok(started)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::reaper::Reaper;

    #[test]
    fn a_start_that_hangs_holds_nobody_up_and_leaves_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (starter, progress) = (Starter::new(), Progress::default());
        let reaper = Arc::<Reaper>::default();
        let (go_on, hangs) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let spawn = move || {
            let _ = hangs.recv();
            let mut command = Command::new("/bin/sleep");
            let group = Group::spawn(command.arg("1000").process_group(0), reaper)?;
            let _ = tell.send(group.id());
            Ok(group)
        };
        runtime.block_on(async {
            // The thread is free: its timers run.
            let waited =
                tokio::time::timeout(Duration::from_millis(20), starter.start(spawn, &progress)).await;
            assert!(waited.is_err());
            assert!(matches!(progress.timed_out(), Reason::Local(_)), "nobody has asked the endpoint");
            assert!(!starter.is_idle());
        });
        go_on.send(()).unwrap();
        let id = told.recv().unwrap();
        // The runtime waits for the threads that block.
        drop(runtime);
        assert!(starter.is_idle());
        assert!(rustix::process::test_kill_process(id).is_err(), "killed and reaped");
    }
}
