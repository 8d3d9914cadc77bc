//! RFC 7521 and RFC 7523: assertions that authenticate clients (`private_key_jwt`, `client_secret_jwt`; OpenID Connect Core §9).

use serde_json::{Value, json};

use crate::harness::assertion::{self, JWT_BEARER, Signer, claims, now, with};
use crate::harness::client::PATIENCE;
use crate::harness::process::Process;
use crate::harness::{Answer, Call, Engine, Leaf, Setup, Stack, ports, token};

/// Long enough for every algorithm.
const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123456789abcdefghijkl";

/// A client that signs with `jwks`, and takes plain bearer tokens.
fn robot(client_id: &str, more: Value) -> Value {
    let mut client = json!({
        "client_id": client_id, "token_endpoint_auth_method": "private_key_jwt", "scope": "read", "resources": ["{accounts}"],
        "tls_client_certificate_bound_access_tokens": false,
    });
    client.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    client
}

fn issuer(stack: &Stack) -> String {
    format!("https://{}", stack.issuer_authority)
}

fn token_call(assertion: &str, more: &[(&str, &str)]) -> Call {
    let mut form = with(assertion, &[("grant_type", "client_credentials")]);
    form.extend(more);
    Call::form("/token", &form)
}

/// A token request without certificate, at the issuer's own host.
async fn ask(stack: &Stack, assertion: &str, more: &[(&str, &str)]) -> Answer {
    stack.nobody().send(&stack.issuer_authority, &token_call(assertion, more)).await
}

fn refusal(reason: &str) -> (u16, String, String) {
    (401, "invalid_client".to_owned(), reason.to_owned())
}

