//! The gateway alone, before an issuer of somebody else: no Symbolon server, no database, an empty environment, and a folder with
//! nothing but its configuration, its certificate, and the issuer's keys.

use std::time::SystemTime;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::foreign::{AUDIENCE, CONFIGURATION, Deployment, ISSUER, Issuer};

/// A token of another issuer is admitted for the holder of its certificate, and for nobody else; everything that RFC 9068 §4 and RFC
/// 8705 §3 have a resource check is checked.
#[tokio::test]
async fn the_gateway_guards_another_issuers_resource() {
    let (issuer, second, stranger) = (Issuer::new("one"), Issuer::new("two"), Issuer::new("one"));
    let gateway = Deployment::start(&[&issuer, &second]).await;
    let (alice, mallory) = (gateway.alice.clone(), gateway.mallory.clone());
    let token = issuer.token(&alice, "at+jwt", &[]);

    assert_eq!(gateway.present(Some(&mallory), &token).await, (401, "binding_certificate_mismatch".to_owned()));
    assert_eq!(gateway.present(None, &token).await, (401, "binding_certificate_absent".to_owned()));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let jkt = json!({ "jkt": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0" });
    let both = json!({ "x5t#S256": alice.thumbprint(), "jkt": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0" });
    let unknown = json!({ "x5t#S256": alice.thumbprint(), "x-new": "1" });
    let excepted = json!({ "x-known": "1" });
    let sha1 = json!({ "x5t#S256": &alice.thumbprint()[..27] });
    let thumbprint = alice.thumbprint();
    let good = json!({ "x5t#S256": thumbprint });
    let x5t = |value: Value| json!({ "x5t#S256": value });
    let padded = format!("{thumbprint}=");
    let hex: String = Sha256::digest(&alice.chain[0]).iter().map(|byte| format!("{byte:02x}")).collect();
    let table: Vec<(&str, String, u16, &str)> = vec![
        ("another key of the same name", stranger.token(&alice, "at+jwt", &[]), 401, "token_signature"),
        ("another iss", issuer.token(&alice, "at+jwt", &[("iss", json!("https://other.example"))]), 401, "token_issuer"),
        ("a longer iss", issuer.token(&alice, "at+jwt", &[("iss", json!("https://issuer.example/a"))]), 401, "token_issuer"),
        ("another aud", issuer.token(&alice, "at+jwt", &[("aud", json!("https://api.example"))]), 401, "token_audience"),
        ("no aud", issuer.token(&alice, "at+jwt", &[("aud", Value::Null)]), 401, "token_audience"),
        ("expired", issuer.token(&alice, "at+jwt", &[("exp", json!(now - 1)), ("iat", json!(now - 60))]), 401, "token_expired"),
        ("no exp", issuer.token(&alice, "at+jwt", &[("exp", Value::Null)]), 401, "token_claim"),
        ("exp as text", issuer.token(&alice, "at+jwt", &[("exp", json!((now + 60).to_string()))]), 401, "token_claim"),
        ("not yet", issuer.token(&alice, "at+jwt", &[("nbf", json!(now + 600))]), 401, "token_not_yet_valid"),
        ("an ID token", issuer.token(&alice, "JWT", &[]), 401, "token_type"),
        ("too little scope", issuer.token(&alice, "at+jwt", &[("scope", json!("write"))]), 403, "token_scope"),
        ("no cnf", issuer.token(&alice, "at+jwt", &[("cnf", Value::Null)]), 401, "cnf_absent"),
        ("an empty cnf", issuer.token(&alice, "at+jwt", &[("cnf", json!({}))]), 401, "cnf_malformed"),
        ("a cnf that is no object", issuer.token(&alice, "at+jwt", &[("cnf", json!("x"))]), 401, "cnf_malformed"),
        ("a cnf that is a list", issuer.token(&alice, "at+jwt", &[("cnf", json!([good]))]), 401, "cnf_malformed"),
        ("a thumbprint that is null", issuer.token(&alice, "at+jwt", &[("cnf", x5t(Value::Null))]), 401, "cnf_malformed"),
        ("a list of thumbprints", issuer.token(&alice, "at+jwt", &[("cnf", x5t(json!([thumbprint])))]), 401, "cnf_malformed"),
        ("a padded thumbprint", issuer.token(&alice, "at+jwt", &[("cnf", x5t(json!(padded)))]), 401, "cnf_malformed"),
        ("a thumbprint in hexadecimal", issuer.token(&alice, "at+jwt", &[("cnf", x5t(json!(hex)))]), 401, "cnf_malformed"),
        (
            "SHA-1 by its own name",
            issuer.token(&alice, "at+jwt", &[("cnf", json!({ "x5t": "A".repeat(27) }))]),
            401,
            "cnf_unknown",
        ),
        ("a truncated thumbprint", issuer.token(&alice, "at+jwt", &[("cnf", sha1)]), 401, "cnf_malformed"),
        ("a DPoP key", issuer.token(&alice, "at+jwt", &[("cnf", jkt)]), 401, "binding_proof_absent"),
        ("a certificate and a DPoP key", issuer.token(&alice, "at+jwt", &[("cnf", both)]), 401, "binding_proof_absent"),
        ("nothing but an excepted cnf member", issuer.token(&alice, "at+jwt", &[("cnf", excepted)]), 401, "cnf_malformed"),
        ("a cnf member nobody knows", issuer.token(&alice, "at+jwt", &[("cnf", unknown)]), 401, "cnf_unknown"),
    ];
    for (what, token, status, reason) in table {
        assert_eq!(gateway.present(Some(&alice), &token).await, (status, reason.to_owned()), "{what}");
    }
    gateway.upstream.assert_untouched();

    assert_eq!(gateway.present(Some(&alice), &token).await.0, 200);
    assert_eq!(gateway.present(Some(&alice), &second.token(&alice, "application/at+jwt", &[])).await.0, 200);
    let known = json!({ "x5t#S256": alice.thumbprint(), "x-known": "1" });
    assert_eq!(gateway.present(Some(&alice), &issuer.token(&alice, "at+jwt", &[("cnf", known)])).await.0, 200);
    let several = issuer.token(&alice, "AT+JWT", &[("aud", json!(["urn:x", AUDIENCE])), ("scope", json!("write read"))]);
    assert_eq!(gateway.present(Some(&alice), &several).await.0, 200);
    assert_eq!(gateway.upstream.requests().len(), 4);
    // No database, and nothing else that was not asked for.
    let mut files: Vec<String> = std::fs::read_dir(gateway.dir.path())
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    files.sort_unstable();
    assert_eq!(
        files,
        [
            "client-ca.pem",
            "gateway-audit.jsonl",
            "gateway.log",
            "gateway.sock",
            "gateway.toml",
            "jwks.json",
            "server-key.pem",
            "server.pem"
        ]
    );
}

/// One route takes the tokens of several issuers, each verified with its own issuer's keys, whatever their names. One of them calls
/// all its JWTs `JWT`: its ID tokens are refused all the same.
#[tokio::test]
async fn one_route_takes_the_tokens_of_several_issuers() {
    let second = r#"authorization_server = ["other", "lax"]"#;
    let more = r#"
[authorization_server.lax]
issuer = "https://lax.example"
jwks_file = "lax.json"
token_types = ["JWT"]
client_id_claim = "azp"
scope_claim = "scp"
"#;
    let configuration = CONFIGURATION.replace(r#"authorization_server = "other""#, second) + more;
    // Of the same name, so that nothing but `iss` tells which one counts.
    let (strict, lax) = (Issuer::new("one"), Issuer::new("one"));
    let gateway = Deployment::start_with(&configuration, &[("jwks.json", &[&strict]), ("lax.json", &[&lax])]).await;
    let (alice, mallory) = (gateway.alice.clone(), gateway.mallory.clone());
    let of_lax = |typ: &str, changes: &[(&str, Value)]| {
        let mut members = vec![
            ("iss", json!("https://lax.example")),
            ("client_id", Value::Null),
            ("azp", json!("app")),
            ("scope", Value::Null),
            ("scp", json!(["read"])),
            ("jti", Value::Null),
        ];
        members.extend(changes.iter().cloned());
        lax.token(&alice, typ, &members)
    };
    let good = [strict.token(&alice, "at+jwt", &[]), of_lax("JWT", &[])];
    for token in &good {
        assert_eq!(gateway.present(Some(&alice), token).await.0, 200);
    }
    assert_eq!(gateway.upstream.requests().len(), 2);
    gateway.upstream.forget();
    for token in &good {
        assert_eq!(gateway.present(Some(&mallory), token).await, (401, "binding_certificate_mismatch".to_owned()));
    }
    let iss = |name: &str| ("iss", json!(name));
    let table = [
        ("the lax issuer in the strict one's name", lax.token(&alice, "at+jwt", &[]), "token_signature"),
        (
            "the strict issuer in the lax one's name",
            strict.token(&alice, "JWT", &[iss("https://lax.example")]),
            "token_signature",
        ),
        ("a third issuer", strict.token(&alice, "at+jwt", &[iss("https://third.example")]), "token_issuer"),
        ("no issuer", strict.token(&alice, "at+jwt", &[("iss", Value::Null)]), "token_issuer"),
        ("two issuers", strict.token(&alice, "at+jwt", &[("iss", json!([ISSUER, "https://lax.example"]))]), "token_issuer"),
        ("the lax type from the strict issuer", strict.token(&alice, "JWT", &[]), "token_type"),
        ("an ID token by its nonce", of_lax("JWT", &[("nonce", json!("n"))]), "token_type"),
        ("an ID token by its at_hash", of_lax("JWT", &[("at_hash", json!("h"))]), "token_type"),
        ("an ID token by its audience", of_lax("JWT", &[("aud", json!([AUDIENCE, "app"]))]), "token_type"),
        ("an ID token by what it calls itself", of_lax("JWT", &[("typ", json!("ID"))]), "token_type"),
        ("another type", of_lax("at+jwt", &[]), "token_type"),
        ("no client", of_lax("JWT", &[("azp", Value::Null)]), "token_claim"),
        ("not a JWT", "opaque".to_owned(), "token_malformed"),
    ];
    for (what, token, reason) in table {
        assert_eq!(gateway.present(Some(&alice), &token).await, (401, reason.to_owned()), "{what}");
    }
    gateway.upstream.assert_untouched();
}
