use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::settings::StoreSettings;
use crate::domain::Redacted;
use crate::event::Reason;
use crate::jose::random::SystemRandomness;
use crate::pki::fixture::{Authority, NOW, self_signed};
use crate::pki::{Certificate, DistinguishedName};
use crate::seal::MasterKeys;
use crate::store::{PutMode, Store};

fn read(value: &Value) -> Result<Client, MetadataError> {
    Client::from_text(value.to_string().as_bytes())
}

/// A usable registration, changed: a member set to null is removed.
fn alice(changes: Value) -> Value {
    let mut members = json!({
        "client_id": "alice", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=Alice,O=Example"
    });
    let target = members.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            target.remove(name);
        } else {
            target.insert(name.clone(), value.clone());
        }
    }
    members
}

/// Like alice, for the authorization endpoint.
fn app(changes: Value) -> Value {
    let mut members = alice(json!({ "grant_types": ["authorization_code"], "redirect_uris": ["https://a.example/"] }));
    members.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    members
}

fn jwk(certificate: &Certificate) -> Value {
    Value::Object(RegisteredCertificate::from_certificate(certificate).expect("a usable key").to_jwk())
}

fn registered(keys: Vec<Value>) -> Value {
    alice(json!({
        "token_endpoint_auth_method": "self_signed_tls_client_auth", "tls_client_auth_subject_dn": null, "jwks": { "keys": keys }
    }))
}

#[test]
fn what_is_left_out_has_the_safe_meaning() {
    let client = read(&alice(json!({}))).expect("usable");
    let name = DistinguishedName::parse("CN=Alice,O=Example").expect("a name");
    let expected = Client {
        refreshing: RefreshMetadata::default(),
        client_id: "alice".parse().expect("a client id"),
        name: None,
        authentication: Authentication::TlsClientAuth(CertificateMatcher::SubjectDn(name)),
        binding: BindingPolicy::Certificate,
        anchor_set: None,
        grant_types: [GrantType::ClientCredentials].into(),
        resources: vec![],
        access_token_format: None,
        scope: Scope::default(),
        authorization: AuthorizationMetadata::default(),
        messages: MessageMetadata::default(),
        other_keys: None,
        logout: LogoutMetadata::default(),
        about: AboutMetadata::default(),
    };
    assert_eq!(client, expected);
}

