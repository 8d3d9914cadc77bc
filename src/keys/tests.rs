use std::sync::Arc;

use super::*;
use crate::config::settings::{SigningSettings, StoreSettings};
use crate::domain::{Lifetime, Redacted, RuleKind};
use crate::jose::random::SystemRandomness;
use crate::jose::verify::VerifyingKey;
use crate::seal::MasterKeys;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const DAY: u32 = 86_400;

async fn store(directory: &tempfile::TempDir) -> Store {
    store_at(&StoreSettings::default(), directory).await
}

async fn store_at(settings: &StoreSettings, directory: &tempfile::TempDir) -> Store {
    let key = ("test".parse().expect("a key id"), Redacted::new([7; 32]));
    let masters = Arc::new(MasterKeys::from_keys(vec![key]).expect("a key"));
    Store::open(settings, directory.path(), masters, &SystemRandomness, NOW).await.expect("opens")
}

fn plan(settings: SigningSettings) -> KeyPlan {
    KeyPlan::from_settings(&settings).expect("a plan")
}

fn algorithm(name: &str) -> SigningSettings {
    SigningSettings { algorithm: name.into(), ..SigningSettings::default() }
}

fn keeper(store: &Store) -> Keeper<'_> {
    Keeper { store, randomness: &SystemRandomness }
}

fn day(number: u32) -> Timestamp {
    NOW.plus(Lifetime::from_seconds(number * DAY))
}

/// The states of an algorithm's keys, oldest first.
async fn states(store: &Store, algorithm: Algorithm) -> Vec<&'static str> {
    let keys = SigningKeys::load(store).await.expect("keys");
    keys.lives().iter().filter(|life| life.algorithm == algorithm).map(|life| life.state.code()).collect()
}

fn sign(keys: &SigningKeys, algorithm: Algorithm) -> String {
    let signer = keys.signer(algorithm, TokenType::AccessToken).expect("a signer");
    signer.sign_compact(br#"{"sub":"a"}"#).expect("signed")
}

#[tokio::test]
async fn a_key_is_made_once_and_is_the_same_after_a_restart() {
    for name in ["ES256", "ES384", "ES512", "EdDSA", "PS256", "RS256"] {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = plan(algorithm(name));
        let first = store(&directory).await;
        let second = store(&directory).await;
        let (one, two) = (keeper(&first), keeper(&second));
        let (one, two) = tokio::join!(one.ensure(&plan, NOW), two.ensure(&plan, NOW));
        let (one, two) = (one.expect("made"), two.expect("found"));
        assert_eq!(one.jwks(), two.jwks());
        first.close().await;
        second.close().await;
        let reopened = store(&directory).await;
        let again = keeper(&reopened).ensure(&plan, NOW).await.expect("loaded");
        assert_eq!(again.current_key_id(plan.default), one.current_key_id(plan.default));

        // What the loaded key signs, the published key verifies.
        let token = sign(&again, plan.default);
        let document = JwkSet::from_json(one.jwks()).expect("a set");
        let jws = Compact::parse(&token).expect("compact");
        let candidates: Vec<_> = document.candidates(jws.key_id(), plan.default).collect();
        assert_eq!(candidates.len(), 1);
        VerifyingKey::new(candidates[0], plan.default).expect("usable").verify(&jws).expect("verified");
        let text = String::from_utf8(one.jwks().to_vec()).expect("text");
        for private in ["\"d\"", "\"p\"", "\"q\"", "\"dp\"", "\"dq\"", "\"qi\""] {
            assert!(!text.contains(private), "no private member: {text}");
        }
    }
}

/// The whole life of a key by the clock: published a day ahead, current for ninety days, published two days more.
#[tokio::test]
async fn keys_rotate_by_the_clock() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(&directory).await;
    let (keeper, plan) = (keeper(&store), plan(algorithm("ES256")));
    let first = keeper.ensure(&plan, NOW).await.expect("made");
    let first_token = sign(&first, Algorithm::ES256);
    for (when, expected) in [
        (NOW, &["current"][..]),
        (day(89).minus(Lifetime::from_seconds(1)), &["current"]),
        (day(89), &["current", "next"]),
        (day(90).minus(Lifetime::from_seconds(1)), &["current", "next"]),
        (day(90), &["retired", "current"]),
        (day(92).minus(Lifetime::from_seconds(1)), &["retired", "current"]),
        (day(92), &["current"]),
        (day(179), &["current", "next"]),
        // The server was off for long: one step at a time, never two keys in one state.
        (day(400), &["retired", "current"]),
    ] {
        keeper.keep(&plan, when).await.expect("kept");
        assert_eq!(states(&store, Algorithm::ES256).await, expected, "{when}");
        keeper.keep(&plan, when).await.expect("kept");
        assert_eq!(states(&store, Algorithm::ES256).await, expected, "{when}, once more");
        let keys = SigningKeys::load(&store).await.expect("keys");
        let published: serde_json::Value = serde_json::from_slice(keys.jwks()).expect("JSON");
        assert_eq!(published["keys"].as_array().map(Vec::len), Some(expected.len()), "every key that is alive is published");
        let verified = keys.verify(&Compact::parse(&first_token).expect("compact"));
        assert_eq!(verified.is_ok(), when < day(92), "a token of the first key verifies until the key is deleted: {when}");
    }
}

