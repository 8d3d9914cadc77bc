//! FAPI 2.0 Security Profile.

use serde_json::{Value, json};

use super::actor::{Authentication, Binding, Changes, deployment, request_uri};
use crate::harness::app::{Returned, decide, go_on};
use crate::harness::assertion::{JWT_BEARER, Signer, claims, now};
use crate::harness::browser::Browser;
use crate::harness::dpop::ath;
use crate::harness::{Answer, App, Call, Leaf, Prover, Stack, token};

async fn verdict(stack: &Stack, answer: &Answer) -> (u16, String, String) {
    stack.verdict(answer).await
}

fn is(status: u16, error: &str, reason: &str) -> (u16, String, String) {
    (status, error.to_owned(), reason.to_owned())
}

/// §5.3.2.2, from end to end, with and without OpenID: "the authorization code flow", "authenticated pushed authorization requests",
/// "`iss`", "the HTTP 303 status code", "`expires_in` values of less than 600 seconds"; §5.3.2.1: "only issue sender-constrained access
/// tokens", "shall not use refresh token rotation".
#[tokio::test]
async fn every_kind_of_client_goes_through() {
    let (stack, actors) = deployment("fapi2", json!({}), "").await;
    let mut browser = Browser::new(&stack);
    for actor in &actors {
        let name = actor.name;
        for scope in ["openid read offline_access", "read", "read openid offline_access"] {
            let answer = actor.push(&stack, &[("scope", scope)]).await;
            assert!(answer.json()["expires_in"].as_u64().is_some_and(|seconds| (5..600).contains(&seconds)), "{name}");
            let uri = request_uri(&answer);
            // Loaded twice before it is authorized (§5.3.2.2 note 3).
            assert_eq!(Browser::new(&stack).get(&actor.start(&uri)).await.status, 303);
            let answer = browser.get(&actor.start(&uri)).await;
            let answer = go_on(&mut browser, answer).await;
            assert_eq!(answer.status, 303);
            let returned = Returned::of(&answer);
            assert_eq!(
                (returned.get("iss"), returned.get("state")),
                (&*format!("https://{}", stack.issuer_authority), "af0ifjsldkj")
            );
            let tokens = actor.redeem(&stack, returned.get("code"), &[]).await.json();
            let access_token = tokens["access_token"].as_str().unwrap_or_else(|| panic!("{name}: {tokens}"));
            let facts = stack.introspect(access_token).await;
            let cnf = match actor.binding {
                Binding::Certificate => json!({ "x5t#S256": actor.identity.thumbprint() }),
                Binding::Dpop => json!({ "jkt": actor.prover.thumbprint() }),
            };
            assert_eq!(facts["cnf"], cnf, "{name}");
            let is_openid = scope.contains("openid");
            assert_eq!(tokens["id_token"].is_string(), is_openid, "{name}");
            if is_openid {
                let id_token = tokens["id_token"].as_str().expect("one");
                assert_eq!(token::header(id_token)["alg"], "ES256");
                assert_eq!(token::claims(id_token)["nonce"], "n-0S6_WzA2Mj");
                assert_eq!(actor.userinfo(&stack, access_token).await.status, 200, "{name}");
            }
            let refresh_token = tokens["refresh_token"].as_str().expect("one");
            for _ in 0..2 {
                let answer = actor.refresh(&stack, refresh_token).await;
                assert_eq!(answer.status, 200, "{name}: {}", answer.text());
                assert_eq!(answer.json().get("refresh_token"), None, "{name}");
            }
            // Used up.
            let answer = browser.get(&actor.start(&uri)).await;
            assert_eq!((answer.status, answer.header("location")), (400, None));
            assert_eq!(stack.reason_of(answer.request_id()).await, "request_uri_unknown");
        }
    }
    // The person may say no, and the client hears of it.
    let uri = actors[0].pushed(&stack, &[("prompt", "consent")]).await;
    let location = browser.get(&actors[0].start(&uri)).await.header("location").expect("a page").to_owned();
    let page = browser.get(&location).await;
    let returned = Returned::of(&decide(&mut browser, &page, "deny").await);
    assert_eq!((returned.get("error"), returned.get("state")), ("access_denied", "af0ifjsldkj"));
}

