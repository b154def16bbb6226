//! Envoy: the cluster object of each case says what it does.

mod behaviour;
mod cluster;
mod keyed;
mod levels;
mod request;
mod turns;

use evenkeel_balance::compat::envoy::{EnvoyPolicy, InvalidRingSizes, InvalidTableSize, WeightsTooLarge};
use serde_json::Value;
use thiserror::Error;

use self::cluster::Cluster;
use super::each_case;
use crate::{Case, Tally, UnknownFile, Vector};

/// Replays a file of Envoy's.
///
/// # Errors
///
/// [`UnknownFile`], if no case is of a balancing policy that is known and lists its picks in a form that is known.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    each_case(vector, |case, tally| replay_case(vector, case, tally))
}

fn replay_case(vector: &Vector, case: &Case, tally: &mut Tally) -> Result<(), String> {
    if let Some(replayed) = behaviour::replay(case, tally) {
        return replayed;
    }
    let Some(answers) = Answers::of(case) else {
        return levels::replay(case, tally)
            .ok_or_else(|| "neither picks, nor shares of levels, nor a behaviour".to_owned());
    };
    // Settings that Envoy would refuse: then none of its answers can be ours.
    let refuse = |why: &dyn std::fmt::Display, tally: &mut Tally| {
        (0..answers.count()).for_each(|_| tally.fail(format!("{}: {why}", case.id())));
    };
    let cluster = match Cluster::of(case) {
        Ok(cluster) => cluster,
        Err(why) => {
            refuse(&why, tally);
            return Ok(());
        }
    };
    match cluster.policy() {
        Some(EnvoyPolicy::RingHash(_) | EnvoyPolicy::Maglev(_)) => {
            if let Err(why) = keyed::replay(vector, case, &cluster, &answers, tally) {
                refuse(&why, tally);
            }
        }
        _ => turns::replay(case, &cluster, &answers, tally),
    }
    Ok(())
}

/// The picks of a case, by the form in which they are listed.
enum Answers {
    /// One for each key of a list.
    Keyed(Vec<Pick>),
    /// Several for each key: its bytes in hexadecimal digits, or none at all.
    Requests(Vec<(Option<String>, Vec<Pick>)>),
    /// Lists of consecutive picks, each from a fresh start.
    Runs(Vec<Vec<Pick>>),
}

impl Answers {
    fn of(case: &Case) -> Option<Self> {
        let value = &case.0;
        if let Some(requests) = value["requests"].as_array() {
            let each = requests.iter().map(|request| {
                Some((request["key_hex"].as_str().map(str::to_owned), numbers(&request["picks"])?))
            });
            return each.collect::<Option<_>>().map(Self::Requests);
        }
        if let Some(runs) = value["runs"].as_array() {
            return runs.iter().map(numbers).collect::<Option<_>>().map(Self::Runs);
        }
        let picks = numbers(&value["picks"])?;
        Some(if value["keys"].is_string() { Self::Keyed(picks) } else { Self::Runs(vec![picks]) })
    }

    fn count(&self) -> usize {
        match self {
            Self::Keyed(picks) => picks.len(),
            Self::Requests(requests) => requests.iter().map(|(_, picks)| picks.len()).sum(),
            Self::Runs(runs) => runs.iter().map(Vec::len).sum(),
        }
    }
}

/// The server of a request; `None` if it reached none.
type Pick = Option<u32>;

fn numbers(value: &Value) -> Option<Vec<Pick>> {
    let pick = |value: &Value| match value.as_i64() {
        Some(number) => Some(u32::try_from(number).ok()),
        None => value.is_null().then_some(None),
    };
    value.as_array()?.iter().map(pick).collect()
}

fn text(pick: Pick) -> String {
    pick.map_or_else(|| "none".to_owned(), |server| server.to_string())
}

/// Why a case cannot be replayed: Envoy would refuse it too.
#[derive(Debug, Error)]
enum Refused {
    #[error(transparent)]
    Ring(#[from] InvalidRingSizes),
    #[error(transparent)]
    Table(#[from] InvalidTableSize),
    #[error(transparent)]
    Weights(#[from] WeightsTooLarge),
    #[error("regex_rewrite {0:?} is no regular expression")]
    Expression(String),
}
