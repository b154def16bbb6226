//! Where an error belongs that comes without a place: serde reads some tables into a buffer of its own, and what is wrong in
//! there is found again by what it says.

use serde::de::Unexpected;

use super::error::shortened;
use crate::document::{Node, Value};
use crate::error::{ConfigError, Problem};

pub(crate) fn unexpected(node: &Node) -> Unexpected<'_> {
    match &node.value {
        Value::Null => Unexpected::Unit,
        Value::Bool(truth) => Unexpected::Bool(*truth),
        Value::Int(number) => match (u64::try_from(*number), i64::try_from(*number)) {
            (Ok(number), _) => Unexpected::Unsigned(number),
            (_, Ok(number)) => Unexpected::Signed(number),
            _ => Unexpected::Other("a number beyond 64 bits"),
        },
        Value::Float(number) => Unexpected::Float(*number),
        Value::Text(text) => Unexpected::Str(text),
        Value::List(_) => Unexpected::Seq,
        Value::Map(_) => Unexpected::Map,
    }
}

/// Gives an error its place, if it has none: that of what it speaks of, or that of `node`.
pub(crate) fn located(error: ConfigError, node: &Node) -> ConfigError {
    if error.place().is_some() {
        return error;
    }
    match find(node, error.problem()) {
        Some((at, steps)) => {
            let error = error.at(at);
            steps.into_iter().fold(error, |error, step| match step {
                Ok(key) => error.under(&key),
                Err(index) => error.in_list(index),
            })
        }
        None => error.at(node.at),
    }
}

type Found = (crate::document::Place, Vec<Result<String, usize>>);

/// The place, and the way to it from the inside.
fn find(node: &Node, problem: &Problem) -> Option<Found> {
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|entry| {
            let here = match problem {
                Problem::Unknown { what: "key", given, .. } if entry.key == *given => Some(entry.at),
                Problem::Unknown { what: "name", given, .. } => {
                    let same = matches!(&entry.node.value, Value::Text(text) if text == given);
                    same.then_some(entry.node.at)
                }
                Problem::Kind { given, .. } => {
                    (shortened(&unexpected(&entry.node)) == *given).then_some(entry.node.at)
                }
                _ => None,
            };
            let found = here.map(|at| (at, Vec::new())).or_else(|| find(&entry.node, problem));
            found.map(|(at, mut steps)| {
                steps.push(Ok(entry.key.clone()));
                (at, steps)
            })
        }),
        Value::List(items) => items.iter().enumerate().find_map(|(i, item)| {
            find(item, problem).map(|(at, mut steps)| {
                steps.push(Err(i));
                (at, steps)
            })
        }),
        _ => None,
    }
}
