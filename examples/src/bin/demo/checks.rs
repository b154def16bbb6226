//! Did it go as promised? Pure functions from what was counted to verdicts, so that tests can make them fail.

use std::collections::BTreeMap;

use evenkeel::{EndpointId, PolicyConfig};

use crate::load::Lost;
use crate::phases::Phase;

/// What the run left behind.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    /// Requests that were due.
    pub(crate) due: u64,
    pub(crate) answered: u64,
    pub(crate) lost: Vec<Lost>,
    pub(crate) drained: Drained,
    /// The backend that crashed, and how often it was picked after its return.
    pub(crate) returned: (EndpointId, u64),
    /// The backend that was added, and how often it was picked.
    pub(crate) added: (EndpointId, u64),
    pub(crate) fairness: Fairness,
    /// A backend that was slow for a while: a policy that looks at loads may give it any less.
    pub(crate) slow: EndpointId,
    pub(crate) phases: Vec<Phase>,
}

/// What came to a backend after it was drained.
#[derive(Clone, Debug)]
pub(crate) struct Drained {
    pub(crate) id: EndpointId,
    /// Picks that began after the drain.
    pub(crate) picks: u64,
    /// Requests that the backend itself saw after the last one in flight had ended; `None` if that never happened.
    pub(crate) arrivals: Option<u64>,
}

/// What shares a policy owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fairness {
    /// Exactly by weight, give or take chance.
    ByWeight,
    /// The less loaded of two that were drawn by weight.
    LessLoadedOfTwo,
    /// None that can be told from weights and health alone.
    Unknown,
}

impl Fairness {
    pub(crate) const fn of(policy: &PolicyConfig) -> Self {
        match policy {
            PolicyConfig::LeastRequest(_) => Self::LessLoadedOfTwo,
            PolicyConfig::RoundRobin(_)
            | PolicyConfig::SmoothWeightedRoundRobin(_)
            | PolicyConfig::Random(_)
            | PolicyConfig::WeightedRandom(_) => Self::ByWeight,
            _ => Self::Unknown,
        }
    }
}

/// One promise and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    pub(crate) promise: &'static str,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Kept(String),
    Broken(String),
    /// Too little happened to tell.
    Untested(String),
}

pub(crate) fn all(results: &Results) -> Vec<Check> {
    vec![
        Check { promise: "no request lost while a healthy backend existed", verdict: nothing_lost(results) },
        Check { promise: "nothing sent to the drained backend", verdict: drain_respected(&results.drained) },
        Check { promise: "shares within bounds", verdict: shares_in_bounds(results) },
        Check { promise: "the crashed backend serves again", verdict: serves(&results.returned) },
        Check { promise: "the added backend serves", verdict: serves(&results.added) },
    ]
}

pub(crate) fn is_broken(check: &Check) -> bool {
    matches!(check.verdict, Verdict::Broken(_))
}

fn nothing_lost(results: &Results) -> Verdict {
    let avoidable: Vec<&Lost> = results.lost.iter().filter(|lost| lost.avoidable).collect();
    let unaccounted = results.due.saturating_sub(results.answered + results.lost.len() as u64);
    if let Some(first) = avoidable.first() {
        let (count, due) = (avoidable.len(), first.due.as_secs_f64());
        return Verdict::Broken(format!("{count} lost; the first, due at {due:.1} s: {}", first.reason));
    }
    if unaccounted > 0 {
        return Verdict::Broken(format!("{unaccounted} of {} requests were never sent", results.due));
    }
    match results.lost.len() {
        0 => Verdict::Kept(format!("{} of {} answered with 2xx", results.answered, results.due)),
        lost => Verdict::Kept(format!("{lost} lost, all while no backend was usable")),
    }
}

fn drain_respected(drained: &Drained) -> Verdict {
    let id = &drained.id;
    match drained {
        Drained { picks: 1.., .. } => Verdict::Broken(format!("{id} was picked {} times", drained.picks)),
        Drained { arrivals: None, .. } => Verdict::Broken(format!("{id} never ran dry")),
        Drained { arrivals: Some(arrivals @ 1..), .. } => {
            Verdict::Broken(format!("{id} saw {arrivals} requests"))
        }
        _ => Verdict::Kept(format!("{id} was picked 0 times and saw 0 requests")),
    }
}

fn serves((id, picks): &(EndpointId, u64)) -> Verdict {
    match picks {
        0 => Verdict::Broken(format!("{id} was never picked")),
        _ => Verdict::Kept(format!("{id} was picked {picks} times")),
    }
}

