//! The gates: ratios inside one run, and what they must not exceed.

use std::fmt::Write;

use crate::row::{Row, short};
use crate::{full_gates, pipeline, router, routes, select_gates};

/// A ratio and its bound.
pub(crate) struct Gate {
    name: String,
    /// `None` if a row is missing.
    measured: Option<f64>,
    bound: Bound,
    /// The same ratio of the shortest code there is, where there is such a thing: a bound that it does not keep either
    /// says something about the machine.
    floor: Option<f64>,
    /// The figures behind the ratio.
    figures: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn is_kept(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    /// The floor does not keep the bound either.
    FloorBreaks,
}

impl Gate {
    fn verdict(&self) -> Option<Verdict> {
        let measured = self.measured?;
        Some(match self.floor {
            _ if self.bound.is_kept(measured) => Verdict::Pass,
            Some(floor) if !self.bound.is_kept(floor) => Verdict::FloorBreaks,
            _ => Verdict::Fail,
        })
    }

    fn line(&self) -> Option<String> {
        let measured = self.measured?;
        let bound = match self.bound {
            Bound::AtMost(bound) => format!("<= {bound}"),
            Bound::AtLeast(bound) => format!(">= {bound}"),
        };
        let verdict = match self.verdict()? {
            Verdict::Pass => "pass".to_owned(),
            Verdict::Fail => "FAIL".to_owned(),
            Verdict::FloorBreaks => format!("floor itself breaks it ({})", short(self.floor?)),
        };
        Some(format!("{:64} {:>8} {bound:>9}  {verdict:24} {}", self.name, short(measured), self.figures))
    }
}

/// The gates as text, and how many failed.
pub(crate) fn report(rows: &[Row]) -> (String, usize) {
    let gates = all(&Rows(rows));
    let mut text = format!("\n{:64} {:>8} {:>9}\n", "gates", "ratio", "bound");
    for line in gates.iter().filter_map(Gate::line) {
        let _ = writeln!(text, "{line}");
    }
    let count = |verdict| gates.iter().filter(|gate| gate.verdict() == Some(verdict)).count();
    let (passed, failed, broken) = (count(Verdict::Pass), count(Verdict::Fail), count(Verdict::FloorBreaks));
    let _ = writeln!(text, "{passed} passed, {failed} failed, {broken} are broken by the floor itself");
    (text, failed)
}

pub(crate) struct Rows<'a>(&'a [Row]);

impl Rows<'_> {
    fn at(&self, area: &str, subject: &str, n: usize, usable: f64, threads: usize) -> Option<f64> {
        let is_it = |row: &&Row| {
            row.area == area
                && row.subject == subject
                && row.n == n
                && row.usable == usable
                && row.threads == threads
        };
        self.0.iter().find(is_it).map(|row| row.figure.value())
    }

    /// An all-healthy row.
    pub(crate) fn of(&self, area: &str, subject: &str, n: usize, threads: usize) -> Option<f64> {
        self.at(area, subject, n, 1.0, threads)
    }

    pub(crate) fn floor(&self, name: &str, n: usize, threads: usize) -> Option<f64> {
        let area = if name.starts_with('B') || name == "refusal" { "breaker" } else { "pick" };
        self.of(area, &format!("floor/{name}"), n, threads)
    }
}

pub(crate) fn ratio(
    name: String,
    ours: Option<f64>,
    other: Option<f64>,
    bound: Bound,
    floor: Option<f64>,
) -> Gate {
    let figures = match (ours, other) {
        (Some(ours), Some(other)) => format!("{} : {}", short(ours), short(other)),
        _ => String::new(),
    };
    Gate { name, measured: divide(ours, other), bound, floor, figures }
}

fn divide(ours: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(ours? / other?)
}

/// Rows that are gated: the area, and the policy.
const GUARDED: [(&str, &str); 5] = [
    ("pick", "least_request"),
    ("pick", "round_robin"),
    ("pick", "random"),
    ("weighted", "smooth_weighted_round_robin"),
    ("weighted", "weighted_random"),
];
pub(crate) const SIZES: [usize; 5] = [3, 10, 100, 1000, 10_000];

