//! Clients, revocation rules, signing keys, audit events.

use super::*;

on_both_engines! {
    async fn a_client_is_added_changed_and_left_alone(place: &Place) {
        let store = place.open().await;
        let alice = client("alice", r#"{"scope":"read"}"#);
        assert_eq!(store.put_client(&alice, PutMode::Add, NOW).await.expect("put"), Put::Added);
        assert_eq!(store.put_client(&alice, PutMode::Add, NOW).await.expect("put"), Put::Exists);
        assert_eq!(store.put_client(&alice, PutMode::AddOrChange, NOW).await.expect("put"), Put::Unchanged);
        let changed = client("alice", r#"{"scope":"write"}"#);
        assert_eq!(store.put_client(&changed, PutMode::AddOrChange, NOW).await.expect("put"), Put::Changed);
        let other = client("Alice", "{}");
        assert_eq!(store.put_client(&other, PutMode::AddOrChange, NOW).await.expect("put"), Put::Added, "case counts");
        assert_eq!(store.client(&id("alice")).await.expect("get"), Some(changed.clone()));
        assert_eq!(store.client(&id("bob")).await.expect("get"), None);
        assert_eq!(store.clients().await.expect("list"), [other, changed], "in the order of bytes on both engines");
        let changes = next(store.changes_after(0, 10).await.expect("feed"));
        let said: Vec<_> = changes.iter().map(|change| (change.sequence, change.kind, change.key.as_str())).collect();
        assert_eq!(said, [(1, ChangeKind::Client, "alice"), (2, ChangeKind::Client, "alice"), (3, ChangeKind::Client, "Alice")]);
        assert_eq!(events(&store).await, ["client_added", "client_changed", "client_added"]);
    }

    async fn a_registration_is_changed_if_it_is_the_known_one(place: &Place) {
        let store = place.open().await;
        let (first, second) = (client("alice", r#"{"scope":"read"}"#), client("alice", r#"{"scope":"write"}"#));
        let put = async |to: &ClientRecord, from| store.put_client(to, PutMode::Change(from), NOW).await.expect("put");
        assert_eq!(put(&first, &first).await, Put::ChangedMeanwhile, "there is none");
        assert_eq!(store.put_client(&first, PutMode::Add, NOW).await.expect("put"), Put::Added);
        assert_eq!(put(&second, &second).await, Put::ChangedMeanwhile, "it is another one");
        assert_eq!(put(&first, &first).await, Put::Unchanged);
        assert_eq!(put(&second, &first).await, Put::Changed);
        assert_eq!(put(&first, &first).await, Put::ChangedMeanwhile, "it was");
        assert_eq!(events(&store).await, ["client_added", "client_changed"]);
    }

    async fn clients_come_in_pages(place: &Place) {
        let store = place.open().await;
        for name in ["b", "a", "c"] {
            store.put_client(&client(name, "{}"), PutMode::Add, NOW).await.expect("put");
        }
        let page = async |after: &str| -> Vec<String> {
            let page = store.clients_after(after, 2).await.expect("a page");
            page.into_iter().map(|client| client.client_id.to_string()).collect()
        };
        assert_eq!((page("").await, page("b").await), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
        assert!(page("c").await.is_empty());
    }

    async fn a_change_names_the_administrator_who_asked_for_it(place: &Place) {
        use crate::event::Administrator;
        let store = place.open().await;
        let administrator = Administrator {
            client_id: id("operator"),
            subject: "somebody".parse().expect("a subject"),
            token_id: Some("token".parse().expect("an id")),
            request_id: "request".parse().expect("an id"),
        };
        let theirs = store.in_hands_of(std::sync::Arc::new(administrator));
        theirs.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
        store.put_client(&client("bob", "{}"), PutMode::Add, NOW).await.expect("put");
        let lines = store.pending_events(10).await.expect("events");
        let by: Vec<serde_json::Value> =
            lines.iter().map(|event| serde_json::from_str::<serde_json::Value>(&event.line).expect("JSON")["by"].clone()).collect();
        let told = serde_json::json!({
            "client_id": "operator", "subject": "somebody", "token_id": "token", "request_id": "request",
        });
        assert_eq!(by, [told, serde_json::Value::Null]);
    }

    async fn a_secret_lives_and_goes_with_its_registration(place: &Place) {
        let store = place.open().await;
        let with = |secret: Option<&str>| ClientRecord {
            secret: secret.map(|text| SecretRecord::new(text.as_bytes().to_vec(), None)), ..client("alice", "{}")
        };
        let one = with(Some("one very secret"));
        assert_eq!(store.put_client(&one, PutMode::Add, NOW).await.expect("put"), Put::Added);
        assert_eq!(store.client(&id("alice")).await.expect("get"), Some(one.clone()));
        assert_eq!(store.clients().await.expect("list"), std::slice::from_ref(&one));
        assert!(!format!("{one:?}").contains("very"), "{one:?}");
        assert_eq!(store.put_client(&one, PutMode::AddOrChange, NOW).await.expect("put"), Put::Unchanged);
        let sealed = async || -> Vec<(Vec<u8>,)> {
            read!(&store.inner.db, fetch_all: sqlx::query_as("SELECT secret_sealed FROM client_secret")).expect("rows")
        };
        assert!(!sealed().await[0].0.windows(4).any(|window| window == b"very"));
        let two = with(Some("two"));
        assert_eq!(store.put_client(&two, PutMode::AddOrChange, NOW).await.expect("put"), Put::Changed);
        assert_eq!(store.client(&id("alice")).await.expect("get"), Some(two.clone()));
        assert_eq!(store.put_client(&with(None), PutMode::AddOrChange, NOW).await.expect("put"), Put::Changed);
        assert_eq!(sealed().await.len(), 0);
        store.put_client(&two, PutMode::AddOrChange, NOW).await.expect("put");
        store.remove_client(&id("alice"), window(100, 400), NOW).await.expect("removed");
        assert_eq!(sealed().await.len(), 0);
        // A secret opens for its own client alone.
        store.put_client(&two, PutMode::Add, NOW).await.expect("put");
        store.put_client(&client("bob", "{}"), PutMode::Add, NOW).await.expect("put");
        execute(&store, "UPDATE client_secret SET client_id = 'bob'").await;
        assert!(matches!(store.client(&id("bob")).await, Err(StoreError::Seal { .. })));
        assert_eq!(store.client(&id("alice")).await.expect("get"), Some(with(None)));
    }

    async fn a_removed_client_leaves_a_rule_in_the_same_transaction(place: &Place) {
        let store = place.open().await;
        assert_eq!(store.remove_client(&id("alice"), window(1, 2), NOW).await.expect("nothing to remove"), None);
        assert_eq!(store.sequence().await.expect("sequence"), 0);
        store.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
        let rules = store.remove_client(&id("alice"), window(100, 400), NOW).await.expect("removed").expect("there");
        let [rule] = rules.as_slice() else { panic!("{rules:?}") };
        assert_eq!((rule.kind, rule.value.as_str()), (RuleKind::Client, "alice"));
        assert_eq!((rule.before.seconds(), rule.expires.seconds()), (100, 400));
        assert_eq!(store.client(&id("alice")).await.expect("get"), None);
        assert_eq!(store.revocation_rules(0, 10).await.expect("rules"), rules);
        let changes = next(store.changes_after(1, 10).await.expect("feed"));
        let kinds: Vec<_> = changes.iter().map(|change| (change.sequence, change.kind)).collect();
        assert_eq!(kinds, [(2, ChangeKind::Client), (rule.sequence, ChangeKind::Revocation)]);
        assert_eq!(events(&store).await, ["client_added", "client_removed"]);
        // Added again: what was issued before stays revoked.
        store.put_client(&client("alice", "{}"), PutMode::Add, NOW).await.expect("put");
        assert_eq!(store.revocation_rules(0, 10).await.expect("rules"), rules);
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
            let key = signing_key(&format!("key-{number}"));
            tokio::spawn(async move { store.add_signing_key(&key).await.expect("tried") })
        });
        let mut added = 0;
        for attempt in attempts.collect::<Vec<_>>() {
            added += u32::from(attempt.await.expect("joined") == KeyStep::Taken);
        }
        assert_eq!(added, 1);
        let keys = stores[0].signing_keys().await.expect("keys");
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].private_pkcs8.as_slice(), b"very private");
        assert_eq!(keys[0].state, SigningKeyState::Current);
        assert_eq!(events(&stores[1]).await, ["signing_key_created"]);
        assert!(!format!("{keys:?}").contains("118"), "no private byte in Debug");
        let (sealed,): (Vec<u8>,) =
            read!(&stores[0].inner.db, fetch_one: sqlx::query_as("SELECT private_sealed FROM signing_key")).expect("row");
        assert!(!sealed.windows(12).any(|window| window == b"very private"));
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
}
