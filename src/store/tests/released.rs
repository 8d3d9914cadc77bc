//! Every released schema goes on serving the program it was released with after the present one has migrated it: two versions run beside
//! each other while replicas are replaced one by one.
//!
//! A release is a folder of `tests/released`, named by its version: its migrations, its SQL texts (`statements.json`) and a database it
//! wrote (`rows.json`). The SQL is run against the release's own schema and against the migrated one, with the same rows, on both
//! engines, and whatever it answers must be the same. `UPDATE_RELEASED=1 cargo test --lib store::tests::released::keep` writes the folder
//! of the present version; once a version is out its folder is never touched again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Executor as _, PgConnection, Row as _, SqlSafeStr as _};
use sqlx::{SqliteConnection, Statement as _, TypeInfo as _};

use super::engine::{Target, sqlite_options};
use super::migration::{PERSON_KEYS, STATE, Schema, migrate};
use super::sealed::SEALED_COLUMNS;
use super::*;

/// One SQL text of a release.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Statement {
    name: String,
    database: Database,
    sql: String,
    binds: Vec<Bind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Database {
    State,
    PersonKeys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bind {
    Text,
    Integer,
    SmallInteger,
    Bytes,
}

/// A value as it stands in a row; bytes are in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cell {
    Null,
    Text(String),
    Integer(i64),
    Bytes(String),
}

/// Rows of each table, each by column.
type Rows = BTreeMap<String, Vec<BTreeMap<String, Cell>>>;

impl Database {
    const ALL: [Self; 2] = [Self::State, Self::PersonKeys];

    fn present(self) -> Schema {
        match self {
            Self::State => STATE,
            Self::PersonKeys => PERSON_KEYS,
        }
    }

    /// Where the migrations of an engine lie, in `migrations` and in a release alike.
    fn folder(self, place: &Place) -> String {
        let engine = if place.is_sqlite() { "sqlite" } else { "postgres" };
        match self {
            Self::State => engine.to_owned(),
            Self::PersonKeys => format!("person_keys/{engine}"),
        }
    }
}

impl Place {
    fn is_sqlite(&self) -> bool {
        self.settings.url.starts_with("sqlite:")
    }

    /// Another empty database of the same engine.
    async fn another(&self) -> Place {
        if self.is_sqlite() { Self::sqlite() } else { Self::at(postgres::database().await.expect("there was one before")) }
    }

    fn target(&self) -> Target {
        Target::parse(&self.settings.url, self.directory.path()).expect("a target")
    }

    async fn line(&self) -> Line {
        match self.target() {
            Target::Sqlite(path) => {
                let options = sqlite_options(&path).create_if_missing(true).foreign_keys(true);
                Line::Sqlite(options.connect().await.expect("connected"))
            }
            Target::Postgres(options) => Line::Postgres(options.connect().await.expect("connected")),
        }
    }

    /// What the present program does to a database at its start.
    async fn migrate(&self, database: Database) {
        let (target, schema) = (self.target(), database.present());
        let db = target.connect(&self.settings).await.expect("connected");
        migrate(&schema, &target, &db).await.expect("migrated");
        db.close().await;
    }
}

