//! YAML into a tree with lines. The parser is saphyr's, which gives events; no recursion here, and aliases count as
//! what they stand for, so that a few lines cannot become gigabytes.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use smol_str::SmolStr;

use crate::Fault;
use crate::node::{Kind, MAX_DEPTH, MAX_NODES, Node, Value};

pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let mut tree = Tree::default();
    let mut documents = 0;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| Fault::new(error.marker().line(), error.info()))?;
        let line = span.start.line().max(1);
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(Fault::new(line, "a second document starts here: one is allowed"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse(tag.is_some(), line)?;
                let kind = kind_of(&text, style);
                tree.put(Node::scalar(line, &text, kind), anchor, 1)?;
            }
            Event::SequenceStart(anchor, tag) => {
                refuse(tag.is_some(), line)?;
                tree.open(line, anchor, Building::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse(tag.is_some(), line)?;
                tree.open(line, anchor, Building::Map(BTreeMap::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => tree.close()?,
            Event::Alias(anchor) => {
                let Some((node, size, depth)) = tree.anchors.get(&anchor).cloned() else {
                    return Err(Fault::new(line, "an alias of what contains it"));
                };
                if tree.open.len() + depth > MAX_DEPTH {
                    return Err(deep(line));
                }
                tree.put(Node { line, ..node }, 0, size)?;
            }
            _ => {}
        }
    }
    tree.root.ok_or_else(|| Fault::new(1, "the file is empty"))
}

fn refuse(tagged: bool, line: usize) -> Result<(), Fault> {
    if tagged { Err(Fault::new(line, "tags are not allowed")) } else { Ok(()) }
}

fn kind_of(text: &str, style: ScalarStyle) -> Kind {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Kind::Null,
        (ScalarStyle::Plain, _) => Kind::Plain,
        _ => Kind::Text,
    }
}

fn deep(line: usize) -> Fault {
    Fault::new(line, format!("nested deeper than {MAX_DEPTH}"))
}

#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    /// What anchors stand for, how many values that is, and how deep.
    anchors: BTreeMap<usize, (Node, usize, usize)>,
    nodes: usize,
    root: Option<Node>,
}

struct Open {
    line: usize,
    anchor: usize,
    /// Values inside, and levels.
    size: usize,
    depth: usize,
    building: Building,
}

enum Building {
    List(Vec<Node>),
    Map(BTreeMap<SmolStr, Node>, Option<SmolStr>),
}

impl Tree {
    fn open(&mut self, line: usize, anchor: usize, building: Building) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(deep(line));
        }
        self.open.push(Open { line, anchor, size: 1, depth: 1, building });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open { line, anchor, size, depth, building }) = self.open.pop() else { return Ok(()) };
        let value = match building {
            Building::List(list) => Value::List(list),
            Building::Map(map, _) => Value::Map(map),
        };
        if let Some(outer) = self.open.last_mut() {
            outer.depth = outer.depth.max(depth + 1);
        }
        // What is inside has been counted when it was put there.
        self.place(Node { line, value }, anchor, 1, size, depth)
    }

    fn put(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Fault> {
        self.place(node, anchor, size, size, 0)
    }

    fn place(
        &mut self,
        node: Node,
        anchor: usize,
        new: usize,
        size: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        let line = node.line;
        self.nodes += new;
        if self.nodes > MAX_NODES {
            return Err(Fault::new(line, format!("more than {MAX_NODES} values")));
        }
        if anchor > 0 {
            self.nodes += size;
            self.anchors.insert(anchor, (node.clone(), size, depth));
        }
        let Some(outer) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        outer.size += size;
        match &mut outer.building {
            Building::List(list) => list.push(node),
            Building::Map(map, place) => match place.take() {
                None => {
                    let Value::Scalar(key) = node.value else {
                        return Err(Fault::new(line, "a key must be a text"));
                    };
                    if map.contains_key(&key.text) {
                        return Err(Fault::new(line, format!("key {:?} stands here twice", key.text)));
                    }
                    *place = Some(key.text);
                }
                Some(key) => _ = map.insert(key, node),
            },
        }
        Ok(())
    }
}
