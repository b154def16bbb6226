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
use crate::recorded::{Pick, picks, requests};
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
    let Some(answers) = Answers::of(vector, case)? else {
        return levels::replay(case, tally)
            .ok_or_else(|| "neither picks, nor shares of levels, nor a behaviour".to_owned());
    };
    if !case.0["config"]["load_balancing_policy"].is_null() {
        return Err("load_balancing_policy is not replayed".to_owned());
    }
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
            if let Err(why) = keyed::replay(case, &cluster, &answers, tally) {
                refuse(&why, tally);
            }
            Ok(())
        }
        _ => turns::replay(case, &cluster, &answers, tally),
    }
}

/// The picks of a case, by the form in which they are listed.
enum Answers {
    /// Several for each key, none if a request had none.
    Requests(Vec<(Option<Vec<u8>>, Vec<Pick>)>),
    /// Lists of consecutive picks, each from a fresh start, and the key of each pick of a list, if there are keys.
    Runs(Vec<Vec<Pick>>, Option<Vec<Vec<u8>>>),
}

impl Answers {
    fn of(vector: &Vector, case: &Case) -> Result<Option<Self>, String> {
        if let Some(requests) = requests(case)? {
            let each = requests.into_iter().map(|request| Ok((request.key, picks(request.picks)?)));
            return each.collect::<Result<_, String>>().map(|each| Some(Self::Requests(each)));
        }
        let runs: Vec<Vec<Pick>> = match (&case.0["runs"], &case.0["picks"]) {
            (Value::Array(runs), _) => {
                let run = |run: &Value| picks(run.as_array().ok_or("a run is no list")?);
                runs.iter().map(run).collect::<Result<_, String>>()?
            }
            (_, Value::Array(list)) => vec![picks(list)?],
            _ => return Ok(None),
        };
        let mut keys = vector.keys_of(case)?;
        for run in &runs {
            keys = vector.keys_for(case, run.len())?;
        }
        Ok(Some(Self::Runs(runs, keys)))
    }

    fn count(&self) -> usize {
        match self {
            Self::Requests(requests) => requests.iter().map(|(_, picks)| picks.len()).sum(),
            Self::Runs(runs, _) => runs.iter().map(Vec::len).sum(),
        }
    }
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
    #[error("picks by a key, and no keys")]
    Keyless,
    #[error("regex_rewrite {0:?} is no regular expression")]
    Expression(String),
}
