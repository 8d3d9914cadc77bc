//! Every error that the standards of machine clients name, in one table: code, status, header fields and private reason of each, beside the
//! standard that names it. A code that is listed and that nothing here provokes is a failure.

use serde_json::{Value, json};

use crate::harness::assertion::{Signer, now};
use crate::harness::{App, Call, Caller, Identity, Leaf, Prover, Setup, Stack};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const CALLBACK: &str = "https://client.example.org/cb";

/// What each standard names. `unsupported_token_type` (RFC 7009 §2.2.1) is for servers that do not revoke some kinds of tokens: this one
/// revokes every kind that it issues. RFC 7662 §2.3 names 401 alone, and what RFC 6749 §5.2 has of clients.
const NAMED: [(&str, &[&str]); 8] = [
    (
        "RFC 6749 section 5.2",
        &["invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"],
    ),
    ("RFC 7009 section 2.2.1", &["invalid_request", "invalid_client", "unauthorized_client"]),
    ("RFC 7662 section 2.3", &["invalid_request", "invalid_client", "unauthorized_client"]),
    (
        "RFC 7591 section 3.2.2",
        &["invalid_redirect_uri", "invalid_client_metadata", "invalid_software_statement", "unapproved_software_statement"],
    ),
    ("RFC 7592 section 2", &["invalid_token", "invalid_client_metadata"]),
    ("RFC 8693 section 2.2.2", &["invalid_request", "invalid_target"]),
    ("RFC 8707 section 2", &["invalid_target"]),
    ("RFC 9449 sections 5, 7.1, 8", &["invalid_dpop_proof", "use_dpop_nonce", "invalid_token"]),
];

/// Where a request goes.
enum At {
    /// The mutual-TLS host, with this certificate.
    Mtls(Identity),
    /// The issuer's own host, without any.
    Issuer,
}

struct Row {
    standard: &'static str,
    what: &'static str,
    at: At,
    call: Call,
    status: u16,
    error: &'static str,
    reason: &'static str,
    /// What one `WWW-Authenticate` begins with.
    challenge: Option<&'static str>,
}

struct Table(Vec<Row>);

impl Table {
    fn add(
        &mut self,
        standard: usize,
        what: &'static str,
        at: At,
        call: Call,
        answer: (u16, &'static str, &'static str),
    ) -> &mut Row {
        let (status, error, reason) = answer;
        self.0.push(Row { standard: NAMED[standard].0, what, at, call, status, error, reason, challenge: None });
        self.0.last_mut().expect("pushed")
    }
}

async fn start(directory: &Signer) -> Stack {
    let digest = symbolon::jose::digest::sha256(b"let me in").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let server = format!(
        "[registration]\nmode = \"initial_access_token\"\nper_address_per_minute = 60000\ninitial_access_token_sha256 = [\"{digest}\"]\n\n\
         [[registration.software_statement_issuer]]\nissuer = \"https://directory.example\"\njwks_file = \"directory.json\"\n"
    );
    let public = App::metadata(
        "public",
        json!({
            "token_endpoint_auth_method": "none", "tls_client_auth_subject_dn": null,
            "tls_client_certificate_bound_access_tokens": false,
        }),
    );
    let alice = App::metadata(
        "alice",
        json!({ "grant_types": ["authorization_code", "client_credentials", "refresh_token", EXCHANGE], "scope": "read write" }),
    );
    let setup = Setup { without_gateway: true, server, clients: vec![alice, public, Stack::prover("dora")], ..Setup::default() };
    let mut stack =
        setup.prepare_with("sqlite:symbolon.db".to_owned(), &[("directory.json", &directory.jwks().to_string())]).await;
    stack.start_server().await;
    stack
}