#[test]
fn a_registration_is_read_back_as_it_was_written() {
    let one = self_signed("one");
    let two = self_signed("two");
    let methods = [
        json!({}),
        json!({ "tls_client_auth_subject_dn": "CN=Zo\u{eb}\\, Inc.+OU=x\\+y,1.2.3.4=#0c0141,C=FR" }),
        json!({ "tls_client_auth_subject_dn": null, "tls_client_auth_san_dns": "client.example" }),
        json!({ "tls_client_auth_subject_dn": null, "tls_client_auth_san_uri": "spiffe://example/a" }),
        json!({ "tls_client_auth_subject_dn": null, "tls_client_auth_san_ip": "2001:db8::1" }),
        json!({ "tls_client_auth_subject_dn": null, "tls_client_auth_san_email": "alice@example.org" }),
        json!({ "jwks": { "keys": [public_key()] } }),
        json!({ "jwks_uri": "https://a.example/jwks" }),
        json!({
            "jwks_uri": "https://a.example/jwks", "id_token_encrypted_response_alg": "RSA-OAEP-256",
            "userinfo_encrypted_response_alg": "ECDH-ES", "userinfo_encrypted_response_enc": "A256GCM",
            "authorization_encrypted_response_alg": "ECDH-ES+A128KW", "introspection_encrypted_response_alg": "ECDH-ES+A256KW",
        }),
        json!({
            "token_endpoint_auth_method": "self_signed_tls_client_auth", "tls_client_auth_subject_dn": null,
            "jwks": { "keys": [jwk(&one.certificate), jwk(&two.certificate)] }
        }),
    ];
    let rest = [
        json!({}),
        json!({
            "client_name": "Alice \u{1f511}", "tls_client_certificate_bound_access_tokens": false, "grant_types": [],
            "scope": "read write", "resources": ["https://api.example/b", "https://api.example/a", "urn:example:x"]
        }),
        json!({ "tls_client_certificate_bound_access_tokens": false, "dpop_bound_access_tokens": true }),
        json!({ "tls_client_certificate_bound_access_tokens": true, "dpop_bound_access_tokens": true }),
        json!({ "profile": "fapi2", "access_token_format": "opaque" }),
        json!({
            "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": ["https://a.example/b", "https://a.example/a"],
            "response_types": ["code"], "application_type": "web", "profile": "fapi2",
            "require_pushed_authorization_requests": true, "default_max_age": 0, "require_auth_time": true,
            "id_token_signed_response_alg": "PS256", "userinfo_signed_response_alg": "ES256", "subject_type": "pairwise"
        }),
        json!({
            "grant_types": ["authorization_code"], "redirect_uris": ["https://a.example/b"], "profile": "fapi2-message-signing",
            "request_object_signing_alg": "PS256", "require_signed_request_object": true, "response_modes": ["jwt", "form_post.jwt"],
            "authorization_signed_response_alg": "EdDSA", "introspection_signed_response_alg": "ES256",
        }),
        json!({
            "grant_types": ["authorization_code"], "redirect_uris": ["https://a.example/b"], "profile": "openid",
            "request_object_signing_alg": "none", "request_uris": ["https://a.example/r#1", "https://a.example/s"],
        }),
    ];
    for method in &methods {
        for more in &rest {
            let mut document = alice(method.clone());
            document.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let client = read(&document).expect("usable");
            let text = client.to_metadata();
            assert_eq!(read(&serde_json::from_str(&text).expect("JSON")), Ok(client.clone()), "{text}");
            assert_eq!(Client::from_record(&client.to_record()), Ok(client.clone()));
            let written: Value = serde_json::from_str(&text).expect("JSON");
            for (name, value) in more.as_object().expect("an object") {
                assert_eq!(written.get(name), Some(value), "{name} is written as it was read");
            }
        }
    }
}

/// RFC 8705 §3.4, RFC 9449 §5.2: two flags, four policies; silence is the strictest thing that needs nothing else.
#[test]
fn the_two_flags_say_what_tokens_are_bound_to() {
    use BindingPolicy::{Certificate, CertificateAndDpop, Dpop, Unbound};
    let flags = [Value::Null, json!(true), json!(false)];
    let expected = [[Certificate, Dpop, Certificate], [Certificate, CertificateAndDpop, Certificate], [Unbound, Dpop, Unbound]];
    for (certificate, row) in flags.iter().zip(expected) {
        for (dpop, policy) in flags.iter().zip(row) {
            let both = json!({
                "tls_client_certificate_bound_access_tokens": certificate, "dpop_bound_access_tokens": dpop,
            });
            assert_eq!(read(&alice(both)).map(|client| client.binding), Ok(policy), "{certificate} {dpop}");
        }
    }
}

