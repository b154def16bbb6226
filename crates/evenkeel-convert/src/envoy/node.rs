use crate::error::ConvertError;
use crate::place::Place;

/// A value of a YAML or JSON file, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// The text, and whether it stood without quotes: then it can be a number or a truth value.
    Scalar(String, bool),
    List(Vec<Node>),
    /// Keys in their order, each once.
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn list(&self, field: &str) -> Result<&[Self], ConvertError> {
        match &self.value {
            Value::List(list) => Ok(list),
            Value::Scalar(text, true) if text.is_empty() || text == "null" || text == "~" => Ok(&[]),
            _ => Err(self.wrong(field, "a list is needed")),
        }
    }

    pub(crate) fn text(&self, field: &str) -> Result<&str, ConvertError> {
        match &self.value {
            Value::Scalar(text, _) => Ok(text),
            _ => Err(self.wrong(field, "a text is needed")),
        }
    }

    /// Also in quotes, as protobuf's JSON has large numbers.
    pub(crate) fn number(&self, field: &str, most: u64) -> Result<u64, ConvertError> {
        let found = match &self.value {
            Value::Scalar(text, _) => text.parse::<u64>().ok().or_else(|| {
                let float = text.parse::<f64>().ok()?;
                ((0.0..=9e15).contains(&float) && float.trunc() == float).then_some(float as u64)
            }),
            _ => None,
        };
        found
            .filter(|&found| found <= most)
            .ok_or_else(|| self.wrong(field, format!("a whole number from 0 to {most} is needed")))
    }

    pub(crate) fn decimal(&self, field: &str) -> Result<f64, ConvertError> {
        let found = match &self.value {
            Value::Scalar(text, _) => text.parse::<f64>().ok(),
            _ => None,
        };
        found.filter(|found| found.is_finite()).ok_or_else(|| self.wrong(field, "a number is needed"))
    }

    pub(crate) fn boolean(&self, field: &str) -> Result<bool, ConvertError> {
        match &self.value {
            Value::Scalar(text, true) if text == "true" => Ok(true),
            Value::Scalar(text, true) if text == "false" => Ok(false),
            _ => Err(self.wrong(field, "true or false is needed")),
        }
    }

    /// `1.5s`
    pub(crate) fn time(&self, field: &str) -> Result<std::time::Duration, ConvertError> {
        let found = match &self.value {
            Value::Scalar(text, _) => text.strip_suffix('s').and_then(seconds),
            _ => None,
        };
        found.ok_or_else(|| self.wrong(field, "a time such as 1.5s is needed"))
    }

    pub(crate) fn wrong(&self, field: &str, allowed: impl Into<String>) -> ConvertError {
        ConvertError::value(&self.place, field, self.shown(), allowed)
    }

    /// The value if it is short, else its kind.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Scalar(text, _) => crate::error::shortened(text),
            Value::List(list) => format!("a list of {}", list.len()),
            Value::Map(map) => format!("a table of {}", map.len()),
        }
    }
}

/// Decimal seconds with at most nine digits behind the point, without rounding.
fn seconds(text: &str) -> Option<std::time::Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 9 || !digits(whole) || !digits(part) {
        return None;
    }
    // Protobuf's own limit.
    let whole = whole.parse::<u64>().ok().filter(|&whole| whole <= 315_576_000_000)?;
    Some(std::time::Duration::new(whole, format!("{part:0<9}").parse().ok()?))
}
