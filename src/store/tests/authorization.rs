//! Interactions, pushed requests, codes, families of tokens, consents.

use std::sync::LazyLock;

use super::*;
use crate::domain::{FamilyId, SessionId, Subject};

const SOON: Timestamp = Timestamp::from_seconds(NOW.seconds() + 60);
const LATER: Timestamp = Timestamp::from_seconds(NOW.seconds() + 600);

fn family(name: &str) -> FamilyId {
    name.parse().expect("a family")
}

fn bob() -> Subject {
    "bob".parse().expect("a subject")
}

fn new_family<'a>(
    family: &'a FamilyId,
    client: &'a ClientId,
    subject: &'a Subject,
    session: Option<&'a SessionId>,
) -> NewFamily<'a> {
    NewFamily { family, client_id: client, subject, session, state: b"granted", created: NOW, expires: LATER, parent: None }
}

fn new_code<'a>(code: &'a str, family: &'a FamilyId) -> NewCode<'a> {
    static BOB: LazyLock<Subject> = LazyLock::new(bob);
    NewCode { code, family, subject: &BOB, session: None, state: b"stands for much", expires: SOON }
}

/// Bob has a key.
async fn opened(place: &Place) -> Store {
    let store = place.open().await;
    super::personal::give_key(&store, &bob()).await;
    store
}

/// Bob has an account.
async fn add_bob(store: &Store) {
    let key = crate::seal::PersonKey::random(&crate::jose::random::SystemRandomness).expect("a key");
    let bob = bob();
    let new = crate::store::NewAccount { subject: &bob, username: "bob", profile: b"{}", password: None };
    assert_eq!(store.add_account(&new, &key, NOW).await.expect("added"), crate::store::Added::Added);
}

async fn issue(store: &Store, code: &str, name: &str) {
    let finished = store.issue_code(&new_code(code, &family(name)), &Finishes::default(), &revoked("t")).await;
    assert_eq!(finished.expect("issued"), Finished::Now);
}

async fn redeem(store: &Store, code: &str) -> CodeSpent {
    store.redeem_code(code, NOW, None, &[]).await.expect("answered")
}

