use evenkeel_health::{Drain, DrainChange, DrainConfig, DrainEnd, DrainState};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::Timestamp;

use super::settings;

#[derive(Debug)]
struct Draining {
    config: DrainConfig,
    drain: Drain,
    in_flight: usize,
    change: Option<DrainChange>,
}

pub(crate) fn make(config: &str, _seed: u64) -> Result<Box<dyn Machine>, String> {
    let config: DrainConfig = settings(config)?;
    let drain = Drain::new(&config).map_err(|error| error.to_string())?;
    Ok(Box::new(Draining { config, drain, in_flight: 0, change: None }))
}

fn word(state: DrainState) -> &'static str {
    match state {
        DrainState::Active => "active",
        DrainState::Announced { .. } => "announced",
        DrainState::Draining { .. } => "draining",
        DrainState::Drained(DrainEnd::Clean) => "clean",
        DrainState::Drained(DrainEnd::Forced) => "forced",
    }
}

impl Machine for Draining {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        self.change = match action.verb() {
            "begin" | "drain" => {
                match (action.bare_duration(0)?.or(action.duration("for")?), action.duration("until")?) {
                    (None, None) => self.drain.begin(now),
                    (Some(time), _) => self.drain.begin_until(now, now.saturating_add(time)),
                    (_, Some(time)) => self.drain.begin_until(now, Timestamp::ORIGIN.saturating_add(time)),
                }
            }
            "set" | "reload" => {
                self.config = action.changed(&self.config, &[])?;
                self.drain.set_config(&self.config).map_err(|error| error.to_string())?;
                None
            }
            "cancel" | "resume" => self.drain.cancel(now),
            "start" | "request" => {
                self.in_flight += 1;
                None
            }
            "end" => {
                self.in_flight = self.in_flight.checked_sub(1).ok_or("nothing is in flight")?;
                self.drain.tick(now, self.in_flight)
            }
            "tick" => {
                if let Some(in_flight) = action.number("in_flight")? {
                    self.in_flight = in_flight as usize;
                }
                self.drain.tick(now, self.in_flight)
            }
            _ => return Err(action.unknown()),
        };
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        let state = self.drain.state(now);
        let until = match state {
            DrainState::Announced { until } | DrainState::Draining { until } => Some(until),
            _ => None,
        };
        Some(match name {
            "active" | "announced" | "draining" | "clean" | "forced" => (word(state) == name).into(),
            "drained" => matches!(state, DrainState::Drained(_)).into(),
            "state" => word(state).into(),
            "until" => Fact::optional(until),
            "in_flight" => self.in_flight.into(),
            "leaving" => self.drain.is_leaving().into(),
            "accepts_new" => self.drain.accepts_new(now).into(),
            "accepts_sticky" => self.drain.accepts_sticky(now).into(),
            "deadline" | "next_deadline" => Fact::optional(self.drain.next_deadline()),
            "clock_regressions" => self.drain.clock_regressions().into(),
            "changed" => self.change.is_some().into(),
            "event" | "to" => Fact::optional(self.change.map(|change| word(change.after))),
            "from" => Fact::optional(self.change.map(|change| word(change.before))),
            _ => return None,
        })
    }
}
