//! The slow picks: the 99.9th percentile of single picks, in quiet and while another thread updates every 5 ms.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evenkeel::{Outcome, Request};
use evenkeel_benches::{FloorWorld, Weights, cluster, endpoint};

use crate::method::{RUNS, quantile};
use crate::row::{Figure, Row};

/// Ours, and F8 beside an updater that does no more than it must.
pub(crate) fn rows(n: usize, stretch: Duration) -> Vec<Row> {
    let cluster = cluster("least_request", n, 1.0, Weights::Equal);
    let newcomer = endpoint(n, Weights::Equal);
    let mut turn = 0_usize;
    let mut update = || {
        turn += 1;
        if turn % 2 == 1 { cluster.upsert(newcomer.clone()) } else { cluster.remove(newcomer.id()) }
            .expect("it is there every other time");
    };
    let request = Request::new();
    let mut pick = || {
        if let Ok(pick) = cluster.pick(&request) {
            pick.finish(Outcome::success());
        }
    };
    let ours = measure("evenkeel/least_request", n, stretch, &mut pick, &mut update);

    let world = FloorWorld::new(n);
    let mut reader = world.reader();
    let mut turn = 0_usize;
    let mut update = || {
        turn += 1;
        world.replace_one(turn % n);
    };
    let mut pick = || {
        black_box(reader.f8().index());
    };
    let floor = measure("floor/F8", n, stretch, &mut pick, &mut update);
    floor.into_iter().chain(ours).collect()
}

pub(crate) fn measure(
    subject: &str,
    n: usize,
    stretch: Duration,
    pick: &mut (impl FnMut() + Send),
    update: &mut (impl FnMut() + Send),
) -> Vec<Row> {
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        quiet.push(p999(stretch, pick, None));
        busy.push(p999(stretch, pick, Some(update)));
    }
    let row = |state: &str, runs: &[f64]| Row {
        area: "update",
        subject: format!("{subject}:p99.9-{state}"),
        n,
        usable: 1.0,
        threads: 1,
        figure: Figure::Time {
            ns: quantile(runs, 0.5),
            p25: quantile(runs, 0.25),
            p75: quantile(runs, 0.75),
        },
    };
    vec![row("quiet", &quiet), row("updating", &busy)]
}

fn p999(
    stretch: Duration,
    pick: &mut (impl FnMut() + Send),
    update: Option<&mut (dyn FnMut() + Send)>,
) -> f64 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_over = || over.load(Ordering::Relaxed);
        scope.spawn(move || {
            pin(1);
            if let Some(update) = update {
                while !is_over() {
                    update();
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        let samples = scope.spawn(|| {
            pin(0);
            let end = Instant::now() + stretch;
            let mut samples = Vec::with_capacity(SAMPLES);
            let mut before = Instant::now();
            while before < end && samples.len() < SAMPLES {
                pick();
                let after = Instant::now();
                samples.push((after - before).as_nanos() as f64);
                before = after;
            }
            over.store(true, Ordering::Relaxed);
            samples
        });
        quantile(&samples.join().expect("picks do not panic"), 0.999)
    })
}

fn pin(core: usize) {
    if let Some(core) = core_affinity::get_core_ids().unwrap_or_default().get(core) {
        core_affinity::set_for_current(*core);
    }
}

/// Room for the fastest picks in the longest stretch.
const SAMPLES: usize = 20_000_000;
