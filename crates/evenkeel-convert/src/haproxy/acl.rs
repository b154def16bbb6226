use std::collections::BTreeMap;

use evenkeel_route::matching::{
    Cidr, CookieMatch, HeaderMatch, HostMatch, HttpRule, PathMatch, QueryMatch, StreamRule, ValueMatch,
};

use super::balance::called;
use super::lexer::Line;
use crate::error::ConvertError;
use crate::place::Place;
use crate::whole_regex::{whole_regex, with_case};
use crate::word::Word;

/// What one test of a request asks for: any of its values will do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Path(Vec<PathMatch>),
    Host(Vec<HostMatch>),
    Method(Vec<String>),
    Header(String, Vec<ValueMatch>),
    Cookie(String, Vec<ValueMatch>),
    Query(String, Vec<ValueMatch>),
    Sni(Vec<HostMatch>),
    Source(Vec<Cidr>),
    Always,
    Never,
}

/// The tests behind each name: several lines of one name are alternatives.
pub(crate) type Acls = BTreeMap<String, Vec<Result<Test, String>>>;

/// A condition: any of these, each of them all of its parts. A part is a test, and whether its opposite is meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Condition(Vec<Vec<Part>>);

/// Whether the opposite is meant, and the tests, of which one is enough.
type Part = (bool, Vec<Result<Test, String>>);

/// Reads `CRITERION [flags] values`.
pub(crate) fn test(words: &[Word]) -> Result<Test, String> {
    let Some((criterion, rest)) = words.split_first() else { return Err("an empty test".to_owned()) };
    let (name, argument) = called(&criterion.text);
    let (mut ignores_case, mut way, mut values) = (false, None, Vec::new());
    let mut rest = rest.iter();
    let mut are_flags = true;
    while let Some(word) = rest.next() {
        match word.text.as_str() {
            "-i" if are_flags => ignores_case = true,
            "-m" if are_flags => way = rest.next().map(|word| word.text.as_str()),
            "--" if are_flags => are_flags = false,
            "-f" | "-M" | "-u" | "-n" if are_flags => {
                return Err(format!("{}: values in other files are not read", word.text));
            }
            value => {
                are_flags = false;
                values.push(value.to_owned());
            }
        }
    }
    let (base, suffix) = split(name);
    let way = way.or(suffix).unwrap_or("str");
    let is_host = base == "hdr" && argument.is_some_and(|name| name.eq_ignore_ascii_case("host"));
    let of_values = |argument: Option<&str>| -> Result<(String, Vec<ValueMatch>), String> {
        let name =
            argument.filter(|name| !name.is_empty() && !name.contains(',')).ok_or("a name in brackets")?;
        if way == "found" || values.is_empty() {
            return Ok((name.to_owned(), vec![ValueMatch::Present]));
        }
        let tests: Option<Vec<ValueMatch>> =
            values.iter().map(|value| value_match(value, way, ignores_case)).collect();
        Ok((name.to_owned(), tests.ok_or_else(|| format!("the match -m {way}"))?))
    };
    Ok(match base {
        "path" => Test::Path(all(&values, |value| path_match(value, way, ignores_case), way)?),
        "method" => Test::Method(values.iter().map(|v| v.trim_start_matches("METH_").to_owned()).collect()),
        "hdr" if is_host => Test::Host(hosts(&values, way)?),
        "hdr" => of_values(argument).map(|(name, tests)| Test::Header(name, tests))?,
        "cook" => of_values(argument).map(|(name, tests)| Test::Cookie(name, tests))?,
        "url_param" => of_values(argument).map(|(name, tests)| Test::Query(name, tests))?,
        "ssl_fc_sni" => Test::Host(hosts(&values, way)?),
        "req_ssl_sni" => Test::Sni(hosts(&values, way)?),
        "src" => Test::Source(all(
            &values,
            |value| {
                let whole = if value.contains('/') {
                    value.to_owned()
                } else if value.contains(':') {
                    format!("{value}/128")
                } else {
                    format!("{value}/32")
                };
                whole.parse().ok()
            },
            "ip",
        )?),
        "always_true" => Test::Always,
        "always_false" => Test::Never,
        _ => return Err(format!("the test {}", criterion.text)),
    })
}

