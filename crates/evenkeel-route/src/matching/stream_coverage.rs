//! Rules for connections that can never take one.

use super::coverage::Shadow;
use super::host::HostMatch;
use super::stream::{Entry, PortRange, StreamRule};

/// Which entries an earlier one covers: for each rule, how many of its own. Compares pairs, at most [`MOST_COMPARED`].
pub(super) fn find(rules: &[StreamRule], entries: &[Entry]) -> Vec<Shadow> {
    let mut shadows: Vec<Option<Shadow>> = vec![None; rules.len()];
    let mut of = vec![0_usize; rules.len()];
    entries.iter().for_each(|entry| of[entry.rule as usize] += 1);
    let mut left = MOST_COMPARED;
    for (at, later) in entries.iter().enumerate() {
        left = left.saturating_sub(at);
        if left == 0 {
            break;
        }
        let is_other = |earlier: &&Entry| earlier.rule != later.rule;
        let Some(earlier) =
            entries[..at].iter().filter(is_other).find(|earlier| covers(rules, earlier, later))
        else {
            continue;
        };
        let (rule, by) = (later.rule as usize, earlier.rule as usize);
        let shadow = shadows[rule].get_or_insert(Shadow { rule, by, taken: 0, of: of[rule] });
        shadow.taken += 1;
        shadow.by = shadow.by.min(by);
    }
    shadows.into_iter().flatten().collect()
}

/// Whether everything that `later` takes, `earlier` takes too.
fn covers(rules: &[StreamRule], earlier: &Entry, later: &Entry) -> bool {
    let (a, b) = (&rules[earlier.rule as usize], &rules[later.rule as usize]);
    let ports = |a: &PortRange, b: &PortRange| a.first <= b.first && b.last <= a.last;
    all_in(&a.listeners, &b.listeners, |a, b| a == b)
        && all_in(&earlier.sources(a), &later.sources(b), super::cidr::Cidr::covers)
        && all_in(&earlier.destinations(a), &later.destinations(b), super::cidr::Cidr::covers)
        && all_in(&a.source_ports, &b.source_ports, ports)
        && all_in(&a.destination_ports, &b.destination_ports, ports)
        && (a.sni.contains(&HostMatch::Any) || all_in(&a.sni, &b.sni, name_covers))
        && all_in(&a.alpn, &b.alpn, |a, b| a == b)
}

/// Whether each of `later` lies in one of `earlier`. None stands for everything.
fn all_in<T>(earlier: &[T], later: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    let in_one = |later: &T| earlier.iter().any(|earlier| covers(earlier, later));
    earlier.is_empty() || !later.is_empty() && later.iter().all(in_one)
}

/// A pattern is asked about a name that only the other pattern can mean.
fn name_covers(earlier: &HostMatch, later: &HostMatch) -> bool {
    match later {
        HostMatch::Any => matches!(earlier, HostMatch::Any),
        HostMatch::Exact(name) => earlier.matches(name.as_bytes()),
        HostMatch::Suffix(suffix) => earlier.matches(format!("\0{suffix}").as_bytes()),
        HostMatch::Prefix(prefix) => earlier.matches(format!("{prefix}\0").as_bytes()),
    }
}

/// Some tens of milliseconds, and all pairs of 2,000 rules. Beyond it nothing is reported, which is no promise of anything.
const MOST_COMPARED: usize = 2_000_000;