/// One connection, as a program of any version might have.
enum Line {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

macro_rules! on {
    ($line:expr, $connection:ident => $body:expr) => {
        match $line {
            Line::Sqlite($connection) => $body,
            Line::Postgres($connection) => $body,
        }
    };
}

/// A row's values, on either engine.
macro_rules! cells {
    ($row:expr) => {
        (0..$row.len())
            .map(|at| {
                let cell = $row
                    .try_get::<Option<i64>, _>(at)
                    .map(|value| value.map(Cell::Integer))
                    .or_else(|_| $row.try_get::<Option<String>, _>(at).map(|value| value.map(Cell::Text)))
                    .or_else(|_| $row.try_get::<Option<Vec<u8>>, _>(at).map(|value| value.map(|bytes| Cell::Bytes(hex(&bytes)))));
                ($row.column(at).name().to_owned(), cell.expect("text, a number or bytes").unwrap_or(Cell::Null))
            })
            .collect::<Vec<(String, Cell)>>()
    };
}

fn hex(bytes: &[u8]) -> String {
    sealed::row_name(bytes)
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// What is bound: one text (and its bytes) for every parameter but one, and numbers by their place or all the same.
#[derive(Clone, Copy, Debug)]
struct Values {
    text: &'static str,
    number: Option<i64>,
    other: Option<usize>,
}

/// What the rows that a statement is tried on were made with.
const FILLED: Values = Values { text: "x", number: None, other: None };

impl Values {
    /// Those that a statement is tried with: what is there, what is not, and what is there but for one parameter.
    fn of(statement: &Statement) -> Vec<Self> {
        let mut values = vec![
            FILLED,
            Self { number: Some(1), ..FILLED },
            Self { text: "", number: Some(0), other: None },
            Self { text: "y", number: Some(1_000), other: None },
            Self { text: "y", ..FILLED },
        ];
        values.extend((0..statement.binds.len()).map(|place| Self { other: Some(place), ..FILLED }));
        values
    }
}

impl Line {
    async fn script(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        on!(self, connection => connection.execute(sqlx::raw_sql(sql)).await.map(drop)).expect("run");
    }

    /// Runs a statement of a release; gives what it answers.
    async fn answer(&mut self, statement: &Statement, values: Values) -> Result<String, String> {
        let returns = statement.sql.starts_with("SELECT") || statement.sql.contains(" RETURNING ");
        macro_rules! query {
            () => {{
                let mut query = sqlx::query(AssertSqlSafe(statement.sql.clone()));
                for (place, bind) in statement.binds.iter().enumerate() {
                    let other = values.other == Some(place);
                    let text = if other { "y" } else { values.text };
                    let number = values.number.unwrap_or(place as i64 + 1) + if other { 50 } else { 0 };
                    query = match bind {
                        Bind::Text => query.bind(text),
                        Bind::Bytes => query.bind(text.as_bytes()),
                        Bind::Integer => query.bind(number),
                        Bind::SmallInteger => query.bind(number as i32),
                    };
                }
                query
            }};
        }
        let answer = if returns {
            on!(self, connection => query!().fetch_all(connection).await.map(|rows| {
                format!("{:?}", rows.iter().map(|row| cells!(row)).collect::<Vec<_>>())
            }))
        } else {
            on!(self, connection => query!().execute(connection).await.map(|done| format!("{} rows", done.rows_affected())))
        };
        answer.map_err(|error| match error.as_database_error().map(|error| error.kind()) {
            Some(sqlx::error::ErrorKind::Other) | None => format!("broken: {error}"),
            Some(kind) => format!("{kind:?}"),
        })
    }

    /// The same, and everything is as it was before.
    async fn tried(&mut self, statement: &Statement, values: Values) -> Result<String, String> {
        self.script("SAVEPOINT trial").await;
        let answer = self.answer(statement, values).await;
        self.script("ROLLBACK TO SAVEPOINT trial").await;
        self.script("RELEASE SAVEPOINT trial").await;
        answer
    }

    /// One row in every table, by the release's own statements, in whatever order their references allow.
    async fn fill(&mut self, statements: &[&Statement]) {
        let mut waiting: Vec<&Statement> = statements.iter().copied().filter(|one| one.sql.starts_with("INSERT")).collect();
        self.script("BEGIN").await;
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut left = Vec::new();
            for statement in waiting {
                self.script("SAVEPOINT trial").await;
                // A second statement for the same row has nothing to add.
                match self.answer(statement, FILLED).await {
                    Ok(_) => self.script("RELEASE SAVEPOINT trial").await,
                    Err(problem) => {
                        self.script("ROLLBACK TO SAVEPOINT trial; RELEASE SAVEPOINT trial").await;
                        assert!(!problem.starts_with("broken"), "{}: {problem}", statement.name);
                        if problem == "ForeignKeyViolation" {
                            left.push(statement);
                        }
                    }
                }
            }
            assert!(left.len() < before, "{left:?}");
            waiting = left;
        }
        self.script("COMMIT").await;
    }

    /// What every statement answers to everything it is tried with.
    async fn answers(&mut self, statements: &[&Statement]) -> Vec<String> {
        let mut answers = Vec::new();
        self.script("BEGIN").await;
        for statement in statements {
            for values in Values::of(statement) {
                let answer = self.tried(statement, values).await;
                answers.push(format!("{} {values:?}: {answer:?}", statement.name));
            }
        }
        self.script("ROLLBACK").await;
        answers
    }

    /// Every table's columns, by the schema's own word.
    async fn tables(&mut self) -> Vec<(String, String)> {
        match self {
            Self::Sqlite(connection) => sqlx::query_as(SQLITE_COLUMNS).fetch_all(connection).await,
            Self::Postgres(connection) => sqlx::query_as(POSTGRES_COLUMNS).fetch_all(connection).await,
        }
        .expect("columns")
    }
}

const SQLITE_COLUMNS: &str = "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
     WHERE m.type = 'table' AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1, 2";
const POSTGRES_COLUMNS: &str = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
     WHERE table_schema = 'public' AND table_name NOT LIKE '\\_%' ORDER BY 1, 2";

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released")
}

