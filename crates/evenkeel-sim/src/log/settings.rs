//! Which log is replayed, and how.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_types::Ratio;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scan;
use crate::error::Invalid;
use crate::work::positive;

/// Arrivals, keys and service times from an access log, instead of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// The file, plain or gzip, as seen from the working directory. It is read several times, so a pipe will not do.
    pub path: PathBuf,
    /// How its lines are written.
    pub format: FormatConfig,
    /// The variable, field or column that is the key of a request. Default: the path without its query, where the format
    /// has a request; `key` or the second column else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Which of the durations in the log is the work. Default: that of the server, where the log tells it.
    #[serde(default)]
    pub service: ServiceTime,
    /// So many times as fast as it was recorded. Default: 1; 0.001 to 1000.
    #[serde(default = "one")]
    pub speed: f64,
    /// Requests ask for so many times the service time of the log. Default: 1; 0.001 to 1000.
    #[serde(default = "one")]
    pub work_times: f64,
    /// The share of lines that may be unreadable. Default: 0.01: logs are cut in the middle of a line when they rotate, and a
    /// wrong format spoils nearly all lines, not a hundredth.
    #[schemars(with = "f64")]
    #[serde(default = "hundredth")]
    pub max_malformed: Ratio,
    /// How far a request may have begun before the latest one so far: lines are written when requests end, so this must be
    /// longer than the longest request. Memory grows with it. Default: 60s, above which proxies give up by their own
    /// defaults.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(default = "minute", with = "evenkeel_types::human_duration")]
    pub window: Duration,
    /// Longer requests are left out, and counted: uploads, long polls, upgraded connections. Default: none are.
    #[schemars(with = "Option<evenkeel_types::HumanDuration>")]
    #[serde(
        default,
        with = "evenkeel_types::human_duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub longest: Option<Duration>,
    /// What was seen when the log was looked through. None: that is done when it is needed.
    #[serde(skip)]
    pub scan: Option<Arc<Scan>>,
}

/// Which duration of a log is the work of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTime {
    /// That of the server (`$upstream_response_time`, `Ta - TR - Tw`, `X-ENVOY-UPSTREAM-SERVICE-TIME`), where the log has one.
    #[default]
    Upstream,
    /// The whole request, with the time that the client took to send and to read.
    Total,
}

/// How lines are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FormatConfig {
    /// nginx.
    Nginx {
        /// As the directive `log_format` has it, in one piece. Default: `combined` with
        /// `$request_time $upstream_response_time $msec` behind it; `combined` alone tells no duration.
        #[serde(default = "nginx")]
        log_format: String,
    },
    /// HAProxy, `option httplog`. What syslog puts before a line is passed over.
    Haproxy {
        /// As the directive `log-format` has it. Default: that of `option httplog`.
        #[serde(default = "haproxy")]
        log_format: String,
    },
    /// HAProxy, `option tcplog`.
    HaproxyTcp {},
    /// Envoy, lines of text.
    Envoy {
        /// The format string. Default: Envoy's.
        #[serde(default = "envoy")]
        log_format: String,
    },
    /// Envoy, `json_format` with the names that its documentation and Istio use: `start_time`, `duration`,
    /// `upstream_service_time`, `response_code`, `path`, `upstream_host`.
    EnvoyJson {},
    /// The log of evenkeel's example proxy: `time`, `ms`, `status`, `path`, `endpoint`.
    Evenkeel {},
    /// An object of JSON in each line. Names with dots lead into objects. Durations have a unit behind a colon (`took:us`) or
    /// at the end of the name (`took_us`); else they are seconds.
    Json {
        /// Seconds since 1970 (or another unit, likewise), or RFC 3339. Default: `time`.
        #[serde(default = "time")]
        time: String,
        /// What `time` is the time of. Default: the start.
        #[serde(default)]
        stamp: StampOf,
        /// The whole request. Default: `duration_ms`.
        #[serde(default = "duration_ms")]
        duration: String,
        /// The part of the server. If it is null or `-`, the request was sent to none. Default: `upstream_ms`.
        #[serde(default = "upstream_ms")]
        upstream: String,
        /// Default: `status`.
        #[serde(default = "status")]
        status: String,
        /// Who served it. Default: `endpoint`.
        #[serde(default = "endpoint")]
        server: String,
    },
    /// Values between commas. Columns by name, then the first line has the names, or by number from 0. Units as in `json`.
    Csv {
        /// Default: `0`.
        #[serde(default = "first")]
        time: String,
        /// What `time` is the time of. Default: the start.
        #[serde(default)]
        stamp: StampOf,
        /// The service time. Default: `2`, in seconds.
        #[serde(default = "third")]
        service: String,
        /// Default: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<String>,
        /// What stands between values: one ASCII character. Default: a comma.
        #[serde(default = "comma")]
        delimiter: char,
    },
}

