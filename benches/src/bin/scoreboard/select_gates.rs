//! The gates of choices alone.

use crate::gates::{Bound, Gate, MILLISECOND, Rows, SIZES, ratio};

pub(crate) fn all(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    lookups(rows, gates);
    orders_and_loads(rows, gates);
    builds(rows, gates);
}

fn ours(rows: &Rows<'_>, name: &str, n: usize, threads: usize) -> Option<f64> {
    rows.of("select", &format!("evenkeel/{name}"), n, threads)
}

fn lookups(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    for n in SIZES {
        let floor = rows.of("select", "floor/modulo-one-load", n, 1);
        let name = format!("maglev / modulo and one load, N = {n}");
        gates.push(ratio(name, ours(rows, "maglev", n, 1), floor, Bound::AtMost(2.0), None));
    }
    for (policy, peers, bound) in [
        ("ring_hash", &["pingora-ketama"][..], 0.2),
        ("ketama", &["pingora-ketama"], 0.2),
        ("jump", &["jump-consistent-hash", "jumphash"], 1.0),
        ("anchor", &["anchorhash"], 1.0),
    ] {
        let peer = |peer: &&str| rows.of("select", peer, 1000, 1);
        let fastest = peers.iter().filter_map(peer).min_by(f64::total_cmp);
        let name = format!("{policy} / {}, N = 1000", peers.join(" or "));
        gates.push(ratio(name, ours(rows, policy, 1000, 1), fastest, Bound::AtMost(bound), None));
    }
    for (policy, n, bound, floor) in [
        ("anchor", 1000, 15.0, None),
        ("rendezvous", 100, 200.0, Some("floor/mix-and-max")),
        ("multi_probe", 1000, 250.0, None),
    ] {
        let name = format!("{policy}, N = {n}, ns");
        let floor = floor.and_then(|floor| rows.of("select", floor, n, 1));
        gates.push(ratio(name, ours(rows, policy, n, 1), Some(1.0), Bound::AtMost(bound), floor));
    }
}

fn orders_and_loads(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    for n in SIZES {
        let theirs = rows.of("select", "rand_distr/alias", n, 1);
        let name = format!("weighted_random / rand_distr's alias table, N = {n}");
        gates.push(ratio(name, ours(rows, "weighted_random", n, 1), theirs, Bound::AtMost(1.0), None));
    }
    let smooth = |threads| ours(rows, "smooth_weighted_round_robin", 100, threads);
    let name = "smooth_weighted_round_robin, N = 100, ns".to_owned();
    gates.push(ratio(name, smooth(1), Some(1.0), Bound::AtMost(15.0), None));
    let name = "smooth_weighted_round_robin, N = 100, 2T / 1T".to_owned();
    gates.push(ratio(name, smooth(2), smooth(1), Bound::AtMost(2.0), None));
    let name = "one global smooth order / F1, N = 100, 2T".to_owned();
    let global = ours(rows, "smooth_weighted_round_robin-global+load", 100, 2);
    gates.push(ratio(name, global, rows.floor("F1", 100, 2), Bound::AtMost(1.3), None));
    for (n, bound) in [(100, 100.0), (10_000, 150.0)] {
        let name = format!("least_connections, pick and release, N = {n}, ns");
        gates.push(ratio(name, ours(rows, "least_connections", n, 1), Some(1.0), Bound::AtMost(bound), None));
    }
}

fn builds(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    let built = |name: &str, n| rows.of("build", &format!("evenkeel/{name}"), n, 1);
    for (policy, n, bound) in [("ring_hash", 10_000, 30.0), ("ketama", 10_000, 30.0), ("maglev", 1000, 1.5)] {
        let name = format!("build {policy}, N = {n}, ms");
        gates.push(ratio(name, built(policy, n), Some(MILLISECOND), Bound::AtMost(bound), None));
    }
    for policy in ["ring_hash", "ketama", "anchor"] {
        let name = format!("{policy}, one of 10000 changed / whole build");
        let changed = built(&format!("{policy}:one-changed"), 10_000);
        gates.push(ratio(name, changed, built(policy, 10_000), Bound::AtMost(0.2), None));
    }
}
