use std::sync::Arc;

use super::{Hrw, Wrr};
use crate::sync::Mutex;
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Settings of [`Traefik`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct TraefikConfig {
    /// The strategy: `wrr` unless set, Traefik's default.
    pub strategy: Strategy,
    /// What stands before `://` in the servers' URLs, which `hrw` hashes: `http` unless set.
    pub scheme: String,
}

/// A strategy of Traefik.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Strategy {
    /// Weighted round robin by deadlines: [`Wrr`].
    #[default]
    Wrr,
    /// Rendezvous hashing of the client's address: [`Hrw`].
    Hrw,
}

impl Default for TraefikConfig {
    fn default() -> Self {
        Self { strategy: Strategy::default(), scheme: "http".to_owned() }
    }
}

impl PolicySettings for TraefikConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Traefik::new(self.clone(), members)?))
    }
}

/// The strategies of Traefik in a cluster: see [the module](super) for what they do.
#[derive(Debug)]
pub struct Traefik {
    config: TraefikConfig,
    tokens: Box<[u64]>,
    machine: Machine,
}

#[derive(Debug)]
enum Machine {
    Wrr(Mutex<Wrr>),
    Hrw(Hrw),
}

impl Traefik {
    /// The policy of these settings for these members.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`], if the scheme is empty.
    pub fn new(config: TraefikConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        if config.scheme.is_empty() {
            let problem = "empty, where `http`, `https` or `h2c` is expected";
            return Err(InvalidPolicy::setting(NAME, "scheme", problem));
        }
        let machine = match config.strategy {
            Strategy::Wrr => Machine::Wrr(Mutex::new(Wrr::new(members.weights()))),
            Strategy::Hrw => Machine::Hrw(hrw(&config.scheme, members)),
        };
        let tokens = tokens(members);
        Ok(Self { config, tokens, machine })
    }
}

impl Policy for Traefik {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        let is_open = |position: usize| view.is_open(position);
        let picked = match &self.machine {
            Machine::Wrr(wrr) => wrr.lock().pick(is_open),
            Machine::Hrw(hrw) => match caller.source() {
                Some(client) => hrw.pick(client, is_open),
                None => by_key(hrw, caller, is_open),
            },
        };
        // Scores may all be zero, or weights may have changed under a view: any open one, then.
        picked.or_else(|| view.mask().iter().find(|&position| view.admits(position)))
    }

    fn wants(&self) -> Wants {
        match self.machine {
            Machine::Wrr(_) => Wants::SEQUENCE,
            Machine::Hrw(_) => Wants::SOURCE | Wants::KEY,
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let mut successor = Self::new(self.config.clone(), members)?;
        if let (Machine::Wrr(old), Machine::Wrr(new)) = (&self.machine, &mut successor.machine) {
            let mut before: Vec<(u64, usize)> = self.tokens.iter().copied().zip(0..).collect();
            before.sort_unstable();
            let old_position = |position: usize| {
                let token = successor.tokens.get(position)?;
                let found = before.binary_search_by_key(token, |&(token, _)| token).ok()?;
                Some(before[found].1)
            };
            *new = Mutex::new(old.lock().rebuilt(members.weights(), old_position));
        }
        Ok(Some(Arc::new(successor)))
    }
}

fn by_key(hrw: &Hrw, caller: &mut dyn Caller, is_open: impl Fn(usize) -> bool) -> Option<usize> {
    if let Some(key) = caller.key_bytes() {
        return hrw.pick_by(key, is_open);
    }
    let hash = caller.key().unwrap_or_else(|| caller.draw());
    hrw.pick_by(&hash.to_le_bytes(), is_open)
}

fn hrw(scheme: &str, members: &dyn Members) -> Hrw {
    let url = |position: usize| format!("{scheme}://{}", members.endpoint(position).address());
    let urls: Vec<String> = (0..members.weights().len()).map(url).collect();
    Hrw::new(urls.iter().map(String::as_str).zip(members.weights().iter().copied()))
}

fn tokens(members: &dyn Members) -> Box<[u64]> {
    (0..members.weights().len()).map(|position| members.token(position)).collect()
}

const NAME: &str = "traefik";
