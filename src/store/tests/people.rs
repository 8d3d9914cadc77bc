//! Accounts, sessions in browsers, and the keys of people.

use super::*;
use crate::domain::{Lifetime, SessionId, Subject};
use crate::event::SessionEnd;
use crate::seal::PersonKey;

const PROFILE_JSON: &[u8] = br#"{"name":"Alice Liddell"}"#;

/// A store and its keys.
struct Registry {
    store: Store,
    keys: PersonKeys,
}

async fn registry(place: &Place) -> Registry {
    let store = place.open().await;
    let keys = keys(place, &store).await.expect("opens");
    Registry { store, keys }
}

async fn keys(place: &Place, store: &Store) -> Result<PersonKeys, StoreError> {
    PersonKeys::open(&place.settings, place.directory.path(), store, NOW).await
}

fn subject(name: &str) -> Subject {
    name.parse().expect("a subject")
}

fn sid(name: &str) -> SessionId {
    name.parse().expect("a session id")
}

impl Registry {
    async fn add(&self, name: &str) -> (Subject, PersonKey) {
        let subject = subject(&format!("subject-of-{name}"));
        let key = PersonKey::random(&SystemRandomness).expect("a key");
        self.keys.add(&self.keys.seal_key(&subject, &key).expect("sealed"), NOW).await.expect("stored");
        let new = NewAccount { subject: &subject, username: name, profile: PROFILE_JSON, password: Some("$argon2id$x") };
        assert_eq!(self.store.add_account(&new, &key, NOW).await.expect("added"), Added::Added);
        (subject, key)
    }

    async fn begin(&self, whose: &(Subject, PersonKey), name: &str, at: i64, most: u32) -> bool {
        let (session_id, time) = (sid(name), Timestamp::from_seconds(at));
        let new = NewSession {
            session_id: &session_id,
            subject: &whose.0,
            secret: name.as_bytes(),
            state: b"{}",
            expires: Timestamp::from_seconds(at + 1_000),
            single_factor: true,
            certificate: None,
        };
        let event = Trailed { time, event: AuditEvent::AccountChanged { subject: whose.0.clone() } };
        self.store.begin_session(&new, &whose.1, None, most, window(100, 400), &event).await.expect("begun").is_some()
    }

    async fn live(&self, whose: &(Subject, PersonKey)) -> Vec<String> {
        let sessions = self.store.sessions_of(&whose.0).await.expect("sessions");
        sessions.iter().map(|session| session.session_id.to_string()).collect()
    }
}

fn ending(why: SessionEnd, at: Timestamp) -> Ending {
    Ending { why, window: window(100, 400), at }
}

async fn ended(store: &Store) -> Vec<(String, String)> {
    let said = |event: PendingEvent| {
        let line: serde_json::Value = serde_json::from_str(&event.line).expect("JSON");
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (line["event"] == "session_ended").then(|| (text("session_id"), text("why")))
    };
    store.pending_events(1_000).await.expect("events").into_iter().filter_map(said).collect()
}

