use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::Fault;

/// A value of a file, and the line on which it starts: the same tree for all three syntaxes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(BTreeMap<SmolStr, Node>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: SmolStr,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In quotes.
    Text,
    /// Without quotes, of YAML: what it is depends on what is wanted, so that a region called `no` stays one.
    Plain,
    /// A number or a truth value.
    Literal,
    Null,
}

/// The most values in a file: a hundred for each of ten thousand endpoints, twice.
pub(crate) const MAX_NODES: usize = 2_000_000;
/// The deepest nesting. EDS files have eleven levels.
pub(crate) const MAX_DEPTH: usize = 64;

impl Node {
    pub(crate) fn scalar(line: usize, text: &str, kind: Kind) -> Self {
        Self { line, value: Value::Scalar(Scalar { text: text.into(), kind }) }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == Kind::Null)
    }

    pub(crate) fn map(&self, what: &str) -> Result<&BTreeMap<SmolStr, Self>, Fault> {
        match &self.value {
            Value::Map(map) => Ok(map),
            other => Err(self.fault(format!("{what} is {}, not a table", other.name()))),
        }
    }

    pub(crate) fn list(&self, what: &str) -> Result<&[Self], Fault> {
        match &self.value {
            Value::List(list) => Ok(list),
            other => Err(self.fault(format!("{what} is {}, not a list", other.name()))),
        }
    }

    pub(crate) fn text(&self, what: &str) -> Result<&str, Fault> {
        match &self.value {
            Value::Scalar(Scalar { text, kind: Kind::Text | Kind::Plain }) => Ok(text),
            other => Err(self.fault(format!("{what} is {}, not a text", other.name()))),
        }
    }

    /// A text, or the text of a number or truth value: what labels are made of.
    pub(crate) fn any_text(&self, what: &str) -> Result<&str, Fault> {
        match &self.value {
            Value::Scalar(Scalar { text, kind: Kind::Text | Kind::Plain | Kind::Literal }) => Ok(text),
            other => Err(self.fault(format!("{what} is {}, not a text", other.name()))),
        }
    }

    pub(crate) fn boolean(&self, what: &str) -> Result<bool, Fault> {
        match &self.value {
            Value::Scalar(Scalar { text, kind: Kind::Plain | Kind::Literal }) if text == "true" => Ok(true),
            Value::Scalar(Scalar { text, kind: Kind::Plain | Kind::Literal }) if text == "false" => Ok(false),
            other => Err(self.fault(format!("{what} is {}, not true or false", other.name()))),
        }
    }

    pub(crate) fn whole(&self, what: &str, max: u64) -> Result<u64, Fault> {
        let number = match &self.value {
            Value::Scalar(Scalar { text, kind: Kind::Plain | Kind::Literal }) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| *number <= max).ok_or_else(|| {
            self.fault(format!("{what} is {}, not a whole number from 0 to {max}", self.value.name()))
        })
    }

    pub(crate) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(self.line, what)
    }
}

impl Value {
    /// For people: the value if it is short, else its kind.
    fn name(&self) -> String {
        match self {
            Self::Scalar(Scalar { kind: Kind::Null, .. }) => "null".to_owned(),
            Self::Scalar(Scalar { text, kind: Kind::Text }) => {
                format!("{:?}", text.chars().take(64).collect::<String>())
            }
            Self::Scalar(Scalar { text, .. }) => text.chars().take(64).collect(),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a table".to_owned(),
        }
    }
}
