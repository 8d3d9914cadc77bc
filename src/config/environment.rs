//! Environment variables that set values: `SYMBOLON__STORE__URL`, `SYMBOLON__LISTENER__0__ADDRESS`,
//! `SYMBOLON__ANCHOR_SET__CLIENTS__FILES`.

use super::error::{Problem, advice};
use super::load::chosen;
use super::shape::{Field, Shape};
use super::tree::{Content, Key, Node, Source};

/// How the variables begin. Everything after it must be a known key.
pub(super) const PREFIX: &str = "SYMBOLON__";

/// A key as it stands in a variable's name.
pub(super) fn segment(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// Sets in `tree` what the variables say.
pub(super) fn apply(
    environment: impl IntoIterator<Item = (String, String)>,
    shape: &Shape,
    tree: &mut Node,
    problems: &mut Vec<Problem>,
) {
    let mut variables: Vec<(String, String)> =
        environment.into_iter().filter(|(name, _)| name.to_uppercase().starts_with(PREFIX)).collect();
    // Items of a list may be added one after the other, so `__2__` has to come before `__10__`.
    variables.sort_by_cached_key(|(name, _)| {
        name.split("__").map(|step| (step.parse::<usize>().ok(), step.to_owned())).collect::<Vec<_>>()
    });
    for (name, value) in variables {
        let steps: Vec<&str> = name.split("__").skip(1).collect();
        // On a copy, so that a name that turns out wrong leaves nothing half made behind.
        let mut changed = tree.clone();
        let variable = Variable { name: &name, value: &value };
        let set = match name.strip_prefix(PREFIX) {
            Some(_) => variable.set(&steps, shape, &mut changed, &Key::default()),
            None => Err(format!("unknown variable; did you mean `{}`?", name.to_uppercase())),
        };
        match set {
            Ok(()) => *tree = changed,
            Err(text) => problems.push(Problem::new(Source::Variable(name), text)),
        }
    }
}

struct Variable<'a> {
    name: &'a str,
    value: &'a str,
}

