//! Opening a database: what is checked, what is refused, what is promised.

use super::*;

on_both_engines! {
    async fn a_sealed_value_opens_in_its_own_row_only(place: &Place) {
        let store = place.open().await;
        store.add_signing_key(&signing_key("one")).await.expect("added");
        execute(&store, "UPDATE signing_key SET key_id = 'two'").await;
        let error = store.signing_keys().await.expect_err("moved");
        assert!(matches!(&error, StoreError::Seal { row, .. } if row == "two"), "{error}");
        assert!(error.to_string().contains("signing_key.private_sealed"), "{error}");
        execute(&store, "UPDATE signing_key SET key_id = 'one', private_sealed = (SELECT canary_sealed FROM deployment)").await;
        let error = store.signing_keys().await.expect_err("another column's value");
        assert!(matches!(error, StoreError::Seal { .. }), "{error}");
    }

    async fn another_deployments_keys_are_refused_and_nothing_is_written(place: &Place) {
        let store = place.open().await;
        store.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
        store.add_signing_key(&signing_key("one")).await.expect("added");
        let before = contents(&store).await;
        let error = place.try_open(master("second", 2), NOW).await.expect_err("wrong key");
        assert!(matches!(&error, StoreError::MasterKey { deployment, .. } if deployment == store.deployment()), "{error}");
        let text = error.to_string();
        for part in ["`second`", store.deployment().as_str(), "nothing was written"] {
            assert!(text.contains(part), "{text}");
        }
        // The same name for another key is no better.
        let error = place.try_open(master("first", 2), NOW).await.expect_err("wrong key");
        assert!(matches!(&error, StoreError::MasterKey { .. }), "{error}");
        assert_eq!(contents(&store).await, before);
        let again = place.open().await;
        assert_eq!(again.deployment(), store.deployment());
    }

    async fn a_newer_schema_is_refused_with_both_versions_named(place: &Place) {
        let store = place.open().await;
        let newer = migration::known_version() + 1;
        let statement = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT version + 1, 'later', success, checksum, execution_time FROM _sqlx_migrations \
             WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)";
        execute(&store, statement).await;
        let before = contents(&store).await;
        let error = place.try_open(master("first", 1), NOW).await.expect_err("newer");
        assert!(matches!(error, StoreError::NewerSchema { found, known, .. } if found == newer && known == newer - 1), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("version {newer}")) && text.contains(&format!("up to {}", newer - 1)), "{text}");
        assert_eq!(contents(&store).await, before);
    }

    async fn ten_may_start_at_once_and_are_one_deployment(place: &Place) {
        let opened = futures_util::future::join_all((0..10).map(|_| place.open())).await;
        let deployments: BTreeSet<_> = opened.iter().map(Store::deployment).collect();
        assert_eq!(deployments.len(), 1);
    }

    async fn state_is_there_after_closing(place: &Place) {
        let store = place.open().await;
        store.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
        store.close().await;
        assert!(matches!(store.clients().await, Err(StoreError::Unavailable(_))));
        let store = place.open().await;
        assert_eq!(store.clients().await.expect("clients").len(), 1);
    }

    async fn commits_are_on_the_disk_when_they_are_answered(place: &Place) {
        let store = place.open().await;
        match &store.inner.db {
            Db::Sqlite { writer, reader } => {
                let (mode,): (String,) = sqlx::query_as("PRAGMA journal_mode").fetch_one(writer).await.expect("pragma");
                let (synchronous,): (i64,) = sqlx::query_as("PRAGMA synchronous").fetch_one(writer).await.expect("pragma");
                let (foreign_keys,): (i64,) = sqlx::query_as("PRAGMA foreign_keys").fetch_one(writer).await.expect("pragma");
                assert_eq!((mode.as_str(), synchronous, foreign_keys), ("wal", 2, 1), "2 is FULL");
                assert!(sqlx::query("DELETE FROM client").execute(reader).await.is_err(), "readers cannot write");
            }
            Db::Postgres(pool) => {
                execute(&store, "ALTER ROLE CURRENT_USER SET synchronous_commit = off").await;
                let other = place.open().await;
                execute(&store, "ALTER ROLE CURRENT_USER RESET synchronous_commit").await;
                let Db::Postgres(hasty) = &other.inner.db else { unreachable!("the same engine") };
                for pool in [pool, hasty] {
                    let (commit,): (String,) = sqlx::query_as("SHOW synchronous_commit").fetch_one(pool).await.expect("shown");
                    assert_eq!(commit, "on");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_locked_database_is_unavailable_and_recovers() {
    let mut place = Place::sqlite();
    place.settings.wait_seconds = 1;
    let (one, two) = (place.open().await, place.open().await);
    let held = NumberedWork::begin(&one.inner.db).await.expect("begun");
    let error = two.put_client(&client("a", "{}"), PutMode::Add, NOW).await.expect_err("locked");
    assert!(matches!(&error, StoreError::Unavailable(problem) if problem.contains("store.wait_seconds")), "{error}");
    assert_eq!(error.reason(), crate::event::Reason::StoreUnavailable);
    assert_eq!(two.clients().await.expect("readers go on"), []);
    drop(held);
    assert_eq!(two.put_client(&client("a", "{}"), PutMode::Add, NOW).await.expect("again"), Put::Added);
}

#[tokio::test]
async fn what_cannot_be_opened_is_named_with_the_remedy() {
    let place = Place::sqlite();
    let directory = place.directory.path();
    std::fs::write(directory.join("garbage.db"), b"this is no database, however long it may be".repeat(100)).expect("written");
    sqlite_file(&directory.join("foreign.db"), "CREATE TABLE other (id INTEGER)").await;
    let table = [
        ("mysql://x", "postgres://USER@HOST/DATABASE"),
        ("sqlite::memory:", "name a file"),
        ("sqlite:a.db?mode=ro", "no parameters"),
        ("sqlite:absent/a.db", "does not exist: create it"),
        ("sqlite:garbage.db", "restore a backup"),
        ("sqlite:foreign.db", "another program's tables"),
        ("postgres://me:hunter2@127.0.0.1:1/db", "postgres://127.0.0.1:1/db"),
    ];
    for (url, expected) in table {
        let settings = StoreSettings { url: url.into(), wait_seconds: 1, ..StoreSettings::default() };
        let error = Store::open(&settings, directory, master("first", 1), &SystemRandomness, NOW).await.expect_err(url);
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains("hunter2") && !text.contains('\n'), "{url}: {text}");
    }
    assert_eq!(std::fs::read(directory.join("garbage.db")).expect("read")[..4], *b"this", "left as it was");
}

async fn sqlite_file(path: &Path, statement: &'static str) {
    use sqlx::{ConnectOptions as _, Connection as _};
    let mut connection = engine::sqlite_options(path).create_if_missing(true).connect().await.expect("created");
    sqlx::query(statement).execute(&mut connection).await.expect(statement);
    connection.close().await.expect("closed");
}

#[cfg(unix)]
#[tokio::test]
async fn the_database_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::sqlite();
    let store = place.open().await;
    store.put_client(&client("a", "{}"), PutMode::Add, NOW).await.expect("put");
    for name in ["test.db", "test.db-wal", "test.db-shm"] {
        let mode = std::fs::metadata(place.directory.path().join(name)).expect(name).permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

/// Identifiers stand in the order of their bytes on both engines, whatever a PostgreSQL database's own order is.
#[test]
fn identifiers_are_ordered_by_bytes() {
    let mut looked_at = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres")).expect("a folder").flatten()
    {
        let text = std::fs::read_to_string(entry.path()).expect("text");
        for line in text.lines().filter(|line| line.contains(" TEXT")) {
            let name = line.split_whitespace().next().expect("a name");
            if ["client_id", "family_id", "key_id", "session_id", "subject", "thumbprint"].contains(&name) {
                assert!(line.contains(" TEXT COLLATE \"C\""), "{}: {line}", entry.path().display());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 20, "{looked_at}");
}

/// The server says of itself that it is older: nothing is made in it.
#[tokio::test]
async fn an_old_postgresql_is_refused_with_both_versions() {
    let Some(url) = super::postgres::database().await else { return };
    let pool = sqlx::PgPool::connect(&url).await.expect("connected");
    for statement in
        ["CREATE SCHEMA old", "CREATE FUNCTION old.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT '140022' $$"]
    {
        sqlx::query(statement).execute(&pool).await.expect(statement);
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    let place = Place::at(format!("{url}{separator}options=-c%20search_path%3Dold%2Cpg_catalog%2Cpublic"));
    let refused = place.try_open(master("first", 1), NOW).await.expect_err("too old");
    assert!(matches!(refused, StoreError::OldServer { found: 14, needed: 15, .. }), "{refused:?}");
    let words = refused.to_string();
    assert!(words.contains("is PostgreSQL 14; version 15 or newer is needed") && words.contains("upgrade"), "{words}");
    let (tables,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM pg_tables WHERE schemaname IN ('public', 'old')")
        .fetch_one(&pool)
        .await
        .expect("counted");
    assert_eq!(tables, 0, "nothing was written");
    Place::at(url).open().await;
}

/// What PostgreSQL answers when its disk is full, when it is cut off or shuts down, and what is a bug.
#[tokio::test]
async fn a_full_disk_of_postgresql_is_for_later() {
    let Some(url) = super::postgres::database().await else { return };
    let store = Place::at(url).open().await;
    let Db::Postgres(pool) = &store.inner.db else { panic!("PostgreSQL") };
    let raised = async |code: &str| {
        let statement = format!("DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{code}'; END $$");
        let error = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(pool).await.expect_err("raised");
        StoreError::from(error)
    };
    let full = raised("53100").await;
    assert!(matches!(&full, StoreError::Unavailable(words) if words.contains("free space")), "{full:?}");
    assert_eq!(full.reason(), crate::event::Reason::StoreUnavailable);
    for later in ["53200", "57P01", "40001", "55P03", "08006"] {
        assert!(matches!(raised(later).await, StoreError::Unavailable(_)), "{later}");
    }
    assert!(matches!(raised("42601").await, StoreError::Defect(_)));
    // The disk has room again: the same connections go on.
    store.ping().await.expect("answers");
}

/// What either engine would be asked for the time with, in lower case.
const CLOCKS: [&str; 18] = [
    "now()",
    "'now'",
    "\"now\"",
    "current_timestamp",
    "current_time",
    "current_date",
    "localtime",
    "transaction_timestamp",
    "statement_timestamp",
    "clock_timestamp",
    "timeofday",
    "date(",
    "strftime",
    "julianday",
    "unixepoch",
    "timediff",
    "time(",
    "age(",
];

/// No statement asks the database for the time or writes SQL outside a constant.
#[test]
fn time_is_a_parameter_of_every_statement() {
    let mut looked_at = 0;
    let folders = [
        "src/store",
        "migrations/sqlite",
        "migrations/postgres",
        "migrations/person_keys/sqlite",
        "migrations/person_keys/postgres",
    ];
    for folder in folders {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect(folder).flatten() {
            if entry.path().is_dir() || entry.path().ends_with("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).expect("text").to_lowercase();
            looked_at += 1;
            for banned in CLOCKS.iter().chain(&["assertsqlsafe", "querybuilder"]) {
                // `update(` and `page(` ask for nothing.
                let mut found = text.match_indices(banned).map(|(at, _)| text[..at].chars().next_back());
                let is_word = |before: Option<char>| !before.is_some_and(|before| before.is_alphanumeric() || before == '_');
                assert!(!found.any(is_word), "{}: {banned}", entry.path().display());
            }
        }
    }
    assert!(looked_at > 10);
}
