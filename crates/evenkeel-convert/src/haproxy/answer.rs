//! What HAProxy answers by itself: `redirect`, `deny`, `tarpit`, `return`.

use evenkeel::router::{Action, Redirect, RouteConfig, StaticResponse};
use evenkeel_route::split::HeaderChange;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) route: RouteConfig,
    /// Words that say something that the route does not.
    pub(super) unread: Vec<String>,
    /// Whether the client has to wait for it.
    pub(super) waits: bool,
}

/// Reads the words up to the condition. The error says what cannot be said.
pub(super) fn answer(words: &[&str]) -> Result<Answer, String> {
    match words.split_first() {
        Some((&"redirect", rest)) => redirect(rest),
        Some((&kind @ ("deny" | "tarpit" | "return"), rest)) => page(kind, rest),
        _ => Err("this answer".to_owned()),
    }
}

fn redirect(words: &[&str]) -> Result<Answer, String> {
    let (mut status, mut target, mut keeps_query, mut unread) = (302, None, true, Vec::new());
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "location" | "prefix" | "scheme" => target = Some((word, value(word, &mut words)?)),
            "code" => status = number(word, &mut words)?,
            "drop-query" => keeps_query = false,
            // It is about addresses that are made of others.
            "ignore-empty" => {}
            "set-cookie" | "clear-cookie" => unread.push(format!("{word} {}", value(word, &mut words)?)),
            other => unread.push(other.to_owned()),
        }
    }
    if ![301, 302, 303, 307, 308].contains(&status) {
        return Err(format!("the code {status}: allowed are 301, 302, 303, 307 and 308"));
    }
    let query = if keeps_query { "{query}" } else { "" };
    let location = match target {
        Some((_, target)) if target.contains('%') => {
            return Err("an address that is made of others".to_owned());
        }
        Some(("scheme", scheme)) => format!("{}://{{host}}{{path}}{query}", literal(scheme)),
        // It stands for nothing.
        Some(("prefix", "/")) => format!("{{path}}{query}"),
        Some(("prefix", prefix)) => format!("{}{{path}}{query}", literal(prefix)),
        Some((_, location)) => literal(location),
        None => return Err("an address that is made of others".to_owned()),
    };
    let route = RouteConfig::new("answer", Action::Redirect(Redirect { location, status }));
    Ok(Answer { route, unread, waits: false })
}

fn page(kind: &str, words: &[&str]) -> Result<Answer, String> {
    let mut response = StaticResponse::new(match kind {
        "deny" => 403,
        "tarpit" => 500,
        _ => 200,
    });
    let (mut headers, mut unread, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "status" | "deny_status" => response.status = number(word, &mut words)?,
            "content-type" => value(word, &mut words)?.clone_into(&mut response.content_type),
            "string" => value(word, &mut words)?.clone_into(&mut response.body),
            "lf-string" | "file" | "lf-file" | "errorfile" | "errorfiles" => {
                elsewhere.push(format!("{word} {}", value(word, &mut words)?));
            }
            "default-errorfiles" => elsewhere.push(word.to_owned()),
            "hdr" => {
                let (name, text) = (value(word, &mut words)?, value(word, &mut words)?);
                if text.contains('%') {
                    unread.push(format!("hdr {name} {text}"));
                } else {
                    headers.push(HeaderChange::Add { name: name.to_owned(), value: text.to_owned() });
                }
            }
            other => unread.push(other.to_owned()),
        }
    }
    if !(200..=599).contains(&response.status) {
        return Err(format!("the status {}: allowed are 200 to 599", response.status));
    }
    if kind == "return" && !elsewhere.is_empty() {
        return Err("a body that is made elsewhere".to_owned());
    }
    // Who is turned away without the right words is still turned away.
    unread.append(&mut elsewhere);
    let mut route = RouteConfig::new("answer", Action::Respond(response));
    route.headers.response = headers;
    Ok(Answer { route, unread, waits: kind == "tarpit" })
}

fn value<'t>(word: &str, words: &mut impl Iterator<Item = &'t str>) -> Result<&'t str, String> {
    words.next().ok_or_else(|| format!("{word} without a value"))
}

fn number<'t>(word: &str, words: &mut impl Iterator<Item = &'t str>) -> Result<u16, String> {
    value(word, words)?.parse().map_err(|_| format!("a {word} that is no number"))
}

/// A text in which braces stand for nothing.
fn literal(text: &str) -> String {
    text.replace('{', "%7B").replace('}', "%7D")
}