#[test]
fn what_is_not_understood_is_refused_with_the_remedy() {
    let one = jwk(&self_signed("one").certificate);
    let table = [
        (alice(json!({ "client_id": null })), "`client_id` is missing"),
        (alice(json!({ "client_id": "" })), "must not be empty"),
        (alice(json!({ "client_id": 1 })), "`client_id` must be a string"),
        (
            alice(json!({ "token_endpoint_auth_method": null })),
            "`token_endpoint_auth_method` is missing: write `tls_client_auth`",
        ),
        (alice(json!({ "token_endpoint_auth_method": "telepathy" })), "`telepathy` is not supported: write `tls_client_auth`, "),
        (alice(json!({ "token_endpoint_auth_method": "none" })), "`tls_client_auth_subject_dn` has no meaning with `none`"),
        (alice(json!({ "tls_client_auth_subject_dn": null })), "needs exactly one of"),
        (alice(json!({ "tls_client_auth_san_dns": "a.example" })), "exclude each other"),
        (alice(json!({ "tls_client_auth_subject_dn": "" })), "the name is empty"),
        (alice(json!({ "tls_client_auth_subject_dn": "Alice" })), "has no `=`"),
        (alice(json!({ "tls_client_auth_subject_dn": ["CN=a"] })), "`tls_client_auth_subject_dn` must be a string"),
        (alice(json!({ "tls_client_auth_subjct_dn": "CN=Alice" })), "did you mean `tls_client_auth_subject_dn`?"),
        (alice(json!({ "Scope": "a" })), "did you mean `scope`?"),
        (alice(json!({ "tls_client_certificate_bound_access_token": true })), "`tls_client_certificate_bound_access_tokens`?"),
        (alice(json!({ "jwks": { "keys": [] } })), "`jwks` must have 1 to 20 keys"),
        (alice(json!({ "request_object_signing_alg": "HS256" })), "`HS256` is not one of `ES256` or "),
        (alice(json!({ "request_object_signing_alg": "none" })), "`none` does not go with `oauth2.1`"),
        (alice(json!({ "response_modes": ["jwt", "web_message"] })), "`web_message` is not one of `query`"),
        (alice(json!({ "authorization_signed_response_alg": "none" })), "`none` is not one of"),
        (alice(json!({ "id_token_encrypted_response_alg": "ECDH-ES" })), "is ECDH-ES, and there is no key for it"),
        (
            alice(json!({ "jwks": { "keys": [public_key()] }, "userinfo_encrypted_response_alg": "RSA-OAEP-256" })),
            "is RSA-OAEP-256, and there is no key for it",
        ),
        (
            alice(json!({ "authorization_encrypted_response_enc": "A128GCM" })),
            "`authorization_encrypted_response_enc` needs `authorization_encrypted_response_alg`",
        ),
        (
            alice(json!({ "jwks_uri": "https://a.example/", "introspection_encrypted_response_alg": "RSA1_5" })),
            "`RSA1_5` is not one of `RSA-OAEP-256`",
        ),
        (alice(json!({ "request_uris": ["http://a.example/r"] })), "`http://a.example/r` is not an `https` URL"),
        (
            alice(json!({ "profile": "fapi2", "introspection_signed_response_alg": "RS256" })),
            "`RS256` is not for the profile `fapi2`",
        ),
        (
            alice(json!({ "profile": "openid", "request_object_signing_alg": "none", "require_signed_request_object": true })),
            "`none` does not go with `require_signed_request_object`",
        ),
        (alice(json!({ "background_uri": "https://a.example/logo" })), "`background_uri` is not known client metadata"),
        (alice(json!({ "tls_client_certificate_bound_access_tokens": "false" })), "true or false, without quotation marks"),
        (alice(json!({ "grant_types": ["implicit"] })), "`implicit` is not supported"),
        (alice(json!({ "grant_types": ["authorization_code"] })), "need each other"),
        (alice(json!({ "redirect_uris": ["https://a.example/"] })), "need each other"),
        (alice(json!({ "grant_types": ["refresh_token"] })), "`refresh_token` needs `authorization_code`"),
        (alice(json!({ "refresh_token_grants": ["client_credentials"] })), "`client_credentials` is not"),
        (
            alice(json!({ "refresh_token_grants": ["urn:ietf:params:oauth:grant-type:token-exchange"] })),
            "`grant_types` does not have it",
        ),
        (app(json!({ "refresh_token_rebinding": true })), "`refresh_token_rebinding` is for"),
        (app(json!({ "refresh_token_rebinding": "yes" })), "true or false, without quotation marks"),
        (app(json!({ "redirect_uris": ["http://a.example/"] })), "`http://a.example/` must be `https`"),
        (app(json!({ "response_types": ["code", "token"] })), "must be `[\"code\"]`"),
        (alice(json!({ "response_types": ["code"] })), "must be `[\"code\"]`"),
        (app(json!({ "profile": "fapi" })), "is not one of `openid` or `oauth2.1` or `fapi2`"),
        (
            app(json!({ "profile": "fapi2", "tls_client_certificate_bound_access_tokens": false })),
            "needs sender-constrained tokens",
        ),
        (app(json!({ "application_type": "mobile" })), "`web` or `native`"),
        (app(json!({ "default_max_age": -1 })), "a number of seconds"),
        (app(json!({ "id_token_signed_response_alg": "none" })), "`none` is not one of `ES256`"),
        (app(json!({ "id_token_signed_response_alg": "HS256" })), "`HS256` is not one of `ES256`"),
        (
            app(json!({ "subject_type": "pairwise", "redirect_uris": ["https://a.example/", "https://b.example/"] })),
            "`redirect_uris` of one host",
        ),
        (alice(json!({ "grant_types": "client_credentials" })), "an array of strings"),
        (alice(json!({ "grant_types": [1] })), "an array of strings"),
        (alice(json!({ "scope": ["read"] })), "`scope` must be a string"),
        (alice(json!({ "scope": "a\"b" })), "`scope`:"),
        (alice(json!({ "resources": ["api"] })), "`api` is not an absolute URI"),
        (alice(json!({ "resources": ["https://a.example/#x"] })), "without fragment"),
        (alice(json!({ "resources": vec!["urn:a"; 101] })), "at most 100 values"),
        (alice(json!({ "anchor_set": "" })), "`anchor_set` must name"),
        (registered(vec![]), "needs `jwks` with 1 to 10 keys"),
        (registered(vec![one.clone(); 11]), "needs `jwks` with 1 to 10 keys"),
        (registered(vec![json!("x")]), "an array of objects"),
        (registered(vec![json!({ "kty": "oct", "k": "AA" })]), "key 1 of `jwks`"),
    ];
    for (document, expected) in table {
        let error = read(&document).expect_err(expected);
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains('\n'), "{text} does not say: {expected}");
        assert!(matches!(error.reason(), Reason::ParameterMalformed | Reason::ClientIdAbsent), "{text}");
    }
    let twice = br#"{"client_id":"a","client_id":"b","token_endpoint_auth_method":"tls_client_auth"}"#;
    assert!(matches!(Client::from_text(twice), Err(MetadataError::Json(_))));
    let long = alice(json!({ "client_name": "x".repeat(200_000) }));
    assert_eq!(read(&long), Err(MetadataError::TooLong));
    let other = "bob".parse().expect("a client id");
    let kept = KeptSecret { key: None, record: None };
    let error = Client::from_metadata(alice(json!({})).to_string().as_bytes(), Some(&other), kept).expect_err("another client");
    assert_eq!(error.reason(), Reason::ClientUnknown);
}