/// What the time of a line is the time of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StampOf {
    /// The request began.
    #[default]
    Start,
    /// It was answered.
    End,
}

impl ReplayConfig {
    /// A log, with the defaults.
    #[must_use]
    pub fn new(path: PathBuf, format: FormatConfig) -> Self {
        Self {
            path,
            format,
            key: None,
            service: ServiceTime::default(),
            speed: 1.0,
            work_times: 1.0,
            max_malformed: hundredth(),
            window: minute(),
            longest: None,
            scan: None,
        }
    }

    /// # Errors
    ///
    /// [`Invalid`] names the field.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        for (field, factor) in
            [("arrivals.replay.speed", self.speed), ("arrivals.replay.work_times", self.work_times)]
        {
            Invalid::unless((0.001..=1000.0).contains(&factor), field, factor, "0.001 to 1000")?;
        }
        positive("arrivals.replay.window", self.window)?;
        self.longest.map_or(Ok(()), |longest| positive("arrivals.replay.longest", longest))
    }
}

impl FormatConfig {
    /// The format of a name, with its defaults; `log_format` instead of the default one, where it has one.
    ///
    /// # Errors
    ///
    /// [`Invalid`] lists the names, or says that a format has no `log_format`.
    pub fn named(name: &str, log_format: Option<String>) -> Result<Self, Invalid> {
        let mut table = toml::Table::new();
        table.insert("type".to_owned(), name.into());
        if let Some(log_format) = log_format {
            table.insert("log_format".to_owned(), log_format.into());
        }
        table.try_into().map_err(|error: toml::de::Error| Invalid::new("format", name, error.message()))
    }
}

fn nginx() -> String {
    concat!(
        r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "#,
        r#""$http_referer" "$http_user_agent" $request_time $upstream_response_time $msec"#
    )
    .to_owned()
}

fn haproxy() -> String {
    concat!(
        "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc ",
        "%sq/%bq %hr %hs %{+Q}r"
    )
    .to_owned()
}

pub(super) fn haproxy_tcp() -> String {
    "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq".to_owned()
}

fn envoy() -> String {
    concat!(
        r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
        r#"%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "#,
        r#""%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "#,
        r#""%UPSTREAM_HOST%""#
    )
    .to_owned()
}

fn time() -> String {
    "time".to_owned()
}

fn duration_ms() -> String {
    "duration_ms".to_owned()
}

fn upstream_ms() -> String {
    "upstream_ms".to_owned()
}

fn status() -> String {
    "status".to_owned()
}

fn endpoint() -> String {
    "endpoint".to_owned()
}

fn first() -> String {
    "0".to_owned()
}

fn third() -> String {
    "2".to_owned()
}

const fn comma() -> char {
    ','
}

const fn one() -> f64 {
    1.0
}

fn hundredth() -> Ratio {
    Ratio::percent(1).unwrap_or(Ratio::ZERO)
}

const fn minute() -> Duration {
    Duration::from_secs(60)
}
