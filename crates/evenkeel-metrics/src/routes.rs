//! What is exported of a router: what its routes counted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use evenkeel::router::RouterReport;

use crate::family::Families;
use crate::metric::Metric;

pub(crate) fn add(router: &str, report: &RouterReport, into: &mut Families) {
    let name = || Cow::Owned(router.to_owned());
    into.add(Metric::RouterUnmatched, [name()], report.unmatched as f64);
    for route in &report.routes {
        let labels = || [name(), Cow::Owned(route.name.clone())];
        for (metric, counted) in [
            (Metric::RouteLimited, route.limited),
            (Metric::RouteUnsent, route.unsent),
            (Metric::RouteRetries, route.retried),
            (Metric::RouteHedges, route.hedged),
            (Metric::RouteMirrored, route.mirrored),
            (Metric::RouteFellBack, route.fell_back),
            (Metric::RouteStayed, route.stayed),
            (Metric::RouteMoved, route.moved),
        ] {
            into.add(metric, labels(), counted as f64);
        }
        // Two arms may be of one cluster.
        let mut requests: BTreeMap<&str, u64> = BTreeMap::new();
        for arm in &route.arms {
            *requests.entry(&arm.cluster).or_default() += arm.requests;
        }
        for (cluster, counted) in requests {
            let [router, route] = labels();
            into.add(Metric::RouteRequests, [router, route, Cow::Owned(cluster.to_owned())], counted as f64);
        }
    }
}
