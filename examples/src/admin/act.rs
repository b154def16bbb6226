//! What an operator may order, and within which bounds.

use std::time::Duration;

use evenkeel::{ApplyError, ForceBreakerError, Owner, Weight};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::settings::AdminSettings;

/// An order for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Drain { by: String, reason: String, limit: Option<Duration> },
    Undrain,
    ForceOpen { owner: Owner, limit: Duration },
    Unforce,
    Weigh { weight: u32 },
}

/// Why an order is not carried out.
#[derive(Debug, Error)]
pub(crate) enum ActError {
    #[error("there is no such order: drain, undrain, force-open, unforce and weight are known")]
    NoOrder,
    #[error("the cluster has no endpoint {0}")]
    NoEndpoint(String),
    #[error("the body: {0}")]
    Body(#[from] serde_json::Error),
    #[error("owner: one to eight of a-z, 0-9, '-', '_' and '.', not {0:?}")]
    Owner(String),
    #[error("for: {0:?} is not between 1s and {1:?}")]
    Limit(Duration, Duration),
    #[error(
        "weight: {weight} is not between {least} and {most}, {step} times less and more than it is; to send nothing, drain"
    )]
    Weight { weight: u32, least: u32, most: u32, step: u32 },
    #[error(transparent)]
    Note(#[from] evenkeel_health::NoteError),
    #[error(transparent)]
    Force(#[from] ForceBreakerError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl ActError {
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::NoOrder | Self::NoEndpoint(_) => 404,
            Self::Force(_) | Self::Apply(_) => 409,
            _ => 422,
        }
    }

    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NoOrder => "no_order",
            Self::NoEndpoint(_) => "no_endpoint",
            Self::Body(_) => "body",
            Self::Owner(_) => "owner",
            Self::Limit(..) => "for",
            Self::Weight { .. } => "weight",
            Self::Note(_) => "note",
            Self::Force(_) => "breaker",
            Self::Apply(_) => "refused",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainBody {
    #[serde(default = "nobody")]
    by: String,
    #[serde(default)]
    reason: String,
    #[serde(default, rename = "for", with = "evenkeel_types::human_duration::optional")]
    limit: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForceBody {
    owner: String,
    #[serde(rename = "for", with = "evenkeel_types::human_duration")]
    limit: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightBody {
    weight: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

fn nobody() -> String {
    "the admin page".to_owned()
}

impl Order {
    /// Reads the order called `name`. `weight` is what the endpoint weighs now, `heaviest` what the heaviest does.
    pub(crate) fn read(
        name: &str,
        body: &[u8],
        settings: &AdminSettings,
        weight: Weight,
        heaviest: u32,
    ) -> Result<Self, ActError> {
        Ok(match name {
            "drain" => {
                let DrainBody { by, reason, limit } = read(body)?;
                if let Some(limit) = limit.filter(|limit| *limit < LEAST) {
                    return Err(ActError::Limit(limit, Duration::MAX));
                }
                Self::Drain { by, reason, limit }
            }
            "undrain" => read::<NoBody>(body).map(|NoBody {}| Self::Undrain)?,
            "force-open" => {
                let ForceBody { owner, limit } = read(body)?;
                let owner = owner.parse().map_err(|_| ActError::Owner(owner))?;
                if !(LEAST..=settings.longest_force).contains(&limit) {
                    return Err(ActError::Limit(limit, settings.longest_force));
                }
                Self::ForceOpen { owner, limit }
            }
            "unforce" => read::<NoBody>(body).map(|NoBody {}| Self::Unforce)?,
            "weight" => {
                let WeightBody { weight: wanted } = read(body)?;
                let (least, most) = bounds(weight.get(), heaviest, settings.weight_step);
                if !(least..=most).contains(&wanted) {
                    let step = settings.weight_step;
                    return Err(ActError::Weight { weight: wanted, least, most, step });
                }
                Self::Weigh { weight: wanted }
            }
            _ => return Err(ActError::NoOrder),
        })
    }

    /// As a line of the log.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Drain { reason, limit, .. } => {
                let until = limit
                    .map_or_else(String::new, |limit| format!(" for {}", humantime::format_duration(limit)));
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                format!("drain{until}{why}")
            }
            Self::Undrain => "undrain".to_owned(),
            Self::ForceOpen { limit, .. } => {
                format!("force the breaker open for {}", humantime::format_duration(*limit))
            }
            Self::Unforce => "end the force on the breaker".to_owned(),
            Self::Weigh { weight } => format!("weight {weight}"),
        }
    }

    pub(crate) fn by(&self) -> Option<String> {
        match self {
            Self::Drain { by, .. } => Some(by.clone()),
            Self::ForceOpen { owner, .. } => Some(owner.to_string()),
            _ => None,
        }
    }
}

