//! What is exported of a cluster's tiers, zones and budget.

use std::borrow::Cow;

use evenkeel::{ClusterReport, TierReport, ZoneReport};

use crate::family::{Families, flag};
use crate::metric::Metric;

pub(crate) fn add(report: &ClusterReport, into: &mut Families) {
    let name = || Cow::Owned(report.name.clone());
    for tier in &report.tiers {
        let labels = || {
            [
                name(),
                tier.priority.get().to_string().into(),
                if tier.in_subset { "true" } else { "false" }.into(),
            ]
        };
        into.add(Metric::TierShare, labels(), share(tier));
        into.add(Metric::TierPanic, labels(), flag(tier.panic));
        into.add(Metric::TierLeft, labels(), flag(tier.left));
        into.add(Metric::TierHeldBack, labels(), tier.held_back);
    }
    if let Some(first) = report.tiers.iter().map(|tier| tier.priority).min() {
        let others = report.tiers.iter().filter(|tier| tier.priority > first);
        into.add(Metric::Spill, [name()], others.map(share).fold(0.0, |sum, share| sum + share));
    }
    let zones = || report.tiers.iter().flat_map(|tier| &tier.zones);
    // Where each request chooses its zone, shares do not say where requests go.
    if report.tiers.iter().all(|tier| !tier.by_request) && zones().any(|zone| zone.is_home) {
        let away = zones().filter(|zone| is_elsewhere(zone)).fold(0.0, |sum, zone| sum + zone.share);
        into.add(Metric::CrossZone, [name()], away);
    }
    if let Some(budget) = &report.budget {
        for (kind, spent) in [
            ("retry", budget.retries),
            ("hedge", budget.hedges),
            ("spill", budget.spilled),
            ("probe", budget.probes),
        ] {
            into.add(Metric::BudgetSpent, [name(), kind.into()], spent as f64);
        }
        into.add(Metric::BudgetAllowed, [name()], budget.allowed as f64);
    }
}

const fn share(tier: &TierReport) -> f64 {
    tier.share + tier.degraded_share
}

const fn is_elsewhere(zone: &ZoneReport) -> bool {
    !zone.is_home
}
