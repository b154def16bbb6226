//! Bytes an endpoint: what lives on the heap when a world of `n` is built and warm, divided by `n`.

use allocation_counter::measure;
use evenkeel::{Cluster, Endpoint, Outcome, Request};
use evenkeel_benches::{POLICIES, Weights, endpoints, unsettled};

use crate::row::{Figure, Row};

pub(crate) fn rows(n: usize) -> Vec<Row> {
    POLICIES.into_iter().map(|policy| row(&format!("evenkeel/{policy}"), n, of_cluster(policy, n))).collect()
}

pub(crate) fn row(subject: &str, n: usize, bytes: f64) -> Row {
    let subject = subject.to_owned();
    Row { area: "memory", subject, n, usable: 1.0, threads: 1, figure: Figure::Memory { bytes } }
}

/// The endpoints themselves are handed over, so they count; the list that brought them is gone.
fn of_cluster(policy: &str, n: usize) -> f64 {
    let mut built: Option<Cluster<()>> = None;
    let bytes = live_bytes(|| {
        let cluster = unsettled(policy);
        let list: Vec<Endpoint> = endpoints(n, Weights::Equal).collect();
        cluster.apply(list).expect("valid endpoints");
        cluster.tick();
        for _ in 0..n {
            if let Ok(pick) = cluster.pick(&Request::new()) {
                pick.finish(Outcome::success());
            }
        }
        built = Some(cluster);
    });
    drop(built);
    bytes / n as f64
}

/// Bytes that `build` allocates and leaves alive.
pub(crate) fn live_bytes(build: impl FnOnce()) -> f64 {
    measure(build).bytes_current as f64
}
