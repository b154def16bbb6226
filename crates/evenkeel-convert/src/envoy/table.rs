use super::node::{Node, Value};
use crate::error::ConvertError;
use crate::place::Place;
use crate::report::Report;

/// A table that is read field by field: what nobody asked for is told at the end.
#[derive(Debug)]
pub(crate) struct Table<'n> {
    path: String,
    node: &'n Node,
    fields: &'n [(String, Node)],
    taken: Vec<bool>,
}

impl<'n> Table<'n> {
    /// `path` is how messages call it.
    pub(crate) fn new(node: &'n Node, path: impl Into<String>) -> Result<Self, ConvertError> {
        let path = path.into();
        let fields = match &node.value {
            Value::Map(map) => map.as_slice(),
            Value::Scalar(text, true) if text.is_empty() || text == "null" || text == "~" => &[],
            _ => return Err(node.wrong(&path, "a table is needed")),
        };
        Ok(Self { path, node, fields, taken: vec![false; fields.len()] })
    }

    pub(crate) const fn place(&self) -> &'n Place {
        &self.node.place
    }

    pub(crate) fn path(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else if field.is_empty() {
            self.path.clone()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    /// A field, by its name in `snake_case`; `lowerCamelCase` is the same.
    pub(crate) fn get(&mut self, field: &str) -> Option<&'n Node> {
        let at = self.fields.iter().position(|(key, _)| is_same(key, field))?;
        self.taken[at] = true;
        let node = &self.fields[at].1;
        let is_null =
            matches!(&node.value, Value::Scalar(text, true) if ["", "null", "~"].contains(&text.as_str()));
        (!is_null).then_some(node)
    }

    pub(crate) fn table(&mut self, field: &str) -> Result<Option<Table<'n>>, ConvertError> {
        let path = self.path(field);
        self.get(field).map(|node| Table::new(node, path)).transpose()
    }

    pub(crate) fn list(&mut self, field: &str) -> Result<&'n [Node], ConvertError> {
        let path = self.path(field);
        self.get(field).map_or(Ok(&[]), |node| node.list(&path))
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<Option<&'n str>, ConvertError> {
        let path = self.path(field);
        self.get(field).map(|node| node.text(&path)).transpose()
    }

    pub(crate) fn needed(&mut self, field: &str) -> Result<&'n str, ConvertError> {
        let path = self.path(field);
        self.text(field)?.ok_or_else(|| ConvertError::unexpected(self.place(), path, "this field is needed"))
    }

    pub(crate) fn number(&mut self, field: &str) -> Result<Option<u32>, ConvertError> {
        let path = self.path(field);
        self.get(field)
            .map(|node| node.number(&path, u32::MAX.into()).map(|number| number as u32))
            .transpose()
    }

    pub(crate) fn large(&mut self, field: &str) -> Result<Option<u64>, ConvertError> {
        let path = self.path(field);
        self.get(field).map(|node| node.number(&path, u64::MAX)).transpose()
    }

    pub(crate) fn boolean(&mut self, field: &str) -> Result<Option<bool>, ConvertError> {
        let path = self.path(field);
        self.get(field).map(|node| node.boolean(&path)).transpose()
    }

    pub(crate) fn time(&mut self, field: &str) -> Result<Option<std::time::Duration>, ConvertError> {
        let path = self.path(field);
        self.get(field).map(|node| node.time(&path)).transpose()
    }

    /// A fraction of a hundred: `{ value: 12.5 }`.
    pub(crate) fn percent(&mut self, field: &str) -> Result<Option<f64>, ConvertError> {
        let path = self.path(field);
        let Some(mut table) = self.table(field)? else { return Ok(None) };
        let value = table.get("value").map_or(Ok(0.0), |node| node.decimal(&path))?;
        if (0.0..=100.0).contains(&value) {
            Ok(Some(value))
        } else {
            Err(ConvertError::value(table.place(), path, value.to_string(), "0 to 100"))
        }
    }

    /// What was not asked for, each with what to do.
    pub(crate) fn rest(self, report: &mut Report, advice: impl Fn(&str) -> &'static str) {
        let left = self.fields.iter().zip(&self.taken).filter(|((key, _), taken)| !**taken && key != "@type");
        for ((key, node), _) in left {
            let subject = format!("{}: {}", self.path(key), node.shown());
            report.none(&node.place, subject, advice(key));
        }
    }
}

fn is_same(key: &str, field: &str) -> bool {
    let mut wanted = field.chars();
    let mut given = key.chars().peekable();
    if key == field {
        return true;
    }
    while let Some(c) = wanted.next() {
        let c = if c == '_' {
            match wanted.next() {
                Some(next) if next.is_ascii_digit() => next,
                Some(next) => next.to_ascii_uppercase(),
                None => return false,
            }
        } else {
            c
        };
        if given.next() != Some(c) {
            return false;
        }
    }
    given.peek().is_none()
}