/// The sample, and the way of matching that its name ends in.
fn split(name: &str) -> (&str, Option<&'static str>) {
    match name {
        "TRUE" | "always_true" => return ("always_true", None),
        "FALSE" | "always_false" => return ("always_false", None),
        "ssl_fc_sni" | "req.ssl_sni" | "req_ssl_sni" | "method" | "src" => {
            return (if name == "req.ssl_sni" { "req_ssl_sni" } else { name }, None);
        }
        _ => {}
    }
    for (end, way) in [
        ("_beg", "beg"),
        ("_end", "end"),
        ("_sub", "sub"),
        ("_dir", "dir"),
        ("_dom", "dom"),
        ("_reg", "reg"),
        ("_len", "len"),
    ] {
        if let Some(base) = name.strip_suffix(end) {
            return (short(base), Some(way));
        }
    }
    (short(name), None)
}

fn short(name: &str) -> &str {
    match name {
        "req.hdr" | "req.fhdr" | "hdr" => "hdr",
        "req.cook" | "cook" => "cook",
        "urlp" | "url_param" => "url_param",
        "req_ssl_sni" | "req.ssl_sni" => "req_ssl_sni",
        other => other,
    }
}

fn all<T>(values: &[String], read: impl Fn(&str) -> Option<T>, way: &str) -> Result<Vec<T>, String> {
    if values.is_empty() {
        return Err("a test without values".to_owned());
    }
    let read: Option<Vec<T>> = values.iter().map(|value| read(value)).collect();
    read.ok_or_else(|| format!("a value of this kind with -m {way}"))
}

fn path_match(value: &str, way: &str, ignores_case: bool) -> Option<PathMatch> {
    let quoted = escape(value);
    let regex = |text: String| Some(PathMatch::Regex(with_case(&text, ignores_case)));
    match way {
        "str" if !ignores_case && value.starts_with('/') => Some(PathMatch::Exact(value.to_owned())),
        "beg" if !ignores_case && value == "/" => Some(PathMatch::RawPrefix("/".to_owned())),
        "beg" if !ignores_case && value.starts_with('/') => Some(PathMatch::RawPrefix(value.to_owned())),
        "str" => regex(quoted),
        "beg" => regex(format!("{quoted}.*")),
        "end" => regex(format!(".*{quoted}")),
        "sub" => regex(format!(".*{quoted}.*")),
        "dir" => {
            let inner = escape(value.trim_matches('/'));
            regex(format!("(?:.*/)?{inner}(?:/.*)?"))
        }
        "reg" => regex(whole_regex(value)),
        _ => None,
    }
}

fn value_match(value: &str, way: &str, ignores_case: bool) -> Option<ValueMatch> {
    if ignores_case && way != "reg" {
        let quoted = escape(value);
        let text = match way {
            "str" => quoted,
            "beg" => format!("{quoted}.*"),
            "end" => format!(".*{quoted}"),
            "sub" => format!(".*{quoted}.*"),
            _ => return None,
        };
        return Some(ValueMatch::Regex(with_case(&text, true)));
    }
    Some(match way {
        "str" => ValueMatch::Exact(value.to_owned()),
        "beg" => ValueMatch::Prefix(value.to_owned()),
        "end" => ValueMatch::Suffix(value.to_owned()),
        "sub" => ValueMatch::Contains(value.to_owned()),
        "reg" => ValueMatch::Regex(with_case(&whole_regex(value), ignores_case)),
        _ => return None,
    })
}

fn hosts(values: &[String], way: &str) -> Result<Vec<HostMatch>, String> {
    let mut all = Vec::new();
    for value in values {
        let texts = match way {
            "str" if value.contains('*') => return Err(format!("the host {value:?}")),
            "str" => vec![value.clone()],
            "beg" if value.ends_with('.') => vec![format!("{value}*")],
            "end" if value.starts_with('.') => vec![format!("*{value}")],
            "dom" => vec![value.clone(), format!("*.{value}")],
            _ => return Err(format!("hosts with -m {way}: names, \".end\" and \"start.\" are known")),
        };
        for text in texts {
            all.push(text.parse::<HostMatch>().map_err(|error| error.to_string())?);
        }
    }
    if all.is_empty() { Err("a test without values".to_owned()) } else { Ok(all) }
}

/// A text as a regular expression that matches it alone.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$#&-~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

impl Condition {
    /// A condition that always holds.
    pub(crate) fn always() -> Self {
        Self(vec![Vec::new()])
    }

