use std::fmt::Write as _;
use std::path::Path;

use super::load::Loaded;
use super::shape::{Field, Shape};
use super::tree::{Content, Node};

/// What stands in place of a secret.
const HIDDEN: &str = "***";

/// The configuration in force as TOML, every value with its source in a comment: a line of the file, a variable, or `default`.
///
/// Secrets are hidden: the password in a URL, and whatever a key that ends in `password` or `secret` holds.
pub fn print(loaded: &Loaded) -> String {
    let mut printer = Printer { file: &loaded.file, text: String::new() };
    if let (Shape::Table(fields), Content::Table(_)) = (Shape::of_settings(), &loaded.tree.content) {
        printer.table(fields, &loaded.tree, "");
    }
    printer.text
}

struct Printer<'a> {
    file: &'a Path,
    text: String,
}

impl Printer<'_> {
    /// A table's own values, then the tables in it: TOML knows no other order.
    fn table(&mut self, fields: &[Field], node: &Node, path: &str) {
        let Content::Table(members) = &node.content else { return };
        let present = || fields.iter().filter_map(|field| members.get(&field.name).map(|member| (field, member)));
        for (field, member) in present().filter(|(field, member)| is_inline(&field.shape, member)) {
            self.line(&field.name, member);
        }
        for (field, member) in present().filter(|(field, member)| !is_inline(&field.shape, member)) {
            self.group(&field.shape, member, &join(path, &field.name));
        }
    }

    fn group(&mut self, shape: &Shape, node: &Node, path: &str) {
        match (shape, &node.content) {
            (Shape::Table(fields), Content::Table(members)) => {
                // A table that only has tables in it needs no heading of its own.
                if fields.iter().any(|field| members.get(&field.name).is_some_and(|member| is_inline(&field.shape, member))) {
                    self.heading(&format!("[{path}]"));
                }
                self.table(fields, node, path);
            }
            (Shape::Map(field), Content::Table(members)) => {
                for (name, member) in members {
                    self.group(&field.shape, member, &join(path, name));
                }
            }
            (Shape::List(item), Content::List(items)) => {
                let Shape::Table(fields) = item.as_ref() else { return };
                for node in items {
                    self.heading(&format!("[[{path}]]"));
                    self.table(fields, node, path);
                }
            }
            _ => {}
        }
    }

    fn heading(&mut self, heading: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "{gap}{heading}");
    }

    fn line(&mut self, name: &str, node: &Node) {
        let _ = match value(name, node) {
            Some(value) => writeln!(self.text, "{name} = {value}  # {}", self.sources(node)),
            None => writeln!(self.text, "# {name} is not set"),
        };
    }

    /// The source of a value; of a list, also those of its items, each once.
    fn sources(&self, node: &Node) -> String {
        let mut sources = vec![node.source.shown(self.file)];
        if let Content::List(items) = &node.content {
            for item in items {
                let source = item.source.shown(self.file);
                if matches!(item.source, super::Source::Variable(_)) && !sources.contains(&source) {
                    sources.push(source);
                }
            }
        }
        sources.join(", ")
    }
}

/// Whether a value is written in one line; a list of tables, or a map, is when there is nothing in it.
fn is_inline(shape: &Shape, node: &Node) -> bool {
    match (shape, &node.content) {
        (_, Content::Unset) => true,
        (Shape::List(_), Content::List(items)) => items.is_empty() || shape.is_inline(),
        (Shape::Map(_), Content::Table(members)) => members.is_empty(),
        _ => shape.is_inline(),
    }
}

/// A value in TOML, its secrets hidden; `None` when nothing is set.
fn value(name: &str, node: &Node) -> Option<String> {
    match &node.content {
        Content::Text(text) => Some(toml::Value::String(hide(name, text)).to_string()),
        Content::Integer(value) => Some(value.to_string()),
        Content::Boolean(value) => Some(value.to_string()),
        Content::List(items) => {
            Some(format!("[{}]", items.iter().filter_map(|item| value(name, item)).collect::<Vec<_>>().join(", ")))
        }
        Content::Table(_) => Some("{}".into()),
        Content::Unset => None,
    }
}

/// `text` without what nobody else may read.
fn hide(name: &str, text: &str) -> String {
    if ["password", "secret"].iter().any(|word| name.ends_with(word)) {
        return HIDDEN.into();
    }
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // The last `@`, also of a query if need be: a password in which something was not escaped is hidden whole.
    let user = match rest.split_once('?') {
        Some((place, _)) if place.contains('@') => place.rfind('@'),
        _ => rest.rfind('@'),
    };
    let (user, rest) = user.and_then(|end| rest.split_at_checked(end)).unwrap_or(("", rest));
    let mut shown = format!("{scheme}://");
    match user.split_once(':') {
        Some((name, _)) => shown.push_str(&format!("{name}:{HIDDEN}")),
        None => shown.push_str(user),
    }
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    shown.push_str(place);
    if let Some(query) = query {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((key, _)) if key.to_lowercase().contains("password") => format!("{key}={HIDDEN}"),
            _ => pair.to_owned(),
        });
        shown.push('?');
        shown.push_str(&pairs.collect::<Vec<_>>().join("&"));
    }
    shown
}

fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let name = if bare { name.to_owned() } else { toml::Value::String(name.to_owned()).to_string() };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}
