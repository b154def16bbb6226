//! The machines of this crate as scenarios see them. The tables are in `docs/scenarios.md`.

mod budget;
mod compat;
mod hedge;
mod ledger;
mod limit;
mod rate;
mod shed;
mod throttle;

use std::error::Error;

use evenkeel_scenario::{Action, Crowded, Fact, Machine, Suite};
use evenkeel_types::{Origin, Outcome};
use serde::de::DeserializeOwned;

pub(crate) fn add_all(suite: &mut Suite) {
    suite.machine("limit", |config, seed| boxed(limit::Limit::new(config, seed)));
    suite.machine("partitions", |config, seed| boxed(limit::Parts::new(config, seed)));
    suite.machine("budget", |config, _| boxed(budget::Budget::new(config)));
    suite.machine("hedge", |config, _| boxed(hedge::Hedge::new(config)));
    suite.machine("ledger", |config, _| boxed(ledger::Account::new(config)));
    suite.machine("rate", |config, _| boxed(rate::Rate::new(config)));
    suite.machine("keyed_rate", |config, seed| boxed(rate::Keyed::new(config, seed)));
    suite.machine("throttle", |config, seed| boxed(throttle::Client::new(config, seed)));
    suite.machine("admission", |config, seed| boxed(throttle::Server::new(config, seed)));
    suite.machine("shed", |config, _| shed::new(config));
    suite.machine("envoy_retry_budget", |config, _| boxed(compat::Envoy::new(config)));
    suite.machine("grpc_throttle", |config, _| boxed(compat::Grpc::new(config)));
    suite.machine("aws_standard", |config, _| boxed(compat::AwsStandard::new(config)));
    suite.machine("aws_adaptive", |config, _| boxed(compat::AwsAdaptive::new(config)));
}

fn boxed<M: Machine + 'static>(machine: Result<M, String>) -> Result<Box<dyn Machine>, String> {
    machine.map(|machine| Box::new(machine) as Box<dyn Machine>)
}

/// The settings, and what is made of them.
fn make<C: DeserializeOwned, M, E: Error>(
    config: &str,
    new: impl FnOnce(&C) -> Result<M, E>,
) -> Result<M, String> {
    let config: C = toml::from_str(config).map_err(|error| error.to_string())?;
    new(&config).map_err(|error| error.to_string())
}

/// What was granted and what refused.
#[derive(Debug, Default)]
struct Tally {
    granted: u64,
    refusals: u64,
    refused: bool,
}

impl Tally {
    fn note<T, E>(&mut self, result: Result<T, E>) -> Option<T> {
        self.refused = result.is_err();
        match result {
            Ok(value) => {
                self.granted += 1;
                Some(value)
            }
            Err(_) => {
                self.refusals += 1;
                None
            }
        }
    }

    fn crowd(&mut self, told: Crowded) {
        self.granted += told.granted;
        self.refusals += told.refused;
        self.refused = told.refused > 0;
    }

    fn fact(&self, name: &str) -> Option<Fact> {
        Some(match name {
            "refused" | "shed" | "held" => self.refused.into(),
            "admitted" | "served" => (!self.refused).into(),
            "granted" => self.granted.into(),
            "refusals" => self.refusals.into(),
            _ => return None,
        })
    }
}

/// The outcome that a word stands for.
fn outcome(word: &str) -> Option<Outcome> {
    Some(match word {
        "ok" | "success" | "succeed" | "accept" => Outcome::success(),
        "fail" | "failure" | "error" => Outcome::failure(),
        "gateway" => Outcome::failure().with_origin(Origin::Gateway),
        "timeout" | "local" => Outcome::failure().with_origin(Origin::Local),
        "overload" | "drop" | "nack" | "reject" => Outcome::overload(None),
        "neutral" | "ignore" | "cancelled" => Outcome::neutral(),
        _ => return None,
    })
}

/// The outcomes that a crowd's requests take in turns; successes if none is said.
fn outcomes(action: &Action) -> Result<Vec<Outcome>, String> {
    let known =
        |word: &String| outcome(word).ok_or_else(|| format!("{}: {word:?} is no outcome", action.verb()));
    let outcomes: Vec<Outcome> = action.words().iter().map(known).collect::<Result<_, _>>()?;
    Ok(if outcomes.is_empty() { vec![Outcome::success()] } else { outcomes })
}

fn optional<F: Into<Fact>>(fact: Option<F>) -> Fact {
    fact.map_or(Fact::None, Into::into)
}

fn whole(action: &Action, key: &str) -> Result<Option<u32>, String> {
    let number = action.number(key)?;
    match number {
        None => Ok(None),
        Some(number) if number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0 => {
            Ok(Some(number as u32))
        }
        Some(number) => Err(format!("{key}={number}: a whole number is needed")),
    }
}
