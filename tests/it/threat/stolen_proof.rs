//! A DPoP proof in other hands than its maker's, and a DPoP-bound token without one.

use serde_json::{Value, json};

use super::{passed, refused};
use crate::harness::dpop::ath;
use crate::harness::process::Process;
use crate::harness::stack::PROTOCOLS;
use crate::harness::{Call, Engine, Http, Identity, Leaf, Prover, Setup, Stack, configuration, ports};

const PROOF: &str = "invalid_dpop_proof";
const TOKEN: &str = "invalid_token";

async fn with_dora(setup: Setup) -> (Stack, Identity) {
    let stack = Setup { clients: vec![Stack::prover("dora")], ..setup }.start().await;
    let dora = stack.client_ca.issue(Leaf::client("dora"));
    (stack, dora)
}

/// The token alone is worth nothing: with another key, as a bearer token, with no proof; before and after its owner used it, in any
/// protocol.
#[tokio::test]
async fn a_stolen_token_opens_nothing_without_its_key() {
    let (stack, dora) = with_dora(Setup::default()).await;
    let (key, thief) = (Prover::new(), Prover::new());
    let jwt = stack.dpop_token(&dora, &key, &stack.accounts).await;
    let opaque = stack.dpop_token(&dora, &key, &stack.reports).await;
    let nonce = stack.gateway_nonce(&key, &jwt).await;
    for (tls, http) in PROTOCOLS {
        for (path, token) in [("/accounts", &jwt), ("/reports", &opaque)] {
            let what = (tls, http, path);
            let url = stack.gateway_url(path);
            // The thief has a certificate of his own, and even dora's would not help.
            for (caller, shows) in
                [(stack.nobody(), "nothing"), (stack.caller(&stack.mallory), "his"), (stack.caller(&dora), "hers")]
            {
                let caller = caller.tls(tls).http(http);
                // Nobody is asked about an opaque token of somebody who shows nothing, so what it is bound to is not known.
                let without_proof = match (path, shows) {
                    ("/reports", "nothing") => "binding_certificate_absent",
                    _ => "binding_proof_absent",
                };
                let table = [
                    (Call::get(path).dpop(token, &thief.prove_token("GET", &url, token, &nonce)), TOKEN, "binding_key_mismatch"),
                    (Call::get(path).bearer(token), TOKEN, without_proof),
                    (Call::get(path).bearer(token).proof(&thief.prove_token("GET", &url, token, &nonce)), TOKEN, without_proof),
                    (Call::get(path).header("Authorization", &format!("DPoP {token}")), PROOF, "dpop_proof_absent"),
                ];
                for (call, error, reason) in table {
                    let answer = caller.send(&stack.gateway_authority, &call).await;
                    refused(&stack, &answer, 401, error, reason, what).await;
                }
            }
            let call = Call::get(path).dpop(token, &key.prove_token("GET", &url, token, &nonce));
            let answer = stack.nobody().tls(tls).http(http).send(&stack.gateway_authority, &call).await;
            passed(&stack, &answer, what);
        }
    }
}

