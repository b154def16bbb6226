use evenkeel_health::{FlapChange, FlapConfig, FlapDamper};
use evenkeel_scenario::{Action, Fact, Machine, duration};
use evenkeel_types::Timestamp;

use super::settings;

#[derive(Debug)]
struct Flap {
    config: FlapConfig,
    damper: FlapDamper,
    change: Option<FlapChange>,
}

pub(crate) fn make(config: &str, _seed: u64) -> Result<Box<dyn Machine>, String> {
    let config: FlapConfig = settings(config)?;
    let damper = FlapDamper::new(config.clone()).map_err(|error| error.to_string())?;
    Ok(Box::new(Flap { config, damper, change: None }))
}

impl Machine for Flap {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        self.change = match action.verb() {
            "up" => self.damper.up(now),
            "down" => self.damper.down(now),
            "flap" => {
                self.damper.flap_by(now, action.bare_number(0)?.or(action.number("points")?).unwrap_or(1.0))
            }
            "set" | "reload" => {
                self.config = action.changed(&self.config, &[])?;
                self.damper.set_config(self.config.clone(), now).map_err(|error| error.to_string())?
            }
            "tick" => self.damper.tick(now),
            _ => return Err(action.unknown()),
        };
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        if let Some(base) = name.strip_prefix("wait.") {
            return Some(self.damper.wait(duration(base).ok()?, now).into());
        }
        let suppressed = self.damper.is_suppressed(now);
        Some(match name {
            "suppressed" => suppressed.into(),
            "free" => (!suppressed).into(),
            "state" => (if suppressed { "suppressed" } else { "free" }).into(),
            "penalty" => self.damper.penalty(now).into(),
            "deadline" | "next_deadline" | "until" | "release_at" => {
                Fact::optional(self.damper.next_deadline())
            }
            "clock_regressions" => self.damper.clock_regressions().into(),
            "changed" => self.change.is_some().into(),
            "event" => Fact::optional(self.change.map(|change| match change {
                FlapChange::Suppressed { .. } => "suppressed",
                FlapChange::Released => "released",
            })),
            _ => return None,
        })
    }
}
