//! The next certificate of a public client: its refresh token is bound to it by whoever holds both keys, and by nobody else.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use josekit::jws::ES256;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::refused;
use crate::harness::app::add_bob;
use crate::harness::assertion::{fresh, now};
use crate::harness::browser::Browser;
use crate::harness::{Answer, App, Call, Engine, Identity, Leaf, Setup, Stack, token};

fn public(name: &str, rebinding: bool) -> Value {
    let mut client = App::metadata(name, json!({ "token_endpoint_auth_method": "none", "tls_client_auth_subject_dn": null }));
    if rebinding {
        client["refresh_token_rebinding"] = json!(true);
    }
    client
}

/// alice may rebind her refresh tokens, mallory may not.
async fn start(engine: Engine) -> Option<Stack> {
    let setup = Setup {
        engine,
        without_gateway: true,
        clients: vec![public("alice", true), public("mallory", false)],
        ..Setup::default()
    };
    let stack = setup.try_start().await?;
    add_bob(&stack).await;
    Some(stack)
}

fn hash(refresh_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(refresh_token))
}

/// What the holder of `identity` signs, with these members of header and claims changed; `null` removes one.
pub fn signed(stack: &Stack, identity: &Identity, refresh_token: &str, header: Value, claims: Value) -> String {
    let changed = |mut members: Value, changes: &Value| {
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => drop(members.as_object_mut().expect("an object").remove(name)),
                value => members[name] = value.clone(),
            }
        }
        members
    };
    let whole = json!({ "alg": "ES256", "typ": "certificate-rebinding+jwt", "x5c": [STANDARD.encode(&identity.chain[0])] });
    let told = json!({
        "iss": "alice", "aud": stack.fill("{issuer}"), "jti": fresh(), "exp": now() + 55, "rth": hash(refresh_token),
    });
    let part = |members: Value| URL_SAFE_NO_PAD.encode(members.to_string());
    let input = format!("{}.{}", part(changed(whole, &header)), part(changed(told, &claims)));
    let signer = ES256.signer_from_pem(&identity.key_pem).expect("a signer");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(josekit::jws::JwsSigner::sign(&signer, input.as_bytes()).expect("signed")))
}

async fn rebind(stack: &Stack, shown: &Identity, client_id: &str, refresh_token: &str, jwt: &str) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", client_id),
        ("refresh_token", refresh_token),
        ("certificate_rebinding", jwt),
    ];
    stack.post(shown, "/token", &form).await
}

async fn refresh(stack: &Stack, shown: &Identity, refresh_token: &str) -> Answer {
    let form = [("grant_type", "refresh_token"), ("client_id", "alice"), ("refresh_token", refresh_token)];
    stack.post(shown, "/token", &form).await
}

async fn refresh_token(stack: &Stack, app: &App) -> String {
    let tokens = app.tokens(stack, &mut Browser::new(stack), &[("scope", "read")]).await;
    tokens["refresh_token"].as_str().expect("one").to_owned()
}

/// Renewed once, and again: over the old certificate's connection, signed with the new one's key; the refresh token itself stays.
#[tokio::test]
async fn a_refresh_token_follows_its_client_to_the_next_certificate() {
    let stack = start(Engine::Sqlite).await.expect("started");
    let refresh_token = refresh_token(&stack, &App::alice(&stack)).await;
    let mut shown = stack.alice.clone();
    for _ in 0..2 {
        let next = stack.client_ca.issue(Leaf::client("alice"));
        refused(
            &stack,
            &refresh(&stack, &next, &refresh_token).await,
            400,
            "invalid_grant",
            "binding_certificate_mismatch",
            "early",
        )
        .await;
        let answer =
            rebind(&stack, &shown, "alice", &refresh_token, &signed(&stack, &next, &refresh_token, json!({}), json!({}))).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.text());
        assert_eq!(answer.json().get("refresh_token"), None);
        let claims = token::claims(answer.json()["access_token"].as_str().expect("one"));
        assert_eq!(claims["cnf"]["x5t#S256"], shown.thumbprint(), "of the connection that it was asked for on");
        refused(
            &stack,
            &refresh(&stack, &shown, &refresh_token).await,
            400,
            "invalid_grant",
            "binding_certificate_mismatch",
            "old",
        )
        .await;
        let answer = refresh(&stack, &next, &refresh_token).await;
        let claims = token::claims(answer.json()["access_token"].as_str().expect("one"));
        assert_eq!(claims["cnf"]["x5t#S256"], next.thumbprint());
        let event = stack.wait_for_event("server-audit.jsonl", "refresh_token_rebound").await;
        assert_eq!((&event["client_id"], &event["certificate"]), (&json!("alice"), &json!(stack.alice.thumbprint())));
        assert_eq!(event["next_certificate"].as_str().map(str::len), Some(43));
        shown = next;
    }
    assert_eq!(stack.count("SELECT count(*) FROM audit WHERE event LIKE '%refresh_token_rebound%'").await, 2);
}