/// RFC 9449 §11.1: a captured proof is good for one request, which its maker has made: not on the same connection, not on another, not
/// in another protocol. And it is good for one target, method and token: not for any other, nor at the token endpoint.
#[tokio::test]
async fn a_captured_proof_opens_nothing() {
    let (stack, dora) = with_dora(Setup::default()).await;
    let key = Prover::new();
    let token = stack.dpop_token(&dora, &key, &stack.accounts).await;
    let other = stack.dpop_token(&dora, &key, &stack.accounts).await;
    let nonce = stack.gateway_nonce(&key, &token).await;
    let url = stack.gateway_url("/accounts");
    for http in [Http::V1, Http::V2] {
        let call = Call::get("/accounts").dpop(&token, &key.prove_token("GET", &url, &token, &nonce));
        let mut connection = stack.nobody().http(http).connect(&stack.gateway_authority).await.expect("a connection");
        passed(&stack, &connection.send(&call).await, http);
        let answer = connection.send(&call).await;
        refused(&stack, &answer, 401, PROOF, "dpop_proof_replayed", "the same connection").await;
        for again in [Http::V1, Http::V2] {
            let answer = stack.caller(&stack.mallory).http(again).send(&stack.gateway_authority, &call).await;
            refused(&stack, &answer, 401, PROOF, "dpop_proof_replayed", "another connection").await;
        }
        // The owner goes on with a proof of its own.
        let call = Call::get("/accounts").dpop(&token, &key.prove_token("GET", &url, &token, &nonce));
        passed(&stack, &connection.send(&call).await, http);
    }

    // Captured before it was used.
    let proof = key.prove_token("GET", &url, &token, &nonce);
    let without_ath = key.prove_with("GET", &url, &json!({ "nonce": nonce }));
    let table = [
        ("another path", Call::get("/optional").dpop(&token, &proof), "dpop_proof_target"),
        ("a path below", Call::get("/accounts/write").dpop(&token, &proof), "dpop_proof_target"),
        ("another method", Call::new("POST", "/accounts").dpop(&token, &proof), "dpop_proof_method"),
        ("another method", Call::new("DELETE", "/accounts").dpop(&token, &proof), "dpop_proof_method"),
        ("another token of the same key", Call::get("/accounts").dpop(&other, &proof), "dpop_proof_token"),
        ("a proof for no token", Call::get("/accounts").dpop(&token, &without_ath), "dpop_proof_token"),
        ("two proofs", Call::get("/accounts").dpop(&token, &proof).proof(&proof), "dpop_proof_ambiguous"),
    ];
    for (what, call, reason) in table {
        for http in [Http::V1, Http::V2] {
            let answer = stack.nobody().http(http).send(&stack.gateway_authority, &call).await;
            refused(&stack, &answer, 401, PROOF, reason, what).await;
        }
    }
    // Another authority of the same gateway.
    let answer = stack.nobody().send(&stack.public_authority, &Call::get("/accounts").dpop(&token, &proof)).await;
    refused(&stack, &answer, 401, PROOF, "dpop_proof_target", "another authority").await;
    // At the token endpoint, by whoever could be that client.
    let answer = stack.ask_with_proof(&dora, &proof, &[]).await;
    assert_eq!(stack.verdict(&answer).await, (400, PROOF.to_owned(), "dpop_proof_method".to_owned()));
    // None of that used it up.
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts").dpop(&token, &proof)).await;
    passed(&stack, &answer, "the owner");
    // A query is no part of the target.
    let proof = key.prove_token("GET", &url, &token, &nonce);
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts?page=2").dpop(&token, &proof)).await;
    passed(&stack, &answer, "a query");
}

