use std::collections::{BTreeMap, VecDeque};

use evenkeel_limit::{RetryBudget, RetryBudgetConfig, Withdrawal};
use evenkeel_scenario::{Action, Crowd, Fact, Machine};
use evenkeel_types::Timestamp;

use super::{Tally, make};

pub(crate) struct Budget {
    budget: RetryBudget,
    /// The second of two, made by `other`.
    other: Option<RetryBudget>,
    taken: BTreeMap<String, VecDeque<Withdrawal>>,
    tally: Tally,
}

impl Budget {
    pub(crate) fn new(config: &str) -> Result<Self, String> {
        let budget = make(config, |config: &RetryBudgetConfig| RetryBudget::new(config))?;
        Ok(Self { budget, other: None, taken: BTreeMap::new(), tally: Tally::default() })
    }
}

impl Machine for Budget {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "deposit" | "request" => self.budget.deposit(now),
            "withdraw" | "retry" | "spend" => {
                let name = action.bare(0).unwrap_or("");
                let result = self.budget.try_withdraw(now);
                if let Some(withdrawal) = self.tally.note(result) {
                    self.taken.entry(name.into()).or_default().push_back(withdrawal);
                }
            }
            "parallel" | "together" => {
                let crowd = Crowd::read(action)?.ok_or_else(|| action.unknown())?;
                let told = match action.name(0)? {
                    "deposit" | "request" => crowd.run(|| Some(()), |(), _| self.budget.deposit(now)),
                    "withdraw" | "retry" => crowd.run(|| self.budget.try_withdraw(now).ok(), |_, _| ()),
                    other => return Err(format!("{}: {other:?}: write deposit or withdraw", action.verb())),
                };
                if action.name(0)? != "deposit" {
                    self.tally.crowd(told);
                }
            }
            "cancel" => {
                let name = action.bare(0).unwrap_or("");
                let taken = self.taken.get_mut(name).and_then(VecDeque::pop_front);
                self.budget.cancel(taken.ok_or_else(|| format!("{name:?} has taken nothing"))?);
            }
            "other" => {
                let ratio = action.number("ratio")?.unwrap_or(0.0);
                let min_per_second = super::whole(action, "min_per_second")?.unwrap_or(0);
                let config = RetryBudgetConfig { ratio, min_per_second, ..RetryBudgetConfig::default() };
                self.other = Some(RetryBudget::new(&config).map_err(|error| error.to_string())?);
            }
            "withdraw_both" => {
                let other = self.other.as_ref().ok_or("there is no other budget: write other")?;
                self.tally.note(self.budget.try_withdraw_both(other, now));
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "balance" => self.budget.balance(now).into(),
            "empty" => (self.budget.balance(now) == 0).into(),
            "other.balance" => self.other.as_ref()?.balance(now).into(),
            _ => return self.tally.fact(name),
        })
    }
}