fn all(rows: &Rows<'_>) -> Vec<Gate> {
    let mut gates = Vec::new();
    for n in SIZES {
        guarded(rows, n, &mut gates);
        against_peers(rows, n, &mut gates);
        in_pingora(rows, n, &mut gates);
        picker(rows, n, &mut gates);
        choosing(rows, n, &mut gates);
        mostly_down(rows, n, &mut gates);
    }
    flat(rows, &mut gates);
    breaker(rows, &mut gates);
    limits(rows, &mut gates);
    outlier(rows, &mut gates);
    updates(rows, &mut gates);
    memory(rows, &mut gates);
    pipeline::gates(rows, &mut gates);
    full_gates::all(rows, &mut gates);
    select_gates::all(rows, &mut gates);
    routes::gates(rows, &mut gates);
    router::gates(rows, &mut gates);
    #[cfg(feature = "peer-tower")]
    crate::towers::gates(rows, &mut gates);
    gates
}

fn guarded(rows: &Rows<'_>, n: usize, gates: &mut Vec<Gate>) {
    for (area, policy) in GUARDED {
        let subject = format!("evenkeel/{policy}");
        for threads in [1, 2] {
            let bound = match (threads, n) {
                (1, 10_000) => 1.7,
                (1, _) => 1.5,
                (_, 100..) => 1.7,
                _ => continue,
            };
            let name = format!("{area} {subject} / F8, N = {n}, {threads}T");
            let (ours, floor) = (rows.of(area, &subject, n, threads), rows.floor("F8", n, threads));
            gates.push(ratio(name, ours, floor, Bound::AtMost(bound), None));
        }
    }
}

fn against_peers(rows: &Rows<'_>, n: usize, gates: &mut Vec<Gate>) {
    for (area, policy, peer) in [
        ("pick", "least_request", "tower/p2c-pending-requests"),
        ("pick", "round_robin", "pingora/round_robin"),
        ("pick", "random", "pingora/random"),
        ("weighted", "smooth_weighted_round_robin", "pingora/round_robin"),
        ("weighted", "weighted_random", "pingora/random"),
    ] {
        for (threads, bound) in [(1, 0.25), (2, 0.2)] {
            let peer = if threads == 2 && peer.starts_with("tower") {
                format!("{peer}-in-mutex")
            } else {
                peer.to_owned()
            };
            let name = format!("{area} evenkeel/{policy} / {peer}, N = {n}, {threads}T");
            let theirs = rows.of(area, &peer, n, threads);
            let ours = rows.of(area, &format!("evenkeel/{policy}"), n, threads);
            let floor = divide(rows.floor("F8", n, threads), theirs);
            gates.push(ratio(name, ours, theirs, Bound::AtMost(bound), floor));
        }
    }
}

/// In pingora, through the adapter, by the same call as pingora's own.
fn in_pingora(rows: &Rows<'_>, n: usize, gates: &mut Vec<Gate>) {
    for policy in ["round_robin", "random"] {
        for threads in [1, 2] {
            let name = format!("pick pingora-adapter/{policy} / pingora/{policy}, N = {n}, {threads}T");
            let ours = rows.of("pick", &format!("pingora-adapter/{policy}"), n, threads);
            let theirs = rows.of("pick", &format!("pingora/{policy}"), n, threads);
            let floor = divide(rows.floor("F8", n, threads), theirs);
            gates.push(ratio(name, ours, theirs, Bound::AtMost(1.0 / 3.0), floor));
        }
    }
}

fn picker(rows: &Rows<'_>, n: usize, gates: &mut Vec<Gate>) {
    for (policy, bound) in [("round_robin", 0.85), ("least_request", 1.0)] {
        let f8 = rows.floor("F8", n, 1);
        let name = format!("picker/{policy} / F8, N = {n}, 1T");
        let floor = divide(rows.floor("F8-cached", n, 1), f8);
        gates.push(ratio(
            name,
            rows.of("pick", &format!("picker/{policy}"), n, 1),
            f8,
            Bound::AtMost(bound),
            floor,
        ));
    }
}

