//! TOML into the tree. The parser is the `toml` crate's, which bounds nesting by itself.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::bounds::Budget;
use super::lines::Lines;
use super::node::{Entry, Node, Place, Value};
use crate::error::{ConfigError, Problem};

pub(crate) fn parse(text: &str, file: u16, budget: &mut Budget) -> Result<Node, ConfigError> {
    let lines = Lines::of(text, file);
    // The parser has no bound of its own for breadth, and every value takes one of these.
    budget.expect(text.bytes().filter(|byte| matches!(byte, b',' | b'=' | b'[')).count())?;
    let table = DeTable::parse(text).map_err(|error| {
        let at = lines.place(error.span().map_or(0, |span| span.start));
        ConfigError::new(Problem::Syntax(error.message().replace('\n', ", "))).at(at)
    })?;
    let at = lines.place(0);
    map(&lines, at, table.get_ref(), 0, budget)
}

fn map(
    lines: &Lines<'_>,
    at: Place,
    table: &DeTable<'_>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Node, ConfigError> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let place = lines.place(key.span().start);
        let node = node(lines, value, depth + 1, budget)?;
        entries.push(Entry { key: key.get_ref().to_string(), at: place, node });
    }
    entries.sort_by_key(|entry| (entry.at.line, entry.at.column));
    Ok(Node { at, value: Value::Map(entries) })
}

fn node(
    lines: &Lines<'_>,
    value: &Spanned<DeValue<'_>>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Node, ConfigError> {
    let at = lines.place(value.span().start);
    budget.deep(depth).and_then(|()| budget.take(1)).map_err(|problem| ConfigError::new(problem).at(at))?;
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            let read = i128::from_str_radix(number.as_str(), number.radix());
            let far = || ConfigError::new(Problem::Number(number.as_str().into())).at(at);
            Value::Int(read.map_err(|_| far())?)
        }
        DeValue::Float(number) => {
            let far = || ConfigError::new(Problem::Number(number.as_str().into())).at(at);
            Value::Float(number.as_str().parse().map_err(|_| far())?)
        }
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| node(lines, item, depth + 1, budget));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => return map(lines, at, table, depth, budget),
    };
    Ok(Node { at, value })
}