fn read<T: for<'a> Deserialize<'a>>(file: &Path) -> T {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every release, oldest first.
fn releases() -> Vec<PathBuf> {
    let mut releases: Vec<PathBuf> = std::fs::read_dir(released())
        .expect("tests/released")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    releases.sort();
    assert!(!releases.is_empty());
    releases
}

/// The release's own schema, in an empty database.
async fn made(release: &Path, database: Database, place: &Place) {
    let migrator = Migrator::new(release.join(database.folder(place))).await.expect("migrations");
    assert!(migrator.iter().count() > 0, "{}", release.display());
    let mut line = place.line().await;
    on!(&mut line, connection => migrator.run(&mut *connection).await).expect("migrated");
}

/// What a release's statements answer on its own schema, on one that was filled and then migrated, and on one that was migrated and
/// then filled, after `more` was done to both of these.
async fn compared(release: &Path, database: Database, place: &Place, more: Option<&str>) -> [Vec<String>; 3] {
    let all: Vec<Statement> = read(&release.join("statements.json"));
    let statements: Vec<&Statement> = all.iter().filter(|statement| statement.database == database).collect();
    assert!(statements.len() >= 5, "{}: {}", release.display(), statements.len());
    let places = [place.another().await, place.another().await, place.another().await];
    for place in &places {
        made(release, database, place).await;
    }
    let [alone, filled_first, migrated_first] = &places;
    alone.line().await.fill(&statements).await;
    filled_first.line().await.fill(&statements).await;
    for place in [filled_first, migrated_first] {
        place.migrate(database).await;
    }
    if let Some(more) = more {
        filled_first.line().await.script(more).await;
        migrated_first.line().await.script(more).await;
    }
    migrated_first.line().await.fill(&statements).await;
    let mut answers = Vec::new();
    for place in &places {
        answers.push(place.line().await.answers(&statements).await);
    }
    answers.try_into().expect("three")
}

fn differences(one: &[String], other: &[String]) -> Vec<String> {
    assert_eq!(one.len(), other.len());
    let differ = one.iter().zip(other).filter(|(one, other)| one != other);
    differ.map(|(one, other)| format!("{one}\n   is now {other}")).collect()
}

on_both_engines! {
    async fn a_server_of_every_released_version_goes_on(place: &Place) {
        for release in releases() {
            for database in Database::ALL {
                let [alone, filled_first, migrated_first] = compared(&release, database, place, None).await;
                let broken: Vec<_> = alone.iter().filter(|answer| answer.contains("broken")).collect();
                assert!(broken.is_empty(), "a statement that never worked: {broken:?}");
                let useful = alone.iter().filter(|answer| answer.contains("1 rows") || answer.contains("Integer")).count();
                assert!(useful * 10 > alone.len(), "{useful} of {} did anything", alone.len());
                for (when, answers) in [("filled, then migrated", filled_first), ("migrated, then filled", migrated_first)] {
                    let differ = differences(&alone, &answers);
                    assert!(differ.is_empty(), "{} {when}:\n{}", release.display(), differ.join("\n"));
                }
                println!("{}: {} trials of {database:?}", release.display(), alone.len());
            }
        }
    }

    /// The comparison notices what it is for.
    async fn a_migration_that_would_stop_it_is_noticed(place: &Place) {
        let release = releases().pop().expect("a release");
        for harm in [
            "ALTER TABLE consent RENAME COLUMN given TO at",
            "DROP TABLE pushed_request",
            "CREATE UNIQUE INDEX too_strict ON grant_family (subject)",
            "DELETE FROM change_counter",
        ] {
            let old = release.clone();
            let [alone, filled_first, migrated_first] = match harm.split_once(' ') {
                // A table that is not there cannot be filled.
                Some(("DROP" | "ALTER", _)) => {
                    let place = place.another().await;
                    made(&old, Database::State, &place).await;
                    place.migrate(Database::State).await;
                    place.line().await.script(harm).await;
                    let all: Vec<Statement> = read(&old.join("statements.json"));
                    let statements: Vec<&Statement> = all.iter().filter(|one| one.database == Database::State).collect();
                    let mut line = place.line().await;
                    let answers = line.answers(&statements).await;
                    assert!(answers.iter().any(|answer| answer.contains("broken")), "{harm}");
                    continue;
                }
                _ => compared(&old, Database::State, place, Some(harm)).await,
            };
            let noticed = differences(&alone, &filled_first).len() + differences(&alone, &migrated_first).len();
            assert!(noticed > 0, "{harm}");
        }
    }

    /// What the released program wrote, the present one reads: every row is there, and every sealed value opens.
    async fn a_database_of_every_released_version_opens(place: &Place) {
        for release in releases() {
            let place = place.another().await;
            made(&release, Database::State, &place).await;
            let rows: Rows = read(&release.join("rows.json"));
            let mut line = place.line().await;
            // The migrations have put rows there too.
            for (table, rows) in &rows {
                line.script(&format!("DELETE FROM {table}")).await;
                for row in rows {
                    line.put(table, row).await;
                }
            }
            let sealed = rows.values().flatten().flatten().filter(|(column, cell)| column.ends_with("_sealed") && **cell != Cell::Null);
            // Ten of the present version start at once, and one migrates it.
            let starting = (0..10).map(|_| place.try_open(master("first", 1), NOW));
            let opened = futures_util::future::join_all(starting).await.into_iter().map(|store| store.expect("opens"));
            let store = opened.collect::<Vec<_>>().swap_remove(0);
            let checked = store.check(&place.settings, place.directory.path()).await.expect("checked");
            assert_eq!((checked.opened, checked.broken), (sealed.count() as u64, 0), "{}", release.display());
            assert!(!store.signing_keys().await.expect("keys").is_empty() && !store.clients().await.expect("clients").is_empty());
            assert_eq!(store.accounts("", 100).await.expect("accounts").len(), rows["account"].len());
            for (table, rows) in &rows {
                let count = format!("SELECT COUNT(*) FROM {table}");
                let (now,): (i64,) = match &store.inner.db {
                    Db::Sqlite { reader, .. } => sqlx::query_as(AssertSqlSafe(count)).fetch_one(reader).await,
                    Db::Postgres(pool) => sqlx::query_as(AssertSqlSafe(count)).fetch_one(pool).await,
                }
                .expect("counted");
                assert_eq!(now, rows.len() as i64, "{table}");
            }
        }
    }
}

impl Line {
    async fn put(&mut self, table: &str, row: &BTreeMap<String, Cell>) {
        // The one number that PostgreSQL gives by itself.
        let row: Vec<(&String, &Cell)> = row.iter().filter(|(column, _)| !(table == "audit" && *column == "id")).collect();
        let columns = row.iter().map(|(column, _)| column.as_str()).collect::<Vec<_>>().join(", ");
        let places = (1..=row.len()).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ");
        let sql = format!("INSERT INTO {table} ({columns}) VALUES ({places})");
        macro_rules! query {
            () => {{
                let mut query = sqlx::query(AssertSqlSafe(sql.clone()));
                for (column, cell) in &row {
                    query = match cell {
                        Cell::Text(text) => query.bind(text),
                        Cell::Integer(number) => query.bind(number),
                        Cell::Bytes(bytes) => query.bind(unhex(bytes)),
                        Cell::Null if column.ends_with("_sealed") => query.bind(None::<Vec<u8>>),
                        Cell::Null if column.ends_with("_id") => query.bind(None::<String>),
                        Cell::Null => query.bind(None::<i64>),
                    };
                }
                query
            }};
        }
        on!(self, connection => query!().execute(connection).await.map(drop)).expect("put");
    }
}

/// A version that is out has its folder: the changelog says what is out.
#[test]
fn every_version_that_is_out_is_kept() {
    let changelog = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("CHANGELOG.md")).expect("the changelog");
    let out = changelog.lines().filter_map(|line| line.strip_prefix("## ")).map(|heading| heading.trim_start_matches('['));
    for version in out.filter(|heading| heading.starts_with(|first: char| first.is_ascii_digit())) {
        let version = version.split([']', ' ']).next().expect("a version");
        assert!(released().join(version).is_dir(), "tests/released/{version} is missing: see src/store/tests/released.rs");
    }
}

