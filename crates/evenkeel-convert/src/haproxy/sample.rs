//! `sample,converter(…),converter`: what of a request is hashed.

use super::balance::called;
use crate::converter::Converter;
use crate::key_rule::{KeyPart, KeyRule};

/// Reads an expression; none if a part of it is not known here.
pub(super) fn expression(text: &str) -> Option<KeyRule> {
    let mut steps = steps(text)?.into_iter();
    let of = fetch(steps.next()?)?;
    let by: Vec<Converter> = steps.map(converter).collect::<Option<_>>()?;
    Some(if by.is_empty() { KeyRule::Sample(of) } else { KeyRule::Converted { of, by } })
}

/// The steps between commas that are in no brackets. Quotes and backslashes say more than is read here.
fn steps(text: &str) -> Option<Vec<&str>> {
    if text.contains(['\\', '\'', '"']) {
        return None;
    }
    let (mut steps, mut start, mut is_inside) = (Vec::new(), 0, false);
    for (at, sign) in text.char_indices() {
        match sign {
            '(' => is_inside = true,
            ')' => is_inside = false,
            ',' if !is_inside => {
                steps.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    steps.push(&text[start..]);
    // An open bracket, or anything behind a closed one, belongs to no step.
    let is_whole = |step: &&str| !step.contains('(') || step.find(')') == Some(step.len() - 1);
    steps.iter().all(is_whole).then_some(steps)
}

/// Samples that are keys by themselves, without converters.
fn fetch(sample: &str) -> Option<KeyPart> {
    let (name, argument) = called(sample);
    let argument = argument.map(str::to_owned);
    Some(match (name, argument) {
        ("path", None) => KeyPart::Path,
        ("url" | "capture.req.uri" | "pathq", None) => KeyPart::Target,
        ("query", None) => KeyPart::QueryString,
        ("method", None) => KeyPart::Method,
        ("req.hdr" | "hdr", Some(header)) if !header.contains(',') => KeyPart::Item(header),
        ("req.fhdr", Some(header)) if !header.contains(',') => KeyPart::Header(header),
        ("req.cook" | "cook" | "cookie", Some(cookie)) if !cookie.is_empty() && !cookie.contains(',') => {
            KeyPart::Cookie(cookie)
        }
        ("url_param" | "urlp", Some(parameter)) if !parameter.contains(',') => KeyPart::Query(parameter),
        _ => return None,
    })
}

fn converter(step: &str) -> Option<Converter> {
    let (name, arguments) = called(step);
    let arguments: Vec<&str> =
        arguments.filter(|text| !text.is_empty()).map_or(Vec::new(), |text| text.split(',').collect());
    // HAProxy refuses the number 0.
    let index = |text: &str| text.parse::<i32>().ok().filter(|&index| index != 0);
    let count =
        |text: Option<&&str>| text.filter(|text| !text.is_empty()).map_or(Some(1), |text| text.parse().ok());
    match (name, arguments.as_slice()) {
        ("lower", []) => Some(Converter::Lower),
        ("upper", []) => Some(Converter::Upper),
        ("bytes", [offset]) => Some(Converter::Bytes { offset: offset.parse().ok()?, length: None }),
        ("bytes", [offset, length]) => {
            Some(Converter::Bytes { offset: offset.parse().ok()?, length: Some(length.parse().ok()?) })
        }
        ("field" | "word", [number, separators, rest @ ..]) if !separators.is_empty() && rest.len() < 2 => {
            let (index, separators) = (index(number)?, (*separators).to_owned());
            let count = count(rest.first())?;
            Some(if name == "field" {
                Converter::Field { index, separators, count }
            } else {
                Converter::Word { index, separators, count }
            })
        }
        _ => None,
    }
}

/// How an expression is written; none for what cannot be said without quotes.
pub(super) fn written(of: &KeyPart, by: &[Converter]) -> Option<String> {
    let mut text = written_fetch(of)?;
    for converter in by {
        text.push(',');
        text.push_str(&match converter {
            Converter::Lower => "lower".to_owned(),
            Converter::Upper => "upper".to_owned(),
            Converter::Bytes { offset, length: None } => format!("bytes({offset})"),
            Converter::Bytes { offset, length: Some(length) } => format!("bytes({offset},{length})"),
            Converter::Field { index, separators, count } => {
                format!("field({index},{},{count})", plain(*index, separators)?)
            }
            Converter::Word { index, separators, count } => {
                format!("word({index},{},{count})", plain(*index, separators)?)
            }
        });
    }
    Some(text)
}

/// Separators that stand for themselves.
fn plain(index: i32, separators: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b",()\\'\"#$".contains(&byte);
    (index != 0 && !separators.is_empty() && separators.bytes().all(is_plain)).then_some(separators)
}

fn written_fetch(part: &KeyPart) -> Option<String> {
    Some(match part {
        KeyPart::Path => "path".to_owned(),
        KeyPart::Target => "pathq".to_owned(),
        KeyPart::QueryString => "query".to_owned(),
        KeyPart::Method => "method".to_owned(),
        KeyPart::Item(name) => format!("req.hdr({name})"),
        KeyPart::Header(name) => format!("req.fhdr({name})"),
        KeyPart::Cookie(name) => format!("req.cook({name})"),
        KeyPart::Query(name) => format!("url_param({name})"),
        KeyPart::Host => "req.hdr(host)".to_owned(),
        _ => return None,
    })
}