async fn of_two_replicas_one_takes_each_step(settings: StoreSettings) {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (store_at(&settings, &directory).await, store_at(&settings, &directory).await);
    let plan = plan(algorithm("ES256"));
    keeper(&one).ensure(&plan, NOW).await.expect("made");
    for when in [day(89), day(90), day(92)] {
        let (first, second) = (keeper(&one), keeper(&two));
        let (a, b) = tokio::join!(first.keep(&plan, when), second.keep(&plan, when));
        a.and(b).expect("kept");
    }
    let names = one.pending_events(100).await.expect("events").into_iter().map(|event| {
        let line: serde_json::Value = serde_json::from_str(&event.line).expect("JSON");
        line["event"].as_str().expect("a name").to_owned()
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["signing_key_created", "signing_key_created", "signing_key_activated", "signing_key_deleted"]
    );
}

#[tokio::test]
async fn of_two_replicas_one_takes_each_step_on_sqlite() {
    of_two_replicas_one_takes_each_step(StoreSettings::default()).await;
}

#[tokio::test]
async fn of_two_replicas_one_takes_each_step_on_postgres() {
    if let Some(url) = crate::store::tests::postgres::database().await {
        of_two_replicas_one_takes_each_step(StoreSettings { url, ..StoreSettings::default() }).await;
    }
}

#[tokio::test]
async fn a_rotation_by_command_waits_until_verifiers_have_seen_the_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(&directory).await;
    let (keeper, plan) = (keeper(&store), plan(SigningSettings { rotation_seconds: 0, ..algorithm("EdDSA") }));
    keeper.ensure(&plan, NOW).await.expect("made");
    keeper.keep(&plan, day(4000)).await.expect("kept");
    assert_eq!(states(&store, Algorithm::EdDSA).await, ["current"], "never by itself");
    let next = keeper.rotate(Algorithm::EdDSA, false, day(4000)).await.expect("rotated");
    assert_eq!(next.state, SigningKeyState::Next);
    let again = keeper.rotate(Algorithm::EdDSA, false, day(4000)).await.expect("rotated");
    assert_eq!(again, next, "one next key is enough");
    keeper.keep(&plan, day(4001).minus(Lifetime::from_seconds(1))).await.expect("kept");
    assert_eq!(states(&store, Algorithm::EdDSA).await, ["current", "next"]);
    keeper.keep(&plan, day(4001)).await.expect("kept");
    assert_eq!(states(&store, Algorithm::EdDSA).await, ["retired", "current"]);
    keeper.rotate(Algorithm::EdDSA, true, day(4001)).await.expect("rotated");
    assert_eq!(states(&store, Algorithm::EdDSA).await, ["retired", "retired", "current"], "at once");
}

