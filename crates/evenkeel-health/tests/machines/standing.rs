use evenkeel_health::{
    AdminState, Cause, Change, CheckState, Note, Opinion, Provenance, Source, Standing, TimeToLive,
};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::{Announced, Timestamp};

use super::{on_or_off, settings, snake};

#[derive(Debug)]
struct Composed {
    ttl: TimeToLive,
    standing: Standing,
    provenance: Provenance,
    changes: Vec<Change>,
}

pub(crate) fn make(config: &str, _seed: u64) -> Result<Box<dyn Machine>, String> {
    let ttl: TimeToLive = settings(config)?;
    let provenance = Provenance::new(ttl.clone()).map_err(|error| error.to_string())?;
    Ok(Box::new(Composed { ttl, standing: Standing::new(), provenance, changes: Vec::new() }))
}

/// What an action says; `None` for a verb that says nothing.
fn opinion(action: &Action) -> Result<Option<Opinion>, String> {
    let word = action.bare(0);
    let unknown = || format!("{} {}: there is no such word", action.verb(), word.unwrap_or(""));
    let flag = |opinion: fn(bool) -> Opinion| on_or_off(word).map(opinion);
    Ok(Some(match action.verb() {
        "admin" | "operator" => Opinion::Admin(match word {
            Some("ready") => AdminState::Ready,
            Some("drain") => AdminState::Drain,
            Some("maintenance" | "maint") => AdminState::Maintenance,
            _ => return Err(unknown()),
        }),
        "ready" => Opinion::Admin(AdminState::Ready),
        "drain" => Opinion::Admin(AdminState::Drain),
        "maintenance" | "maint" => Opinion::Admin(AdminState::Maintenance),
        "announced" | "announce" | "discovery" => Opinion::Announced(match word {
            Some("unknown") => Announced::Unknown,
            Some("up" | "healthy") => Announced::Up,
            Some("degraded") => Announced::Degraded,
            Some("starting") => Announced::Starting,
            Some("draining") => Announced::Draining,
            Some("down" | "unhealthy") => Announced::Down,
            _ => return Err(unknown()),
        }),
        "check" => Opinion::Check(match word {
            Some("unknown") => CheckState::Unknown,
            Some("up" | "pass") => CheckState::Up,
            Some("degraded") => CheckState::Degraded,
            Some("down" | "fail") => CheckState::Down,
            Some("starting") => CheckState::Starting,
            _ => return Err(unknown()),
        }),
        "eject" | "ejected" => flag(Opinion::Ejected)?,
        "uneject" => Opinion::Ejected(false),
        "breaker" => Opinion::BreakerOpen(match word {
            None | Some("open" | "on") => true,
            Some("closed" | "half_open" | "off") => false,
            _ => return Err(unknown()),
        }),
        "weight" => Opinion::DrainedByWeight(match word {
            Some("zero" | "0") => true,
            Some(number) if number.parse::<u32>().is_ok() => false,
            _ => return Err(unknown()),
        }),
        "draining" => flag(Opinion::Draining)?,
        "unlisted" => flag(Opinion::Unlisted)?,
        "listed" => Opinion::Unlisted(!on_or_off(word)?),
        "suspected" | "suspect" => flag(Opinion::Suspected)?,
        "trusted" => Opinion::Suspected(false),
        "flapping" | "flap_damped" => flag(Opinion::FlapDamped)?,
        "probation" => flag(Opinion::Probation)?,
        "warming" => flag(Opinion::Warming)?,
        _ => return Ok(None),
    }))
}

fn note(action: &Action, now: Timestamp) -> Result<Note, String> {
    let moment =
        |key| action.duration(key).map(|time| time.map(|time| Timestamp::ORIGIN.saturating_add(time)));
    let limit = action.duration("for")?.map(|time| now.saturating_add(time));
    let mut note = match (limit.or(moment("expires")?), moment("until")?) {
        (Some(limit), _) => Note::expiring(limit),
        (None, Some(until)) => Note::until(until),
        (None, None) => Note::default(),
    };
    if let Some(by) = action.text("by") {
        note = note.by(by).map_err(|error| error.to_string())?;
    }
    if let Some(reason) = action.text("reason") {
        note = note.because(reason).map_err(|error| error.to_string())?;
    }
    Ok(note)
}

