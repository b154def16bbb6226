use std::collections::{BTreeMap, BTreeSet};

use evenkeel::router::KeySource;
use evenkeel_route::matching::{CookieMatch, HeaderMatch, HostMatch, HttpRule, QueryMatch, ValueMatch};
use evenkeel_route::split::Arm;
use regex_automata::meta::Regex;

use super::key;
use super::tree::Directive;
use crate::error::ConvertError;
use crate::key_rule::KeyPart;
use crate::report::Report;
use crate::whole_regex::{whole_regex, with_case};

/// What a variable can be that the configuration defines.
#[derive(Clone, Debug)]
pub(crate) enum Variable {
    /// `map`: the cases in the order in which nginx asks them, and what holds otherwise.
    Map { source: String, cases: Vec<(ValueMatch, String)>, default: String },
    /// `split_clients`.
    Split { key: Vec<KeySource>, arms: Vec<Arm> },
}

/// The variables of a block, by name.
pub(crate) type Variables = BTreeMap<String, Variable>;

/// Reads `map SOURCE $name { … }`.
pub(crate) fn map(block: &Directive, report: &mut Report) -> Result<(String, Variable), ConvertError> {
    let [source, name] = block.args.as_slice() else {
        return Err(ConvertError::unexpected(
            block.place(),
            block.text(),
            "map takes a source and a variable",
        ));
    };
    let (mut exact, mut regexes, mut default) = (Vec::new(), Vec::new(), String::new());
    for case in block.inside() {
        let key = case.name.text.as_str();
        if ["hostnames", "volatile"].contains(&key) && case.args.is_empty() {
            if key == "hostnames" {
                report.none(
                    case.place(),
                    "hostnames",
                    "masks of host names in a map are not followed: write routes with hosts",
                );
            }
            continue;
        }
        let value = case.only()?.text.clone();
        match key {
            "default" => default = value,
            _ => match key.strip_prefix('~') {
                Some(pattern) => {
                    let (pattern, ignores_case) =
                        pattern.strip_prefix('*').map_or((pattern, false), |rest| (rest, true));
                    let pattern = whole_regex(pattern);
                    regexes.push((ValueMatch::Regex(with_case(&pattern, ignores_case)), value));
                }
                None => {
                    let key = key.strip_prefix('\\').unwrap_or(key);
                    exact.push((ValueMatch::Exact(key.to_owned()), value));
                }
            },
        }
    }
    exact.extend(regexes);
    let name = name.text.trim_start_matches('$').to_owned();
    Ok((name, Variable::Map { source: source.text.clone(), cases: exact, default }))
}

/// The variable that a `map` or `split_clients` defines, without its dollar sign.
pub(crate) fn defined(block: &Directive) -> &str {
    block.args.get(1).map_or("", |word| word.text.trim_start_matches('$'))
}

/// Whether a map became routes: maps are followed where a `proxy_pass` goes by them.
pub(crate) fn tell_map(block: &Directive, followed: &BTreeSet<String>, report: &mut Report) {
    if followed.contains(defined(block)) {
        report.taken(block.place(), block.text(), "routes, one for each case");
    } else {
        report.none(block.place(), block.text(), "only maps that choose an upstream are followed");
    }
}

/// Reads `split_clients TEXT $name { … }`.
pub(crate) fn split_clients(block: &Directive) -> Result<(String, Variable), ConvertError> {
    let [source, name] = block.args.as_slice() else {
        let expected = "split_clients takes a text and a variable";
        return Err(ConvertError::unexpected(block.place(), block.text(), expected));
    };
    let mut arms: Vec<Arm> = Vec::new();
    let mut left = WHOLE;
    for case in block.inside() {
        let share = &case.name;
        let cluster = case.only()?.text.clone();
        let weight = if share.is("*") {
            left
        } else {
            share.text.strip_suffix('%').and_then(hundredths).filter(|&part| part <= left).ok_or_else(
                || {
                    let allowed = "a percentage with at most two decimals, and not more than 100% in all";
                    ConvertError::value(&share.place, "split_clients", share.text.clone(), allowed)
                },
            )?
        };
        left -= weight;
        match arms.iter_mut().find(|arm| arm.cluster == cluster) {
            Some(arm) => arm.weight += weight,
            None => arms.push(Arm { cluster, weight }),
        }
    }
    let key = key_source(&source.text);
    let name = name.text.trim_start_matches('$').to_owned();
    Ok((name, Variable::Split { key: key.into_iter().collect(), arms }))
}

