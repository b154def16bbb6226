use std::sync::Arc;

use super::exact::Exact;
use super::rule::Rule;
use crate::{BuiltIn, Caller, Event, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Where the request would be done soonest, if weights are speeds.
///
/// **Idea.** The endpoint with the least (load + 1) ÷ weight gets the request: the one where it would wait least, itself
/// counted. So of idle endpoints the fastest is taken, and a slow one stays idle until the fast ones are as much busier as
/// they are faster. With `never_queue` an idle endpoint is taken before any busy one, the fastest of the idle. **Ties** are
/// shared by weight.
/// **Cost.** That of [`LeastConnections`](crate::LeastConnections): the same machine with another rule.
/// **When.** Endpoints of clearly different speed, requests that take long enough to be in flight together.
/// **When not.** Weights that mean shares of traffic: at low load the heaviest endpoint gets everything. With equal weights
/// it is `least_connections`.
/// **Source.** IPVS `ip_vs_sed.c` and `ip_vs_nq.c`; A. Weinrib and S. Shenker, "Greed is not enough: adaptive load sharing
/// in large heterogeneous systems", INFOCOM 1988.
#[derive(Debug)]
pub struct ShortestExpectedDelay {
    machine: Exact,
}

/// Settings of [`ShortestExpectedDelay`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ShortestExpectedDelayConfig {
    /// Whether an idle endpoint is taken before any busy one: `false` unless set, since waiting for a fast endpoint can
    /// be shorter than being served by a slow one. IPVS calls it `nq`.
    pub never_queue: bool,
}

impl PolicySettings for ShortestExpectedDelayConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(ShortestExpectedDelay::new(*self, members)))
    }
}

impl ShortestExpectedDelay {
    /// The policy of these settings for these members. O(n).
    #[must_use]
    pub fn new(config: ShortestExpectedDelayConfig, members: &dyn Members) -> Self {
        let rule = if config.never_queue { Rule::IdleThenDelay } else { Rule::Delay };
        Self { machine: Exact::new(rule, members) }
    }

    /// The position of the shortest delay, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.machine.choose(view, caller)
    }
}

impl Policy for ShortestExpectedDelay {
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
