use std::net::SocketAddr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use evenkeel::{Address, PolicyConfig};

/// Watch evenkeel balance, steer around trouble and recover.
///
/// Without `--listen` it needs nothing: six backends on loopback, a proxy in front that picks with a `Cluster`, and a
/// load generator. While it runs, one backend turns slow, one fails, one is killed, one is drained, one is added, and
/// weights change. At the end it checks what happened, and exits non-zero if a check fails.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "demo", version, max_term_width = 100)]
pub(crate) struct Options {
    /// How the proxy chooses
    #[arg(long, value_name = "NAME", default_value = "least_request", value_parser = policies())]
    pub(crate) policy: PolicyConfig,

    /// How long the story takes, 3 to 600
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..=600))]
    pub(crate) seconds: u64,

    /// Requests a second, 1 to 10000, sent on schedule whether or not earlier ones were answered
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,

    /// Equal seeds tell the same story: which backend meets what, when
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Serve a status page for operators here, such as 127.0.0.1:9901; loopback only
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,

    /// Serve here as a proxy for your own servers, until Ctrl-C
    #[arg(long, value_name = "ADDR", requires = "backend", conflicts_with_all = ["seconds", "rate"])]
    pub(crate) listen: Option<SocketAddr>,

    /// Your own servers, such as 127.0.0.1:3000 or api.example:80
    #[arg(long, value_name = "ADDR", num_args = 1.., requires = "listen", value_parser = tcp_address)]
    pub(crate) backend: Vec<Address>,

    /// What to ask your own servers for when checking them; an answer below 500 passes
    #[arg(long, value_name = "PATH", default_value = "/", requires = "listen", value_parser = path)]
    pub(crate) check: String,
}

fn policies() -> impl TypedValueParser<Value = PolicyConfig> {
    let names = PolicyConfig::all().into_iter().map(|policy| policy.name());
    PossibleValuesParser::new(names).try_map(|name| {
        PolicyConfig::all().into_iter().find(|policy| policy.name() == name).ok_or("this policy is not known")
    })
}

fn tcp_address(text: &str) -> Result<Address, String> {
    match text.parse() {
        Ok(Address::Unix(_)) => Err("this proxy connects by TCP: write a host and a port".to_owned()),
        Ok(address) => Ok(address),
        Err(error) => Err(error.to_string()),
    }
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.parse::<hyper::Uri>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("a path starts with / and holds no spaces".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn refusal(arguments: &str) -> String {
        let words = std::iter::once("demo").chain(arguments.split_whitespace());
        Options::try_parse_from(words).expect_err("a bad argument").to_string()
    }

    #[test]
    fn the_defaults_are_the_story() {
        let options = Options::parse_from(["demo"]);
        assert_eq!((options.seconds, options.rate, options.policy.name()), (20, 400, "least_request"));
        assert!(options.listen.is_none());
    }

    #[test]
    fn a_bad_argument_is_named() {
        for (arguments, field, hint) in [
            ("--policy fastest", "--policy", "least_request"),
            ("--seconds 1", "--seconds", "3..=600"),
            ("--rate 0", "--rate", "1..=10000"),
            ("--listen 127.0.0.1:0", "--backend", "required"),
            ("--backend 127.0.0.1:80", "--listen", "required"),
            ("--listen 127.0.0.1:0 --backend 127.0.0.1", "--backend", "port"),
            ("--listen 127.0.0.1:0 --backend unix:/run/a.sock", "--backend", "TCP"),
            ("--listen 127.0.0.1:0 --backend a:1 --check health", "--check", "starts with /"),
            ("--listen 127.0.0.1:0 --backend a:1 --rate 5", "--rate", "cannot be used"),
        ] {
            let told = refusal(arguments);
            assert!(told.contains(field) && told.contains(hint), "{arguments}: {told}");
        }
    }
}
