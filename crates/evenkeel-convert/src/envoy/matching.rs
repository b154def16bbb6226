//! `match`: which requests a route takes.

use evenkeel_route::matching::{Fraction, HeaderMatch, HttpRule, PathMatch, QueryMatch, ValueMatch};
use evenkeel_types::Ratio;

use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::whole_regex::with_case;

pub(super) fn matching(
    table: &mut Table<'_>,
    conversion: &mut Conversion,
) -> Result<Option<HttpRule>, ConvertError> {
    let mut rule = HttpRule::default();
    let ignores_case = table.boolean("case_sensitive")? == Some(false);
    if let Some(prefix) = table.text("prefix")? {
        if ignores_case {
            rule.paths
                .push(PathMatch::Regex(with_case(&format!("{}.*", regex_syntax::escape(prefix)), true)));
        } else if prefix != "/" && !prefix.is_empty() {
            rule.paths.push(PathMatch::RawPrefix(prefix.to_owned()));
        }
    } else if let Some(exact) = table.text("path")? {
        rule.paths.push(if ignores_case {
            PathMatch::Regex(with_case(&regex_syntax::escape(exact), true))
        } else {
            PathMatch::Exact(exact.to_owned())
        });
    } else if let Some(prefix) = table.text("path_separated_prefix")? {
        rule.paths.push(PathMatch::Prefix(prefix.to_owned()));
    } else if let Some(mut regex) = table.table("safe_regex")? {
        rule.paths.push(PathMatch::Regex(expression(&mut regex)?));
        regex.rest(&mut conversion.report, |_| NOTHING_BUT_REGEX);
    } else {
        conversion.report.none(
            table.place(),
            table.path(""),
            "paths are matched by path, prefix, path_separated_prefix or safe_regex",
        );
        return Ok(None);
    }
    for (number, node) in table.list("headers")?.iter().enumerate() {
        let mut header = Table::new(node, table.path(&format!("headers[{number}]")))?;
        let name = header.needed("name")?.to_owned();
        let invert = header.boolean("invert_match")?.unwrap_or(false);
        let Some(test) = value_match(&mut header, conversion)? else {
            conversion.report.none(
                &node.place,
                header.path(""),
                "values are tested by text, range or presence",
            );
            return Ok(None);
        };
        header.rest(&mut conversion.report, |_| "a missing header passes no test, and every inverted one");
        let (test, invert) = match (test, invert) {
            (ValueMatch::Present, true) => (ValueMatch::Absent, false),
            (ValueMatch::Absent, true) => (ValueMatch::Present, false),
            other => other,
        };
        match (name.as_str(), &test, invert) {
            (":method", ValueMatch::Exact(method), false) => rule.methods.push(method.clone()),
            (":authority", ValueMatch::Exact(host), false) => match host.parse() {
                Ok(host) => rule.hosts.push(host),
                Err(_) => {
                    conversion.report.none(
                        &node.place,
                        format!("header {name}"),
                        "hosts are names without ports",
                    );
                    return Ok(None);
                }
            },
            (name, ..) if name.starts_with(':') => {
                conversion.report.none(
                    &node.place,
                    format!("header {name}"),
                    "rules have fields of their own for methods and hosts",
                );
                return Ok(None);
            }
            _ => rule.headers.push(HeaderMatch { name, test, invert }),
        }
    }
    for (number, node) in table.list("query_parameters")?.iter().enumerate() {
        let mut query = Table::new(node, table.path(&format!("query_parameters[{number}]")))?;
        let name = query.needed("name")?.to_owned();
        let Some(test) = value_match(&mut query, conversion)? else {
            conversion.report.none(&node.place, query.path(""), "values are tested by text or presence");
            return Ok(None);
        };
        query.rest(&mut conversion.report, |_| "parameters are tested by text or presence");
        rule.query.push(QueryMatch { name, test, invert: false });
    }
    if let Some(mut fraction) = table.table("runtime_fraction")? {
        let share = fractional(&mut fraction, "default_value", conversion)?;
        // That it is not looked up is told below.
        fraction.get("runtime_key");
        rule.fraction = Some(Fraction { share, salt: 0 });
        conversion.report.differs(
            fraction.place(),
            fraction.path(""),
            "match.fraction, by the key of the request, or drawn: nothing is looked up at run time",
        );
        fraction.rest(&mut conversion.report, |_| "a fraction has a default_value");
    }
    Ok(Some(rule))
}

