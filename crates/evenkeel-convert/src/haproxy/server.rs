use std::time::Duration;

use evenkeel_health::{ObserveConfig, OnError};

use super::server_tls::ServerTls;
use super::units::{number, time};
use crate::error::ConvertError;
use crate::report::Report;
use crate::word::Word;

/// What a `server` or `default-server` line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) weight: u32,
    pub(crate) check: bool,
    pub(crate) inter: Duration,
    pub(crate) fast_inter: Option<Duration>,
    pub(crate) down_inter: Option<Duration>,
    pub(crate) rise: u8,
    pub(crate) fall: u8,
    pub(crate) backup: bool,
    pub(crate) disabled: bool,
    pub(crate) maxconn: u32,
    pub(crate) slow_start: Option<Duration>,
    pub(crate) cookie: Option<String>,
    pub(crate) check_port: Option<u16>,
    pub(crate) check_ssl: Option<bool>,
    pub(crate) check_sni: Option<String>,
    pub(crate) tls: ServerTls,
    pub(crate) id: Option<u32>,
    pub(crate) observe: Option<Word>,
    pub(crate) observed: ObserveConfig,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            weight: 1,
            check: false,
            inter: Duration::from_secs(2),
            fast_inter: None,
            down_inter: None,
            rise: 2,
            fall: 3,
            backup: false,
            disabled: false,
            maxconn: 0,
            slow_start: None,
            cookie: None,
            check_port: None,
            check_ssl: None,
            check_sni: None,
            tls: ServerTls::default(),
            id: None,
            observe: None,
            observed: ObserveConfig::default(),
        }
    }
}

impl Parameters {
    /// Takes the words behind a server's address.
    pub(crate) fn take(&mut self, words: &[Word], report: &mut Report) -> Result<(), ConvertError> {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, place) = (word.text.as_str(), &word.place);
            let mut argument = || {
                words.next().ok_or_else(|| ConvertError::unexpected(place, name, "a value comes after it"))
            };
            match name {
                "weight" => self.weight = number("weight", argument()?, 0..=256)?,
                "check" => self.check = true,
                "no-check" => self.check = false,
                "backup" => self.backup = true,
                "no-backup" => self.backup = false,
                "disabled" => self.disabled = true,
                "enabled" => self.disabled = false,
                "inter" => self.inter = above_zero("inter", argument()?)?,
                "fastinter" => self.fast_inter = Some(above_zero("fastinter", argument()?)?),
                "downinter" => self.down_inter = Some(above_zero("downinter", argument()?)?),
                "rise" => self.rise = number("rise", argument()?, 1..=255)? as u8,
                "fall" => self.fall = number("fall", argument()?, 1..=255)? as u8,
                "maxconn" => self.maxconn = number("maxconn", argument()?, 0..=u32::MAX)?,
                "slowstart" => {
                    self.slow_start = Some(time("slowstart", argument()?)?).filter(|t| !t.is_zero());
                }
                "cookie" => self.cookie = Some(argument()?.text.clone()),
                "port" => self.check_port = Some(number("port", argument()?, 1..=65_535)? as u16),
                "check-ssl" => self.check_ssl = Some(true),
                "no-check-ssl" => self.check_ssl = Some(false),
                "check-sni" => self.check_sni = Some(argument()?.text.clone()),
                "ssl" => self.tls.is_on = true,
                "no-ssl" => self.tls.is_on = false,
                "verify" | "ca-file" | "crt" | "sni" | "alpn" | "verifyhost" => {
                    let value = argument()?;
                    self.tls.take(name, value, report)?;
                }
                "id" => self.id = Some(number("id", argument()?, 1..=u32::MAX)?),
                "observe" => {
                    let layer = argument()?;
                    if !["layer4", "layer7"].contains(&layer.text.as_str()) {
                        return Err(ConvertError::value(
                            &layer.place,
                            "observe",
                            layer.text.clone(),
                            "layer4 or layer7",
                        ));
                    }
                    self.observe = Some(layer.clone());
                }
                "error-limit" => {
                    self.observed.error_limit = number("error-limit", argument()?, 1..=u32::MAX)?;
                }
                "on-error" => {
                    let action = argument()?;
                    self.observed.on_error = match action.text.as_str() {
                        "fastinter" => OnError::FastInterval,
                        "fail-check" => OnError::FailCheck,
                        "sudden-death" => OnError::SuddenDeath,
                        "mark-down" => OnError::MarkDown,
                        other => {
                            let allowed = "fastinter, fail-check, sudden-death or mark-down";
                            return Err(ConvertError::value(&action.place, "on-error", other, allowed));
                        }
                    };
                }
                "track"
                | "minconn"
                | "maxqueue"
                | "agent-port"
                | "agent-inter"
                | "agent-send"
                | "agent-addr"
                | "addr"
                | "redir"
                | "on-marked-down"
                | "on-marked-up"
                | "resolvers"
                | "resolve-prefer"
                | "resolve-opts"
                | "resolve-net"
                | "init-addr"
                | "init-state"
                | "hash-key"
                | "source"
                | "crl-file"
                | "ciphers"
                | "ciphersuites"
                | "npn"
                | "proto"
                | "check-proto"
                | "check-alpn"
                | "pool-max-conn"
                | "pool-purge-delay"
                | "pool-low-conn"
                | "max-reuse"
                | "namespace"
                | "socks4"
                | "ws"
                | "guid"
                | "log-proto"
                | "shard"
                | "ssl-max-ver"
                | "ssl-min-ver"
                | "tcp-ut"
                | "proxy-v2-options"
                | "set-proxy-v2-tlv-fmt"
                | "pool-conn-name"
                | "sigalgs"
                | "curves" => {
                    let value = argument()?;
                    report.none(place, format!("{name} {}", value.text), advice(name));
                }
                _ => report.none(place, name, advice(name)),
            }
        }
        Ok(())
    }
}

fn advice(name: &str) -> &'static str {
    match name {
        "track" => "let the sink of the other server's check tell both clusters",
        "minconn" | "maxqueue" => {
            "nothing queues here: a limit of the endpoint that adapts can take its place"
        }
        "agent-check" | "agent-port" | "agent-inter" | "agent-send" | "agent-addr" => {
            "add a target with an agent probe to the prober"
        }
        "addr" => "give the target of the prober the other address",
        "resolvers" | "resolve-prefer" | "resolve-opts" | "resolve-net" | "init-addr" => {
            "names are followed by evenkeel-dns"
        }
        "on-marked-down" | "on-marked-up" => {
            "an observer of the cluster hears of it and closes what it likes"
        }
        "hash-key" => "of HAProxy 2.9: here servers are numbered, as in 2.6",
        "init-state" => "of HAProxy 3.1: set thresholds.start of the check",
        "non-stick" => "leave the endpoint out of those that cookies name",
        _ => "connections and TLS are your client's",
    }
}

fn above_zero(field: &str, word: &Word) -> Result<Duration, ConvertError> {
    let found = time(field, word)?;
    if found.is_zero() {
        return Err(ConvertError::value(
            &word.place,
            field,
            word.text.clone(),
            "more than nothing is allowed",
        ));
    }
    Ok(found)
}