impl Variable<'_> {
    fn set(&self, steps: &[&str], shape: &Shape, node: &mut Node, key: &Key) -> Result<(), String> {
        let Some((step, rest)) = steps.split_first() else {
            return self.set_here(shape, node, key);
        };
        match shape {
            Shape::Table(fields) => self.set_field(step, rest, fields, node, key),
            Shape::Map(field) => {
                let name = self.name_in_map(step, node)?;
                self.set_member(&name, rest, &field.shape, node, key)
            }
            Shape::List(item) => self.set_item(step, rest, item, node, key),
            Shape::Choice(_) | Shape::Text | Shape::Integer(_) | Shape::Boolean => {
                Err(format!("unknown variable; {} has nothing inside it", key.variable()))
            }
        }
    }

    fn set_field(&self, step: &str, rest: &[&str], fields: &[Field], node: &mut Node, key: &Key) -> Result<(), String> {
        match fields.iter().find(|field| segment(&field.name) == step) {
            Some(field) => self.set_member(&field.name, rest, &field.shape, node, key),
            None => {
                let valid: Vec<String> = fields.iter().map(|field| segment(&field.name)).collect();
                let known = if key.is_root() { PREFIX.to_owned() } else { format!("{}__", key.variable()) };
                let shown = |step: &str| format!("{known}{}", [&[step], rest].concat().join("__").to_uppercase());
                let advice = advice(step, valid.iter().map(String::as_str), shown, "valid ones");
                Err(format!("unknown variable; {advice}"))
            }
        }
    }

    fn set_member(&self, name: &str, rest: &[&str], shape: &Shape, node: &mut Node, key: &Key) -> Result<(), String> {
        let Content::Table(members) = &mut node.content else {
            // The file has something else here, and has been told so.
            return Ok(());
        };
        let member = members.entry(name.to_owned()).or_insert_with(|| Node::empty(shape, self.source()));
        self.set(rest, shape, member, &key.member(name))
    }

    /// Names in a map are the operator's own: one of the file's, whatever its case and its hyphens, or a new one in lower case.
    fn name_in_map(&self, step: &str, node: &Node) -> Result<String, String> {
        let Content::Table(members) = &node.content else {
            return Ok(step.to_lowercase());
        };
        let mut known = members.keys().filter(|name| segment(name) == step);
        match (known.next(), known.next()) {
            (Some(one), Some(other)) => Err(format!("could mean `{one}` or `{other}`: rename one of them")),
            (Some(one), None) => Ok(one.clone()),
            (None, _) if step.is_empty() => Err("unknown variable; a name is missing between `__` and `__`".into()),
            (None, _) => Ok(step.to_lowercase()),
        }
    }

    fn set_item(&self, step: &str, rest: &[&str], shape: &Shape, node: &mut Node, key: &Key) -> Result<(), String> {
        let Ok(index) = step.parse::<usize>() else {
            return Err(format!("unknown variable; {} is a list: a number from 0 comes next", key.variable()));
        };
        let Content::List(items) = &mut node.content else {
            return Ok(());
        };
        if index > items.len() {
            return Err(format!("`{key}` has {} so far: the next number is {}", items.len(), items.len()));
        }
        if index == items.len() {
            items.push(Node::empty(shape, self.source()));
        }
        match items.get_mut(index) {
            Some(item) => self.set(rest, shape, item, &key.item(index)),
            None => Ok(()),
        }
    }

    fn set_here(&self, shape: &Shape, node: &mut Node, key: &Key) -> Result<(), String> {
        if let (Source::Variable(other), false) = (&node.source, matches!(node.content, Content::Unset))
            && other != self.name
            && shape.is_inline()
        {
            return Err(format!("sets `{key}`, which {other} sets too"));
        }
        node.content = match shape {
            Shape::List(item) if item.is_inline() => Content::List(self.list(item, key)?),
            Shape::Table(_) | Shape::Map(_) | Shape::List(_) => {
                return Err(format!(
                    "`{key}` is {}: set the values inside it, as in {}",
                    shape.wanted(),
                    inside(shape, key).variable()
                ));
            }
            scalar => self.scalar(scalar, self.value).map_err(|wrong| format!("`{key}` {wrong}"))?,
        };
        node.source = self.source();
        Ok(())
    }

    fn scalar(&self, shape: &Shape, text: &str) -> Result<Content, String> {
        match shape {
            Shape::Choice(choices) => chosen(choices, text),
            Shape::Integer(maximum) => text
                .parse::<i64>()
                .ok()
                .filter(|value| (0..=*maximum).contains(value))
                .map(Content::Integer)
                .ok_or_else(|| format!("must be {}, not `{text}`", shape.wanted())),
            Shape::Boolean => text.parse().map(Content::Boolean).map_err(|_| format!("must be {}, not `{text}`", shape.wanted())),
            _ => Ok(Content::Text(text.to_owned())),
        }
    }

    /// `a, b` or `["a", "b"]`; nothing at all is the empty list.
    fn list(&self, item: &Shape, key: &Key) -> Result<Vec<Node>, String> {
        let text = self.value.trim();
        let words: Vec<String> = if text.is_empty() {
            Vec::new()
        } else if text.starts_with('[') {
            let parsed = text.parse::<toml::Value>().ok().and_then(|value| value.try_into::<Vec<String>>().ok());
            parsed.ok_or_else(|| format!("`{key}` begins like a TOML array of strings, and is none"))?
        } else {
            text.split(',').map(|word| word.trim().to_owned()).collect()
        };
        let node = |(index, word): (usize, &String)| {
            let content = self.scalar(item, word).map_err(|wrong| format!("`{}` {wrong}", key.item(index)))?;
            Ok(Node { source: self.source(), content })
        };
        words.iter().enumerate().map(node).collect()
    }

    fn source(&self) -> Source {
        Source::Variable(self.name.to_owned())
    }
}

/// The first value inside a table, as an example.
fn inside(shape: &Shape, key: &Key) -> Key {
    match shape {
        Shape::Table(fields) => match fields.first() {
            Some(field) => inside(&field.shape, &key.member(&field.name)),
            None => key.clone(),
        },
        Shape::Map(field) => inside(&field.shape, &key.member(&field.name)),
        Shape::List(item) if !item.is_inline() => inside(item, &key.item(0)),
        _ => key.clone(),
    }
}