impl Machine for Composed {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        self.changes = match (action.verb(), opinion(action)?) {
            (_, Some(opinion)) => {
                vec![self.provenance.say(&self.standing, opinion, note(action, now)?, now)]
            }
            ("set" | "reload", None) => {
                self.ttl = action.changed(&self.ttl, &[])?;
                self.provenance.set_ttl(self.ttl.clone()).map_err(|error| error.to_string())?;
                Vec::new()
            }
            ("tick", None) => self.provenance.tick(&self.standing, now),
            _ => return Err(action.unknown()),
        };
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        // As of now, whether or not somebody has ticked: so reports say it too.
        let status = self.provenance.status(now);
        if let Some((subject, fact)) = name.split_once('.') {
            return self.fact_of(subject, fact, now);
        }
        let causes: Vec<String> = status.causes().map(snake).collect();
        Some(match name {
            "usable" => status.usable().into(),
            "healthy" => (status.usable() && status.cause().is_none()).into(),
            "degraded" => status.is_degraded().into(),
            "withdrawn" => status.is_withdrawn().into(),
            "ejected" => status.ejected().into(),
            "breaker_open" => status.breaker_open().into(),
            "weight_zero" => status.drained_by_weight().into(),
            "draining" => status.draining().into(),
            "unlisted" => status.unlisted().into(),
            "suspected" => status.suspected().into(),
            "flap_damped" => status.flap_damped().into(),
            "on_probation" => status.on_probation().into(),
            "warming" => status.warming().into(),
            "admin" => snake(status.admin()).into(),
            "announced" => snake(status.announced()).into(),
            "check" => snake(status.check()).into(),
            "cause" => Fact::optional(causes.first().cloned()),
            "causes" => Fact::optional((!causes.is_empty()).then(|| causes.join("+"))),
            "status" => status.to_string().into(),
            "turned_usable" => self.changes.iter().any(|change| change.turned_usable()).into(),
            "turned_unusable" => self.changes.iter().any(|change| change.turned_unusable()).into(),
            "clock_regressions" => self.provenance.clock_regressions().into(),
            "changed" => self.changes.iter().any(|change| !change.is_noop()).into(),
            "deadline" | "next_deadline" => Fact::optional(self.provenance.next_deadline()),
            _ => return None,
        })
    }
}

impl Composed {
    /// A fact of a cause or of a source.
    fn fact_of(&self, subject: &str, fact: &str, now: Timestamp) -> Option<Fact> {
        let cause = Cause::ALL.into_iter().find(|&cause| snake(cause) == subject);
        let source = Source::ALL.into_iter().find(|&source| snake(source) == subject);
        if fact == "blocks" {
            let source = source?;
            return Some(self.provenance.status(now).is_blocked_by(source).into());
        }
        let (record, until) = if let Some(cause) = cause {
            let evidence = self.provenance.evidence(now).find(|evidence| evidence.cause == cause);
            (evidence.map(|evidence| evidence.record), evidence.and_then(|evidence| evidence.until()))
        } else {
            let record = self.provenance.record(source?, now);
            (record, record.and_then(|record| record.expires.or(record.until)))
        };
        Some(match fact {
            "holds" => record.is_some().into(),
            "since" => Fact::optional(record.map(|record| record.since)),
            "confirmed" => Fact::optional(record.map(|record| record.confirmed)),
            "age" => Fact::optional(record.map(|record| now.saturating_since(record.since))),
            "until" => Fact::optional(until),
            "expires" => Fact::optional(record.and_then(|record| record.expires)),
            "by" => Fact::optional(record.and_then(|record| record.by.as_deref())),
            "reason" => Fact::optional(record.and_then(|record| record.reason.as_deref())),
            "source" => Fact::optional(record.map(|record| snake(record.opinion.source()))),
            _ => return None,
        })
    }
}