/// A client of another method: these members beside its name.
fn robot(members: Value) -> Value {
    let mut document = json!({ "client_id": "robot" });
    document.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    document
}

/// RFC 7515 Appendix A.3.
fn public_key() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "kid": "1",
    })
}

/// 86 characters, as they are generated.
const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123456789abcdefghijkl";

#[test]
fn every_method_is_read_back_as_it_was_written_and_without_its_secret() {
    let jwks = json!({ "keys": [public_key()] });
    let table = [
        ("private_key_jwt", json!({ "jwks": jwks }), false),
        ("private_key_jwt", json!({ "jwks": jwks, "token_endpoint_auth_signing_alg": "ES256" }), false),
        ("private_key_jwt", json!({ "jwks_uri": "https://robot.example/jwks" }), false),
        ("self_signed_tls_client_auth", json!({ "jwks_uri": "https://robot.example/jwks" }), false),
        ("client_secret_basic", json!({ "client_secret": SECRET }), true),
        ("client_secret_post", json!({ "client_secret": SECRET }), true),
        ("client_secret_jwt", json!({ "client_secret": SECRET }), true),
        ("client_secret_jwt", json!({ "client_secret": SECRET, "token_endpoint_auth_signing_alg": "HS512" }), true),
        ("none", json!({}), false),
    ];
    for (method, members, has_secret) in table {
        let mut document = robot(members);
        document["token_endpoint_auth_method"] = json!(method);
        let client = read(&document).expect(method);
        assert_eq!(client.authentication.method().name(), method);
        assert_eq!(client.grant_types.is_empty(), method == "none", "the default of a client that proves nothing is no grant");
        let record = client.to_record();
        assert_eq!(record.secret.is_some(), has_secret, "{method}");
        for shown in [record.metadata_json.clone(), format!("{client:?}{record:?}")] {
            assert!(!shown.contains("0123456789") && !shown.contains("client_secret\""), "{shown}");
        }
        assert_eq!(Client::from_record(&record).as_ref(), Ok(&client), "{method}");
        // A document without the secret leaves it as it is, and without one kept it is not a registration.
        document.as_object_mut().expect("an object").remove("client_secret");
        let text = document.to_string();
        assert_eq!(Client::from_text_keeping(&text, record.secret.as_ref()).as_ref(), Ok(&client));
        if has_secret {
            let error = read(&document).expect_err("no secret");
            assert!(matches!(error, MetadataError::SecretAbsent(absent) if absent.name() == method), "{error}");
        }
    }
}

