//! Forms as nobody should send them: at every endpoint that takes one, every parameter twice, not UTF-8, with NUL, a mebibyte long, empty.

use super::refused;
use crate::harness::client::PATIENCE;
use crate::harness::{Call, Setup};

/// What every client says of itself.
const CLIENT: [&str; 4] = ["client_id", "client_secret", "client_assertion", "client_assertion_type"];

const TOKEN: [&str; 15] = [
    "grant_type",
    "scope",
    "code",
    "redirect_uri",
    "code_verifier",
    "refresh_token",
    "certificate_rebinding",
    "assertion",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
    "resource",
    "audience",
];

const PUSHED: [&str; 19] = [
    "response_type",
    "redirect_uri",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "prompt",
    "max_age",
    "acr_values",
    "claims",
    "login_hint",
    "id_token_hint",
    "ui_locales",
    "request",
    "request_uri",
    "resource",
];

const ASKED: [&str; 2] = ["token", "token_type_hint"];

const DEVICE: [&str; 2] = ["scope", "resource"];

/// Parameters that may repeat (RFC 8707 §2, RFC 8693 §2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

fn sent(path: &str, body: String) -> Call {
    Call::new("POST", path).header("Content-Type", "application/x-www-form-urlencoded").body(body)
}

/// A form that is in order but for `name`, which is written as `fields` say.
fn form(path: &str, name: &str, fields: &str) -> Call {
    let good = [("grant_type", "client_credentials"), ("client_id", "alice"), ("token", "x")];
    let rest = good.iter().filter(|(other, _)| *other != name).map(|(name, value)| format!("{name}={value}"));
    sent(path, rest.chain([fields.to_owned()]).collect::<Vec<_>>().join("&"))
}

/// RFC 6749 §3.2: "Request and response parameters MUST NOT be included more than once"; "Parameters sent without a value MUST be treated
/// as if they were omitted from the request". All of it is refused before anybody is asked who they are.
#[tokio::test]
async fn at_every_endpoint_of_clients() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let alice = stack.caller(&stack.alice);
    let endpoints: [(&str, &[&str]); 5] =
        [("/token", &TOKEN), ("/par", &PUSHED), ("/device-authorization", &DEVICE), ("/introspect", &ASKED), ("/revoke", &ASKED)];
    for (path, names) in endpoints {
        for name in CLIENT.iter().chain(names) {
            let mut connection = alice.connect(&stack.mtls_authority).await.expect("a connection");
            for (fields, reason) in [
                (format!("{name}=a&{name}=a"), "parameter_duplicate"),
                (format!("{name}=&{name}=a"), "parameter_duplicate"),
                (format!("{name}=a&{}=a", percent(name)), "parameter_duplicate"),
                (format!("{name}=a%ff"), "parameter_malformed"),
                (format!("{name}=a%c0%80"), "parameter_malformed"),
                (format!("{name}=a%00b"), "parameter_malformed"),
            ] {
                if reason == "parameter_duplicate" && REPEATABLE.contains(name) {
                    continue;
                }
                let answer = connection.send(&form(path, name, &fields)).await;
                assert_eq!(answer.header("cache-control"), Some("no-store"), "{path} {fields}");
                refused(&stack, &answer, 400, "invalid_request", reason, (path, &fields)).await;
            }
            // A mebibyte is refused before it has all arrived: the connection may break under who goes on writing.
            let huge = form(path, name, &format!("{name}={}", "x".repeat(1 << 20)));
            if let Ok(answer) = alice.try_send(&stack.mtls_authority, &huge).await {
                assert_eq!(answer.status, 413, "{path} {name}");
            }
            // Empty is omitted, whatever then becomes of the request.
            let empty = alice.send(&stack.mtls_authority, &form(path, name, &format!("{name}="))).await;
            let omitted = alice.send(&stack.mtls_authority, &form(path, name, "x=")).await;
            assert_eq!((empty.status, empty.error()), (omitted.status, omitted.error()), "{path} {name}");
            assert!(empty.status < 500, "{path} {name}");
        }
    }
    // Nothing of it has cost alice anything.
    stack.token(&stack.alice).await;
}

/// The first letter, as a percent-encoded form has it.
fn percent(name: &str) -> String {
    format!("%{:02x}{}", name.as_bytes()[0], &name[1..])
}