/// What one order may make of a weight: never zero, which would be a drain that nobody sees as one. An endpoint of weight zero may come up to
/// the heaviest.
pub(crate) fn bounds(weight: u32, heaviest: u32, step: u32) -> (u32, u32) {
    match weight {
        0 => (1, heaviest.max(1)),
        _ => ((weight / step).max(1), weight.saturating_mul(step)),
    }
}

/// Nothing at all is as good as an empty object.
fn read<B: DeserializeOwned>(body: &[u8]) -> Result<B, serde_json::Error> {
    let body = body.trim_ascii();
    serde_json::from_slice(if body.is_empty() { b"{}" } else { body })
}

const LEAST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn order(name: &str, body: &str) -> Result<Order, String> {
        let settings = AdminSettings::default();
        Order::read(name, body.as_bytes(), &settings, Weight::new(5), 8).map_err(|error| error.to_string())
    }

    #[test]
    fn orders_are_read() {
        let by = "the admin page".to_owned();
        assert_eq!(order("drain", ""), Ok(Order::Drain { by, reason: String::new(), limit: None }));
        let limit = Some(Duration::from_secs(600));
        let told = Order::Drain { by: "ann".into(), reason: "disk".into(), limit };
        assert_eq!(order("drain", r#"{"by": "ann", "reason": "disk", "for": "10m"}"#), Ok(told));
        assert_eq!(order("undrain", " {} "), Ok(Order::Undrain));
        assert_eq!(order("unforce", "{}"), Ok(Order::Unforce));
        let owner: Owner = "ann".parse().unwrap();
        let forced = Order::ForceOpen { owner, limit: Duration::from_secs(30) };
        assert_eq!(order("force-open", r#"{"owner": "ann", "for": "30s"}"#), Ok(forced));
        assert_eq!(order("weight", r#"{"weight": 50}"#), Ok(Order::Weigh { weight: 50 }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, body, part) in [
            ("explode", "", "no such order"),
            ("drain", r#"{"who": "ann"}"#, "unknown field `who`"),
            ("drain", r#"{"for": "10 parsecs"}"#, "10 parsecs"),
            ("drain", r#"{"for": "0s"}"#, "for: 0ns"),
            ("drain", "[", "EOF"),
            ("force-open", "{}", "missing field `owner`"),
            ("force-open", r#"{"owner": "ann"}"#, "missing field `for`"),
            ("force-open", r#"{"owner": "Ann B", "for": "1m"}"#, "owner: one to eight"),
            ("force-open", r#"{"owner": "ann", "for": "2h"}"#, "not between 1s and 3600s"),
            ("weight", r#"{"weight": 0}"#, "between 1 and 50"),
            ("weight", r#"{"weight": 51}"#, "between 1 and 50"),
            ("weight", r#"{"weight": -1}"#, "expected u32"),
        ] {
            let told = order(name, body).expect_err(body);
            assert!(told.contains(part), "{name} {body}: {told}");
        }
    }

    #[test]
    fn weights_change_by_steps() {
        assert_eq!(bounds(100, 1, 10), (10, 1000));
        assert_eq!(bounds(3, 1, 10), (1, 30));
        assert_eq!(bounds(u32::MAX, 1, 10), (u32::MAX / 10, u32::MAX));
        assert_eq!(bounds(0, 40, 10), (1, 40));
        assert_eq!(bounds(0, 0, 10), (1, 1));
    }
}
