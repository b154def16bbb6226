use std::net::SocketAddr;
use std::time::Duration;

use evenkeel::EndpointId;

/// A service that announces itself in a registry.
///
/// It warms up, is announced once its own health check passes, serves, and on SIGTERM (or Ctrl-C) drains: the announcement
/// says so, readers are given time, requests in progress end, the entry goes, and only then it stops listening. The exit
/// code is 1 if that took longer than the deadline, or if somebody who followed the registry lost a request.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "registrar", version, max_term_width = 100)]
pub(crate) struct Options {
    /// Where to announce it
    #[arg(long, value_enum, default_value = "embedded")]
    pub(crate) store: Store,

    /// Where the store is: http://127.0.0.1:2379, http://127.0.0.1:8500 or 127.0.0.1:2181 if not given
    #[arg(long, value_name = "ADDR")]
    pub(crate) at: Option<String>,

    /// The name of the service in the store; in etcd the keys start with it and a slash
    #[arg(long, value_name = "NAME", default_value = "users")]
    pub(crate) service: String,

    /// The name of this instance: each process needs its own
    #[arg(long, value_name = "ID", default_value = "users-1")]
    pub(crate) id: EndpointId,

    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,

    /// How long it takes until the service can serve, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: Duration,

    /// After how long to stop without a signal; the embedded registry by default after 3 s, a store never
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) run_for: Option<Duration>,

    /// How long stopping may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) deadline: Duration,
}

/// What keeps the announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    /// The registry in this process, with somebody who follows it and sends requests
    Embedded,
    /// etcd, by its JSON gateway
    Etcd,
    /// The agent of Consul on this machine
    Consul,
    /// ZooKeeper
    Zookeeper,
}

impl Options {
    /// After how long to stop without a signal.
    pub(crate) fn run_for(&self) -> Duration {
        let by_default = if self.store == Store::Embedded { Duration::from_secs(3) } else { Duration::MAX };
        self.run_for.unwrap_or(by_default)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "seconds are a number such as 0.5, up to 3600".to_owned();
    let time = text.parse().ok().and_then(|given| Duration::try_from_secs_f64(given).ok());
    time.filter(|time| *time <= Duration::from_secs(3600)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_bad_argument_is_named() {
        for (arguments, field, hint) in [
            ("--deadline -1", "--deadline", "unexpected"),
            ("--deadline=-1", "--deadline", "up to 3600"),
            ("--warm-up=NaN", "--warm-up", "up to 3600"),
            ("--store paper", "--store", "embedded"),
            ("--listen here", "--listen", "invalid"),
        ] {
            let words = std::iter::once("registrar").chain(arguments.split_whitespace());
            let told = Options::try_parse_from(words).expect_err("a bad argument").to_string();
            let named = told.contains(field) || hint == "unexpected";
            assert!(named && told.contains(hint), "{arguments}: {told}");
        }
    }
}
