//! The comparison, as text: nothing here prints.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel::Timestamp;

use crate::fleet::TIME_TO_LIVE;
use crate::ledger::Ledger;
use crate::story::{Act, Change};

/// One column for each pattern.
pub(crate) fn of(columns: &[(&str, &Ledger)], changes: &[Change]) -> String {
    let mut table = row("", columns.iter().map(|(name, _)| (*name).to_owned()));
    let mut add = |title: &str, cell: &dyn Fn(&Ledger) -> String| {
        table += &row(title, columns.iter().map(|(_, ledger)| cell(ledger)));
    };
    add("requests", &|ledger| ledger.requests().to_string());
    add("failures", &|ledger| ledger.failures().len().to_string());
    add("sent again elsewhere", &|ledger| ledger.retries().to_string());
    add("hops for a request", &|ledger| format!("{:.2}", ledger.hops()));
    add("latency p50 / p99", &|ledger| {
        format!("{} / {}", millis(ledger.latency(50)), millis(ledger.latency(99)))
    });
    add("who follows the registry", &|ledger| ledger.followers.load(Ordering::Relaxed).to_string());
    add("connections to instances", &|ledger| ledger.opened.load(Ordering::Relaxed).to_string());
    for change in changes {
        let title = format!("{} {}: {}", change.name, change.act.told(), change.measured());
        add(&title, &|ledger| change.honoured(ledger));
    }
    table
}

/// What was promised and not kept.
pub(crate) fn broken(ledger: &Ledger, changes: &[Change]) -> Vec<String> {
    let lost = ledger.failures().into_iter().take(5).map(|reason| format!("a request was lost: {reason}"));
    lost.chain(changes.iter().filter_map(|change| change.broken(ledger))).collect()
}

impl Change {
    const fn measured(&self) -> &'static str {
        match self.act {
            Act::Joins => "first answer after",
            Act::Leaves => "last pick after",
            Act::Crashes => "last pick after (wasted)",
        }
    }

    fn honoured(&self, ledger: &Ledger) -> String {
        let since = |at: Timestamp| millis(at.saturating_since(self.at));
        match self.act {
            Act::Joins => ledger.first_answer(self.name, self.at).map_or("never".to_owned(), since),
            Act::Leaves => ledger.picks_after(self.name, self.at).0.map_or("none".to_owned(), since),
            Act::Crashes => match ledger.picks_after(self.name, self.at) {
                (Some(last), _, wasted) => format!("{} ({wasted})", since(last)),
                (None, ..) => "none".to_owned(),
            },
        }
    }

    fn broken(&self, ledger: &Ledger) -> Option<String> {
        let (last, ..) = ledger.picks_after(self.name, self.at);
        let late = |limit: Duration| last.filter(|last| last.saturating_since(self.at) > limit);
        let complaint = match self.act {
            Act::Joins if ledger.first_answer(self.name, self.at).is_none() => "it was never asked",
            Act::Leaves if late(DRAIN_WITHIN).is_some() => {
                "it was picked long after it had announced its drain"
            }
            Act::Crashes if late(TIME_TO_LIVE + SLACK).is_some() => {
                "it was picked after its lease had run out"
            }
            _ => return None,
        };
        Some(format!("{} {}: {complaint}", self.name, self.act.told()))
    }
}

fn row(title: &str, cells: impl Iterator<Item = String>) -> String {
    let mut row = format!("{title:<46}");
    for cell in cells {
        // Writing to a text cannot fail.
        let _ = write!(row, "{cell:>20}");
    }
    row.truncate(row.trim_end().len());
    row + "\n"
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// In one process a drain is known at once; a pick that was made before may be noted a moment later.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);

/// A machine that is busy with other things.
const SLACK: Duration = Duration::from_millis(700);
