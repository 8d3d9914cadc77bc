//! Clients that registered themselves.

use super::*;

on_both_engines! {
    async fn a_registration_is_replaced_by_its_own_token_as_it_was_read(place: &Place) {
        let store = place.open().await;
        let (first, next) = (client("alice", r#"{"scope":"read"}"#), client("alice", r#"{"scope":"write"}"#));
        for (client, token) in [(&first, "token"), (&client("bob", "{}"), "other")] {
            assert_eq!(store.register_client(client, token, None, 10, NOW).await.expect("registered"), Registered::Now);
            assert!(store.is_self_registered(&client.client_id).await.expect("an answer"));
        }
        // Bound to a certificate, or to none.
        let bound = crate::domain::Thumbprint::from_bytes([7; 32]);
        assert_eq!(store.register_client(&client("carol", "{}"), "bound", Some(bound), 10, NOW).await.expect("registered"), Registered::Now);
        for (name, token, certificate) in [("alice", "token", None), ("carol", "bound", Some(bound))] {
            let known = store.registration(&id(name), token).await.expect("an answer");
            assert_eq!(known, Some(RegistrationToken { created: NOW, certificate }), "{name}");
        }
        assert_eq!(store.registration(&id("alice"), "bound").await.expect("an answer"), None);
        let replace = async |token: &str, known: &ClientRecord, next: &ClientRecord| {
            store.replace_registration(token, known, next, NOW).await.expect("an answer")
        };
        for token in ["", "other", "token "] {
            assert_eq!(replace(token, &first, &next).await, RegistrationReplaced::Foreign, "{token}");
        }
        // Its secret was replaced since it was read.
        let rotated = ClientRecord { secret: Some(SecretRecord::new(b"new".to_vec(), None)), ..first.clone() };
        store.put_client(&rotated, PutMode::AddOrChange, NOW).await.expect("put");
        assert_eq!(replace("token", &first, &next).await, RegistrationReplaced::ChangedMeanwhile);
        assert_eq!(store.client(&id("alice")).await.expect("get"), Some(rotated.clone()));
        let next = ClientRecord { secret: rotated.secret.clone(), ..next };
        assert_eq!(replace("token", &rotated, &next).await, RegistrationReplaced::Now);
        assert_eq!(replace("token", &next, &next).await, RegistrationReplaced::Now, "nothing new");
        assert_eq!(store.client(&id("alice")).await.expect("get"), Some(next.clone()));
        // Removed, and never back, not even under a new registration by the operator.
        store.remove_client(&id("alice"), window(100, 400), NOW).await.expect("removed");
        assert_eq!(replace("token", &next, &first).await, RegistrationReplaced::Foreign);
        assert_eq!(store.client(&id("alice")).await.expect("get"), None);
        store.put_client(&next, PutMode::Add, NOW).await.expect("put");
        assert!(!store.is_self_registered(&id("alice")).await.expect("an answer"));
        assert_eq!(replace("token", &next, &first).await, RegistrationReplaced::Foreign);
        let told = ["client_added", "client_added", "client_added", "client_changed", "client_changed", "client_removed", "client_added"];
        assert_eq!(events(&store).await, told);
    }
}
