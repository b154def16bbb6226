//! Replays Traefik: `config.strategy` of each case says which strategy.

use std::net::IpAddr;

use evenkeel_balance::compat::traefik::{Hrw, Wrr};
use serde_json::Value;

use super::each_case;
use crate::{Case, Tally, UnknownFile, Vector};

mod orders;

/// Replays a file of Traefik.
///
/// # Errors
///
/// [`UnknownFile`], if no case is of a strategy that is known, with the URLs that it needs.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    each_case(vector, |case, tally| match case.0["config"]["strategy"].as_str() {
        Some("hrw") => hrw(vector, case, tally),
        Some("wrr") => wrr(case, tally),
        other => Err(format!("strategy {other:?}")),
    })
}

fn hrw(vector: &Vector, case: &Case, tally: &mut Tally) -> Result<(), String> {
    let url = |server: &Value| server["url"].as_str().map(str::to_owned).ok_or("a server without `url`");
    let urls = case.servers().iter().map(url).collect::<Result<Vec<_>, _>>()?;
    let hrw = Hrw::new(urls.iter().map(String::as_str).zip(case.servers().iter().map(Case::weight)));
    let picks = case.0["picks"].as_array().ok_or("no picks")?;
    let keys = vector.keys_for(case, picks.len())?.ok_or("picks by a key, and no keys")?;
    for (key, theirs) in keys.iter().zip(picks) {
        let key = String::from_utf8_lossy(key);
        match key.parse::<IpAddr>() {
            Ok(client) => {
                let ours = Value::from(hrw.pick(client, |_| true));
                tally.check(ours.to_string(), theirs.to_string(), || format!("{} {key}", case.id()));
            }
            Err(_) => tally.fail(format!("{}: {key:?} is no address", case.id())),
        }
    }
    Ok(())
}

/// A run counts as reproduced if servers entered in some order give it: Traefik shuffles them.
fn wrr(case: &Case, tally: &mut Tally) -> Result<(), String> {
    let weights: Vec<u32> = case.servers().iter().map(Case::weight).collect();
    let runs = match (case.0["runs"].as_array(), &case.0["picks"]) {
        (Some(runs), _) => runs.clone(),
        (None, Value::Array(picks)) => vec![picks.clone().into()],
        (None, _) => return Err("neither runs nor picks".to_owned()),
    };
    for (index, run) in runs.iter().enumerate() {
        let picks: Option<Vec<usize>> = run.as_array().and_then(|picks| {
            picks.iter().map(|pick| pick.as_u64().and_then(|pick| usize::try_from(pick).ok())).collect()
        });
        let picks = picks.ok_or("a run that is no list of indexes")?;
        let found = orders::some_order(&weights, |order| reproduces(&weights, order, &picks));
        tally.check(found, true, || format!("{} run {index}: some order of entry", case.id()));
    }
    Ok(())
}

/// Whether servers of `weights`, entered as `order` says by their weights, pick as `picks` says, whichever of the servers
/// of equal weight is which.
fn reproduces(weights: &[u32], order: &[u32], picks: &[usize]) -> bool {
    let mut wrr = Wrr::new(order);
    let mut server_of = vec![None; order.len()];
    let mut is_known = vec![false; weights.len()];
    picks.iter().all(|&theirs| {
        let Some(ours) = wrr.pick(|_| true) else { return false };
        if let Some(server) = server_of[ours] {
            return server == theirs;
        }
        let fits = weights.get(theirs) == Some(&order[ours]) && !is_known[theirs];
        if fits {
            server_of[ours] = Some(theirs);
            is_known[theirs] = true;
        }
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_needs_one_order_and_one_server_for_each_place() {
        let weights = [1, 1, 2];
        let found =
            |picks: &[usize]| orders::some_order(&weights, |order| reproduces(&weights, order, picks));
        assert!(found(&[2, 0, 2, 1]) || found(&[2, 2, 0, 1]));
        assert!(!found(&[0, 0, 0, 0]), "the light one is not alone");
        assert!(!found(&[2, 7]), "no such server");
    }
}
