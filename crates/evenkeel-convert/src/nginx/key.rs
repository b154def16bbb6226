use crate::key_rule::{KeyPart, KeyRule};

/// What `hash KEY` means: the texts and variables one after the other. The error is the variable that is not known.
pub(crate) fn key_rule(text: &str) -> Result<KeyRule, String> {
    let mut parts = Vec::new();
    for piece in pieces(text) {
        parts.push(match piece {
            Piece::Text(text) => KeyPart::Literal(text.to_owned()),
            Piece::Variable(name) => part(name).ok_or_else(|| format!("${name}"))?,
        });
    }
    Ok(KeyRule::Text(parts))
}

/// The variable behind a key that is one variable alone.
pub(crate) fn variable(text: &str) -> Option<&str> {
    match pieces(text).as_slice() {
        [Piece::Variable(name)] => Some(name),
        _ => None,
    }
}

/// Whether a text holds variables.
pub(crate) fn has_variables(text: &str) -> bool {
    pieces(text).iter().any(|piece| matches!(piece, Piece::Variable(_)))
}

/// What stands for a variable in a key.
pub(crate) fn part(name: &str) -> Option<KeyPart> {
    Some(match name {
        "remote_addr" => KeyPart::Source,
        "request_uri" => KeyPart::Target,
        "host" => KeyPart::Host,
        "args" | "query_string" => KeyPart::QueryString,
        "request_method" => KeyPart::Method,
        _ => {
            if let Some(header) = name.strip_prefix("http_") {
                KeyPart::Header(header.replace('_', "-"))
            } else if let Some(parameter) = name.strip_prefix("arg_") {
                KeyPart::Query(parameter.to_owned())
            } else {
                KeyPart::Cookie(name.strip_prefix("cookie_")?.to_owned())
            }
        }
    })
}

/// How a part of a key is written.
pub(crate) fn written(part: &KeyPart) -> Option<String> {
    Some(match part {
        KeyPart::Literal(text) if !text.contains('$') => text.clone(),
        KeyPart::Literal(_) => return None,
        KeyPart::Header(name) | KeyPart::Item(name) => {
            format!("${{http_{}}}", name.replace('-', "_").to_ascii_lowercase())
        }
        KeyPart::Query(name) => format!("${{arg_{}}}", plain(name)?),
        KeyPart::Cookie(name) => format!("${{cookie_{}}}", plain(name)?),
        KeyPart::Source => "${remote_addr}".to_owned(),
        KeyPart::Target => "${request_uri}".to_owned(),
        KeyPart::QueryString => "${args}".to_owned(),
        KeyPart::Host => "${host}".to_owned(),
        KeyPart::Method => "${request_method}".to_owned(),
        // `$uri` is decoded and rewritten.
        KeyPart::Path => return None,
    })
}

/// A name that can be part of a variable's.
fn plain(name: &str) -> Option<&str> {
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (fits && !name.is_empty()).then_some(name)
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    /// Its name, without the dollar sign.
    Variable(&'a str),
}

/// A text as nginx takes it apart.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let after = &rest[dollar + 1..];
        let (name, behind) = match after.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                Some((name, behind)) => (name, behind),
                None => (inner, ""),
            },
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        if name.is_empty() {
            // A lone dollar sign, as at the end of a regular expression.
            let end = dollar + 1;
            all.push(Piece::Text(&rest[..end]));
            rest = &rest[end..];
            continue;
        }
        if dollar > 0 {
            all.push(Piece::Text(&rest[..dollar]));
        }
        all.push(Piece::Variable(name));
        rest = behind;
    }
    if !rest.is_empty() {
        all.push(Piece::Text(rest));
    }
    all
}
