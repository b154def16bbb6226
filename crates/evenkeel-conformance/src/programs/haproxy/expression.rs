use std::net::IpAddr;

use evenkeel_balance::compat::haproxy::{UriKey, header_values};

/// A sample expression of `balance hash`: where the bytes come from, and what is done to them.
#[derive(Debug)]
pub(super) struct Expression {
    fetch: Fetch,
    converters: Vec<Converter>,
}

#[derive(Debug)]
enum Fetch {
    UrlParam(String),
    /// A header, of which the whole value was recorded.
    Header,
    /// The last value of a header.
    LastValue,
    /// The path of the target.
    Path,
    /// The same with the query.
    PathAndQuery,
    /// All of the target.
    Target,
    /// The target behind the question mark.
    Query,
    Source,
}

#[derive(Clone, Copy, Debug)]
enum Converter {
    Lower,
    Upper,
}

impl Expression {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut parts = split(text).into_iter();
        let fetch = parts.next().unwrap_or_default();
        let (name, argument) = match fetch.split_once('(') {
            Some((name, rest)) => (name, rest.trim_end_matches(')')),
            None => (fetch, ""),
        };
        let fetch = match name {
            "url_param" | "urlp" => Fetch::UrlParam(argument.to_owned()),
            "hdr" | "req.hdr" if !argument.contains(',') => Fetch::LastValue,
            "req.fhdr" if !argument.contains(',') => Fetch::Header,
            "path" => Fetch::Path,
            "pathq" => Fetch::PathAndQuery,
            "url" => Fetch::Target,
            "query" => Fetch::Query,
            "src" => Fetch::Source,
            _ => return Err(format!("balance hash {text}")),
        };
        let converter = |word: &str| match word {
            "lower" => Ok(Converter::Lower),
            "upper" => Ok(Converter::Upper),
            _ => Err(format!("converter {word}")),
        };
        Ok(Self { fetch, converters: parts.map(converter).collect::<Result<_, _>>()? })
    }

    /// The parameter that it looks for, if it looks for one.
    pub(super) fn parameter(&self) -> Option<&str> {
        match &self.fetch {
            Fetch::UrlParam(name) => Some(name),
            _ => None,
        }
    }

    /// The bytes to be hashed. `key` is what was recorded, `target` the request's target with it.
    pub(super) fn sample(&self, key: &[u8], target: &[u8]) -> Option<Vec<u8>> {
        // A key that was recorded as a whole target needs no other.
        let is_target = key.starts_with(b"/") || key.windows(3).any(|bytes| bytes == b"://");
        let target = if is_target && self.parameter().is_none() { key } else { target };
        let mut sample = self.fetch(key, target)?;
        for converter in &self.converters {
            match converter {
                Converter::Lower => sample.make_ascii_lowercase(),
                Converter::Upper => sample.make_ascii_uppercase(),
            }
        }
        Some(sample)
    }

    fn fetch(&self, key: &[u8], target: &[u8]) -> Option<Vec<u8>> {
        let path = UriKey { is_path_only: true, ..UriKey::default() };
        let path_and_query = UriKey { is_whole: true, ..path };
        let given = |part: &[u8]| if part.is_empty() { None } else { Some(part.to_vec()) };
        Some(match &self.fetch {
            Fetch::UrlParam(name) => parameter(target, name)?.to_vec(),
            Fetch::Header => key.trim_ascii().to_vec(),
            Fetch::LastValue => header_values(key).last()?.to_vec(),
            Fetch::Path => given(path.of(target))?,
            Fetch::PathAndQuery => given(path_and_query.of(target))?,
            Fetch::Target => target.to_vec(),
            Fetch::Query => target[target.iter().position(|&byte| byte == b'?')? + 1..].to_vec(),
            Fetch::Source => match String::from_utf8_lossy(key).parse().ok()? {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            },
        })
    }
}

/// A parameter as the fetch looks for it: unlike `balance url_param` it takes parameters to end at `;` and `?` too.
fn parameter<'a>(target: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let query = target.iter().position(|&byte| byte == b'?')? + 1;
    let mut parameters = target[query..].split(|byte| b"&;?".contains(byte));
    parameters.find_map(|parameter| parameter.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// The parts between commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|character| {
        depth += i32::from(character == '(') - i32::from(character == ')');
        character == ',' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str, key: &str) -> Option<String> {
        let target = format!("/a/b?x=1&key={key}");
        let sample = Expression::read(text).unwrap().sample(key.as_bytes(), target.as_bytes());
        sample.map(|sample| String::from_utf8(sample).unwrap())
    }

    #[test]
    fn expressions_are_read() {
        for (text, key, expected) in [
            ("url_param(key)", "Ab", Some("Ab")),
            ("url_param(key),lower", "Ab;c", Some("ab")),
            ("urlp(none)", "Ab", None),
            ("req.hdr(X),upper", "a, b", Some("B")),
            ("path", "Ab", Some("/a/b")),
            ("query", "Ab", Some("x=1&key=Ab")),
            ("pathq", "/c?d", Some("/c?d")),
            ("src", "97.98.99.100", Some("abcd")),
        ] {
            assert_eq!(sample(text, key).as_deref(), expected, "{text} {key}");
        }
        assert!(Expression::read("rand").is_err() && Expression::read("path,md5").is_err());
    }
}
