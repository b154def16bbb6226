//! Until when the head of an answer is waited for.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::request_body::{Fate, Upload};

/// Until when the head of an answer is waited for.
///
/// An endpoint answers when it has the request, as a rule: its time begins anew with every part of the body that it is given, and
/// does not run while the client is waited for, who has a time limit of its own. The limits of a route stand.
#[derive(Clone, Copy, Debug)]
pub struct Deadline<'a> {
    most: Duration,
    soonest: Instant,
    latest: Option<Instant>,
    fate: Option<&'a Fate>,
}

impl<'a> Deadline<'a> {
    /// `most` after `started`, or after what `fate` tells of the body; by `latest` in any case.
    pub fn new(started: Instant, most: Duration, latest: Option<Instant>, fate: Option<&'a Fate>) -> Self {
        Self { most, soonest: started + most, latest, fate }
    }

    /// When it is, as far as one knows now.
    pub fn at(&self) -> Instant {
        let at = match self.fate.map(Fate::upload) {
            None => self.soonest,
            Some(Upload::WaitsForClient(_)) => Instant::now() + self.most,
            Some(Upload::Moved(at)) => self.soonest.max(at + self.most),
        };
        self.latest.map_or(at, |latest| latest.min(at))
    }

    /// What comes of it until then.
    ///
    /// # Errors
    ///
    /// If nothing does.
    pub async fn limit<T>(&self, what: impl Future<Output = T>) -> Result<T, TooLate> {
        let mut what = std::pin::pin!(what);
        loop {
            match timeout_at(self.at(), what.as_mut()).await {
                Ok(result) => return Ok(result),
                Err(_) if Instant::now() >= self.at() => return Err(TooLate),
                Err(_) => {}
            }
        }
    }
}

/// A deadline is over.
#[derive(Clone, Copy, Debug)]
pub struct TooLate;
