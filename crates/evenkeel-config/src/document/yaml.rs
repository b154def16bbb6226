//! YAML into the tree, by the core schema of YAML 1.2 (`no` is a text). The parser is saphyr's, which gives events; nothing
//! here recurses, and an alias counts as what it stands for, so that a few lines cannot become gigabytes.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::bounds::Budget;
use super::lines::bounded;
use super::node::{Entry, Node, Place, Value};
use crate::error::{ConfigError, Problem};

pub(crate) fn parse(text: &str, file: u16, budget: &mut Budget) -> Result<Node, ConfigError> {
    let mut tree = Tree::new(budget);
    let mut documents = 0;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let problem = Problem::Syntax(error.info().to_owned());
            ConfigError::new(problem).at(place(file, error.marker()))
        })?;
        let at = place(file, &span.start);
        let wrong = |what: &str| Err(ConfigError::new(Problem::Syntax(what.to_owned())).at(at));
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return wrong("a second document starts here: one is allowed");
                }
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => return wrong("tags are not allowed"),
            Event::Scalar(text, style, anchor, None) => tree.scalar(at, &text, style, anchor)?,
            Event::SequenceStart(anchor, None) => tree.open(at, anchor, Building::List(Vec::new()))?,
            Event::MappingStart(anchor, None) => {
                tree.open(at, anchor, Building::Map(Vec::new(), BTreeMap::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => tree.close()?,
            Event::Alias(anchor) => {
                let Some((node, size, depth)) = tree.anchors.get(&anchor).cloned() else {
                    return wrong("an alias of what contains it");
                };
                tree.budget
                    .deep(tree.open.len() + depth)
                    .map_err(|problem| ConfigError::new(problem).at(at))?;
                tree.place(Node { at, ..node }, 0, size, size, depth)?;
            }
            _ => {}
        }
    }
    Ok(tree.root.unwrap_or(Node { at: Place { file, line: 1, column: 1 }, value: Value::Map(Vec::new()) }))
}

fn place(file: u16, marker: &Marker) -> Place {
    Place { file, line: bounded(marker.line().max(1)), column: bounded(marker.col() + 1) }
}

struct Tree<'b> {
    budget: &'b mut Budget,
    open: Vec<Open>,
    /// What anchors stand for, how many values that is, and how deep.
    anchors: BTreeMap<usize, (Node, usize, usize)>,
    root: Option<Node>,
}

struct Open {
    at: Place,
    anchor: usize,
    /// Values inside, and levels.
    size: usize,
    depth: usize,
    building: Building,
}

enum Building {
    List(Vec<Node>),
    Map(Vec<Entry>, BTreeMap<String, u32>, Option<(String, Place)>),
}

impl<'b> Tree<'b> {
    const fn new(budget: &'b mut Budget) -> Self {
        Self { budget, open: Vec::new(), anchors: BTreeMap::new(), root: None }
    }

    fn scalar(
        &mut self,
        at: Place,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
    ) -> Result<(), ConfigError> {
        let is_key = matches!(self.open.last(), Some(Open { building: Building::Map(_, _, None), .. }));
        let value =
            if style == ScalarStyle::Plain && !is_key { resolve(text) } else { Value::Text(text.to_owned()) };
        self.place(Node { at, value }, anchor, 1, 1, 0)
    }

    fn open(&mut self, at: Place, anchor: usize, building: Building) -> Result<(), ConfigError> {
        self.budget.deep(self.open.len() + 1).map_err(|problem| ConfigError::new(problem).at(at))?;
        self.open.push(Open { at, anchor, size: 1, depth: 1, building });
        Ok(())
    }

    fn close(&mut self) -> Result<(), ConfigError> {
        let Some(Open { at, anchor, size, depth, building }) = self.open.pop() else { return Ok(()) };
        let value = match building {
            Building::List(list) => Value::List(list),
            Building::Map(map, ..) => Value::Map(map),
        };
        if let Some(outer) = self.open.last_mut() {
            outer.depth = outer.depth.max(depth + 1);
        }
        // What is inside has been counted when it was put there.
        self.place(Node { at, value }, anchor, 1, size, depth)
    }

    fn place(
        &mut self,
        node: Node,
        anchor: usize,
        new: usize,
        size: usize,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let at = node.at;
        let more = if anchor > 0 { new.saturating_add(size) } else { new };
        self.budget.take(more).map_err(|problem| ConfigError::new(problem).at(at))?;
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size, depth));
        }
        let Some(outer) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        outer.size = outer.size.saturating_add(size);
        match &mut outer.building {
            Building::List(list) => list.push(node),
            Building::Map(entries, known, key) => match key.take() {
                None => {
                    let Value::Text(text) = node.value else {
                        let problem = Problem::Syntax("a key must be a text".to_owned());
                        return Err(ConfigError::new(problem).at(at));
                    };
                    if let Some(first) = known.insert(text.clone(), at.line) {
                        return Err(ConfigError::new(Problem::TwiceKey { key: text, first }).at(at));
                    }
                    *key = Some((text, at));
                }
                Some((key, place)) => entries.push(Entry { key, at: place, node }),
            },
        }
        Ok(())
    }
}

/// What a scalar without quotes is, by section 10.3.2 of YAML 1.2.2.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix = |prefix, radix| {
        digits.strip_prefix(prefix).and_then(|digits| i128::from_str_radix(digits, radix).ok())
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Value::Int(number);
    }
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Int);
    }
    let is_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && digits.bytes().any(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_float => Value::Float(number),
        _ => Value::Text(text.to_owned()),
    }
}