on_both_engines! {
    async fn a_second_factor_counts_once_and_goes_with_its_person(place: &Place) {
        let Registry { store, keys } = registry(place).await;
        let registry = Registry { store: store.clone(), keys };
        let alice = registry.add("alice").await;
        for name in ["here", "elsewhere"] {
            assert!(registry.begin(&alice, name, NOW.seconds(), 10).await);
        }
        let codes = ["FIRST".to_owned(), "SECOND".to_owned()];
        let new = NewSecondFactor {
            subject: &alice.0,
            secret: b"the secret itself",
            step: 7,
            recovery_codes: &codes,
            kept: &sid("here"),
            window: window(100, 400),
        };
        assert!(store.totp(&alice.0).await.expect("read").is_none());
        let ended = store.add_second_factor(&new, &alice.1, NOW).await.expect("added").expect("the first");
        assert_eq!(ended.sessions, [sid("elsewhere")]);
        assert!(store.add_second_factor(&new, &alice.1, NOW).await.expect("answered").is_none(), "there is one");
        let totp = store.totp(&alice.0).await.expect("read").expect("there");
        assert_eq!(store.open_totp(&totp, &alice.1).expect("opens").as_slice(), b"the secret itself");
        let other = PersonKey::random(&SystemRandomness).expect("a key");
        assert!(store.open_totp(&totp, &other).is_err(), "it opens with the person's key alone");
        for (step, counts) in [(7, false), (6, false), (8, true), (8, false), (10, true), (9, false)] {
            assert_eq!(store.use_totp_step(&alice.0, step).await.expect("answered"), counts, "{step}");
        }
        let bob = registry.add("bob").await;
        assert!(!store.use_recovery_code(&bob.0, "FIRST", NOW).await.expect("answered"), "another person's");
        assert!(store.use_recovery_code(&alice.0, "FIRST", NOW).await.expect("used"));
        assert!(!store.use_recovery_code(&alice.0, "FIRST", NOW).await.expect("answered"), "once");
        assert_eq!(store.recovery_codes_left(&alice.0).await.expect("counted"), 1);
        assert!(store.remove_account(&alice.0, window(100, 400), NOW).await.expect("removed"));
        assert!(store.totp(&alice.0).await.expect("read").is_none());
        assert_eq!(store.recovery_codes_left(&alice.0).await.expect("counted"), 0);
        assert!(!store.remove_second_factor(&alice.0, NOW).await.expect("answered"));
        let recorded = events(&store).await;
        assert!(["second_factor_added", "recovery_code_used"].iter().all(|name| recorded.iter().any(|event| event == name)));
    }

    async fn a_certificate_names_one_account_and_goes_with_its_person(place: &Place) {
        let Registry { store, keys } = registry(place).await;
        let registry = Registry { store: store.clone(), keys };
        let (alice, bob) = (registry.add("alice").await, registry.add("bob").await);
        let link = async |name: &str, whose: &(Subject, PersonKey), known_by: &str| {
            let link = name.parse().expect("a name");
            let new = NewCertificateLink { link: &link, subject: &whose.0, known_by, label: b"its label", most: 2 };
            store.link_certificate(&new, &whose.1, NOW).await.expect("answered")
        };
        assert_eq!(link("one", &alice, "key 1").await, Linked::Now);
        assert_eq!(link("two", &bob, "key 1").await, Linked::Taken);
        assert_eq!(link("two", &alice, "key 1").await, Linked::Taken);
        assert_eq!(link("two", &alice, "key 2").await, Linked::Now);
        assert_eq!(link("three", &alice, "key 3").await, Linked::TooMany);
        assert_eq!(store.linked_account("key 1").await.expect("read"), Some(alice.0.clone()));
        assert_eq!(store.linked_account("key 3").await.expect("read"), None);
        let links = store.certificate_links(&alice.0).await.expect("read");
        assert_eq!(links.iter().map(|link| link.link.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(store.open_certificate_link(&links[0], &alice.1).expect("opens").as_slice(), b"its label");
        assert!(store.open_certificate_link(&links[0], &bob.1).is_err(), "it opens with the person's key alone");

        for name in ["here", "elsewhere"] {
            assert!(registry.begin(&alice, name, NOW.seconds(), 10).await);
        }
        let (one, here) = ("one".parse().expect("a name"), sid("here"));
        let unlink = async |subject: &Subject| {
            store.unlink_certificate(&one, subject, Unlinking::Person(&here), window(100, 400), NOW).await.expect("answered")
        };
        assert_eq!(unlink(&bob.0).await, Unlinked::Absent, "another person's");
        let changed = async |whose: &Subject| store.account(whose).await.expect("asked").expect("found").changed;
        let before = changed(&alice.0).await;
        assert!(matches!(unlink(&alice.0).await, Unlinked::Now(ended) if ended.sessions == [sid("elsewhere")]));
        assert!(changed(&alice.0).await > before, "a sign-in that waits for the second factor is over, also of the same second");
        assert_eq!(changed(&bob.0).await, NOW);
        assert_eq!(unlink(&alice.0).await, Unlinked::Absent, "once");
        assert_eq!(link("four", &bob, "key 1").await, Linked::Now, "it is free again");
        assert!(store.remove_account(&alice.0, window(100, 400), NOW).await.expect("removed"));
        assert_eq!(store.linked_account("key 2").await.expect("read"), None);
        assert_eq!(link("five", &alice, "key 5").await, Linked::NoAccount);
        let recorded = events(&store).await;
        let times = |name: &str| recorded.iter().filter(|event| *event == name).count();
        assert_eq!((times("certificate_linked"), times("certificate_unlinked")), (3, 1));
    }

    async fn a_passkey_is_one_persons_counts_up_and_goes_with_them(place: &Place) {
        let Registry { store, keys } = registry(place).await;
        let registry = Registry { store: store.clone(), keys };
        let (alice, bob) = (registry.add("alice").await, registry.add("bob").await);
        let add = async |name: &str, whose: &(Subject, PersonKey), credential_id: &[u8], sign_count| {
            let passkey = name.parse().expect("a name");
            let new = NewPasskey {
                passkey: &passkey,
                subject: &whose.0,
                credential_id,
                credential: b"its key",
                sign_count,
                most: 2,
            };
            store.add_passkey(&new, &whose.1, NOW).await.expect("answered")
        };
        assert_eq!(add("one", &alice, b"id 1", 5).await, PasskeyAdded::Now);
        assert_eq!(add("two", &bob, b"id 1", 5).await, PasskeyAdded::Taken);
        assert_eq!(add("two", &alice, b"id 1", 5).await, PasskeyAdded::Taken);
        assert_eq!(add("two", &alice, b"id 2", 0).await, PasskeyAdded::Now);
        assert_eq!(add("three", &alice, b"id 3", 0).await, PasskeyAdded::TooMany);
        assert!(store.passkey_with(b"id 3").await.expect("read").is_none());
        let one = store.passkey_with(b"id 1").await.expect("read").expect("there");
        assert_eq!((one.subject.clone(), one.passkey.as_str(), one.used), (alice.0.clone(), "one", NOW));
        assert_eq!(store.open_passkey(&one, &alice.1).expect("opens").as_slice(), b"its key");
        assert!(store.open_passkey(&one, &bob.1).is_err(), "it opens with the person's key alone");
        let listed = store.passkeys(&alice.0).await.expect("read");
        assert_eq!(listed.iter().map(|record| record.passkey.as_str()).collect::<Vec<_>>(), ["one", "two"]);

        let later = NOW.plus(Lifetime::from_seconds(60));
        for (count, used) in [
            (4, PasskeyUsed::Behind),
            (5, PasskeyUsed::Behind),
            (0, PasskeyUsed::Behind),
            (6, PasskeyUsed::Now),
            (6, PasskeyUsed::Behind),
            (9, PasskeyUsed::Now),
            (8, PasskeyUsed::Behind),
        ] {
            let sealed = format!("its key, {count}");
            let answered = store.use_passkey(&one, sealed.as_bytes(), count, &alice.1, later).await.expect("answered");
            assert_eq!(answered, used, "{count}");
        }
        let one = store.passkey_with(b"id 1").await.expect("read").expect("there");
        assert_eq!((store.open_passkey(&one, &alice.1).expect("opens").as_slice(), one.used), (&b"its key, 9"[..], later));
        let two = store.passkey_with(b"id 2").await.expect("read").expect("there");
        for (count, used) in
            [(0, PasskeyUsed::Now), (0, PasskeyUsed::Now), (1, PasskeyUsed::Now), (0, PasskeyUsed::Behind), (1, PasskeyUsed::Behind)]
        {
            let answered = store.use_passkey(&two, b"its key", count, &alice.1, later).await.expect("answered");
            assert_eq!(answered, used, "{count} of one that began without counting");
        }

        for name in ["here", "elsewhere"] {
            assert!(registry.begin(&alice, name, NOW.seconds(), 10).await);
        }
        let here = sid("here");
        let remove = async |subject: &Subject| {
            let by = Unlinking::Person(&here);
            store.remove_passkey(&one.passkey, subject, by, window(100, 400), NOW).await.expect("answered")
        };
        assert_eq!(remove(&bob.0).await, Unlinked::Absent, "another person's");
        assert!(matches!(remove(&alice.0).await, Unlinked::Now(ended) if ended.sessions == [sid("elsewhere")]));
        assert_eq!(remove(&alice.0).await, Unlinked::Absent, "once");
        assert_eq!(store.use_passkey(&one, b"its key", 20, &alice.1, later).await.expect("answered"), PasskeyUsed::Gone);
        assert_eq!(add("four", &bob, b"id 1", 0).await, PasskeyAdded::Now, "it is free again");
        // Without the password the second passkey is all there is.
        execute(&store, "UPDATE account SET password_sealed = NULL WHERE subject = 'subject-of-alice'").await;
        let last = store.remove_passkey(&two.passkey, &alice.0, Unlinking::Person(&here), window(100, 400), NOW).await;
        assert_eq!(last.expect("answered"), Unlinked::LastWayIn);
        assert!(store.passkey_with(b"id 2").await.expect("read").is_some());
        store.suspect_passkey(&two, later).await.expect("written");
        assert!(store.remove_account(&alice.0, window(100, 400), NOW).await.expect("removed"));
        assert!(store.passkey_with(b"id 2").await.expect("read").is_none());
        assert_eq!(add("five", &alice, b"id 5", 0).await, PasskeyAdded::NoAccount);
        let recorded = events(&store).await;
        let times = |name: &str| recorded.iter().filter(|event| *event == name).count();
        assert_eq!((times("passkey_added"), times("passkey_removed"), times("passkey_suspected")), (3, 1, 1));
    }

    async fn what_a_passkey_is_to_sign_comes_back_once_and_in_time(place: &Place) {
        let store = place.open().await;
        let expires = NOW.plus(Lifetime::from_seconds(10));
        for attempt in ["one", "two"] {
            store.begin_passkey_ceremony(attempt, attempt.as_bytes(), expires).await.expect("begun");
        }
        assert!(store.end_passkey_ceremony("another", NOW).await.expect("answered").is_none());
        let ended = store.end_passkey_ceremony("one", NOW).await.expect("answered").expect("there");
        assert_eq!(*ended, *b"one");
        assert!(store.end_passkey_ceremony("one", NOW).await.expect("answered").is_none(), "once");
        assert!(store.end_passkey_ceremony("two", expires).await.expect("answered").is_none(), "too late");
    }

    async fn an_account_elsewhere_opens_one_account_and_is_never_the_last_way_taken(place: &Place) {
        let Registry { store, keys } = registry(place).await;
        let registry = Registry { store: store.clone(), keys };
        let (alice, bob) = (registry.add("alice").await, registry.add("bob").await);
        let link = async |name: &str, whose: &(Subject, PersonKey), known_by: &str| {
            let link = name.parse().expect("a name");
            let (subject, label) = (&whose.0, b"its label".as_slice());
            let new = NewAccountLink { link: &link, subject, provider: "other", known_by, label, most: 2 };
            store.link_account(&new, &whose.1, NOW).await.expect("answered")
        };
        assert_eq!(link("one", &alice, "account 1").await, Linked::Now);
        assert_eq!(link("two", &bob, "account 1").await, Linked::Taken);
        assert_eq!(link("two", &alice, "account 1").await, Linked::Taken);
        assert_eq!(link("two", &alice, "account 2").await, Linked::Now);
        assert_eq!(link("three", &alice, "account 3").await, Linked::TooMany);
        assert_eq!(store.account_linked_to("account 1").await.expect("read"), Some(alice.0.clone()));
        assert_eq!(store.account_linked_to("account 3").await.expect("read"), None);
        let links = store.account_links(&alice.0).await.expect("read");
        assert_eq!(links.iter().map(|link| link.link.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(store.open_account_link(&links[0], &alice.1).expect("opens").as_slice(), b"its label");
        assert!(store.open_account_link(&links[0], &bob.1).is_err(), "it opens with the person's key alone");

        for name in ["here", "elsewhere"] {
            assert!(registry.begin(&alice, name, NOW.seconds(), 10).await);
        }
        let here = sid("here");
        let unlink = async |name: &str, subject: &Subject, by: Unlinking<'_>| {
            let link = name.parse().expect("a name");
            store.unlink_account(&link, subject, by, window(100, 400), NOW).await.expect("answered")
        };
        let by_alice = Unlinking::Person(&here);
        assert_eq!(unlink("one", &bob.0, by_alice).await, Unlinked::Absent, "another person's");
        let changed = async || store.account(&alice.0).await.expect("asked").expect("found").changed;
        let before = changed().await;
        assert!(matches!(unlink("one", &alice.0, by_alice).await, Unlinked::Now(ended) if ended.sessions == [sid("elsewhere")]));
        assert!(changed().await > before, "a sign-in that waits for the second factor is over, also of the same second");
        assert_eq!(unlink("one", &alice.0, by_alice).await, Unlinked::Absent, "once");
        assert_eq!(link("four", &bob, "account 1").await, Linked::Now, "it is free again");
        // Without the password the second link is all there is.
        execute(&store, "UPDATE account SET password_sealed = NULL WHERE subject = 'subject-of-alice'").await;
        assert_eq!(unlink("two", &alice.0, by_alice).await, Unlinked::LastWayIn);
        assert_eq!(store.account_linked_to("account 2").await.expect("read"), Some(alice.0.clone()));
        let certificate = "certificate".parse().expect("a name");
        let subject = &alice.0;
        let new = NewCertificateLink { link: &certificate, subject, known_by: "key", label: b"its label", most: 2 };
        assert_eq!(store.link_certificate(&new, &alice.1, NOW).await.expect("answered"), Linked::Now);
        assert!(matches!(unlink("two", &alice.0, by_alice).await, Unlinked::Now(_)), "there is a certificate");
        let last = store.unlink_certificate(&certificate, subject, by_alice, window(100, 400), NOW).await;
        assert_eq!(last.expect("answered"), Unlinked::LastWayIn);
        let removed = store.unlink_certificate(&certificate, subject, Unlinking::Operator, window(100, 400), NOW).await;
        assert!(matches!(removed.expect("answered"), Unlinked::Now(_)), "an operator may");
        assert!(store.remove_account(&bob.0, window(100, 400), NOW).await.expect("removed"));
        assert_eq!(store.account_linked_to("account 1").await.expect("read"), None);
        assert_eq!(link("five", &bob, "account 5").await, Linked::NoAccount);
        let recorded = events(&store).await;
        let times = |name: &str| recorded.iter().filter(|event| *event == name).count();
        assert_eq!((times("account_linked"), times("account_unlinked")), (3, 2));
    }

    async fn an_account_is_found_by_its_name_and_opens_with_its_key(place: &Place) {
        let Registry { store, keys } = &registry(place).await;
        let registry = Registry { store: store.clone(), keys: keys.clone() };
        assert!(!store.has_accounts().await.expect("asked"));
        let (alice, _) = registry.add("alice").await;
        let (bob, _) = registry.add("bob").await;
        let found = store.account_named("alice").await.expect("asked").expect("found");
        assert_eq!((&found.subject, found.state, found.has_password()), (&alice, AccountState::Active, true));
        assert!(store.account_named("Alice").await.expect("asked").is_none(), "normalizing is the caller's");
        let key = keys.key(&alice).await.expect("asked").expect("a key");
        assert_eq!(store.open_profile(&found, &key).expect("opens").as_slice(), PROFILE_JSON);
        assert_eq!(store.open_password(&found, &key).expect("opens").expect("set").as_slice(), b"$argon2id$x");
        // Another person's key opens nothing of hers, nor does hers open in another row.
        let other = keys.key(&bob).await.expect("asked").expect("a key");
        assert!(matches!(store.open_profile(&found, &other), Err(StoreError::Seal { .. })));
        execute(store, "UPDATE account SET subject = 'subject-of-carol' WHERE subject = 'subject-of-alice'").await;
        let moved = store.account_named("alice").await.expect("asked").expect("found");
        assert!(matches!(store.open_profile(&moved, &key), Err(StoreError::Seal { .. })));
        assert_eq!(events(store).await, ["account_added", "account_added"]);
    }

    async fn a_name_is_taken_once_also_after_the_master_key_changed(place: &Place) {
        let registry = registry(place).await;
        let (alice, key) = registry.add("alice").await;
        let other = subject("other");
        let new = NewAccount { subject: &other, username: "alice", profile: PROFILE_JSON, password: None };
        assert_eq!(registry.store.add_account(&new, &key, NOW).await.expect("tried"), Added::NameTaken);
        let store = place.try_open(masters(&[("second", 2), ("first", 1)]), NOW).await.expect("opens");
        assert_eq!(store.add_account(&new, &key, NOW).await.expect("tried"), Added::NameTaken);
        assert_eq!(store.account_named("alice").await.expect("asked").expect("found").subject, alice);
        assert_eq!(store.accounts("", 10).await.expect("listed").len(), 1);
    }

    /// The database was backed up, a person removed, the backup restored beside the keys as they are now: nothing of that person opens,
    /// and everybody else's data does.
    async fn an_older_backup_says_nothing_of_a_removed_person(place: &Place) {
        let registry = registry(place).await;
        let (store, keys) = (&registry.store, &registry.keys);
        let alice = registry.add("alice").await;
        let (bob, _) = registry.add("bob").await;
        assert!(registry.begin(&alice, "in-her-browser", NOW.seconds(), 9).await);
        execute(store, "CREATE TABLE account_backup AS SELECT * FROM account").await;
        execute(store, "CREATE TABLE session_backup AS SELECT * FROM browser_session").await;

        let (alice, alices_key) = alice;
        keys.delete(&alice).await.expect("deleted");
        assert!(store.remove_account(&alice, window(100, 400), NOW).await.expect("removed"));
        assert!(store.account_named("alice").await.expect("asked").is_none());
        assert_eq!(ended(store).await, [("in-her-browser".to_owned(), "account_removed".to_owned())]);
        let rules = store.revocation_rules(0, 10).await.expect("rules");
        assert_eq!((rules[0].kind, rules[0].value.as_str()), (RuleKind::Subject, alice.as_str()));

        execute(store, "INSERT INTO account SELECT * FROM account_backup WHERE subject = 'subject-of-alice'").await;
        execute(store, "INSERT INTO browser_session SELECT * FROM session_backup").await;
        assert!(keys.key(&alice).await.expect("asked").is_none());
        let restored = store.account_named("alice").await.expect("asked").expect("the row is back");
        let session = store.session_with(b"in-her-browser").await.expect("asked").expect("the row is back");
        let bobs_key = keys.key(&bob).await.expect("asked").expect("a key");
        assert!(store.open_profile(&restored, &bobs_key).is_err());
        assert!(store.open_password(&restored, &bobs_key).is_err());
        assert!(store.open_session(&session, &bobs_key).is_err());
        // With her key, which is in nobody's hands any more, they would have opened: it is the key that was missing.
        assert_eq!(store.open_profile(&restored, &alices_key).expect("opens").as_slice(), PROFILE_JSON);
        let bobs = store.account_named("bob").await.expect("asked").expect("found");
        assert_eq!(store.open_profile(&bobs, &bobs_key).expect("opens").as_slice(), PROFILE_JSON);
    }

    async fn keys_of_another_deployment_or_none_at_all_are_refused(place: &Place) {
        let registry = registry(place).await;
        keys(place, &registry.store).await.expect("opens again while there is nobody");
        registry.add("alice").await;
        keys(place, &registry.store).await.expect("opens again");
        let forget = match &*registry.keys.db() {
            Db::Sqlite { .. } => "DELETE FROM deployment",
            Db::Postgres(_) => "DELETE FROM symbolon_person_keys.deployment",
        };
        run(&registry.keys.db(), forget).await;
        let error = keys(place, &registry.store).await.expect_err("an empty database of keys");
        assert!(error.to_string().contains("is empty, and there are people"), "{error}");
        let foreign = match &*registry.keys.db() {
            Db::Sqlite { .. } => "INSERT INTO deployment (id, deployment_id, created) VALUES (1, 'another', 0)",
            Db::Postgres(_) => "INSERT INTO symbolon_person_keys.deployment (id, deployment_id, created) VALUES (1, 'another', 0)",
        };
        run(&registry.keys.db(), foreign).await;
        let error = keys(place, &registry.store).await.expect_err("another deployment's");
        assert!(error.to_string().contains("deployment another"), "{error}");
        let settings = StoreSettings { person_keys_url: Some("sqlite:same.db".into()), url: "sqlite:same.db".into(), ..place.settings.clone() };
        let error = PersonKeys::open(&settings, place.directory.path(), &registry.store, NOW).await.expect_err("one file");
        assert!(error.to_string().starts_with("store.person_keys_url: it is the same file"), "{error}");
    }

    async fn every_binary_column_beside_the_keys_is_sealed(place: &Place) {
        let registry = registry(place).await;
        let listed: Vec<(String, String)> = match &*registry.keys.db() {
            Db::Sqlite { reader, .. } => sqlx::query_as(
                "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
                 WHERE m.type = 'table' AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND c.type = 'BLOB'",
            )
            .fetch_all(reader)
            .await,
            Db::Postgres(pool) => sqlx::query_as(
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
                 WHERE table_schema = 'symbolon_person_keys' AND table_name NOT LIKE '\\_%' AND data_type = 'bytea'",
            )
            .fetch_all(pool)
            .await,
        }
        .expect("columns");
        let known: Vec<_> =
            sealed::PERSON_KEYS_SEALED_COLUMNS.iter().map(|known| (known.table.to_owned(), known.column.to_owned())).collect();
        assert_eq!(listed, known);
    }

    /// What hangs on a session ends with it, and every client of it is to be told: once, by one process at a time. Offline access stays
    /// until the person may not sign in any more.
    async fn what_hangs_on_a_session_ends_with_it(place: &Place) {
        let registry = registry(place).await;
        let (store, alice) = (&registry.store, registry.add("alice").await);
        let [app, other] = ["app", "other"].map(|name| name.parse::<ClientId>().expect("a client"));
        let family = |name: &str| name.parse::<crate::domain::FamilyId>().expect("a family");
        let event = Trailed { time: NOW, event: AuditEvent::AccountChanged { subject: alice.0.clone() } };
        let session = sid("one");
        registry.begin(&alice, "one", NOW.seconds(), 9).await;
        let later = Timestamp::from_seconds(NOW.seconds() + 600);
        let issue = async |code: &str, client: &ClientId, session: &SessionId| {
            let f = family(code);
            let code = NewCode { code, family: &f, session: Some((session, Some(client))), state: b"{}", expires: later };
            store.issue_code(&code, &Finishes::default(), &event).await.expect("answered")
        };
        let redeem = async |code: &str, client: &ClientId, session: Option<&SessionId>| {
            let f = family(code);
            let (subject, state, created, parent) = (&alice.0, b"{}", NOW, None);
            let new = NewFamily { family: &f, client_id: client, subject, session, state, created, expires: later, parent };
            store.redeem_code(code, NOW, Some(&new), &[]).await.expect("answered")
        };
        for (code, client) in [("online", &app), ("offline", &app), ("late", &other)] {
            assert_eq!(issue(code, client, &session).await, Finished::Now);
        }
        assert_eq!(issue("astray", &app, &sid("none such")).await, Finished::Before);
        assert_eq!(redeem("online", &app, Some(&session)).await, CodeSpent::Now);
        assert_eq!(redeem("offline", &app, None).await, CodeSpent::Now);
        assert_eq!(store.clients_of_session(&session).await.expect("read"), [app.clone(), other.clone()]);
        assert!(store.due_logout_notices(later, 9).await.expect("read").is_empty());

        let ended = store.end_session(&session, &alice.0, &ending(SessionEnd::SignedOut, NOW)).await.expect("ended");
        assert_eq!((ended.sessions.as_slice(), ended.rules.len()), ([session.clone()].as_slice(), 1));
        assert_eq!((ended.rules[0].kind, ended.rules[0].value.as_str()), (RuleKind::Family, "online"));
        assert!(store.family(&family("online"), NOW).await.expect("read").is_none());
        assert!(store.family(&family("offline"), NOW).await.expect("read").is_some());
        assert_eq!(redeem("late", &other, Some(&session)).await, CodeSpent::SessionEnded);
        assert_eq!(issue("later", &app, &session).await, Finished::Before);
        assert!(store.clients_of_session(&session).await.expect("read").is_empty());

        let due = store.due_logout_notices(NOW, 9).await.expect("read");
        let told: Vec<_> = due.iter().map(|notice| (notice.client_id.as_str(), &notice.subject, notice.attempts)).collect();
        assert_eq!(told, [("app", &alice.0, 0), ("other", &alice.0, 0)]);
        let soon = Timestamp::from_seconds(NOW.seconds() + 60);
        let taken = store.take_logout_notice(&due[0], soon).await.expect("taken").expect("first");
        assert_eq!((taken.attempts, taken.due), (1, soon));
        assert_eq!(store.take_logout_notice(&due[0], soon).await.expect("answered"), None, "another process has it");
        assert_eq!(store.due_logout_notices(NOW, 9).await.expect("read").len(), 1);
        assert_eq!(store.due_logout_notices(soon, 9).await.expect("read").len(), 2, "whoever took it may have died");
        store.postpone_logout_notice(&taken, later).await.expect("postponed");
        assert_eq!(store.due_logout_notices(soon, 9).await.expect("read").len(), 1);
        for notice in &due {
            store.end_logout_notice(notice, Some(&event)).await.expect("ended");
        }
        assert!(store.due_logout_notices(later, 9).await.expect("read").is_empty());

        assert!(store.remove_account(&alice.0, window(100, 400), NOW).await.expect("removed"));
        assert!(store.family(&family("offline"), NOW).await.expect("read").is_none(), "nobody is left who allowed it");
    }

    async fn a_session_is_found_by_its_secret_and_ends_once(place: &Place) {
        let registry = registry(place).await;
        let (store, alice) = (&registry.store, registry.add("alice").await);
        let bob = registry.add("bob").await;
        assert!(registry.begin(&alice, "one", NOW.seconds(), 9).await);
        let found = store.session_with(b"one").await.expect("asked").expect("found");
        assert_eq!((found.session_id.as_str(), &found.subject, found.created), ("one", &alice.0, NOW));
        assert_eq!(store.open_session(&found, &alice.1).expect("opens").as_slice(), b"{}");
        assert!(store.session_with(b"two").await.expect("asked").is_none());
        let later = NOW.plus(crate::domain::Lifetime::from_seconds(60));
        store.touch_session(&found.session_id, later).await.expect("touched");
        assert_eq!(store.session_with(b"one").await.expect("asked").expect("found").used, later);

        let ending = ending(SessionEnd::SignedOut, NOW);
        let end = async |whose: &Subject| store.end_session(&sid("one"), whose, &ending).await.expect("ended").sessions;
        assert!(end(&bob.0).await.is_empty(), "not his");
        assert_eq!(end(&alice.0).await, [sid("one")]);
        assert!(end(&alice.0).await.is_empty(), "once");
        assert_eq!(ended(store).await, [("one".to_owned(), "signed_out".to_owned())]);
        assert!(store.session_with(b"one").await.expect("asked").is_none());
    }

    async fn a_renewed_session_keeps_its_name_and_loses_its_secret(place: &Place) {
        let registry = registry(place).await;
        let (store, alice) = (&registry.store, registry.add("alice").await);
        registry.begin(&alice, "one", NOW.seconds(), 9).await;
        let event = Trailed { time: NOW, event: AuditEvent::AccountChanged { subject: alice.0.clone() } };
        let session_id = sid("one");
        let new = NewSession { session_id: &session_id, subject: &alice.0, secret: b"fresh", state: b"{2}", expires: NOW, single_factor: true, certificate: None };
        assert!(store.renew_session(&new, &alice.1, &event, NOW).await.expect("renewed"));
        assert!(store.session_with(b"one").await.expect("asked").is_none());
        let found = store.session_with(b"fresh").await.expect("asked").expect("found");
        assert_eq!(found.session_id, session_id);
        assert_eq!(store.open_session(&found, &alice.1).expect("opens").as_slice(), b"{2}");
        let gone = sid("gone");
        let new = NewSession { session_id: &gone, ..new };
        assert!(!store.renew_session(&new, &alice.1, &event, NOW).await.expect("tried"));
        assert!(ended(store).await.is_empty());
    }

    /// A sign-in that asked for no second factor, because there was none yet, comes to nothing once there is one.
    async fn a_session_of_one_factor_is_not_written_beside_a_second(place: &Place) {
        let registry = registry(place).await;
        let (store, alice) = (&registry.store, registry.add("alice").await);
        assert!(registry.begin(&alice, "kept", NOW.seconds(), 9).await);
        let kept = sid("kept");
        let factor = NewSecondFactor {
            subject: &alice.0,
            secret: b"01234567890123456789",
            step: 1,
            recovery_codes: &[],
            kept: &kept,
            window: window(100, 400),
        };
        assert!(store.add_second_factor(&factor, &alice.1, NOW).await.expect("added").is_some());
        assert!(!registry.begin(&alice, "late", NOW.seconds(), 9).await);
        let event = Trailed { time: NOW, event: AuditEvent::AccountChanged { subject: alice.0.clone() } };
        let one = NewSession {
            session_id: &kept,
            subject: &alice.0,
            secret: b"fresh",
            state: b"{}",
            expires: NOW,
            single_factor: true,
            certificate: None,
        };
        assert!(!store.renew_session(&one, &alice.1, &event, NOW).await.expect("tried"));
        assert_eq!(registry.live(&alice).await, ["kept"]);
        let both = NewSession { single_factor: false, ..one };
        assert!(store.renew_session(&both, &alice.1, &event, NOW).await.expect("renewed"));
        assert!(store.remove_second_factor(&alice.0, NOW).await.expect("removed"));
        assert!(registry.begin(&alice, "late", NOW.seconds(), 9).await);
    }

    /// Either the rule finds the session, or the session finds the rule; by itself, its key, or its number.
    async fn a_session_and_a_rule_on_its_certificate_find_each_other(place: &Place) {
        let registry = registry(place).await;
        let (store, alice) = (&registry.store, registry.add("alice").await);
        let event = Trailed { time: NOW, event: AuditEvent::AccountChanged { subject: alice.0.clone() } };
        let shown = SessionCertificate { certificate: "one".into(), key: "k1".into(), serial: Some("1@CN=CA".into()) };
        let begin = async |name: &str, certificate| {
            let session_id = sid(name);
            let new = NewSession {
                session_id: &session_id,
                subject: &alice.0,
                secret: name.as_bytes(),
                state: b"{}",
                expires: Timestamp::from_seconds(NOW.seconds() + 1_000),
                single_factor: true,
                certificate,
            };
            store.begin_session(&new, &alice.1, None, 9, window(100, 400), &event).await.expect("tried").is_some()
        };
        assert!(begin("by password", None).await);
        let other = SessionCertificate { certificate: "two".into(), key: "k2".into(), serial: None };
        assert!(begin("by another", Some(&other)).await);
        let kinds = [
            (RuleKind::Certificate, "one"),
            (RuleKind::CertificateKey, "k1"),
            (RuleKind::CertificateSerial, "1@CN=CA"),
        ];
        for (kind, value) in kinds {
            assert!(begin("by it", Some(&shown)).await, "{kind}");
            let rule = NewRule { kind, value: value.into(), window: always(Timestamp::from_seconds(5_000)) };
            store.revoke_certificates(&rule, window(100, 400), &event).await.expect("revoked");
            let mut live = registry.live(&alice).await;
            live.sort();
            assert_eq!(live, ["by another", "by password"], "{kind}");
            assert!(store.is_certificate_revoked(&shown).await.expect("asked"), "{kind}");
            assert!(!store.is_certificate_revoked(&other).await.expect("asked"), "{kind}");
            assert!(!begin("by it", Some(&shown)).await, "{kind}: a session of after the rule");
            store.restore_certificates(kind, value, &event).await.expect("restored").expect("one");
        }
        let why: Vec<_> = ended(store).await.into_iter().map(|(_, why)| why).collect();
        assert_eq!(why, ["certificate_revoked"; 3]);
    }

    async fn sessions_beyond_the_most_end_and_so_do_old_ones(place: &Place) {
        let registry = registry(place).await;
        let (store, alice) = (&registry.store, registry.add("alice").await);
        for (at, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            assert!(registry.begin(&alice, name, 100 + at as i64, 3).await);
        }
        assert_eq!(registry.live(&alice).await, ["d", "c", "b"]);
        assert_eq!(ended(store).await, [("a".to_owned(), "too_many".to_owned())]);
        let seconds = Timestamp::from_seconds;
        let cleared = async |now: i64, idle: i64, batch: u32| {
            let ending = ending(SessionEnd::Expired, seconds(now));
            store.end_expired_sessions(seconds(idle), batch, &ending).await.expect("cleared").sessions.len()
        };
        assert_eq!(cleared(500, 101, 10).await, 1, "idle");
        assert_eq!(registry.live(&alice).await, ["d", "c"]);
        assert_eq!(cleared(1_103, 0, 1).await, 1, "a batch");
        assert_eq!(cleared(1_103, 0, 1).await, 1);
        assert_eq!(cleared(1_103, 0, 1).await, 0);
    }

    async fn a_changed_password_ends_the_other_sessions_and_a_disabled_account_all(place: &Place) {
        let registry = registry(place).await;
        let (store, alice) = (&registry.store, registry.add("alice").await);
        for name in ["a", "b", "c"] {
            registry.begin(&alice, name, NOW.seconds(), 9).await;
        }
        let kept = sid("b");
        let change = AccountChange::Password { hash: "$argon2id$y", kept: Some(&kept), window: window(100, 400) };
        assert!(store.change_account(&alice.0, change, &alice.1, NOW).await.expect("changed"));
        assert_eq!(registry.live(&alice).await, ["b"]);
        let account = store.account(&alice.0).await.expect("asked").expect("found");
        assert_eq!(store.open_password(&account, &alice.1).expect("opens").expect("set").as_slice(), b"$argon2id$y");

        let disabled = store.disable_account(&alice.0, window(100, 400), NOW).await.expect("disabled").expect("there");
        assert_eq!(disabled.sessions, [sid("b")]);
        let rules: Vec<_> = disabled.rules.iter().map(|rule| (rule.kind, rule.value.as_str())).collect();
        assert_eq!(rules, [(RuleKind::Subject, alice.0.as_str())], "to be put in force at once");
        assert!(registry.live(&alice).await.is_empty());
        assert!(!registry.begin(&alice, "d", NOW.seconds(), 9).await, "no session for who may not sign in");
        assert_eq!(store.revocation_rules(0, 10).await.expect("rules").len(), 1);
        assert!(store.enable_account(&alice.0, NOW).await.expect("enabled"));
        assert!(registry.begin(&alice, "d", NOW.seconds(), 9).await);
        let whys: Vec<String> = ended(store).await.into_iter().map(|(_, why)| why).collect();
        assert_eq!(whys, ["password_changed", "password_changed", "account_disabled"]);
    }

    /// A person changes the password while a sign-in with the old one replaces its hash by a better one: the change stands.
    async fn a_better_hash_never_undoes_a_change(place: &Place) {
        let registry = registry(place).await;
        let (store, (alice, key)) = (&registry.store, registry.add("alice").await);
        let seen = store.account(&alice).await.expect("asked").expect("found");
        let change = AccountChange::Password { hash: "$argon2id$new", kept: None, window: window(100, 400) };
        assert!(store.change_account(&alice, change, &key, NOW).await.expect("changed"));
        store.rehash_password(&seen, "$argon2id$better-old", &key).await.expect("tried");
        let account = store.account(&alice).await.expect("asked").expect("found");
        assert_eq!(store.open_password(&account, &key).expect("opens").expect("set").as_slice(), b"$argon2id$new");
        store.rehash_password(&account, "$argon2id$better-new", &key).await.expect("replaced");
        let account = store.account(&alice).await.expect("asked").expect("found");
        assert_eq!(store.open_password(&account, &key).expect("opens").expect("set").as_slice(), b"$argon2id$better-new");
    }
}

async fn run(db: &Db, statement: &'static str) {
    match db {
        Db::Sqlite { writer, .. } => sqlx::query(statement).execute(writer).await.map(drop),
        Db::Postgres(pool) => sqlx::query(statement).execute(pool).await.map(drop),
    }
    .expect(statement);
}
