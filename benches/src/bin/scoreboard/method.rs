//! How a case is timed: batches of calls on pinned threads, all cases in turn, round after round, so that whatever
//! drifts (clock rate, neighbours on the machine) hits all of them alike.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Calls what is measured so many times.
pub(crate) type Runner = Box<dyn FnMut(u64) + Send>;

/// One row to be: what is called, in which world, by how many threads.
pub(crate) struct Case {
    pub(crate) area: &'static str,
    pub(crate) subject: String,
    pub(crate) n: usize,
    pub(crate) usable: f64,
    /// One for each thread; what the threads share, they share by what the closures hold.
    pub(crate) runners: Vec<Runner>,
    /// How many of the measured events happen in one call of a runner.
    pub(crate) events: u32,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How long one batch takes.
    pub(crate) batch: Duration,
    /// Rounds in each of the runs.
    pub(crate) rounds: usize,
}

/// Runs whose medians are compared by median: contended figures differ more between runs than inside one.
pub(crate) const RUNS: usize = 5;

/// What a case took, in nanoseconds a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) median: f64,
    pub(crate) p25: f64,
    pub(crate) p75: f64,
}

/// Two threads that are pinned to a core each, as far as there are cores, and run what they are given.
pub(crate) struct Bench {
    workers: Vec<Worker>,
}

struct Worker {
    jobs: Option<Sender<Job>>,
    done: Receiver<(Runner, Duration)>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    runner: Runner,
    warm_up: u64,
    calls: u64,
    start: Arc<AtomicUsize>,
    threads: usize,
}

impl Bench {
    pub(crate) fn new(threads: usize) -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        Self { workers: (0..threads).map(|index| Worker::start(cores.get(index).copied())).collect() }
    }

    /// Times all cases; the timings are in their order.
    pub(crate) fn run(&self, cases: &mut [Case], plan: Plan, mut progress: impl FnMut(usize)) -> Vec<Timing> {
        let calls: Vec<u64> = cases.iter_mut().map(|case| self.calibrate(case, plan.batch)).collect();
        let mut samples: Vec<Vec<f64>> =
            cases.iter().map(|_| Vec::with_capacity(RUNS * plan.rounds)).collect();
        for round in 0..RUNS * plan.rounds {
            progress(round);
            for ((case, &calls), samples) in cases.iter_mut().zip(&calls).zip(&mut samples) {
                samples.push(self.batch(case, calls));
            }
        }
        let of_case =
            |(case, samples): (&Case, Vec<f64>)| summarise(&samples, plan.rounds, f64::from(case.events));
        cases.iter().zip(samples).map(of_case).collect()
    }

    /// How many calls fill a batch. The first ones may build things and meet cold memory, so a figure counts only if
    /// another batch of that size agrees.
    fn calibrate(&self, case: &mut Case, batch: Duration) -> u64 {
        let wanted = batch.as_nanos() as f64;
        let mut calls = 1;
        for _ in 0..MOST_CALIBRATIONS {
            let fitting = ((wanted / self.batch(case, calls)) as u64).max(1);
            if fitting <= 2 * calls {
                return fitting;
            }
            calls = fitting.min(16 * calls);
        }
        calls
    }

    /// Nanoseconds a call, averaged over the threads.
    fn batch(&self, case: &mut Case, calls: u64) -> f64 {
        let threads = case.runners.len();
        // Whoever ran before has taken the caches: a large world is walked through until they are back, unless its calls
        // are so long that this would take for ever.
        let longest = if calls < SHORT_BATCH { calls } else { 8 * calls };
        let warm_up = (calls / 4).max((16 * case.n as u64).min(longest));
        let start = Arc::new(AtomicUsize::new(0));
        for (worker, runner) in self.workers.iter().zip(case.runners.drain(..)) {
            let job = Job { runner, warm_up, calls, start: Arc::clone(&start), threads };
            worker.jobs.as_ref().map(|jobs| jobs.send(job));
        }
        let mut total = Duration::ZERO;
        for worker in &self.workers[..threads] {
            let (runner, taken) = worker.done.recv().expect("a worker outlives its jobs");
            case.runners.push(runner);
            total += taken;
        }
        total.as_nanos() as f64 / (threads as u64 * calls) as f64
    }
}

impl Worker {
    fn start(core: Option<core_affinity::CoreId>) -> Self {
        let (jobs, inbox) = channel::<Job>();
        let (outbox, done) = channel();
        let thread = std::thread::spawn(move || {
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            for mut job in inbox {
                (job.runner)(job.warm_up);
                job.start.fetch_add(1, Ordering::AcqRel);
                while job.start.load(Ordering::Acquire) < job.threads {
                    hint::spin_loop();
                }
                let start = Instant::now();
                (job.runner)(job.calls);
                let taken = start.elapsed();
                if outbox.send((job.runner, taken)).is_err() {
                    return;
                }
            }
        });
        Self { jobs: Some(jobs), done, thread: Some(thread) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // What a case panicked with has been printed by its thread.
            let _ = thread.join();
        }
    }
}

fn summarise(samples: &[f64], rounds: usize, events: f64) -> Timing {
    let mut medians: Vec<f64> = samples.chunks(rounds).map(|run| quantile(run, 0.5)).collect();
    medians.sort_by(f64::total_cmp);
    Timing {
        median: quantile(&medians, 0.5) / events,
        p25: quantile(samples, 0.25) / events,
        p75: quantile(samples, 0.75) / events,
    }
}

/// The sample at this share of the sorted samples.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (share * (sorted.len().max(1) - 1) as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Updates have fewer calls in a batch, picks have more.
const SHORT_BATCH: u64 = 1000;
/// More than enough, at a factor of up to 16 each.
const MOST_CALIBRATIONS: usize = 16;
