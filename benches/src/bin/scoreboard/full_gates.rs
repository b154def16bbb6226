//! The gates of a pick with everything on.

use crate::full::SIZES;
use crate::gates::{Bound, Gate, Rows, ratio};

/// All on, and at most a fifth more than what the parts take by themselves, with the clock reads that are made: first beside
/// their own rows, each with one object that is always at hand; then with one for each endpoint, each part with the caches for
/// itself; then in one walk, in which the parts share the caches as they do in the pick.
pub(crate) fn all(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    for n in SIZES {
        let name = format!("pick with all / the rows of its parts, N = {n}, 1T");
        gates.push(of(rows, name, own_rows(rows, n), n, 1));
        for threads in [1, 2] {
            let name = format!("pick with all / parts of {n} endpoints, N = {n}, {threads}T");
            gates.push(of(rows, name, spread_parts(rows, n, threads), n, threads));
            let name = format!("pick with all / its parts in one walk over {n}, N = {n}, {threads}T");
            gates.push(of(rows, name, rows.of("full", "part/one-walk", n, threads), n, threads));
        }
    }
    let reads = rows.of("full", "clock reads/all", 0, 1);
    let name = "pick with all, clock reads a request".to_owned();
    gates.push(ratio(name, reads, Some(1.0), Bound::AtMost(2.0), None));
}

fn of(rows: &Rows<'_>, name: String, sum: Option<f64>, n: usize, threads: usize) -> Gate {
    let all = rows.of("full", "evenkeel/all", n, threads);
    ratio(name, all, sum, Bound::AtMost(1.2), None)
}

fn own_rows(rows: &Rows<'_>, n: usize) -> Option<f64> {
    Some(
        rows.of("full", "evenkeel/p2c", n, 1)?
            + rows.of("breaker", "evenkeel/time-window, time told", 0, 1)?
            + rows.of("outlier", "evenkeel/record:default", 0, 1)?
            + rows.of("limit", "evenkeel/fixed", 0, 1)?
            + rows.of("limit", "evenkeel/budget-deposit", 0, 1)?
            + clock(rows, n, 1)?,
    )
}

fn spread_parts(rows: &Rows<'_>, n: usize, threads: usize) -> Option<f64> {
    let part = |name: &str| rows.of("full", &format!("part/{name}"), n, threads);
    let parts = part("breaker")? + part("outlier")? + part("limit")? + part("budget")?;
    Some(rows.of("full", "evenkeel/p2c", n, threads)? + parts + clock(rows, n, threads)?)
}

fn clock(rows: &Rows<'_>, n: usize, threads: usize) -> Option<f64> {
    Some(rows.of("full", "clock reads/all", 0, 1)? * rows.of("full", "part/clock", n, threads)?)
}
