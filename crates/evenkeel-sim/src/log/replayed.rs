//! A log as arrivals.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{LogError, Records, ReplayConfig, Scan};
use crate::arrivals::{Arrival, Arrivals};
use crate::tally::nanos;

/// Tells the requests of a log one by one, as arrivals from time 0 on, once through.
#[derive(Debug)]
pub struct Replayed {
    records: Records,
    from: u64,
    until: u64,
    /// How many there should be in all.
    requests: u64,
    speed: f64,
    work_times: f64,
    problem: Arc<OnceLock<LogError>>,
}

impl Replayed {
    /// The requests of a log that arrive before `until`. The second part says afterwards whether reading went well: an arrival
    /// cannot.
    ///
    /// # Errors
    ///
    /// Any [`LogError`], if the log has not been looked through before; then [`LogError::Invalid`] and [`LogError::Read`].
    pub fn new(config: &ReplayConfig, until: Duration) -> Result<(Self, Arc<OnceLock<LogError>>), LogError> {
        let scan = match &config.scan {
            Some(scan) => Arc::clone(scan),
            None => Arc::new(Scan::new(config)?),
        };
        let problem = Arc::default();
        let own = Self {
            records: Records::open(config)?,
            from: scan.from,
            until: nanos(until),
            requests: scan.counts.requests,
            speed: config.speed,
            work_times: config.work_times,
            problem: Arc::clone(&problem),
        };
        Ok((own, problem))
    }

    /// Whether the file is the one that was looked through.
    fn compare(&self) {
        let (now, before) = (self.records.counts().requests, self.requests);
        if now != before {
            let _ = self.problem.set(LogError::Changed { now, before });
        }
    }
}

impl Arrivals for Replayed {
    fn next(&mut self) -> Option<Arrival> {
        let record = match self.records.read_next() {
            Ok(Some(record)) => record,
            Ok(None) => {
                self.compare();
                return None;
            }
            Err(error) => {
                let _ = self.problem.set(error);
                return None;
            }
        };
        let since = record.at.saturating_sub(self.from);
        let at = if self.speed == 1.0 { since } else { (since as f64 / self.speed) as u64 };
        if at >= self.until {
            return None;
        }
        let work = (record.service as f64 * self.work_times).max(1.0);
        Some(Arrival { at, key: record.key, work: Some(work) })
    }
}
