//! What may be written where, taken from the schema that the types of `settings` derive.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::settings::Settings;

/// What may stand at one place.
#[derive(Debug)]
pub(super) enum Shape {
    /// Named fields.
    Table(Vec<Field>),
    /// Names of the operator's choice, each with the same shape behind it.
    Map(Box<Field>),
    /// Any number of the same shape.
    List(Box<Shape>),
    /// One of these words.
    Choice(Vec<Choice>),
    /// Any text.
    Text,
    /// An integer from zero to this.
    Integer(i64),
    /// `true` or `false`.
    Boolean,
}

/// One key of a table.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) presence: Presence,
    pub(super) shape: Shape,
}

/// What it means to leave a key away.
#[derive(Debug)]
pub(super) enum Presence {
    /// It is an error.
    Required,
    /// Nothing is set.
    Optional,
    /// This value is set.
    Default(Value),
}

/// One word of a choice.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) word: String,
    pub(super) doc: String,
}

impl Shape {
    /// The shape of the whole file.
    ///
    /// A schema that this room cannot read yields a shape without keys, so that every file is refused; a test keeps it from
    /// happening.
    pub(super) fn of_settings() -> &'static Self {
        static SHAPE: OnceLock<Shape> = OnceLock::new();
        SHAPE.get_or_init(|| {
            let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
            let schema = settings.into_generator().into_root_schema_for::<Settings>();
            shape(schema.as_value()).unwrap_or(Self::Table(Vec::new()))
        })
    }

    /// Whether values of this shape are written in one line: anything but a table, or something with tables in it.
    pub(super) fn is_inline(&self) -> bool {
        match self {
            Self::Table(_) | Self::Map(_) => false,
            Self::List(item) => item.is_inline(),
            Self::Choice(_) | Self::Text | Self::Integer(_) | Self::Boolean => true,
        }
    }

    /// What is wanted here, as error messages and the reference say it.
    pub(super) fn wanted(&self) -> String {
        match self {
            Self::Table(_) | Self::Map(_) => "a table".into(),
            Self::List(item) => match item.as_ref() {
                Self::Table(_) => "a list of tables".into(),
                Self::Choice(choices) => format!("a list of {}", words(choices)),
                _ => "a list of strings".into(),
            },
            Self::Choice(choices) => format!("one of {}", words(choices)),
            Self::Text => "a string".into(),
            Self::Integer(maximum) => format!("an integer from 0 to {maximum}"),
            Self::Boolean => "`true` or `false`".into(),
        }
    }
}

fn words(choices: &[Choice]) -> String {
    choices.iter().map(|choice| format!("`{}`", choice.word)).collect::<Vec<_>>().join(", ")
}

/// Reads the part of JSON Schema that our types derive; `None` for anything else.
fn shape(schema: &Value) -> Option<Shape> {
    let schema = schema.as_object()?;
    if let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) {
        // An `Option` of something with a schema of its own.
        let mut real = alternatives.iter().filter(|alternative| alternative.get("type").is_none_or(|kind| kind != "null"));
        return match (real.next(), real.next()) {
            (Some(one), None) => shape(one),
            _ => None,
        };
    }
    if let Some(alternatives) = schema.get("oneOf").and_then(Value::as_array) {
        return alternatives.iter().map(choice).collect::<Option<_>>().map(Shape::Choice);
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let choice = |word: &Value| Some(Choice { word: word.as_str()?.to_owned(), doc: String::new() });
        return words.iter().filter(|word| !word.is_null()).map(choice).collect::<Option<_>>().map(Shape::Choice);
    }
    match kind(schema)? {
        "object" => table(schema),
        "array" => Some(Shape::List(Box::new(shape(schema.get("items")?)?))),
        "string" => Some(Shape::Text),
        "boolean" => Some(Shape::Boolean),
        "integer" => Some(Shape::Integer(match schema.get("format")?.as_str()? {
            "uint8" => u8::MAX.into(),
            "uint16" => u16::MAX.into(),
            "uint32" => u32::MAX.into(),
            "uint64" | "uint" => i64::MAX,
            _ => return None,
        })),
        _ => None,
    }
}

/// The `type`; for an `Option`, the one that is not `null`.
fn kind(schema: &Map<String, Value>) -> Option<&str> {
    match schema.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        _ => None,
    }
}

fn table(schema: &Map<String, Value>) -> Option<Shape> {
    if let Some(inner) = schema.get("additionalProperties") {
        let field =
            Field { name: "NAME".into(), doc: doc(inner.get("description")), presence: Presence::Optional, shape: shape(inner)? };
        return Some(Shape::Map(Box::new(field)));
    }
    let required: Vec<&str> = match schema.get("required").and_then(Value::as_array) {
        Some(names) => names.iter().filter_map(Value::as_str).collect(),
        None => Vec::new(),
    };
    let field = |(name, schema): (&String, &Value)| {
        let presence = match schema.get("default") {
            _ if required.contains(&name.as_str()) => Presence::Required,
            None | Some(Value::Null) => Presence::Optional,
            Some(value) => Presence::Default(value.clone()),
        };
        Some(Field { name: name.clone(), doc: doc(schema.get("description")), presence, shape: shape(schema)? })
    };
    schema.get("properties")?.as_object()?.iter().map(field).collect::<Option<_>>().map(Shape::Table)
}

fn choice(schema: &Value) -> Option<Choice> {
    Some(Choice { word: schema.get("const")?.as_str()?.to_owned(), doc: doc(schema.get("description")) })
}

/// A doc comment as one line.
fn doc(description: Option<&Value>) -> String {
    description.and_then(Value::as_str).map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap_or_default()
}