/// Whoever lacks one of the two keys, or has what was signed for something else.
#[tokio::test]
async fn nobody_else_moves_a_refresh_token() {
    let stack = start(Engine::Sqlite).await.expect("started");
    let app = App::alice(&stack);
    let (mine, other) = (refresh_token(&stack, &app).await, refresh_token(&stack, &app).await);
    let next = stack.client_ca.issue(Leaf::client("alice"));
    let alice = &stack.alice;
    let good = || signed(&stack, &next, &mine, json!({}), json!({}));
    // The old certificate is not shown: the new one, a stranger's, none.
    for shown in [&next, &stack.mallory] {
        let answer = rebind(&stack, shown, "alice", &mine, &good()).await;
        refused(&stack, &answer, 400, "invalid_grant", "binding_certificate_mismatch", &shown.name).await;
    }
    let jwt = good();
    let form =
        [("grant_type", "refresh_token"), ("client_id", "alice"), ("refresh_token", &*mine), ("certificate_rebinding", &*jwt)];
    let answer = stack.nobody().send(&stack.mtls_authority, &Call::form("/token", &form)).await;
    refused(&stack, &answer, 400, "invalid_request", "binding_required", "no certificate").await;
    // Signed by another key than the certificate's: who only saw it cannot.
    let stolen = next.with_key_of(&stack.mallory);
    let dead = stack.client_ca.issue(Leaf { not_after: -60, ..Leaf::client("alice") });
    let unborn = stack.client_ca.issue(Leaf { not_before: 3_600, ..Leaf::client("alice") });
    let revoked = stack.client_ca.issue(Leaf::client("alice"));
    crate::harness::command::symbolon(stack.dir.path(), &["cert", "revoke", "--thumbprint", &revoked.thumbprint()]).await.ok();
    let der = STANDARD.encode(&next.chain[0]);
    let change = |header: Value, claims: Value| signed(&stack, &next, &mine, header, claims);
    let (input, signature) =
        jwt.rsplit_once('.').map(|(input, signature)| (input.to_owned(), signature.to_owned())).expect("three");
    let public_key = next.jwk();
    let table: Vec<(&str, String, &str)> = vec![
        ("another key", signed(&stack, &stolen, &mine, json!({}), json!({})), "assertion_signature"),
        (
            "unsigned",
            format!(
                "{}.{}.",
                URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "x5c": [der] }).to_string()),
                input.split('.').nth(1).expect("two")
            ),
            "assertion_algorithm",
        ),
        ("no signature", format!("{input}."), "assertion_signature"),
        (
            "an altered payload",
            format!("{}.{}.{signature}", input.split('.').next().expect("one"), URL_SAFE_NO_PAD.encode("{}")),
            "assertion_signature",
        ),
        ("HMAC with a public key", change(json!({ "alg": "HS256" }), json!({})), "assertion_algorithm"),
        ("another algorithm", change(json!({ "alg": "ES384" }), json!({})), "assertion_algorithm"),
        ("jwk", change(json!({ "jwk": public_key }), json!({})), "assertion_key_reference"),
        ("jku", change(json!({ "jku": "https://evil.example" }), json!({})), "assertion_key_reference"),
        ("x5u", change(json!({ "x5u": "https://evil.example" }), json!({})), "assertion_key_reference"),
        ("crit", change(json!({ "crit": ["x"] }), json!({})), "assertion_critical"),
        ("no typ", change(json!({ "typ": null }), json!({})), "assertion_type"),
        ("another typ", change(json!({ "typ": "dpop+jwt" }), json!({})), "assertion_type"),
        ("no x5c", change(json!({ "x5c": null }), json!({})), "rebinding_certificate"),
        ("an empty x5c", change(json!({ "x5c": [] }), json!({})), "rebinding_certificate"),
        ("no certificate", change(json!({ "x5c": ["AAAA"] }), json!({})), "rebinding_certificate"),
        ("x5c not in a list", change(json!({ "x5c": der }), json!({})), "rebinding_certificate"),
        ("expired certificate", signed(&stack, &dead, &mine, json!({}), json!({})), "rebinding_certificate"),
        ("later certificate", signed(&stack, &unborn, &mine, json!({}), json!({})), "rebinding_certificate"),
        ("another client", change(json!({}), json!({ "iss": "mallory" })), "assertion_subject"),
        ("another audience", change(json!({}), json!({ "aud": "https://other.example" })), "assertion_audience"),
        ("the endpoint", change(json!({}), json!({ "aud": stack.token_url() })), "assertion_audience"),
        ("a list", change(json!({}), json!({ "aud": [stack.fill("{issuer}")] })), "assertion_audience"),
        ("another refresh token", change(json!({}), json!({ "rth": hash(&other) })), "rebinding_token"),
        ("no hash", change(json!({}), json!({ "rth": null })), "rebinding_token"),
        ("the token itself", change(json!({}), json!({ "rth": mine })), "rebinding_token"),
        ("expired", change(json!({}), json!({ "exp": now() - 60 })), "assertion_expired"),
        ("too long", change(json!({}), json!({ "exp": now() + 120 })), "assertion_lifetime"),
        ("no end", change(json!({}), json!({ "exp": null })), "assertion_claim"),
        ("a time as text", change(json!({}), json!({ "exp": (now() + 30).to_string() })), "assertion_claim"),
        ("no jti", change(json!({}), json!({ "jti": null })), "assertion_claim"),
        ("nonsense", "e30.e30.e30".to_owned(), "assertion_malformed"),
        ("a certificate of the revoked", signed(&stack, &revoked, &mine, json!({}), json!({})), "certificate_revoked"),
    ];
    // The revocation came from another process.
    let started = std::time::Instant::now();
    while started.elapsed() < crate::harness::client::PATIENCE {
        if refresh(&stack, &revoked, &mine).await.error() == "invalid_client" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for (what, jwt, reason) in &table {
        let answer = rebind(&stack, alice, "alice", &mine, jwt).await;
        refused(&stack, &answer, 400, "invalid_request", reason, what).await;
    }
    assert_eq!(refresh(&stack, alice, &mine).await.status, 200, "nothing of it cost alice her token");
    // Once.
    let jwt = good();
    assert_eq!(rebind(&stack, alice, "alice", &mine, &jwt).await.status, 200);
    assert_eq!(refresh(&stack, &next, &mine).await.status, 200);
    // A captured one moves nothing, not even by whoever holds the certificate of now.
    let back = signed(&stack, alice, &mine, json!({}), json!({}));
    assert_eq!(rebind(&stack, &next, "alice", &mine, &back).await.status, 200, "there and back");
    let answer = rebind(&stack, alice, "alice", &mine, &jwt).await;
    refused(&stack, &answer, 400, "invalid_request", "assertion_replayed", "replayed").await;
    assert_eq!(rebind(&stack, alice, "alice", &mine, &good()).await.status, 200, "a fresh one does");
    assert_eq!(refresh(&stack, alice, &other).await.status, 200, "the other refresh token stayed where it was");
}