#[tokio::test]
async fn a_revoked_key_is_gone_at_once_and_another_one_signs() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(&directory).await;
    let (keeper, plan) = (keeper(&store), plan(algorithm("ES256")));
    let keys = keeper.ensure(&plan, NOW).await.expect("made");
    let stolen = keys.current_key_id(Algorithm::ES256).expect("a key").clone();
    let token = sign(&keys, Algorithm::ES256);
    keeper.revoke(&stolen, day(1)).await.expect("revoked").expect("found");
    assert!(keeper.revoke(&stolen, day(1)).await.expect("asked").is_none(), "only once");
    let keys = SigningKeys::load(&store).await.expect("keys");
    assert_ne!(keys.current_key_id(Algorithm::ES256).expect("another key"), &stolen);
    assert!(keys.verify(&Compact::parse(&token).expect("compact")).is_err());
    let rules = store.revocation_rules(0, 10).await.expect("rules");
    assert_eq!(rules.len(), 1);
    assert_eq!((rules[0].kind, rules[0].value.as_str()), (RuleKind::Key, stolen.as_str()));
    assert_eq!(rules[0].before, day(3), "also a token that the thief dates ahead of the revocation");

    // Where a next key waits, it takes over.
    let next = keeper.rotate(Algorithm::ES256, false, day(1)).await.expect("rotated");
    let current = keys.current_key_id(Algorithm::ES256).expect("a key").clone();
    keeper.revoke(&current, day(1)).await.expect("revoked");
    let keys = SigningKeys::load(&store).await.expect("keys");
    assert_eq!(keys.current_key_id(Algorithm::ES256), Some(&next.key_id));
}

#[tokio::test]
async fn algorithms_come_and_go_with_the_plan() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(&directory).await;
    let keeper = keeper(&store);
    let wide = plan(SigningSettings { more_algorithms: vec!["EdDSA".into(), "ES256".into()], ..algorithm("ES256") });
    assert_eq!(wide.algorithms.len(), 2);
    let keys = keeper.ensure(&wide, NOW).await.expect("made");
    assert_eq!(keys.algorithms().collect::<Vec<_>>(), [Algorithm::ES256], "only the default is waited for");
    keeper.keep(&wide, NOW).await.expect("kept");
    assert_eq!(states(&store, Algorithm::EdDSA).await, ["current"]);
    let narrow = plan(algorithm("ES256"));
    keeper.keep(&narrow, day(1)).await.expect("kept");
    assert_eq!(states(&store, Algorithm::EdDSA).await, ["retired"], "it may have signed: published still");
    assert_eq!(states(&store, Algorithm::ES256).await, ["current"]);
    keeper.keep(&narrow, day(3)).await.expect("kept");
    assert_eq!(states(&store, Algorithm::EdDSA).await, [""; 0]);
}

#[test]
fn plans_that_break_verifiers_are_refused() {
    let refused = |settings: SigningSettings| KeyPlan::from_settings(&settings).expect_err("refused").to_string();
    for name in ["HS256", "none", "es256", ""] {
        assert!(refused(algorithm(name)).starts_with("algorithm: "), "{name}");
        let more = SigningSettings { more_algorithms: vec![name.into()], ..algorithm("ES256") };
        assert!(refused(more).starts_with("more_algorithms: "), "{name}");
    }
    assert!(refused(SigningSettings { publish_ahead_seconds: 599, ..algorithm("ES256") }).contains("599"));
    let equal = SigningSettings { publish_ahead_seconds: 600, rotation_seconds: 600, ..algorithm("ES256") };
    assert!(refused(equal).contains("rotation_seconds (600)"));
}

#[test]
fn types_are_the_standards() {
    let types: Vec<_> = TokenType::ALL.into_iter().map(TokenType::typ).collect();
    assert_eq!(types, ["at+jwt", "JWT", "logout+jwt", "token-introspection+jwt"]);
}