fn shares_in_bounds(results: &Results) -> Verdict {
    if results.fairness == Fairness::Unknown {
        return Verdict::Untested("this policy owes no shares that follow from the weights".to_owned());
    }
    let judged = results.phases.iter().filter(|phase| is_telling(phase));
    let (mut phases, mut comparisons, mut greatest) = (0, 0, 0.0_f64);
    for phase in judged {
        phases += 1;
        let total: u64 = phase.picks.values().sum();
        for (id, &share) in &phase.shares {
            let picks = phase.picks.get(id).copied().unwrap_or(0);
            let (least, most) = bounds(results.fairness, &phase.shares, id, total);
            let least =
                if *id == results.slow && results.fairness != Fairness::ByWeight { 0.0 } else { least };
            if (picks as f64) < least || picks as f64 > most {
                return Verdict::Broken(format!(
                    "{id} was picked {picks} times of {total}, allowed are {least:.0} to {most:.0}"
                ));
            }
            comparisons += 1;
            greatest = greatest.max((picks as f64 / total as f64 - share).abs());
        }
        if let Some((id, picks)) = phase.picks.iter().find(|(id, _)| !phase.shares.contains_key(*id))
            && *picks > RACING_PICKS as u64
        {
            return Verdict::Broken(format!("{id} was picked {picks} times while it was no member"));
        }
    }
    if phases == 0 {
        return Verdict::Untested(format!("no stretch without a change saw {TELLING_PICKS} requests"));
    }
    Verdict::Kept(format!(
        "{comparisons} shares in {phases} stretches, at most {:.1} points off the weights",
        greatest * 100.0
    ))
}

fn is_telling(phase: &Phase) -> bool {
    !phase.shares.is_empty() && phase.picks.values().sum::<u64>() >= TELLING_PICKS
}

/// How often `id` may be picked of `total`: its expectation, give or take five standard deviations of a binomial draw
/// and the picks that race with a change. Over the few hundred comparisons of a run, chance alone leaves these bounds
/// once in ten thousand runs.
fn bounds(fairness: Fairness, shares: &BTreeMap<EndpointId, f64>, id: &EndpointId, total: u64) -> (f64, f64) {
    let share = shares.get(id).copied().unwrap_or(0.0);
    let (least, most) = match fairness {
        Fairness::ByWeight => (share, share),
        Fairness::Unknown => (0.0, 1.0),
        // Never without being drawn. A backend that is idle whenever it is drawn gets more than its share, so one gets
        // less only as far as it is busier than others; those of the story are up to six times as slow.
        Fairness::LessLoadedOfTwo => (share / 6.0, drawn_in_two(shares, id)),
    };
    let total = total as f64;
    let chance = |share: f64| 5.0 * (total * share * (1.0 - share)).sqrt() + RACING_PICKS;
    ((total * least - chance(least)).max(0.0), total * most + chance(most))
}

/// The probability that a backend is among two distinct ones drawn by weight.
fn drawn_in_two(shares: &BTreeMap<EndpointId, f64>, id: &EndpointId) -> f64 {
    let mine = shares.get(id).copied().unwrap_or(0.0);
    let others = shares.iter().filter(|&(other, &share)| other != id && share < 1.0);
    let second: f64 = others.map(|(_, &share)| share * mine / (1.0 - share)).sum();
    (mine + second).min(1.0)
}

/// A pick that begins just before a change may count just after it, and the other way round: so many threads, each
/// delayed once, and some more for a machine that is busy with other things.
const RACING_PICKS: f64 = 10.0;

