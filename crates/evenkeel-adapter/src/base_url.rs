use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// Where a store listens: `http://host:port` or `https://host:port`, without path, query or credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    secure: bool,
}

impl BaseUrl {
    /// Whether it is HTTPS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// As text, without a slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let bad = |why| InvalidUrl { given: without_credentials(text), why };
        let uri: Uri = text.parse().map_err(|_| bad("it cannot be read"))?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(bad("the scheme is neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| bad("there is no host"))?.as_str();
        if authority.contains('@') {
            return Err(bad("credentials belong into their own fields"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("a path or query is not allowed"));
        }
        if secure && cfg!(not(feature = "tls")) {
            return Err(bad("the feature `tls` is off"));
        }
        let scheme = if secure { "https" } else { "http" };
        Ok(Self { text: format!("{scheme}://{authority}"), secure })
    }
}

/// As it may be shown: what stands before the last `@` may be a password.
fn without_credentials(text: &str) -> String {
    let is_scheme =
        |scheme: &str| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphabetic());
    let start = text.find("://").filter(|at| is_scheme(&text[..*at])).map_or(0, |at| at + "://".len());
    let (scheme, rest) = text.split_at(start);
    let shown = match rest.rfind('@') {
        Some(at) => format!("{scheme}***{}", &rest[at..]),
        None => text.to_owned(),
    };
    shown.chars().take(200).collect()
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The text is not the URL of a store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{given}` is no URL of a store, {why}: write http://host:port or https://host:port")]
pub struct InvalidUrl {
    /// What was given; credentials are left out.
    pub given: String,
    /// What is wrong with it.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_are_taken() {
        assert_eq!("http://127.0.0.1:2379/".parse::<BaseUrl>().unwrap().as_str(), "http://127.0.0.1:2379");
        assert!("http://[::1]:2379".parse::<BaseUrl>().is_ok());
        for bad in ["", "127.0.0.1:2379", "ftp://a", "http://u:p@a", "http://a/x", "http://a?x=1", "http://"]
        {
            assert!(bad.parse::<BaseUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_show_no_password() {
        for (given, shown) in [
            ("http://root:hunter2@etcd:2379", "http://***@etcd:2379"),
            ("https://root:hun@ter2@etcd:2379/x", "https://***@etcd:2379/x"),
            ("root:hunter2//x@etcd:2379", "***@etcd:2379"),
            ("http:/root:hunter2@etcd", "***@etcd"),
            ("http://root:hun ter2@etcd", "http://***@etcd"),
            ("ftp://etcd", "ftp://etcd"),
        ] {
            let error = given.parse::<BaseUrl>().unwrap_err();
            assert_eq!(error.given, shown);
            assert!(!error.to_string().contains("ter2"), "{error}");
        }
    }
}