on_both_engines! {
    async fn an_interaction_is_found_by_its_id_alone_and_finished_once(place: &Place) {
        let store = opened(place).await;
        store.add_interaction("one", None, b"first", SOON).await.expect("added");
        store.add_interaction("two", None, b"second", SOON).await.expect("added");
        assert_eq!(store.interaction("one", NOW).await.expect("read").expect("there").as_slice(), b"first");
        assert!(store.interaction("ONE", NOW).await.expect("read").is_none());
        assert!(store.interaction("one", SOON).await.expect("read").is_none(), "at its expiry it is over");
        let finishes = Finishes { interaction: Some("one"), pushed_request: None };
        assert_eq!(store.issue_code(&new_code("c", &family("f")), &finishes, &revoked("t")).await.expect("issued"), Finished::Now);
        assert_eq!(events(&store).await.len(), 1);
        let again = store.issue_code(&new_code("d", &family("g")), &finishes, &revoked("t")).await.expect("answered");
        assert_eq!(again, Finished::Before, "a second click");
        assert!(store.code("d", NOW).await.expect("read").is_none(), "nothing was written");
        assert_eq!(store.end_authorization(&finishes, &revoked("t")).await.expect("answered"), Finished::Before);
        assert_eq!(events(&store).await.len(), 1);
        assert!(store.interaction("two", NOW).await.expect("read").is_some());
    }

    async fn a_pushed_request_is_authorized_once_by_whichever_interaction(place: &Place) {
        let store = opened(place).await;
        store.add_pushed_request("urn:a", b"asked", SOON).await.expect("added");
        store.add_interaction("one", None, b"first", SOON).await.expect("added");
        store.add_interaction("two", None, b"second", SOON).await.expect("added");
        assert_eq!(store.pushed_request("urn:a", NOW).await.expect("read").expect("there").as_slice(), b"asked");
        assert!(store.pushed_request("urn:b", NOW).await.expect("read").is_none());
        let finishes = |id| Finishes { interaction: Some(id), pushed_request: Some("urn:a") };
        let first = store.issue_code(&new_code("c", &family("f")), &finishes("one"), &revoked("t")).await;
        assert_eq!(first.expect("issued"), Finished::Now);
        let second = store.issue_code(&new_code("d", &family("g")), &finishes("two"), &revoked("t")).await;
        assert_eq!(second.expect("answered"), Finished::Before);
        assert!(store.interaction("two", NOW).await.expect("read").is_some(), "what was taken in vain is put back");
        assert!(store.pushed_request("urn:a", NOW).await.expect("read").is_none());
    }

    async fn a_code_is_redeemed_once_and_remembered(place: &Place) {
        let store = opened(place).await;
        add_bob(&store).await;
        issue(&store, "c", "f").await;
        let record = store.code("c", NOW).await.expect("read").expect("there");
        assert_eq!((record.family, record.state.as_slice(), record.redeemed), (family("f"), b"stands for much".as_slice(), None));
        let (f, client, subject) = (family("f"), id("alice"), bob());
        let new = new_family(&f, &client, &subject, None);
        assert_eq!(store.redeem_code("c", NOW, Some(&new), &[revoked("t")]).await.expect("redeemed"), CodeSpent::Now);
        assert_eq!(store.redeem_code("c", NOW, Some(&new), &[revoked("t")]).await.expect("answered"), CodeSpent::Before);
        assert_eq!(events(&store).await.len(), 3, "one for the account, one for the issue, one for the redemption");
        assert_eq!(store.code("c", NOW).await.expect("read").expect("remembered").redeemed, Some(NOW));
        assert!(store.family(&f, NOW).await.expect("read").is_some());
        assert_eq!(redeem(&store, "never issued").await, CodeSpent::Before);
    }

    /// A person who may not sign in any more, or is gone, has granted nothing that lasts.
    async fn a_code_of_somebody_who_may_not_sign_in_any_more_is_worth_nothing(place: &Place) {
        let store = opened(place).await;
        add_bob(&store).await;
        let (f, client, subject) = (family("f"), id("alice"), bob());
        issue(&store, "c", "f").await;
        let new = new_family(&f, &client, &subject, None);
        let redeem = async || store.redeem_code("c", NOW, Some(&new), &[]).await.expect("answered");
        assert!(store.disable_account(&subject, window(100, 400), NOW).await.expect("disabled").is_some());
        assert_eq!(redeem().await, CodeSpent::AccountEnded);
        assert!(store.family(&f, NOW).await.expect("read").is_none(), "nothing was written");
        assert!(store.remove_account(&subject, window(100, 400), NOW).await.expect("removed"));
        assert_eq!(redeem().await, CodeSpent::AccountEnded);
        add_bob(&store).await;
        assert_eq!(redeem().await, CodeSpent::Now);
    }

    /// A hundred clients at two replicas, twenty rounds: counted at the callers and in the database.
    async fn of_a_hundred_redemptions_one_succeeds(place: &Place) {
        let stores = [opened(place).await, opened(place).await];
        add_bob(&stores[0]).await;
        let (client, subject) = (id("alice"), bob());
        for round in 0..20 {
            let (code, name) = (format!("code {round}"), format!("family-{round}"));
            issue(&stores[0], &code, &name).await;
            let attempts = (0..100).map(|number| {
                let (store, code, family) = (stores[number % 2].clone(), code.clone(), family(&name));
                let (client, subject) = (client.clone(), subject.clone());
                tokio::spawn(async move {
                    store.redeem_code(&code, NOW, Some(&new_family(&family, &client, &subject, None)), &[]).await.expect("answered")
                })
            });
            let mut first = 0;
            for attempt in attempts.collect::<Vec<_>>() {
                first += u32::from(attempt.await.expect("joined") == CodeSpent::Now);
            }
            assert_eq!(first, 1, "{code}");
        }
        let (rows,): (i64,) =
            read!(&stores[1].inner.db, fetch_one: sqlx::query_as("SELECT COUNT(*) FROM grant_family")).expect("count");
        assert_eq!(rows, 20);
    }

    async fn of_a_hundred_authorizations_of_one_request_one_succeeds(place: &Place) {
        let stores = [opened(place).await, opened(place).await];
        stores[0].add_pushed_request("urn:a", b"asked", SOON).await.expect("added");
        let attempts = (0..100).map(|number| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move {
                let (code, family) = (format!("code {number}"), family(&format!("family-{number}")));
                let finishes = Finishes { interaction: None, pushed_request: Some("urn:a") };
                store.issue_code(&new_code(&code, &family), &finishes, &revoked("t")).await.expect("answered")
            })
        });
        let mut now = 0;
        for attempt in attempts.collect::<Vec<_>>() {
            now += u32::from(attempt.await.expect("joined") == Finished::Now);
        }
        assert_eq!(now, 1);
    }

    async fn of_a_hundred_rotations_one_succeeds(place: &Place) {
        let stores = [opened(place).await, opened(place).await];
        add_bob(&stores[0]).await;
        issue(&stores[0], "c", "f").await;
        let (f, client, subject) = (family("f"), id("alice"), bob());
        let new = new_family(&f, &client, &subject, None);
        stores[0].redeem_code("c", NOW, Some(&new), &[]).await.expect("redeemed");
        for generation in 1..=5 {
            let attempts = (0..100).map(|number| {
                let (store, f) = (stores[number % 2].clone(), f.clone());
                tokio::spawn(async move { store.rotate_family(&f, generation, NOW, &[]).await.expect("answered") })
            });
            let mut rotated = 0;
            for attempt in attempts.collect::<Vec<_>>() {
                let outcome = attempt.await.expect("joined");
                rotated += u32::from(outcome == Rotated::To(generation + 1));
            }
            assert_eq!(rotated, 1, "generation {generation}");
        }
        let record = stores[1].family(&f, NOW).await.expect("read").expect("there");
        assert_eq!((record.generation, record.client_id, record.state.as_slice()), (6, client, b"granted".as_slice()));
        assert!(stores[1].family(&f, LATER).await.expect("read").is_none(), "it ends whatever happens");
    }

    async fn an_ended_family_leaves_a_rule_in_the_same_transaction(place: &Place) {
        let store = opened(place).await;
        add_bob(&store).await;
        let (f, client, subject) = (family("f"), id("alice"), bob());
        issue(&store, "c", "f").await;
        issue(&store, "unredeemed", "f").await;
        let new = new_family(&f, &client, &subject, None);
        store.redeem_code("c", NOW, Some(&new), &[]).await.expect("redeemed");
        let rules = store.end_family(&f, window(100, 400), &revoked("t")).await.expect("ended");
        let [rule] = rules.as_slice() else { panic!("{rules:?}") };
        assert_eq!((rule.kind, rule.value.as_str()), (RuleKind::Family, "f"));
        assert!(store.family(&f, NOW).await.expect("read").is_none());
        assert_eq!(store.rotate_family(&f, 1, NOW, &[]).await.expect("answered"), Rotated::NotCurrent);
        assert_eq!(redeem(&store, "unredeemed").await, CodeSpent::Before, "its other code is void");
        assert!(store.code("c", NOW).await.expect("read").is_some(), "the redeemed one is still known");
        assert_eq!(store.revocation_rules(0, 10).await.expect("rules"), rules);
    }

    async fn what_came_of_a_family_ends_with_it_and_does_not_begin_after_it(place: &Place) {
        let store = opened(place).await;
        add_bob(&store).await;
        let (client, other, carol) = (id("alice"), id("backend"), "carol".parse().expect("a subject"));
        let (root, child, grandchild, late) = (family("root"), family("child"), family("grandchild"), family("late"));
        issue(&store, "c", "root").await;
        let of_root = Parent { family: &root, client_id: &client, issued: NOW };
        let begin = async |of: &FamilyId, parent: Parent<'_>| {
            let new = NewFamily { parent: Some(parent), ..new_family(of, &other, &carol, None) };
            store.begin_family(&new, &revoked("t")).await.expect("answered")
        };
        store.redeem_code("c", NOW, Some(&new_family(&root, &client, &bob(), None)), &[]).await.expect("redeemed");
        assert_eq!(begin(&child, of_root).await, Begun::Now);
        assert_eq!(begin(&grandchild, Parent { family: &child, client_id: &other, issued: NOW }).await, Begun::Now);
        let (subject,): (String,) =
            read!(&store.inner.db, fetch_one: sqlx::query_as("SELECT subject FROM grant_family WHERE family_id = 'grandchild'"))
                .expect("a row");
        assert_eq!(subject, "bob", "the person's, whatever the client calls them");
        let ended = store.end_family(&root, window(NOW.seconds(), NOW.seconds() + 400), &revoked("t")).await.expect("ended");
        let mut names: Vec<_> = ended.iter().map(|rule| rule.value.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["child", "grandchild", "root"]);
        for gone in [&root, &child, &grandchild] {
            assert!(store.family(gone, NOW).await.expect("read").is_none(), "{gone}");
        }
        let before = events(&store).await.len();
        assert_eq!(begin(&late, of_root).await, Begun::ParentEnded);
        assert!(store.family(&late, NOW).await.expect("read").is_none());
        assert_eq!(events(&store).await.len(), before, "nothing is told of what did not happen");
    }

    async fn a_removed_client_takes_what_came_of_its_tokens_along(place: &Place) {
        let store = opened(place).await;
        let (client, other, subject) = (id("alice"), id("backend"), bob());
        let record = ClientRecord { client_id: client.clone(), metadata_json: "{}".into(), secret: None };
        store.put_client(&record, PutMode::Add, NOW).await.expect("put");
        let (own, of_token, elsewhere) = (family("own"), family("of-token"), family("elsewhere"));
        // The token was of a grant without a refresh token: there is no row for it.
        let root = family("root");
        let parent = Some(Parent { family: &root, client_id: &client, issued: NOW });
        for new in [
            new_family(&own, &client, &subject, None),
            NewFamily { parent, ..new_family(&of_token, &other, &subject, None) },
            new_family(&elsewhere, &other, &subject, None),
        ] {
            assert_eq!(store.begin_family(&new, &revoked("t")).await.expect("begun"), Begun::Now);
        }
        let window = window(NOW.seconds(), NOW.seconds() + 400);
        let rules = store.remove_client(&client, window, NOW).await.expect("removed").expect("there");
        let named: Vec<_> = rules.iter().map(|rule| (rule.kind, rule.value.as_str())).collect();
        assert_eq!(named[0], (RuleKind::Client, "alice"));
        assert_eq!(named[1..], [(RuleKind::Family, "of-token")]);
        assert!(store.family(&own, NOW).await.expect("read").is_none(), "not even if the name comes back");
        assert!(store.family(&of_token, NOW).await.expect("read").is_none());
        assert!(store.family(&elsewhere, NOW).await.expect("read").is_some());
        let late = family("late");
        let new = NewFamily { parent, ..new_family(&late, &other, &subject, None) };
        assert_eq!(store.begin_family(&new, &revoked("t")).await.expect("answered"), Begun::ParentEnded);
    }

    async fn of_many_who_rebind_a_family_one_does(place: &Place) {
        let stores = [opened(place).await, opened(place).await];
        let (f, client, subject) = (family("f"), id("alice"), bob());
        stores[0].begin_family(&new_family(&f, &client, &subject, None), &revoked("t")).await.expect("begun");
        let told = events(&stores[0]).await.len();
        let attempts = (0..8).map(|number: usize| {
            let (store, f) = (stores[number % 2].clone(), f.clone());
            tokio::spawn(async move {
                let state = format!("state {number}");
                (state.clone(), store.rebind_family(&f, 0, state.as_bytes(), &[revoked("t")]).await.expect("answered"))
            })
        });
        let mut winners = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            if let (state, Rebound::Now) = attempt.await.expect("joined") {
                winners.push(state);
            }
        }
        let record = stores[1].family(&f, NOW).await.expect("read").expect("there");
        assert_eq!(winners, [String::from_utf8_lossy(&record.state)]);
        assert_eq!((record.rebound, record.generation), (1, 1));
        assert_eq!(events(&stores[0]).await.len(), told + 1);
    }

    async fn what_has_expired_leaves_in_batches(place: &Place) {
        let store = opened(place).await;
        add_bob(&store).await;
        let (client, subject) = (id("alice"), bob());
        for number in 0..5 {
            let name = format!("f{number}");
            let at = Timestamp::from_seconds(NOW.seconds() + number);
            store.add_interaction(&name, None, b"x", at).await.expect("added");
            store.add_pushed_request(&name, b"x", at).await.expect("added");
            store.begin_passkey_ceremony(&name, b"x", at).await.expect("begun");
            let f = family(&name);
            let code = NewCode { expires: at, ..new_code(&name, &f) };
            store.issue_code(&code, &Finishes::default(), &revoked("t")).await.expect("issued");
            let new = NewFamily { expires: at, ..new_family(&f, &client, &subject, None) };
            store.redeem_code(&name, NOW, Some(&new), &[]).await.expect("redeemed");
        }
        let now = Timestamp::from_seconds(NOW.seconds() + 3);
        for expected in [3, 1, 0] {
            assert_eq!(store.delete_expired_interactions(now, 3).await.expect("deleted"), expected);
            assert_eq!(store.delete_expired_pushed_requests(now, 3).await.expect("deleted"), expected);
            assert_eq!(store.delete_expired_passkey_ceremonies(now, 3).await.expect("deleted"), expected);
            assert_eq!(store.delete_expired_codes(now, 3).await.expect("deleted"), expected);
            assert_eq!(store.delete_expired_families(now, 3).await.expect("deleted"), expected);
        }
        assert!(store.code("f4", NOW).await.expect("read").is_some(), "what lives stays");
    }

    async fn a_device_is_decided_once_and_redeemed_once(place: &Place) {
        let store = opened(place).await;
        let f = family("f");
        let new = NewDeviceAuthorization {
            device_code: "dc",
            user_code: "BBBBCCCC",
            family: &f,
            request: b"asked",
            pause: 5,
            expires: LATER,
        };
        assert_eq!(store.add_device_authorization(&new).await.expect("added"), DeviceAdded::Added);
        let other = NewDeviceAuthorization { device_code: "other", ..new };
        assert_eq!(store.add_device_authorization(&other).await.expect("answered"), DeviceAdded::UserCodeTaken);
        assert!(store.device_authorization("other", NOW).await.expect("read").is_none());
        let record = store.device_authorization("dc", NOW).await.expect("read").expect("there");
        assert_eq!((record.family, record.state, record.request.as_slice()), (f.clone(), DeviceState::Pending, b"asked".as_slice()));
        assert!(store.device_authorization("dc", LATER).await.expect("read").is_none(), "at its expiry it is over");
        let at = |seconds| Timestamp::from_seconds(NOW.seconds() + seconds);
        for (seconds, expected) in [
            (0, Polled::InTime),
            (5, Polled::InTime),
            (9, Polled::TooFast),
            (18, Polled::TooFast),
            (33, Polled::InTime),
            (47, Polled::TooFast),
        ] {
            assert_eq!(store.poll_device("dc", 5, at(seconds)).await.expect("answered"), expected, "{seconds}");
        }
        // Once it must wait for longer than it lives nothing more is written.
        for _ in 0..200 {
            assert_eq!(store.poll_device("dc", 5, at(30)).await.expect("answered"), Polled::TooFast);
        }
        let (pause,): (i64,) = read!(&store.inner.db, fetch_one: sqlx::query_as("SELECT pause FROM device_authorization")).expect("one");
        assert!((600..605).contains(&pause), "{pause}");
        let (client, subject) = (id("alice"), bob());
        let new = new_family(&f, &client, &subject, None);
        let redeem = async || store.redeem_device("dc", &new, None, &[]).await.expect("answered");
        assert_eq!(redeem().await, CodeSpent::AccountEnded);
        add_bob(&store).await;
        assert_eq!(redeem().await, CodeSpent::Before, "nobody allowed it");
        let gone: SessionId = "gone".parse().expect("a session");
        let allowed = store.decide_device("BBBBCCCC", &bob(), Some((b"granted", &gone)), NOW, &revoked("t")).await;
        assert!(!allowed.expect("answered"), "its session is not there");
        assert!(store.decide_device("BBBBCCCC", &bob(), None, NOW, &revoked("t")).await.expect("denied"));
        assert!(!store.decide_device("BBBBCCCC", &bob(), None, NOW, &revoked("t")).await.expect("answered"), "a second click");
        let record = store.device_authorization_of("BBBBCCCC", NOW).await.expect("read").expect("there");
        assert_eq!((record.state, record.granted.is_none()), (DeviceState::Denied, true));
        assert_eq!(redeem().await, CodeSpent::Before, "it was denied");
        assert_eq!(events(&store).await.len(), 2, "the account and the denial");
        assert_eq!(store.delete_expired_device_authorizations(LATER, 3).await.expect("deleted"), 1);
    }

    async fn a_consent_is_remembered_for_one_client_and_forgotten(place: &Place) {
        let store = opened(place).await;
        let subject = bob();
        assert!(store.consent(&subject, &id("alice")).await.expect("read").is_none());
        let put = async |client_id: &str, before: Option<&[u8]>, state: &[u8]| {
            let allow = |found: Option<crate::seal::Plaintext>| {
                assert_eq!(found.as_ref().map(|found| found.as_slice()), before);
                Ok::<_, StoreError>(Some((state.to_vec(), revoked("t"))))
            };
            store.put_consent(&subject, &id(client_id), allow).await.expect("answered")
        };
        assert!(!put("alice", None, b"read").await, "there is no such account");
        assert!(store.consent(&subject, &id("alice")).await.expect("read").is_none());
        add_bob(&store).await;
        assert!(put("alice", None, b"read").await);
        assert!(put("alice", Some(b"read"), b"read write").await);
        assert!(put("mallory", None, b"read").await);
        assert_eq!(store.consent(&subject, &id("alice")).await.expect("read").expect("there").as_slice(), b"read write");
        let all = store.consents(&subject).await.expect("read");
        let names: Vec<_> = all.iter().map(|(client_id, given, _)| (client_id.as_str(), *given)).collect();
        assert_eq!(names, [("alice", NOW), ("mallory", NOW)]);
        let withdraw = async |client_id: &str| {
            store.withdraw_consent(&subject, &id(client_id), window(100, 400), &revoked("t")).await.expect("answered")
        };
        assert_eq!(withdraw("alice").await, Some(vec![]));
        assert_eq!(withdraw("alice").await, None, "nothing left");
        assert!(store.consent(&subject, &id("alice")).await.expect("read").is_none());
        assert!(put("alice", None, b"write").await, "what was taken back does not come back");
        assert!(store.disable_account(&subject, window(100, 400), NOW).await.expect("answered").is_some());
        assert!(!put("alice", Some(b"write"), b"read").await, "who may not sign in allows nothing");
        assert!(store.consent(&"carol".parse().expect("a subject"), &id("mallory")).await.expect("read").is_none());
    }

    /// What another client got in exchange for a client's tokens ends with what the person allowed that client, also when the family that
    /// it came of has run out and is forgotten.
    async fn what_was_exchanged_ends_with_the_consent(place: &Place) {
        let store = opened(place).await;
        add_bob(&store).await;
        let (client, other, subject) = (id("alice"), id("backend"), bob());
        let (root, child, elsewhere) = (family("root"), family("child"), family("elsewhere"));
        let soon = Timestamp::from_seconds(NOW.seconds() + 10);
        let brief = NewFamily { expires: soon, ..new_family(&root, &client, &subject, None) };
        let parent = Some(Parent { family: &root, client_id: &client, issued: NOW });
        let exchanged = NewFamily { parent, ..new_family(&child, &other, &subject, None) };
        for new in [brief, exchanged, new_family(&elsewhere, &other, &subject, None)] {
            assert_eq!(store.begin_family(&new, &revoked("t")).await.expect("begun"), Begun::Now);
        }
        assert_eq!(store.delete_expired_families(soon, 10).await.expect("deleted"), 1);
        let allow = |_| Ok::<_, StoreError>(Some((b"read".to_vec(), revoked("t"))));
        assert!(store.put_consent(&subject, &client, allow).await.expect("put"));
        let withdrawn = store.withdraw_consent(&subject, &client, window(100, 400), &revoked("t")).await.expect("withdrawn");
        let rules = withdrawn.expect("something was allowed");
        assert_eq!(rules.iter().map(|rule| rule.value.as_str()).collect::<Vec<_>>(), ["child"]);
        assert!(store.family(&child, NOW).await.expect("read").is_none());
        assert!(store.family(&elsewhere, NOW).await.expect("read").is_some(), "the other client's own");
    }

    /// A code from before a withdrawal stays worth nothing when the same is allowed again; what is allowed beside it later spoils none.
    async fn a_consent_given_again_revives_no_code(place: &Place) {
        let store = opened(place).await;
        add_bob(&store).await;
        let (subject, client) = (bob(), id("alice"));
        let at = |seconds: i64| Timestamp::from_seconds(NOW.seconds() + seconds);
        let put = async |state: &[u8], time: Timestamp| {
            let event = Trailed { time, ..revoked("t") };
            let allow = |_| Ok::<_, StoreError>(Some((state.to_vec(), event)));
            assert!(store.put_consent(&subject, &client, allow).await.expect("put"));
        };
        let redeem = async |code: &str, issued: Timestamp| {
            let f = family(code);
            let new = new_family(&f, &client, &subject, None);
            store.redeem_code_of_consent(code, issued, at(30), &new, &[]).await.expect("answered")
        };
        for code in ["one", "two", "three"] {
            issue(&store, code, code).await;
        }
        put(b"read", at(0)).await;
        put(b"read write", at(10)).await;
        assert_eq!(redeem("one", at(0)).await, CodeSpent::Now, "of the same second, and widened since");
        assert!(store.withdraw_consent(&subject, &client, window(100, 400), &revoked("t")).await.expect("withdrawn").is_some());
        put(b"read", at(20)).await;
        assert_eq!(redeem("two", at(19)).await, CodeSpent::ConsentWithdrawn);
        assert_eq!(redeem("three", at(20)).await, CodeSpent::Now);
    }

    async fn nothing_unguessable_stands_in_the_database(place: &Place) {
        let store = opened(place).await;
        store.add_interaction("interaction-secret", None, b"state-secret", SOON).await.expect("added");
        store.add_pushed_request("request-uri-secret", b"state-secret", SOON).await.expect("added");
        issue(&store, "code-secret", "f").await;
        let new = NewDeviceAuthorization {
            device_code: "device-secret",
            user_code: "user-secret",
            family: &family("g"),
            request: b"state-secret",
            pause: 5,
            expires: SOON,
        };
        store.add_device_authorization(&new).await.expect("added");
        let statements = [
            "SELECT id_index, state_sealed FROM interaction",
            "SELECT uri_index, state_sealed FROM pushed_request",
            "SELECT code_index, state_sealed FROM authorization_code",
            "SELECT device_index, request_sealed FROM device_authorization",
            "SELECT user_index, request_sealed FROM device_authorization",
        ];
        for statement in statements {
            let (index, sealed): (Vec<u8>, Vec<u8>) = read!(&store.inner.db, fetch_one: sqlx::query_as(statement)).expect("row");
            assert_eq!(index.len(), 32, "{statement}");
            for bytes in [index, sealed] {
                assert!(!bytes.windows(6).any(|window| window == b"secret" || window == b"stands"), "{statement}");
            }
        }
    }
}
