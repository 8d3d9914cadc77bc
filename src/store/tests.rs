//! Written once, run on both engines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::engine::{Db, read};
use super::work::NumberedWork;
use super::*;
use crate::domain::{ClientId, Redacted, RequestId, RuleKind, TokenId};
use crate::event::{AuditEvent, Trailed};
use crate::jose::random::SystemRandomness;

#[path = "../../tests/it/harness/postgres.rs"]
mod postgres;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// One empty database of either engine, and the directory it lives in.
struct Place {
    settings: StoreSettings,
    directory: tempfile::TempDir,
}

impl Place {
    fn sqlite() -> Self {
        Self::at("sqlite:test.db".into())
    }

    fn at(url: String) -> Self {
        let settings = StoreSettings { url, max_connections: 4, wait_seconds: 10 };
        Self { settings, directory: tempfile::tempdir().expect("a temporary directory") }
    }

    async fn open(&self) -> Store {
        self.try_open(ring("first", 1), NOW).await.expect("opens")
    }

    async fn try_open(&self, ring: Arc<KeyRing>, now: Timestamp) -> Result<Store, StoreError> {
        Store::open(&self.settings, self.directory.path(), ring, &SystemRandomness, now).await
    }
}

/// Each function becomes two tests, `sqlite` and `postgres`.
macro_rules! on_both_engines {
    ($($(#[$doc:meta])* async fn $name:ident($place:ident: &Place) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn story($place: &Place) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                story(&Place::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(url) = super::postgres::database().await {
                    story(&Place::at(url)).await;
                }
            }
        }
    )*};
}

fn id(name: &str) -> ClientId {
    name.parse().expect("a client id")
}

fn client(name: &str, metadata: &str) -> ClientRecord {
    ClientRecord { client_id: id(name), metadata_json: metadata.into() }
}

fn window(before: i64, expires: i64) -> RuleWindow {
    RuleWindow { before: Timestamp::from_seconds(before), expires: Timestamp::from_seconds(expires) }
}

fn rule(value: &str, window: RuleWindow) -> NewRule {
    NewRule { kind: RuleKind::TokenId, value: value.into(), window }
}

fn revoked(value: &str) -> Trailed {
    let token_id: TokenId = value.parse().expect("a token id");
    let request_id = RequestId::random(&SystemRandomness).expect("random");
    Trailed { time: NOW, event: AuditEvent::TokenRevoked { request_id, client_id: id("alice"), token_id } }
}

fn signing_key(name: &str) -> SigningKeyRecord {
    SigningKeyRecord {
        key_id: name.parse().expect("a key id"),
        algorithm: "ES256".into(),
        state: SigningKeyState::Current,
        public_jwk: "{}".into(),
        private_pkcs8: Zeroizing::new(b"very private".to_vec()),
        created: NOW,
    }
}

fn next(changes: Changes) -> Vec<Change> {
    match changes {
        Changes::Next(changes) => changes,
        Changes::Forgotten => panic!("forgotten"),
    }
}

async fn events(store: &Store) -> Vec<String> {
    let name = |event: PendingEvent| {
        let line: serde_json::Value = serde_json::from_str(&event.line).expect("JSON");
        assert!(line["time"].is_i64());
        line["event"].as_str().expect("a name").to_owned()
    };
    store.pending_events(1000).await.expect("events").into_iter().map(name).collect()
}

/// Everything in the database, to see that nothing changed.
async fn contents(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    let rows: Vec<(String, Vec<u8>)> =
        read!(&store.inner.db, pool => sqlx::query_as(DEPLOYMENT).fetch_all(pool).await).expect("rows");
    lines.extend(rows.iter().map(|row| format!("{row:?}")));
    lines.push(format!("{:?}", store.changes_after(0, 1000).await.expect("changes")));
    lines.push(format!("{:?}", store.clients().await.expect("clients")));
    lines.push(format!("{:?}", store.revocation_rules(0, 1000).await.expect("rules")));
    lines.push(format!("{:?}", store.pending_events(1000).await.expect("events")));
    lines
}

