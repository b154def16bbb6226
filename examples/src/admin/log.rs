use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use evenkeel::Timestamp;
use serde::Serialize;

/// The last orders that were carried out, newest first.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<VecDeque<Entry>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) cluster: String,
    pub(crate) endpoint: String,
    pub(crate) order: String,
    pub(crate) by: Option<String>,
    /// Whether it forces a breaker.
    pub(crate) forces: bool,
}

/// An entry as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    age_s: f64,
    cluster: String,
    endpoint: String,
    order: String,
    by: Option<String>,
}

impl Log {
    pub(crate) fn add(&self, entry: Entry) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.truncate(MOST - 1);
        entries.push_front(entry);
    }

    /// Who forced the breaker of an endpoint last: the breaker itself keeps that to its transitions.
    pub(crate) fn forced_by(&self, cluster: &str, endpoint: &str) -> Option<String> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant =
            |entry: &&Entry| entry.forces && entry.cluster == cluster && entry.endpoint == endpoint;
        entries.iter().find(is_meant)?.by.clone()
    }

    pub(crate) fn told(&self, now: Timestamp) -> Vec<Told> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let told = |entry: Entry| Told {
            age_s: now.saturating_since(entry.at).as_secs_f64(),
            cluster: entry.cluster,
            endpoint: entry.endpoint,
            order: entry.order,
            by: entry.by,
        };
        entries.into_iter().map(told).collect()
    }
}

/// Enough for what happened in an incident; who needs all of it keeps the access log.
const MOST: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_newest() {
        let log = Log::default();
        for i in 0..60 {
            let (cluster, endpoint) = ("a".to_owned(), format!("e{i}"));
            log.add(Entry {
                at: Timestamp::from_secs(i),
                cluster,
                endpoint,
                order: "drain".into(),
                by: None,
                forces: false,
            });
        }
        let told = log.told(Timestamp::from_secs(60));
        assert_eq!((told.len(), told[0].endpoint.as_str(), told[0].age_s), (50, "e59", 1.0));
    }
}
