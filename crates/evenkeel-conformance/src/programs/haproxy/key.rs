use std::net::IpAddr;

use evenkeel_balance::compat::haproxy::{Backend, Balance};
use evenkeel_convert::{Key, KeyPart, KeyRule, RequestParts};

use super::directives::Section;
use super::expression::Expression;
use crate::Vector;

/// What of a recorded key HAProxy hashes.
#[derive(Debug)]
pub(super) enum Keys {
    /// Nothing: the algorithm takes servers in turn.
    None,
    /// What the reader of the configuration found.
    Rule { rule: KeyRule, target: Template },
    /// A sample that the reader does not know, and said so.
    Expression { expression: Expression, target: Template },
}

impl Keys {
    pub(super) fn of(vector: &Vector, section: &Section) -> Result<Self, String> {
        let arguments: Vec<&str> = section.arguments.iter().map(String::as_str).collect();
        Ok(match (&section.rule, section.config.balance, arguments.as_slice()) {
            (Some(rule), ..) => {
                let name = match (rule, sample(rule)) {
                    (KeyRule::UrlParam(name), _) | (_, Some(KeyPart::Query(name))) => name,
                    _ => "key",
                };
                Self::Rule { rule: rule.clone(), target: Template::of(vector, name) }
            }
            (None, Balance::Hash, [text]) => {
                let expression = Expression::read(text)?;
                let target = Template::of(vector, expression.parameter().unwrap_or("key"));
                Self::Expression { expression, target }
            }
            (None, Balance::RoundRobin | Balance::StaticRr | Balance::LeastConn | Balance::First, []) => {
                Self::None
            }
            _ => return Err(format!("balance: arguments {arguments:?}")),
        })
    }

    /// The hash of a key, if there is a key in it.
    pub(super) fn hash(&self, backend: &Backend, key: Option<&[u8]>) -> Result<Option<u32>, String> {
        let Some(key) = key else { return Ok(None) };
        Ok(match self {
            Self::None => None,
            Self::Rule { rule, target } => match made(rule, target, key)? {
                Some(Key::Source(address)) => Some(backend.hash_source(address)),
                Some(Key::Bytes(bytes)) => Some(backend.hash_key(&bytes)),
                _ => None,
            },
            Self::Expression { expression, target } => {
                expression.sample(key, &target.with(key)).map(|sample| backend.hash_key(&sample))
            }
        })
    }
}

/// What a rule makes of the request that carried this key.
fn made(rule: &KeyRule, target: &Template, key: &[u8]) -> Result<Option<Key>, String> {
    let sample = sample(rule);
    // A key that was recorded as a whole target needs no other.
    let is_target = match (rule, sample) {
        (KeyRule::Uri(_), _) => true,
        (_, Some(KeyPart::Path | KeyPart::Target | KeyPart::QueryString)) => {
            key.starts_with(b"/") || key.windows(3).any(|bytes| bytes == b"://")
        }
        _ => false,
    };
    let target = if is_target { key.to_vec() } else { target.with(key) };
    let source = if *rule == KeyRule::Source { Some(address(key)?) } else { None };
    let name = match (rule, sample) {
        (KeyRule::Header { name, .. }, _) | (_, Some(KeyPart::Header(name) | KeyPart::Item(name))) => {
            name.as_str()
        }
        _ => "x-key",
    };
    let cookie = match sample {
        Some(KeyPart::Cookie(name)) => [name.as_bytes(), b"=", key].concat(),
        _ => Vec::new(),
    };
    let headers = [(name, key), ("cookie", cookie.as_slice())];
    Ok(rule.of(&RequestParts { method: "GET", target: &target, headers: &headers, source }))
}

/// What is hashed, as it is or converted.
const fn sample(rule: &KeyRule) -> Option<&KeyPart> {
    match rule {
        KeyRule::Sample(part) | KeyRule::Converted { of: part, .. } => Some(part),
        _ => None,
    }
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
