use std::collections::{BTreeMap, VecDeque};

use evenkeel_limit::{Extra, Ledger, LedgerConfig, LedgerRefusal, Reservation};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::Timestamp;

use super::{Tally, make};

pub(crate) struct Account {
    ledger: Ledger,
    taken: BTreeMap<String, VecDeque<Reservation>>,
    tally: Tally,
    reason: Option<&'static str>,
}

impl Account {
    pub(crate) fn new(config: &str) -> Result<Self, String> {
        let ledger = make(config, |config: &LedgerConfig| Ledger::new(config))?;
        Ok(Self { ledger, taken: BTreeMap::new(), tally: Tally::default(), reason: None })
    }

    fn take(&mut self, kind: Extra, name: &str, now: Timestamp) {
        let result = self.ledger.reserve(kind, now);
        self.reason = result.as_ref().err().map(|refusal| match refusal {
            LedgerRefusal::Total { .. } => "total",
            _ => "kind",
        });
        if let Some(reservation) = self.tally.note(result) {
            self.taken.entry(name.into()).or_default().push_back(reservation);
        }
    }

    fn taken(&mut self, action: &Action) -> Result<Reservation, String> {
        let name = action.name(0)?;
        let taken = self.taken.get_mut(name).and_then(VecDeque::pop_front);
        taken.ok_or_else(|| format!("{name:?} has taken nothing"))
    }
}

fn kind(word: &str) -> Option<Extra> {
    Some(match word {
        "probe" => Extra::Probe,
        "retry" => Extra::Retry,
        "spill" => Extra::Spill,
        "hedge" => Extra::Hedge,
        _ => return None,
    })
}

impl Machine for Account {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "deposit" | "request" => self.ledger.deposit(now),
            "reserve" | "take" => {
                let word = action.name(0)?;
                let kind = kind(word).ok_or_else(|| format!("there is no kind {word:?}"))?;
                self.take(kind, action.bare(1).unwrap_or(word), now);
            }
            "cancel" => {
                let reservation = self.taken(action)?;
                self.ledger.cancel(reservation);
            }
            "commit" => {
                let reservation = self.taken(action)?;
                self.ledger.commit(reservation);
            }
            verb => {
                let kind = kind(verb).ok_or_else(|| action.unknown())?;
                self.take(kind, action.bare(0).unwrap_or(verb), now);
            }
        }
        action.no_more()
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        Some(match (name, name.rsplit_once('.')) {
            ("spent" | "extra", _) => self.ledger.spent(now).into(),
            ("stock", _) => self.ledger.stock(now).into(),
            ("reason", _) => super::optional(self.reason),
            (_, Some((word, "spent"))) => self.ledger.spent_on(kind(word)?, now).into(),
            _ => return self.tally.fact(name),
        })
    }
}
