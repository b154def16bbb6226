use std::time::Duration;

use evenkeel_health::{PhiAccrual, PhiChange, PhiConfig};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::Timestamp;

use super::settings;

#[derive(Debug)]
struct Phi {
    config: PhiConfig,
    detector: PhiAccrual,
    change: Option<PhiChange>,
    /// When something last happened.
    latest: Timestamp,
}

/// Beats before time begins, or before what has happened already, would come all at once.
fn has_room(latest: Timestamp, now: Timestamp, span: Duration) -> Result<(), String> {
    if now.saturating_since(latest) >= span {
        return Ok(());
    }
    let latest = Duration::from_nanos(latest.as_nanos());
    Err(format!("beats over {span:?} do not fit between {latest:?}, when something last happened, and now"))
}

pub(crate) fn make(config: &str, _seed: u64) -> Result<Box<dyn Machine>, String> {
    let config: PhiConfig = settings(config)?;
    let detector = PhiAccrual::new(config.clone()).map_err(|error| error.to_string())?;
    Ok(Box::new(Phi { config, detector, change: None, latest: Timestamp::ORIGIN }))
}

impl Machine for Phi {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        self.change = match action.verb() {
            "beat" | "heartbeat" => self.detector.heartbeat(now),
            "beats" => {
                let count = action.bare_number(0)?.or(action.number("n")?).unwrap_or(1.0) as u32;
                let every = action.duration("every")?.unwrap_or(Duration::from_secs(1));
                has_room(self.latest, now, every.saturating_mul(count.saturating_sub(1)))?;
                let mut change = None;
                for before in (0..count).rev() {
                    change = self.detector.heartbeat(now.saturating_sub(every.saturating_mul(before)));
                }
                change
            }
            "set" | "reload" => {
                self.config = action.changed(&self.config, &[])?;
                self.detector.set_config(self.config.clone(), now).map_err(|error| error.to_string())?
            }
            "tick" => self.detector.tick(now),
            _ => return Err(action.unknown()),
        };
        self.latest = self.latest.max(now);
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        let available = self.detector.is_available(now);
        let (mean, deviation) = self.detector.usual_interval();
        Some(match name {
            "phi" => self.detector.phi(now).into(),
            "available" | "trusted" => available.into(),
            "suspected" | "suspect" => (!available).into(),
            "state" => (if available { "trusted" } else { "suspected" }).into(),
            "mean" => mean.into(),
            "deviation" => deviation.into(),
            "samples" => self.detector.samples().into(),
            "suspect_at" => Fact::optional(self.detector.suspect_at()),
            "deadline" | "next_deadline" => Fact::optional(self.detector.next_deadline()),
            "clock_regressions" => self.detector.clock_regressions().into(),
            "changed" => self.change.is_some().into(),
            "event" => Fact::optional(self.change.map(|change| match change {
                PhiChange::Suspected => "suspected",
                PhiChange::Trusted => "trusted",
            })),
            _ => return None,
        })
    }
}
