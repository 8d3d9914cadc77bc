use std::fmt::Write as _;

use serde_json::Value;

use super::environment::{PREFIX, segment};
use super::shape::{Choice, Field, Presence, Shape};

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the doc comments of src/config/settings.rs: run the tests with UPDATE_DOCS=1 to write it again. -->

One TOML file, named with `--config`. Paths in it are relative to its directory. Unknown keys are refused.

Every value can also be set by an environment variable, which wins over the file: `SYMBOLON__`, then the key in upper case, its
parts joined by `__`, hyphens written as `_`. A number counts the tables of a list from 0 (`SYMBOLON__LISTENER__0__ADDRESS`), a name
stands for itself (`SYMBOLON__ANCHOR_SET__CLIENTS__FILES`). The next number, or a new name, adds a table. A list of strings is
separated by commas, or written as a TOML array. In the file a list of given words may be written as one of them. Unknown variables that begin with `SYMBOLON__` are refused.

`symbolon config print` shows what is in force, and where each value comes from.
";

/// The reference of all keys in Markdown.
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    if let Shape::Table(fields) = Shape::of_settings() {
        let own: Vec<&Field> = fields.iter().filter(|field| field.shape.is_inline()).collect();
        text.push_str("\n## Top level\n");
        rows(&mut text, &own, "");
        for field in fields.iter().filter(|field| !field.shape.is_inline()) {
            section(&mut text, field, &field.name, &segment(&field.name), Brackets::of(&field.shape));
        }
    }
    text
}

/// How TOML writes the heading of a table.
#[derive(Clone, Copy)]
enum Brackets {
    One,
    Two,
}

impl Brackets {
    fn of(shape: &Shape) -> Self {
        match shape {
            Shape::List(_) => Self::Two,
            _ => Self::One,
        }
    }
}

fn section(text: &mut String, field: &Field, path: &str, variable: &str, brackets: Brackets) {
    match &field.shape {
        Shape::Table(fields) => table(text, &field.doc, fields, path, variable, brackets),
        Shape::List(item) => {
            if let Shape::Table(fields) = item.as_ref() {
                table(text, &field.doc, fields, path, &format!("{variable}__N"), brackets);
            }
        }
        Shape::Map(inner) => {
            if let Shape::Table(fields) = &inner.shape {
                table(text, &field.doc, fields, &format!("{path}.NAME"), &format!("{variable}__NAME"), brackets);
            }
        }
        _ => {}
    }
}

fn table(text: &mut String, doc: &str, fields: &[Field], path: &str, variable: &str, brackets: Brackets) {
    let _ = match brackets {
        Brackets::One => writeln!(text, "\n## `[{path}]`\n\n{doc}"),
        Brackets::Two => writeln!(text, "\n## `[[{path}]]`\n\n{doc}"),
    };
    let own: Vec<&Field> = fields.iter().filter(|field| field.shape.is_inline()).collect();
    rows(text, &own, &format!("{variable}__"));
    for field in fields.iter().filter(|field| !field.shape.is_inline()) {
        let path = format!("{path}.{}", field.name);
        section(text, field, &path, &format!("{variable}__{}", segment(&field.name)), Brackets::of(&field.shape));
    }
}

fn rows(text: &mut String, fields: &[&Field], variable: &str) {
    if fields.is_empty() {
        return;
    }
    text.push_str("\n| Key | Meaning | Type | Default | Variable |\n|---|---|---|---|---|\n");
    for field in fields {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | `{PREFIX}{variable}{}` |",
            field.name,
            cell(&meaning(field)),
            cell(&kind(&field.shape)),
            cell(&default(&field.presence)),
            segment(&field.name),
        );
    }
}

fn meaning(field: &Field) -> String {
    let choices = match &field.shape {
        Shape::Choice(choices) => choices,
        Shape::List(item) => match item.as_ref() {
            Shape::Choice(choices) => choices,
            _ => return field.doc.clone(),
        },
        _ => return field.doc.clone(),
    };
    let choice = |choice: &Choice| match choice.doc.as_str() {
        "" => format!("`{}`", choice.word),
        doc => format!("`{}`: {doc}", choice.word),
    };
    format!("{}<br>{}", field.doc, choices.iter().map(choice).collect::<Vec<_>>().join("<br>"))
}

fn kind(shape: &Shape) -> String {
    match shape {
        Shape::Text => "string".into(),
        Shape::Choice(_) => "one of these".into(),
        Shape::Integer(_) => "integer".into(),
        Shape::Boolean => "boolean".into(),
        Shape::List(item) => match item.as_ref() {
            Shape::Choice(_) => "list of these".into(),
            _ => "list of strings".into(),
        },
        Shape::Table(_) | Shape::Map(_) => "table".into(),
    }
}

fn default(presence: &Presence) -> String {
    match presence {
        Presence::Required => "required".into(),
        Presence::Optional => "none".into(),
        Presence::Default(value @ Value::Array(items)) if !items.is_empty() => {
            format!("`{}`", value.to_string().replace("\",\"", "\", \""))
        }
        Presence::Default(value) => format!("`{value}`"),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
