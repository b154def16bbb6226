//! Children: a process group that is killed when it is let go, and reaped in any case.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Killed children that were not dead yet. Who owns the loop sweeps now and then, so that nobody waits for the kernel.
///
/// A killed process is gone within moments, unless it hangs in the kernel (a dead network file system).
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    left: Mutex<Vec<Child>>,
}

impl Reaper {
    /// Reaps what has ended since. Whether anything is left.
    pub(crate) fn sweep(&self) -> bool {
        let mut left = self.left.lock();
        left.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        !left.is_empty()
    }
}

/// A running program and what it has forked.
#[derive(Debug)]
pub(crate) struct Group {
    child: Option<Child>,
    id: Pid,
    reaper: Arc<Reaper>,
}

impl Group {
    /// Starts `command`, which must make a process group of its own.
    pub(crate) fn spawn(command: &mut Command, reaper: Arc<Reaper>) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let Some(id) = id else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::other("the process has no number"));
        };
        Ok(Self { child: Some(child), id, reaper })
    }

    /// Its number.
    #[cfg(test)]
    pub(crate) const fn id(&self) -> Pid {
        self.id
    }

    /// Its output and its errors, once.
    pub(crate) fn pipes(&mut self) -> (Option<OwnedFd>, Option<OwnedFd>) {
        let Some(child) = &mut self.child else { return (None, None) };
        (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from))
    }

    /// Waits for the end of the program without reaping it, so that its number stays its own.
    ///
    /// By looking, more and more seldom. Linux could give notice by a descriptor, but tokio has no safe way to wait for
    /// one of a foreign kind, and eight commands at a time that are looked at every 20 ms are 400 short calls a second.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        let mut wait = FIRST_LOOK;
        while !self.has_ended()? {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_LOOK);
        }
        Ok(())
    }

    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.id), options)?.is_some())
    }

    /// After the end: kills what is left of the group and reaps the program.
    pub(crate) fn finish(mut self) -> io::Result<ExitStatus> {
        self.kill();
        let mut child = self.child.take().ok_or(io::ErrorKind::NotFound)?;
        child.wait()
    }

    fn kill(&self) {
        // An error says that there is nobody left.
        let _ = kill_process_group(self.id, Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            self.kill();
            self.reaper.left.lock().push(child);
            self.reaper.sweep();
        }
    }
}

/// From 1 ms, which the shortest program takes, to 20 ms, which nobody notices.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(20);