#[test]
fn what_a_method_cannot_use_is_refused_with_the_remedy() {
    let key = public_key();
    let changed = |name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        json!({ "keys": [key] })
    };
    let jwks = json!({ "keys": [key] });
    let (uri, key_jwt, basic) = (json!("https://robot.example/jwks"), json!("private_key_jwt"), json!("client_secret_basic"));
    let with = |method: &Value, members: Value| {
        let mut document = robot(members);
        document["token_endpoint_auth_method"] = method.clone();
        document
    };
    let table = [
        (with(&key_jwt, json!({})), "`private_key_jwt` needs `jwks`"),
        (with(&key_jwt, json!({ "jwks": jwks, "jwks_uri": uri })), "`jwks` and `jwks_uri` exclude each other"),
        (with(&key_jwt, json!({ "jwks": { "keys": [] } })), "`jwks` must have 1 to 20 keys"),
        (with(&key_jwt, json!({ "jwks": { "keys": vec![key.clone(); 21] } })), "`jwks` must have 1 to 20 keys"),
        (with(&key_jwt, json!({ "jwks": [key] })), "a JWK Set"),
        (with(&key_jwt, json!({ "jwks": changed("d", json!("AAAA")) })), "key 1 of `jwks`: `d` is a private member"),
        (with(&key_jwt, json!({ "jwks": { "keys": [{ "kty": "oct", "k": "AAAA" }] } })), "`k` is a private member"),
        (with(&key_jwt, json!({ "jwks": changed("use", json!("enc")) })), "`private_key_jwt` needs `jwks`"),
        (with(&key_jwt, json!({ "jwks": changed("y", json!("AAAA")) })), "not a valid key"),
        (with(&key_jwt, json!({ "jwks": jwks, "token_endpoint_auth_signing_alg": "RS256" })), "no key of `jwks` verifies it"),
        (
            with(&key_jwt, json!({ "jwks": jwks, "token_endpoint_auth_signing_alg": "HS256" })),
            "`HS256` is not a signature algorithm",
        ),
        (
            with(&key_jwt, json!({ "jwks": jwks, "token_endpoint_auth_signing_alg": "none" })),
            "`none` is not a signature algorithm",
        ),
        (
            with(&key_jwt, json!({ "jwks": jwks, "client_secret": SECRET })),
            "`client_secret` has no meaning with `private_key_jwt`",
        ),
        (with(&key_jwt, json!({ "jwks": jwks, "anchor_set": "x" })), "`anchor_set` has no meaning"),
        (with(&key_jwt, json!({ "jwks_uri": "http://robot.example/jwks" })), "`jwks_uri` must be an `https` URL"),
        (with(&basic, json!({})), "let `symbolon client add --generate-secret` make it"),
        (with(&basic, json!({ "client_secret": "hunter2" })), "`client_secret` is too short"),
        (with(&basic, json!({ "client_secret": "a".repeat(64) })), "`client_secret` is too regular"),
        (with(&basic, json!({ "client_secret": SECRET, "token_endpoint_auth_signing_alg": "HS256" })), "has no meaning"),
        (
            with(&json!("client_secret_jwt"), json!({ "client_secret": SECRET, "token_endpoint_auth_signing_alg": "ES256" })),
            "`HS256`, `HS384` or `HS512`",
        ),
        (
            with(
                &json!("client_secret_jwt"),
                json!({ "client_secret": &SECRET[..40], "token_endpoint_auth_signing_alg": "HS384" }),
            ),
            "at least 48 bytes",
        ),
        (
            with(&json!("none"), json!({ "grant_types": ["client_credentials"] })),
            "`client_credentials` is not for a client whose",
        ),
        (with(&json!("none"), json!({ "client_secret": SECRET })), "`client_secret` has no meaning with `none`"),
    ];
    for (document, expected) in table {
        let text = read(&document).expect_err(expected).to_string();
        assert!(text.contains(expected) && !text.contains('\n') && !text.contains("hunter2"), "{text} does not say: {expected}");
    }
    // What was kept for a client that sends its secret is no secret to authenticate assertions with.
    let sent = read(&with(&basic, json!({ "client_secret": SECRET }))).expect("usable").to_record();
    let document = with(&json!("client_secret_jwt"), json!({})).to_string();
    let error = Client::from_text_keeping(&document, sent.secret.as_ref()).expect_err("a hash");
    assert!(matches!(error, MetadataError::SecretAbsent(AuthenticationMethod::ClientSecretJwt)), "{error}");
}

