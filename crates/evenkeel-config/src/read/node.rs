use std::slice::Iter;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::key::Key;
use super::unexpected::{located, unexpected};
use crate::document::{Entry, Node, Value};
use crate::error::ConfigError;

/// A value of the tree.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'de>(pub(crate) &'de Node);

impl<'de> Reader<'de> {
    fn any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Int(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => Err(ConfigError::invalid_value(unexpected(self.0), &visitor)),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => {
                let mut left = Items { left: items.iter(), index: 0 };
                let read = visitor.visit_seq(&mut left)?;
                match left.left.next() {
                    None => Ok(read),
                    Some(extra) => {
                        let error = ConfigError::custom(format_args!(
                            "there are {} values here, {} were expected",
                            items.len(),
                            left.index
                        ));
                        Err(error.at(extra.at))
                    }
                }
            }
            Value::Map(entries) => visitor.visit_map(Entries { left: entries.iter(), value: None }),
        }
    }

    fn located<T>(self, read: Result<T, ConfigError>) -> Result<T, ConfigError> {
        read.map_err(|error| located(error, self.0))
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.located(self.any(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.located(match &self.0.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        self.located(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        self.located(match &self.0.value {
            Value::Text(name) => visitor.visit_enum(Key(name)),
            Value::Map(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(Variant(entry)),
                _ => Err(not_one(entries, variants)),
            },
            _ => Err(ConfigError::invalid_type(unexpected(self.0), &OneOf(variants))),
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct OneOf(&'static [&'static str]);

impl serde::de::Expected for OneOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "one of {}", self.0.join(", "))
    }
}

fn not_one(entries: &[Entry], variants: &'static [&'static str]) -> ConfigError {
    let given: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let unknown = entries.iter().find(|entry| !variants.contains(&entry.key.as_str()));
    match unknown {
        Some(entry) => ConfigError::unknown_field(&entry.key, variants).at(entry.at).under(&entry.key),
        None if given.is_empty() => ConfigError::custom(format_args!(
            "holds nothing: exactly one of {} is needed",
            variants.join(", ")
        )),
        None => ConfigError::custom(format_args!(
            "holds {}: exactly one of {} is allowed",
            given.join(" and "),
            variants.join(", ")
        )),
    }
}

struct Items<'de> {
    left: Iter<'de, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for &mut Items<'de> {
    type Error = ConfigError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ConfigError> {
        let Some(item) = self.left.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        // A type may refuse what was read well: then the value as a whole is wrong.
        seed.deserialize(Reader(item)).map(Some).map_err(|error| located(error, item).in_list(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

struct Entries<'de> {
    left: Iter<'de, Entry>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ConfigError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ConfigError> {
        let Some(entry) = self.left.next() else { return Ok(None) };
        self.value = Some(entry);
        let read = seed.deserialize(Key(&entry.key));
        read.map(Some).map_err(|error| error.at(entry.at).under(&entry.key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ConfigError> {
        let entry = self.value.take().ok_or_else(|| ConfigError::custom("a value without a key"))?;
        let read = seed.deserialize(Reader(&entry.node));
        read.map_err(|error| located(error, &entry.node).under(&entry.key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// A table with one key, which names the variant.
struct Variant<'de>(&'de Entry);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = ConfigError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ConfigError> {
        let entry = self.0;
        let read = seed.deserialize(Key(&entry.key));
        read.map(|value| (value, self)).map_err(|error| error.at(entry.at).under(&entry.key))
    }
}

impl Variant<'_> {
    fn within<T>(&self, read: Result<T, ConfigError>) -> Result<T, ConfigError> {
        read.map_err(|error| located(error, &self.0.node).under(&self.0.key))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = ConfigError;

    fn unit_variant(self) -> Result<(), ConfigError> {
        let error = ConfigError::custom(format_args!("{:?} has no settings: write it alone", self.0.key));
        Err(error.at(self.0.at).under(&self.0.key))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ConfigError> {
        self.within(seed.deserialize(Reader(&self.0.node)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ConfigError> {
        self.within(Reader(&self.0.node).deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        self.within(Reader(&self.0.node).deserialize_any(visitor))
    }
}
