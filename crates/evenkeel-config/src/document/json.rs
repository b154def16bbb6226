//! JSON into the tree: RFC 8259 and nothing else. Written here, since the places of values are needed; texts and numbers
//! are read by `serde_json`.

use std::collections::BTreeMap;

use super::bounds::Budget;
use super::lines::Lines;
use super::node::{Entry, Node, Place, Value};
use crate::error::{ConfigError, Problem};

pub(crate) fn parse(text: &str, file: u16, budget: &mut Budget) -> Result<Node, ConfigError> {
    let mut parser = Parser { text, at: 0, lines: Lines::of(text, file), budget };
    let node = parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.wrong("the file goes on after its value"));
    }
    Ok(node)
}

struct Parser<'t, 'b> {
    text: &'t str,
    at: usize,
    lines: Lines<'t>,
    budget: &'b mut Budget,
}

impl<'t> Parser<'t, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn place(&self) -> Place {
        self.lines.place(self.at)
    }

    fn wrong(&self, what: &str) -> ConfigError {
        ConfigError::new(Problem::Syntax(what.to_owned())).at(self.place())
    }

    fn value(&mut self, depth: usize) -> Result<Node, ConfigError> {
        self.space();
        let at = self.place();
        let counted = self.budget.deep(depth).and_then(|()| self.budget.take(1));
        counted.map_err(|problem| ConfigError::new(problem).at(at))?;
        let value = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.text()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => self.word()?,
            None => return Err(self.wrong("the file ends where a value should be")),
        };
        Ok(Node { at, value })
    }

    fn map(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let (mut entries, mut known) = (Vec::new(), BTreeMap::new());
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(entries));
        }
        loop {
            self.space();
            let at = self.place();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key in double quotes should be here"));
            }
            let key = self.text()?;
            if let Some(first) = known.insert(key.clone(), at) {
                return Err(ConfigError::new(Problem::TwiceKey { key, first: first.line }).at(at));
            }
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.wrong("a colon should be here"));
            }
            self.at += 1;
            let node = self.value(depth + 1)?;
            entries.push(Entry { key, at, node });
            if self.ends(b'}')? {
                return Ok(Value::Map(entries));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.ends(b']')? {
                return Ok(Value::List(items));
            }
        }
    }

    /// Whether a list or table ends here, or goes on with a comma.
    fn ends(&mut self, end: u8) -> Result<bool, ConfigError> {
        self.space();
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(true)
            }
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.wrong(if end == b']' {
                "a comma or ] should be here"
            } else {
                "a comma or } should be here"
            })),
        }
    }

    fn text(&mut self) -> Result<String, ConfigError> {
        let start = self.at;
        let mut end = start + 1;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
                None => return Err(self.wrong("a text begins here and does not end")),
            }
        }
        let read = self.text.get(start..=end).and_then(|token| serde_json::from_str(token).ok());
        let text = read.ok_or_else(|| self.wrong("the text holds a bad escape or a control character"))?;
        self.at = end + 1;
        Ok(text)
    }

    fn token(&self) -> &'t str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
        &rest[..end.unwrap_or(rest.len())]
    }

    fn number(&mut self) -> Result<Value, ConfigError> {
        let token = self.token();
        let value = if token.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            // serde_json refuses what JSON does, such as leading zeros.
            let well = serde_json::from_str::<f64>(token).is_ok();
            token.parse().ok().filter(|_| well).map(Value::Int)
        } else {
            serde_json::from_str::<f64>(token).ok().map(Value::Float)
        };
        let value = value.ok_or_else(|| {
            ConfigError::new(Problem::Number(token.chars().take(40).collect())).at(self.place())
        })?;
        self.at += token.len();
        Ok(value)
    }

    fn word(&mut self) -> Result<Value, ConfigError> {
        let token = self.token();
        let value = match token {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(self.wrong("a value should be here: texts stand in double quotes")),
        };
        self.at += token.len();
        Ok(value)
    }
}