#[test]
fn an_expectation_that_cannot_be_compared_safely_is_refused() {
    let table = [
        ("tls_client_auth_san_dns", vec!["", "*.example", "a.example.", "a..example", "b\u{fc}cher.example", "a b", "a@example"]),
        ("tls_client_auth_san_uri", vec!["", "no-scheme", "https://a b", "spiffe://\u{e9}"]),
        ("tls_client_auth_san_ip", vec!["", "127.0.0.1/8", "127.1", "::g", "[::1]", "localhost"]),
        ("tls_client_auth_san_email", vec!["", "alice", "@example", "alice@", "a@b@example", "a b@example"]),
    ];
    for (name, values) in table {
        for value in values {
            let error = read(&alice(json!({ "tls_client_auth_subject_dn": null, name: value }))).expect_err(value);
            assert!(matches!(&error, MetadataError::Subject { name: found, .. } if *found == name), "{name} {value:?}: {error}");
        }
    }
}

#[test]
fn a_certificate_matches_the_registered_subject_alone() {
    let authority = Authority::new("authority");
    let certificate = authority
        .leaf("Alice", |params| {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
            let text = |text: &str| text.try_into().expect("ASCII");
            params.subject_alt_names = vec![
                rcgen::SanType::DnsName(text("Client.example")),
                rcgen::SanType::DnsName(text("*.wild.example")),
                rcgen::SanType::URI(text("spiffe://example/alice")),
                rcgen::SanType::IpAddress([192, 0, 2, 1].into()),
                rcgen::SanType::Rfc822Name(text("Alice@Example.org")),
            ];
        })
        .certificate;
    // RFC 4514 writes a name from its end.
    let (same, backwards) = ("O=Example,CN=Alice", "CN=Alice,O=Example");
    let subject = Some(Reason::CertificateSubjectMismatch);
    let san = Some(Reason::CertificateSanMismatch);
    let table = [
        ("tls_client_auth_subject_dn", same, None),
        ("tls_client_auth_subject_dn", "/CN=Alice/O=Example", None),
        ("tls_client_auth_subject_dn", backwards, subject),
        ("tls_client_auth_subject_dn", "CN=Alice", subject),
        ("tls_client_auth_subject_dn", "O=Example,CN=alice", subject),
        ("tls_client_auth_subject_dn", "O=Example,CN=Alice,C=FR", subject),
        ("tls_client_auth_san_dns", "client.EXAMPLE", None),
        ("tls_client_auth_san_dns", "other.example", san),
        ("tls_client_auth_san_dns", "a.wild.example", san),
        ("tls_client_auth_san_dns", "example", san),
        ("tls_client_auth_san_uri", "spiffe://example/alice", None),
        ("tls_client_auth_san_uri", "spiffe://example/Alice", san),
        ("tls_client_auth_san_uri", "spiffe://example/alice/", san),
        ("tls_client_auth_san_ip", "192.0.2.1", None),
        ("tls_client_auth_san_ip", "::ffff:192.0.2.1", san),
        ("tls_client_auth_san_ip", "192.0.2.10", san),
        ("tls_client_auth_san_email", "Alice@example.ORG", None),
        ("tls_client_auth_san_email", "alice@Example.org", san),
        ("tls_client_auth_san_email", "Alice@example.com", san),
    ];
    for (name, value, expected) in table {
        let client = read(&alice(json!({ "tls_client_auth_subject_dn": null, name: value }))).expect(value);
        let Authentication::TlsClientAuth(matcher) = &client.authentication else { unreachable!("tls_client_auth") };
        let verdict = matcher.check(&certificate);
        assert_eq!(verdict.as_ref().err().map(MatchError::reason), expected, "{name} {value}");
        if value == backwards {
            let text = verdict.expect_err("backwards").to_string();
            assert!(text.contains("backwards: register `O=Example,CN=Alice`"), "{text}");
        }
    }
    let plain = authority.client("Alice").certificate;
    assert!(CertificateMatcher::SanDns("alice".into()).check(&plain).is_err(), "the common name is no DNS name");
}