/// What may be left out or be long is no reason to refuse: `state` and `nonce` (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1).
#[tokio::test]
async fn state_and_nonce_may_be_missing_or_long() {
    let (stack, actors) = deployment("fapi2", json!({}), "").await;
    let mut browser = Browser::new(&stack);
    let (actor, long) = (&actors[3], "x".repeat(1_000));
    for (state, nonce) in [("", "n"), ("s", ""), (long.as_str(), "n"), ("s", long.as_str()), ("s", &long[..64])] {
        let returned = actor.authorize(&mut browser, &actor.pushed(&stack, &[("state", state), ("nonce", nonce)]).await).await;
        assert_eq!(returned.get("state"), state);
        let tokens = actor.redeem(&stack, returned.get("code"), &[]).await.json();
        assert_eq!(token::claims(tokens["id_token"].as_str().expect("one"))["nonce"].as_str().unwrap_or_default(), nonce);
    }
    let claims = r#"{"userinfo":{"name":{"essential":true}},"id_token":{"email":null}}"#;
    let tokens = actor.tokens(&stack, &mut browser, &[("claims", claims)]).await;
    assert_eq!(token::claims(tokens["id_token"].as_str().expect("one"))["email"], "bob@example.org");
    let told = actor.userinfo(&stack, tokens["access_token"].as_str().expect("one")).await.json();
    assert_eq!(told["name"], "Bob Builder");
}

