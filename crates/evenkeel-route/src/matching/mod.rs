//! Which rule takes a request or a connection.

mod byte_map;
mod cidr;
mod coverage;
mod error;
mod explain;
mod fraction;
mod headers;
mod host;
mod host_index;
mod http_rule;
mod http_rules;
mod lists;
mod normal;
mod path;
mod predicate;
mod ranges;
mod raw_prefixes;
mod regexes;
mod request;
mod stream;
mod stream_coverage;
mod stream_index;

mod trie;
mod value;
#[cfg(feature = "http")]
mod with_http;

pub use cidr::{Cidr, ParseCidrError};
pub use coverage::Shadow;
pub use error::{RuleProblem, RulesError};
pub use explain::{Because, Considered, HttpTrail};
pub use fraction::Fraction;
pub use headers::{Headers, NoHeaders};
pub use host::{HostMatch, ParseHostError};
pub use http_rule::{CookieMatch, HeaderMatch, HttpRule, HttpRulesConfig, Limits, QueryMatch};
pub use http_rules::{Captures, HttpRules, Match, Scratch};
pub use normal::{Case, DotSegments, EscapedSlashes, PathError, PathOptions, Percent, escape, normalise};
pub use path::{ParsePathError, PathMatch};
pub use request::{Request, RequestError};
pub use stream::{
    Connection, PortRange, Precedence, StreamRule, StreamRules, StreamRulesConfig, StreamTrail,
};
pub use value::ValueMatch;

pub use predicate::{any_cookie, any_parameter, is_token};

pub(crate) use predicate::{Predicate, predicates_of};
pub(crate) use ranges::Ranges;
