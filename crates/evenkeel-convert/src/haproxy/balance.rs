use evenkeel_balance::compat::haproxy::{Balance, Function, HashType, Method, UriKey};

use super::lexer::Line;
use super::sample;
use super::units::number;
use crate::error::ConvertError;
use crate::key_rule::KeyRule;
use crate::report::Report;
use crate::word::Word;

/// What `balance` says: the algorithm in the compatible mode, or a policy of our own with so many draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    Mode(Balance),
    Random(u32),
}

/// Reads `balance …`. None, if there is nothing like it.
pub(crate) fn balance(
    line: &Line,
    report: &mut Report,
) -> Result<Option<(Chosen, Option<KeyRule>)>, ConvertError> {
    let (place, subject) = (line.place(), line.text());
    let Some(word) = line.words.get(1) else {
        return Err(ConvertError::unexpected(place, "balance", "an algorithm comes after it"));
    };
    let (name, arguments) = called(&word.text);
    let rest = &line.words[2..];
    tell_rest(name, rest, report);
    let plain = |balance| Some((Chosen::Mode(balance), None));
    let found = match name {
        "roundrobin" => plain(Balance::RoundRobin),
        "static-rr" => plain(Balance::StaticRr),
        "leastconn" => plain(Balance::LeastConn),
        "first" => plain(Balance::First),
        "source" => Some((Chosen::Mode(Balance::Source), Some(KeyRule::Source))),
        "uri" => Some((Chosen::Mode(Balance::Uri), Some(KeyRule::Uri(uri(rest, report)?)))),
        "url_param" => {
            let Some(parameter) = rest.first() else {
                return Err(ConvertError::unexpected(
                    place,
                    subject,
                    "the name of a parameter comes after it",
                ));
            };
            Some((Chosen::Mode(Balance::UrlParam), Some(KeyRule::UrlParam(parameter.text.clone()))))
        }
        "hdr" => {
            let Some(header) = arguments else {
                return Err(ConvertError::unexpected(place, subject, "hdr(NAME) is written with a name"));
            };
            let domain_only = rest.iter().any(|word| word.is("use_domain_only"));
            let rule = KeyRule::Header { name: header.to_owned(), domain_only };
            Some((Chosen::Mode(Balance::Hdr), Some(rule)))
        }
        "hash" => {
            let sample = match (arguments, rest.first()) {
                (Some(_), _) => {
                    word.text.strip_prefix("hash(").and_then(|text| text.strip_suffix(')')).unwrap_or("")
                }
                (None, Some(word)) => word.text.as_str(),
                (None, None) => "",
            };
            match sample::expression(sample) {
                Some(rule) => Some((Chosen::Mode(Balance::Hash), Some(rule))),
                None => {
                    report.none(
                        place,
                        subject,
                        "this sample is not known here: give the key with each request",
                    );
                    return Ok(Some((Chosen::Mode(Balance::Hash), None)));
                }
            }
        }
        "random" => {
            let draws = match arguments {
                None | Some("") => 2,
                Some(text) => {
                    let word = Word { text: text.to_owned(), place: word.place.clone() };
                    number("random", &word, 1..=1024)?
                }
            };
            let detail = "of so many drawn endpoints the one with fewer requests in flight for its weight: the policy least_request (random, if one is drawn); HAProxy's own draws cannot be repeated";
            report.differs(place, subject, detail);
            return Ok(Some((Chosen::Random(draws), None)));
        }
        "rdp-cookie" | "log-hash" | "sticky" => {
            report.none(place, subject, "evenkeel knows no such protocol: choose a policy");
            return Ok(None);
        }
        other => {
            let allowed =
                "roundrobin, static-rr, leastconn, first, source, uri, url_param, hdr, hash or random";
            return Err(ConvertError::value(&word.place, "balance", other, allowed));
        }
    };
    report.taken(place, subject, "policy haproxy");
    Ok(found)
}

/// Words behind an algorithm that say something that ours does not; those of `uri` are read with its key.
fn tell_rest(name: &str, rest: &[Word], report: &mut Report) {
    let is_read = |at: usize, word: &Word| match name {
        "uri" => true,
        "url_param" | "hash" => at == 0,
        "hdr" => word.is("use_domain_only"),
        _ => false,
    };
    for (_, word) in rest.iter().enumerate().filter(|&(at, word)| !is_read(at, word)) {
        let detail = if word.is("check_post") {
            "bodies are not looked at"
        } else {
            "HAProxy knows no such word here, or it is about bodies"
        };
        report.none(&word.place, format!("balance {name} {}", word.text), detail);
    }
}

/// `name(arguments)`
pub(crate) fn called(text: &str) -> (&str, Option<&str>) {
    match text.split_once('(') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').unwrap_or(rest))),
        None => (text, None),
    }
}

fn uri(words: &[Word], report: &mut Report) -> Result<UriKey, ConvertError> {
    let mut key = UriKey::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut count = |name: &str| match words.next() {
            Some(word) => number(name, word, 1..=u32::MAX),
            None => Err(ConvertError::unexpected(&word.place, name, "a number comes after it")),
        };
        match word.text.as_str() {
            "len" => key.len = Some(count("len")?),
            "depth" => key.depth = Some(count("depth")?),
            "whole" => key.is_whole = true,
            "path-only" => key.is_path_only = true,
            other => report.none(
                &word.place,
                format!("balance uri {other}"),
                "HAProxy knows len, depth, whole, path-only",
            ),
        }
    }
    Ok(key)
}

/// Reads `hash-type METHOD [FUNCTION [MODIFIER]]`.
pub(crate) fn hash_type(line: &Line, report: &mut Report) -> Result<HashType, ConvertError> {
    let texts = line.texts();
    let wrong = |expected: &str| ConvertError::unexpected(line.place(), line.text(), expected);
    let method = match texts.get(1) {
        Some(&"map-based") => Method::MapBased,
        Some(&"consistent") => Method::Consistent,
        _ => return Err(wrong("map-based or consistent comes first")),
    };
    let mut found = HashType::bare(method);
    if let Some(function) = texts.get(2) {
        found.avalanche = false;
        found.function = match *function {
            "sdbm" => Function::Sdbm,
            "djb2" => Function::Djb2,
            "wt6" => Function::Wt6,
            "crc32" => Function::Crc32,
            "none" => Function::None,
            _ => return Err(wrong("the functions are sdbm, djb2, wt6, crc32 and none")),
        };
    }
    match texts.get(3) {
        None => {}
        Some(&"avalanche") => found.avalanche = true,
        Some(_) => return Err(wrong("the one modifier is avalanche")),
    }
    if texts.len() > 4 {
        return Err(wrong("nothing comes after the modifier"));
    }
    report.taken(line.place(), line.text(), "policy haproxy, hash_type");
    Ok(found)
}