/// §5.3.2.2: "shall reject authorization request parameters sent outside of the pushed authorization request" (2, 3), "require PKCE with
/// `S256`", "require the `redirect_uri` parameter in pushed authorization requests", "response_type `code`"; RFC 9126 §2.1, §2.3, §4.
#[tokio::test]
async fn what_cannot_be_pushed() {
    let (stack, actors) = deployment("fapi2", json!({}), "").await;
    let table: [(Changes<'_>, &str, &str); 9] = [
        (&[("redirect_uri", "")], "invalid_request", "redirect_uri_absent"),
        (&[("redirect_uri", "https://evil.example/cb")], "invalid_request", "redirect_uri_mismatch"),
        (&[("response_type", "token")], "unsupported_response_type", "response_type_unsupported"),
        (&[("response_type", "code id_token")], "unsupported_response_type", "response_type_unsupported"),
        (&[("code_challenge", ""), ("code_challenge_method", "")], "invalid_request", "pkce_absent"),
        (&[("code_challenge_method", "plain")], "invalid_request", "pkce_malformed"),
        (&[("code_challenge_method", "")], "invalid_request", "pkce_malformed"),
        (&[("request_uri", "urn:ietf:params:oauth:request_uri:x")], "invalid_request", "request_unsupported"),
        (&[("scope", "admin")], "invalid_scope", "scope_not_allowed"),
    ];
    for actor in &actors {
        for (changes, error, reason) in table {
            let answer = actor.push(&stack, changes).await;
            assert_eq!(verdict(&stack, &answer).await, is(400, error, reason), "{} {changes:?}", actor.name);
        }
        let mut put = actor.form("/par", actor.request(), &[]);
        put.method = "PUT".to_owned();
        assert_eq!(actor.send(&stack, &put).await.status, 405);
        let mut twice = actor.form("/par", actor.request(), &[]);
        twice.body.extend_from_slice(b"&scope=read");
        assert_eq!(verdict(&stack, &actor.send(&stack, &twice).await).await, is(400, "invalid_request", "parameter_duplicate"));
        assert_eq!(actor.push(&stack, &[]).await.status, 201);
    }
    let mut browser = Browser::new(&stack);
    let (actor, other) = (&actors[0], &actors[2]);
    // Not pushed; somebody else's; not one.
    let mut parameters = actor.request();
    parameters.push(("client_id".to_owned(), actor.name.to_owned()));
    let answer = browser.get(&crate::harness::app::url_of(&parameters)).await;
    assert_eq!(Returned::of(&answer).get("error"), "invalid_request");
    assert_eq!(stack.reason_of(answer.request_id()).await, "pushed_request_required");
    let uri = actor.pushed(&stack, &[]).await;
    for (actor, uri, reason) in
        [(other, uri.as_str(), "request_uri_foreign"), (actor, "urn:ietf:params:oauth:request_uri:AAAA", "request_uri_unknown")]
    {
        let answer = browser.get(&actor.start(uri)).await;
        assert_eq!((answer.status, answer.header("location")), (400, None));
        assert_eq!(stack.reason_of(answer.request_id()).await, reason);
    }
    // What the browser adds or changes counts for nothing.
    let url = format!("{}&scope=write&state=other&redirect_uri=https%3A%2F%2Fevil.example", actor.start(&uri));
    let answer = browser.get(&url).await;
    let returned = Returned::of(&go_on(&mut browser, answer).await);
    assert_eq!((returned.to.as_str(), returned.get("state")), (actor.redirect_uri.as_str(), "af0ifjsldkj"));
}

/// §5.3.2.1: "shall only accept its issuer identifier value ... as a string in the `aud` claim received in client authentication
/// assertions", "shall accept JWTs with an `iat` or `nbf` timestamp between 0 and 10 seconds in the future but shall reject JWTs with an
/// `iat` or `nbf` timestamp greater than 60 seconds in the future"; §5.4.1: "PS256, ES256, or EdDSA", "not use or accept `none`".
#[tokio::test]
async fn assertions_are_made_for_this_issuer_now() {
    let (stack, actors) = deployment("fapi2", json!({}), "").await;
    let (actor, issuer) = (&actors[3], format!("https://{}", stack.issuer_authority));
    let mut browser = Browser::new(&stack);
    let rs256 = Signer::key("RS256", "rs256");
    let with = |changes: Value| {
        let mut claims = claims(actor.name, &issuer);
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        actor.signer.sign(json!({}), &claims)
    };
    let mut good = with(json!({}));
    good.replace_range(good.len() - 4.., "AAAA");
    let table = [
        (with(json!({ "aud": [issuer] })), "assertion_audience"),
        (with(json!({ "aud": [format!("{issuer}/par")] })), "assertion_audience"),
        (with(json!({ "aud": format!("{issuer}/par") })), "assertion_audience"),
        (with(json!({ "aud": format!("{issuer}/token") })), "assertion_audience"),
        (with(json!({ "aud": "https://other.example" })), "assertion_audience"),
        (with(json!({ "exp": now() - 300 })), "assertion_expired"),
        (with(json!({ "sub": null })), "assertion_claim"),
        (with(json!({ "iat": now() + 65 })), "assertion_not_yet_valid"),
        (with(json!({ "nbf": now() + 65 })), "assertion_not_yet_valid"),
        (rs256.sign(json!({ "kid": actor.name }), &claims(actor.name, &issuer)), "assertion_algorithm"),
        (super::actor::unsigned(&claims(actor.name, &issuer)), "assertion_algorithm"),
        (actors[2].signer.sign(json!({}), &claims(actor.name, &issuer)), "assertion_key_unknown"),
        (good, "assertion_signature"),
    ];
    let code = actor.code(&stack, &mut browser, &[]).await;
    for (assertion, reason) in &table {
        for call in [
            actor.form("/par", actor.request(), &[("client_assertion", assertion)]),
            actor.redemption(&code, actor.proof("/token").as_deref(), &[("client_assertion", assertion)]),
        ] {
            let answer = actor.send(&stack, &call).await;
            assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_client", reason), "{}", call.target);
        }
    }
    for claim in ["iat", "nbf"] {
        let assertion = with(json!({ claim: now() + 8 }));
        assert_eq!(actor.push(&stack, &[("client_assertion", &assertion)]).await.status, 201, "{claim}");
    }
    // Used once, at whatever endpoint; and none at all.
    let assertion = with(json!({}));
    assert_eq!(actor.push(&stack, &[("client_assertion", &assertion)]).await.status, 201);
    let answer = actor.redeem(&stack, &code, &[("client_assertion", &assertion)]).await;
    assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_client", "assertion_replayed"));
    let answer = actor.redeem(&stack, &code, &[("client_assertion", ""), ("client_assertion_type", "")]).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    assert_eq!(actor.redeem(&stack, &code, &[]).await.status, 200);
}

/// §5.3.2.1: "shall authenticate clients using one of the following methods: MTLS ..., `private_key_jwt`", "shall only support
/// confidential clients", "shall reject requests using the resource owner password credentials grant".
#[tokio::test]
async fn weaker_clients_are_not_served() {
    const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123456789abcdefghijkl";
    let (stack, actors) = deployment("fapi2", json!({}), "").await;
    let plain = |method: &str, more: Value| {
        let mut changes = json!({ "token_endpoint_auth_method": method, "tls_client_auth_subject_dn": null });
        changes.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_str(&stack.fill(&App::metadata("weak", changes).to_string())).expect("JSON")
    };
    let issuer = format!("https://{}", stack.issuer_authority);
    for (method, more) in [
        ("client_secret_post", json!({ "client_secret": SECRET })),
        ("client_secret_jwt", json!({ "client_secret": SECRET })),
        ("none", json!({ "tls_client_certificate_bound_access_tokens": false })),
    ] {
        stack.register(&[plain(method, more.clone())]).await;
        let shared = Signer::secret("HS512", SECRET.as_bytes()).assertion("weak", &issuer);
        let started = std::time::Instant::now();
        loop {
            let mut form = vec![("client_id", "weak"), ("response_type", "code"), ("redirect_uri", "https://weak.example/cb")];
            match method {
                "client_secret_post" => form.push(("client_secret", SECRET)),
                "client_secret_jwt" => {
                    form.extend([("client_assertion_type", JWT_BEARER), ("client_assertion", shared.as_str())])
                }
                _ => {}
            }
            let answer = stack.nobody().send(&stack.issuer_authority, &Call::form("/par", &form)).await;
            let found = verdict(&stack, &answer).await;
            if found == is(401, "invalid_client", "client_method_weak") {
                break;
            }
            assert!(started.elapsed() < crate::harness::client::PATIENCE, "{method}: {found:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let mut strict = more;
        strict["profile"] = json!("fapi2");
        assert!(stack.apply(&[plain(method, strict)]).await.failed().contains("the profile `fapi2`"), "{method}");
    }
    let call = actors[0].form("/token", vec![], &[("grant_type", "password"), ("username", "bob"), ("password", "x")]);
    let answer = actors[0].send(&stack, &call).await;
    assert_eq!(verdict(&stack, &answer).await, is(400, "unsupported_grant_type", "grant_unsupported"));
}

/// §5.3.2.1: "shall only issue sender-constrained access tokens": under a server's profile also to clients that are registered under a
/// looser one, for bearer tokens, and authenticate as they should.
#[tokio::test]
async fn no_registration_brings_a_bearer_token() {
    let loose = json!({ "profile": "oauth2.1", "tls_client_certificate_bound_access_tokens": false });
    let (stack, actors) = deployment("fapi2", loose, "").await;
    let mut browser = Browser::new(&stack);
    for actor in actors.iter().filter(|actor| actor.binding == Binding::Certificate) {
        let code = actor.code(&stack, &mut browser, &[]).await;
        let answer = actor.redeem(&stack, &code, &[]).await;
        assert_eq!(verdict(&stack, &answer).await, is(400, "unauthorized_client", "binding_required"), "{}", actor.name);
        // The same code, with a key.
        let proof = actor.prover.prove("POST", &actor.url("/token"));
        let answer = actor.send(&stack, &actor.redemption(&code, Some(&proof), &[])).await;
        assert_eq!(answer.status, 200, "{}: {}", actor.name, answer.text());
        let claims = token::claims(answer.json()["access_token"].as_str().expect("one"));
        assert_eq!(claims["cnf"], json!({ "jkt": actor.prover.thumbprint() }), "{}", actor.name);
    }
}

/// §5.3.2.2: "shall verify, if possible, that the authorization code has not been previously used"; RFC 7636 §4.6; §5.3.2.1:
/// "sender-constrained"; RFC 6749 §4.1.3: a code is its client's.
#[tokio::test]
async fn a_code_is_redeemed_once_by_its_client_with_its_keys() {
    let (stack, actors) = deployment("fapi2", json!({}), "").await;
    let mut browser = Browser::new(&stack);
    for (index, actor) in actors.iter().enumerate() {
        let name = actor.name;
        // PKCE.
        for verifier in ["", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXX"] {
            let code = actor.code(&stack, &mut browser, &[]).await;
            let answer = actor.redeem(&stack, &code, &[("code_verifier", verifier)]).await;
            assert_eq!(verdict(&stack, &answer).await, is(400, "invalid_grant", "pkce_mismatch"), "{name}");
        }
        // Nothing that it could be bound to.
        let code = actor.code(&stack, &mut browser, &[]).await;
        let call = actor.redemption(&code, None, &[]);
        let (answer, expected) = match (actor.binding, actor.authentication) {
            (Binding::Dpop, _) => (actor.send(&stack, &call).await, is(400, "invalid_dpop_proof", "dpop_proof_absent")),
            (_, Authentication::PrivateKeyJwt) => {
                (stack.nobody().send(&stack.issuer_authority, &call).await, is(400, "invalid_request", "binding_required"))
            }
            _ => (stack.nobody().send(&stack.mtls_authority, &call).await, is(401, "invalid_client", "certificate_absent")),
        };
        assert_eq!(verdict(&stack, &answer).await, expected, "{name}");
        // Another client; another's certificate; nobody.
        let other = &actors[(index + 1) % actors.len()];
        let answer = other.redeem(&stack, &code, &[("redirect_uri", &actor.redirect_uri)]).await;
        assert_eq!(verdict(&stack, &answer).await, is(400, "invalid_grant", "code_foreign"), "{name}");
        if actor.authentication == Authentication::Certificate {
            let somebody = stack.client_ca.issue(Leaf::client("somebody"));
            let call = actor.redemption(&code, actor.proof("/token").as_deref(), &[]);
            let answer = stack.caller(&somebody).send(&stack.mtls_authority, &call).await;
            assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_client", "certificate_subject_mismatch"), "{name}");
            let answer = actor.redeem(&stack, &code, &[("client_id", "")]).await;
            assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_client", "client_id_absent"), "{name}");
        }
        // Once; then what it gave is over.
        let answer = actor.redeem(&stack, &code, &[]).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let access_token = answer.json()["access_token"].as_str().expect("one").to_owned();
        assert_eq!(actor.userinfo(&stack, &access_token).await.status, 200);
        let answer = actor.redeem(&stack, &code, &[]).await;
        assert_eq!(verdict(&stack, &answer).await, is(400, "invalid_grant", "code_replayed"), "{name}");
        let answer = actor.userinfo(&stack, &access_token).await;
        assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_token", "token_revoked"), "{name}");
    }
}

/// §5.3.2.2: "shall issue authorization codes with a maximum lifetime of 60 seconds"; RFC 9126 §2.2: `expires_in`.
#[tokio::test]
async fn codes_and_request_uris_end() {
    let more = "code_lifetime_seconds = 10\npushed_request_lifetime_seconds = 5\n";
    let (stack, actors) = deployment("fapi2", json!({}), more).await;
    let mut browser = Browser::new(&stack);
    let actor = &actors[0];
    let code = actor.code(&stack, &mut browser, &[]).await;
    let uri = actor.pushed(&stack, &[]).await;
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    let answer = browser.get(&actor.start(&uri)).await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
    assert_eq!(stack.reason_of(answer.request_id()).await, "request_uri_unknown");
    let answer = actor.redeem(&stack, &code, &[]).await;
    assert_eq!(verdict(&stack, &answer).await, is(400, "invalid_grant", "code_expired"));
    assert_eq!(actor.redeem(&stack, &actor.code(&stack, &mut browser, &[]).await, &[]).await.status, 200);
}

/// §5.3.2.2: "if supporting DPoP, shall support \"Authorization Code Binding to DPoP Key\" (as required by Section 10.1 of RFC 9449)".
#[tokio::test]
async fn a_code_may_be_bound_to_a_key() {
    let (stack, actors) = deployment("fapi2", json!({}), "").await;
    let mut browser = Browser::new(&stack);
    for actor in actors.iter().filter(|actor| actor.binding == Binding::Dpop) {
        let (own, other) = (actor.prover.thumbprint(), Prover::new());
        let by = |prover: &Prover, path: &str| prover.prove("POST", &actor.url(path));
        // By parameter, by proof, by both.
        for (jkt, proof) in [(own.as_str(), false), ("", true), (own.as_str(), true)] {
            let mut call = actor.form("/par", actor.request(), &[("dpop_jkt", jkt)]);
            if proof {
                call = call.proof(&by(&actor.prover, "/par"));
            }
            let uri = request_uri(&actor.send(&stack, &call).await);
            let code = actor.authorize(&mut browser, &uri).await.get("code").to_owned();
            let call = actor.redemption(&code, Some(&by(&other, "/token")), &[]);
            let answer = actor.send(&stack, &call).await;
            assert_eq!(verdict(&stack, &answer).await, is(400, "invalid_grant", "dpop_jkt"), "{} {jkt} {proof}", actor.name);
            let uri = request_uri(&actor.send(&stack, &actor.form("/par", actor.request(), &[("dpop_jkt", &own)])).await);
            let code = actor.authorize(&mut browser, &uri).await.get("code").to_owned();
            assert_eq!(actor.redeem(&stack, &code, &[]).await.status, 200);
        }
        let call = actor.form("/par", actor.request(), &[("dpop_jkt", &own)]).proof(&by(&other, "/par"));
        let answer = actor.send(&stack, &call).await;
        assert_eq!(verdict(&stack, &answer).await, is(400, "invalid_dpop_proof", "dpop_jkt"));
    }
}

/// §5.3.3 at the resource that this server is: RFC 8705 §3: "the certificate ... MUST match"; RFC 9449 §4.3, each check, and what it says
/// to ignore: query and fragment of `htu`, unknown members; the case of header and scheme (RFC 9110 §5.1, §11.1).
#[tokio::test]
async fn the_resource_asks_for_the_key() {
    let (stack, actors) = deployment("fapi2", json!({}), "").await;
    let mut browser = Browser::new(&stack);
    let actor = &actors[0];
    let tokens = actor.tokens(&stack, &mut browser, &[]).await;
    let access_token = tokens["access_token"].as_str().expect("one");
    let call = Call::get("/userinfo").bearer(access_token);
    for (caller, authority, reason) in [
        (stack.nobody(), &stack.issuer_authority, "binding_certificate_absent"),
        (stack.nobody(), &stack.mtls_authority, "binding_certificate_absent"),
        (stack.caller(&actors[1].identity), &stack.mtls_authority, "binding_certificate_mismatch"),
    ] {
        let answer = caller.send(authority, &call).await;
        assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_token", reason));
    }
    let call = Call::get("/userinfo").header("Authorization", &format!("bEARER {access_token}"));
    assert_eq!(actor.send(&stack, &call).await.status, 200);

    for actor in actors.iter().filter(|actor| actor.binding == Binding::Dpop) {
        let tokens = actor.tokens(&stack, &mut browser, &[]).await;
        let access_token = tokens["access_token"].as_str().expect("one");
        let (url, key) = (actor.url("/userinfo"), &actor.prover);
        let claims = |changes: Value| {
            let mut all = json!({ "ath": ath(access_token) });
            all.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
            key.claims("GET", &url, &all)
        };
        let proof = |header: Value, changes: Value| key.sign(&header, &claims(changes));
        let ask = async |proof: &str| actor.send(&stack, &Call::get("/userinfo").dpop(access_token, proof)).await;
        let good = proof(json!({}), json!({}));
        let mut broken = proof(json!({}), json!({}));
        broken.replace_range(broken.len() - 4.., "AAAA");
        let mut private = key.jwk.clone();
        private["d"] = json!("AAAA");
        let table = [
            ("x.y.z".to_owned(), "dpop_proof_malformed"),
            (proof(json!({ "typ": null }), json!({})), "dpop_proof_type"),
            (proof(json!({ "typ": "JWT" }), json!({})), "dpop_proof_type"),
            (proof(json!({ "alg": null }), json!({})), "dpop_proof_malformed"),
            (proof(json!({ "alg": "none" }), json!({})), "dpop_proof_algorithm"),
            (proof(json!({ "jwk": null }), json!({})), "dpop_proof_key"),
            (proof(json!({ "jwk": private }), json!({})), "dpop_proof_key"),
            (proof(json!({}), json!({ "jti": null })), "dpop_proof_malformed"),
            (proof(json!({}), json!({ "htm": null })), "dpop_proof_malformed"),
            (proof(json!({}), json!({ "htm": "PUT" })), "dpop_proof_method"),
            (proof(json!({}), json!({ "htu": null })), "dpop_proof_malformed"),
            (proof(json!({}), json!({ "htu": "https://other.example/userinfo" })), "dpop_proof_target"),
            (proof(json!({}), json!({ "iat": null })), "dpop_proof_malformed"),
            (proof(json!({}), json!({ "iat": now() + 3_600 })), "dpop_proof_time"),
            (proof(json!({}), json!({ "iat": now() - 3_600 })), "dpop_proof_time"),
            (proof(json!({}), json!({ "ath": null })), "dpop_proof_token"),
            (proof(json!({}), json!({ "ath": ath("another") })), "dpop_proof_token"),
            (Prover::with("RS256").sign(&json!({}), &claims(json!({}))), "dpop_proof_algorithm"),
            (Prover::with("ES384").sign(&json!({}), &claims(json!({}))), "dpop_proof_algorithm"),
            (broken, "dpop_proof_signature"),
        ];
        for (proof, reason) in &table {
            let answer = ask(proof).await;
            assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_dpop_proof", reason), "{proof}");
        }
        let answer = ask(&Prover::new().sign(&json!({}), &claims(json!({})))).await;
        assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_token", "binding_key_mismatch"));
        for good in [
            good.clone(),
            proof(json!({}), json!({ "htu": format!("{url}?x=1#y") })),
            proof(json!({}), json!({ "htu": url.replacen("https", "HTTPS", 1) })),
            proof(json!({}), json!({ "iat": now() - 10 })),
            proof(json!({}), json!({ "iat": now() + 10 })),
            proof(json!({}), json!({ "nbf": now(), "exp": now() + 60, "more": { "x": 1 } })),
            proof(json!({ "more": "x" }), json!({})),
        ] {
            let answer = ask(&good).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        let answer = ask(&good).await;
        assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_dpop_proof", "dpop_proof_replayed"));
        // As a plain bearer token, with two proofs; and in other letters.
        let answer = actor.send(&stack, &Call::get("/userinfo").bearer(access_token)).await;
        assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_token", "binding_proof_absent"));
        let two = [proof(json!({}), json!({})), proof(json!({}), json!({}))];
        let answer = actor.send(&stack, &Call::get("/userinfo").dpop(access_token, &two[0]).proof(&two[1])).await;
        assert_eq!(verdict(&stack, &answer).await, is(401, "invalid_dpop_proof", "dpop_proof_ambiguous"));
        let call = Call::get("/userinfo").header("Authorization", &format!("dPOP {access_token}")).header("DPOP", &two[0]);
        assert_eq!(actor.send(&stack, &call).await.status, 200);
    }
}

/// §5.3.2.1: "shall distribute discovery metadata"; what the document says of a server that is under the profile, each of which is shown
/// to hold above.
#[tokio::test]
async fn the_metadata_is_that_of_the_profile() {
    let (stack, _) = deployment("fapi2", json!({}), "[signing]\nmore_algorithms = [\"PS256\"]\n").await;
    let call = |path: &str| Call::get(path);
    let document = stack.nobody().send(&stack.issuer_authority, &call("/.well-known/openid-configuration")).await.json();
    let other = stack.nobody().send(&stack.issuer_authority, &call("/.well-known/oauth-authorization-server")).await.json();
    assert_eq!(document, other);
    let three = json!(["tls_client_auth", "self_signed_tls_client_auth", "private_key_jwt"]);
    let algorithms = json!(["ES256", "PS256", "EdDSA"]);
    for endpoint in ["token", "introspection", "revocation", "pushed_authorization_request"] {
        assert_eq!(document[format!("{endpoint}_endpoint_auth_methods_supported")], three, "{endpoint}");
        assert_eq!(document[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")], algorithms, "{endpoint}");
    }
    for message in ["id_token", "userinfo", "authorization", "introspection"] {
        assert_eq!(document[format!("{message}_signing_alg_values_supported")], json!(["ES256", "PS256"]), "{message}");
    }
    for (name, value) in [
        ("response_types_supported", json!(["code"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("dpop_signing_alg_values_supported", json!(["ES256", "PS256", "EdDSA"])),
        ("request_object_signing_alg_values_supported", algorithms),
        ("require_pushed_authorization_requests", json!(true)),
        ("tls_client_certificate_bound_access_tokens", json!(true)),
        ("authorization_response_iss_parameter_supported", json!(true)),
        ("symbolon_profiles_supported", json!(["fapi2", "fapi2-message-signing"])),
    ] {
        assert_eq!(document[name], value, "{name}");
    }
    for name in ["token_endpoint", "pushed_authorization_request_endpoint", "userinfo_endpoint"] {
        let alias = document["mtls_endpoint_aliases"][name].as_str().expect(name);
        assert!(alias.starts_with(&format!("https://{}/", stack.mtls_authority)), "{name}");
    }
    // A second algorithm's first key is made beside the server's start.
    let started = std::time::Instant::now();
    let names = loop {
        let keys = stack.nobody().send(&stack.issuer_authority, &call("/jwks")).await.json();
        let names: Vec<String> =
            keys["keys"].as_array().expect("keys").iter().filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect();
        if names.len() > 1 {
            break names;
        }
        assert!(started.elapsed() < crate::harness::client::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "each kid once (§5.6)");
}