#[test]
fn a_self_signed_certificate_is_matched_byte_for_byte_and_by_date() {
    let one = self_signed("Alice").certificate;
    let twin = self_signed("Alice").certificate;
    let client = read(&registered(vec![jwk(&self_signed("Bob").certificate), jwk(&one)])).expect("usable");
    let Authentication::SelfSignedTlsClientAuth(Published::Here(certificates)) = &client.authentication else {
        unreachable!("self-signed")
    };
    assert!(certificates.check(&one, NOW).is_ok());
    let reason = |certificate: &Certificate, now| certificates.check(certificate, now).err().map(|error| error.reason());
    assert_eq!(reason(&twin, NOW), Some(Reason::CertificateNotRegistered), "the same name says nothing");
    let second = Lifetime::from_seconds(1);
    assert_eq!(reason(&one, one.not_after()), None);
    assert_eq!(reason(&one, one.not_after().plus(second)), Some(Reason::CertificateExpired));
    assert_eq!(reason(&one, one.not_before().minus(second)), Some(Reason::CertificateNotYetValid));
}

#[test]
fn a_jwk_and_its_certificate_hold_one_key() {
    let one = jwk(&self_signed("one").certificate);
    let other = jwk(&self_signed("two").certificate);
    let changed = |name: &str, value: Value| {
        let mut key = one.clone();
        key.as_object_mut().expect("an object").insert(name.to_owned(), value);
        key
    };
    let own = one["x5c"][0].clone();
    let table = [
        (changed("x5c", other["x5c"].clone()), RegisteredCertificateError::OtherKey.to_string()),
        (changed("x5c", json!([])), "x5c".into()),
        (changed("x5c", json!([own, own])), RegisteredCertificateError::Chain.to_string()),
        (changed("x5c", json!(["AAAA"])), "DER".into()),
        (changed("x5c", json!(["!"])), "x5c".into()),
        (changed("d", json!("AAAA")), "private member".into()),
    ];
    for (key, expected) in table {
        let error = read(&registered(vec![key])).expect_err(&expected);
        assert!(error.to_string().contains(&expected), "{error} does not say: {expected}");
    }
    let mut without = one.clone();
    without.as_object_mut().expect("an object").remove("x5c");
    let error = read(&registered(vec![without])).expect_err("no certificate");
    assert!(matches!(error, MetadataError::Certificate { number: 1, problem: RegisteredCertificateError::Chain }), "{error}");
}

#[test]
fn certificates_of_every_key_type_can_be_registered() {
    let algorithms = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "EC"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "EC"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, "EC"),
        (&rcgen::PKCS_ED25519, "OKP"),
        (&rcgen::PKCS_RSA_SHA256, "RSA"),
    ];
    for (algorithm, kind) in algorithms {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let signed = rcgen::CertificateParams::default().self_signed(&key).expect("signed");
        let certificate = Certificate::from_der(signed.der().clone()).expect("a certificate");
        let jwk = jwk(&certificate);
        assert_eq!(jwk["kty"], kind);
        let client = read(&registered(vec![jwk])).expect("usable");
        let Authentication::SelfSignedTlsClientAuth(Published::Here(certificates)) = &client.authentication else {
            unreachable!("self-signed")
        };
        assert!(certificates.check(&certificate, certificate.not_before()).is_ok());
    }
}