/// Below this number of picks, a stretch says nothing that the bounds would not allow.
const TELLING_PICKS: u64 = 50;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(name: &str) -> EndpointId {
        name.parse().unwrap()
    }

    fn phase(rows: &[(&str, f64, u64)]) -> Phase {
        Phase {
            shares: rows.iter().map(|&(name, share, _)| (id(name), share)).collect(),
            picks: rows.iter().map(|&(name, _, picks)| (id(name), picks)).collect(),
        }
    }

    /// A run in which everything went well.
    fn good() -> Results {
        Results {
            due: 1_000,
            answered: 1_000,
            lost: Vec::new(),
            drained: Drained { id: id("b4"), picks: 0, arrivals: Some(0) },
            returned: (id("b3"), 100),
            added: (id("b7"), 50),
            fairness: Fairness::ByWeight,
            slow: id("b1"),
            phases: vec![phase(&[("b1", 0.5, 510), ("b2", 0.25, 250), ("b3", 0.25, 240), ("b4", 0.0, 0)])],
        }
    }

    /// The promises that `change` breaks.
    fn broken(change: impl FnOnce(&mut Results)) -> Vec<&'static str> {
        let mut results = good();
        change(&mut results);
        all(&results).into_iter().filter(is_broken).map(|check| check.promise).collect()
    }

    fn lost(avoidable: bool) -> Vec<Lost> {
        vec![Lost { due: Duration::from_secs(7), reason: "502 Bad Gateway".to_owned(), avoidable }]
    }

    #[test]
    fn a_good_run_keeps_every_promise() {
        assert!(
            all(&good()).iter().all(|check| matches!(check.verdict, Verdict::Kept(_))),
            "{:?}",
            all(&good())
        );
    }

    #[test]
    fn a_lost_request_breaks_it_unless_nobody_was_there() {
        let promise = "no request lost while a healthy backend existed";
        let lose = |avoidable| {
            move |results: &mut Results| (results.answered, results.lost) = (999, lost(avoidable))
        };
        assert_eq!(broken(lose(true)), [promise]);
        assert!(broken(lose(false)).is_empty());
        assert_eq!(broken(|results| results.answered = 990), [promise], "requests that were never sent");
    }

    #[test]
    fn a_request_to_the_drained_one_breaks_it() {
        let promise = "nothing sent to the drained backend";
        assert_eq!(broken(|results| results.drained.picks = 1), [promise]);
        assert_eq!(broken(|results| results.drained.arrivals = Some(1)), [promise]);
        assert_eq!(broken(|results| results.drained.arrivals = None), [promise]);
    }

    #[test]
    fn who_never_serves_breaks_it() {
        assert_eq!(broken(|results| results.returned.1 = 0), ["the crashed backend serves again"]);
        assert_eq!(broken(|results| results.added.1 = 0), ["the added backend serves"]);
    }

    #[test]
    fn shares_off_the_weights_break_it() {
        let off = |rows: &'static [_]| broken(move |results| results.phases.push(phase(rows)));
        let promise = "shares within bounds";
        assert!(off(&[("b1", 0.5, 560), ("b2", 0.5, 440)]).is_empty(), "five deviations are 79");
        assert_eq!(off(&[("b1", 0.5, 600), ("b2", 0.5, 400)]), [promise]);
        assert_eq!(off(&[("b1", 1.0, 950), ("b2", 0.0, 50)]), [promise], "an unusable one was picked");
    }

    #[test]
    fn a_stranger_that_is_picked_breaks_it() {
        let stranger = |results: &mut Results| {
            let mut with_stranger = phase(&[("b1", 0.5, 500), ("b2", 0.5, 500)]);
            with_stranger.picks.insert(id("b9"), 11);
            results.phases.push(with_stranger);
        };
        assert_eq!(broken(stranger), ["shares within bounds"]);
    }

    #[test]
    fn the_less_loaded_of_two_has_wider_bounds_with_an_end() {
        let of = |slow: &'static str, picks: [u64; 4]| {
            let rows: Vec<_> = ["b1", "b2", "b3", "b4"].into_iter().zip(picks).collect();
            let rows: Vec<_> = rows.into_iter().map(|(name, picks)| (name, 0.25, picks)).collect();
            broken(move |results| {
                results.fairness = Fairness::LessLoadedOfTwo;
                results.slow = id(slow);
                results.phases = vec![phase(&rows)];
            })
        };
        let promise = "shares within bounds";
        assert!(of("b1", [0, 1_300, 1_400, 1_300]).is_empty(), "the slow one may get nothing");
        assert_eq!(of("b2", [0, 1_300, 1_400, 1_300]), [promise], "any other may not");
        assert!(of("b1", [400, 2_000, 800, 800]).is_empty(), "one of four is drawn half of the time");
        assert_eq!(of("b1", [400, 2_300, 650, 650]), [promise], "and gets nothing undrawn");
    }

    #[test]
    fn too_little_traffic_is_no_verdict() {
        let mut results = good();
        results.phases = vec![phase(&[("b1", 1.0, TELLING_PICKS - 1)])];
        assert!(matches!(shares_in_bounds(&results), Verdict::Untested(_)));
        assert!(!is_broken(&Check { promise: "", verdict: shares_in_bounds(&results) }));
    }
}