/// What a router may take for the key of a request, for texts of one variable; the address of the client also under a salt.
pub(crate) fn key_source(text: &str) -> Option<KeySource> {
    let name = key::variable(text).or_else(|| {
        (text.starts_with("${remote_addr}") || text.starts_with("$remote_addr")).then_some("remote_addr")
    })?;
    if name == "binary_remote_addr" {
        return Some(KeySource::Source);
    }
    source_of(&key::part(name)?)
}

/// The same for a part of a key.
pub(crate) fn source_of(part: &KeyPart) -> Option<KeySource> {
    Some(match part {
        // A router knows the host apart from the fields.
        KeyPart::Header(name) if name == "host" => KeySource::Host,
        KeyPart::Header(name) => KeySource::Header(name.clone()),
        KeyPart::Query(name) => KeySource::Query(name.clone()),
        KeyPart::Cookie(name) => KeySource::Cookie(name.clone()),
        KeyPart::Source => KeySource::Source,
        _ => return None,
    })
}

/// The rules that ask for a value of what a map looks at: any of them.
pub(crate) fn with_condition(rule: &HttpRule, source: &str, test: &ValueMatch) -> Option<Vec<HttpRule>> {
    let with = |change: &dyn Fn(&mut HttpRule)| {
        let mut rule = rule.clone();
        change(&mut rule);
        rule
    };
    let each = |add: &dyn Fn(&mut HttpRule, ValueMatch)| {
        let rules = tests(test).into_iter().map(|test| with(&|rule: &mut HttpRule| add(rule, test.clone())));
        Some(rules.collect())
    };
    match (key::part(key::variable(source)?)?, test) {
        (KeyPart::Method, ValueMatch::Exact(method)) if !method.is_empty() => {
            Some(vec![with(&|rule| rule.methods.push(method.to_ascii_uppercase()))])
        }
        // The field `Host` is where rules look for hosts.
        (part, ValueMatch::Exact(host)) if part == KeyPart::Host || part == http_host() => {
            let host: HostMatch = host.parse().ok()?;
            Some(vec![with(&|rule| rule.hosts = vec![host.clone()])])
        }
        (part, _) if part == http_host() => None,
        (KeyPart::Header(name), _) => each(&|rule, test| {
            rule.headers.push(HeaderMatch { name: name.clone(), test, invert: false });
        }),
        (KeyPart::Query(name), _) => each(&|rule, test| {
            rule.query.push(QueryMatch { name: name.clone(), test, invert: false });
        }),
        (KeyPart::Cookie(name), _) => each(&|rule, test| {
            rule.cookies.push(CookieMatch { name: name.clone(), test, invert: false });
        }),
        _ => None,
    }
}

/// What a value must be, for nginx: what is not there is the empty text, and texts are compared without regard to case.
fn tests(test: &ValueMatch) -> Vec<ValueMatch> {
    let is_nothing = match test {
        ValueMatch::Exact(text) => text.is_empty(),
        ValueMatch::Regex(pattern) => takes_nothing(pattern),
        _ => false,
    };
    let test = match test {
        ValueMatch::Exact(text) if text.bytes().any(|byte| byte.is_ascii_alphabetic()) => {
            ValueMatch::Regex(with_case(&regex_syntax::escape(text), true))
        }
        other => other.clone(),
    };
    if is_nothing { vec![ValueMatch::Absent, test] } else { vec![test] }
}

/// Whether an expression takes the empty text. One that does not compile is refused later.
fn takes_nothing(pattern: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(""))
}

/// What `$http_host` is.
fn http_host() -> KeyPart {
    KeyPart::Header("host".to_owned())
}

/// `12.5` as 1250.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() > 2 || !digits(part) || !digits(whole) || whole.is_empty() {
        return None;
    }
    let part: u32 = format!("{part:0<2}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)
}

/// A hundred percent, in hundredths.
const WHOLE: u32 = 10_000;
