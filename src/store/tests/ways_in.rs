//! What people sign in with: second factors, certificates, passkeys, accounts elsewhere.

use super::people::{Registry, registry, sid};
use super::*;
use crate::domain::{Lifetime, Subject};
use crate::seal::PersonKey;

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
            let new = NewCertificateLink { link: &link, subject: &whose.0, session: None, known_by, label: b"its label", most: 2 };
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
                session: None,
                credential_id,
                credential: b"its key",
                sign_count,
                most: 2,
            };
            store.add_passkey(&new, &whose.1, NOW).await.expect("answered")
        };
        assert_eq!(add("one", &alice, b"id 1", 5).await, Linked::Now);
        assert_eq!(add("two", &bob, b"id 1", 5).await, Linked::Taken);
        assert_eq!(add("two", &alice, b"id 1", 5).await, Linked::Taken);
        assert_eq!(add("two", &alice, b"id 2", 0).await, Linked::Now);
        assert_eq!(add("three", &alice, b"id 3", 0).await, Linked::TooMany);
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
        assert_eq!(add("four", &bob, b"id 1", 0).await, Linked::Now, "it is free again");
        // Without the password the second passkey is all there is.
        execute(&store, "UPDATE account SET password_sealed = NULL WHERE subject = 'subject-of-alice'").await;
        let last = store.remove_passkey(&two.passkey, &alice.0, Unlinking::Person(&here), window(100, 400), NOW).await;
        assert_eq!(last.expect("answered"), Unlinked::LastWayIn);
        assert!(store.passkey_with(b"id 2").await.expect("read").is_some());
        store.suspect_passkey(&two, later).await.expect("written");
        assert!(store.remove_account(&alice.0, window(100, 400), NOW).await.expect("removed"));
        assert!(store.passkey_with(b"id 2").await.expect("read").is_none());
        assert_eq!(add("five", &alice, b"id 5", 0).await, Linked::NoAccount);
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
            let new = NewAccountLink { link: &link, subject, session: None, provider: "other", known_by, label, most: 2 };
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
        let new = NewCertificateLink { link: &certificate, subject, session: None, known_by: "key", label: b"its label", most: 2 };
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

    /// Whoever has proven something is not signed in by it once it may have been taken away, and adds nothing in a session that has ended.
    async fn what_was_on_its_way_as_the_account_changed_comes_to_nothing(place: &Place) {
        let Registry { store, keys } = registry(place).await;
        let registry = Registry { store: store.clone(), keys };
        let alice = registry.add("alice").await;
        let event = Trailed { time: NOW, event: AuditEvent::AccountChanged { subject: alice.0.clone() } };
        let seen = async || store.account(&alice.0).await.expect("asked").expect("found").changed;
        let begin = async |name: &str, as_of| {
            let new = NewSession {
                session_id: &sid(name),
                subject: &alice.0,
                secret: name.as_bytes(),
                state: b"{}",
                expires: Timestamp::from_seconds(NOW.seconds() + 1_000),
                single_factor: true,
                certificate: None,
                as_of: Some(as_of),
            };
            store.begin_session(&new, &alice.1, None, 9, window(100, 400), &event).await.expect("tried").is_some()
        };
        let before = seen().await;
        assert!(begin("ended", before).await);
        let change = AccountChange::Password { hash: "$argon2id$y", kept: None, window: window(100, 400) };
        assert!(store.change_account(&alice.0, change, &alice.1, NOW).await.expect("changed"));
        assert!(!begin("late", before).await, "by the password of before");
        assert!(begin("live", seen().await).await);

        let (ended, live) = (sid("ended"), sid("live"));
        for (session, passkey, linked) in
            [(&ended, Linked::NoAccount, Linked::NoAccount), (&live, Linked::Now, Linked::Now)]
        {
            let (session, subject, name) = (Some(session), &alice.0, "name".parse().expect("a name"));
            let (credential_id, credential) = (&b"id"[..], &b"its key"[..]);
            let new = NewPasskey { passkey: &name, subject, session, credential_id, credential, sign_count: 0, most: 2 };
            assert_eq!(store.add_passkey(&new, &alice.1, NOW).await.expect("answered"), passkey);
            let (link, label) = ("certificate".parse().expect("a name"), &b"its label"[..]);
            let new = NewCertificateLink { link: &link, subject, session, known_by: "key", label, most: 2 };
            assert_eq!(store.link_certificate(&new, &alice.1, NOW).await.expect("answered"), linked);
            let link = "account".parse().expect("a name");
            let new = NewAccountLink { link: &link, subject, session, provider: "other", known_by: "account", label, most: 2 };
            assert_eq!(store.link_account(&new, &alice.1, NOW).await.expect("answered"), linked);
        }
    }
}
