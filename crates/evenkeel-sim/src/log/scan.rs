//! What a log holds: read once before anything is simulated.

use std::collections::BTreeSet;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Counts, LogError, Records, ReplayConfig};

/// The numbers of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// Lines and requests.
    pub counts: Counts,
    /// When the first request began, in nanoseconds since 1970.
    pub from: u64,
    /// From the first beginning to the last.
    pub span: Duration,
    /// The mean service time, in nanoseconds.
    pub mean_service: f64,
    /// How long requests took as the proxy saw it, in nanoseconds.
    pub seen: Histogram<u64>,
    /// The mean of that.
    pub mean_seen: f64,
    /// Answers with a status of 500 or more.
    pub errors: u64,
    /// Requests that took less than a step of the log's clock.
    pub below_a_step: u64,
    /// The longest steps in which times and durations are written.
    pub steps: (Duration, Duration),
    /// How many servers the log names, up to 10000; zero if it names none.
    pub servers: u32,
    /// Whether requests have keys.
    pub has_keys: bool,
    /// The most requests that servers had at once.
    pub most_in_flight: u64,
}

impl Scan {
    /// Reads a log from its beginning to its end.
    ///
    /// # Errors
    ///
    /// Any [`LogError`].
    pub fn new(config: &ReplayConfig) -> Result<Self, LogError> {
        Self::of(Records::open(config)?)
    }

    /// Reads the rest of these.
    ///
    /// # Errors
    ///
    /// Any [`LogError`].
    pub fn of(mut records: Records) -> Result<Self, LogError> {
        let mut scan = Self {
            counts: Counts::default(),
            from: u64::MAX,
            span: Duration::ZERO,
            mean_service: 0.0,
            seen: crate::tally::histogram(),
            mean_seen: 0.0,
            errors: 0,
            below_a_step: 0,
            steps: (Duration::ZERO, Duration::ZERO),
            servers: 0,
            has_keys: false,
            most_in_flight: 0,
        };
        let mut last = 0;
        let mut servers = BTreeSet::new();
        let mut ends = std::collections::BinaryHeap::new();
        while let Some(record) = records.read_next()? {
            scan.from = scan.from.min(record.at);
            last = record.at;
            scan.mean_service += record.service as f64;
            scan.mean_seen += record.seen as f64;
            scan.seen.saturating_record(record.seen);
            scan.errors += u64::from(record.is_error);
            scan.below_a_step += u64::from(record.service < record.steps.1);
            let steps = (Duration::from_nanos(record.steps.0), Duration::from_nanos(record.steps.1));
            scan.steps = (scan.steps.0.max(steps.0), scan.steps.1.max(steps.1));
            scan.has_keys |= record.key.is_some();
            if servers.len() < MOST_SERVERS {
                servers.extend(record.server);
            }
            while ends.peek().is_some_and(|&std::cmp::Reverse(end)| end <= record.at) {
                ends.pop();
            }
            ends.push(std::cmp::Reverse(record.at.saturating_add(record.service)));
            scan.most_in_flight = scan.most_in_flight.max(ends.len() as u64);
        }
        scan.counts = records.counts().clone();
        let Counts { lines, requests, .. } = scan.counts;
        if requests == 0 {
            let (skipped, first) = (scan.counts.skipped(), scan.counts.first);
            return Err(LogError::Empty { lines, skipped, first });
        }
        scan.mean_service /= requests as f64;
        scan.mean_seen /= requests as f64;
        scan.span = Duration::from_nanos(last - scan.from);
        scan.servers = servers.len() as u32;
        Ok(scan)
    }

    /// Requests a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        // A single request, or all at once: as if they filled a second.
        let seconds = self.span.as_secs_f64();
        if seconds > 0.0 { self.counts.requests as f64 / seconds } else { self.counts.requests as f64 }
    }

    /// The share of requests that ended badly, by status or without an answer.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        let asked = self.counts.requests + self.counts.unanswered + self.counts.too_long;
        (self.errors + self.counts.unanswered) as f64 / asked.max(1) as f64
    }
}

const MOST_SERVERS: usize = 10_000;
