//! Accounts, sessions in browsers, and the keys of people.

use super::*;
use crate::domain::{SessionId, Subject};
use crate::event::SessionEnd;
use crate::seal::PersonKey;

const PROFILE_JSON: &[u8] = br#"{"name":"Alice Liddell"}"#;

/// A store and its keys.
pub(super) struct Registry {
    pub(super) store: Store,
    pub(super) keys: PersonKeys,
}

pub(super) async fn registry(place: &Place) -> Registry {
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

pub(super) fn sid(name: &str) -> SessionId {
    name.parse().expect("a session id")
}

impl Registry {
    pub(super) async fn add(&self, name: &str) -> (Subject, PersonKey) {
        let subject = subject(&format!("subject-of-{name}"));
        let key = PersonKey::random(&SystemRandomness).expect("a key");
        self.keys.add(&self.keys.seal_key(&subject, &key).expect("sealed"), NOW).await.expect("stored");
        let new = NewAccount { subject: &subject, username: name, profile: PROFILE_JSON, password: Some("$argon2id$x") };
        assert_eq!(self.store.add_account(&new, &key, NOW).await.expect("added"), Added::Added);
        (subject, key)
    }

    pub(super) async fn begin(&self, whose: &(Subject, PersonKey), name: &str, at: i64, most: u32) -> bool {
        let (session_id, time) = (sid(name), Timestamp::from_seconds(at));
        let new = NewSession {
            session_id: &session_id,
            subject: &whose.0,
            secret: name.as_bytes(),
            state: b"{}",
            expires: Timestamp::from_seconds(at + 1_000),
            single_factor: true,
            certificate: None,
            as_of: None,
        };
        let event = Trailed { time, event: AuditEvent::AccountChanged { subject: whose.0.clone() } };
        self.store.begin_session(&new, &whose.1, None, most, window(100, 400), &event).await.expect("begun").is_some()
    }

    pub(super) async fn live(&self, whose: &(Subject, PersonKey)) -> Vec<String> {
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
            let (subject, session) = (&alice.0, Some((session, Some(client))));
            let code = NewCode { code, family: &f, subject, session, state: b"{}", expires: later };
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
        let new = NewSession { session_id: &session_id, subject: &alice.0, secret: b"fresh", state: b"{2}", expires: NOW, single_factor: true, certificate: None, as_of: None };
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
            as_of: None,
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
                as_of: None,
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