fn choosing(rows: &Rows<'_>, n: usize, gates: &mut Vec<Gate>) {
    for (area, policy, bound) in [
        ("choose", "round_robin", 2.5),
        ("choose", "random", 2.5),
        ("choose", "least_request", 3.5),
        ("weighted", "smooth_weighted_round_robin", 6.0),
        ("weighted", "weighted_random", 6.0),
    ] {
        let subject = format!("choose/{policy}");
        let (one, two) = (rows.of(area, &subject, n, 1), rows.of(area, &subject, n, 2));
        let name = format!("{area} {subject} / F3, N = {n}, 1T");
        gates.push(ratio(name, one, rows.floor("F3", n, 1), Bound::AtMost(bound), None));
        let throughput = |one: Option<f64>, two| divide(one.map(|one| 2.0 * one), two);
        let name = format!("{area} {subject}, throughput of 2T / 1T, N = {n}");
        let floor = throughput(rows.floor("F3", n, 1), rows.floor("F3", n, 2));
        gates.push(ratio(name, one.map(|one| 2.0 * one), two, Bound::AtLeast(1.8), floor));
    }
}

fn mostly_down(rows: &Rows<'_>, n: usize, gates: &mut Vec<Gate>) {
    for (area, policy, bound) in [
        ("pick", "round_robin", 1.3),
        ("pick", "random", 1.3),
        ("pick", "least_request", 1.3),
        ("weighted", "smooth_weighted_round_robin", 1.5),
        ("weighted", "weighted_random", 1.5),
    ] {
        let subject = format!("evenkeel/{policy}");
        let name = format!("{area} {subject}, one in ten usable / all, N = {n}");
        let few = rows.at(area, &subject, n, 0.1, 1);
        gates.push(ratio(name, few, rows.of(area, &subject, n, 1), Bound::AtMost(bound), None));
    }
}

/// With nine of ten unusable a pick costs the same in a cluster of 100 and in one of 10 000.
fn flat(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    for (area, policy) in GUARDED {
        let subject = format!("evenkeel/{policy}");
        let name = format!("{area} {subject}, one in ten usable, N = 10000 / N = 100");
        let (many, few) = (rows.at(area, &subject, 10_000, 0.1, 1), rows.at(area, &subject, 100, 0.1, 1));
        let floor = divide(rows.floor("F8", 10_000, 1), rows.floor("F8", 100, 1));
        gates.push(ratio(name, many, few, Bound::AtMost(1.3), floor));
    }
}

fn breaker(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    let ours = |rule: &str, threads| rows.of("breaker", &format!("evenkeel/{rule}"), 0, threads);
    for rule in ["consecutive", "count-window"] {
        let name = format!("breaker {rule}, closed / B1, 1T");
        gates.push(ratio(name, ours(rule, 1), rows.floor("B1", 0, 1), Bound::AtMost(1.2), None));
    }
    let name = "breaker time-window, closed / B3, 1T".to_owned();
    gates.push(ratio(name, ours("time-window", 1), rows.floor("B3", 0, 1), Bound::AtMost(1.2), None));
    for rule in ["consecutive", "count-window", "time-window"] {
        let floor = if rule == "time-window" { "B3" } else { "B1" };
        let name = format!("breaker {rule}, closed, 2T, ns");
        gates.push(ratio(name, ours(rule, 2), Some(1.0), Bound::AtMost(60.0), rows.floor(floor, 0, 2)));
    }
    for threads in [1, 2] {
        let name = format!("breaker rejected / state load + Instant::now, {threads}T");
        let floor = rows.floor("refusal", 0, threads);
        gates.push(ratio(name, ours("rejected", threads), floor, Bound::AtMost(1.2), None));
    }
    let told = "time-window, time told";
    let name = "breaker time-window, time told, closed, 1T, ns".to_owned();
    gates.push(ratio(name, ours(told, 1), Some(1.0), Bound::AtMost(12.0), rows.floor("B1", 0, 1)));
    let name = "breaker time-window, time told, closed, 2T, ns".to_owned();
    gates.push(ratio(name, ours(told, 2), Some(1.0), Bound::AtMost(60.0), rows.floor("B1", 0, 2)));
    let name = "breaker time-window, throughput of 4 stripes / of one, 2T".to_owned();
    let striped = ours("time-window of 4 stripes, time told", 2);
    // Where two threads on one word are as fast as one, they did not run at the same time, and stripes gain nothing.
    let floor = divide(rows.floor("B1", 0, 2), rows.floor("B1", 0, 1));
    gates.push(ratio(name, ours(told, 2), striped, Bound::AtLeast(1.5), floor));
    let name = "breaker count-window, closed, 1T, ns".to_owned();
    gates.push(ratio(name, ours("count-window", 1), Some(1.0), Bound::AtMost(12.0), rows.floor("B1", 0, 1)));
    // Who writes nothing does not wait for another core: on two that run at once, a shared word that is written takes four
    // times as long and more.
    let name = "breaker consecutive writes nothing: 2T / 1T".to_owned();
    gates.push(ratio(name, ours("consecutive", 2), ours("consecutive", 1), Bound::AtMost(2.0), None));
    for (rule, bytes) in [("consecutive", 32.0), (told, 128.0), ("count-window", 128.0)] {
        let name = format!("breaker {rule}, bytes");
        gates.push(ratio(
            name,
            rows.of("memory", &format!("breaker/{rule}"), 1, 1),
            Some(1.0),
            Bound::AtMost(bytes),
            None,
        ));
    }
    for (rule, peer, threads, bound) in [
        ("count-window", "recloser/closed", 1, 0.7),
        ("count-window", "recloser/closed", 2, 0.2),
        ("time-window", "failsafe/default", 1, 0.33),
        ("rejected", "recloser/rejected", 1, 0.85),
    ] {
        let theirs = rows.of("breaker", peer, 0, threads);
        let floor = match rule {
            "count-window" => rows.floor("B1", 0, threads),
            "time-window" => rows.floor("B3", 0, threads),
            _ => rows.floor("refusal", 0, threads),
        };
        let name = format!("breaker {rule} / {peer}, {threads}T");
        gates.push(ratio(name, ours(rule, threads), theirs, Bound::AtMost(bound), divide(floor, theirs)));
    }
}

