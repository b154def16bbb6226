use std::collections::BTreeMap;

use evenkeel_health::{Crowd, Entry, Ramp, SlowStart, SlowStartConfig, Warmth};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::Timestamp;

use super::settings;

#[derive(Debug)]
struct Tier {
    config: SlowStartConfig,
    ramp: Ramp,
    members: BTreeMap<String, Member>,
    /// Warm endpoints of weight 1 that are not named.
    others: u32,
    last: String,
    entered: bool,
    ended: bool,
}

#[derive(Debug)]
struct Member {
    slow_start: SlowStart,
    weight: f64,
    usable: bool,
}

pub(crate) fn make(config: &str, _seed: u64) -> Result<Box<dyn Machine>, String> {
    let config: SlowStartConfig = settings(config)?;
    let ramp = Ramp::new(config.clone()).map_err(|error| error.to_string())?;
    Ok(Box::new(Tier {
        config,
        ramp,
        members: BTreeMap::new(),
        others: 0,
        last: "a".into(),
        entered: false,
        ended: false,
    }))
}

impl Tier {
    fn others_warm(&self, name: &str, now: Timestamp) -> bool {
        let is_warm =
            |member: &Member| member.usable && member.slow_start.state(&self.ramp, now) == Warmth::Warm;
        self.others > 0 || self.members.iter().any(|(other, member)| other != name && is_warm(member))
    }

    fn crowd(&self, now: Timestamp) -> Crowd {
        let usable = self.members.values().filter(|member| member.usable);
        let named = usable
            .map(|member| (member.weight, member.slow_start.factor(&self.ramp, now)))
            .fold(Crowd::default(), |crowd, (weight, factor)| crowd.with(weight, factor));
        (0..self.others).fold(named, |crowd, _| crowd.with(1.0, 1.0))
    }

    fn effective(&self, member: &Member, now: Timestamp) -> f64 {
        let lift = self.ramp.lift(&self.crowd(now));
        if member.usable { Ramp::lifted(member.slow_start.factor(&self.ramp, now), lift) } else { 0.0 }
    }

    fn share(&self, member: &Member, now: Timestamp) -> f64 {
        let named = self.members.values().map(|member| member.weight * self.effective(member, now));
        let total = named.sum::<f64>() + f64::from(self.others);
        member.weight * self.effective(member, now) / total.max(f64::MIN_POSITIVE)
    }
}

impl Machine for Tier {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        (self.entered, self.ended) = (false, false);
        if action.verb() == "others" {
            self.others = action.name(0)?.parse().map_err(|_| "others needs a number")?;
            return action.no_more();
        }
        if matches!(action.verb(), "set" | "reload") {
            self.config = action.changed(&self.config, &[])?;
            self.ramp = Ramp::new(self.config.clone()).map_err(|error| error.to_string())?;
            return action.no_more();
        }
        let name = action.bare(0).unwrap_or("a").to_owned();
        self.last.clone_from(&name);
        let others_warm = self.others_warm(&name, now);
        let is_new = !self.members.contains_key(&name);
        let member = self.members.entry(name).or_insert_with(|| Member {
            slow_start: SlowStart::new(),
            weight: 1.0,
            usable: false,
        });
        member.weight = action.number("weight")?.unwrap_or(member.weight);
        let entry = match action.verb() {
            "add" => Some(Entry::New),
            "return" => Some(Entry::Return),
            "up" => Some(if is_new { Entry::New } else { Entry::Return }),
            _ => None,
        };
        match (action.verb(), entry) {
            (_, Some(entry)) => {
                member.usable = true;
                self.entered = member.slow_start.enter(&self.ramp, entry, others_warm, now);
            }
            ("down" | "leave", _) => {
                member.usable = false;
                self.ended = member.slow_start.leave();
            }
            ("warm", _) => {
                member.usable = true;
                self.ended = member.slow_start.leave();
            }
            ("tick", _) => self.ended = member.slow_start.tick(&self.ramp, now),
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        let crowd = self.crowd(now);
        match name {
            "boost" => return Some(crowd.boost().into()),
            "lift" => return Some(self.ramp.lift(&crowd).into()),
            "entered" => return Some(self.entered.into()),
            "ended" => return Some(self.ended.into()),
            _ => {}
        }
        let (member, fact) = name.rsplit_once('.').unwrap_or((&self.last, name));
        let member = self.members.get(member)?;
        let (since, until) = match member.slow_start.state(&self.ramp, now) {
            Warmth::Warm => (None, None),
            Warmth::Warming { since, until } => (Some(since), Some(until)),
        };
        Some(match fact {
            "factor" => member.slow_start.factor(&self.ramp, now).into(),
            "effective" => self.effective(member, now).into(),
            "share" => self.share(member, now).into(),
            "warming" => since.is_some().into(),
            "warm" => since.is_none().into(),
            "usable" => member.usable.into(),
            "since" => Fact::optional(since),
            "until" => Fact::optional(until),
            "next_change" | "deadline" | "next_deadline" => {
                Fact::optional(member.slow_start.next_change(&self.ramp, now))
            }
            _ => return None,
        })
    }
}