/// A proof for the token endpoint is none for a resource, and used once there; a token request with it again gets nothing.
#[tokio::test]
async fn a_proof_captured_at_the_token_endpoint_opens_nothing() {
    let (stack, dora) = with_dora(Setup::default()).await;
    let key = Prover::new();
    let proof = key.prove("POST", &stack.token_url());
    let answer = stack.ask_with_proof(&dora, &proof, &[]).await;
    let token = answer.json()["access_token"].as_str().expect("access_token").to_owned();
    let answer = stack.ask_with_proof(&dora, &proof, &[]).await;
    assert_eq!(stack.verdict(&answer).await, (400, PROOF.to_owned(), "dpop_proof_replayed".to_owned()));
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::new("POST", "/accounts").dpop(&token, &proof)).await;
    refused(&stack, &answer, 401, PROOF, "dpop_proof_target", "at the resource").await;
    // Somebody who may choose the same `jti` with a key of his own uses up nothing of hers.
    let claims = key.claims("POST", &stack.token_url(), &json!({}));
    let answer = stack.ask_with_proof(&dora, &Prover::new().sign(&json!({}), &claims), &[]).await;
    assert_eq!(answer.status, 200);
    let answer = stack.ask_with_proof(&dora, &key.sign(&json!({}), &claims), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What forgers try, at the resource: no signature, a shared secret, a private key, too much of it, times that are not now.
#[tokio::test]
async fn a_forged_proof_opens_nothing() {
    let (stack, dora) = with_dora(Setup::default()).await;
    let key = Prover::new();
    let token = stack.dpop_token(&dora, &key, &stack.accounts).await;
    let nonce = stack.gateway_nonce(&key, &token).await;
    let url = stack.gateway_url("/accounts");
    let claims = |changes: Value| {
        let mut all = json!({ "ath": ath(&token), "nonce": nonce });
        all.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        key.claims("GET", &url, &all)
    };
    let header = |changes: Value| key.sign(&changes, &claims(json!({})));
    let good = key.sign(&json!({}), &claims(json!({})));
    let other = key.sign(&json!({}), &claims(json!({})));
    let unsigned = format!("{}.", good.rsplit_once('.').expect("parts").0);
    let mut private = key.jwk.clone();
    private["d"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let table: Vec<(&str, String, &str)> = vec![
        ("no signature", unsigned, "dpop_proof_signature"),
        ("none", header(json!({ "alg": "none" })), "dpop_proof_algorithm"),
        ("symmetric", header(json!({ "alg": "HS256" })), "dpop_proof_algorithm"),
        ("a symmetric key", header(json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AAAA" } })), "dpop_proof_algorithm"),
        ("a private key", header(json!({ "jwk": private })), "dpop_proof_key"),
        ("a key elsewhere", header(json!({ "jwk": null, "jku": "https://evil.example/jwks", "kid": "x" })), "dpop_proof_key"),
        ("an access token's type", header(json!({ "typ": "at+jwt" })), "dpop_proof_type"),
        ("an extension", header(json!({ "crit": ["x"], "x": 1 })), "dpop_proof_malformed"),
        ("oversize", key.sign(&json!({}), &claims(json!({ "x": "x".repeat(7_000) }))), "dpop_proof_malformed"),
        ("a long jti", key.sign(&json!({}), &claims(json!({ "jti": "x".repeat(300) }))), "dpop_proof_malformed"),
        ("the access token", token.clone(), "dpop_proof_type"),
        (
            "another's signature",
            format!("{}.{}", other.rsplit_once('.').expect("parts").0, good.rsplit_once('.').expect("parts").1),
            "dpop_proof_signature",
        ),
    ];
    for (what, proof, reason) in table {
        let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts").dpop(&token, &proof)).await;
        refused(&stack, &answer, 401, PROOF, reason, what).await;
    }
    // Our own nonce with one character changed, and one of the authorization server's making.
    let theirs = stack.ask_with_proof(&dora, &key.prove_with("POST", &stack.token_url(), &json!({ "nonce": "x" })), &[]).await;
    let altered = format!("{}{}", &nonce[..nonce.len() - 1], if nonce.ends_with('A') { 'B' } else { 'A' });
    for foreign in [theirs.nonce(), altered.as_str(), "", "x"] {
        let proof = key.sign(&json!({}), &claims(json!({ "nonce": foreign })));
        let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts").dpop(&token, &proof)).await;
        refused(&stack, &answer, 401, "use_dpop_nonce", "dpop_nonce_foreign", foreign).await;
    }
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts").dpop(&token, &good)).await;
    passed(&stack, &answer, "nothing wrong");
}

/// What a gateway forgot by being started again cannot be used again: neither with a nonce of before, nor by its date.
#[tokio::test]
async fn a_proof_from_before_a_restart_is_not_taken_again() {
    let gateway = "[dpop]\nleeway_seconds = 1\n".to_owned();
    let (mut stack, dora) = with_dora(Setup { gateway, ..Setup::default() }).await;
    let key = Prover::new();
    let token = stack.dpop_token(&dora, &key, &stack.accounts).await;
    let nonce = stack.gateway_nonce(&key, &token).await;
    let url = stack.gateway_url("/accounts");
    // Wait until proofs are taken by their date.
    let (mut by_date, mut tries) = (String::new(), 0);
    while by_date.is_empty() {
        let proof = key.prove_with("GET", &url, &json!({ "ath": ath(&token) }));
        let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts").dpop(&token, &proof)).await;
        tries += 1;
        assert!(answer.status == 200 || tries < 100, "{}", answer.text());
        match answer.status {
            200 => by_date = proof,
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
    let by_nonce = key.prove_token("GET", &url, &token, &nonce);
    stack.upstream.forget();
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts").dpop(&token, &by_nonce)).await;
    passed(&stack, &answer, "the owner");

    stack.gateway.take().expect("a gateway").stop().await;
    stack.start_gateway().await;
    for (proof, reason) in [(&by_date, "dpop_nonce_absent"), (&by_nonce, "dpop_nonce_foreign")] {
        let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts").dpop(&token, proof)).await;
        refused(&stack, &answer, 401, "use_dpop_nonce", reason, "after the restart").await;
    }
    let nonce = stack.gateway_nonce(&key, &token).await;
    let proof = key.prove_token("GET", &url, &token, &nonce);
    let answer = stack.nobody().send(&stack.gateway_authority, &Call::get("/accounts").dpop(&token, &proof)).await;
    passed(&stack, &answer, "with a nonce of this gateway");
}

/// Of a hundred requests at once with one proof, one gets through the gateway.
#[tokio::test]
async fn of_a_hundred_uses_of_one_proof_at_once_one_passes_the_gateway() {
    let (stack, dora) = with_dora(Setup::default()).await;
    let key = Prover::new();
    let token = stack.dpop_token(&dora, &key, &stack.accounts).await;
    let nonce = stack.gateway_nonce(&key, &token).await;
    let call = Call::get("/accounts").dpop(&token, &key.prove_token("GET", &stack.gateway_url("/accounts"), &token, &nonce));
    let mut connections = Vec::new();
    for index in 0..20 {
        let caller = stack.nobody().http(if index % 2 == 0 { Http::V1 } else { Http::V2 });
        connections.push(caller.connect(&stack.gateway_authority).await.expect("a connection"));
    }
    let sends = connections.iter_mut().map(|connection| {
        let call = &call;
        async move {
            let mut statuses = Vec::new();
            for _ in 0..5 {
                statuses.push(connection.send(call).await.status);
            }
            statuses
        }
    });
    let statuses = futures_util::future::join_all(sends).await.concat();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 99, "{statuses:?}");
    assert_eq!(stack.upstream.requests().len(), 1);
}

/// Of a hundred token requests at once with one proof, at two servers on one database, one gets a token. A nonce of the one server is
/// good at the other.
async fn one_of_a_hundred_gets_a_token(engine: Engine) {
    let setup = Setup { engine, without_gateway: true, clients: vec![Stack::prover("dora")], ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    let dora = stack.client_ca.issue(Leaf::client("dora"));
    let port = ports::free();
    let first = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    let (mtls_port, issuer_port) = (stack.fill("{mtls_port}"), stack.fill("{issuer_port}"));
    let second = first
        .replace(&format!("127.0.0.1:{mtls_port}\"\nservices"), &format!("127.0.0.1:{port}\"\nservices"))
        .replace(&format!("127.0.0.1:{issuer_port}\"\nservices"), &format!("127.0.0.1:{}\"\nservices", ports::free()))
        .replace("server-audit.jsonl", "second-audit.jsonl");
    std::fs::write(stack.path("second.toml"), second).expect("written");
    let _second = Process::start("serve", &stack.path("second.toml")).await;

    let key = Prover::new();
    let authorities = [stack.mtls_authority.clone(), format!("127.0.0.1:{port}")];
    let form = [("grant_type", "client_credentials"), ("client_id", "dora")];
    let with =
        |nonce: &str| Call::form("/token", &form).proof(&key.prove_with("POST", &stack.token_url(), &json!({ "nonce": nonce })));
    let nonce = stack.caller(&dora).send(&authorities[0], &with("x")).await.nonce().to_owned();
    let call = with(&nonce);
    let mut connections = Vec::new();
    for index in 0..20 {
        connections.push(stack.caller(&dora).connect(&authorities[index % 2]).await.expect("a connection"));
    }
    let sends = connections.iter_mut().map(|connection| {
        let call = &call;
        async move {
            let mut answers = Vec::new();
            for _ in 0..5 {
                let answer = connection.send(call).await;
                answers.push((answer.status, answer.error()));
            }
            answers
        }
    });
    let answers = futures_util::future::join_all(sends).await.concat();
    let count = |status: u16, error: &str| answers.iter().filter(|(found, code)| *found == status && code == error).count();
    assert_eq!((count(200, ""), count(400, PROOF)), (1, 99), "{answers:?}");
    for authority in &authorities {
        assert_eq!(stack.caller(&dora).send(authority, &with(&nonce)).await.status, 200, "{authority}");
    }
}

#[tokio::test]
async fn of_a_hundred_uses_of_one_proof_at_once_one_gets_a_token_on_sqlite() {
    one_of_a_hundred_gets_a_token(Engine::Sqlite).await;
}

#[tokio::test]
async fn of_a_hundred_uses_of_one_proof_at_once_one_gets_a_token_on_postgres() {
    one_of_a_hundred_gets_a_token(Engine::Postgres).await;
}

/// `config check` refuses what could not be exact: replicas that share no memory of used proofs.
#[tokio::test]
async fn replicas_without_a_shared_memory_are_refused() {
    let stack = Setup::default().prepare("sqlite:symbolon.db".to_owned()).await;
    let written = std::fs::read_to_string(stack.gateway_config()).expect("a configuration");
    let base = configuration::fill(&written, &[]);
    let check = async |change: &dyn Fn(String) -> String| {
        std::fs::write(stack.gateway_config(), change(base.clone())).expect("written");
        let said = crate::harness::command::symbolon(stack.dir.path(), &["config", "check", "--config", "gateway.toml"]).await;
        (said.code == Some(0), said.stderr)
    };
    let replicas = |more: &str| base.replacen("[gateway]", &format!("[gateway]\nreplicas = 2\n{more}"), 1);
    let (fine, words) = check(&|_| replicas("")).await;
    assert!(!fine && words.contains("`gateway.replicas`") && words.contains("`accounts`"), "{words}");
    let (fine, words) = check(&|_| replicas("affinity = true")).await;
    assert!(!fine && words.contains("dpop.require_nonce"), "{words}");
    let (fine, words) = check(&|_| format!("{}\n[dpop]\nrequire_nonce = true\n", replicas(""))).await;
    assert!(!fine && words.contains("gateway.affinity"), "{words}");
    let (fine, words) = check(&|_| format!("{}\n[dpop]\nrequire_nonce = true\n", replicas("affinity = true"))).await;
    assert!(fine, "{words}");
    let without_dpop = replicas("")
        .replace("proof_of_possession = \"optional\"\n", "")
        .replace("audience = ", "proof_of_possession = \"mtls\"\naudience = ");
    let (fine, words) = check(&|_| without_dpop.clone()).await;
    assert!(fine, "{words}");
    let wrong = base.replace("proof_of_possession = \"optional\"", "proof_of_possession = [\"strict\", \"dpop\"]");
    let (fine, words) = check(&|_| wrong.clone()).await;
    assert!(!fine && words.contains("`route.optional.proof_of_possession`"), "{words}");
}
