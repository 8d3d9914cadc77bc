//! Values with their sources, between the file and the types.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::error::Problem;
use super::shape::{Field, Presence, Shape};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line of the file, counted from 1.
    Line(usize),
    /// The environment variable of this name.
    Variable(String),
    /// Nobody set it.
    Default,
}

/// A value or a group of values.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) source: Source,
    pub(super) content: Content,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// Nothing: an optional value that nobody set, or a wrong one whose problem has been noted.
    Unset,
}

impl Node {
    /// Something of this shape with nothing in it yet.
    pub(super) fn empty(shape: &Shape, source: Source) -> Self {
        let content = match shape {
            Shape::Table(_) | Shape::Map(_) => Content::Table(BTreeMap::new()),
            Shape::List(_) => Content::List(Vec::new()),
            _ => Content::Unset,
        };
        Self { source, content }
    }

    /// The source of what is at the end of `steps`, or of the innermost thing on the way that somebody set.
    pub(super) fn source_at(&self, steps: &[&str]) -> Option<&Source> {
        let inner = steps.split_first().and_then(|(step, rest)| match &self.content {
            Content::Table(members) => members.get(*step)?.source_at(rest),
            Content::List(items) => items.get(step.parse::<usize>().ok()?)?.source_at(rest),
            _ => None,
        });
        inner.or(if self.source == Source::Default { None } else { Some(&self.source) })
    }

    fn from_default(value: &Value) -> Self {
        let content = match value {
            Value::Object(members) => {
                Content::Table(members.iter().map(|(name, value)| (name.clone(), Self::from_default(value))).collect())
            }
            Value::Array(items) => Content::List(items.iter().map(Self::from_default).collect()),
            Value::String(text) => Content::Text(text.clone()),
            Value::Bool(value) => Content::Boolean(*value),
            Value::Number(number) => number.as_i64().map_or(Content::Unset, Content::Integer),
            Value::Null => Content::Unset,
        };
        Self { source: Source::Default, content }
    }

    /// Fills in what nobody set, and notes required keys that are missing.
    pub(super) fn complete(&mut self, shape: &Shape, key: &Key, problems: &mut Vec<Problem>) {
        match (shape, &mut self.content) {
            (Shape::Table(fields), Content::Table(members)) => {
                for field in fields {
                    complete_field(field, members, &self.source, key, problems);
                }
            }
            (Shape::Map(field), Content::Table(members)) => {
                for (name, member) in members {
                    member.complete(&field.shape, &key.member(name), problems);
                }
            }
            (Shape::List(item), Content::List(items)) => {
                for (index, node) in items.iter_mut().enumerate() {
                    node.complete(item, &key.item(index), problems);
                }
            }
            _ => {}
        }
    }
}

fn complete_field(field: &Field, members: &mut BTreeMap<String, Node>, table: &Source, key: &Key, problems: &mut Vec<Problem>) {
    let here = key.member(&field.name);
    let member = match (&field.presence, members.contains_key(&field.name)) {
        (Presence::Required, false) => {
            let owner = if key.is_root() { "the file".into() } else { format!("`{key}`") };
            let variable = if field.shape.is_inline() { format!(", or the variable {}", here.variable()) } else { String::new() };
            let text = format!("{owner} needs `{}`{variable}", field.name);
            problems.push(Problem::new(table.clone(), text));
            Node { source: Source::Default, content: Content::Unset }
        }
        (Presence::Default(value), false) => Node::from_default(value),
        (Presence::Optional, false) => Node { source: Source::Default, content: Content::Unset },
        (_, true) => return complete_present(field, members, &here, problems),
    };
    members.insert(field.name.clone(), member);
    complete_present(field, members, &here, problems);
}

fn complete_present(field: &Field, members: &mut BTreeMap<String, Node>, key: &Key, problems: &mut Vec<Problem>) {
    if let Some(member) = members.get_mut(&field.name) {
        member.complete(&field.shape, key, problems);
    }
}

/// The way from the root to a value: `listener[0].host[1].names`.
#[derive(Clone, Debug, Default)]
pub(super) struct Key(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Member(String),
    Item(usize),
}

impl Key {
    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn member(&self, name: &str) -> Self {
        self.with(Step::Member(name.to_owned()))
    }

    pub(super) fn item(&self, index: usize) -> Self {
        self.with(Step::Item(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The environment variable that sets this value: `SYMBOLON__LISTENER__0__HOST__1__NAMES`.
    pub(super) fn variable(&self) -> String {
        let mut name = String::from(super::environment::PREFIX);
        for (position, step) in self.0.iter().enumerate() {
            if position > 0 {
                name.push_str("__");
            }
            match step {
                Step::Member(member) => name.push_str(&super::environment::segment(member)),
                Step::Item(index) => name.push_str(&index.to_string()),
            }
        }
        name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Member(name) if position == 0 => f.write_str(name)?,
                Step::Member(name) => write!(f, ".{name}")?,
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Source {
    /// The source as messages show it: `FILE:LINE`, the variable's name, or `default`.
    pub(super) fn shown(&self, file: &Path) -> String {
        match self {
            Self::Line(line) => format!("{}:{line}", file.display()),
            Self::Variable(name) => name.clone(),
            Self::Default => "default".into(),
        }
    }
}