/// Statements that are about an engine, or about the version itself, and no table of ours.
const LEFT_OUT: &[&str] = &[
    "engine::SESSION",
    "migration::VERSION",
    "migration::SQLITE_TABLES",
    "migration::POSTGRES_SERVER",
    "migration::POSTGRES_TABLES",
    "person_key::LOCK_SCHEMA",
    "work::NOTIFY",
];

/// Every SQL text of the present program: the constants of src/store, and what is asked of sealed columns alike.
fn present_statements() -> Vec<(String, Database, String)> {
    let mut found = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store"))
        .expect("src/store")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs"))
        .collect();
    files.sort();
    for file in files {
        let room = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("text");
        for part in text.split("const ").skip(1) {
            let Some((name, rest)) = part.split_once(": &str =") else { continue };
            let Some(rest) = rest.trim_start().strip_prefix('"') else { continue };
            let Some((sql, _)) = rest.split_once("\";") else { continue };
            // A backslash at the end of a line takes the break and what the next line is indented by.
            let sql: String =
                sql.split("\\\n").enumerate().map(|(at, line)| if at == 0 { line } else { line.trim_start() }).collect();
            let is_sql = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "].iter().any(|verb| sql.starts_with(verb));
            let name = format!("{room}::{name}");
            if is_sql && !LEFT_OUT.contains(&name.as_str()) {
                let database = if room == "person_key" { Database::PersonKeys } else { Database::State };
                found.push((name, database, sql));
            }
        }
    }
    for column in SEALED_COLUMNS {
        for (what, sql) in [("page", column.sql.page), ("put", column.sql.put), ("count", column.sql.count)] {
            found.push((format!("sealed::{} {what}", column.name()), Database::State, sql.to_owned()));
        }
    }
    found
}

