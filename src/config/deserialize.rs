//! The tree as a serde data format, so that what the types themselves refuse is told with its place too.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::error::Problem;
use super::tree::{Content, Node, Source};

/// What a type says against a value, and where.
#[derive(Debug)]
pub(super) struct Refusal {
    key: String,
    source: Option<Source>,
    text: String,
}

impl Refusal {
    /// Notes the place, innermost first.
    fn at(mut self, step: &str, node: &Node) -> Self {
        self.key = match self.key.as_str() {
            "" => step.to_owned(),
            inner if inner.starts_with('[') => format!("{step}{inner}"),
            inner => format!("{step}.{inner}"),
        };
        self.source.get_or_insert_with(|| node.source.clone());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.key, self.text)
    }
}

impl std::error::Error for Refusal {}

impl serde::de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { key: String::new(), source: None, text: message.to_string() }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        Problem::new(refusal.source.unwrap_or(Source::Default), text)
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.content {
            Content::Table(members) => visitor.visit_map(Members(members.iter(), None)),
            Content::List(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            Content::Text(text) => visitor.visit_borrowed_str(text),
            Content::Integer(value) => visitor.visit_i64(*value),
            Content::Boolean(value) => visitor.visit_bool(*value),
            Content::Unset => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.content {
            Content::Unset => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match &self.content {
            Content::Text(text) => {
                let word: StrDeserializer<'_, Refusal> = text.as_str().into_deserializer();
                word.deserialize_enum(name, variants, visitor)
            }
            _ => Err(Refusal::custom("must be a string")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Members<'de>(std::collections::btree_map::Iter<'de, String, Node>, Option<(&'de str, &'de Node)>);

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        // A member that nobody set is left away, so that the type's own default stands.
        let next = self.0.by_ref().find(|(_, node)| !matches!(node.content, Content::Unset));
        self.1 = next.map(|(name, node)| (name.as_str(), node));
        match self.1 {
            Some((name, _)) => {
                let name: StrDeserializer<'_, Refusal> = name.into_deserializer();
                seed.deserialize(name).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        let (name, node) = self.1.take().ok_or_else(|| Refusal::custom("a value without a key"))?;
        seed.deserialize(node).map_err(|refusal| refusal.at(name, node))
    }
}

struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Node>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        match self.0.next() {
            Some((index, node)) => seed.deserialize(node).map(Some).map_err(|refusal| refusal.at(&format!("[{index}]"), node)),
            None => Ok(None),
        }
    }
}
