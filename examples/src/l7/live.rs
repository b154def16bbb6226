//! The settings that are in force, in the form in which requests use them. A reload swaps them as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_config::Config;
use thiserror::Error;

use super::settings::{ProxySettings, SettingsError, UpstreamProtocol, UpstreamSettings};
use super::tls::{Asking, TlsError};
use super::via::Via;

/// The settings that are in force.
pub struct Live {
    /// As they were written.
    pub settings: ProxySettings,
    /// What is written into requests that pass, if anything is.
    pub via: Option<Via>,
    speaking: Vec<(String, Arc<Speaking>)>,
    /// For clusters of which nothing is said.
    plain: Arc<Speaking>,
}

/// The same for one worker, whose references no other thread counts: what all count would be a line of memory that all write.
pub struct Own(pub Arc<Live>);

impl std::ops::Deref for Own {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.0
    }
}

/// How a cluster is spoken to.
pub struct Speaking {
    /// What is spoken.
    pub protocol: UpstreamProtocol,
    /// How it is asked who it is.
    pub tls: Option<Asking>,
    /// How long a connection may take.
    pub connect: Duration,
    /// Kept connections of another number were made under other settings.
    pub number: u64,
    /// What they were made from.
    settings: UpstreamSettings,
}

impl Live {
    /// Checks the settings and reads the files that they name. What did not change keeps its number, and so its connections.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn new(settings: ProxySettings, config: &Config, before: Option<&Self>) -> Result<Self, LiveError> {
        settings.check(config)?;
        let known: BTreeMap<&str, &Arc<Speaking>> = before
            .map(|before| before.speaking.iter().map(|(name, speaking)| (name.as_str(), speaking)).collect())
            .unwrap_or_default();
        let mut all = Vec::new();
        for (name, upstream) in &settings.upstream {
            let known = known.get(name.as_str()).filter(|known| known.settings == *upstream);
            let tls = match &upstream.tls {
                // The files may have changed all the same: they are read again.
                Some(tls) => {
                    let asking = Asking::new(tls, upstream.protocol);
                    Some(asking.map_err(|error| LiveError::Tls { name: name.clone(), error })?)
                }
                None => None,
            };
            let number = known.map_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed), |known| known.number);
            let (protocol, connect) = (upstream.protocol, settings.timeouts.connect);
            all.push((
                name.clone(),
                Arc::new(Speaking { protocol, tls, connect, number, settings: upstream.clone() }),
            ));
        }
        let plain = Speaking {
            protocol: UpstreamProtocol::Http1,
            tls: None,
            connect: settings.timeouts.connect,
            number: 0,
            settings: UpstreamSettings::default(),
        };
        let via = settings.via.as_deref().and_then(Via::new);
        Ok(Self { settings, via, speaking: all, plain: Arc::new(plain) })
    }

    /// The same, with the files of these clusters read anew. Kept connections stay.
    ///
    /// # Errors
    ///
    /// What is wrong with a file.
    pub fn renewed(&self, clusters: &BTreeSet<String>) -> Result<Self, LiveError> {
        let renew = |(name, speaking): &(String, Arc<Speaking>)| -> Result<_, LiveError> {
            let Some(tls) = speaking.settings.tls.as_ref().filter(|_| clusters.contains(name)) else {
                return Ok((name.clone(), Arc::clone(speaking)));
            };
            let tls = Asking::new(tls, speaking.protocol)
                .map_err(|error| LiveError::Tls { name: name.clone(), error })?;
            let renewed = Speaking {
                protocol: speaking.protocol,
                tls: Some(tls),
                connect: speaking.connect,
                number: speaking.number,
                settings: speaking.settings.clone(),
            };
            Ok((name.clone(), Arc::new(renewed)))
        };
        let speaking = self.speaking.iter().map(renew).collect::<Result<_, LiveError>>()?;
        let (settings, plain) = (self.settings.clone(), Arc::clone(&self.plain));
        let via = settings.via.as_deref().and_then(Via::new);
        Ok(Self { settings, via, speaking, plain })
    }

    /// How the cluster of this name is spoken to.
    pub fn speaking(&self, cluster: &str) -> &Arc<Speaking> {
        let found = self.speaking.binary_search_by(|(name, _)| name.as_str().cmp(cluster));
        found.ok().and_then(|at| self.speaking.get(at)).map_or(&self.plain, |(_, speaking)| speaking)
    }
}

/// The number of the next settings. Never used again, not even after a reload without them: connections may have been kept.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What is wrong with the settings of the proxy.
#[derive(Debug, Error)]
pub enum LiveError {
    /// A setting.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// TLS to a cluster.
    #[error("program.upstream.{name}.tls: {error}")]
    Tls {
        /// The cluster.
        name: String,
        /// What is wrong.
        error: TlsError,
    },
}

#[cfg(test)]
mod tests {
    use evenkeel_config::{Loaded, Syntax};

    use super::*;

    #[test]
    fn numbers_are_never_used_again() {
        let text = "[[clusters]]\nname = \"a\"\nendpoints = [{ id = \"1\", address = \"127.0.0.1:1\" }]";
        let loaded = Loaded::parse(text, Syntax::Toml).unwrap();
        let live = |has_settings: bool, before: Option<&Live>| {
            let upstream = UpstreamSettings { protocol: UpstreamProtocol::Http2, tls: None };
            let upstream =
                if has_settings { BTreeMap::from([("a".to_owned(), upstream)]) } else { BTreeMap::new() };
            let settings = ProxySettings { upstream, ..ProxySettings::default() };
            Live::new(settings, loaded.config(), before).unwrap()
        };
        let first = live(true, None);
        let same = live(true, Some(&first));
        let without = live(false, Some(&same));
        let again = live(true, Some(&without));
        assert_eq!(first.speaking("a").number, same.speaking("a").number);
        assert_eq!(without.speaking("a").number, 0);
        assert!(again.speaking("a").number > first.speaking("a").number);
    }
}
