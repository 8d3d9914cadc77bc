//! What may be used once.

use super::*;

const UNTIL: Timestamp = Timestamp::from_seconds(NOW.seconds() + 60);

async fn claim(store: &Store, purpose: &str, value: &str) -> Claimed {
    store.claim(purpose, value.as_bytes(), UNTIL).await.expect("answered")
}

on_both_engines! {
    async fn a_key_is_claimed_once_for_each_purpose(place: &Place) {
        let store = place.open().await;
        assert_eq!(claim(&store, "assertion", "a").await, Claimed::First);
        assert_eq!(claim(&store, "assertion", "a").await, Claimed::Seen);
        assert_eq!(claim(&store, "assertion", "b").await, Claimed::First);
        assert_eq!(claim(&store, "proof", "a").await, Claimed::First);
        let (index,): (Vec<u8>,) =
            read!(&store.inner.db, fetch_one: sqlx::query_as("SELECT key_index FROM replay LIMIT 1")).expect("row");
        assert_eq!(index.len(), 32, "a hash, not the value");
    }

    async fn of_a_hundred_at_once_at_two_replicas_one_is_first(place: &Place) {
        let stores = [place.open().await, place.open().await];
        for round in 0..3 {
            let value = format!("round {round}");
            let attempts = (0..100).map(|number| {
                let (store, value) = (stores[number % 2].clone(), value.clone());
                tokio::spawn(async move { claim(&store, "assertion", &value).await })
            });
            let mut first = 0;
            for attempt in attempts.collect::<Vec<_>>() {
                first += u32::from(attempt.await.expect("joined") == Claimed::First);
            }
            assert_eq!(first, 1, "{value}");
        }
    }

    async fn replicas_agree_while_the_master_keys_are_changed(place: &Place) {
        let old = place.try_open(masters(&[("first", 1)]), NOW).await.expect("opens");
        let prepared = place.try_open(masters(&[("first", 1), ("second", 2)]), NOW).await.expect("opens");
        let changed = place.try_open(masters(&[("second", 2), ("first", 1)]), NOW).await.expect("opens");
        let stores = [&old, &prepared, &changed];
        for (one, first) in stores.iter().enumerate() {
            for (two, second) in stores.iter().enumerate() {
                let value = format!("{one} {two}");
                assert_eq!(claim(first, "assertion", &value).await, Claimed::First, "{value}");
                assert_eq!(claim(second, "assertion", &value).await, Claimed::Seen, "{value}");
            }
        }
    }

    async fn claims_stay_until_their_time_and_leave_in_batches(place: &Place) {
        let store = place.open().await;
        for number in 0..5 {
            let until = Timestamp::from_seconds(NOW.seconds() + number);
            store.claim("assertion", &[number as u8], until).await.expect("answered");
        }
        let now = Timestamp::from_seconds(NOW.seconds() + 4);
        assert_eq!(store.delete_expired_claims(now, 3).await.expect("deleted"), 3);
        assert_eq!(store.delete_expired_claims(now, 3).await.expect("deleted"), 1);
        assert_eq!(store.delete_expired_claims(now, 3).await.expect("deleted"), 0);
        assert_eq!(store.claim("assertion", &[4], now).await.expect("answered"), Claimed::Seen, "`until` itself included");
    }
}

#[tokio::test]
async fn without_an_answer_nothing_is_first() {
    let store = Place::sqlite().open().await;
    store.close().await;
    assert!(matches!(store.claim("assertion", b"a", UNTIL).await, Err(StoreError::Unavailable(_))));
}
