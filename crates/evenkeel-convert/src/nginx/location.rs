use evenkeel::router::{Action, Redirect, StaticResponse};
use evenkeel_route::matching::PathMatch;

use super::tree::Directive;
use crate::error::ConvertError;
use crate::whole_regex::{whole_regex, with_case};

/// Which requests a `location` takes, and how early nginx asks it: the lower, the earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) path: PathMatch,
    pub(crate) rank: Rank,
}

/// How early a location is asked. Of prefixes the longest; a number that falls with the length makes that an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// `= /path`
    Exact,
    /// `^~ /path`
    Firm(usize),
    /// `~ regex`, by its number.
    Regex(usize),
    /// `/path`
    Prefix(usize),
    /// What no location takes.
    Rest,
}

/// Reads the words of a location; none for what only nginx itself goes to.
pub(crate) fn matcher(block: &Directive, number: usize) -> Result<Option<Matcher>, ConvertError> {
    let words: Vec<&str> = block.args.iter().map(|word| word.text.as_str()).collect();
    let prefix = |text: &str| {
        if text.is_empty() || text == "/" { PathMatch::Any } else { PathMatch::RawPrefix(text.to_owned()) }
    };
    let longest = |text: &str| usize::MAX - text.len();
    let (path, rank) = match words.as_slice() {
        [name] if name.starts_with('@') => return Ok(None),
        ["=", path] => (PathMatch::Exact((*path).to_owned()), Rank::Exact),
        ["^~", path] => (prefix(path), Rank::Firm(longest(path))),
        [sign @ ("~" | "~*"), pattern] => {
            let pattern = with_case(&whole_regex(pattern), *sign == "~*");
            (PathMatch::Regex(pattern), Rank::Regex(number))
        }
        [path] => match path.strip_prefix('=') {
            Some(path) => (PathMatch::Exact(path.to_owned()), Rank::Exact),
            None => (prefix(path), Rank::Prefix(longest(path))),
        },
        _ => {
            let expected = "a location takes a path, or one of = ^~ ~ ~* and a path";
            return Err(ConvertError::unexpected(block.place(), block.text(), expected));
        }
    };
    Ok(Some(Matcher { path, rank }))
}

/// What `return` answers; the error says what cannot be said.
pub(crate) fn returned(directive: &Directive, server_name: &str) -> Result<Action, String> {
    let words: Vec<&str> = directive.args.iter().map(|word| word.text.as_str()).collect();
    let (status, text) = match words.as_slice() {
        [one] if one.starts_with("http") || one.starts_with('$') => (302, *one),
        [status] => (status.parse::<u16>().unwrap_or(0), ""),
        [status, text] => (status.parse::<u16>().unwrap_or(0), *text),
        _ => (0, ""),
    };
    if [301, 302, 303, 307, 308].contains(&status) && !text.is_empty() {
        let location = template(text, server_name)?;
        return Ok(Action::Redirect(Redirect { location, status }));
    }
    if !(200..=599).contains(&status) {
        return Err(format!("status {status}: allowed are 200 to 599"));
    }
    if super::key::has_variables(text) {
        return Err("a body that is made of variables".to_owned());
    }
    Ok(Action::Respond(StaticResponse { body: text.to_owned(), ..StaticResponse::new(status) }))
}

/// An address with nginx's variables as one with names in braces.
fn template(text: &str, server_name: &str) -> Result<String, String> {
    let mut left = text.to_owned();
    for (variable, place) in [
        ("$is_args$args", "{query}"),
        ("${is_args}${args}", "{query}"),
        ("$request_uri", "{path}{query}"),
        ("${request_uri}", "{path}{query}"),
        ("$uri", "{path}"),
        ("${uri}", "{path}"),
        ("$http_host", "{host}"),
        ("$host", "{host}"),
        ("${host}", "{host}"),
    ] {
        left = left.replace(variable, place);
    }
    left = left.replace("$server_name", server_name).replace("$scheme", "http");
    if left.contains('$') { Err("an address that is made of other variables".to_owned()) } else { Ok(left) }
}
