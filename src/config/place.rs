//! Where in a configuration the thing stands that an error speaks of.

use super::load::Loaded;
use super::tree::{Content, Node, Source};

/// By what a message tells the items of a list apart.
const NAMES: [&str; 6] = ["name", "names", "id", "identifier", "host", "issuer"];
/// The lists whose items a message names by a word: ``listener `name` ``.
const WORDS: [&str; 2] = ["listener", "host"];
/// More than any message names one inside the other: `listener`, its name, `host`, its name, a key.
const MOST_MENTIONS: usize = 8;

impl Loaded {
    /// The line or variable of the setting that `message` names, told as `FILE:LINE`; `None` when it names none.
    ///
    /// Rooms know their settings by name and not by line, and name them in one way: `[table]`, `` [[list]] `item` ``,
    /// `` listener `name` `` or a dotted `` `key` ``, each followed by what it is about inside, as in `` [passkeys]: `rp_id` is ... ``. The
    /// innermost that somebody wrote is the place.
    pub fn place_named_in(&self, message: &str) -> Option<String> {
        let mut source = None;
        let mut mentions = mentions(message).into_iter();
        let mut node = mentions.find_map(|mention| self.tree.named(&mention, &mut source))?;
        for mention in mentions {
            let Some(inner) = node.named(&mention, &mut source) else { break };
            node = inner;
        }
        Some(source.map_or_else(|| self.file.display().to_string(), |source| source.shown(&self.file)))
    }
}

impl Node {
    /// What `mention` names in here: `store.url`, `route.accounts.upstream`, an item of a list by its name. `source` becomes that of the
    /// innermost on the way that somebody wrote.
    fn named<'a>(&'a self, mention: &str, source: &mut Option<&'a Source>) -> Option<&'a Self> {
        // A name can have dots of its own; the longest that is there is meant.
        let (child, rest) = match &self.content {
            Content::Table(members) => match members.get(mention) {
                Some(member) => (member, ""),
                None => {
                    let (step, rest) = mention.split_once('.')?;
                    (members.get(step)?, rest)
                }
            },
            Content::List(items) => {
                let item = |name: &str| items.iter().find(|item| item.is_called(name));
                let within = |(at, _)| Some((item(mention.get(..at)?)?, mention.get(at + 1..)?));
                item(mention).map(|item| (item, "")).or_else(|| mention.rmatch_indices('.').find_map(within))?
            }
            Content::Text(_) | Content::Integer(_) | Content::Boolean(_) | Content::Unset => return None,
        };
        if child.source != Source::Default {
            *source = Some(&child.source);
        }
        Some(if rest.is_empty() { child } else { child.named(rest, source).unwrap_or(child) })
    }

    fn is_called(&self, name: &str) -> bool {
        let says = |node: &Self| matches!(&node.content, Content::Text(text) if text == name);
        let Content::Table(members) = &self.content else { return false };
        NAMES.iter().filter_map(|key| members.get(*key)).any(|member| match &member.content {
            Content::List(names) => names.iter().any(says),
            _ => says(member),
        })
    }
}

/// The names of settings in a message, in its order: what stands in brackets or backticks, and one of the [`WORDS`] before it.
fn mentions(message: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = message;
    while found.len() < MOST_MENTIONS {
        let Some(at) = rest.find(['`', '[']) else { break };
        let (before, from) = rest.split_at(at);
        let (open, close) = match from {
            _ if from.starts_with("[[") => ("[[", "]]"),
            _ if from.starts_with('[') => ("[", "]"),
            _ => ("`", "`"),
        };
        let Some((inside, after)) = from.get(open.len()..).and_then(|from| from.split_once(close)) else { break };
        // Only words of ours, at the beginning: what comes after is told of the value.
        let word = WORDS.into_iter().find(|word| before.strip_suffix(' ').is_some_and(|before| before.ends_with(word)));
        found.extend(word.map(str::to_owned));
        found.push(inside.to_owned());
        rest = after;
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "settings of a test")]
mod tests {
    use crate::config::load;

    const TEXT: &str = r#"issuer = "https://as.example"

[[listener]]
name = "front"
address = "127.0.0.1:8443"
services = ["gateway"]
passthrough = []

[[listener.host]]
names = ["as.example"]
certificate_file = "as.pem"
key_file = "as.key"

[anchor_set.clients]
files = ["ca.pem"]

[anchor_set."a.b"]
files = ["ca.pem"]

[password]
hashes = 0

[[route]]
name = "v1.accounts"
host = "gw.example"
path = "/accounts"
upstream = "http://127.0.0.1:1"
authorization_server = "as"
audience = "accounts"
"#;

    /// Messages as rooms write them, with the place that belongs to each.
    #[test]
    fn a_message_names_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("symbolon.toml");
        std::fs::write(&path, TEXT).unwrap();
        let loaded = load(&path, [("SYMBOLON__PASSKEYS__RP_ID".to_owned(), "x".to_owned())]).unwrap();
        let file = path.display();
        for (message, place) in [
            ("`issuer` = \"x\" must not end in a slash", Some(format!("{file}:1"))),
            ("listener `front`: `passthrough` needs at least one `host`", Some(format!("{file}:7"))),
            ("listener `front`: host `as.example`: `key_file` as.key: cannot be read", Some(format!("{file}:12"))),
            ("listener `front`: `tcp_route` is for the gateway", Some(format!("{file}:3"))),
            ("listener `other`: `services` is empty", Some(format!("{file}:3"))),
            ("[anchor_set]: `clients`: `files`: ca.pem", Some(format!("{file}:15"))),
            ("`anchor_set.a.b`: no certificate", Some(format!("{file}:17"))),
            ("[password] hashes = 0: nobody could sign in", Some(format!("{file}:20"))),
            ("[passkeys]: `rp_id` is given", Some("SYMBOLON__PASSKEYS__RP_ID".to_owned())),
            ("`route.v1.accounts.upstream`: is no URL", Some(format!("{file}:27"))),
            ("`route.v1.accounts.scopes`: is missing", Some(format!("{file}:23"))),
            ("`mtls_url` is missing", Some(file.to_string())),
            ("no key in `signing key`, [ nothing", None),
            ("the clock cannot be read", None),
        ] {
            assert_eq!(loaded.place_named_in(message), place, "{message}");
        }
    }
}
