use serde::Serialize;

use super::page;

/// What to answer. Send [`headers`](Self::headers) with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The field `content-type`.
    pub content_type: &'static str,
    /// The methods that are allowed there, if another one was used: the field `allow`.
    pub allow: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// All header fields but `content-length`: the type, and what keeps browsers from doing more with it than is meant.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let own = [("content-type", self.content_type), ("content-security-policy", page::policy())];
        own.into_iter().chain(ALWAYS).chain(self.allow.map(|methods| ("allow", methods)))
    }

    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, allow: None, body: body.into() }
    }

    pub(crate) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(200, JSON, body),
            Err(error) => Self::failed(500, "internal", &error.to_string()),
        }
    }

    /// Something was wrong: `code` is for programs and stays, `message` is for people.
    pub(crate) fn failed(status: u16, code: &'static str, message: &str) -> Self {
        let body = serde_json::json!({ "error": { "code": code, "message": message } });
        Self::new(status, JSON, body.to_string())
    }

    pub(crate) fn not_allowed(methods: &'static str) -> Self {
        let told = Self::failed(405, "method", &format!("this path takes {methods}"));
        Self { allow: Some(methods), ..told }
    }
}

const JSON: &str = "application/json";

/// Numbers of now are not to be kept, types not to be guessed, pages not to be put into others.
const ALWAYS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];
