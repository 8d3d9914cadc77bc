//! The order of the rooms, and a few habits, held by reading the source.

use std::path::{Path, PathBuf};

/// From the street to the cellar; rooms on one line do not know each other. A room imports only rooms further down.
const FLOORS: &[&[&str]] = &[
    &["cli"],
    &["app"],
    &["admin"],
    &["web", "gateway"],
    &["oauth"],
    &["oidc"],
    &["identity"],
    &["relying_party"],
    &["clients"],
    &["keys"],
    &["resource"],
    &["trust"],
    &["binding"],
    &["token"],
    &["store"],
    &["fetch"],
    &["tls", "wire"],
    &["pki"],
    &["jose"],
    &["seal"],
    &["telemetry"],
    &["config"],
    &["event"],
    &["domain"],
];

/// Rooms whose state is handed to them, and what they therefore never import, wherever these rooms stand.
const HANDED: &[&str] = &["gateway", "resource", "binding", "trust", "token"];
const NEVER: &[&str] = &["oauth", "oidc", "identity", "clients", "keys", "store"];

fn floor(room: &str) -> usize {
    FLOORS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("room `{room}` is on no floor: add it to FLOORS"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root().join("src"), "rs", &mut found);
    found.sort();
    let read =
        |path: PathBuf| (path.strip_prefix(root()).expect("below").to_owned(), std::fs::read_to_string(&path).expect("read"));
    found.into_iter().map(read).collect()
}

/// The rooms that a piece of source names, `depth` modules below the crate's root: `crate::room`, `crate::{room, room::x}` and enough
/// `super::` to reach the root.
fn named_rooms(source: &str, depth: usize) -> Vec<String> {
    let code: String = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = Vec::new();
    let starts = [("crate::".to_owned(), true), ("super::".repeat(depth), false)];
    for (start, is_crate) in starts.iter().filter(|(start, _)| !start.is_empty()) {
        for (at, _) in code.match_indices(start.as_str()) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == ':') {
                continue;
            }
            let rest = &code[at + start.len()..];
            if !is_crate && rest.starts_with("super::") {
                panic!("a path leaves the crate");
            }
            match rest.strip_prefix('{') {
                None => rooms.push(first_name(rest)),
                Some(group) => {
                    let (mut nested, mut item) = (0, String::new());
                    for character in group.chars() {
                        match character {
                            '{' => nested += 1,
                            '}' if nested == 0 => break,
                            '}' => nested -= 1,
                            ',' if nested == 0 => rooms.push(first_name(std::mem::take(&mut item).trim())),
                            _ => {}
                        }
                        if character != ',' || nested > 0 {
                            item.push(character);
                        }
                    }
                    rooms.push(first_name(item.trim()));
                }
            }
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// What is not compiled into the program: unit tests, beside the code or in files of their own.
fn without_tests(source: &str) -> &str {
    let end = source.find("#[cfg(test)]\nmod ").or_else(|| source.find("#[cfg(all(test"));
    end.map_or(source, |end| &source[..end])
}

#[test]
fn rooms_import_only_rooms_further_down() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, source) in sources() {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        if parts.len() < 3 || parts.iter().any(|part| matches!(*part, "tests" | "tests.rs" | "fixture.rs")) {
            continue;
        }
        let room = parts[1];
        let is_mod = parts.last() == Some(&"mod.rs");
        let depth = parts.len() - 1 - usize::from(is_mod);
        for other in named_rooms(without_tests(&source), depth) {
            seen += 1;
            // Macros and constants at the crate's root are no rooms.
            if other == room || other.starts_with(char::is_uppercase) {
                continue;
            }
            let is_banned = HANDED.contains(&room) && NEVER.contains(&other.as_str());
            if is_banned || floor(&other) <= floor(room) {
                wrong.push(format!("{}: `{room}` imports `{other}`", path.display()));
            }
        }
    }
    assert!(seen > 300, "only {seen} paths were found: the reader is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_finds_paths() {
    let source = "use crate::{domain::Scope, event::{Reason, x}, pki};\nfn f() { crate::tls::g(); super::super::jose::h(); my_crate::no() }\n// crate::web";
    let mut rooms = named_rooms(source, 2);
    rooms.sort_unstable();
    assert_eq!(rooms, ["domain", "event", "jose", "pki", "tls"]);
    assert_eq!(named_rooms("use super::config::x;", 1), ["config"]);
    assert_eq!(named_rooms("use super::config::x;", 2), Vec::<String>::new());
}

