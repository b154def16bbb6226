//! Round robin and least request: consecutive picks from a start that Envoy drew.

use evenkeel_balance::compat::envoy::{
    EnvoyPolicy, LeastRequest, LeastRequestSettings, RoundRobin, Weighted,
};

use super::Answers;
use super::cluster::Cluster;
use crate::recorded::{Pick, text};
use crate::{Case, Tally};

pub(super) fn replay(
    case: &Case,
    cluster: &Cluster,
    answers: &Answers,
    tally: &mut Tally,
) -> Result<(), String> {
    let name = case.0["config"]["lb_policy"].as_str();
    if cluster.policy().is_none() && name != Some("RANDOM") {
        return Err(format!("lb_policy {} is not replayed", name.unwrap_or("(none)")));
    }
    let runs: Vec<&[Pick]> = match answers {
        Answers::Requests(requests) => requests.iter().map(|(_, picks)| picks.as_slice()).collect(),
        Answers::Runs(runs, _) => runs.iter().map(Vec::as_slice).collect(),
    };
    let Some(hosts) = hosts_in_turn(cluster) else {
        let usable = cluster.usable();
        for &theirs in runs.iter().copied().flatten() {
            let may_be = theirs.map_or(usable.is_empty(), |server| usable.contains(&server));
            tally.check(may_be, true, || format!("{} drawn: {} is usable", case.id(), text(theirs)));
        }
        return Ok(());
    };
    let starts = starts(case, cluster.policy(), &hosts, &runs);
    for (run, (theirs, start)) in runs.iter().zip(starts).enumerate() {
        let mut turns = Turns::new(cluster.policy(), &hosts, start);
        for (place, &theirs) in theirs.iter().enumerate() {
            tally.check(text(turns.pick()), text(theirs), || format!("{} run {run} pick {place}", case.id()));
        }
    }
    Ok(())
}

/// The servers that take turns; `None` if draws decide each pick, of the server or of its level.
fn hosts_in_turn(cluster: &Cluster) -> Option<Vec<Weighted>> {
    let hosts = cluster.usable_in(cluster.only_level()?);
    let is_drawn = match cluster.policy() {
        Some(EnvoyPolicy::RoundRobin(_)) => false,
        Some(EnvoyPolicy::LeastRequest(_)) => hosts.windows(2).all(|pair| pair[0].1 == pair[1].1),
        _ => true,
    };
    (!is_drawn).then_some(hosts)
}

/// A start for each run: the one that is given, or else the first that reproduces it.
fn starts(case: &Case, policy: Option<&EnvoyPolicy>, hosts: &[Weighted], runs: &[&[Pick]]) -> Vec<u64> {
    let fits = |start: u64, run: &[Pick]| {
        let mut turns = Turns::new(policy, hosts, start);
        run.iter().all(|&theirs| turns.pick() == theirs)
    };
    let given = |run: usize| case.0["starts"][run].as_u64();
    let mut starts: Vec<Option<u64>> =
        (0..runs.len()).map(|run| given(run).filter(|&start| fits(start, runs[run]))).collect();
    let rotates = hosts.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let most = if rotates { hosts.len() as u64 } else { MOST_STARTS };
    for start in 0..most {
        if starts.iter().all(Option::is_some) {
            break;
        }
        let mut open = runs.iter().zip(&mut starts).filter(|(_, found)| found.is_none());
        open.by_ref().filter(|(run, _)| fits(start, run)).for_each(|(_, found)| *found = Some(start));
    }
    starts.into_iter().enumerate().map(|(run, start)| start.or(given(run)).unwrap_or(0)).collect()
}

/// So many starts are tried where none is given. A cycle is as long as the sum of the weights; more are worth a try since
/// rounding makes some cycles differ.
const MOST_STARTS: u64 = 1 << 20;

enum Turns {
    RoundRobin(RoundRobin),
    LeastRequest(Option<LeastRequest>),
}

impl Turns {
    fn new(policy: Option<&EnvoyPolicy>, hosts: &[Weighted], start: u64) -> Self {
        if matches!(policy, Some(EnvoyPolicy::LeastRequest(_))) {
            // Requests came one after the other, so none was ever in flight at a pick.
            let machine = LeastRequest::new(LeastRequestSettings::default(), hosts, start, |_| 0);
            return Self::LeastRequest(machine.ok());
        }
        Self::RoundRobin(RoundRobin::new(hosts, start))
    }

    fn pick(&mut self) -> Option<u32> {
        match self {
            Self::RoundRobin(turns) => turns.pick(),
            Self::LeastRequest(machine) => machine.as_mut()?.pick(|_| 0, || 0),
        }
    }
}
