/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It grows, and begins at zero with the process: also if the cluster of that name is replaced by another.
    Counter,
    /// It goes up and down.
    Gauge,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident = $kind:ident $prometheus:literal $otel:literal $unit:literal [$($label:literal),+],)+) => {
        /// A number that is exported: its names, unit, labels and meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Metric {
            $($(#[doc = $help])+ $name,)+
        }

        impl Metric {
            /// All of them, in the order in which they are exported.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name in Prometheus, without the `_total` that counters get there, and with the unit.
            #[must_use]
            pub const fn prometheus(self) -> &'static str {
                match self { $(Self::$name => concat!("evenkeel_", $prometheus),)+ }
            }

            /// Its name in OpenTelemetry.
            #[must_use]
            pub const fn opentelemetry(self) -> &'static str {
                match self { $(Self::$name => concat!("evenkeel.", $otel),)+ }
            }

            /// Its unit in UCUM; what is in braces is counted.
            #[must_use]
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$name => $unit,)+ }
            }

            /// Whether it only grows.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)+ }
            }

            /// The names of its labels, the cluster's or the router's first.
            #[must_use]
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($label),+],)+ }
            }

            /// What it means, in one line.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($help),+).trim_ascii(),)+ }
            }
        }
    };
}

metrics! {
    /// Policy and subset of a cluster: always 1.
    ClusterInfo = Gauge "cluster_info" "cluster.info" "1" ["cluster", "policy", "subset"],
    /// Whether a set of endpoints was ever applied.
    Known = Gauge "cluster_known" "cluster.known" "1" ["cluster"],
    /// The generation of the set in use.
    Version = Gauge "cluster_version" "cluster.version" "1" ["cluster"],
    /// Endpoints, whatever their state.
    Membership = Gauge "cluster_membership" "cluster.membership" "{endpoint}" ["cluster"],
    /// Endpoints that take requests and are not degraded.
    MembershipHealthy = Gauge "cluster_membership_healthy" "cluster.membership.healthy" "{endpoint}" ["cluster"],
    /// Endpoints that take requests only after their peers.
    MembershipDegraded = Gauge "cluster_membership_degraded" "cluster.membership.degraded" "{endpoint}" ["cluster"],
    /// Endpoints that take no requests, by the first cause.
    MembershipOut = Gauge "cluster_membership_out" "cluster.membership.out" "{endpoint}" ["cluster", "cause"],
    /// Endpoints outside this client's subset.
    MembershipOutsideSubset = Gauge "cluster_membership_outside_subset" "cluster.membership.outside_subset" "{endpoint}" ["cluster"],
    /// Endpoints of this client's subset that take requests. Without a subset all belong to it.
    MembershipSubsetUsable = Gauge "cluster_membership_subset_usable" "cluster.membership.subset_usable" "{endpoint}" ["cluster"],
    /// Requests in flight.
    RequestsActive = Gauge "cluster_upstream_rq_active" "cluster.requests.active" "{request}" ["cluster"],
    /// The most requests that the cluster lets in flight, if it has a limit.
    RequestLimit = Gauge "cluster_upstream_rq_limit" "cluster.requests.limit" "{request}" ["cluster"],
    /// The largest share of requests in flight at one endpoint, divided by its expected share: 1 is even.
    Imbalance = Gauge "cluster_imbalance_ratio" "cluster.imbalance" "1" ["cluster"],
    /// The share of requests that a failover tier gets, 0 to 1, by its priority and whether it is the part in this client's subset.
    TierShare = Gauge "cluster_priority_share_ratio" "cluster.priority.share" "1" ["cluster", "priority", "in_subset"],
    /// Whether a failover tier is in panic.
    TierPanic = Gauge "cluster_priority_panic" "cluster.priority.panic" "1" ["cluster", "priority", "in_subset"],
    /// Whether a failover tier is left, since too few of its endpoints were usable.
    TierLeft = Gauge "cluster_priority_left" "cluster.priority.left" "1" ["cluster", "priority", "in_subset"],
    /// The share that a failover tier could take and is not given yet, since it got worse a while ago.
    TierHeldBack = Gauge "cluster_priority_held_back_ratio" "cluster.priority.held_back" "1" ["cluster", "priority", "in_subset"],
    /// The share of requests that goes elsewhere than to the first tier, 0 to 1.
    Spill = Gauge "cluster_spill_ratio" "cluster.spill" "1" ["cluster"],
    /// The share of requests that leaves this process's own zone, 0 to 1, if it has one and requests do not choose zones each by itself.
    CrossZone = Gauge "cluster_zone_cross_ratio" "cluster.zone.cross" "1" ["cluster"],
    /// Retries, hedges and other extra requests that went out in the window of the budget, if there is one, by kind.
    BudgetSpent = Gauge "cluster_retry_budget_spent" "cluster.retry_budget.spent" "{request}" ["cluster", "kind"],
    /// What all kinds of extra requests may come to in the window of the budget.
    BudgetAllowed = Gauge "cluster_retry_budget_allowed" "cluster.retry_budget.allowed" "{request}" ["cluster"],
    /// Endpoints with an open breaker.
    BreakersOpen = Gauge "cluster_circuit_breakers_open" "cluster.circuit_breakers.open" "{endpoint}" ["cluster"],
    /// Endpoints ejected as outliers.
    EjectionsActive = Gauge "cluster_outlier_detection_ejections_active" "cluster.outlier_detection.ejections_active" "{endpoint}" ["cluster"],
    /// Ejections of outliers.
    Ejections = Counter "cluster_outlier_detection_ejections_enforced" "cluster.outlier_detection.ejections" "{ejection}" ["cluster"],
    /// Ejections that did not happen since too many were out.
    EjectionsOverflow = Counter "cluster_outlier_detection_ejections_overflow" "cluster.outlier_detection.overflow" "{ejection}" ["cluster"],
    /// How often so many endpoints failed at once that nobody was ejected.
    EjectionBrakes = Counter "cluster_outlier_detection_brakes" "cluster.outlier_detection.brakes" "{brake}" ["cluster"],
    /// Endpoints that are not listed one by one, since there are too many.
    EndpointsUnlisted = Gauge "cluster_endpoints_unlisted" "cluster.endpoints.unlisted" "{endpoint}" ["cluster"],

    /// Picks that found nobody, by reason.
    PicksRefused = Counter "cluster_picks_refused" "cluster.picks.refused" "{pick}" ["cluster", "reason"],
    /// Endpoints that joined.
    MembersAdded = Counter "cluster_membership_added" "cluster.membership.added" "{endpoint}" ["cluster"],
    /// Endpoints that left.
    MembersRemoved = Counter "cluster_membership_removed" "cluster.membership.removed" "{endpoint}" ["cluster"],
    /// Updates of the set.
    Updates = Counter "cluster_update_success" "cluster.updates" "{update}" ["cluster"],
    /// Updates of the set that were refused.
    UpdatesRejected = Counter "cluster_update_rejected" "cluster.updates.rejected" "{update}" ["cluster"],
    /// Endpoints that turned usable.
    TurnedUsable = Counter "cluster_endpoints_turned_usable" "cluster.endpoints.turned_usable" "{change}" ["cluster"],
    /// Endpoints that turned unusable, by cause.
    TurnedUnusable = Counter "cluster_endpoints_turned_unusable" "cluster.endpoints.turned_unusable" "{change}" ["cluster", "cause"],
    /// Changes of breakers, by the state that began.
    BreakerTransitions = Counter "cluster_circuit_breaker_transitions" "cluster.circuit_breaker.transitions" "{change}" ["cluster", "state"],

    /// Failover tiers that were left, returned, began or ended to panic, or were selected.
    TierChanges = Counter "cluster_priority_changes" "cluster.priority.changes" "{change}" ["cluster", "change"],

    /// Address, tier and incarnation of an endpoint: always 1.
    EndpointInfo = Gauge "endpoint_info" "endpoint.info" "1" ["cluster", "endpoint", "address", "priority", "incarnation"],
    /// Whether an endpoint takes requests.
    EndpointUp = Gauge "endpoint_up" "endpoint.up" "1" ["cluster", "endpoint"],
    /// What holds about an endpoint, one series for each cause: always 1.
    EndpointCause = Gauge "endpoint_cause" "endpoint.cause" "1" ["cluster", "endpoint", "cause"],
    /// Requests in flight at an endpoint.
    EndpointRequestsActive = Gauge "endpoint_rq_active" "endpoint.requests.active" "{request}" ["cluster", "endpoint"],
    /// The most requests in flight at an endpoint, if it has a limit.
    EndpointRequestLimit = Gauge "endpoint_rq_limit" "endpoint.requests.limit" "{request}" ["cluster", "endpoint"],
    /// The weight of an endpoint.
    EndpointWeight = Gauge "endpoint_weight" "endpoint.weight" "1" ["cluster", "endpoint"],
    /// The part of its weight that an endpoint takes for the moment, above 0 to 1.
    EndpointFactor = Gauge "endpoint_factor_ratio" "endpoint.factor" "1" ["cluster", "endpoint"],
    /// The share of new requests of its tier that an endpoint should get, 0 to 1.
    EndpointExpectedShare = Gauge "endpoint_expected_share_ratio" "endpoint.expected_share" "1" ["cluster", "endpoint"],
    /// Whether the breaker of an endpoint refuses requests.
    EndpointBreakerOpen = Gauge "endpoint_breaker_open" "endpoint.breaker.open" "1" ["cluster", "endpoint"],
    /// The estimated latency of an endpoint.
    EndpointLatency = Gauge "endpoint_latency_seconds" "endpoint.latency" "s" ["cluster", "endpoint"],
    /// How many endpoints a source of discovery shows.
    SourceEndpoints = Gauge "discovery_endpoints" "discovery.endpoints" "{endpoint}" ["cluster", "source"],
    /// The state of a source of discovery: 1 for the one that it is in.
    SourceState = Gauge "discovery_state" "discovery.state" "1" ["cluster", "source", "state"],
    /// Endpoints that are kept although the source does not list them any more.
    SourceHeld = Gauge "discovery_held" "discovery.held" "{endpoint}" ["cluster", "source"],
    /// Whether the set of a source is older than it may be.
    SourceOverAge = Gauge "discovery_over_age" "discovery.over_age" "1" ["cluster", "source"],
    /// Entries of a source that were rejected.
    SourceRejected = Counter "discovery_rejected" "discovery.rejected" "{entry}" ["cluster", "source"],

    /// Requests that no route took.
    RouterUnmatched = Counter "router_no_route" "router.no_route" "{request}" ["router"],
    /// Requests that a route sent to a cluster, whoever served them in the end.
    RouteRequests = Counter "route_upstream_rq" "route.requests" "{request}" ["router", "route", "cluster"],
    /// Requests that a rate limit of a route did not let in.
    RouteLimited = Counter "route_ratelimit_over_limit" "route.rate_limited" "{request}" ["router", "route"],
    /// Picks of a route that found no endpoint, first ones and others.
    RouteUnsent = Counter "route_picks_refused" "route.picks.refused" "{pick}" ["router", "route"],
    /// Attempts after the first.
    RouteRetries = Counter "route_upstream_rq_retry" "route.retries" "{attempt}" ["router", "route"],
    /// Attempts beside another one that was slow.
    RouteHedges = Counter "route_upstream_rq_hedge" "route.hedges" "{attempt}" ["router", "route"],
    /// Requests that were copied to another cluster.
    RouteMirrored = Counter "route_upstream_rq_mirror" "route.mirrored" "{request}" ["router", "route"],
    /// Attempts that another cluster served, to which the route falls back.
    RouteFellBack = Counter "route_upstream_rq_fallback" "route.fallbacks" "{attempt}" ["router", "route"],
    /// Users who stayed at their endpoint, or went where a list sent them.
    RouteStayed = Counter "route_affinity_stayed" "route.affinity.stayed" "{request}" ["router", "route"],
    /// Users who were given another endpoint than the one that they had.
    RouteMoved = Counter "route_affinity_moved" "route.affinity.moved" "{request}" ["router", "route"],
}