#[tokio::test]
async fn every_error_that_is_named_is_given() {
    let (directory, other) = (Signer::key("ES256", "1"), Signer::key("ES256", "2"));
    let stack = start(&directory).await;
    let (token, revoked) = (stack.token(&stack.alice).await, stack.token(&stack.alice).await);
    assert_eq!(stack.revoke(&stack.alice, &revoked).await.status, 200);
    let mut table = Table(Vec::new());
    let alice = || At::Mtls(stack.alice.clone());
    let mallory = || At::Mtls(stack.mallory.clone());
    let gateway = || At::Mtls(stack.gateway_identity.clone());
    let form = |path: &str, more: &[(&str, &str)]| Call::form(path, &[&[("client_id", "alice")], more].concat());
    let own = |more: &[(&str, &str)]| form("/token", &[&[("grant_type", "client_credentials")], more].concat());
    let basic = "Basic YWxpY2U6eA==";

    // RFC 6749.
    table.add(0, "no grant_type", alice(), form("/token", &[]), (400, "invalid_request", "parameter_absent"));
    table.add(0, "another's certificate", mallory(), own(&[]), (401, "invalid_client", "certificate_subject_mismatch"));
    table
        .add(
            0,
            "a secret in the header",
            alice(),
            own(&[]).header("Authorization", basic),
            (401, "invalid_client", "client_method_mismatch"),
        )
        .challenge = Some("Basic realm=\"");
    let refresh = form("/token", &[("grant_type", "refresh_token"), ("refresh_token", "sy_rt_AAAA")]);
    table.add(0, "a refresh token of nobody", alice(), refresh, (400, "invalid_grant", "refresh_token_unknown"));
    let code = [("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", "https://alice.example/cb")];
    table.add(0, "a code of nobody", alice(), form("/token", &code), (400, "invalid_grant", "code_unknown"));
    let other_client = Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "gateway")]);
    table.add(0, "a grant of others", gateway(), other_client, (400, "unauthorized_client", "grant_not_allowed"));
    let password = form("/token", &[("grant_type", "password")]);
    table.add(0, "a grant of nobody", alice(), password, (400, "unsupported_grant_type", "grant_unsupported"));
    table.add(0, "too wide a scope", alice(), own(&[("scope", "admin")]), (400, "invalid_scope", "scope_not_allowed"));

    // RFC 7009.
    table.add(1, "no token", alice(), form("/revoke", &[]), (400, "invalid_request", "parameter_absent"));
    let about = [("token", token.as_str())];
    table.add(
        1,
        "another's certificate",
        mallory(),
        form("/revoke", &about),
        (401, "invalid_client", "certificate_subject_mismatch"),
    );
    let with_basic = form("/revoke", &about).header("Authorization", basic);
    table.add(1, "a secret in the header", alice(), with_basic, (401, "invalid_client", "client_method_mismatch")).challenge =
        Some("Basic realm=\"");
    let foreign = Call::form("/revoke", &[("client_id", "mallory"), about[0]]);
    table.add(1, "another's token", mallory(), foreign, (400, "unauthorized_client", "revocation_not_allowed"));

    // RFC 7662.
    let asked = |client_id: &str| Call::form("/introspect", &[("client_id", client_id), about[0]]);
    let nothing = Call::form("/introspect", &[("client_id", "gateway")]);
    table.add(2, "no token", gateway(), nothing, (400, "invalid_request", "parameter_absent"));
    table.add(2, "another's certificate", mallory(), asked("gateway"), (401, "invalid_client", "certificate_subject_mismatch"));
    table.add(2, "no certificate", At::Issuer, asked("gateway"), (401, "invalid_client", "certificate_absent"));
    let with_basic = asked("gateway").header("Authorization", "Basic Z2F0ZXdheTp4");
    table.add(2, "a secret in the header", gateway(), with_basic, (401, "invalid_client", "client_method_mismatch")).challenge =
        Some("Basic realm=\"");
    table.add(2, "who proves nothing", At::Issuer, asked("public"), (400, "unauthorized_client", "client_not_allowed"));

    // RFC 7591.
    let register = |body: Value, bearer: &str| {
        Call::new("POST", "/register").bearer(bearer).header("Content-Type", "application/json").body(body.to_string())
    };
    let with = |name: &str, value: Value| {
        let mut body = json!({ "redirect_uris": [CALLBACK] });
        body[name] = value;
        register(body, "let me in")
    };
    let statement = |signer: &Signer, issuer: &str| json!(signer.sign(json!({}), &json!({ "iss": issuer, "client_name": "x" })));
    let metadata = |error| (400, error, "client_metadata");
    let fragment = with("redirect_uris", json!(["https://client.example.org/cb#x"]));
    table.add(3, "a fragment", At::Issuer, fragment, metadata("invalid_redirect_uri"));
    table.add(3, "a name that is none", At::Issuer, with("client_name", json!(1)), metadata("invalid_client_metadata"));
    let forged = with("software_statement", statement(&other, "https://directory.example"));
    table.add(3, "a forged statement", At::Issuer, forged, (400, "invalid_software_statement", "software_statement"));
    let stranger = with("software_statement", statement(&other, "https://other.example"));
    table.add(3, "a stranger's", At::Issuer, stranger, (400, "unapproved_software_statement", "software_statement_issuer"));

    // RFC 7592; RFC 7591 §3 for the first.
    let refused = (401, "invalid_token", "registration_token");
    let stolen = register(json!({ "redirect_uris": [CALLBACK] }), "let me out");
    table.add(4, "no initial access token", At::Issuer, stolen, refused).challenge = Some("Bearer realm=\"");
    for method in ["GET", "DELETE"] {
        let call = Call::new(method, "/register/alice").bearer("sy_reg_AAAA");
        table.add(4, "no registration access token", At::Issuer, call, refused).challenge = Some("Bearer realm=\"");
    }
    let answer =
        stack.nobody().send(&stack.issuer_authority, &register(json!({ "redirect_uris": [CALLBACK] }), "let me in")).await;
    let registered = answer.json();
    let place = format!("/register/{}", registered["client_id"].as_str().expect("one"));
    let own_token = registered["registration_access_token"].as_str().expect("one");
    let put = Call::new("PUT", &place).bearer(own_token).header("Content-Type", "application/json").body("{}");
    table.add(4, "another client", At::Issuer, put, metadata("invalid_client_metadata"));

    // RFC 8693.
    let exchange = |more: &[(&str, &str)]| {
        form("/token", &[&[("grant_type", EXCHANGE), ("subject_token_type", ACCESS_TOKEN)], more].concat())
    };
    table.add(5, "no subject", alice(), exchange(&[]), (400, "invalid_request", "parameter_absent"));
    let dead = exchange(&[("subject_token", &revoked)]);
    table.add(5, "a revoked subject", alice(), dead, (400, "invalid_request", "token_revoked"));
    let nowhere = exchange(&[("subject_token", &token), ("audience", "https://other.example")]);
    table.add(5, "an audience of nobody", alice(), nowhere, (400, "invalid_target", "resource_not_allowed"));

    // RFC 8707.
    let nowhere = own(&[("resource", "https://other.example")]);
    table.add(6, "a resource of nobody", alice(), nowhere, (400, "invalid_target", "resource_not_allowed"));

    // RFC 9449.
    let (key, dora) = (Prover::new(), stack.client_ca.issue(Leaf::client("dora")));
    let by_dora = || Call::form("/token", &[("grant_type", "client_credentials"), ("client_id", "dora")]);
    let old = key.prove_with("POST", &stack.token_url(), &json!({ "iat": now() - 600 }));
    let old = by_dora().proof(&old);
    table.add(7, "an old proof", At::Mtls(dora.clone()), old, (400, "invalid_dpop_proof", "dpop_proof_time"));
    table.add(7, "no proof", At::Mtls(dora.clone()), by_dora(), (400, "invalid_dpop_proof", "dpop_proof_absent"));
    let nonce = by_dora().proof(&key.prove_with("POST", &stack.token_url(), &json!({ "nonce": "none of yours" })));
    table.add(7, "a nonce of nobody", At::Mtls(dora.clone()), nonce, (400, "use_dpop_nonce", "dpop_nonce_foreign"));
    let bound = stack.dpop_token(&dora, &key, &stack.accounts).await;
    let bearer = Call::get("/userinfo").bearer(&bound);
    table.add(7, "a bearer of a bound token", At::Issuer, bearer, (401, "invalid_token", "binding_proof_absent")).challenge =
        Some("DPoP ");

    let send = |at: &At, call: Call| -> (Caller, String, Call) {
        match at {
            At::Mtls(identity) => (stack.caller(identity), stack.mtls_authority.clone(), call),
            At::Issuer => (stack.nobody(), stack.issuer_authority.clone(), call),
        }
    };
    for row in &table.0 {
        let what = format!("{}: {}", row.standard, row.what);
        let (caller, authority, call) = send(&row.at, row.call.clone());
        let answer = caller.send(&authority, &call).await;
        let expected = (row.status, row.error.to_owned(), row.reason.to_owned());
        assert_eq!(stack.verdict(&answer).await, expected, "{what}: {}", answer.text());
        // RFC 6749 §5.1, §5.2: JSON with these two members, kept by nobody.
        assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), (Some("no-store"), Some("no-cache")), "{what}");
        let body = answer.json();
        let members: Vec<&String> = body.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["error", "error_description"], "{what}");
        let description = body["error_description"].as_str().expect("a text");
        assert!(description.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{what}: {description}");
        // RFC 9449 §8: the nonce to try again with; and never one without need.
        assert_eq!(answer.nonce().is_empty(), row.error != "use_dpop_nonce", "{what}");
        match row.challenge {
            Some(begin) => {
                let found = answer.challenges().into_iter().any(|challenge| challenge.starts_with(begin));
                assert!(found, "{what}: {:?}", answer.challenges());
            }
            // Only what was refused with 401 has a challenge.
            None => assert!(row.status == 401 || answer.challenges().is_empty(), "{what}: {:?}", answer.challenges()),
        }
    }
    for (standard, codes) in NAMED {
        for code in codes {
            let given = table.0.iter().any(|row| row.standard == standard && row.error == *code);
            assert!(given, "{standard}: nothing provokes {code}");
        }
    }
    // And what was wrong each time was that one thing.
    stack.token(&stack.alice).await;
    stack.dpop_token(&dora, &key, &stack.accounts).await;
}
