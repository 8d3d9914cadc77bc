//! RFC 9449: demonstrating proof of possession (DPoP).

use serde_json::{Value, json};

use crate::harness::app::{VERIFIER, add_bob};
use crate::harness::browser::Browser;
use crate::harness::dpop::{ath, now};
use crate::harness::{Answer, App, Call, Http, Identity, Leaf, Prover, Setup, Stack, token};

/// A deployment with dora, whose tokens are bound to a DPoP key.
async fn with_dora(setup: Setup) -> (Stack, Identity) {
    let clients = vec![Stack::prover("dora")];
    let stack = Setup { clients, ..setup }.start().await;
    let dora = stack.client_ca.issue(Leaf::client("dora"));
    (stack, dora)
}

fn access_token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().expect("access_token").to_owned()
}

/// §5: "the authorization server issues ... `token_type` of `DPoP`"; §6.1: "the `jkt` member [is] the base64url encoding of the JWK
/// SHA-256 Thumbprint of the DPoP public key"; §6.2: the same in an introspection answer; §7.1: "the `DPoP` scheme".
#[tokio::test]
async fn a_token_is_bound_to_the_key_of_the_proof_and_used_with_it() {
    let (stack, dora) = with_dora(Setup::default()).await;
    let key = Prover::new();
    for (resource, path) in [(stack.accounts.clone(), "/accounts"), (stack.reports.clone(), "/reports")] {
        let proof = key.prove("POST", &stack.token_url());
        let answer = stack.ask_with_proof(&dora, &proof, &[("resource", &resource)]).await;
        let bound = access_token(&answer);
        assert_eq!(answer.json()["token_type"], "DPoP");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        if path == "/accounts" {
            assert_eq!(token::claims(&bound)["cnf"], json!({ "jkt": key.thumbprint() }));
        }
        let told = stack.introspect(&bound).await;
        assert_eq!((&told["token_type"], &told["cnf"]), (&json!("DPoP"), &json!({ "jkt": key.thumbprint() })));

        // The certificate is the client's at the token endpoint alone: the resource asks for the key.
        let nonce = stack.gateway_nonce(&key, &stack.dpop_token(&dora, &key, &stack.accounts).await).await;
        let proof = key.prove_token("GET", &stack.gateway_url(path), &bound, &nonce);
        let answer = stack.nobody().send(&stack.gateway_authority, &Call::get(path).dpop(&bound, &proof)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let received = stack.upstream.last();
        assert!(received.values("dpop").is_empty() && received.values("authorization").is_empty());
        let event = stack.event_of(answer.request_id()).await;
        assert_eq!(event["dpop_key"], key.thumbprint());
        stack.upstream.forget();
    }
}

/// §4.3, each check: with one thing wrong the proof is `invalid_dpop_proof` (§5), and with nothing wrong it is taken.
#[tokio::test]
async fn each_check_of_a_proof_is_made_at_the_token_endpoint() {
    let (stack, dora) = with_dora(Setup { without_gateway: true, ..Setup::default() }).await;
    let (key, other) = (Prover::new(), Prover::new());
    let url = stack.token_url();
    let claims = |changes: Value| key.prove_with("POST", &url, &changes);
    let header = |changes: Value| key.sign(&changes, &key.claims("POST", &url, &json!({})));
    let mut private = key.jwk.clone();
    private["d"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let table: Vec<(&str, String, &str)> = vec![
        ("no JWT", "x".into(), "dpop_proof_malformed"),
        ("jti absent", claims(json!({ "jti": null })), "dpop_proof_malformed"),
        ("jti too long", claims(json!({ "jti": "x".repeat(257) })), "dpop_proof_malformed"),
        ("htm absent", claims(json!({ "htm": null })), "dpop_proof_malformed"),
        ("htu absent", claims(json!({ "htu": null })), "dpop_proof_malformed"),
        ("iat absent", claims(json!({ "iat": null })), "dpop_proof_malformed"),
        ("iat as text", claims(json!({ "iat": now().to_string() })), "dpop_proof_malformed"),
        ("typ absent", header(json!({ "typ": null })), "dpop_proof_type"),
        ("typ JWT", header(json!({ "typ": "JWT" })), "dpop_proof_type"),
        ("alg none", header(json!({ "alg": "none" })), "dpop_proof_algorithm"),
        ("alg symmetric", header(json!({ "alg": "HS256" })), "dpop_proof_algorithm"),
        ("alg of another key type", header(json!({ "alg": "PS256" })), "dpop_proof_key"),
        ("jwk absent", header(json!({ "jwk": null })), "dpop_proof_key"),
        ("jwk private", header(json!({ "jwk": private })), "dpop_proof_key"),
        ("jwk symmetric", header(json!({ "jwk": { "kty": "oct", "k": "AAAA" } })), "dpop_proof_key"),
        ("jwk of another", header(json!({ "jwk": other.jwk })), "dpop_proof_signature"),
        ("htm of another method", claims(json!({ "htm": "GET" })), "dpop_proof_method"),
        ("htu of another path", claims(json!({ "htu": stack.fill("{mtls_url}/introspect") })), "dpop_proof_target"),
        ("htu of another server", claims(json!({ "htu": "https://other.example/token" })), "dpop_proof_target"),
        ("iat long ago", claims(json!({ "iat": now() - 120 })), "dpop_proof_time"),
        ("iat in the future", claims(json!({ "iat": now() + 60 })), "dpop_proof_time"),
        ("a nonce of nobody", claims(json!({ "nonce": "x" })), "dpop_nonce_foreign"),
    ];
    for (what, proof, reason) in table {
        let answer = stack.ask_with_proof(&dora, &proof, &[]).await;
        let error = if reason.starts_with("dpop_nonce") { "use_dpop_nonce" } else { "invalid_dpop_proof" };
        assert_eq!(stack.verdict(&answer).await, (400, error.to_owned(), reason.to_owned()), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(answer.nonce().is_empty(), error != "use_dpop_nonce", "{what}");
    }
    // "There is not more than one DPoP HTTP request header field."
    let good = claims(json!({}));
    let form = [("grant_type", "client_credentials"), ("client_id", "dora")];
    for http in [Http::V1, Http::V2] {
        let call = Call::form("/token", &form).proof(&good).proof(&good);
        let answer = stack.caller(&dora).http(http).send(&stack.mtls_authority, &call).await;
        let expected = (400, "invalid_dpop_proof".to_owned(), "dpop_proof_ambiguous".to_owned());
        assert_eq!(stack.verdict(&answer).await, expected, "{http:?}");
    }
    access_token(&stack.ask_with_proof(&dora, &good, &[]).await);
    // "ignoring any query and fragment parts", and in any spelling of RFC 3986 §6.2.2.
    let spelled = url.replace("https://", "HTTPS://").replace("/token", "/a/../%74oken?x=1#y");
    access_token(&stack.ask_with_proof(&dora, &claims(json!({ "htu": spelled })), &[]).await);
    // The endpoint has two names (RFC 8705 §5).
    access_token(&stack.ask_with_proof(&dora, &claims(json!({ "htu": stack.fill("{issuer}/token") })), &[]).await);
}

/// §5.1: "`dpop_signing_alg_values_supported`: a JSON array containing a list of the JWS `alg` values ... supported": each one listed
/// works, and no other.
#[tokio::test]
async fn every_listed_algorithm_works_and_no_other() {
    let (stack, dora) = with_dora(Setup { without_gateway: true, ..Setup::default() }).await;
    let call = Call::get("/.well-known/oauth-authorization-server");
    let document = stack.nobody().send(&stack.issuer_authority, &call).await.json();
    let listed: Vec<String> = serde_json::from_value(document["dpop_signing_alg_values_supported"].clone()).expect("strings");
    assert!(!listed.is_empty() && !listed.iter().any(|name| name == "none" || name.starts_with("HS")), "{listed:?}");
    for algorithm in ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"] {
        let proof = Prover::with(algorithm).prove("POST", &stack.token_url());
        let answer = stack.ask_with_proof(&dora, &proof, &[]).await;
        if listed.iter().any(|name| name == algorithm) {
            assert_eq!(answer.status, 200, "{algorithm}: {}", answer.text());
        } else {
            let expected = (400, "invalid_dpop_proof".to_owned(), "dpop_proof_algorithm".to_owned());
            assert_eq!(stack.verdict(&answer).await, expected, "{algorithm}");
        }
    }
}

/// §5.2: "If true, the authorization server MUST reject token requests from the client that do not contain the DPoP header." And what
/// the other registrations say: certificate, both (an extension of ours), neither.
#[tokio::test]
async fn the_registration_says_what_must_be_proven() {
    let person = |name: &str, certificate: bool, dpop: bool| {
        let mut metadata = Stack::prover(name);
        metadata["tls_client_certificate_bound_access_tokens"] = json!(certificate);
        metadata["dpop_bound_access_tokens"] = json!(dpop);
        metadata
    };
    let clients = vec![person("both", true, true), person("neither", false, false), person("key", false, true)];
    let stack = Setup { clients, ..Setup::default() }.start().await;
    let key = Prover::new();
    let refused = |error: &str, reason: &str| Err((400, error.to_owned(), reason.to_owned()));
    let absent = refused("invalid_dpop_proof", "dpop_proof_absent");
    let jkt = json!(key.thumbprint());
    for name in ["alice", "key", "both", "neither"] {
        let identity = if name == "alice" { stack.alice.clone() } else { stack.client_ca.issue(Leaf::client(name)) };
        let x5t = json!(identity.thumbprint());
        let (without, with) = match name {
            "alice" => (Ok(json!({ "x5t#S256": x5t })), refused("invalid_request", "dpop_not_allowed")),
            "key" => (absent.clone(), Ok(json!({ "jkt": jkt }))),
            "both" => (absent.clone(), Ok(json!({ "x5t#S256": x5t, "jkt": jkt }))),
            _ => (Ok(Value::Null), Ok(json!({ "jkt": jkt }))),
        };
        let proof = key.prove("POST", &stack.token_url());
        let answers = [stack.ask(&identity, &[]).await, stack.ask_with_proof(&identity, &proof, &[]).await];
        for (answer, expected) in answers.iter().zip([without, with]) {
            match expected {
                Ok(cnf) => {
                    let bound = access_token(answer);
                    assert_eq!(token::claims(&bound)["cnf"], cnf, "{name}");
                    let is_dpop = cnf.get("jkt").is_some();
                    assert_eq!(answer.json()["token_type"], if is_dpop { "DPoP" } else { "Bearer" }, "{name}");
                }
                Err(verdict) => assert_eq!(stack.verdict(answer).await, verdict, "{name}"),
            }
        }
    }
    // A token bound to both needs both.
    let both = stack.client_ca.issue(Leaf::client("both"));
    let bound = stack.dpop_token(&both, &key, &stack.accounts).await;
    let nonce = stack.gateway_nonce(&key, &bound).await;
    let call = || {
        let proof = key.prove_token("GET", &stack.gateway_url("/accounts"), &bound, &nonce);
        Call::get("/accounts").dpop(&bound, &proof)
    };
    for (caller, reason) in
        [(stack.nobody(), "binding_certificate_absent"), (stack.caller(&stack.mallory), "binding_certificate_mismatch")]
    {
        let answer = caller.send(&stack.gateway_authority, &call()).await;
        assert_eq!(stack.verdict(&answer).await, (401, "invalid_token".to_owned(), reason.to_owned()));
    }
    let answer = stack.caller(&both).send(&stack.gateway_authority, &Call::get("/accounts").bearer(&bound)).await;
    assert_eq!(stack.verdict(&answer).await, (401, "invalid_token".to_owned(), "binding_proof_absent".to_owned()));
    stack.upstream.assert_untouched();
    let answer = stack.caller(&both).send(&stack.gateway_authority, &call()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// §7.1: "`algs` parameter SHOULD be included"; §7.2: "When a resource server accepts both": a challenge for each scheme; "a protected
/// resource MUST reject an access token received as a bearer token ... if that token is determined to be DPoP-bound".
#[tokio::test]
async fn challenges_name_both_schemes_and_the_error_of_the_one_used() {
    let route = r#"
[[route]]
name = "keys"
host = "{gateway_authority}"
path = "/keys"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
proof_of_possession = ["dpop"]

[[route]]
name = "certificates"
host = "{gateway_authority}"
path = "/certificates"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
proof_of_possession = ["mtls"]

[[route]]
name = "off"
host = "{gateway_authority}"
path = "/off"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
proof_of_possession = "danger_off"
"#;
    let (stack, dora) = with_dora(Setup { gateway: route.to_owned(), ..Setup::default() }).await;
    let key = Prover::new();
    let bound = stack.dpop_token(&dora, &key, &stack.accounts).await;
    let hers = stack.token(&stack.alice).await;
    let nonce = stack.gateway_nonce(&key, &bound).await;
    let proof = |path: &str, token: &str| key.prove_token("GET", &stack.gateway_url(path), token, &nonce);
    let algs = r#"algs="ES256 ES384 PS256 EdDSA""#;
    let shown = |answer: &Answer| {
        let name = |challenge: &&str| {
            let scheme = challenge.split(' ').next().expect("a scheme").to_owned();
            let error = challenge.split("error=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            assert_eq!(challenge.contains(algs), scheme == "DPoP", "{challenge}");
            (scheme, error.to_owned())
        };
        answer.challenges().iter().map(name).collect::<Vec<_>>()
    };
    let (bearer, dpop) =
        (|error: &str| ("Bearer".to_owned(), error.to_owned()), |error: &str| ("DPoP".to_owned(), error.to_owned()));
    let nothing = Call::get;
    let as_bearer = |path: &str| Call::get(path).bearer(&bound);
    let as_dpop = |path: &str, token: &str| Call::get(path).dpop(token, &proof(path, token));
    let unproven = |path: &str| Call::get(path).header("Authorization", &format!("DPoP {bound}"));
    let table = [
        (nothing("/accounts"), "token_absent", vec![bearer(""), dpop("")]),
        (nothing("/keys"), "token_absent", vec![dpop("")]),
        (nothing("/certificates"), "token_absent", vec![bearer("")]),
        (as_bearer("/accounts"), "binding_proof_absent", vec![bearer("invalid_token"), dpop("")]),
        (as_bearer("/optional"), "binding_proof_absent", vec![bearer("invalid_token"), dpop("")]),
        (as_bearer("/keys"), "binding_proof_absent", vec![dpop("invalid_token")]),
        (as_bearer("/certificates"), "binding_proof_unsupported", vec![bearer("invalid_token")]),
        (unproven("/accounts"), "dpop_proof_absent", vec![dpop("invalid_dpop_proof"), bearer("")]),
        (unproven("/keys"), "dpop_proof_absent", vec![dpop("invalid_dpop_proof")]),
        (as_dpop("/certificates", &bound), "binding_proof_unsupported", vec![bearer("invalid_token")]),
        (as_dpop("/accounts", &hers), "binding_scheme_mismatch", vec![dpop("invalid_token"), bearer("")]),
    ];
    let alice = stack.caller(&stack.alice);
    for (call, reason, challenges) in table {
        let answer = alice.send(&stack.gateway_authority, &call).await;
        assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (401, reason), "{call:?}");
        assert_eq!(shown(&answer), challenges, "{call:?}");
    }
    stack.upstream.assert_untouched();
    for call in [as_dpop("/accounts", &bound), as_dpop("/keys", &bound), as_dpop("/optional", &bound)] {
        assert_eq!(stack.nobody().send(&stack.gateway_authority, &call).await.status, 200, "{call:?}");
    }
    // What `danger_off` says.
    for call in [as_bearer("/off"), unproven("/off")] {
        assert_eq!(stack.nobody().send(&stack.gateway_authority, &call).await.status, 200, "{call:?}");
    }
    for path in ["/accounts", "/certificates", "/optional"] {
        assert_eq!(alice.send(&stack.gateway_authority, &Call::get(path).bearer(&hers)).await.status, 200, "{path}");
    }
    let answer = alice.send(&stack.gateway_authority, &Call::get("/keys").bearer(&hers)).await;
    assert_eq!(stack.reason_of(answer.request_id()).await, "binding_proof_unsupported");
}

/// §8: "the authorization server ... responds ... with an HTTP 400 ... `use_dpop_nonce` ... the `DPoP-Nonce` header"; §8.2: "the
/// server ... can supply the new nonce ... in a 200 (OK) response".
#[tokio::test]
async fn the_authorization_server_hands_out_nonces() {
    let server = "[dpop]\nrequire_nonce = true\nnonce_seconds = 10\n".to_owned();
    let (stack, dora) = with_dora(Setup { server, without_gateway: true, ..Setup::default() }).await;
    let key = Prover::new();
    let prove =
        |nonce: Option<&str>, iat: i64| key.prove_with("POST", &stack.token_url(), &json!({ "nonce": nonce, "iat": iat }));
    // A client that may know nothing yet: the answer has what it needs.
    let answer = stack.ask(&dora, &[]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_dpop_proof".to_owned(), "dpop_proof_absent".to_owned()));
    assert!(!answer.nonce().is_empty());
    let answer = stack.ask_with_proof(&dora, &prove(None, now()), &[]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "use_dpop_nonce".to_owned(), "dpop_nonce_absent".to_owned()));
    let first = answer.nonce().to_owned();
    // "NQCHAR": what may stand in a nonce.
    assert!(first.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{first}");
    // §11.1: with a nonce the client's clock does not matter.
    let answer = stack.ask_with_proof(&dora, &prove(Some(&first), 1_000_000_000), &[]).await;
    access_token(&answer);
    assert_eq!(answer.header("dpop-nonce"), None, "it is still fresh");
    // In the second half of its life it is exchanged, and after it is refused.
    let mut next = String::new();
    for _ in 0..100 {
        let answer = stack.ask_with_proof(&dora, &prove(Some(&first), now()), &[]).await;
        access_token(&answer);
        if let Some(fresh) = answer.header("dpop-nonce") {
            next = fresh.to_owned();
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(!next.is_empty() && next != first);
    loop {
        let answer = stack.ask_with_proof(&dora, &prove(Some(&first), now()), &[]).await;
        if answer.status != 200 {
            assert_eq!(stack.verdict(&answer).await, (400, "use_dpop_nonce".to_owned(), "dpop_nonce_expired".to_owned()));
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    access_token(&stack.ask_with_proof(&dora, &prove(Some(&next), now()), &[]).await);
}

/// §8: "The nonce ... MUST be unpredictable", and nothing says that the server which made it is the one that is asked next: replicas of one
/// database take each other's, and nobody else's; one that was started again takes those from before.
#[tokio::test]
async fn a_nonce_of_one_replica_is_taken_by_every_other() {
    let server = "[dpop]\nrequire_nonce = true\n".to_owned();
    let (mut stack, dora) = with_dora(Setup { server: server.clone(), without_gateway: true, ..Setup::default() }).await;
    let (other, _) = with_dora(Setup { server, without_gateway: true, ..Setup::default() }).await;
    let (_replica, [_, replica]) = stack.start_replica().await;
    let key = Prover::new();
    let prove =
        |stack: &Stack, nonce: Option<&str>| key.prove_with("POST", &stack.token_url(), &json!({ "nonce": nonce, "iat": now() }));
    let form = [("grant_type", "client_credentials"), ("client_id", "dora")];
    let ask = async |stack: &Stack, authority: &str, nonce: Option<&str>| {
        let call = Call::form("/token", &form).proof(&prove(stack, nonce));
        stack.caller(&dora).send(authority, &call).await
    };
    let mtls = stack.mtls_authority.clone();
    for (maker, taker) in [(&mtls, &replica), (&replica, &mtls)] {
        let answer = ask(&stack, maker, None).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "use_dpop_nonce"));
        access_token(&ask(&stack, taker, Some(answer.nonce())).await);
    }
    // Another deployment's.
    let foreign = {
        let answer =
            other.ask_with_proof(&other.client_ca.issue(crate::harness::Leaf::client("dora")), &prove(&other, None), &[]).await;
        assert_eq!(answer.error(), "use_dpop_nonce");
        answer.nonce().to_owned()
    };
    let answer = ask(&stack, &mtls, Some(&foreign)).await;
    assert_eq!(stack.verdict(&answer).await, (400, "use_dpop_nonce".to_owned(), "dpop_nonce_foreign".to_owned()));
    let nonce = answer.nonce().to_owned();
    stack.server.take().expect("running").stop().await;
    stack.start_server().await;
    access_token(&ask(&stack, &mtls, Some(&nonce)).await);
}

/// §9: "a resource server ... 401 ... `WWW-Authenticate: DPoP error="use_dpop_nonce"` ... `DPoP-Nonce`"; without a nonce `iat` tells when
/// a proof was made (§4.3): a gateway takes such proofs once it has run for longer than one could be older than its memory.
#[tokio::test]
async fn the_resource_hands_out_nonces_and_goes_by_the_date_without() {
    let gateway = "[dpop]\nleeway_seconds = 1\nmax_age_seconds = 30\n".to_owned();
    let (stack, dora) = with_dora(Setup { gateway, ..Setup::default() }).await;
    let key = Prover::new();
    let bound = stack.dpop_token(&dora, &key, &stack.accounts).await;
    let url = stack.gateway_url("/accounts");
    let get = async |changes: Value| {
        let mut all = json!({ "ath": ath(&bound) });
        all.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        let call = Call::get("/accounts").dpop(&bound, &key.prove_with("GET", &url, &all));
        stack.nobody().send(&stack.gateway_authority, &call).await
    };
    // From before the gateway's memory.
    let answer = get(json!({ "iat": now() - 20 })).await;
    assert_eq!(stack.verdict(&answer).await, (401, "use_dpop_nonce".to_owned(), "dpop_nonce_absent".to_owned()));
    assert!(answer.challenge().starts_with("DPoP ") && answer.challenge().contains(r#"error="use_dpop_nonce""#));
    let nonce = answer.nonce().to_owned();
    assert_eq!(get(json!({ "iat": now() - 20, "nonce": nonce })).await.status, 200);
    // Later than that it goes by the date.
    for _ in 0..50 {
        let answer = get(json!({})).await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(stack.reason_of(answer.request_id()).await, "dpop_nonce_absent");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(get(json!({})).await.status, 200);
    stack.upstream.forget();
    for (iat, reason) in [(now() - 35, "dpop_proof_time"), (now() + 10, "dpop_proof_time")] {
        let answer = get(json!({ "iat": iat })).await;
        assert_eq!(stack.verdict(&answer).await, (401, "invalid_dpop_proof".to_owned(), reason.to_owned()));
    }
    stack.upstream.assert_untouched();
}

/// §7.1, §7.2, at the resource that the authorization server serves itself: a bound token is worth nothing as a bearer token, with the proof
/// of another key, request or token, or with one that was used; and is taken with a fresh proof of its own key.
#[tokio::test]
async fn userinfo_takes_a_bound_token_with_its_proof_alone() {
    let clients = vec![App::metadata("alice", json!({ "dpop_bound_access_tokens": true }))];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let app = App::alice(&stack);
    let (key, other) = (Prover::new(), Prover::new());
    let mut browser = Browser::new(&stack);
    let mut bound = Vec::new();
    for _ in 0..2 {
        let code = app.code(&mut browser, &[("scope", "openid email")]).await;
        let form = [
            ("client_id", app.client_id()),
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &app.redirect_uri),
            ("code_verifier", VERIFIER),
        ];
        let call = Call::form("/token", &form).proof(&key.prove("POST", &stack.token_url()));
        bound.push(access_token(&stack.caller(&stack.alice).send(&stack.mtls_authority, &call).await));
    }
    let url = stack.fill("{issuer}/userinfo");
    let by = |prover: &Prover, changes: Value| {
        let mut whole = json!({ "ath": ath(&bound[0]) });
        whole.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        prover.prove_with("GET", &url, &whole)
    };
    let get = Call::get("/userinfo");
    let with = |proof: &str| get.clone().dpop(&bound[0], proof);
    let table = [
        ("as a bearer token", get.clone().bearer(&bound[0]), "invalid_token", "binding_proof_absent"),
        (
            "as a bearer token, with a proof",
            get.clone().bearer(&bound[0]).proof(&by(&key, json!({}))),
            "invalid_token",
            "binding_proof_absent",
        ),
        (
            "without proof",
            get.clone().header("Authorization", &format!("DPoP {}", bound[0])),
            "invalid_dpop_proof",
            "dpop_proof_absent",
        ),
        ("another key's", with(&by(&other, json!({}))), "invalid_token", "binding_key_mismatch"),
        ("another token's", with(&by(&key, json!({ "ath": ath(&bound[1]) }))), "invalid_dpop_proof", "dpop_proof_token"),
        ("no token's", with(&by(&key, json!({ "ath": null }))), "invalid_dpop_proof", "dpop_proof_token"),
        ("another method's", with(&by(&key, json!({ "htm": "POST" }))), "invalid_dpop_proof", "dpop_proof_method"),
        ("another place's", with(&by(&key, json!({ "htu": stack.token_url() }))), "invalid_dpop_proof", "dpop_proof_target"),
        ("an old one", with(&by(&key, json!({ "iat": now() - 600 }))), "invalid_dpop_proof", "dpop_proof_time"),
    ];
    for (what, call, error, reason) in table {
        let answer = stack.nobody().send(&stack.issuer_authority, &call).await;
        assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (401, reason), "{what}");
        let told = format!("error=\"{error}\"");
        assert!(answer.challenges().iter().any(|challenge| challenge.contains(&told)), "{what}: {:?}", answer.challenges());
        assert!(answer.challenges().iter().any(|challenge| challenge.starts_with("DPoP ")), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    }
    let good = by(&key, json!({}));
    let answer = stack.nobody().send(&stack.issuer_authority, &with(&good)).await;
    assert_eq!((answer.status, &answer.json()["email"]), (200, &json!("bob@example.org")), "{}", answer.text());
    let answer = stack.nobody().send(&stack.issuer_authority, &with(&good)).await;
    assert_eq!((answer.status, stack.reason_of(answer.request_id()).await.as_str()), (401, "dpop_proof_replayed"));
    assert_eq!(stack.nobody().send(&stack.issuer_authority, &with(&by(&key, json!({})))).await.status, 200);
}