fn limits(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    let ours = |name: &str, threads| rows.of("limit", &format!("evenkeel/{name}"), 0, threads);
    for (name, bound) in [("fixed", 22.0), ("budget-deposit", 10.0)] {
        let floor = rows.of("limit", if name == "fixed" { "floor/two-cas" } else { "floor/one-cas" }, 0, 1);
        let title = format!("limit {name}, 1T, ns");
        gates.push(ratio(title, ours(name, 1), Some(1.0), Bound::AtMost(bound), floor));
    }
    for threads in [1, 2] {
        let theirs = rows.of("limit", "tower/budget-deposit", 0, threads);
        let name = "budget-deposit-and-clock";
        let title = format!("limit {name} / tower's, {threads}T");
        gates.push(ratio(title, ours(name, threads), theirs, Bound::AtMost(1.0), None));
    }
}

/// A sweep: what it takes with the requests before it, less what those take alone.
fn outlier(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    for rule in ["default", "latency"] {
        let name = format!("outlier sweep of 10000, {rule}, ms");
        let of = |act: &str| rows.of("outlier", &format!("evenkeel/{act}:{rule}"), 10_000, 1);
        let ours = of("touch+sweep").zip(of("touch")).map(|(both, touch)| both - touch);
        gates.push(ratio(name, ours, Some(MILLISECOND), Bound::AtMost(1.0), None));
    }
}

fn updates(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    for policy in evenkeel_benches::POLICIES {
        for act in ["set_weight", "upsert+remove"] {
            let name = format!("update {policy}:{act}, N = 10000, ms");
            let ours = rows.of("update", &format!("evenkeel/{policy}:{act}"), 10_000, 1);
            let floor = rows.of("update", "floor/copy-handles", 10_000, 1).map(|ns| ns / MILLISECOND);
            gates.push(ratio(name, ours, Some(MILLISECOND), Bound::AtMost(0.5), floor));
        }
    }
    let tail = |subject: &str, state: &str| rows.of("update", &format!("{subject}:p99.9-{state}"), 10_000, 1);
    let (quiet, busy) = (tail("evenkeel/least_request", "quiet"), tail("evenkeel/least_request", "updating"));
    let floor = divide(tail("floor/F8", "updating"), tail("floor/F8", "quiet"));
    let name = "p99.9 of picks, updating every 5 ms / quiet, N = 10000".to_owned();
    gates.push(ratio(name, busy, quiet, Bound::AtMost(2.5), floor));
}

fn memory(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    for policy in ["least_request", "round_robin", "random"] {
        let bytes = rows.of("memory", &format!("evenkeel/{policy}"), 10_000, 1);
        let name = format!("memory {policy}, N = 10000, bytes an endpoint");
        gates.push(ratio(name, bytes, Some(1.0), Bound::AtMost(256.0), None));
    }
}

pub(crate) const MILLISECOND: f64 = 1e6;