/// `{ numerator: 5, denominator: HUNDRED }`
pub(super) fn fractional(
    table: &mut Table<'_>,
    field: &str,
    conversion: &mut Conversion,
) -> Result<Ratio, ConvertError> {
    let Some(mut value) = table.table(field)? else { return Ok(Ratio::ONE) };
    let numerator = f64::from(value.number("numerator")?.unwrap_or(0));
    let denominator = match value.text("denominator")? {
        None | Some("HUNDRED") => 100.0,
        Some("TEN_THOUSAND") => 10_000.0,
        Some("MILLION") => 1_000_000.0,
        Some(other) => {
            return Err(ConvertError::value(
                value.place(),
                value.path("denominator"),
                other,
                "HUNDRED, TEN_THOUSAND or MILLION",
            ));
        }
    };
    value.rest(&mut conversion.report, |_| "a fraction has a numerator and a denominator");
    Ok(Ratio::new((numerator / denominator).min(1.0)).unwrap_or(Ratio::ONE))
}

/// The pattern of a `RegexMatcher`. Its engine is the only one that Envoy knows, and speaks as ours does.
fn expression(regex: &mut Table<'_>) -> Result<String, ConvertError> {
    regex.get("google_re2");
    Ok(regex.needed("regex")?.to_owned())
}

fn value_match(
    table: &mut Table<'_>,
    conversion: &mut Conversion,
) -> Result<Option<ValueMatch>, ConvertError> {
    for (field, make) in [
        ("exact_match", ValueMatch::Exact as fn(String) -> ValueMatch),
        ("prefix_match", ValueMatch::Prefix),
        ("suffix_match", ValueMatch::Suffix),
        ("contains_match", ValueMatch::Contains),
    ] {
        if let Some(text) = table.text(field)? {
            return Ok(Some(make(text.to_owned())));
        }
    }
    if let Some(mut regex) = table.table("safe_regex_match")? {
        let pattern = expression(&mut regex)?;
        regex.rest(&mut conversion.report, |_| NOTHING_BUT_REGEX);
        return Ok(Some(ValueMatch::Regex(pattern)));
    }
    if let Some(mut text) = table.table("string_match")? {
        let found = string_match(&mut text, conversion)?;
        if found.is_some() {
            text.rest(&mut conversion.report, |_| "a text is tested in one way");
        }
        return Ok(found);
    }
    if let Some(mut range) = table.table("range_match")? {
        let mut number = |field: &str| -> Result<i64, ConvertError> {
            let path = range.path(field);
            let Some(node) = range.get(field) else { return Ok(0) };
            node.text(&path)?.parse().map_err(|_| node.wrong(&path, "a whole number is needed"))
        };
        let found = ValueMatch::Range { from: number("start")?, to: number("end")? };
        range.rest(&mut conversion.report, |_| "a range has a start and an end");
        return Ok(Some(found));
    }
    Ok(Some(match table.boolean("present_match")? {
        Some(false) => ValueMatch::Absent,
        _ => ValueMatch::Present,
    }))
}

fn string_match(
    text: &mut Table<'_>,
    conversion: &mut Conversion,
) -> Result<Option<ValueMatch>, ConvertError> {
    let ignores_case = text.boolean("ignore_case")? == Some(true);
    for (field, make, before, after) in [
        ("exact", ValueMatch::Exact as fn(String) -> ValueMatch, "", ""),
        ("prefix", ValueMatch::Prefix, "", ".*"),
        ("suffix", ValueMatch::Suffix, ".*", ""),
        ("contains", ValueMatch::Contains, ".*", ".*"),
    ] {
        if let Some(value) = text.text(field)? {
            let pattern = || format!("{before}{}{after}", regex_syntax::escape(value));
            return Ok(Some(if ignores_case {
                ValueMatch::Regex(with_case(&pattern(), true))
            } else {
                make(value.to_owned())
            }));
        }
    }
    // Case has no say in expressions.
    let Some(mut regex) = text.table("safe_regex")? else { return Ok(None) };
    let pattern = expression(&mut regex)?;
    regex.rest(&mut conversion.report, |_| NOTHING_BUT_REGEX);
    Ok(Some(ValueMatch::Regex(pattern)))
}

const NOTHING_BUT_REGEX: &str = "an expression has a pattern and nothing else";
