use std::sync::Arc;

use super::exact::Exact;
use super::rule::Rule;
use crate::{BuiltIn, Caller, Event, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// The least loaded of all, exactly.
///
/// **Idea.** The endpoint with the least load ÷ weight gets the request, compared without rounding. **Ties** are shared by
/// weight, as in nginx: an idle set is served in proportion to its weights.
/// **How.** Up to 128 endpoints (64 where weights differ) one scan over all loads, without a lock, and a weighted draw among
/// equals. Above, an order
/// by load that is kept while requests come and go: a tournament under one short lock, which hears of releases and checks
/// what it is about to answer against the loads themselves. It cannot be led astray for long: one more endpoint is looked
/// at with each pick. There, equals come in turn by weight rather than by draw, and loads per weight that differ by less
/// than 2^-32, which weights up to 65 536 cannot bring about, count as equal.
/// **Cost.** O(n) where it scans, O(log n) above; 100 bytes an endpoint. The first pick after the policy was built
/// for a busy set reads all loads once.
/// **When.** Long requests of very different length (sessions, uploads, queries), few clients with a full view.
/// **When not.** Many clients that do not see each other's requests: all of them find the same minimum, and meet there
/// (`least_request` draws two and does not). Short requests: the difference to `least_request` does not show.
/// **Source.** nginx `ngx_http_upstream_least_conn_module.c`, HAProxy `src/lb_fwlc.c`, IPVS `wlc`.
#[derive(Debug)]
pub struct LeastConnections {
    machine: Exact,
}

impl LeastConnections {
    /// The policy for these members. O(n).
    #[must_use]
    pub fn new(members: &dyn Members) -> Self {
        Self { machine: Exact::new(Rule::Connections, members) }
    }

    /// The least loaded position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.machine.choose(view, caller)
    }
}

impl Policy for LeastConnections {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        self.machine.wants()
    }

    fn on_event(&self, event: Event) {
        self.machine.on_event(event);
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self { machine: self.machine.succeed(members) })))
    }
}

/// Settings of [`LeastConnections`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LeastConnectionsConfig {}

impl PolicySettings for LeastConnectionsConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(LeastConnections::new(members)))
    }
}
