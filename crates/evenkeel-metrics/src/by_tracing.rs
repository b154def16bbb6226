use evenkeel::{Notice, Observer, OutlierNotice};

/// Tells what changes in a cluster as `tracing` events, target `evenkeel`: what takes somebody out of service as warnings, the rest
/// as information, updates of the set with nothing in them as debug events. Refused picks are not events: there can be thousands a
/// second, so count them.
#[derive(Clone, Debug)]
pub struct Events {
    cluster: String,
}

impl Events {
    /// Events under this name of a cluster.
    #[must_use]
    pub fn new(cluster: impl Into<String>) -> Self {
        Self { cluster: cluster.into() }
    }
}

impl Observer for Events {
    fn notice(&self, notice: &Notice) {
        let cluster = &*self.cluster;
        match notice {
            Notice::Standing { id, before, after } => {
                match (before.usable(), after.usable(), after.cause()) {
                    (true, false, Some(cause)) => {
                        tracing::warn!(target: TARGET, cluster, endpoint = %id, %cause, "endpoint out of service");
                    }
                    (false, true, _) => {
                        tracing::info!(target: TARGET, cluster, endpoint = %id, "endpoint in service");
                    }
                    (_, _, cause) => {
                        let cause = cause.map(tracing::field::display);
                        tracing::info!(target: TARGET, cluster, endpoint = %id, cause, "health changed");
                    }
                }
            }
            Notice::Breaker { id, transition } => {
                let (from, to, reason) = (&transition.from, &transition.to, &transition.reason);
                if to.is_refusing() {
                    tracing::warn!(target: TARGET, cluster, endpoint = %id, ?from, ?to, ?reason, "breaker opened");
                } else {
                    tracing::info!(target: TARGET, cluster, endpoint = %id, ?from, ?to, ?reason, "breaker changed");
                }
            }
            Notice::Outlier(outlier) => self.outlier(outlier),
            Notice::Limit { id, change } => {
                let endpoint = id.as_ref().map(tracing::field::display);
                tracing::info!(target: TARGET, cluster, endpoint, from = change.from, to = change.to, "limit moved");
            }
            Notice::Applied(applied) if applied.is_noop() => {
                tracing::debug!(target: TARGET, cluster, generation = applied.generation, "nothing new");
            }
            Notice::Applied(applied) => {
                let (added, removed, updated) =
                    (applied.added.len(), applied.removed.len(), applied.updated.len());
                let generation = applied.generation;
                tracing::info!(target: TARGET, cluster, generation, added, removed, updated, "endpoints changed");
            }
            Notice::Rejected { reason } => {
                tracing::error!(target: TARGET, cluster, error = %reason, "a set of endpoints was not taken");
            }
            other => tracing::info!(target: TARGET, cluster, notice = ?other, "changed"),
        }
    }
}

impl Events {
    fn outlier(&self, notice: &OutlierNotice) {
        let cluster = &*self.cluster;
        match notice {
            OutlierNotice::Ejected { id, ejection } => {
                let (reason, count, duration) =
                    (ejection.reason.as_str(), ejection.count, ejection.duration());
                tracing::warn!(target: TARGET, cluster, endpoint = %id, reason, count, ?duration, "outlier ejected");
            }
            OutlierNotice::Refused { id, reason, by } => {
                let (reason, by) = (reason.as_str(), by.as_str());
                tracing::warn!(target: TARGET, cluster, endpoint = %id, reason, by, "outlier stays in");
            }
            OutlierNotice::Braked { tripped, endpoints, .. } => {
                tracing::error!(target: TARGET, cluster, tripped, endpoints, "too many outliers at once to be outliers");
            }
            other => tracing::info!(target: TARGET, cluster, notice = ?other, "outlier detection"),
        }
    }
}

const TARGET: &str = "evenkeel";