/// No statement hides from what is kept of a release.
#[test]
fn every_statement_is_found() {
    let found = present_statements();
    for verb in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
        assert!(found.iter().filter(|(_, _, sql)| sql.starts_with(verb)).count() > 10, "{verb}");
    }
    assert!(found.len() > 130, "{}", found.len());
    for wanted in ["mod::DEPLOYMENT", "seal_key::WRAPPED", "grant_family::ROTATE", "person_key::ONE"] {
        assert!(found.iter().any(|(name, _, _)| name == wanted), "{wanted}");
    }
}

/// Writes the folder of the present version, when asked to.
#[tokio::test]
async fn keep() {
    if std::env::var_os("UPDATE_RELEASED").is_none() {
        return;
    }
    let folder = released().join(env!("CARGO_PKG_VERSION"));
    let url = postgres::database().await.expect("PostgreSQL says of what type parameters are");
    let places = [Place::sqlite(), Place::at(url)];
    for place in &places {
        for database in Database::ALL {
            let (from, to) = (
                Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database.folder(place)),
                folder.join(database.folder(place)),
            );
            std::fs::create_dir_all(&to).expect("made");
            for old in std::fs::read_dir(&to).expect("listed").flatten() {
                std::fs::remove_file(old.path()).expect("removed");
            }
            for file in std::fs::read_dir(&from).expect("listed").flatten().filter(|file| file.path().is_file()) {
                std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
            }
        }
    }
    let [sqlite, postgres] = &places;
    let keys = postgres.another().await;
    postgres.migrate(Database::State).await;
    keys.migrate(Database::PersonKeys).await;
    let mut statements = Vec::new();
    for (name, database, sql) in present_statements() {
        let place = if database == Database::State { postgres } else { &keys };
        let Line::Postgres(mut connection) = place.line().await else { unreachable!("PostgreSQL") };
        let prepared =
            connection.prepare(AssertSqlSafe(sql.clone()).into_sql_str()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let types = prepared.parameters().and_then(|types| types.left().map(<[_]>::to_vec)).unwrap_or_default();
        let bind = |one: &sqlx::postgres::PgTypeInfo| match one.name() {
            "TEXT" => Bind::Text,
            "INT8" => Bind::Integer,
            "INT4" => Bind::SmallInteger,
            "BYTEA" => Bind::Bytes,
            other => panic!("{name}: a parameter of type {other}"),
        };
        statements.push(Statement { binds: types.iter().map(bind).collect(), name, database, sql });
    }
    let lines: Vec<String> = statements.iter().map(|one| serde_json::to_string(one).expect("JSON")).collect();
    std::fs::write(folder.join("statements.json"), format!("[\n{}\n]\n", lines.join(",\n"))).expect("written");

    let store = swap::filled(sqlite).await;
    store.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
    store.close().await;
    let mut line = sqlite.line().await;
    let mut rows = Rows::new();
    for (table, _) in line.tables().await {
        let Line::Sqlite(connection) = &mut line else { unreachable!("SQLite") };
        let all = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table}"))).fetch_all(connection).await.expect("rows");
        rows.insert(table, all.iter().map(|row| cells!(row).into_iter().collect()).collect());
    }
    std::fs::write(folder.join("rows.json"), serde_json::to_string_pretty(&rows).expect("JSON") + "\n").expect("written");
}
