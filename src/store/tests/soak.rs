//! What expires leaves in small batches, and what is made after takes its room.

use super::*;

/// Rows of each kind, made in each round.
const ROWS: usize = 300;
/// Rows that go at once.
const BATCH: u32 = 64;
const ROUNDS: i64 = 6;

/// Everything that expires by itself, one row of each with a fresh name.
async fn fill(store: &Store, now: Timestamp, round: i64) {
    let expires = Timestamp::from_seconds(now.seconds() + 60);
    let event = Trailed { time: now, event: AuditEvent::Reloaded { what: "soak".into() } };
    let (subject, key) =
        ("soak".parse().expect("a subject"), crate::seal::PersonKey::random(&crate::jose::random::SystemRandomness));
    let person = crate::store::NewAccount { subject: &subject, username: "soak", profile: b"{}", password: None };
    store.add_account(&person, &key.expect("a key"), now).await.expect("answered");
    for number in 0..ROWS {
        let name = format!("soak-{round}-{number}");
        let family = name.parse().expect("a family");
        let client_id = "soak".parse().expect("a client");
        let state = [7; 400];
        assert_eq!(store.claim("soak", name.as_bytes(), expires).await.expect("claimed"), Claimed::First);
        store.add_interaction(&name, &state, expires).await.expect("kept");
        store.add_pushed_request(&name, &state, expires).await.expect("kept");
        let code = NewCode { code: &name, family: &family, session: None, state: &state, expires };
        store.issue_code(&code, &Finishes::default(), &event).await.expect("issued");
        let new = NewFamily {
            family: &family,
            client_id: &client_id,
            subject: &subject,
            session: None,
            state: &state,
            created: now,
            expires,
        };
        store.redeem_code(&name, now, Some(&new), &[]).await.expect("redeemed");
    }
}

/// Deletes what has expired at `now`; gives how many batches it took.
async fn clear(store: &Store, now: Timestamp) -> usize {
    let mut batches = 0;
    loop {
        let deleted = [
            store.delete_expired_claims(now, BATCH).await.expect("deleted"),
            store.delete_expired_interactions(now, BATCH).await.expect("deleted"),
            store.delete_expired_pushed_requests(now, BATCH).await.expect("deleted"),
            store.delete_expired_codes(now, BATCH).await.expect("deleted"),
            store.delete_expired_families(now, BATCH).await.expect("deleted"),
        ];
        batches += deleted.iter().filter(|rows| **rows > 0).count();
        assert!(deleted.iter().all(|rows| *rows <= u64::from(BATCH)), "{deleted:?}");
        if deleted.iter().all(|rows| *rows == 0) {
            return batches;
        }
    }
}

async fn number(store: &Store, query: &'static str) -> i64 {
    let (value,): (i64,) = read!(&store.inner.db, fetch_one: sqlx::query_as(query)).expect("a number");
    value
}

on_both_engines! {
    async fn sizes_stay_bounded(place: &Place) {
        let store = place.open().await;
        let mut sizes = Vec::new();
        for round in 0..ROUNDS {
            let now = Timestamp::from_seconds(NOW.seconds() + round * 1_000);
            fill(&store, now, round).await;
            assert_eq!(clear(&store, now).await, 0, "nothing has expired yet");
            let later = Timestamp::from_seconds(now.seconds() + 61);
            let batches = clear(&store, later).await;
            assert!(batches >= 5 * ROWS / BATCH as usize, "{batches}");
            // What was copied to the trail goes too.
            while let pending = store.pending_events(1_000).await.expect("events")
                && !pending.is_empty()
            {
                store.mark_relayed(&pending, later).await.expect("marked");
            }
            while store.delete_relayed_events(Timestamp::from_seconds(later.seconds() + 1), BATCH).await.expect("deleted") > 0 {}
            for query in [
                "SELECT COUNT(*) FROM replay",
                "SELECT COUNT(*) FROM interaction",
                "SELECT COUNT(*) FROM pushed_request",
                "SELECT COUNT(*) FROM authorization_code",
                "SELECT COUNT(*) FROM grant_family",
                "SELECT COUNT(*) FROM audit",
            ] {
                assert_eq!(number(&store, query).await, 0, "{query}");
            }
            if let Db::Sqlite { .. } = &store.inner.db {
                sizes.push(number(&store, "SELECT page_count FROM pragma_page_count()").await);
            }
        }
        if let (Some(second), Some(last)) = (sizes.get(1), sizes.last()) {
            assert!(*last <= second + second / 10, "the file grows: {sizes:?}");
        }
    }
}