on_both_engines! {
    async fn a_client_is_added_changed_and_left_alone(place: &Place) {
        let store = place.open().await;
        let alice = client("alice", r#"{"scope":"read"}"#);
        assert_eq!(store.put_client(&alice, PutMode::Add, NOW).await.expect("put"), Put::Added);
        assert_eq!(store.put_client(&alice, PutMode::Add, NOW).await.expect("put"), Put::Exists);
        assert_eq!(store.put_client(&alice, PutMode::AddOrChange, NOW).await.expect("put"), Put::Unchanged);
        let changed = client("alice", r#"{"scope":"write"}"#);
        assert_eq!(store.put_client(&changed, PutMode::AddOrChange, NOW).await.expect("put"), Put::Changed);
        assert_eq!(store.put_client(&client("Alice", "{}"), PutMode::AddOrChange, NOW).await.expect("put"), Put::Added, "case counts");
        assert_eq!(store.client(&id("alice")).await.expect("get"), Some(changed.clone()));
        assert_eq!(store.client(&id("bob")).await.expect("get"), None);
        assert_eq!(store.clients().await.expect("list"), [client("Alice", "{}"), changed], "in the order of bytes on both engines");
        let changes = next(store.changes_after(0, 10).await.expect("feed"));
        let said: Vec<_> = changes.iter().map(|change| (change.sequence, change.kind, change.key.as_str())).collect();
        assert_eq!(said, [(1, ChangeKind::Client, "alice"), (2, ChangeKind::Client, "alice"), (3, ChangeKind::Client, "Alice")]);
        assert_eq!(events(&store).await, ["client_added", "client_changed", "client_added"]);
    }

    async fn a_removed_client_leaves_a_rule_in_the_same_transaction(place: &Place) {
        let store = place.open().await;
        assert_eq!(store.remove_client(&id("alice"), window(1, 2), NOW).await.expect("nothing to remove"), None);
        assert_eq!(store.sequence().await.expect("sequence"), 0);
        store.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
        let rule = store.remove_client(&id("alice"), window(100, 400), NOW).await.expect("removed").expect("a rule");
        assert_eq!((rule.kind, rule.value.as_str(), rule.before.seconds(), rule.expires.seconds()), (RuleKind::Client, "alice", 100, 400));
        assert_eq!(store.client(&id("alice")).await.expect("get"), None);
        assert_eq!(store.revocation_rules(0, 10).await.expect("rules"), [rule.clone()]);
        let kinds: Vec<_> = next(store.changes_after(1, 10).await.expect("feed")).iter().map(|change| (change.sequence, change.kind)).collect();
        assert_eq!(kinds, [(2, ChangeKind::Client), (rule.sequence, ChangeKind::Revocation)]);
        assert_eq!(events(&store).await, ["client_added", "client_removed"]);
        // Added again: what was issued before stays revoked.
        store.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
        assert_eq!(store.revocation_rules(0, 10).await.expect("rules"), [rule]);
    }

    async fn nothing_of_a_removal_stays_when_its_last_statement_fails(place: &Place) {
        let store = place.open().await;
        store.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
        let before = contents(&store).await;
        // The audit table is gone: the event cannot be written, so neither removal nor rule may be.
        let hide = "ALTER TABLE audit RENAME TO hidden";
        let show = "ALTER TABLE hidden RENAME TO audit";
        execute(&store, hide).await;
        let error = store.remove_client(&id("alice"), window(100, 400), NOW).await.expect_err("no audit table");
        assert!(matches!(error, StoreError::Defect(_)), "{error}");
        execute(&store, show).await;
        assert_eq!(contents(&store).await, before);
    }

    async fn of_two_rules_for_one_value_the_later_moments_count(place: &Place) {
        let store = place.open().await;
        let first = store.revoke(&rule("t1", window(100, 400)), &revoked("t1")).await.expect("rule");
        assert_eq!(store.revoke(&rule("t1", window(100, 400)), &revoked("t1")).await.expect("rule"), first, "nothing new");
        assert_eq!(store.revoke(&rule("t1", window(90, 300)), &revoked("t1")).await.expect("rule"), first, "weaker");
        assert_eq!(events(&store).await.len(), 1, "nothing was written");
        let later = store.revoke(&rule("t1", window(50, 500)), &revoked("t1")).await.expect("rule");
        assert_eq!((later.sequence, later.before.seconds(), later.expires.seconds()), (2, 100, 500));
        let other = store.revoke(&rule("t2", window(1, 2)), &revoked("t2")).await.expect("rule");
        assert_eq!(store.revocation_rules(0, 10).await.expect("rules"), [later.clone(), other.clone()]);
        assert_eq!(store.revocation_rules(0, 1).await.expect("rules"), [later]);
        assert_eq!(store.revocation_rules(2, 10).await.expect("rules"), [other]);
    }

    async fn expired_rules_leave_in_batches(place: &Place) {
        let store = place.open().await;
        for number in 0..5 {
            let value = format!("t{number}");
            store.revoke(&rule(&value, window(1, 100 + number)), &revoked(&value)).await.expect("rule");
        }
        let now = Timestamp::from_seconds(103);
        assert_eq!(store.delete_expired_rules(now, 3).await.expect("deleted"), 3);
        assert_eq!(store.delete_expired_rules(now, 3).await.expect("deleted"), 1);
        assert_eq!(store.delete_expired_rules(now, 3).await.expect("deleted"), 0);
        let left: Vec<_> = store.revocation_rules(0, 10).await.expect("rules").into_iter().map(|rule| rule.value).collect();
        assert_eq!(left, ["t4"], "at `expires` nothing it could hit is alive");
        assert_eq!(store.sequence().await.expect("sequence"), 5);
    }

    async fn of_many_replicas_one_makes_the_signing_key(place: &Place) {
        let stores = [place.open().await, place.open().await];
        let attempts = (0..10).map(|number| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move { store.add_signing_key_if_none(&signing_key(&format!("key-{number}"))).await.expect("tried") })
        });
        let mut added = 0;
        for attempt in attempts.collect::<Vec<_>>() {
            added += u32::from(attempt.await.expect("joined") == KeyAdded::Added);
        }
        assert_eq!(added, 1);
        let keys = stores[0].signing_keys().await.expect("keys");
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].private_pkcs8.as_slice(), b"very private");
        assert_eq!(keys[0].state, SigningKeyState::Current);
        assert_eq!(events(&stores[1]).await, ["signing_key_created"]);
        assert!(!format!("{keys:?}").contains("118"), "no private byte in Debug");
        let (sealed,): (Vec<u8>,) =
            read!(&stores[0].inner.db, pool => sqlx::query_as("SELECT private_sealed FROM signing_key").fetch_one(pool).await).expect("row");
        assert!(!sealed.windows(12).any(|window| window == b"very private"));
    }

    async fn a_sealed_value_opens_in_its_own_row_only(place: &Place) {
        let store = place.open().await;
        store.add_signing_key_if_none(&signing_key("one")).await.expect("added");
        execute(&store, "UPDATE signing_key SET key_id = 'two'").await;
        let error = store.signing_keys().await.expect_err("moved");
        assert!(matches!(&error, StoreError::Seal { column, row, .. } if column == "signing_key.private_sealed" && row == "two"), "{error}");
        execute(&store, "UPDATE signing_key SET key_id = 'one', private_sealed = (SELECT canary_sealed FROM deployment)").await;
        let error = store.signing_keys().await.expect_err("another column's value");
        assert!(matches!(error, StoreError::Seal { .. }), "{error}");
    }

    async fn every_binary_column_is_sealed_or_an_index(place: &Place) {
        let store = place.open().await;
        let listed: Vec<(String, String)> = match &store.inner.db {
            Db::Sqlite { reader, .. } => sqlx::query_as(
                "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
                 WHERE m.type = 'table' AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND c.type = 'BLOB'",
            )
            .fetch_all(reader)
            .await,
            Db::Postgres(pool) => sqlx::query_as(
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
                 WHERE table_schema = 'public' AND table_name NOT LIKE '\\_%' AND data_type = 'bytea'",
            )
            .fetch_all(pool)
            .await,
        }
        .expect("columns");
        let sealed: BTreeSet<_> = listed.into_iter().filter(|(_, column)| !column.ends_with("_index")).collect();
        let known: BTreeSet<_> =
            sealed::SEALED_COLUMNS.iter().map(|known| (known.table.to_owned(), known.column.to_owned())).collect();
        assert_eq!(sealed, known);
        assert!(sealed.iter().all(|(_, column)| column.ends_with("_sealed")));
    }

    async fn a_number_is_seen_only_after_every_smaller_one(place: &Place) {
        let (one, two) = (place.open().await, place.open().await);
        // The first unit of work has its number and dawdles.
        let mut slow = NumberedWork::begin(&one.inner.db).await.expect("begun");
        assert_eq!(slow.record_change(ChangeKind::Client, "slow", NOW).await.expect("recorded"), 1);
        let quick = tokio::spawn({
            let two = two.clone();
            async move { two.put_client(&client("quick", "{}"), PutMode::Add, NOW).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!quick.is_finished(), "the second must wait for the first");
        assert_eq!(two.changes_after(0, 10).await.expect("feed"), Changes::Next(vec![]));
        let event = Trailed { time: NOW, event: AuditEvent::ClientAdded { client_id: id("slow") } };
        slow.commit(&one, &event).await.expect("committed");
        assert_eq!(quick.await.expect("joined").expect("put"), Put::Added);
        let keys: Vec<_> = next(one.changes_after(0, 10).await.expect("feed")).into_iter().map(|change| change.key).collect();
        assert_eq!(keys, ["slow", "quick"]);
    }

    async fn no_late_commit_is_skipped_under_concurrency(place: &Place) {
        const WRITERS: usize = 6;
        const EACH: usize = 15;
        let stores = [place.open().await, place.open().await];
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = stores[writer % 2].clone();
                tokio::spawn(async move {
                    for number in 0..EACH {
                        let name = format!("c-{writer}-{number}");
                        store.put_client(&client(&name, "{}"), PutMode::Add, NOW).await.expect("put");
                        if number % 3 == 0 {
                            // Takes the lock, finds nothing to do, and must leave no gap.
                            store.put_client(&client(&name, "{}"), PutMode::Add, NOW).await.expect("put");
                        }
                    }
                })
            })
            .collect();
        let reader = place.open().await;
        let watch = reader.watch_changes();
        let mut cursor = watch.cursor(0);
        let mut seen = Vec::new();
        while seen.len() < WRITERS * EACH {
            let page = tokio::time::timeout(Duration::from_secs(30), cursor.next()).await.expect("no change is missed").expect("page");
            seen.extend(next(page));
        }
        for writer in writers {
            writer.await.expect("joined");
        }
        let numbers: Vec<_> = seen.iter().map(|change| change.sequence).collect();
        assert_eq!(numbers, (1..=(WRITERS * EACH) as i64).collect::<Vec<_>>());
        let keys: BTreeSet<_> = seen.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys.len(), WRITERS * EACH);
        assert_eq!(reader.clients().await.expect("clients").len(), WRITERS * EACH);
    }

    async fn a_change_elsewhere_is_known_within_a_second(place: &Place) {
        let (here, there) = (place.open().await, place.open().await);
        let watch = here.watch_changes();
        let mut newest = watch.subscribe();
        for number in 1..=3 {
            there.put_client(&client(&format!("c{number}"), "{}"), PutMode::Add, NOW).await.expect("put");
            let within = tokio::time::timeout(Duration::from_secs(1), newest.wait_for(|sequence| *sequence >= number)).await;
            assert_eq!(*within.expect("within a second").expect("watching"), number);
        }
        // Changes of this process are known at once, whatever the poll does.
        drop(watch);
        here.put_client(&client("c4", "{}"), PutMode::Add, NOW).await.expect("put");
        assert_eq!(*newest.borrow(), 4);
    }

    async fn whoever_is_too_far_behind_is_told_to_read_anew(place: &Place) {
        let store = place.open().await;
        for number in 0..6 {
            store.put_client(&client(&format!("c{number}"), "{}"), PutMode::Add, NOW).await.expect("put");
        }
        assert_eq!(store.forget_changes(2, 3).await.expect("forgotten"), 3);
        assert_eq!(store.forget_changes(2, 3).await.expect("forgotten"), 1);
        assert_eq!(store.forget_changes(2, 3).await.expect("forgotten"), 0);
        assert_eq!(store.changes_after(3, 10).await.expect("feed"), Changes::Forgotten);
        assert_eq!(next(store.changes_after(4, 10).await.expect("feed")).len(), 2);
        assert_eq!(store.changes_after(7, 10).await.expect("feed"), Changes::Forgotten, "a number from before a restore");
        let watch = store.watch_changes();
        let mut cursor = watch.cursor(0);
        assert_eq!(cursor.next().await.expect("feed"), Changes::Forgotten);
        assert_eq!(cursor.position(), 6);
    }

    async fn another_deployments_keys_are_refused_and_nothing_is_written(place: &Place) {
        let store = place.open().await;
        store.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
        store.add_signing_key_if_none(&signing_key("one")).await.expect("added");
        let before = contents(&store).await;
        let error = place.try_open(ring("second", 2), NOW).await.expect_err("wrong key");
        assert!(matches!(&error, StoreError::MasterKey { deployment, .. } if deployment == store.deployment()), "{error}");
        let text = error.to_string();
        assert!(text.contains("`second`") && text.contains(store.deployment().as_str()) && text.contains("nothing was written"), "{text}");
        // The same name for another key is no better.
        let error = place.try_open(ring("first", 2), NOW).await.expect_err("wrong key");
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
        let error = place.try_open(ring("first", 1), NOW).await.expect_err("newer");
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

    async fn events_are_relayed_and_then_forgotten(place: &Place) {
        let store = place.open().await;
        store.put_client(&client("a", "{}"), PutMode::Add, NOW).await.expect("put");
        store.put_client(&client("b", "{}"), PutMode::Add, NOW).await.expect("put");
        let pending = store.pending_events(1).await.expect("events");
        assert_eq!(pending.len(), 1);
        store.mark_relayed(&pending, NOW).await.expect("marked");
        assert_eq!(events(&store).await, ["client_added"]);
        assert_eq!(store.delete_relayed_events(NOW, 10).await.expect("deleted"), 0);
        assert_eq!(store.delete_relayed_events(Timestamp::from_seconds(NOW.seconds() + 1), 10).await.expect("deleted"), 1);
        assert_eq!(events(&store).await.len(), 1, "what is pending stays");
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
                let Db::Postgres(hasty) = &other.inner.db else { panic!("the same engine") };
                for pool in [pool, hasty] {
                    let (commit,): (String,) = sqlx::query_as("SHOW synchronous_commit").fetch_one(pool).await.expect("shown");
                    assert_eq!(commit, "on");
                }
            }
        }
    }

    async fn another_process_writes_and_is_noticed(place: &Place) {
        let store = place.open().await;
        let watch = store.watch_changes();
        let mut newest = watch.subscribe();
        let url = match place.settings.url.strip_prefix("sqlite:") {
            Some(file) => format!("sqlite:{}", place.directory.path().join(file).display()),
            None => place.settings.url.clone(),
        };
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "store::tests::another_process", "--ignored", "--nocapture"])
            .env("SYMBOLON_TEST_STORE", url)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a second process");
        let writing = async {
            for number in 0..20 {
                store.put_client(&client(&format!("here-{number}"), "{}"), PutMode::Add, NOW).await.expect("put");
            }
        };
        let noticing = tokio::time::timeout(Duration::from_secs(30), newest.wait_for(|sequence| *sequence >= 40));
        let ((), noticed) = tokio::join!(writing, noticing);
        assert_eq!(*noticed.expect("noticed").expect("watching"), 40);
        assert!(child.wait().expect("ended").success());
        let numbers: Vec<_> = next(store.changes_after(0, 100).await.expect("feed")).iter().map(|change| change.sequence).collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    }
}

