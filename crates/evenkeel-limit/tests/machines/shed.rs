use evenkeel_limit::{
    Codel, CodelConfig, DeadlineConfig, DeadlineShed, LittleConfig, LittleQueue, Place, PriorityConfig,
    PriorityShed,
};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::Timestamp;
use serde::Deserialize;

use super::{Tally, boxed, make, optional, whole};

/// One of them.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Config {
    Codel(CodelConfig),
    Priority(PriorityConfig),
    Deadline(DeadlineConfig),
    Little(LittleConfig),
}

pub(crate) fn new(config: &str) -> Result<Box<dyn Machine>, String> {
    make(config, |config: &Config| Ok::<_, std::fmt::Error>(new_of(config)))?
}

fn new_of(config: &Config) -> Result<Box<dyn Machine>, String> {
    let tally = Tally::default;
    match config {
        Config::Codel(config) => boxed(told(Codel::new(config)).map(|machine| Waiting(machine, tally()))),
        Config::Priority(config) => {
            boxed(told(PriorityShed::new(config)).map(|machine| Levels(machine, tally())))
        }
        Config::Deadline(config) => {
            boxed(told(DeadlineShed::new(config)).map(|machine| Deadlines(machine, tally())))
        }
        Config::Little(config) => {
            boxed(told(LittleQueue::new(config)).map(|machine| Queue(machine, tally())))
        }
    }
}

fn told<M>(made: Result<M, evenkeel_limit::LimitConfigError>) -> Result<M, String> {
    made.map_err(|error| error.to_string())
}

struct Waiting(Codel, Tally);

impl Machine for Waiting {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "take_out" | "take" => {
                let waited = action.duration("waited")?.ok_or("take_out needs waited=")?;
                self.1.note(self.0.take_out(waited, now));
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        if name == "shedding" { Some(self.0.is_shedding().into()) } else { self.1.fact(name) }
    }
}

struct Levels(PriorityShed, Tally);

impl Machine for Levels {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "come" | "request" => {
                let level = whole(action, "level")?.ok_or("come needs level=")?;
                let result = self.0.come(level, now);
                if let (Some(()), Some(waited)) = (self.1.note(result), action.duration("waited")?) {
                    self.0.waited(waited);
                }
            }
            "served" => {
                let waited = action.duration("waited")?.ok_or("served needs waited=")?;
                self.0.waited(waited);
            }
            "each" => {
                let waited = action.duration("waited")?;
                for level in 0..whole(action, "levels")?.ok_or("each needs levels=")? {
                    let result = self.0.come(level, now);
                    if let (Some(()), Some(waited)) = (self.1.note(result), waited) {
                        self.0.waited(waited);
                    }
                }
            }
            "tick" => {
                let _ = self.0.tick(now);
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "level" => self.0.level().into(),
            "next_deadline" => optional(self.0.next_deadline()),
            _ => return self.1.fact(name),
        })
    }
}

struct Deadlines(DeadlineShed, Tally);

impl Machine for Deadlines {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        let deadline = match action.verb() {
            "serve" | "request" => {
                action.duration("deadline")?.map(|at| Timestamp::ORIGIN.saturating_add(at))
            }
            "in_time" => Some(now),
            "late" if now == Timestamp::ORIGIN => return Err("late: nothing is late at 0s".into()),
            "late" => Some(Timestamp::ORIGIN),
            _ => return Err(action.unknown()),
        };
        self.1.note(self.0.try_serve(deadline, now));
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        self.1.fact(name)
    }
}

struct Queue(LittleQueue, Tally);

impl Machine for Queue {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "come" | "request" => {
                let result = self.0.come();
                let _: Option<Place> = self.1.note(result);
            }
            "next" => {
                let _ = self.0.next();
            }
            "gone" => self.0.gone(),
            "end" => self.0.end(action.duration("latency")?.ok_or("end needs latency=")?, now),
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        Some(match name {
            "concurrency" => self.0.concurrency().into(),
            "queue" => self.0.queue().into(),
            "serving" => self.0.counts().0.into(),
            "waiting" => self.0.counts().1.into(),
            _ => return self.1.fact(name),
        })
    }
}