    /// Reads what follows `if` or `unless`.
    pub(crate) fn read(words: &[Word], place: &Place, acls: &Acls) -> Result<Self, ConvertError> {
        let mut any = vec![Vec::new()];
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (is_opposite, name) = match word.text.strip_prefix('!') {
                Some("") => match words.next() {
                    Some(word) => (true, word.text.as_str()),
                    None => return Err(ConvertError::unexpected(&word.place, "!", "a test comes after it")),
                },
                Some(name) => (true, name),
                None => (false, word.text.as_str()),
            };
            let tests = match name {
                "||" | "or" => {
                    any.push(Vec::new());
                    continue;
                }
                "{" => {
                    let inner: Vec<Word> = words.by_ref().take_while(|word| !word.is("}")).cloned().collect();
                    if inner.is_empty() {
                        return Err(ConvertError::unexpected(
                            &word.place,
                            "{",
                            "a test and \"}\" come after it",
                        ));
                    }
                    vec![test(&inner)]
                }
                _ => match (acls.get(name), predefined(name)) {
                    (Some(tests), _) => tests.clone(),
                    (None, Some(test)) => vec![Ok(test)],
                    (None, None) => {
                        let expected = format!("no acl of the name {name:?} comes before it");
                        return Err(ConvertError::unexpected(&word.place, name, expected));
                    }
                },
            };
            any.last_mut().unwrap_or(&mut Vec::new()).push((is_opposite, tests));
        }
        if any.iter().any(Vec::is_empty) {
            return Err(ConvertError::unexpected(
                place,
                "a condition",
                "a test on both sides of \"or\" is needed",
            ));
        }
        Ok(Self(any))
    }

    /// The rules of requests that it takes, one or several; the error tells what rules cannot say.
    pub(crate) fn rules(&self) -> Result<Vec<HttpRule>, String> {
        let mut all = Vec::new();
        for parts in &self.0 {
            let mut rules = vec![HttpRule::default()];
            for (is_opposite, tests) in parts {
                let mut next = Vec::new();
                for rule in &rules {
                    for alternative in alternatives(*is_opposite, tests)? {
                        if let Some(rule) = with_all(rule, &alternative)? {
                            next.push(rule);
                        }
                    }
                }
                rules = next;
                if rules.len() + all.len() > MOST_RULES {
                    return Err(format!("a condition of more than {MOST_RULES} cases"));
                }
            }
            all.extend(rules);
        }
        Ok(all)
    }

    /// The same for connections.
    pub(crate) fn stream_rules(&self) -> Result<Vec<StreamRule>, String> {
        let mut all = Vec::new();
        for parts in &self.0 {
            let mut rule = StreamRule::default();
            let mut never = false;
            for (is_opposite, tests) in parts {
                if *is_opposite {
                    return Err("the opposite of a test of a connection".to_owned());
                }
                for test in tests {
                    match test {
                        Ok(Test::Sni(hosts) | Test::Host(hosts)) => rule.sni.extend(hosts.iter().cloned()),
                        Ok(Test::Source(ranges)) => rule.sources.extend(ranges.iter().copied()),
                        Ok(Test::Always) => {}
                        Ok(Test::Never) => never = true,
                        Ok(_) => return Err("a test of a request, where connections are routed".to_owned()),
                        Err(what) => return Err(what.clone()),
                    }
                }
            }
            if !never {
                all.push(rule);
            }
        }
        Ok(all)
    }
}

const MOST_RULES: usize = 256;

/// What HAProxy has by itself.
fn predefined(name: &str) -> Option<Test> {
    Some(match name {
        "TRUE" => Test::Always,
        "FALSE" => Test::Never,
        "METH_GET" => Test::Method(vec!["GET".into(), "HEAD".into()]),
        "METH_HEAD" => Test::Method(vec!["HEAD".into()]),
        "METH_POST" => Test::Method(vec!["POST".into()]),
        "METH_PUT" => Test::Method(vec!["PUT".into()]),
        "METH_DELETE" => Test::Method(vec!["DELETE".into()]),
        "METH_OPTIONS" => Test::Method(vec!["OPTIONS".into()]),
        "METH_PATCH" => Test::Method(vec!["PATCH".into()]),
        _ => return None,
    })
}

/// One test of one value, for those that a rule asks one by one.
type Single = (Test, bool);

