//! YAML and JSON, which is YAML too, into a tree with places. The parser is saphyr's; an alias counts as what it stands for,
//! so that a few lines cannot become gigabytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::node::{Node, Value};
use crate::error::{ConvertError, Problem};
use crate::files::{Files, Text};
use crate::place::Place;

pub(crate) fn parse(files: &Files, text: &Text) -> Result<Node, ConvertError> {
    let file: Arc<str> = text.name.as_str().into();
    // In JSON tabs are white space, and never part of a text.
    let is_json = text.text.trim_start().starts_with('{');
    let content = if is_json { text.text.replace('\t', " ") } else { text.text.clone() };
    let mut tree =
        Tree { open: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None, most: files.limits.words };
    let mut documents = 0;
    let mut parser = Parser::new_from_str(&content);
    while let Some(event) = parser.next_event() {
        let place = |line: usize, column: usize| Place {
            file: Arc::clone(&file),
            line: line.max(1) as u32,
            column: column as u32 + 1,
        };
        let (event, span) = event.map_err(|error| {
            let at = place(error.marker().line(), error.marker().col());
            ConvertError::new(&at, Problem::Syntax(error.info().to_owned()))
        })?;
        let at = place(span.start.line(), span.start.col());
        if tree.open.len() as u32 >= files.limits.nesting {
            let limit = files.limits.nesting.into();
            return Err(ConvertError::new(&at, Problem::TooMany { what: "nested values", limit }));
        }
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(ConvertError::unexpected(&at, "a second document", "one is read"));
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar(text.into_owned(), style == ScalarStyle::Plain);
                tree.place(Node { place: at, value }, anchor, 1, 1)?;
            }
            Event::SequenceStart(anchor, _) => {
                tree.open.push(Open::new(at, anchor, Building::List(Vec::new())));
            }
            Event::MappingStart(anchor, _) => {
                tree.open.push(Open::new(at, anchor, Building::Map(Vec::new(), None)));
            }
            Event::SequenceEnd | Event::MappingEnd => tree.close()?,
            Event::Alias(anchor) => {
                let Some((node, size, depth)) = tree.anchors.get(&anchor).cloned() else {
                    return Err(ConvertError::unexpected(&at, "an alias", "it stands for what contains it"));
                };
                if (tree.open.len() + depth) as u32 >= files.limits.nesting {
                    let limit = files.limits.nesting.into();
                    return Err(ConvertError::new(&at, Problem::TooMany { what: "nested values", limit }));
                }
                tree.place(node, 0, size, depth)?;
            }
            _ => {}
        }
    }
    if let Some(open) = tree.open.last() {
        let problem = Problem::Ends { open: "a list or table".to_owned(), needs: "its end" };
        return Err(ConvertError::new(&open.place, problem));
    }
    tree.root.ok_or_else(|| {
        let problem = Problem::Ends { open: "the configuration".to_owned(), needs: "something in it" };
        ConvertError::new(&Place::start(&text.name), problem)
    })
}

struct Tree {
    open: Vec<Open>,
    /// What anchors stand for, how many values that is, and how deep.
    anchors: BTreeMap<usize, (Node, u64, usize)>,
    nodes: u64,
    root: Option<Node>,
    most: u64,
}

struct Open {
    place: Place,
    anchor: usize,
    size: u64,
    depth: usize,
    building: Building,
}

enum Building {
    List(Vec<Node>),
    Map(Vec<(String, Node)>, Option<String>),
}

impl Open {
    const fn new(place: Place, anchor: usize, building: Building) -> Self {
        Self { place, anchor, size: 1, depth: 1, building }
    }
}

impl Tree {
    fn close(&mut self) -> Result<(), ConvertError> {
        let Some(Open { place, anchor, size, depth, building }) = self.open.pop() else { return Ok(()) };
        let value = match building {
            Building::List(list) => Value::List(list),
            Building::Map(map, _) => {
                let mut keys: Vec<&String> = map.iter().map(|(key, _)| key).collect();
                keys.sort_unstable();
                if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
                    return Err(ConvertError::unexpected(
                        &place,
                        pair[0].clone(),
                        "this key stands in the table twice",
                    ));
                }
                Value::Map(map)
            }
        };
        // What is inside was counted when it was put there.
        self.nodes = self.nodes.saturating_sub(size - 1);
        self.place(Node { place, value }, anchor, size, depth)
    }

    fn place(&mut self, node: Node, anchor: usize, size: u64, depth: usize) -> Result<(), ConvertError> {
        self.nodes = self.nodes.saturating_add(size);
        if self.nodes > self.most {
            return Err(ConvertError::new(
                &node.place,
                Problem::TooMany { what: "values", limit: self.most },
            ));
        }
        if anchor > 0 {
            self.nodes = self.nodes.saturating_add(size);
            self.anchors.insert(anchor, (node.clone(), size, depth));
        }
        let Some(outer) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        outer.size = outer.size.saturating_add(size);
        outer.depth = outer.depth.max(depth + 1);
        match &mut outer.building {
            Building::List(list) => list.push(node),
            Building::Map(map, key) => match key.take() {
                Some(key) => map.push((key, node)),
                None => match node.value {
                    Value::Scalar(text, _) => *key = Some(text),
                    _ => return Err(ConvertError::unexpected(&node.place, node.shown(), "a key is a text")),
                },
            },
        }
        Ok(())
    }
}