/// Time comes from `domain::Clock`, never from the database: replicas and tests have one clock.
#[test]
fn no_sql_asks_the_database_for_the_time() {
    let mut found = Vec::new();
    files(&root().join("migrations"), "sql", &mut found);
    let migrations = found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("read")));
    let mut wrong = Vec::new();
    let mut files_read = 0;
    for (path, source) in sources().into_iter().chain(migrations) {
        files_read += 1;
        if path.iter().any(|part| part == "tests" || part == "tests.rs") {
            continue;
        }
        let is_sql = path.extension().is_some_and(|extension| extension == "sql") || path.starts_with("src/store");
        for (number, line) in source.lines().enumerate() {
            if line.trim_start().starts_with("//") || line.trim_start().starts_with("--") {
                continue;
            }
            let lower = line.to_ascii_lowercase();
            let words = [
                "current_timestamp",
                "current_date",
                "localtimestamp",
                "clock_timestamp(",
                "statement_timestamp(",
                "unixepoch(",
                "'now'",
            ];
            // `clock.now()` is ours; a bare `now()` in SQL is not.
            let bare_now = is_sql
                && lower.match_indices("now()").any(|(at, _)| {
                    !lower[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | ':'))
                        && !lower[..at].ends_with("fn ")
                });
            // What a program may say for itself, and a statement may not.
            let in_sql =
                ["current_time", "localtime", "transaction_timestamp", "timeofday", "datetime(", "strftime", "julianday"];
            let asks = is_sql && in_sql.iter().any(|word| lower.contains(word));
            if bare_now || asks || words.iter().any(|word| lower.contains(word)) {
                wrong.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(files_read > 100);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_file_is_short() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(path, source)| (path, source.lines().count()))
        .filter(|(_, lines)| *lines >= 600)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// The standards whose every requirement has a row, of those of machine clients.
const STANDARDS: [&str; 18] = [
    "RFC 6749",
    "RFC 6750",
    "RFC 7009",
    "RFC 7521, 7523",
    "RFC 7591",
    "RFC 7592",
    "RFC 7636",
    "RFC 7662",
    "RFC 8414",
    "RFC 8693",
    "RFC 8705",
    "RFC 8707",
    "RFC 9068",
    "RFC 9126",
    "RFC 9440",
    "RFC 9449",
    "RFC 9701",
    "RFC 9728",
];

/// Whether there is such a test: a function of a file below `tests/it` or of a module below `src`, or such a file as a whole.
fn has_test(name: &str) -> bool {
    let parts: Vec<&str> = name.split("::").collect();
    let (below_it, parts) = match parts.first() {
        Some(&"spec" | &"flow" | &"threat") => (root().join("tests/it"), parts),
        _ => (root().join("src"), parts),
    };
    let Some((function, modules)) = parts.split_last() else { return false };
    let files = |modules: &[&str]| -> Vec<PathBuf> {
        let path = modules.iter().fold(below_it.clone(), |path, part| path.join(part));
        let places = [path.with_extension("rs"), path.join("mod.rs"), path.join("tests.rs"), path.join("tests/mod.rs")];
        places.into_iter().filter(|place| place.is_file()).collect()
    };
    let is_test = |source: &str| {
        let written = [format!("fn {function}("), format!("fn {function}_on_sqlite(")];
        written.iter().any(|written| source.contains(written))
    };
    let found = files(modules).iter().any(|place| is_test(&std::fs::read_to_string(place).expect("read")));
    found || below_it.ends_with("it") && !files(&parts).is_empty()
}

/// `docs/standards.md`: no standard is missing, no row is without a test or a reason, and every test that it names is there.
#[test]
fn every_requirement_has_a_test_that_is_there() {
    let text = std::fs::read_to_string(root().join("docs/standards.md")).expect("the table");
    for standard in STANDARDS {
        assert!(text.contains(&format!("\n## {standard}: ")), "{standard} is missing");
    }
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Section")) {
        rows += 1;
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [_, requirement, shown] = cells[..] else {
            wrong.push(format!("not three cells: {line}"));
            continue;
        };
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
        let is_declined = ["not offered: ", "not done: ", "never given: "].iter().any(|words| shown.trim().starts_with(words));
        if named.is_empty() && !is_declined {
            wrong.push(format!("nothing shows: {requirement}"));
        }
        wrong.extend(named.into_iter().filter(|name| !has_test(name)).map(|name| format!("there is no {name}")));
    }
    assert!(rows > 90, "only {rows} rows were found: the reader is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(has_test("spec::rfc8705::appendix_a") && !has_test("spec::rfc8705::appendix_z") && !has_test("spec::rfc1"));
}

/// Every function of a file that stands by itself, by its name, with what it says.
fn functions(source: &str) -> Vec<(&str, &str)> {
    let starts = source.match_indices("fn ").filter(|(at, _)| {
        let line = source[..*at].rfind('\n').map_or(0, |end| end + 1);
        ["", "pub ", "async ", "pub async ", "pub(super) ", "pub(super) async "].contains(&&source[line..*at])
    });
    let function = |(at, _): (usize, &str)| {
        let rest = &source[at + 3..];
        let name = rest.split(|character: char| !character.is_alphanumeric() && character != '_').next().unwrap_or_default();
        (name, &rest[..rest.find("\n}\n").unwrap_or(rest.len())])
    };
    starts.map(function).collect()
}

/// Whether a test says this word, or a function of its file that it calls.
fn names(source: &str, test: &str, word: &str) -> bool {
    let test = test.rsplit("::").next().unwrap_or(test);
    // Tests of both engines call what they share by the same name.
    let shared = test.trim_end_matches("_on_sqlite").trim_end_matches("_on_postgres");
    let functions = functions(source);
    let known = |name: &str| functions.iter().find(|(function, _)| *function == name);
    let Some((name, body)) = known(test).or_else(|| known(shared)) else { return false };
    let called = functions.iter().filter(|(function, _)| function != name && body.contains(&format!("{function}(")));
    let quoted = |body: &str| {
        body.match_indices(word).any(|(at, _)| {
            let after = body[at + word.len()..].chars().next();
            after.is_none_or(|character| !character.is_alphanumeric() && character != '_')
        })
    };
    quoted(body) || called.into_iter().any(|(_, body)| quoted(body))
}

/// `docs/certificates.md`: every reason that a certificate is refused for has a test over sockets that is there and names it.
#[test]
fn every_reason_of_certificates_has_a_test_that_names_it() {
    let text = std::fs::read_to_string(root().join("docs/certificates.md")).expect("the page");
    let (_, table) = text.split_once("\n## Tests by reason\n").expect("the table");
    let mut wrong = Vec::new();
    let is_ours =
        |code: &str| ["certificate_", "proxy_header_", "binding_certificate_"].iter().any(|start| code.starts_with(start));
    let codes: Vec<&str> = symbolon::event::Reason::ALL.iter().map(|reason| reason.code()).filter(|code| is_ours(code)).collect();
    assert!(codes.len() > 30, "{codes:?}");
    for code in codes {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let tests: Vec<&str> = row.unwrap_or_default().split('`').skip(3).step_by(2).collect();
        if tests.is_empty() {
            wrong.push(format!("nothing shows `{code}`"));
        }
        for test in tests {
            let file = test.rsplit_once("::").map_or(test, |(file, _)| file).replace("::", "/");
            let source = std::fs::read_to_string(root().join(format!("tests/it/{file}.rs"))).unwrap_or_default();
            if !has_test(test) || !names(&source, test, code) {
                wrong.push(format!("{test} is not there, or does not name `{code}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_test_names_what_it_or_its_helper_says() {
    let source = "async fn one() {\n    two(\"x\");\n}\n\nfn two(a: &str) {\n    \"certificate_absent\"\n}\n\nfn three() {\n}\n";
    for (test, word, expected) in [
        ("a::two", "certificate_absent", true),
        ("a::one_on_sqlite", "certificate_absent", true),
        ("a::three", "certificate_absent", false),
        ("a::two", "certificate", false),
        ("a::four", "certificate_absent", false),
    ] {
        assert_eq!(names(source, test, word), expected, "{test} {word}");
    }
}
