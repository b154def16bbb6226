//! What else a rule asks for, once host and path fit.

use super::error::{RuleProblem, RulesError};
use super::fraction::Fraction;
use super::headers::Headers;
use super::http_rule::{HttpRule, Limits};
use super::normal::escaped;
use super::request::Request;
use super::value::{Value, ValueMatch};

/// One condition.
#[derive(Clone, Debug)]
pub(crate) enum Predicate {
    Listener(Box<[Box<str>]>),
    Header { name: Box<str>, value: Value, invert: bool },
    Query { name: Box<str>, value: Value, invert: bool },
    Cookie { name: Box<str>, value: Value, invert: bool },
    Fraction(Fraction),
}

/// Where a predicate stands in its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Listener,
    Header(usize),
    Query(usize),
    Cookie(usize),
    Fraction,
}

/// The predicates of a rule, cheapest first.
pub(crate) fn predicates_of(
    rule: &HttpRule,
    field: &str,
    limits: &Limits,
) -> Result<Vec<(Place, Predicate)>, RulesError> {
    let mut all = Vec::new();
    if !rule.listeners.is_empty() {
        let check = |(i, name): (usize, &String)| {
            if name.is_empty() || name.len() > 255 {
                let field = format!("{field}.listeners[{i}]");
                return Err(RulesError::new(field, RuleProblem::Listener(name.clone())));
            }
            Ok(name.as_str().into())
        };
        let names = rule.listeners.iter().enumerate().map(check).collect::<Result<_, _>>()?;
        all.push((Place::Listener, Predicate::Listener(names)));
    }
    if let Some(fraction) = rule.fraction {
        all.push((Place::Fraction, Predicate::Fraction(fraction)));
    }
    let build = |kind: &str, i: usize, name: &str, test: &ValueMatch, invert: bool| {
        let field = format!("{field}.{kind}[{i}]");
        if name.is_empty() || name.len() > limits.pattern_bytes || kind != "query" && !is_token(name) {
            return Err(RulesError::new(field + ".name", RuleProblem::Name(name.to_owned())));
        }
        if invert && *test == ValueMatch::Absent {
            return Err(RulesError::new(field + ".invert", RuleProblem::InvertedAbsent));
        }
        Value::new(test, &(field + ".test"), limits.regex_bytes, limits.pattern_bytes)
    };
    for (i, header) in rule.headers.iter().enumerate() {
        let value = build("headers", i, &header.name, &header.test, header.invert)?;
        let name = header.name.to_ascii_lowercase().into();
        all.push((Place::Header(i), Predicate::Header { name, value, invert: header.invert }));
    }
    for (i, query) in rule.query.iter().enumerate() {
        let value = build("query", i, &query.name, &query.test, query.invert)?;
        let name = query.name.as_str().into();
        all.push((Place::Query(i), Predicate::Query { name, value, invert: query.invert }));
    }
    for (i, cookie) in rule.cookies.iter().enumerate() {
        let value = build("cookies", i, &cookie.name, &cookie.test, cookie.invert)?;
        let name = cookie.name.as_str().into();
        all.push((Place::Cookie(i), Predicate::Cookie { name, value, invert: cookie.invert }));
    }
    Ok(all)
}

impl Predicate {
    /// Whether it holds. `decoded` is room for decoding.
    pub(crate) fn holds<H: Headers + ?Sized>(&self, request: &Request<'_, H>, decoded: &mut Vec<u8>) -> bool {
        match self {
            Self::Listener(names) => names.iter().any(|name| **name == *request.listener),
            Self::Header { name, value, invert } => {
                value.judge(request.headers.any(name, &mut |given| value.takes(given))) != *invert
            }
            Self::Query { name, value, invert } => {
                value.judge(any_parameter(request.query, name, decoded, |given| value.takes(given)))
                    != *invert
            }
            Self::Cookie { name, value, invert } => {
                let mut each = |field: &[u8]| any_cookie(field, name, |given| value.takes(given));
                value.judge(request.headers.any("cookie", &mut each)) != *invert
            }
            Self::Fraction(fraction) => fraction.holds(request.hash),
        }
    }

    /// The one header value that it asks for, if that is what it does.
    pub(crate) fn exact_header(&self) -> Option<(&str, &[u8])> {
        match self {
            Self::Header { name, value: Value::Exact(value), invert: false } => Some((name, value)),
            _ => None,
        }
    }
}

/// Whether a query holds a parameter of this name whose value passes. Both are compared after decoding, for which `decoded` is
/// room.
pub fn any_parameter(
    query: &[u8],
    name: &str,
    decoded: &mut Vec<u8>,
    mut test: impl FnMut(&[u8]) -> bool,
) -> bool {
    query.split(|&byte| byte == b'&').any(|pair| {
        let end = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        !pair.is_empty()
            && decode(&pair[..end], decoded) == name.as_bytes()
            && test(decode(pair.get(end + 1..).unwrap_or_default(), decoded))
    })
}

/// Broken escapes stay as they are, as in browsers.
fn decode<'a>(text: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    if !text.iter().any(|byte| b"%+".contains(byte)) {
        return text;
    }
    buffer.clear();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = if byte == b'%' { tail.get(..2).and_then(escaped) } else { None };
        buffer.push(code.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    buffer
}

/// Whether a field `cookie` holds a cookie of this name whose value passes. Quotes around a value are not part of it.
pub fn any_cookie(field: &[u8], name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
    field.split(|&byte| byte == b';').any(|pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        value.is_some_and(|value| {
            let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            test(unquoted.unwrap_or(value))
        })
    })
}

/// Whether a text is a token of RFC 9110, section 5.6.2: a name of a header field, a method, a cookie.
#[must_use]
pub fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let has = |query: &str, name: &str, value: &str| {
            any_parameter(query.as_bytes(), name, &mut Vec::new(), |given| given == value.as_bytes())
        };
        assert!(has("a=1&b=2", "b", "2"));
        assert!(has("a=J%C3%BCrgen+X", "a", "Jürgen X"));
        assert!(has("%61=1", "a", "1"));
        assert!(has("a", "a", ""));
        assert!(has("a=1&a=2", "a", "2"));
        assert!(has("a=%zz%4", "a", "%zz%4"));
        assert!(!has("", "", ""));
        assert!(!has("ab=1", "a", "1"));
    }

    #[test]
    fn cookies_are_taken_apart() {
        let has = |field: &str, name: &str, value: &str| {
            any_cookie(field.as_bytes(), name, |given| given == value.as_bytes())
        };
        assert!(has("a=1; b=2", "b", "2"));
        assert!(has("a=\"1\";b", "a", "1"));
        assert!(has("a=b=c", "a", "b=c"));
        assert!(!has("ab=1", "a", "1"));
        assert!(!has("b", "b", ""));
    }
}
