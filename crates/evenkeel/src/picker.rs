use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_utils::CachePadded;

use crate::choose::{self, Begun};
use crate::cluster::Cluster;
use crate::control::Control;
use crate::error::PickError;
use crate::lanes::Lane;
use crate::live::Live;
use crate::moment::Moment;
use crate::pick::Pick;
use crate::request::Request;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::sync::Cached;

/// A cluster in the hands of one thread: a cached snapshot, an own generator, an own cursor.
///
/// The same answers as [`Cluster::pick`] for less, since the snapshot is not loaded again while it has not changed. Keep
/// one in each worker. It sees every update at its next pick; while it is idle it may keep one old snapshot alive.
pub struct Picker<T> {
    cache: Cached<Snapshot<T>>,
    shared: Arc<Shared<T>>,
    /// The cluster's, one pointer nearer.
    control: Arc<Control>,
    lane: CachePadded<Lane>,
    stripe: u32,
}

impl<T> Picker<T> {
    pub(crate) fn new(cluster: &Cluster<T>) -> Self {
        Self::numbered(cluster, PICKERS.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn numbered(cluster: &Cluster<T>, number: u32) -> Self {
        let shared = Arc::clone(&cluster.shared);
        // Far from the numbers of the cluster's own lanes, so that no stream is drawn from twice.
        let lane = CachePadded::new(Lane::new(shared.seed, u64::from(number) | 1 << 32));
        Self {
            cache: shared.current.cached(),
            control: Arc::clone(&shared.control),
            shared,
            lane,
            stripe: number,
        }
    }

    /// As [`Cluster::pick`].
    ///
    /// # Errors
    ///
    /// As [`Cluster::pick`].
    #[inline(always)]
    pub fn pick(&mut self, request: &Request<'_>) -> Result<Pick<T>, PickError> {
        let snapshot = self.cache.load();
        self.shared.pick_from(snapshot, request, &self.lane, self.stripe)
    }

    /// Chooses an endpoint without counting a request there, for those who only want to know where to.
    ///
    /// Nothing is reported back, so neither breaker nor load learns from it, and half-open endpoints are not probed: it
    /// answers from health, weights and loads alone.
    ///
    /// # Errors
    ///
    /// As [`Cluster::pick`].
    #[inline(always)]
    pub fn choose(&mut self, request: &Request<'_>) -> Result<&Live<T>, PickError> {
        if self.control.timers.is_waited_for() {
            self.shared.tick_if_due(&Moment::new(&self.control));
        }
        let snapshot = self.cache.load();
        match choose::at_once(snapshot, &self.lane, request) {
            Ok((node, _)) => Ok(&node.live),
            Err(begun) => choose_with_all(snapshot, begun, &self.control, request, &self.lane),
        }
    }
}

/// Where more is to do than one draw.
#[inline(never)]
fn choose_with_all<'s, T>(
    snapshot: &'s Snapshot<T>,
    begun: Begun,
    control: &Control,
    request: &Request<'_>,
    lane: &Lane,
) -> Result<&'s Live<T>, PickError> {
    let moment = Moment::new(control);
    let (ask, admit) = (choose::is_usable, choose::is_usable);
    let found = choose::find_from(snapshot, begun, lane, request, &moment, ask, admit)?;
    Ok(&found.0.live)
}

impl<T> fmt::Debug for Picker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picker").field("cluster", &self.shared.control.name).finish_non_exhaustive()
    }
}

static PICKERS: AtomicU32 = AtomicU32::new(0);
