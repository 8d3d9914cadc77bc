//! Rules on certificates.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn done(seconds: i64) -> Trailed {
    Trailed { time: at(seconds), event: AuditEvent::Reloaded { what: "test".into() } }
}

on_both_engines! {
    /// A rule on a key or a number reaches the certificates that tokens are bound to; what is taken back takes back what was made for it, and
    /// nothing else.
    async fn rules_on_keys_and_numbers_reach_known_certificates(place: &Place) {
            let store = place.open().await;
            let store = &store;
            let seen = |certificate: &str, key: &str, serial: Option<&str>, expires| SeenCertificate {
                certificate: certificate.into(),
                key: key.into(),
                serial: serial.map(str::to_owned),
                expires: at(expires),
            };
            let noted = [
                seen("one", "k1", Some("1@CN=CA"), 500),
                seen("two", "k1", Some("2@CN=CA"), 900),
                seen("three", "k2", None, 900),
                seen("three", "k2", None, 900),
            ];
            for certificate in &noted {
                assert_eq!(store.note_certificate(certificate).await.expect("noted"), Noted::Known);
            }
            let rule = |kind, value: &str| NewRule { kind, value: value.into(), window: always(at(5_000)) };
            let names = |rules: &[RevocationRule]| rules.iter().map(|rule| rule.value.clone()).collect::<Vec<_>>();
            let by_key = store.revoke_certificates(&rule(RuleKind::CertificateKey, "k1"), window(100, 400), &done(10)).await.expect("revoked");
            assert_eq!(names(&by_key), ["k1", "one", "two"]);
            let by_serial = rule(RuleKind::CertificateSerial, "1@CN=CA");
            let by_serial = store.revoke_certificates(&by_serial, window(100, 400), &done(11)).await.expect("revoked");
            assert_eq!(names(&by_serial), ["1@CN=CA", "one"]);
            // One that is seen for the first time after the rule.
            for late in [seen("four", "k1", None, 900), seen("four", "k4", Some("1@CN=CA"), 900)] {
                assert_eq!(store.note_certificate(&late).await.expect("asked"), Noted::Revoked);
            }
            // Revoked for itself, before and after.
            store.revoke(&rule(RuleKind::Certificate, "three"), &done(12)).await.expect("revoked");
            store.revoke_certificates(&rule(RuleKind::CertificateKey, "k2"), window(100, 400), &done(13)).await.expect("revoked");
            let list = store.certificate_rules(0, 10).await.expect("rules");
            let list: Vec<_> = list.iter().map(|one| (one.rule.value.as_str(), one.because.as_deref())).collect();
            let key = Some("certificate_key:k1");
            let expected = [
                ("k1", None),
                ("two", key),
                ("1@CN=CA", None),
                ("one", Some("certificate_serial:1@CN=CA")),
                ("k2", None),
                ("three", None),
            ];
            assert_eq!(list, expected);
            assert!(store.revoke_certificates(&rule(RuleKind::Client, "a"), window(100, 400), &done(13)).await.is_err());

            let restore = |kind, value: &'static str| async move {
                let restored = store.restore_certificates(kind, value, &done(14)).await.expect("restored");
                restored.map(|rules| {
                    assert!(rules.iter().all(|rule| rule.lifted));
                    rules.iter().map(|rule| rule.value.clone()).collect::<Vec<_>>()
                })
            };
            // The key still hits it.
            assert_eq!(restore(RuleKind::CertificateSerial, "1@CN=CA").await, Some(vec!["1@CN=CA".to_owned()]));
            assert_eq!(restore(RuleKind::CertificateSerial, "1@CN=CA").await, None);
            assert_eq!(restore(RuleKind::CertificateKey, "k2").await, Some(vec!["k2".to_owned()]));
            let all = restore(RuleKind::CertificateKey, "k1").await.expect("the rule");
            assert_eq!(all.len(), 3, "{all:?}");
            let left = store.certificate_rules(0, 10).await.expect("rules");
            assert_eq!(left.iter().map(|one| one.rule.value.as_str()).collect::<Vec<_>>(), ["three"]);
            // Told to whoever follows, and revoked again as if for the first time.
            let told = store.revocation_rules(0, 100).await.expect("rules");
            assert_eq!(told.iter().filter(|rule| rule.lifted).count(), 5);
            let again = store.revoke(&rule(RuleKind::Certificate, "one"), &done(15)).await.expect("revoked");
            assert!(!again.lifted && again.sequence > told.last().expect("some").sequence);
            // Seen again, and so remembered for longer; never for less.
            store.note_certificate(&seen("one", "k1", Some("1@CN=CA"), 500)).await.expect("noted");
            store.note_certificate(&seen("three", "k2", None, 1_000)).await.expect("noted");
            store.note_certificate(&seen("three", "k2", None, 800)).await.expect("noted");
            // One that the rule on its key brought with it, and that is then revoked for itself, is nobody else's any more.
            store.revoke_certificates(&rule(RuleKind::CertificateKey, "k1"), window(100, 400), &done(16)).await.expect("revoked");
            let own = store.revoke(&rule(RuleKind::Certificate, "two"), &done(17)).await.expect("revoked");
            let again = store.revoke(&rule(RuleKind::Certificate, "two"), &done(18)).await.expect("revoked");
            assert_eq!(again.sequence, own.sequence, "said already");
            assert_eq!(restore(RuleKind::CertificateKey, "k1").await, Some(vec!["k1".to_owned()]));
            let left = store.certificate_rules(0, 10).await.expect("rules");
            let left: Vec<_> = left.iter().map(|one| (one.rule.value.as_str(), one.because.as_deref())).collect();
            assert_eq!(left, [("three", None), ("one", None), ("two", None)]);
            assert_eq!(store.forget_certificates(at(501), 10).await.expect("forgotten"), 1);
            assert_eq!(store.forget_certificates(at(901), 10).await.expect("forgotten"), 1);
            assert_eq!(store.forget_certificates(at(901), 10).await.expect("forgotten"), 0);
    }

    /// Somebody changes something and is slow about it: whoever is issued a token does not wait. (SQLite has one writer, whatever it writes.)
    async fn no_token_waits_for_the_lock_of_changes(place: &Place) {
        let store = place.open().await;
        if matches!(store.inner.db, Db::Sqlite { .. }) {
            return;
        }
        let mark = super::super::trial::Mark::new("waits-for-nobody");
        (super::super::authorization_code::TRIAL.write)(&store, &mark).await;
        let held = NumberedWork::begin(&store).await.expect("the lock");
        let soon = Duration::from_secs(5);
        let blocked = tokio::time::timeout(Duration::from_millis(300), store.revoke(&rule("t", window(1, 2)), &revoked("t"))).await;
        assert!(blocked.is_err(), "the lock is held, and changes wait for it");

        let seen = SeenCertificate { certificate: "new".into(), key: "k".into(), serial: Some("1@CN=CA".into()), expires: at(900) };
        let noted = tokio::time::timeout(soon, store.note_certificate(&seen)).await;
        assert_eq!(noted.expect("a certificate is noted").expect("answered"), Noted::Known);
        let (family, client_id, subject) = (mark.id(), mark.id(), mark.id());
        let new = super::super::grant_family::marked(&mark, &family, &client_id, &subject);
        let redeemed = tokio::time::timeout(soon, store.redeem_code(&mark.secret, NOW, Some(&new), &[revoked("t")])).await;
        assert_eq!(redeemed.expect("a code is redeemed").expect("answered"), CodeSpent::Now);
        let rotated = tokio::time::timeout(soon, store.rotate_family(&family, 1, NOW, &[revoked("t")])).await;
        assert_eq!(rotated.expect("a token is refreshed").expect("answered"), Rotated::To(2));
        let rebound = tokio::time::timeout(soon, store.rebind_family(&family, 0, b"{}", &[revoked("t")])).await;
        assert_eq!(rebound.expect("a token is bound anew").expect("answered"), Rebound::Now);
        drop(held);
        store.revoke(&rule("t", window(1, 2)), &revoked("t")).await.expect("the lock is free");
    }

    /// Certificates that are noted while a rule on their key is made, at two replicas: whichever was let through has a rule of its own.
    async fn a_certificate_and_a_rule_on_its_key_find_each_other(place: &Place) {
        let stores = [place.open().await, place.open().await];
        let (mut known, mut refused) = (0, 0);
        for round in 0..25 {
            let key = format!("key-{round}");
            let noting = (0..8_usize).map(|number| {
                let (store, key) = (stores[number % 2].clone(), key.clone());
                tokio::spawn(async move {
                    let certificate = format!("certificate-{key}-{number}");
                    let seen = SeenCertificate { certificate: certificate.clone(), key, serial: None, expires: at(900) };
                    (certificate, store.note_certificate(&seen).await.expect("answered"))
                })
            });
            let noting: Vec<_> = noting.collect();
            let rule = NewRule { kind: RuleKind::CertificateKey, value: key, window: always(at(5_000)) };
            let rules = stores[round % 2].revoke_certificates(&rule, window(100, 400), &done(10)).await.expect("revoked");
            for noted in noting {
                let (certificate, noted) = noted.await.expect("joined");
                let is_ruled = rules.iter().any(|rule| rule.value == certificate);
                assert!(noted == Noted::Revoked || is_ruled, "{certificate} was let through, and no rule is on it");
                *if noted == Noted::Known { &mut known } else { &mut refused } += 1;
            }
        }
        println!("{known} noted before their rule, {refused} refused");
        assert_eq!(known + refused, 200);
    }

    /// Whoever has the database cannot try names of issuers and numbers against it; what an earlier version noted is found as before.
    async fn numbers_of_certificates_are_found_by_keyed_hash(place: &Place) {
        use base64::Engine as _;
        let store = place.open().await;
        let seen = SeenCertificate { certificate: "c".into(), key: "k".into(), serial: Some("1@CN=CA".into()), expires: at(900) };
        store.note_certificate(&seen).await.expect("noted");
        let plain = |value: &str| {
            let digest = crate::jose::digest::sha256(value.as_bytes());
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
        };
        let rows: Vec<(String, String)> =
            read!(&store.inner.db, fetch_all: sqlx::query_as("SELECT key_digest, serial_digest FROM seen_certificate")).expect("rows");
        assert!(rows.iter().all(|(key, serial)| *key != plain("k") && *serial != plain("1@CN=CA") && key.len() == 43), "{rows:?}");
        let earlier = "INSERT INTO seen_certificate (thumbprint, key_digest, serial_digest, expires) VALUES ('earlier', $1, $2, 900)";
        let (key, serial) = (plain("another"), plain("1@CN=CA"));
        match &store.inner.db {
            Db::Sqlite { writer, .. } => sqlx::query(earlier).bind(key).bind(serial).execute(writer).await.map(drop),
            Db::Postgres(pool) => sqlx::query(earlier).bind(key).bind(serial).execute(pool).await.map(drop),
        }
        .expect("written");
        let rule = NewRule { kind: RuleKind::CertificateSerial, value: "1@CN=CA".into(), window: always(at(5_000)) };
        let rules = store.revoke_certificates(&rule, window(100, 400), &done(10)).await.expect("revoked");
        assert_eq!(rules.iter().map(|rule| rule.value.as_str()).collect::<Vec<_>>(), ["1@CN=CA", "c", "earlier"]);
    }
}
