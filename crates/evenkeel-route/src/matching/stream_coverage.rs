//! Rules for connections that can never take one.

use super::cidr::Cidr;
use super::coverage::Shadow;
use super::host::HostMatch;
use super::stream::{Entry, PortRange, StreamRule};

/// Which entries an earlier one covers: for each rule, how many of its own. Compares what is in them, at most
/// [`MOST_COMPARED`] times.
pub(super) fn find(rules: &[StreamRule], entries: &[Entry]) -> Vec<Shadow> {
    let mut shadows: Vec<Option<Shadow>> = vec![None; rules.len()];
    let mut of = vec![0_usize; rules.len()];
    entries.iter().for_each(|entry| of[entry.rule as usize] += 1);
    let mut budget = Budget(MOST_COMPARED);
    for (at, later) in entries.iter().enumerate() {
        let found = entries[..at].iter().find(|earlier| {
            let before = budget.0;
            let found = earlier.rule != later.rule && covers(rules, earlier, later, &mut budget);
            // No pair is for nothing, even if neither has a list.
            if budget.0 == before {
                budget.spend();
            }
            found || budget.is_spent()
        });
        // What was being compared when it ran out is not known.
        if budget.is_spent() {
            break;
        }
        let Some(earlier) = found else { continue };
        let (rule, by) = (later.rule as usize, earlier.rule as usize);
        let shadow = shadows[rule].get_or_insert(Shadow { rule, by, taken: 0, of: of[rule] });
        shadow.taken += 1;
        shadow.by = shadow.by.min(by);
    }
    shadows.into_iter().flatten().collect()
}

/// How many comparisons are left.
struct Budget(usize);

impl Budget {
    /// Whether there was one left.
    const fn spend(&mut self) -> bool {
        let is_left = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        is_left
    }

    const fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

/// Whether everything that `later` takes, `earlier` takes too. The shortest lists come first, ranges last.
fn covers(rules: &[StreamRule], earlier: &Entry, later: &Entry, budget: &mut Budget) -> bool {
    let (a, b) = (&rules[earlier.rule as usize], &rules[later.rule as usize]);
    let ports = |a: &PortRange, b: &PortRange| a.first <= b.first && b.last <= a.last;
    all_in(&a.source_ports, &b.source_ports, ports, budget)
        && all_in(&a.destination_ports, &b.destination_ports, ports, budget)
        && names_in(&a.sni, &b.sni, budget)
        && all_in(&a.alpn, &b.alpn, |a, b| a == b, budget)
        && all_in(&a.listeners, &b.listeners, |a, b| a == b, budget)
        && all_in(earlier.sources(a), later.sources(b), Cidr::covers, budget)
        && all_in(earlier.destinations(a), later.destinations(b), Cidr::covers, budget)
}

/// As [`all_in`]; `*` takes connections without a name too.
fn names_in(earlier: &[HostMatch], later: &[HostMatch], budget: &mut Budget) -> bool {
    if later.is_empty() {
        all_in(earlier, &[HostMatch::Any], name_covers, budget)
    } else {
        all_in(earlier, later, name_covers, budget)
    }
}

/// Whether each of `later` lies in one of `earlier`. None stands for everything.
fn all_in<T>(earlier: &[T], later: &[T], covers: impl Fn(&T, &T) -> bool, budget: &mut Budget) -> bool {
    let mut in_one = |later: &T| earlier.iter().any(|earlier| budget.spend() && covers(earlier, later));
    earlier.is_empty() || !later.is_empty() && later.iter().all(&mut in_one)
}

/// Whether every name that `later` takes, `earlier` takes.
fn name_covers(earlier: &HostMatch, later: &HostMatch) -> bool {
    match (earlier, later) {
        (HostMatch::Any, _) => true,
        (_, HostMatch::Exact(name)) => earlier.matches(name.as_bytes()),
        (HostMatch::Suffix(earlier), HostMatch::Suffix(later)) => later.ends_with(earlier.as_str()),
        (HostMatch::Prefix(earlier), HostMatch::Prefix(later)) => later.starts_with(earlier.as_str()),
        _ => false,
    }
}

/// Some tens of milliseconds. Beyond it nothing is reported, which is no promise of anything.
const MOST_COMPARED: usize = 2_000_000;
