//! Replays pingora: `config.what` of each case says which part of it.

use evenkeel_balance::compat::pingora::{Backend, Continuum, LoadBalancer, Selection};
use serde_json::Value;

use super::each_case;
use crate::{Case, Tally, UnknownFile, Vector};

/// Replays a file of pingora.
///
/// # Errors
///
/// [`UnknownFile`], if no case is of a part that is known, with servers that can be read.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    each_case(vector, |case, tally| replay_case(vector, case, tally))
}

fn replay_case(vector: &Vector, case: &Case, tally: &mut Tally) -> Result<(), String> {
    let config = &case.0["config"];
    let backends = case.servers().iter().map(backend).collect::<Result<Vec<_>, _>>()?;
    let points = config["point_multiple"].as_u64().map_or(Ok(Continuum::POINT_MULTIPLE), u32::try_from);
    let points = points.map_err(|_| "point_multiple is too large")?;
    let ring = || Continuum::new(&backends, points).map_err(|why| why.to_string());
    let balancer = |selection| LoadBalancer::new(selection, &backends).map_err(|why| why.to_string());
    match config["what"].as_str() {
        Some("ketama") => {
            let ring = ring()?;
            check(vector, case, tally, |key, _| ring.node(key).into())
        }
        Some("ketama_order") => {
            let ring = ring()?;
            check(vector, case, tally, |key, theirs| {
                let count = theirs.as_array().map_or(0, Vec::len);
                ring.nodes(key).take(count).collect::<Vec<_>>().into()
            })
        }
        Some("lb_round_robin") => select(vector, case, tally, &balancer(Selection::RoundRobin)?),
        Some("lb_fnv") => select(vector, case, tally, &balancer(Selection::FnvHash)?),
        Some("lb_consistent") => {
            let selection = Selection::Consistent { point_multiple: points };
            select(vector, case, tally, &balancer(selection)?)
        }
        other => Err(format!("part {other:?}")),
    }
}

/// Selects with some servers refused and a bound of steps, if the case says so.
fn select(vector: &Vector, case: &Case, tally: &mut Tally, balancer: &LoadBalancer) -> Result<(), String> {
    let config = &case.0["config"];
    let refused: Vec<bool> = case
        .servers()
        .iter()
        .map(|server| config["reject"].as_array().is_some_and(|list| list.contains(&server["addr"])))
        .collect();
    let steps = config["max_iterations"].as_u64().map_or(Ok(DEFAULT_STEPS), usize::try_from);
    let steps = steps.map_err(|_| "max_iterations is too large")?;
    check(vector, case, tally, |key, _| balancer.select_with(key, steps, |index| !refused[index]).into())
}

fn check(
    vector: &Vector,
    case: &Case,
    tally: &mut Tally,
    ours: impl Fn(&[u8], &Value) -> Value,
) -> Result<(), String> {
    let picks = case.0["picks"].as_array().ok_or("no picks")?;
    let keys = vector.keys_for(case, picks.len())?.unwrap_or_default();
    for (index, theirs) in picks.iter().enumerate() {
        let key = keys.get(index).map_or(&[][..], Vec::as_slice);
        // Nobody, in the other way of writing.
        let nobody = theirs.as_i64() == Some(-1);
        let (ours, theirs) = (ours(key, theirs), if nobody { &Value::Null } else { theirs });
        let shown = String::from_utf8_lossy(key);
        tally.check(ours.to_string(), theirs.to_string(), || format!("{} {shown:?} ({index})", case.id()));
    }
    Ok(())
}

fn backend(server: &Value) -> Result<Backend, String> {
    let text = server["addr"].as_str().ok_or("a server without `addr`")?;
    let address = text.parse().map_err(|why| format!("{text:?}: {why}"))?;
    Ok(Backend { address, weight: Case::weight(server) })
}

/// Steps of a case that sets no bound: as many as the recorded ones with a wide bound.
const DEFAULT_STEPS: usize = 256;
