//! JSON into a tree with lines. The parser is serde_json's; the lines are those that it has read so far.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io::{self, Read};

use serde_core::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use smol_str::{SmolStr, format_smolstr};

use crate::Fault;
use crate::node::{Kind, MAX_DEPTH, MAX_NODES, Node, Value};

pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let state = State { line: Cell::new(1), nodes: Cell::new(0) };
    let mut parser =
        serde_json::Deserializer::from_reader(Lines { left: text.as_bytes(), line: &state.line });
    Seed { state: &state, depth: 0 }
        .deserialize(&mut parser)
        .and_then(|node| parser.end().map(|()| node))
        .map_err(|error| Fault::new(error.line().max(1), plain(&error)))
}

/// The message without its own "at line … column …".
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.clone(), |at| text[..at].to_owned())
}

struct State {
    line: Cell<usize>,
    nodes: Cell<usize>,
}

/// Counts lines as the parser reads on; it reads byte by byte, at most one ahead.
struct Lines<'a> {
    left: &'a [u8],
    line: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.left.read(buffer)?;
        let breaks = buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        self.line.set(self.line.get() + breaks);
        Ok(read)
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    state: &'a State,
    depth: usize,
}

impl Seed<'_> {
    fn node(self, line: usize, value: Value) -> Node {
        Node { line, value }
    }

    fn scalar(self, text: &str, kind: Kind) -> Node {
        Node::scalar(self.state.line.get(), text, kind)
    }

    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let nodes = self.state.nodes.get() + 1;
        self.state.nodes.set(nodes);
        if nodes > MAX_NODES {
            return Err(de::Error::custom(format_args!("more than {MAX_NODES} values")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(self.scalar("null", Kind::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(self.scalar(if value { "true" } else { "false" }, Kind::Literal))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(self.scalar(&format_smolstr!("{value}"), Kind::Literal))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(self.scalar(&format_smolstr!("{value}"), Kind::Literal))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(self.scalar(&format_smolstr!("{value}"), Kind::Literal))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(self.scalar(text, Kind::Text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let (line, inner) = (self.state.line.get(), self.deeper()?);
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(self.node(line, Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let (line, inner) = (self.state.line.get(), self.deeper()?);
        let mut map = BTreeMap::new();
        while let Some(key) = items.next_key::<String>()? {
            let value = items.next_value_seed(inner)?;
            match map.entry(SmolStr::from(key)) {
                Entry::Vacant(place) => _ = place.insert(value),
                Entry::Occupied(twin) => {
                    return Err(de::Error::custom(format_args!("key {:?} stands here twice", twin.key())));
                }
            }
        }
        Ok(self.node(line, Value::Map(map)))
    }
}
