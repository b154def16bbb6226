//! A log as arrivals.

use std::sync::{Arc, OnceLock};

use super::{LogError, Records, ReplayConfig};
use crate::arrivals::{Arrival, Arrivals};

/// Tells the requests of a log one by one, as arrivals from time 0 on.
#[derive(Debug)]
pub struct Replayed {
    records: Records,
    from: u64,
    speed: f64,
    work_times: f64,
    problem: Arc<OnceLock<LogError>>,
}

impl Replayed {
    /// Of a log whose first request began at `from`, as [`super::Scan`] says it. The second part says afterwards whether
    /// reading went well.
    ///
    /// # Errors
    ///
    /// [`LogError::Invalid`] and [`LogError::Read`].
    pub fn new(config: &ReplayConfig, from: u64) -> Result<(Self, Arc<OnceLock<LogError>>), LogError> {
        let problem = Arc::default();
        let records = Records::open(config)?;
        let own = Self {
            records,
            from,
            speed: config.speed,
            work_times: config.work_times,
            problem: Arc::clone(&problem),
        };
        Ok((own, problem))
    }
}

impl Arrivals for Replayed {
    fn next(&mut self) -> Option<Arrival> {
        let record = match self.records.next() {
            Ok(record) => record?,
            Err(error) => {
                let _ = self.problem.set(error);
                return None;
            }
        };
        let since = record.at.saturating_sub(self.from);
        let at = if self.speed == 1.0 { since } else { (since as f64 / self.speed) as u64 };
        let work = (record.service as f64 * self.work_times).max(1.0);
        Some(Arrival { at, key: record.key, work: Some(work) })
    }
}
