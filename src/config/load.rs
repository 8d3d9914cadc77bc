use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment;
use super::error::{ConfigError, Problem, advice};
use super::settings::Settings;
use super::shape::{Choice, Field, Shape};
use super::tree::{Content, Key, Node, Source};

/// A configuration that has the right shape. What it says is still to be checked, by the rooms it speaks of.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file and the variables say, defaults filled in.
    pub settings: Settings,
    /// The file.
    pub file: PathBuf,
    /// The directory of the file: relative paths in the settings start here.
    pub base_dir: PathBuf,
    pub(super) tree: Node,
}

/// Reads the file at `path` and lets the variables of `environment` that begin with `SYMBOLON__` override it.
///
/// # Errors
/// When the file cannot be read; when it is not TOML; when a key or variable is unknown, missing, set twice or of the wrong type.
/// As many problems as can be told apart are reported together.
pub fn load(path: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let bytes = std::fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let mut problems = Vec::new();
    let shape = Shape::of_settings();
    let mut tree = match String::from_utf8(bytes) {
        Ok(text) => read(&text, shape, &mut problems),
        Err(error) => {
            let line = 1 + error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|byte| **byte == b'\n').count();
            problems.push(Problem::new(Source::Line(line), "not UTF-8, as TOML has to be"));
            None
        }
    };
    if let Some(tree) = &mut tree {
        environment::apply(environment, shape, tree, &mut problems);
        tree.complete(shape, &Key::default(), &mut problems);
    }
    match tree {
        Some(tree) if problems.is_empty() => {
            let settings = Settings::deserialize(&tree).map_err(|error| ConfigError::problems(path, vec![error.into()]))?;
            let base_dir = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            };
            Ok(Loaded { settings, file: path.to_owned(), base_dir, tree })
        }
        _ => Err(ConfigError::problems(path, problems)),
    }
}

impl Loaded {
    /// `path` as the file means it: from its own directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base_dir.join(path)
    }

    /// Where the value at `steps` (`["listener", "0", "address"]`) was set, for messages about what it says: `FILE:LINE` or a
    /// variable's name; of what nobody set, where its table begins.
    pub fn place(&self, steps: &[&str]) -> String {
        match self.tree.source_at(steps) {
            // The file as a whole.
            Some(Source::Line(1)) | None => self.file.display().to_string(),
            Some(source) => source.shown(&self.file),
        }
    }
}

/// Reads TOML against `shape`; `None` when it is not TOML, since everything after would be a guess.
fn read(text: &str, shape: &Shape, problems: &mut Vec<Problem>) -> Option<Node> {
    let reader = Reader { text };
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        problems.extend(errors.iter().map(|error| {
            let line = error.span().map_or(1, |span| reader.line(span.start));
            Problem::new(Source::Line(line), format!("not TOML: {}", error.message().replace('\n', "; ")))
        }));
        return None;
    }
    let content = match shape {
        Shape::Table(fields) => Content::Table(reader.table(root.get_ref(), fields, &Key::default(), problems)),
        _ => Content::Unset,
    };
    Some(Node { source: Source::Line(1), content })
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    fn table(&self, table: &DeTable<'_>, fields: &[Field], key: &Key, problems: &mut Vec<Problem>) -> BTreeMap<String, Node> {
        let mut members = BTreeMap::new();
        for (name, value) in table.iter() {
            let text: &str = name.get_ref();
            match fields.iter().find(|field| field.name == text) {
                Some(field) => {
                    let node = self.value(name, value, &field.shape, &key.member(text), problems);
                    members.insert(text.to_owned(), node);
                }
                None => {
                    let place = if key.is_root() { String::new() } else { format!(" in `{key}`") };
                    let advice = advice(text, fields.iter().map(|field| field.name.as_str()), str::to_owned, "valid keys");
                    let source = Source::Line(self.line(name.span().start));
                    problems.push(Problem::new(source, format!("unknown key `{text}`{place}; {advice}")));
                }
            }
        }
        members
    }

    /// Reads a value. `name` gives the line: a table's own span may cover its sub-tables.
    fn value<T>(
        &self,
        name: &Spanned<T>,
        value: &Spanned<DeValue<'_>>,
        shape: &Shape,
        key: &Key,
        problems: &mut Vec<Problem>,
    ) -> Node {
        let line = if value.get_ref().is_table() { self.line(name.span().start) } else { self.line(value.span().start) };
        let source = Source::Line(line);
        let content = match (shape, value.get_ref()) {
            (Shape::Table(fields), DeValue::Table(table)) => Content::Table(self.table(table, fields, key, problems)),
            (Shape::Map(field), DeValue::Table(table)) => Content::Table(
                table
                    .iter()
                    .map(|(name, value)| {
                        let text: &str = name.get_ref();
                        (text.to_owned(), self.value(name, value, &field.shape, &key.member(text), problems))
                    })
                    .collect(),
            ),
            (Shape::List(item), DeValue::Array(items)) => Content::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, value)| self.value(value, value, item, &key.item(index), problems))
                    .collect(),
            ),
            // One word, where a list of them may stand.
            (Shape::List(item), DeValue::String(_)) if matches!(item.as_ref(), Shape::Choice(_) | Shape::Text) => {
                Content::List(vec![self.value(value, value, item, key, problems)])
            }
            (shape, value) => scalar(shape, value).unwrap_or_else(|wrong| {
                problems.push(Problem::new(source.clone(), format!("`{key}` {wrong}")));
                Content::Unset
            }),
        };
        Node { source, content }
    }
}

/// The value as `shape` wants it, or the words that follow its key in the problem.
fn scalar(shape: &Shape, value: &DeValue<'_>) -> Result<Content, String> {
    match (shape, value) {
        (Shape::Text, DeValue::String(text)) => Ok(Content::Text(text.to_string())),
        (Shape::Choice(choices), DeValue::String(text)) => chosen(choices, text),
        (Shape::Boolean, DeValue::Boolean(value)) => Ok(Content::Boolean(*value)),
        (Shape::Integer(maximum), DeValue::Integer(integer)) => {
            let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
            value.filter(|value| (0..=*maximum).contains(value)).map(Content::Integer).ok_or_else(|| {
                let prefix = match integer.radix() {
                    2 => "0b",
                    8 => "0o",
                    16 => "0x",
                    _ => "",
                };
                format!("must be {}, not {prefix}{}", shape.wanted(), integer.as_str())
            })
        }
        (shape, value) => Err(format!("must be {}, not {}", shape.wanted(), found(value))),
    }
}

/// A word out of `choices`, or the words that follow its key in the problem.
pub(super) fn chosen(choices: &[Choice], word: &str) -> Result<Content, String> {
    match choices.iter().any(|choice| choice.word == word) {
        true => Ok(Content::Text(word.to_owned())),
        false => {
            let words = choices.iter().map(|choice| choice.word.as_str());
            Err(format!("cannot be `{word}`; {}", advice(word, words, str::to_owned, "valid values")))
        }
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