/// The ways in which a part can hold, each a list of tests that all hold.
fn alternatives(is_opposite: bool, tests: &[Result<Test, String>]) -> Result<Vec<Vec<Single>>, String> {
    let mut single: Vec<Test> = Vec::new();
    for test in tests {
        match test {
            Err(what) => return Err(what.clone()),
            Ok(Test::Header(name, values)) => {
                single.extend(values.iter().map(|v| Test::Header(name.clone(), vec![v.clone()])));
            }
            Ok(Test::Cookie(name, values)) => {
                single.extend(values.iter().map(|v| Test::Cookie(name.clone(), vec![v.clone()])));
            }
            Ok(Test::Query(name, values)) => {
                single.extend(values.iter().map(|v| Test::Query(name.clone(), vec![v.clone()])));
            }
            Ok(other) => single.push(other.clone()),
        }
    }
    if !is_opposite {
        return Ok(single.into_iter().map(|test| vec![(test, false)]).collect());
    }
    // Not any of them is all of the opposites.
    let opposites: Result<Vec<Single>, String> = single
        .into_iter()
        .map(|test| match test {
            Test::Header(..) | Test::Cookie(..) | Test::Query(..) => Ok((test, true)),
            Test::Always => Ok((Test::Never, false)),
            Test::Never => Ok((Test::Always, false)),
            _ => Err("the opposite of a test of a path, host, method or address: put the route of the others first".to_owned()),
        })
        .collect();
    Ok(vec![opposites?])
}

fn with_all(rule: &HttpRule, tests: &[Single]) -> Result<Option<HttpRule>, String> {
    let mut rule = rule.clone();
    for (test, invert) in tests {
        let twice = |what: &str| Err(format!("two tests of the {what} that must both hold"));
        match test {
            Test::Path(paths) if rule.paths.is_empty() => rule.paths.clone_from(paths),
            Test::Path(_) => return twice("path"),
            Test::Host(hosts) if rule.hosts.is_empty() => rule.hosts.clone_from(hosts),
            Test::Host(_) => return twice("host"),
            Test::Method(methods) if rule.methods.is_empty() => rule.methods.clone_from(methods),
            Test::Method(_) => return twice("method"),
            Test::Header(name, values) => rule.headers.extend(values.iter().map(|test| {
                let (test, invert) = normal(test, *invert);
                HeaderMatch { name: name.clone(), test, invert }
            })),
            Test::Cookie(name, values) => rule.cookies.extend(values.iter().map(|test| {
                let (test, invert) = normal(test, *invert);
                CookieMatch { name: name.clone(), test, invert }
            })),
            Test::Query(name, values) => rule.query.extend(values.iter().map(|test| {
                let (test, invert) = normal(test, *invert);
                QueryMatch { name: name.clone(), test, invert }
            })),
            Test::Always => {}
            Test::Never => return Ok(None),
            Test::Sni(_) | Test::Source(_) => {
                return Err("an address or a server name, where requests are routed".to_owned());
            }
        }
    }
    Ok(Some(rule))
}

/// The opposite of "there is one" is "there is none".
fn normal(test: &ValueMatch, invert: bool) -> (ValueMatch, bool) {
    match (test, invert) {
        (ValueMatch::Present, true) => (ValueMatch::Absent, false),
        (test, invert) => (test.clone(), invert),
    }
}

/// Takes a line `acl NAME …`.
pub(crate) fn declare(line: &Line, acls: &mut Acls) -> Result<Option<String>, ConvertError> {
    let [_, name, rest @ ..] = line.words.as_slice() else {
        return Err(ConvertError::unexpected(line.place(), line.text(), "acl takes a name and a test"));
    };
    let found = test(rest);
    let problem = found.as_ref().err().cloned();
    let tests = acls.entry(name.text.clone()).or_default();
    // Values of one kind are one test of more values.
    match (tests.last_mut(), found) {
        (Some(Ok(Test::Path(known))), Ok(Test::Path(more))) => known.extend(more),
        (Some(Ok(Test::Host(known))), Ok(Test::Host(more))) => known.extend(more),
        (Some(Ok(Test::Sni(known))), Ok(Test::Sni(more))) => known.extend(more),
        (Some(Ok(Test::Source(known))), Ok(Test::Source(more))) => known.extend(more),
        (Some(Ok(Test::Method(known))), Ok(Test::Method(more))) => known.extend(more),
        (_, found) => tests.push(found),
    }
    Ok(problem)
}
