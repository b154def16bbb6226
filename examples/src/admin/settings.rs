use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

/// What an [`Admin`](super::Admin) is there for. Orders are not authenticated, so who can reach it decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serves {
    /// Operators on this machine: everything, under `localhost`, loopback addresses and the names of `hosts`.
    #[default]
    Operators,
    /// Monitoring, from anywhere: `/healthz` and `/metrics`, under any name, and nothing else.
    Monitoring,
    /// Everybody: everything, under any address too. Something in front decides who comes in. Names must still be known: a page
    /// can have a name of its own point here, but no address.
    Everybody,
}

impl Serves {
    /// What an admin at this address is there for: operators if it is a loopback address, otherwise monitoring, unless it
    /// `is_open` on purpose.
    #[must_use]
    pub const fn at(address: SocketAddr, is_open: bool) -> Self {
        match (address.ip().is_loopback(), is_open) {
            (true, _) => Self::Operators,
            (false, true) => Self::Everybody,
            (false, false) => Self::Monitoring,
        }
    }
}

/// What an [`Admin`](super::Admin) allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// What it is there for. Default: operators on this machine.
    pub serves: Serves,
    /// Names under which it is reached, besides `localhost` and loopback addresses, without ports. Default none: any other name
    /// could be one that its owner points here.
    pub hosts: Vec<String>,
    /// The longest body that is read, in bytes. Default 16 KiB: a typed request with all its headers.
    pub max_body: usize,
    /// How many endpoints of a cluster are listed. Default 500, those in trouble first: more is for metrics.
    pub max_endpoints: usize,
    /// By what factor one order may change a weight. Default 10: a slip of one digit is refused.
    pub weight_step: u32,
    /// For how long a breaker may be forced at most. Default one hour: who needs longer looks again.
    pub longest_force: Duration,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            serves: Serves::default(),
            hosts: Vec::new(),
            max_body: 16 * 1024,
            max_endpoints: 500,
            weight_step: 10,
            longest_force: Duration::from_secs(3600),
        }
    }
}

/// Settings that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdminSettingsError {
    /// A host name with a port, a slash or nothing: write the name alone.
    #[error("hosts: {0:?} is not a host name alone")]
    Host(String),
    /// No order would fit.
    #[error("max_body: {0} is too little; at least 256 bytes")]
    Body(usize),
    /// No weight could be changed.
    #[error("weight_step: {0} changes nothing; at least 2")]
    Step(u32),
    /// No breaker could be forced.
    #[error("longest_force: {0:?} is too short; at least 1s")]
    Force(Duration),
}

impl AdminSettings {
    pub(crate) fn check(&self) -> Result<(), AdminSettingsError> {
        let is_name = |host: &&String| !host.is_empty() && !host.contains(['/', ':', '[', ' ', '*']);
        if let Some(host) = self.hosts.iter().find(|host| !is_name(host)) {
            return Err(AdminSettingsError::Host(host.clone()));
        }
        if self.max_body < 256 {
            return Err(AdminSettingsError::Body(self.max_body));
        }
        if self.weight_step < 2 {
            return Err(AdminSettingsError::Step(self.weight_step));
        }
        if self.longest_force < Duration::from_secs(1) {
            return Err(AdminSettingsError::Force(self.longest_force));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_setting_is_named() {
        let good = AdminSettings::default();
        assert_eq!(good.check(), Ok(()));
        for (bad, field) in [
            (AdminSettings { hosts: vec!["a:1".into()], ..good.clone() }, "hosts: \"a:1\""),
            (AdminSettings { hosts: vec![String::new()], ..good.clone() }, "hosts: \"\""),
            (AdminSettings { max_body: 10, ..good.clone() }, "max_body: 10"),
            (AdminSettings { weight_step: 1, ..good.clone() }, "weight_step: 1"),
            (AdminSettings { longest_force: Duration::ZERO, ..good.clone() }, "longest_force: 0ns"),
        ] {
            let told = bad.check().expect_err(field).to_string();
            assert!(told.starts_with(field), "{told}");
        }
    }
}