/// The second process of `another_process_writes_and_is_noticed`.
#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn another_process() {
    let Ok(url) = std::env::var("SYMBOLON_TEST_STORE") else { return };
    let store = Place::at(url).open().await;
    for number in 0..20 {
        store.put_client(&client(&format!("there-{number}"), "{}"), PutMode::Add, NOW).await.expect("put");
    }
}

async fn execute(store: &Store, statement: &'static str) {
    match &store.inner.db {
        Db::Sqlite { writer, .. } => sqlx::query(statement).execute(writer).await.map(drop),
        Db::Postgres(pool) => sqlx::query(statement).execute(pool).await.map(drop),
    }
    .expect(statement);
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
        let error = Store::open(&settings, directory, ring("first", 1), &SystemRandomness, NOW).await.expect_err(url);
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

/// No statement asks the database for the time or writes SQL outside a constant.
#[test]
fn time_is_a_parameter_of_every_statement() {
    let mut looked_at = 0;
    for folder in ["src/store", "migrations/sqlite", "migrations/postgres"] {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect(folder).flatten() {
            let text = std::fs::read_to_string(entry.path()).expect("text").to_lowercase();
            if entry.path().ends_with("tests.rs") {
                continue;
            }
            looked_at += 1;
            for banned in ["now()", "current_timestamp", "current_time", "strftime", "datetime(", "assertsqlsafe", "querybuilder"]
            {
                assert!(!text.contains(banned), "{}: {banned}", entry.path().display());
            }
        }
    }
    assert!(looked_at > 10);
}

/// A ring of one key, made of one repeated byte.
fn ring(name: &str, byte: u8) -> Arc<KeyRing> {
    let key = (name.parse().expect("a key id"), Redacted::new([byte; 32]));
    Arc::new(KeyRing::from_keys(vec![key]).expect("a ring"))
}
