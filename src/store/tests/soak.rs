//! What expires leaves in small batches, and what is made after takes its room. Which tables that is about the schema says: those with
//! a column `expires` or `until`.

use super::*;
use crate::domain::{SessionId, Subject};
use crate::event::SessionEnd;
use crate::seal::PersonKey;

/// Rows of each kind, made in each round.
const ROWS: usize = 160;
/// Rows that go at once.
const BATCH: u32 = 64;
const ROUNDS: i64 = 5;

/// Somebody whose sessions come and go.
async fn person(store: &Store) -> (Subject, PersonKey) {
    let (subject, key) = ("soak".parse().expect("a subject"), PersonKey::random(&SystemRandomness).expect("a key"));
    let new = NewAccount { subject: &subject, username: "soak", profile: b"{}", password: None };
    super::personal::give_key(store, &subject).await;
    store.add_account(&new, &key, NOW).await.expect("added");
    (subject, key)
}

/// Everything that expires by itself, one row of each with a fresh name.
async fn fill(store: &Store, (person, key): &(Subject, PersonKey), now: Timestamp, round: i64) {
    let expires = Timestamp::from_seconds(now.seconds() + 60);
    let most = u32::try_from(ROWS).expect("few") + 1;
    let event = Trailed { time: now, event: AuditEvent::Reloaded { what: "soak".into() } };
    for number in 0..ROWS {
        let name = format!("soak-{round}-{number}");
        let family = name.parse().expect("a family");
        let client_id = "soak".parse().expect("a client");
        let state = [7; 400];
        assert_eq!(store.claim("soak", name.as_bytes(), expires).await.expect("claimed"), Claimed::First);
        store.add_interaction(&name, None, &state, expires).await.expect("kept");
        store.add_pushed_request(&name, &state, expires).await.expect("kept");
        store.begin_passkey_ceremony(&name, &state, expires).await.expect("kept");
        let code = NewCode { code: &name, family: &family, subject: person, session: None, state: &state, expires };
        store.issue_code(&code, &Finishes::default(), &event).await.expect("issued");
        let new = NewFamily {
            family: &family,
            client_id: &client_id,
            subject: person,
            session: None,
            state: &state,
            created: now,
            expires,
            parent: None,
        };
        store.redeem_code(&name, now, Some(&new), &[]).await.expect("redeemed");
        let device = NewDeviceAuthorization {
            device_code: &name,
            user_code: &format!("user-{name}"),
            family: &family,
            request: &state,
            pause: 5,
            expires,
        };
        assert_eq!(store.add_device_authorization(&device).await.expect("added"), DeviceAdded::Added);
        let until = RuleWindow { before: now, expires };
        store.revoke(&rule(&name, until), &event).await.expect("revoked");
        let session_id: SessionId = name.parse().expect("a session id");
        let new = NewSession {
            session_id: &session_id,
            subject: person,
            secret: name.as_bytes(),
            state: &state,
            expires,
            single_factor: true,
            certificate: None,
            as_of: None,
        };
        store.begin_session(&new, key, None, most, until, &event).await.expect("begun").expect("there");
        let seen = SeenCertificate { certificate: name.clone(), key: name.clone(), serial: None, expires };
        assert_eq!(store.note_certificate(&seen).await.expect("noted"), Noted::Known);
    }
}

/// Tables whose rows expire, by the schema's own word.
async fn expiring(store: &Store) -> BTreeSet<String> {
    let tables: Vec<(String,)> = match &store.inner.db {
        Db::Sqlite { reader, .. } => {
            sqlx::query_as(
                "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
                 WHERE m.type = 'table' AND c.name IN ('expires', 'until')",
            )
            .fetch_all(reader)
            .await
        }
        Db::Postgres(pool) => {
            sqlx::query_as(
                "SELECT CAST(table_name AS TEXT) FROM information_schema.columns \
                 WHERE table_schema = 'public' AND column_name IN ('expires', 'until')",
            )
            .fetch_all(pool)
            .await
        }
    }
    .expect("tables");
    assert!(tables.len() >= 7, "{tables:?}");
    tables.into_iter().map(|(table,)| table).collect()
}

/// Rows of a table.
async fn rows(store: &Store, table: &str) -> i64 {
    let query = || sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    let (rows,): (i64,) = read!(&store.inner.db, fetch_one: sqlx::query_as(query())).expect("counted");
    rows
}

/// Deletes what has expired at `now`; gives how many batches it took.
async fn clear(store: &Store, now: Timestamp) -> usize {
    let mut batches = 0;
    loop {
        // What the server itself does, and the sessions.
        let mut deleted = store.delete_expired(now, BATCH).await.expect("deleted").to_vec();
        deleted.push(sessions(store, now).await);
        batches += deleted.iter().filter(|rows| **rows > 0).count();
        assert!(deleted.iter().all(|rows| *rows <= u64::from(BATCH)), "{deleted:?}");
        if deleted.iter().all(|rows| *rows == 0) {
            return batches;
        }
    }
}

