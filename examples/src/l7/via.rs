//! `Via` of RFC 9110, section 7.6.3: by whom a request came, and whether it has been here before.

use std::fmt;

use hyper::Version;
use hyper::header::{self, HeaderMap, HeaderValue};

use super::cause::Cause;

/// The name under which this proxy is known in `Via`.
pub struct Via {
    name: String,
    h1: HeaderValue,
    h2: HeaderValue,
}

impl Via {
    /// Under this name; none if it is no pseudonym in the words of RFC 9110, which is a token.
    pub fn new(name: &str) -> Option<Self> {
        if !is_pseudonym(name) {
            return None;
        }
        let value = |version: &str| HeaderValue::from_str(&format!("{version} {name}")).ok();
        Some(Self { name: name.to_owned(), h1: value("1.1")?, h2: value("2.0")? })
    }

    /// Writes that a request came in with `version`.
    ///
    /// # Errors
    ///
    /// [`Cause::Loop`] if it has come by this name before.
    pub fn write(&self, headers: &mut HeaderMap, version: Version) -> Result<(), Cause> {
        if headers.get_all(header::VIA).iter().any(|value| self.is_in(value.as_bytes())) {
            return Err(Cause::Loop);
        }
        let own = if version == Version::HTTP_2 { &self.h2 } else { &self.h1 };
        headers.append(header::VIA, own.clone());
        Ok(())
    }

    /// Whether one of `protocol name comment, …` has this name.
    fn is_in(&self, list: &[u8]) -> bool {
        list.split(|&byte| byte == b',').any(|one| {
            let mut words = one.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(self.name.as_bytes()))
        })
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Via").field(&self.name).finish()
    }
}

/// Whether it can be a name in `Via`.
pub fn is_pseudonym(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_proxy_adds_itself_once() {
        let (edge, inner) = (Via::new("edge").unwrap(), Via::new("inner").unwrap());
        let mut headers = HeaderMap::new();
        edge.write(&mut headers, Version::HTTP_2).unwrap();
        inner.write(&mut headers, Version::HTTP_11).unwrap();
        let all: Vec<_> = headers.get_all(header::VIA).iter().collect();
        assert_eq!(all, ["2.0 edge", "1.1 inner"]);
        for again in [&edge, &inner] {
            assert_eq!(again.write(&mut headers, Version::HTTP_11), Err(Cause::Loop));
        }
        assert_eq!(headers.get_all(header::VIA).iter().count(), 2);
    }

    #[test]
    fn a_name_is_found_wherever_it_stands() {
        let edge = Via::new("edge").unwrap();
        for (list, is_found) in [
            (&b"1.0 fred, 1.1 p.example.net"[..], false),
            (b"1.0 fred,HTTP/1.1  Edge (a comment)", true),
            (b"1.1 edge", true),
            (b"1.1 edge.example", false),
            (b"edge", false),
            (b"", false),
            (b",, ,", false),
        ] {
            assert_eq!(edge.is_in(list), is_found, "{list:?}");
        }
        for wrong in ["", "two words", "a,b", "a/b", "é"] {
            assert!(Via::new(wrong).is_none(), "{wrong:?}");
        }
    }
}
