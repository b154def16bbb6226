//! TOML into a tree with lines. The parser is the `toml` crate's.

use std::ops::Range;

use smol_str::{SmolStr, format_smolstr};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Fault;
use crate::node::{Kind, MAX_DEPTH, MAX_NODES, Node, Value};

pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let lines = Lines::of(text);
    // The parser has no bound of its own for breadth, and every value takes one of these.
    let values = text.bytes().filter(|byte| matches!(byte, b',' | b'=' | b'[')).count();
    if values > MAX_NODES {
        return Err(Fault::new(1, format!("more than {MAX_NODES} values")));
    }
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| lines.at(&span));
        Fault::new(line, error.message().replace('\n', " "))
    })?;
    let span = table.span();
    map(&lines, &span, table.get_ref(), 0)
}

/// Where the lines start.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn at(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|end| *end < span.start) + 1
    }
}

fn map(lines: &Lines, span: &Range<usize>, table: &DeTable<'_>, depth: usize) -> Result<Node, Fault> {
    let mut entries = std::collections::BTreeMap::new();
    for (key, value) in table {
        entries.insert(SmolStr::new(key.get_ref()), node(lines, value, depth + 1)?);
    }
    Ok(Node { line: lines.at(span), value: Value::Map(entries) })
}

fn node(lines: &Lines, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Fault> {
    let span = value.span();
    let line = lines.at(&span);
    if depth > MAX_DEPTH {
        return Err(Fault::new(line, format!("nested deeper than {MAX_DEPTH}")));
    }
    Ok(match value.get_ref() {
        DeValue::String(text) => Node::scalar(line, text, Kind::Text),
        DeValue::Integer(number) => {
            let read = i128::from_str_radix(number.as_str(), number.radix());
            let text = read.map_or_else(|_| number.as_str().into(), |read| format_smolstr!("{read}"));
            Node::scalar(line, &text, Kind::Literal)
        }
        DeValue::Float(number) => Node::scalar(line, number.as_str(), Kind::Literal),
        DeValue::Boolean(truth) => Node::scalar(line, if *truth { "true" } else { "false" }, Kind::Literal),
        DeValue::Datetime(time) => Node::scalar(line, &format_smolstr!("{time}"), Kind::Literal),
        DeValue::Array(items) => {
            let list = items.iter().map(|item| node(lines, item, depth + 1)).collect::<Result<_, _>>()?;
            Node { line, value: Value::List(list) }
        }
        DeValue::Table(table) => map(lines, &span, table, depth)?,
    })
}