/// The forms of people, and the token of userinfo: whatever is sent, it is the sender's fault, and the server goes on.
#[tokio::test]
async fn at_every_endpoint_of_people() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let endpoints: [(&str, &[&str]); 9] = [
        ("/authorize", &PUSHED),
        ("/userinfo", &["access_token"]),
        ("/sign-in", &["csrf", "interaction", "username", "password"]),
        ("/consent", &["csrf", "interaction", "decision"]),
        ("/sign-out", &["csrf"]),
        ("/account/password", &["csrf", "current", "new"]),
        ("/account/sessions", &["csrf", "session"]),
        ("/end-session", &["id_token_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales", "logout_hint"]),
        ("/end-session/confirm", &["csrf", "request", "decision"]),
    ];
    let started = std::time::Instant::now();
    for (path, names) in endpoints {
        for name in names {
            for fields in [
                format!("{name}=a&{name}=a"),
                format!("{name}="),
                format!("{name}=a%ff"),
                format!("{name}=a%00b"),
                format!("{name}=%3Cscript%3E{}", "x".repeat(9_000)),
            ] {
                let answer = stack.nobody().send(&stack.issuer_authority, &sent(path, fields.clone())).await;
                assert!(matches!(answer.status, 303 | 400..=499), "{path} {fields:.60}: {}", answer.status);
                let kept = answer.status == 303 || answer.header("cache-control") == Some("no-store");
                assert!(kept, "{path} {fields:.60}");
                assert!(!answer.text().contains("<script>"), "{path} {fields:.60}");
            }
            let huge = sent(path, format!("{name}={}", "x".repeat(1 << 20)));
            if let Ok(answer) = stack.nobody().try_send(&stack.issuer_authority, &huge).await {
                assert!(matches!(answer.status, 303 | 400..=499), "{path} {name}: {}", answer.status);
            }
        }
    }
    assert!(started.elapsed() < PATIENCE * 60, "it takes its time over nonsense");
    stack.token(&stack.alice).await;
}

/// Registrations as nobody should send them (RFC 7591 §3.1): members twice, no object, no JSON, not UTF-8, NUL, nested without end, a
/// mebibyte. Each is refused before anything is kept; what is odd and harmless is passed over.
#[tokio::test]
async fn at_the_registration_endpoint() {
    let server = "[registration]\nmode = \"open\"\nper_address_per_minute = 60000\n".to_owned();
    let stack = Setup { without_gateway: true, server, ..Setup::default() }.start().await;
    let with = |members: &str| format!("{{\"redirect_uris\":[\"https://client.example.org/cb\"]{members}}}").into_bytes();
    let send = async |body: Vec<u8>| {
        let call = Call::new("POST", "/register").header("Content-Type", "application/json").body(body);
        stack.nobody().try_send(&stack.issuer_authority, &call).await
    };
    let uris: Vec<String> = (0..1_000).map(|number| format!("https://client.example.org/{number}")).collect();
    let many = serde_json::json!({ "redirect_uris": uris }).to_string().into_bytes();
    let mut not_utf8 = with(",\"client_name\":\"a?\"");
    *not_utf8.iter_mut().find(|byte| **byte == b'?').expect("one") = 0xff;
    let deep = format!(",\"x\":{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a list", b"[]".to_vec()),
        ("a text", b"\"x\"".to_vec()),
        ("null", b"null".to_vec()),
        ("two objects", b"{}{}".to_vec()),
        ("a member twice", with(",\"client_name\":\"a\",\"client_name\":\"b\"")),
        ("a member twice, once escaped", with(",\"client_name\":\"a\",\"client_\\u006eame\":\"b\"")),
        ("an unknown member twice", with(",\"x\":1,\"x\":2")),
        ("nested without end", with(&deep)),
        ("not UTF-8", not_utf8),
        ("half a surrogate pair", with(",\"client_name\":\"\\ud800\"")),
        ("NUL", with(",\"client_name\":\"a\\u0000b\"")),
        ("an escape sequence", with(",\"client_name\":\"\\u001b[31m\"")),
        ("NUL in a list", with(",\"contacts\":[\"a\\u0000b\"]")),
        ("a name that is a number", with(",\"client_name\":7")),
        ("a name too long", with(&format!(",\"client_name\":\"{}\"", "x".repeat(201)))),
        ("too many redirect URIs", many),
    ];
    for (what, body) in table {
        let answer = send(body).await.expect("an answer");
        let verdict = stack.verdict(&answer).await;
        assert_eq!((verdict.0, verdict.2.as_str()), (400, "client_metadata"), "{what}: {}", answer.text());
        assert!(["invalid_client_metadata", "invalid_redirect_uri"].contains(&verdict.1.as_str()), "{what}: {verdict:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    }
    // A mebibyte is refused before it has all arrived: the connection may break under who goes on writing.
    if let Ok(answer) = send(with(&format!(",\"x\":\"{}\"", "x".repeat(1 << 20)))).await {
        assert_eq!(answer.status, 413);
    }
    assert_eq!(stack.count("SELECT COUNT(*) FROM client_registration").await, 0);
    let answer = send(with(",\"x\":{\"y\":[1e308,null]},\"client_name\":\"\\ud83d\\ude00\"")).await.expect("an answer");
    assert_eq!((answer.status, &answer.json()["client_name"]), (201, &serde_json::json!("\u{1f600}")), "{}", answer.text());
}
