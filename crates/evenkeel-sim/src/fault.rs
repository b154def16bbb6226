//! What goes wrong with servers, and what is done to them on purpose.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Invalid;
use crate::work::{not_long, positive};

/// Something goes wrong for a while.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultConfig {
    /// With which servers. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<u32>,
    /// From when. Default: the beginning.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(default, with = "evenkeel_types::human_duration")]
    pub from: Duration,
    /// Until when. Default: the end.
    #[schemars(with = "Option<evenkeel_types::HumanDuration>")]
    #[serde(
        default,
        with = "evenkeel_types::human_duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub to: Option<Duration>,
    /// It begins again after this, counted from `from`, until the end of the run. Default: once.
    #[schemars(with = "Option<evenkeel_types::HumanDuration>")]
    #[serde(
        default,
        with = "evenkeel_types::human_duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub every: Option<Duration>,
    /// After this time clients know of the beginning, and of the end, from health checks. Default: they are not told.
    #[schemars(with = "Option<evenkeel_types::HumanDuration>")]
    #[serde(
        default,
        with = "evenkeel_types::human_duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub noticed_after: Option<Duration>,
    /// What.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Requests fail: all of them make a sinkhole, some a gray failure.
    Fails {
        /// How many: 0 to 1.
        share: f64,
        /// After how long.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        after: Duration,
    },
    /// Requests are answered well, after this time exactly.
    Answers {
        /// After how long.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        after: Duration,
    },
    /// Requests are taken and never answered.
    BlackHole,
    /// The cores are multiplied by this.
    Capacity {
        /// 0 to 1000.
        times: f64,
    },
    /// All takes so many times as long: a cold start.
    Slow {
        /// 1 to 1000.
        times: f64,
    },
    /// Nothing moves: a stop of the garbage collector.
    Pause,
    /// What is under way fails, and all that comes is refused, until it starts again.
    Crash,
    /// It is not among the endpoints: it joins when this ends, and leaves when this begins.
    Absent,
}

/// All servers are started anew, one after the other: each is drained, stopped and started.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployConfig {
    /// When it begins.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub from: Duration,
    /// How many at a time. Default: 1.
    #[serde(default = "one")]
    pub at_once: u32,
    /// How long one is drained before it is stopped. Zero: not at all, what is under way fails.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub drain: Duration,
    /// How long it is down.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub restart: Duration,
    /// How it starts. Default: at full speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<ColdConfig>,
}

/// A server that has just been started is slower.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColdConfig {
    /// So many times.
    pub times: f64,
    /// So long.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub lasts: Duration,
}

/// Servers join and leave by how busy they are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingConfig {
    /// How many of the servers are there at the beginning, and at least.
    pub least: u32,
    /// The share of cores that shall be busy: above 0, below 1.
    pub target: f64,
    /// How often that is looked at.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub every: Duration,
    /// How long a new one takes to start.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub start_up: Duration,
    /// How it starts. Default: at full speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<ColdConfig>,
}

impl FaultConfig {
    pub(crate) fn check(&self, path: &str, servers: u32) -> Result<(), Invalid> {
        let field = |name: &str| format!("{path}.{name}");
        for (index, &server) in self.servers.iter().enumerate() {
            let name = field(&format!("servers.{index}"));
            Invalid::unless(server < servers, &name, server, "the number of a server, from 0")?;
        }
        let short = |name: &str, time: Duration| not_long(&field(name), time);
        short("from", self.from)?;
        if let Some(to) = self.to {
            short("to", to)?;
            Invalid::unless(to > self.from, &field("to"), format_args!("{to:?}"), "later than `from`")?;
        }
        if let FaultKind::Fails { after, .. } | FaultKind::Answers { after } = self.kind {
            short("kind.after", after)?;
        }
        if let Some(after) = self.noticed_after {
            short("noticed_after", after)?;
        }
        if let Some(every) = self.every {
            let lasts = self.to.map(|to| to.saturating_sub(self.from));
            let is_fine = lasts.is_some_and(|lasts| every > lasts && every >= Duration::from_millis(1));
            let allowed = "longer than from `from` to `to`, and 1ms or more";
            Invalid::unless(is_fine, &field("every"), format_args!("{every:?}"), allowed)?;
        }
        match self.kind {
            FaultKind::Fails { share, .. } => {
                let is_fine = (0.0..=1.0).contains(&share);
                Invalid::unless(is_fine, &field("kind.fails.share"), share, "0 to 1")
            }
            FaultKind::Capacity { times } => {
                let is_fine = times > 0.0 && times <= 1e3;
                Invalid::unless(is_fine, &field("kind.capacity.times"), times, "above 0, to 1000")
            }
            FaultKind::Slow { times } => slower(&field("kind.slow.times"), times),
            FaultKind::Answers { .. }
            | FaultKind::BlackHole
            | FaultKind::Pause
            | FaultKind::Crash
            | FaultKind::Absent => Ok(()),
        }
    }
}

impl ColdConfig {
    fn check(&self, path: &str) -> Result<(), Invalid> {
        slower(&format!("{path}.times"), self.times)?;
        positive(&format!("{path}.lasts"), self.lasts)
    }
}

impl DeployConfig {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        Invalid::unless(self.at_once > 0, "deploy.at_once", self.at_once, "1 or more")?;
        positive("deploy.restart", self.restart)?;
        not_long("deploy.from", self.from)?;
        not_long("deploy.drain", self.drain)?;
        self.cold.map_or(Ok(()), |cold| cold.check("deploy.cold"))
    }
}

impl ScalingConfig {
    pub(crate) fn check(&self, servers: u32) -> Result<(), Invalid> {
        let is_fine = (1..=servers).contains(&self.least);
        Invalid::unless(is_fine, "scaling.least", self.least, "1, to the number of servers")?;
        let is_fine = self.target > 0.0 && self.target < 1.0;
        Invalid::unless(is_fine, "scaling.target", self.target, "above 0, below 1")?;
        positive("scaling.every", self.every)?;
        not_long("scaling.start_up", self.start_up)?;
        self.cold.map_or(Ok(()), |cold| cold.check("scaling.cold"))
    }
}

fn slower(field: &str, times: f64) -> Result<(), Invalid> {
    Invalid::unless((1.0..=1e3).contains(&times), field, times, "1 to 1000")
}

const fn one() -> u32 {
    1
}
