use evenkeel::router::{Action, Redirect, StaticResponse};
use evenkeel_route::matching::PathMatch;

use super::key::{Piece, pieces};
use super::tree::Directive;
use crate::error::ConvertError;
use crate::regex_below::below;
use crate::whole_regex::{whole_regex, with_case};

/// Which requests a `location` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) path: PathMatch,
    pub(crate) kind: Kind,
}

/// What a location is to nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `= /path`
    Exact,
    /// `^~ /path`
    Firm,
    /// `~ regex`
    Regex,
    /// `/path`
    Prefix,
}

/// Reads the words of a location; none for what only nginx itself goes to.
pub(crate) fn matcher(block: &Directive) -> Result<Option<Matcher>, ConvertError> {
    let words: Vec<&str> = block.args.iter().map(|word| word.text.as_str()).collect();
    let (sign, text) = match words.as_slice() {
        [name] if name.starts_with('@') => return Ok(None),
        // What stands before a path may touch it.
        [word] => SIGNS.iter().find_map(|&sign| Some((sign, word.strip_prefix(sign)?))).unwrap_or(("", word)),
        [sign, text] if SIGNS.contains(sign) => (*sign, *text),
        _ => {
            let expected = "a location takes a path, or one of = ^~ ~ ~* and a path";
            return Err(ConvertError::unexpected(block.place(), block.text(), expected));
        }
    };
    let prefix = || {
        if text.is_empty() || text == "/" { PathMatch::Any } else { PathMatch::RawPrefix(text.to_owned()) }
    };
    Ok(Some(match sign {
        "=" => Matcher { path: PathMatch::Exact(text.to_owned()), kind: Kind::Exact },
        "^~" => Matcher { path: prefix(), kind: Kind::Firm },
        "~" | "~*" => {
            let pattern = with_case(&whole_regex(text), sign == "~*");
            Matcher { path: PathMatch::Regex(pattern), kind: Kind::Regex }
        }
        _ => Matcher { path: prefix(), kind: Kind::Prefix },
    }))
}

/// `~*` before `~`, which it begins with.
const SIGNS: [&str; 4] = ["=", "^~", "~*", "~"];

impl Matcher {
    /// What paths begin with, if it is a location of a prefix.
    pub(crate) fn prefix(&self) -> Option<&str> {
        match (&self.path, self.kind) {
            (_, Kind::Exact | Kind::Regex) => None,
            (PathMatch::RawPrefix(text), _) => Some(text),
            _ => Some(""),
        }
    }

    /// The same inside of another location: nginx asks it only for the requests of that one. The error is why that cannot be
    /// said.
    pub(crate) fn inside(self, outer: &Self) -> Result<Self, String> {
        let Some(outer) = outer.prefix() else {
            return Err("what is inside of an exact path or of an expression takes a part of its requests alone, and a route cannot say both: write one expression".to_owned());
        };
        let path = match &self.path {
            PathMatch::Regex(pattern) => PathMatch::Regex(
                below(outer, pattern).map_err(|why| format!("an expression inside of {outer}: {why}"))?,
            ),
            PathMatch::Exact(text) | PathMatch::RawPrefix(text) if !text.starts_with(outer) => {
                return Err(format!("it is outside of {outer}, around it: nginx refuses that"));
            }
            path => path.clone(),
        };
        Ok(Self { path, ..self })
    }
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
    if status == 444 {
        return Err("the connection is closed without an answer".to_owned());
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
    let mut location = String::new();
    // The scheme of the request is that of an address without one.
    let after_scheme = ["$scheme://", "${scheme}://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    if after_scheme.is_some() {
        location.push_str("//");
    }
    let mut pieces = pieces(after_scheme.unwrap_or(text)).into_iter().peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            // Braces stand for something in ours.
            Piece::Text(text) => location.push_str(&text.replace('{', "%7B").replace('}', "%7D")),
            Piece::Variable("is_args")
                if pieces
                    .next_if(|next| matches!(next, Piece::Variable("args" | "query_string")))
                    .is_some() =>
            {
                location.push_str("{query}");
            }
            Piece::Variable("request_uri") => location.push_str("{path}{query}"),
            Piece::Variable("uri") => location.push_str("{path}"),
            Piece::Variable("host" | "http_host") => location.push_str("{host}"),
            Piece::Variable("server_name") => location.push_str(server_name),
            Piece::Variable(_) => return Err("an address that is made of other variables".to_owned()),
        }
    }
    Ok(location)
}