/// Ends sessions that have expired.
async fn sessions(store: &Store, now: Timestamp) -> u64 {
    // What they leave behind has expired as well.
    let ending = Ending { why: SessionEnd::Expired, window: RuleWindow { before: now, expires: now }, at: now };
    let ended = store.end_expired_sessions(Timestamp::from_seconds(0), BATCH, &ending).await.expect("ended");
    ended.sessions.len() as u64
}

async fn number(store: &Store, query: &'static str) -> i64 {
    let (value,): (i64,) = read!(&store.inner.db, fetch_one: sqlx::query_as(query)).expect("a number");
    value
}

/// Bytes of every table of a PostgreSQL database with its indexes.
const RELATIONS: &str = "SELECT CAST(SUM(pg_total_relation_size(CAST(oid AS regclass))) AS BIGINT) FROM pg_class \
     WHERE relkind = 'r' AND relnamespace = CAST('public' AS regnamespace)";

on_both_engines! {
    async fn sizes_stay_bounded(place: &Place) {
        let store = place.open().await;
        let (person, tables) = (person(&store).await, expiring(&store).await);
        let mut sizes = Vec::new();
        for round in 0..ROUNDS {
            let now = Timestamp::from_seconds(NOW.seconds() + round * 1_000);
            fill(&store, &person, now, round).await;
            for table in &tables {
                assert!(rows(&store, table).await >= ROWS as i64, "nothing was put into {table}: add it to `fill` and `Store::delete_expired`");
            }
            assert_eq!(clear(&store, now).await, 0, "nothing has expired yet");
            let later = Timestamp::from_seconds(now.seconds() + 61);
            let batches = clear(&store, later).await;
            assert!(batches >= tables.len() * ROWS / BATCH as usize, "{batches}");
            // What was copied to the trail goes too.
            while let pending = store.pending_events(1_000).await.expect("events")
                && !pending.is_empty()
            {
                store.mark_relayed(&pending, later).await.expect("marked");
            }
            while store.delete_relayed_events(Timestamp::from_seconds(later.seconds() + 1), BATCH).await.expect("deleted") > 0 {}
            for table in tables.iter().map(String::as_str).chain(["audit"]) {
                assert_eq!(rows(&store, table).await, 0, "{table}");
            }
            while store.forget_changes(10, BATCH).await.expect("forgotten") > 0 {}
            assert!(rows(&store, "change").await <= 10);
            sizes.push(match &store.inner.db {
                Db::Sqlite { .. } => number(&store, "SELECT page_count FROM pragma_page_count()").await,
                // What autovacuum does by itself, at a moment that a test can rely on.
                Db::Postgres(pool) => {
                    sqlx::query("VACUUM").execute(pool).await.expect("vacuumed");
                    number(&store, RELATIONS).await
                }
            });
        }
        if let (Some(second), Some(last)) = (sizes.get(1), sizes.last()) {
            assert!(*last <= second + second / 10, "the file grows: {sizes:?}");
        }
    }

    /// Twenty thousand rows go, and whoever writes meanwhile waits for a batch at most, not for all of them.
    async fn writers_get_their_turn_between_batches(place: &Place) {
        const MANY: usize = 20_000;
        let store = place.open().await;
        let insert = match &store.inner.db {
            Db::Sqlite { .. } => {
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                 INSERT INTO replay (key_index, until) SELECT randomblob(32), 1 FROM n"
            }
            Db::Postgres(_) => {
                "INSERT INTO replay (key_index, until) SELECT decode(md5(CAST(i AS TEXT)) || md5(CAST(-i AS TEXT)), 'hex'), 1 \
                 FROM generate_series(1, 20000) AS i"
            }
        };
        execute(&store, insert).await;
        assert_eq!(rows(&store, "replay").await, MANY as i64);
        let cleared = std::sync::atomic::AtomicBool::new(false);
        let clearing = async {
            let mut batches = 0;
            while store.delete_expired_claims(NOW, BATCH).await.expect("deleted") > 0 {
                batches += 1;
            }
            cleared.store(true, std::sync::atomic::Ordering::Relaxed);
            batches
        };
        let writing = async {
            let mut written = 0;
            while !cleared.load(std::sync::atomic::Ordering::Relaxed) {
                let value = format!("{written}");
                assert_eq!(store.claim("turn", value.as_bytes(), window(0, i64::MAX).expires).await.expect("claimed"), Claimed::First);
                written += 1;
            }
            written
        };
        let (batches, written) = tokio::join!(clearing, writing);
        assert_eq!(batches, MANY.div_ceil(BATCH as usize));
        assert!(written >= batches / 4, "{written} writes beside {batches} batches");
        assert_eq!(rows(&store, "replay").await, i64::try_from(written).expect("few"));
    }
}