/// Off unless registered; and registered for public clients with certificates alone.
#[tokio::test]
async fn it_is_off_by_default() {
    let stack = start(Engine::Sqlite).await.expect("started");
    let refresh_token = refresh_token(&stack, &App::mallory(&stack)).await;
    let next = stack.client_ca.issue(Leaf::client("mallory"));
    let jwt = signed(&stack, &next, &refresh_token, json!({}), json!({ "iss": "mallory" }));
    let answer = rebind(&stack, &stack.mallory, "mallory", &refresh_token, &jwt).await;
    refused(&stack, &answer, 400, "unauthorized_client", "rebinding_not_allowed", "not registered").await;
    assert_eq!(App::mallory(&stack).refresh(&stack, &refresh_token).await.status, 200);
    let table = [
        json!({ "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=x" }),
        json!({ "tls_client_certificate_bound_access_tokens": false }),
        json!({ "tls_client_certificate_bound_access_tokens": false, "dpop_bound_access_tokens": true }),
        json!({ "grant_types": ["authorization_code"] }),
    ];
    for change in table {
        let mut client = public("other", true);
        client.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let client: Value = serde_json::from_str(&stack.fill(&client.to_string())).expect("JSON");
        assert!(stack.apply(&[client]).await.failed().contains("`refresh_token_rebinding` is for"), "{change}");
    }
}

/// Two at once, at two replicas, each with a next certificate of its own: one has it, and it is told once.
async fn of_two_at_once_one_has_it(engine: Engine) {
    let Some(stack) = start(engine).await else { return };
    let (_replica, [_, replica]) = stack.start_replica().await;
    let app = App::alice(&stack);
    for round in 0..4 {
        let mine = refresh_token(&stack, &app).await;
        let next: Vec<Identity> = (0..8).map(|_| stack.client_ca.issue(Leaf::client("alice"))).collect();
        let calls = next.iter().enumerate().map(|(number, next)| {
            let jwt = signed(&stack, next, &mine, json!({}), json!({}));
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", "alice"),
                ("refresh_token", &*mine),
                ("certificate_rebinding", &*jwt),
            ];
            let authority = if number % 2 == 0 { &stack.mtls_authority } else { &replica };
            stack.caller(&stack.alice).send(authority, &Call::form("/token", &form))
        });
        let answers = futures_util::future::join_all(calls).await;
        let good: Vec<usize> = (0..next.len()).filter(|at| answers[*at].status == 200).collect();
        assert_eq!(good.len(), 1, "round {round}: {:?}", answers.iter().map(|answer| answer.text()).collect::<Vec<_>>());
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"));
        }
        for (at, identity) in next.iter().enumerate() {
            assert_eq!(refresh(&stack, identity, &mine).await.status == 200, good.contains(&at), "round {round}, {at}");
        }
        let told = stack.count("SELECT count(*) FROM audit WHERE event LIKE '%refresh_token_rebound%'").await;
        assert_eq!(told, round + 1);
    }
}

#[tokio::test]
async fn of_two_at_once_one_has_it_on_sqlite() {
    of_two_at_once_one_has_it(Engine::Sqlite).await;
}

#[tokio::test]
async fn of_two_at_once_one_has_it_on_postgres() {
    of_two_at_once_one_has_it(Engine::Postgres).await;
}
