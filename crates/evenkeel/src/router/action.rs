use evenkeel_route::split::{BlueGreenConfig, Canary, RampConfig, Stickiness};

/// Requests move from an old version to a new one, step by step, and back at once if the new one fails.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RampAction {
    /// The cluster of the old version.
    pub old: String,
    /// The cluster of the new version.
    pub new: String,
    /// The steps, and what ends them.
    #[cfg_attr(feature = "serde", serde(default))]
    pub plan: RampConfig,
    /// Whether a user stays. Default [`Stickiness::Drawn`], as in a split; keyed, users move to the new version once and stay
    /// there.
    #[cfg_attr(feature = "serde", serde(default))]
    pub stickiness: Stickiness,
    /// As in a split: equal salts and names keep users together over all hops. Default 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub salt: u64,
    /// Requests that go to one version whatever the step says.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub canaries: Vec<Canary>,
}

/// Two complete environments, of which one is live.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct BlueGreenAction {
    /// The cluster that is blue.
    pub blue: String,
    /// The cluster that is green.
    pub green: String,
    /// Which is live at first, and how long users of the other one are kept after a switch. A reload that changes it begins
    /// anew; one that does not leaves the switch as it stands.
    #[cfg_attr(feature = "serde", serde(default))]
    pub switch: BlueGreenConfig,
    /// The cookie by which users say where they were, `blue` or `green`: the router has it set. It is not signed, since all that
    /// it can do is to stay for as long as `switch.keep` allows everybody. Default `evenkeel-colour`.
    #[cfg_attr(feature = "serde", serde(default = "colour_cookie"))]
    pub cookie: String,
}

/// The client is told another address.
///
/// `location` is sent as it stands but for `{host}` (as the client wrote it, without its port), `{path}` (as it was matched),
/// `{query}` (with its question mark, if there is one) and the names of the route's path template. What the request brings
/// is escaped, and cannot begin the address of another host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Redirect {
    /// The field `Location`, such as `https://{host}{path}{query}`.
    pub location: String,
    /// The status: 301, 302, 303, 307 or 308. Default 307: the method stays, and clients ask again next time, so that a mistake
    /// is not remembered for ever.
    #[cfg_attr(feature = "serde", serde(default = "redirect_status"))]
    pub status: u16,
}

/// An answer that needs no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct StaticResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body. Default: empty.
    #[cfg_attr(feature = "serde", serde(default))]
    pub body: String,
    /// The field `content-type`. Default `text/plain; charset=utf-8`.
    #[cfg_attr(feature = "serde", serde(default = "content_type"))]
    pub content_type: String,
}

impl StaticResponse {
    /// An answer of this status without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, body: String::new(), content_type: content_type() }
    }
}

#[cfg(feature = "serde")]
pub(crate) fn colour_cookie() -> String {
    "evenkeel-colour".into()
}

#[cfg(feature = "serde")]
pub(crate) const fn redirect_status() -> u16 {
    307
}

pub(crate) fn content_type() -> String {
    "text/plain; charset=utf-8".into()
}