/// RFC 7523 §2.2: `client_assertion` and `client_assertion_type` authenticate a client; RFC 7518 §3.1, RFC 8037 §3.1: with each algorithm;
/// RFC 7521 §4.2: "The `client_id` parameter is unnecessary for client assertion authentication because the client is identified by the
/// subject within the assertion. If present, the value of the `client_id` parameter MUST identify the same client".
async fn each_algorithm_authenticates(engine: Engine) {
    let algorithms = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "EdDSA"];
    let signers = algorithms.map(|algorithm| Signer::key(algorithm, algorithm));
    let mut clients: Vec<Value> =
        signers.iter().map(|signer| robot(signer.algorithm, json!({ "jwks": signer.jwks() }))).collect();
    clients.push(robot("shared", json!({ "token_endpoint_auth_method": "client_secret_jwt", "client_secret": SECRET })));
    let setup = Setup { engine, without_gateway: true, clients, ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    for signer in &signers {
        let name = signer.algorithm;
        for more in [&[][..], &[("client_id", name)]] {
            let answer = ask(&stack, &signer.assertion(name, &issuer(&stack)), more).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        }
        // Another client's key, and another client's name.
        let answer = ask(&stack, &signer.assertion("shared", &issuer(&stack)), &[]).await;
        assert_eq!(stack.verdict(&answer).await, refusal("client_method_mismatch"), "{name}");
        let other = if name == "ES256" { "ES384" } else { "ES256" };
        let answer = ask(&stack, &signer.assertion(other, &issuer(&stack)), &[]).await;
        assert_eq!(stack.verdict(&answer).await, refusal("assertion_key_unknown"), "{name}");
        let answer = ask(&stack, &signer.assertion(name, &issuer(&stack)), &[("client_id", other)]).await;
        assert_eq!(stack.verdict(&answer).await, refusal("client_id_mismatch"), "{name}");
    }
    for algorithm in ["HS256", "HS384", "HS512"] {
        let signer = Signer::secret(algorithm, SECRET.as_bytes());
        let answer = ask(&stack, &signer.assertion("shared", &issuer(&stack)), &[]).await;
        assert_eq!(answer.status, 200, "{algorithm}: {}", answer.text());
        let other = Signer::secret(algorithm, SECRET.replace('0', "1").as_bytes());
        let answer = ask(&stack, &other.assertion("shared", &issuer(&stack)), &[]).await;
        assert_eq!(stack.verdict(&answer).await, refusal("assertion_signature"), "{algorithm}");
    }
    // At every endpoint that clients use.
    for path in ["/introspect", "/revoke"] {
        let assertion = signers[0].assertion("ES256", &issuer(&stack));
        let form = Call::form(path, &with(&assertion, &[("token", "abc")]));
        let answer = stack.nobody().send(&stack.issuer_authority, &form).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn each_algorithm_authenticates_on_sqlite() {
    each_algorithm_authenticates(Engine::Sqlite).await;
}

#[tokio::test]
async fn each_algorithm_authenticates_on_postgres() {
    each_algorithm_authenticates(Engine::Postgres).await;
}

/// RFC 8705 §3: "mutual-TLS certificate-bound access tokens can be used with other client authentication methods": an assertion over a
/// connection with a certificate is one method, and the token is bound to the certificate. Without one it is not issued.
#[tokio::test]
async fn a_certificate_beside_an_assertion_binds_the_token() {
    let key = Signer::key("ES256", "1");
    let bound = json!({ "jwks": key.jwks(), "tls_client_certificate_bound_access_tokens": true });
    let setup = Setup { clients: vec![robot("robot", bound)], ..Setup::default() };
    let stack = setup.start().await;
    let answer = ask(&stack, &key.assertion("robot", &issuer(&stack)), &[]).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_request".to_owned(), "binding_required".to_owned()));
    let holder = stack.client_ca.issue(Leaf::client("holder"));
    let call = token_call(&key.assertion("robot", &issuer(&stack)), &[]);
    let answer = stack.caller(&holder).send(&stack.mtls_authority, &call).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(token::claims(&token)["cnf"]["x5t#S256"], json!(holder.thumbprint()));
    let event = stack.event_of(answer.request_id()).await;
    assert_eq!(event["client_authentication"], "private_key_jwt");
    let answer = stack.at_gateway(&stack.mallory, &token).await;
    assert_eq!(stack.verdict(&answer).await.2, "binding_certificate_mismatch");
    stack.upstream.assert_untouched();
    let answer = stack.at_gateway(&holder, &token).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// RFC 7523 §3, item 7, and OpenID Connect Core §9: "jti ... a unique identifier for the token, which can be used to prevent reuse of the
/// token": once, whichever replica of one database is asked, and however many ask at the same time.
async fn an_assertion_is_used_once_at_all_replicas(engine: Engine) {
    let key = Signer::key("ES256", "1");
    let setup =
        Setup { engine, without_gateway: true, clients: vec![robot("robot", json!({ "jwks": key.jwks() }))], ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    // The second replica: other ports and files, the same issuer and database.
    let port = ports::free();
    let text = std::fs::read_to_string(stack.server_config()).expect("read");
    let own = stack.issuer_authority.rsplit_once(':').expect("a port").1;
    let mtls = stack.mtls_authority.rsplit_once(':').expect("a port").1;
    let text = text
        .replace(&format!("address = \"127.0.0.1:{own}\""), &format!("address = \"127.0.0.1:{port}\""))
        .replace(&format!("address = \"127.0.0.1:{mtls}\""), &format!("address = \"127.0.0.1:{}\"", ports::free()))
        .replace("server-audit.jsonl", "replica-audit.jsonl");
    let config = stack.path("replica.toml");
    std::fs::write(&config, text).expect("written");
    let _replica = Process::start("serve", &config).await;
    let second = format!("localhost:{port}");

    let assertion = key.assertion("robot", &issuer(&stack));
    assert_eq!(ask(&stack, &assertion, &[]).await.status, 200);
    let answer = ask(&stack, &assertion, &[]).await;
    assert_eq!(stack.verdict(&answer).await, refusal("assertion_replayed"));
    let answer = stack.nobody().send(&second, &token_call(&assertion, &[])).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "at the other replica");
    let started = std::time::Instant::now();
    while !stack.events("replica-audit.jsonl").iter().any(|event| event["reason"] == "assertion_replayed") {
        assert!(started.elapsed() < PATIENCE, "the replica does not say why");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }

    let assertion = key.assertion("robot", &issuer(&stack));
    let attempts = (0..20).map(|number| {
        let authority = if number % 2 == 0 { stack.issuer_authority.clone() } else { second.clone() };
        let (caller, call) = (stack.nobody(), token_call(&assertion, &[]));
        tokio::spawn(async move { caller.send(&authority, &call).await.status })
    });
    let mut issued = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        issued += u32::from(attempt.await.expect("joined") == 200);
    }
    assert_eq!(issued, 1);
    // A fresh one is taken by either.
    for authority in [&stack.issuer_authority, &second] {
        let call = token_call(&key.assertion("robot", &issuer(&stack)), &[]);
        assert_eq!(stack.nobody().send(authority, &call).await.status, 200);
    }
}

#[tokio::test]
async fn an_assertion_is_used_once_at_all_replicas_on_sqlite() {
    an_assertion_is_used_once_at_all_replicas(Engine::Sqlite).await;
}

#[tokio::test]
async fn an_assertion_is_used_once_at_all_replicas_on_postgres() {
    an_assertion_is_used_once_at_all_replicas(Engine::Postgres).await;
}

/// RFC 7523 §3: what an assertion must contain, each item violated; RFC 7515 §4.1.11, RFC 8725 §3: headers; the same with the one thing
/// corrected is taken.
#[tokio::test]
async fn what_is_wrong_with_an_assertion_is_refused() {
    let (key, other, shared) = (Signer::key("ES256", "1"), Signer::key("ES256", "1"), Signer::secret("HS256", SECRET.as_bytes()));
    let one_algorithm = json!({ "jwks": Signer::key("RS256", "1").jwks(), "token_endpoint_auth_signing_alg": "PS256" });
    let setup = Setup {
        without_gateway: true,
        clients: vec![
            robot("robot", json!({ "jwks": key.jwks() })),
            robot("one-algorithm", one_algorithm),
            robot(
                "shared",
                json!({
                    "token_endpoint_auth_method": "client_secret_jwt", "client_secret": SECRET, "token_endpoint_auth_signing_alg": "HS512",
                }),
            ),
        ],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let issuer = issuer(&stack);
    let changed = |changes: Value| {
        let mut claims = claims("robot", &issuer);
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => claims.as_object_mut().expect("an object").remove(name),
                value => claims.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
            };
        }
        claims
    };
    let body = |changes: Value| key.sign(json!({}), &changed(changes));
    let head = |header: Value| key.sign(header, &changed(json!({})));
    let raw = |header: &str| key.sign_raw(header, &changed(json!({})).to_string());
    // A public key in the place of a secret: the algorithm confusion of old.
    let public_pem = serde_json::to_vec(&key.public()).expect("JSON");
    let confused = Signer::secret("HS256", &public_pem).sign(json!({ "kid": "1" }), &changed(json!({})));
    let unsigned = {
        let signed = raw(r#"{"alg":"none"}"#);
        format!("{}.", signed.rsplit_once('.').expect("parts").0)
    };
    let embedded = other.sign(json!({ "jwk": other.public() }), &changed(json!({})));
    let twice = format!(r#"{{"iss":"robot","iss":"robot",{}"#, &changed(json!({ "iss": null })).to_string()[1..]);
    let long = "x".repeat(20_000);
    let table: Vec<(&str, String, &str)> = vec![
        ("another key of that name", other.sign(json!({}), &changed(json!({}))), "assertion_signature"),
        ("a kid nobody registered", head(json!({ "kid": "2" })), "assertion_key_unknown"),
        ("alg none", unsigned, "assertion_algorithm"),
        ("HMAC with the public key", confused, "client_method_mismatch"),
        ("HMAC with another client's secret", shared.sign(json!({}), &changed(json!({}))), "client_method_mismatch"),
        ("another algorithm than it was signed with", raw(r#"{"alg":"ES384","kid":"1"}"#), "assertion_algorithm"),
        ("an embedded jwk", embedded, "assertion_key_reference"),
        ("its own jwk", head(json!({ "jwk": key.public() })), "assertion_key_reference"),
        ("jku", head(json!({ "jku": "https://evil.example/jwks" })), "assertion_key_reference"),
        ("x5u", head(json!({ "x5u": "https://evil.example/x5u" })), "assertion_key_reference"),
        ("an unknown crit", head(json!({ "crit": ["x"], "x": 1 })), "assertion_critical"),
        ("an empty crit", head(json!({ "crit": [] })), "assertion_critical"),
        ("b64", head(json!({ "b64": true })), "assertion_critical"),
        ("an access token's typ", head(json!({ "typ": "at+jwt" })), "assertion_type"),
        ("a DPoP proof's typ", head(json!({ "typ": "dpop+jwt" })), "assertion_type"),
        ("a header member twice", raw(r#"{"alg":"ES256","alg":"ES256","kid":"1"}"#), "assertion_malformed"),
        ("a claim twice", key.sign_raw(r#"{"alg":"ES256","kid":"1"}"#, &twice), "assertion_malformed"),
        ("no JSON", key.sign_raw(r#"{"alg":"ES256","kid":"1"}"#, "robot"), "assertion_malformed"),
        ("two parts", "a.b".into(), "assertion_malformed"),
        ("longer than is read", body(json!({ "x": long })), "assertion_malformed"),
        ("another issuer", body(json!({ "iss": "other" })), "assertion_subject"),
        ("no issuer", body(json!({ "iss": null })), "assertion_claim"),
        ("no audience", body(json!({ "aud": null })), "assertion_claim"),
        ("another audience", body(json!({ "aud": "https://other.example" })), "assertion_audience"),
        ("the audience with a slash", body(json!({ "aud": format!("{issuer}/") })), "assertion_audience"),
        ("the introspection endpoint", body(json!({ "aud": format!("{issuer}/introspect") })), "assertion_audience"),
        ("an audience beside ours", body(json!({ "aud": [issuer, "https://other.example"] })), "assertion_audience"),
        ("no expiry", body(json!({ "exp": null })), "assertion_claim"),
        ("an expiry in a string", body(json!({ "exp": (now() + 60).to_string() })), "assertion_claim"),
        ("expired", body(json!({ "exp": now() - 11 })), "assertion_expired"),
        ("an expiry too far away", body(json!({ "exp": now() + 600 })), "assertion_lifetime"),
        ("an expiry at the end of time", body(json!({ "exp": u64::MAX / 2 })), "assertion_lifetime"),
        ("an expiry beyond numbers", body(json!({ "exp": 1e300 })), "assertion_claim"),
        ("not yet", body(json!({ "nbf": now() + 60 })), "assertion_not_yet_valid"),
        ("issued tomorrow", body(json!({ "iat": now() + 86_400 })), "assertion_not_yet_valid"),
        ("no jti", body(json!({ "jti": null })), "assertion_claim"),
        ("an empty jti", body(json!({ "jti": "" })), "assertion_claim"),
        ("a jti that is a number", body(json!({ "jti": 7 })), "assertion_claim"),
        ("a jti longer than is remembered", body(json!({ "jti": "x".repeat(257) })), "assertion_claim"),
    ];
    for (what, assertion, reason) in table {
        let answer = ask(&stack, &assertion, &[("client_id", "robot")]).await;
        assert_eq!(stack.verdict(&answer).await, refusal(reason), "{what}: {}", answer.text());
    }
    // The registered algorithm is the only one.
    let answer = ask(&stack, &Signer::key("RS256", "1").assertion("one-algorithm", &issuer), &[]).await;
    assert_eq!(stack.verdict(&answer).await, refusal("assertion_algorithm"));
    let answer = ask(&stack, &shared.assertion("shared", &issuer), &[]).await;
    assert_eq!(stack.verdict(&answer).await, refusal("assertion_algorithm"));
    let answer = ask(&stack, &Signer::secret("HS512", SECRET.as_bytes()).assertion("shared", &issuer), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // What is right is taken.
    let right: Vec<(&str, String)> = vec![
        ("nothing changed", body(json!({}))),
        ("the token endpoint", body(json!({ "aud": format!("{issuer}/token") }))),
        ("its alias", body(json!({ "aud": format!("https://{}/token", stack.mtls_authority) }))),
        ("a list of ours", body(json!({ "aud": [issuer, format!("{issuer}/token")] }))),
        ("no kid", head(json!({ "kid": null }))),
        ("typ", head(json!({ "typ": "JWT" }))),
        ("the new typ", head(json!({ "typ": "client-authentication+jwt" }))),
        ("clocks that differ", body(json!({ "iat": now() + 5, "nbf": now() + 5 }))),
        ("unknown claims", body(json!({ "x": { "y": [1] } }))),
    ];
    for (what, assertion) in right {
        let answer = ask(&stack, &assertion, &[]).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    }
}

/// RFC 7521 §4.2: both parameters are required, "client_assertion ... MUST NOT contain more than one assertion", and RFC 6749 §2.3: "The
/// client MUST NOT use more than one authentication method in each request."
#[tokio::test]
async fn the_parameters_come_together_and_alone() {
    let key = Signer::key("ES256", "1");
    let setup = Setup { without_gateway: true, clients: vec![robot("robot", json!({ "jwks": key.jwks() }))], ..Setup::default() };
    let stack = setup.start().await;
    let assertion = || key.assertion("robot", &issuer(&stack));
    let grant = ("grant_type", "client_credentials");
    let named = ("client_id", "robot");
    let send = async |form: &[(&str, &str)], header: Option<&str>| {
        let mut call = Call::form("/token", form);
        if let Some(value) = header {
            call = call.header("Authorization", value);
        }
        stack.verdict(&stack.nobody().send(&stack.issuer_authority, &call).await).await
    };
    let invalid = |reason: &str| (400, "invalid_request".to_owned(), reason.to_owned());
    let one = assertion();
    assert_eq!(send(&[grant, named, ("client_assertion", &one)], None).await, invalid("parameter_absent"));
    assert_eq!(send(&[grant, named, ("client_assertion_type", JWT_BEARER)], None).await, invalid("parameter_absent"));
    let saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    assert_eq!(
        send(&[grant, named, ("client_assertion", &one), ("client_assertion_type", saml)], None).await,
        refusal("assertion_type")
    );
    let whole = |more: &[(&'static str, &'static str)]| -> Vec<(String, String)> {
        let mut form = vec![grant, ("client_assertion_type", JWT_BEARER)];
        form.extend(more);
        let mut form: Vec<(String, String)> = form.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        form.push(("client_assertion".into(), assertion()));
        form
    };
    for (more, header, expected) in [
        (&[("client_secret", "x")][..], None, invalid("client_method_ambiguous")),
        (&[], Some("Basic cm9ib3Q6eA=="), invalid("client_method_ambiguous")),
        (&[("client_assertion", "x")], None, invalid("parameter_duplicate")),
        (&[("client_assertion_type", JWT_BEARER)], None, invalid("parameter_duplicate")),
        (&[], None, (200, String::new(), String::new())),
    ] {
        let form = whole(more);
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(send(&form, header).await, expected, "{more:?} {header:?}");
    }
    // Nobody, who cannot be looked up: no client_id, and an assertion that names none.
    let nameless = key.sign(json!({}), &json!({ "aud": issuer(&stack), "exp": now() + 60, "jti": assertion::fresh() }));
    assert_eq!(send(&with(&nameless, &[grant]), None).await, refusal("assertion_claim"));
    let stranger = key.assertion("stranger", &issuer(&stack));
    assert_eq!(send(&with(&stranger, &[grant]), None).await, refusal("client_unknown"));
    // In the URI nothing of the kind is taken (RFC 6749 §2.3.1).
    let feed = Call::get(&format!("/revocation-feed?client_assertion_type={JWT_BEARER}&client_assertion={}", assertion()));
    let answer = stack.nobody().send(&stack.issuer_authority, &feed).await;
    assert_eq!(stack.verdict(&answer).await, invalid("parameter_malformed"));
}

/// FAPI 2.0 Security Profile §5.3.2.1: "shall only accept its issuer identifier value ... as a string in the aud claim received in client
/// authentication assertions".
#[tokio::test]
async fn the_issuer_alone_where_that_is_configured() {
    let key = Signer::key("PS256", "1");
    let setup = Setup {
        without_gateway: true,
        server: "[client_assertion]\naudience = \"issuer\"\nmax_lifetime_seconds = 60\nleeway_seconds = 0\n".into(),
        clients: vec![robot("robot", json!({ "jwks": key.jwks() }))],
        ..Setup::default()
    };
    let stack = setup.start().await;
    let issuer = issuer(&stack);
    let audience = |audience: Value| {
        let mut claims = claims("robot", &issuer);
        claims["aud"] = audience;
        claims["exp"] = json!(now() + 30);
        key.sign(json!({}), &claims)
    };
    for wrong in [json!(format!("{issuer}/token")), json!([issuer]), json!([issuer, format!("{issuer}/token")])] {
        let answer = ask(&stack, &audience(wrong.clone()), &[]).await;
        assert_eq!(stack.verdict(&answer).await, refusal("assertion_audience"), "{wrong}");
    }
    assert_eq!(ask(&stack, &audience(json!(issuer)), &[]).await.status, 200);
    let mut long = claims("robot", &issuer);
    long["exp"] = json!(now() + 120);
    let answer = ask(&stack, &key.sign(json!({}), &long), &[]).await;
    assert_eq!(stack.verdict(&answer).await, refusal("assertion_lifetime"));
}

/// Every parameter that authenticates, spelled as nobody should: twice, empty, larger than is read, not UTF-8, with NUL.
#[tokio::test]
async fn parameters_as_nobody_should_send_them() {
    let key = Signer::key("ES256", "1");
    let setup = Setup { without_gateway: true, clients: vec![robot("robot", json!({ "jwks": key.jwks() }))], ..Setup::default() };
    let stack = setup.start().await;
    let form = |replaced: &str, by: &str| {
        let assertion = key.assertion("robot", &issuer(&stack));
        let fields = [
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", "robot".to_owned()),
            ("client_assertion_type", JWT_BEARER.to_owned()),
            ("client_assertion", assertion),
        ];
        let body: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| if name == replaced { by.replace('$', &value) } else { format!("{name}={value}") })
            .collect();
        Call::new("POST", "/token").header("Content-Type", "application/x-www-form-urlencoded").body(body.join("&"))
    };
    let invalid = |reason: &str| (400, "invalid_request".to_owned(), reason.to_owned());
    for name in ["client_id", "client_assertion_type", "client_assertion"] {
        let empty = match name {
            // Optional beside an assertion.
            "client_id" => (200, String::new(), String::new()),
            _ => invalid("parameter_absent"),
        };
        let table = [
            (format!("{name}=$&{name}=$"), invalid("parameter_duplicate")),
            (format!("{name}=$&{name}="), invalid("parameter_duplicate")),
            (format!("{name}="), empty),
            (format!("{name}=$%ff"), invalid("parameter_malformed")),
            (format!("{name}=$%00"), invalid("parameter_malformed")),
            (format!("{name}=${}", "x".repeat(70_000)), (413, "invalid_request".to_owned(), "body_too_large".to_owned())),
            (format!("{name}=$"), (200, String::new(), String::new())),
        ];
        for (field, expected) in table {
            let answer = stack.nobody().send(&stack.issuer_authority, &form(name, &field)).await;
            assert_eq!(stack.verdict(&answer).await, expected, "{field:.60}");
        }
    }
    // What is far too long is refused before it has all arrived: the connection may break under who goes on writing.
    let huge = form("client_assertion", &format!("client_assertion=${}", "x".repeat(1 << 20)));
    if let Ok(answer) = stack.nobody().try_send(&stack.issuer_authority, &huge).await {
        assert_eq!(answer.status, 413);
    }
    for field in ["&client_secret=%00", "&client_secret=%ff", "&client_secret=a&client_secret=a"] {
        let call = form("client_id", &format!("client_id=${field}"));
        assert_eq!(stack.nobody().send(&stack.issuer_authority, &call).await.status, 400, "{field}");
    }
}

/// RFC 9126 §2: "the authorization server MUST accept its issuer identifier, token endpoint URL, or pushed authorization request endpoint URL
/// as values that identify it as an intended audience": at that endpoint, by either of its names, and nowhere else.
#[tokio::test]
async fn the_pushed_request_endpoint_is_an_audience_of_its_own() {
    let key = Signer::key("ES256", "1");
    let app = crate::harness::App::metadata(
        "robot",
        json!({
            "token_endpoint_auth_method": "private_key_jwt", "tls_client_auth_subject_dn": null, "jwks": key.jwks(),
            "tls_client_certificate_bound_access_tokens": false,
            "grant_types": ["authorization_code", "client_credentials"],
        }),
    );
    let stack = Setup { without_gateway: true, clients: vec![app], ..Setup::default() }.start().await;
    let send = async |path: &str, audience: &str| {
        let assertion = key.assertion("robot", audience);
        let form = [
            ("grant_type", "client_credentials"),
            ("response_type", "code"),
            ("redirect_uri", "https://robot.example/cb"),
            ("code_challenge", crate::harness::app::CHALLENGE),
            ("code_challenge_method", "S256"),
            ("scope", "read"),
            ("token", "x"),
        ];
        let answer = stack.nobody().send(&stack.issuer_authority, &Call::form(path, &with(&assertion, &form))).await;
        stack.verdict(&answer).await
    };
    let (issuer, mtls) = (issuer(&stack), stack.fill("{mtls_url}"));
    for base in [&issuer, &mtls] {
        assert_eq!(send("/par", &format!("{base}/par")).await, (201, String::new(), String::new()));
        assert_eq!(send("/par", &format!("{base}/token")).await.0, 201);
        for path in ["/token", "/introspect", "/revoke"] {
            assert_eq!(send(path, &format!("{base}/par")).await, refusal("assertion_audience"), "{path}");
            assert_eq!(send(path, &format!("{base}/token")).await.0, 200, "{path}");
        }
        assert_eq!(send("/par", &format!("{base}/revoke")).await, refusal("assertion_audience"));
    }
    assert_eq!(send("/par", &issuer).await.0, 201);
}
