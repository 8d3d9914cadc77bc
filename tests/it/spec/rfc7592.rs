//! RFC 7592: what a client may do to its own registration, and with what.

use serde_json::{Value, json};

use crate::harness::assertion::{Signer, with};
use crate::harness::command::symbolon;
use crate::harness::{Answer, Call, Identity, Leaf, Setup, Stack};

const CALLBACK: &str = "https://client.example.org/callback";
const OPEN: &str = "[registration]\nmode = \"open\"\nper_address_per_minute = 60000\n";

async fn start(more: &str) -> Stack {
    Setup { without_gateway: true, server: format!("{OPEN}{more}"), ..Setup::default() }.start().await
}

fn call(method: &str, target: &str, token: &str, body: &Value) -> Call {
    let call = Call::new(method, target);
    let call = if token.is_empty() { call } else { call.bearer(token) };
    if body.is_null() { call } else { call.header("Content-Type", "application/json").body(body.to_string()) }
}

/// Sends it to the mutual-TLS host, with this certificate or with none.
async fn send(stack: &Stack, shown: Option<&Identity>, call: Call) -> Answer {
    let caller = shown.map_or_else(|| stack.nobody(), |identity| stack.caller(identity));
    caller.send(&stack.mtls_authority, &call).await
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// The path of a client's registration.
fn place(client: &Value) -> String {
    format!("/register/{}", text(client, "client_id"))
}

async fn registered(stack: &Stack, shown: Option<&Identity>, asked: &Value) -> Value {
    let answer = send(stack, shown, call("POST", "/register", "", asked)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

/// Our extension, after RFC 8705 §3: a registration access token that was issued on a connection with a certificate is worth nothing with
/// another, nor with none, nor after the certificate was revoked.
#[tokio::test]
async fn a_bound_token_is_for_the_holder_of_its_certificate() {
    let stack = start("token_binding = \"when_shown\"\n").await;
    let document =
        stack.nobody().send(&stack.issuer_authority, &Call::get("/.well-known/oauth-authorization-server")).await.json();
    assert_eq!(document["mtls_endpoint_aliases"]["registration_endpoint"], stack.fill("{mtls_url}/register"));
    let asked = json!({ "redirect_uris": [CALLBACK], "client_name": "Before" });
    let client = registered(&stack, Some(&stack.alice), &asked).await;
    assert_eq!(client["symbolon_registration_access_token_cnf"], json!({ "x5t#S256": stack.alice.thumbprint() }));
    let (place, token) = (place(&client), text(&client, "registration_access_token"));
    assert_eq!(text(&client, "registration_client_uri"), stack.fill(&format!("{{mtls_url}}{place}")), "where it can be shown");
    let mut changed = asked.clone();
    changed["client_id"] = client["client_id"].clone();
    changed["client_name"] = json!("After");
    let renewed = stack.client_ca.issue(Leaf::client("alice"));
    for (method, body) in [("GET", &Value::Null), ("PUT", &changed), ("DELETE", &Value::Null)] {
        for (shown, reason) in [
            (Some(&stack.mallory), "binding_certificate_mismatch"),
            (Some(&renewed), "binding_certificate_mismatch"),
            (None, "binding_certificate_absent"),
        ] {
            let answer = send(&stack, shown, call(method, &place, token, body)).await;
            let expected = (401, "invalid_token".to_owned(), reason.to_owned());
            assert_eq!(stack.verdict(&answer).await, expected, "{method}");
            assert!(answer.challenge().starts_with("Bearer "), "{method}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        // As a plain bearer token, where nobody is asked for a certificate.
        let answer = stack.nobody().send(&stack.issuer_authority, &call(method, &place, token, body)).await;
        assert_eq!(stack.reason_of(answer.request_id()).await, "binding_certificate_absent", "{method}");
    }
    let answer = send(&stack, Some(&stack.alice), call("GET", &place, token, &Value::Null)).await;
    assert_eq!((answer.status, &answer.json()["client_name"]), (200, &json!("Before")));
    assert_eq!(answer.json()["symbolon_registration_access_token_cnf"], client["symbolon_registration_access_token_cnf"]);
    let answer = send(&stack, Some(&stack.alice), call("PUT", &place, token, &changed)).await;
    assert_eq!((answer.status, &answer.json()["client_name"]), (200, &json!("After")), "{}", answer.text());

    // The certificate's end is the token's: by a rule on its key, which came after.
    symbolon(stack.dir.path(), &["cert", "revoke", "alice.pem", "--by", "key"]).await.ok();
    let begun = std::time::Instant::now();
    let answer = loop {
        let answer = send(&stack, Some(&stack.alice), call("GET", &place, token, &Value::Null)).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(begun.elapsed() < crate::harness::client::PATIENCE, "the certificate still counts");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let revoked = (401, "invalid_token".to_owned(), "certificate_revoked".to_owned());
    assert_eq!(stack.verdict(&answer).await, revoked);
    // Nor is anything bound to it any more, or to one that has ended.
    let dead = stack.client_ca.issue(Leaf { not_after: -60, ..Leaf::client("alice") });
    for (shown, reason) in [(&stack.alice, "certificate_revoked"), (&dead, "certificate_expired")] {
        let answer = send(&stack, Some(shown), call("POST", "/register", "", &asked)).await;
        assert_eq!(stack.verdict(&answer).await, (400, "invalid_request".to_owned(), reason.to_owned()));
    }

    // Who showed none has a bearer token, as the standard has it.
    let client = registered(&stack, None, &asked).await;
    assert_eq!(client.get("symbolon_registration_access_token_cnf"), None);
    let (place, token) = (self::place(&client), text(&client, "registration_access_token"));
    assert_eq!(text(&client, "registration_client_uri"), stack.fill(&format!("{{issuer}}{place}")));
    for shown in [None, Some(&stack.mallory)] {
        assert_eq!(send(&stack, shown, call("GET", &place, token, &Value::Null)).await.status, 200);
    }
}

/// Off by default; and, where it is demanded, nobody registers without a certificate.
#[tokio::test]
async fn whether_tokens_are_bound_is_the_operators_to_say() {
    let asked = json!({ "redirect_uris": [CALLBACK] });
    let stack = start("").await;
    let document =
        stack.nobody().send(&stack.issuer_authority, &Call::get("/.well-known/oauth-authorization-server")).await.json();
    assert_eq!(document["mtls_endpoint_aliases"].get("registration_endpoint"), None);
    let client = registered(&stack, Some(&stack.alice), &asked).await;
    assert_eq!(client.get("symbolon_registration_access_token_cnf"), None);
    let token = text(&client, "registration_access_token");
    assert_eq!(send(&stack, None, call("GET", &place(&client), token, &Value::Null)).await.status, 200);

    let stack = start("token_binding = \"always\"\n").await;
    let answer = send(&stack, None, call("POST", "/register", "", &asked)).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_request".to_owned(), "binding_required".to_owned()));
    assert_eq!(stack.count("SELECT COUNT(*) FROM client_registration").await, 0);
    let client = registered(&stack, Some(&stack.alice), &asked).await;
    assert_eq!(client["symbolon_registration_access_token_cnf"]["x5t#S256"], stack.alice.thumbprint());
}

/// §5: "the client's registration access token ... If the client's registration access token is compromised, an attacker could ...
/// change": a bearer token alone puts nobody else's keys in the place of the client's. A bound one does, and a software statement that
/// names them; what `jwks_uri` publishes is the client's affair.
#[tokio::test]
async fn a_bearer_token_does_not_change_who_the_client_is() {
    let (first, second, directory) = (Signer::key("ES256", "1"), Signer::key("ES256", "2"), Signer::key("ES256", "d"));
    let setup = Setup {
        without_gateway: true,
        server: format!(
            "{OPEN}token_binding = \"when_shown\"\n[[registration.software_statement_issuer]]\n\
             issuer = \"https://directory.example\"\njwks_file = \"directory.json\"\n"
        ),
        ..Setup::default()
    };
    let files = [("directory.json", directory.jwks().to_string())];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut stack = setup.prepare_with("sqlite:symbolon.db".to_owned(), &files).await;
    stack.start_server().await;
    let [own, other] = ["own", "other"].map(|name| Leaf::client(name).self_signed());
    let proves = async |client: &Value, key: &Signer| {
        let assertion = key.assertion(text(client, "client_id"), &stack.fill("{issuer}"));
        stack
            .nobody()
            .send(&stack.issuer_authority, &Call::form("/introspect", &with(&assertion, &[("token", "x")])))
            .await
            .status
            == 200
    };
    let by_key =
        |keys: Value| json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt", "jwks": keys });
    let by_certificate = |keys: Value| json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": keys });
    let with_secret = |keys: Value| json!({ "redirect_uris": [CALLBACK], "jwks": keys });
    let published =
        |place: &str| json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": place });
    let keys = |identity: &Identity| json!({ "keys": [identity.jwk()] });
    let table = [
        (by_key(first.jwks()), by_key(second.jwks())),
        (by_key(first.jwks()), by_key(json!({ "keys": [first.public(), second.public()] }))),
        (by_key(first.jwks()), published("https://evil.example/jwks")),
        (published("https://client.example.org/jwks"), published("https://evil.example/jwks")),
        (published("https://client.example.org/jwks"), by_key(second.jwks())),
        (by_certificate(keys(&own)), by_certificate(keys(&other))),
        (with_secret(first.jwks()), with_secret(second.jwks())),
        (with_secret(first.jwks()), json!({ "redirect_uris": [CALLBACK] })),
    ];
    for (before, after) in table {
        for (shown, status) in [(None, 400), (Some(&stack.alice), 200)] {
            let client = registered(&stack, shown, &before).await;
            let mut after = after.clone();
            after["client_id"] = client["client_id"].clone();
            let token = text(&client, "registration_access_token");
            let answer = send(&stack, shown, call("PUT", &place(&client), token, &after)).await;
            assert_eq!(answer.status, status, "{after}: {}", answer.text());
            if status == 400 {
                let expected = (400, "invalid_client_metadata".to_owned(), "client_metadata".to_owned());
                assert_eq!(stack.verdict(&answer).await, expected);
                // The rest may change.
                let mut same = before.clone();
                same["client_id"] = client["client_id"].clone();
                same["client_name"] = json!("After");
                same["redirect_uris"] = json!(["https://client.example.org/other"]);
                let answer = send(&stack, shown, call("PUT", &place(&client), token, &same)).await;
                assert_eq!((answer.status, &answer.json()["client_name"]), (200, &json!("After")), "{}", answer.text());
            }
        }
    }
    // Who proves itself afterwards.
    let client = registered(&stack, None, &by_key(first.jwks())).await;
    let mut changed = by_key(second.jwks());
    changed["client_id"] = client["client_id"].clone();
    let token = text(&client, "registration_access_token");
    assert_eq!(send(&stack, None, call("PUT", &place(&client), token, &changed)).await.status, 400);
    assert!(proves(&client, &first).await && !proves(&client, &second).await);
    // A statement that says nothing of keys changes none; one that does, does.
    let statement = |claims: Value| directory.sign(json!({}), &claims);
    changed["software_statement"] = json!(statement(json!({ "iss": "https://directory.example", "client_name": "x" })));
    assert_eq!(send(&stack, None, call("PUT", &place(&client), token, &changed)).await.status, 400);
    let claims = json!({ "iss": "https://directory.example", "jwks": second.jwks() });
    changed["software_statement"] = json!(statement(claims));
    assert_eq!(send(&stack, None, call("PUT", &place(&client), token, &changed)).await.status, 200);
    assert!(proves(&client, &second).await && !proves(&client, &first).await);
}
