//! Load reports of answers, for the policies that balance by them.

use evenkeel::Pick;
use http::HeaderMap;

/// Tells the cluster what the endpoint says of its load. A report that is not to be believed counts as none: the answer is as good
/// as without it.
pub(super) fn tell<T>(pick: &Pick<T>, fields: &HeaderMap) {
    if let Some(Ok(report)) = evenkeel_orca::report_in(fields) {
        pick.report(report.load_report());
    }
}
