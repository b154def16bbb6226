use std::net::IpAddr;

use evenkeel_balance::compat::haproxy::{Backend, Balance, UriKey, domain_only, header_key, url_param};

use super::directives::{Section, number};
use super::expression::Expression;
use crate::Vector;

/// What of a recorded key HAProxy hashes.
#[derive(Debug)]
pub(super) enum Keys {
    /// Nothing: the algorithm takes servers in turn.
    None,
    Source,
    Uri(UriKey),
    UrlParam {
        name: String,
        target: Template,
    },
    Header {
        is_domain_only: bool,
    },
    Expression {
        expression: Expression,
        target: Template,
    },
}

impl Keys {
    pub(super) fn of(vector: &Vector, section: &Section) -> Result<Self, String> {
        let arguments: Vec<&str> = section.arguments.iter().map(String::as_str).collect();
        let unknown = || format!("balance: arguments {arguments:?}");
        Ok(match (section.config.balance, arguments.as_slice()) {
            (Balance::Source, []) => Self::Source,
            (Balance::Uri, options) => Self::Uri(uri_key(options)?),
            (Balance::UrlParam, [name, ..]) => {
                Self::UrlParam { name: (*name).to_owned(), target: Template::of(vector, name) }
            }
            (Balance::Hdr, [_name]) => Self::Header { is_domain_only: false },
            (Balance::Hdr, [_name, "use_domain_only"]) => Self::Header { is_domain_only: true },
            (Balance::Hash, [text]) => {
                let expression = Expression::read(text)?;
                let target = Template::of(vector, expression.parameter().unwrap_or("key"));
                Self::Expression { expression, target }
            }
            (Balance::RoundRobin | Balance::StaticRr | Balance::LeastConn | Balance::First, []) => Self::None,
            _ => return Err(unknown()),
        })
    }

    /// The hash of a key, if there is a key in it.
    pub(super) fn hash(&self, backend: &Backend, key: Option<&[u8]>) -> Result<Option<u32>, String> {
        let Some(key) = key else { return Ok(None) };
        let hash = |key: &[u8]| backend.hash_key(key);
        Ok(match self {
            Self::None => None,
            Self::Source => Some(backend.hash_source(address(key)?)),
            Self::Uri(rule) => Some(hash(rule.of(key))),
            Self::UrlParam { name, target } => url_param(&target.with(key), name.as_bytes()).map(hash),
            Self::Header { is_domain_only: false } => header_key(key).map(hash),
            Self::Header { is_domain_only: true } => header_key(key).map(|value| hash(domain_only(value))),
            Self::Expression { expression, target } => {
                expression.sample(key, &target.with(key)).map(|sample| hash(&sample))
            }
        })
    }
}

fn uri_key(options: &[&str]) -> Result<UriKey, String> {
    let mut key = UriKey::default();
    let mut options = options.iter();
    while let Some(&option) = options.next() {
        let mut value =
            || options.next().map_or_else(|| Err(format!("{option} without a value")), |text| number(text));
        match option {
            "len" => key.len = Some(value()?),
            "depth" => key.depth = Some(value()?),
            "whole" => key.is_whole = true,
            "path-only" => key.is_path_only = true,
            _ => return Err(format!("balance uri {option}")),
        }
    }
    Ok(key)
}

fn address(key: &[u8]) -> Result<IpAddr, String> {
    let text = String::from_utf8_lossy(key);
    text.parse().map_err(|_| format!("{text:?} is no address"))
}

/// Where in a request's target a key stood.
#[derive(Debug)]
pub(super) struct Template {
    before: String,
    after: String,
}

impl Template {
    /// The target that the description of the fields gives, with `<key>` for the key; one parameter of this name else.
    fn of(vector: &Vector, parameter: &str) -> Self {
        let fields = vector.meta["fields"].as_str().unwrap_or_default();
        let is_end = |byte: char| byte.is_whitespace() || matches!(byte, ';' | ',' | '`' | '"');
        let mut words = fields.split(is_end);
        let given = words.find_map(|word| word.starts_with('/').then(|| word.split_once("<key>")).flatten());
        match given {
            Some((before, after)) => Self { before: before.to_owned(), after: after.to_owned() },
            None => Self { before: format!("/?{parameter}="), after: String::new() },
        }
    }

    fn with(&self, key: &[u8]) -> Vec<u8> {
        [self.before.as_bytes(), key, self.after.as_bytes()].concat()
    }
}