#[test]
fn a_removal_reaches_tokens_that_were_issued_while_it_spread() {
    let window = removal_window(NOW, Lifetime::from_seconds(300));
    assert_eq!(window.before.seconds_since(NOW), 2);
    assert!(window.expires.seconds_since(window.before) >= 300);
}

#[tokio::test]
async fn the_directory_follows_the_change_feed() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = ("test".parse().expect("a key id"), Redacted::new([7; 32]));
    let masters = Arc::new(MasterKeys::from_keys(vec![key]).expect("a key"));
    let store = Store::open(&StoreSettings::default(), directory.path(), masters, &SystemRandomness, NOW).await.expect("opens");
    let client = read(&alice(json!({}))).expect("usable");
    let position = store.sequence().await.expect("sequence");
    let clients = Clients::load(&store).await.expect("loaded");
    let watch = store.watch_changes();
    let mut cursor = watch.cursor(position);
    assert!(clients.client(&client.client_id).is_none());

    store.put_client(&client.to_record(), PutMode::Add, NOW).await.expect("put");
    let before = clients.current();
    clients.apply(&store, &cursor.next().await.expect("changes")).await.expect("applied");
    assert_eq!(clients.client(&client.client_id).as_deref(), Some(&client));
    assert!(before.is_empty(), "a snapshot does not change");

    let changed = Client { scope: "read".parse().expect("a scope"), ..client.clone() };
    store.put_client(&changed.to_record(), PutMode::AddOrChange, NOW).await.expect("put");
    let mut foreign = client.to_record();
    foreign.client_id = "later".parse().expect("a client id");
    foreign.metadata_json = r#"{"client_id":"later","token_endpoint_auth_method":"telepathy"}"#.into();
    store.put_client(&foreign, PutMode::Add, NOW).await.expect("put");
    clients.apply(&store, &cursor.next().await.expect("changes")).await.expect("applied");
    if clients.current().unusable().count() == 0 {
        clients.apply(&store, &cursor.next().await.expect("changes")).await.expect("applied");
    }
    assert_eq!(clients.client(&client.client_id).as_deref(), Some(&changed));
    assert!(clients.client(&foreign.client_id).is_none(), "what is not understood is refused");
    assert_eq!(clients.current().unusable().count(), 1);

    let window = removal_window(NOW, Lifetime::from_seconds(300));
    store.remove_client(&client.client_id, window, NOW).await.expect("removed");
    clients.apply(&store, &cursor.next().await.expect("changes")).await.expect("applied");
    assert!(clients.client(&client.client_id).is_none());
    clients.reload(&store).await.expect("reloaded");
    assert_eq!((clients.current().len(), clients.current().unusable().count()), (0, 1));
}

proptest! {
    #[test]
    fn no_document_makes_the_parser_panic(text in ".{0,200}") {
        let _ = Client::from_text(text.as_bytes());
    }

    #[test]
    fn whatever_is_accepted_is_read_back_the_same(
        dns in "[a-zA-Z0-9*._-]{1,20}", email in "[a-zA-Z0-9@. ]{1,20}", uri in "[a-z:/ #?%@.]{1,20}", dn in "[A-Za-z=,+\\\\\"; /#]{1,20}"
    ) {
        let names = [
            ("tls_client_auth_san_dns", dns), ("tls_client_auth_san_email", email), ("tls_client_auth_san_uri", uri),
            ("tls_client_auth_subject_dn", format!("CN={dn}")),
        ];
        for (name, value) in names {
            if let Ok(client) = read(&alice(json!({ "tls_client_auth_subject_dn": null, name: value }))) {
                prop_assert_eq!(Client::from_record(&client.to_record()), Ok(client));
            }
        }
    }
}
