use std::fmt::Write;

use thiserror::Error;

/// A resource that xDS does not allow, or that cannot be followed: the answer with it is refused (NACK), with this text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{why}", prefix(.name.as_ref(), .at))]
pub struct InvalidResource {
    /// The name of the resource, if it has come so far.
    pub name: Option<String>,
    /// Where in it, as in `endpoints[0].lb_endpoints[3]`; empty for the whole.
    pub at: String,
    /// What is wrong, and what is allowed.
    pub why: String,
}

impl InvalidResource {
    pub(crate) fn whole(why: impl Into<String>) -> Self {
        Self { name: None, at: String::new(), why: why.into() }
    }

    pub(crate) fn at(at: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: None, at: at.into(), why: why.into() }
    }

    pub(crate) fn of(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }
}

/// At most so many bytes of a text from outside.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

fn prefix(name: Option<&String>, at: &str) -> String {
    let mut text = String::new();
    for part in name.map(|name| cut(name, 256)).into_iter().chain((!at.is_empty()).then_some(at)) {
        let _ = write!(text, "{part}: ");
    }
    text
}
