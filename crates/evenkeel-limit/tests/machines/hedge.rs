use std::collections::BTreeMap;

use evenkeel_limit::{
    BudgetSpent, HedgeConfig, HedgePlan, HedgeStep, Hedger, Leg, RetryBudget, RetryBudgetConfig,
};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::{Ratio, Timestamp};

use super::{make, optional, whole};

pub(crate) struct Hedge {
    hedger: Hedger,
    clients: Option<RetryBudget>,
    plans: BTreeMap<String, HedgePlan>,
    step: &'static str,
    sent: u64,
    no_budget: u64,
}

impl Hedge {
    pub(crate) fn new(config: &str) -> Result<Self, String> {
        let hedger = make(config, |config: &HedgeConfig| Hedger::new(config))?;
        Ok(Self { hedger, clients: None, plans: BTreeMap::new(), step: "wait", sent: 0, no_budget: 0 })
    }

    fn plan(&mut self, action: &Action) -> Result<&mut HedgePlan, String> {
        let name = action.name(0)?;
        self.plans.get_mut(name).ok_or_else(|| format!("{name:?} was not started"))
    }

    fn note(&mut self, step: HedgeStep) {
        self.step = match step {
            HedgeStep::Wait => "wait",
            HedgeStep::Send => "send",
            HedgeStep::NoBudget(BudgetSpent { .. }) => "no_budget",
            HedgeStep::Done(Leg::Original) => "original",
            HedgeStep::Done(Leg::Backup) => "backup",
        };
        self.sent += u64::from(step == HedgeStep::Send);
        self.no_budget += u64::from(self.step == "no_budget");
    }
}

impl Machine for Hedge {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "start" | "request" => {
                let plan = self.hedger.start(now);
                self.plans.insert(action.bare(0).unwrap_or("").into(), plan);
            }
            "tick" => {
                let mut plan = self.plan(action)?.clone();
                let step = plan.tick(now, || self.hedger.withdraw(self.clients.as_ref(), now));
                self.plans.insert(action.name(0)?.into(), plan);
                self.note(step);
            }
            "original" | "backup" => {
                let leg = if action.verb() == "original" { Leg::Original } else { Leg::Backup };
                let succeeded = match action.name(1)? {
                    "ok" | "success" => true,
                    "fail" | "failure" => false,
                    word => return Err(format!("{word:?} is neither ok nor fail")),
                };
                let step = self.plan(action)?.ended(leg, succeeded);
                self.note(step);
            }
            "record" | "latency" => {
                let latency = action.duration("latency")?.ok_or("record needs latency=")?;
                self.hedger.record(latency, now);
            }
            "refresh" => self.hedger.delay().refresh_if_due(now),
            "set_load" => {
                let share = Ratio::new(action.number("to")?.ok_or("set_load needs to=")?);
                let share = share.map_err(|error| error.to_string())?;
                self.hedger.set_max_extra_load(share).map_err(|error| error.to_string())?;
            }
            "client_budget" => {
                let ratio = action.number("ratio")?.unwrap_or(0.0);
                let min_per_second = whole(action, "min_per_second")?.unwrap_or(0);
                let config = RetryBudgetConfig { ratio, min_per_second, ..RetryBudgetConfig::default() };
                self.clients = Some(RetryBudget::new(&config).map_err(|error| error.to_string())?);
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        Some(match (name, name.rsplit_once('.')) {
            ("delay", _) => optional(self.hedger.delay().get()),
            ("step" | "answer", _) => self.step.into(),
            ("wait" | "send" | "no_budget" | "original" | "backup", _) => (self.step == name).into(),
            ("sent", _) => self.sent.into(),
            ("unfunded", _) => self.no_budget.into(),
            ("balance", _) => self.hedger.budget().balance(now).into(),
            ("client.balance", _) => self.clients.as_ref()?.balance(now).into(),
            (_, Some((plan, "due"))) => optional(self.plans.get(plan)?.next_deadline()),
            _ => return None,
        })
    }
}
