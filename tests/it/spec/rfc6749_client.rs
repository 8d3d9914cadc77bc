//! RFC 6749 §2.3.1: clients with a secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::command::symbolon;
use crate::harness::{Answer, Call, Engine, Leaf, Setup, Stack, token};

/// Characters that the form encoding must escape, in a name and a secret.
const NAME: &str = "https://robot.example/a:b c";
const SECRET: &str = "p@ss:word + 100% & more=strange characters!";

fn client(client_id: &str, method: &str, more: Value) -> Value {
    let mut client = json!({
        "client_id": client_id, "token_endpoint_auth_method": method, "client_secret": SECRET, "resources": ["{accounts}"],
        "tls_client_certificate_bound_access_tokens": false,
    });
    client.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    client
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn basic(client_id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret))))
}

fn call(more: &[(&str, &str)]) -> Call {
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend(more);
    Call::form("/token", &form)
}

async fn ask(stack: &Stack, call: &Call) -> Answer {
    stack.nobody().send(&stack.issuer_authority, call).await
}

/// "The client identifier is encoded using the `application/x-www-form-urlencoded` encoding algorithm per Appendix B, and the encoded value
/// is used as the username; the client password is encoded using the same algorithm and used as the password"; "Alternatively ... including
/// the client credentials in the request-body"; exactly the registered one of the two.
async fn a_secret_authenticates_the_registered_way(engine: Engine) {
    let clients = vec![client(NAME, "client_secret_basic", json!({})), client("post", "client_secret_post", json!({}))];
    let Some(stack) = (Setup { engine, without_gateway: true, clients, ..Setup::default() }).try_start().await else { return };
    let wrong = SECRET.replace("100", "101");
    let raw = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let table: Vec<(&str, Call, &str)> = vec![
        ("basic", call(&[]).header("Authorization", &basic(NAME, SECRET)), ""),
        ("basic, with client_id", call(&[("client_id", NAME)]).header("Authorization", &basic(NAME, SECRET)), ""),
        ("in small letters", call(&[]).header("Authorization", &basic(NAME, SECRET).replacen("Basic", "basic", 1)), ""),
        ("post", call(&[("client_id", "post"), ("client_secret", SECRET)]), ""),
        ("another secret", call(&[]).header("Authorization", &basic(NAME, &wrong)), "client_secret_mismatch"),
        ("the beginning of it", call(&[]).header("Authorization", &basic(NAME, &SECRET[..20])), "client_secret_mismatch"),
        ("more than it", call(&[]).header("Authorization", &basic(NAME, &format!("{SECRET}x"))), "client_secret_mismatch"),
        ("another client's name", call(&[]).header("Authorization", &basic("nobody", SECRET)), "client_unknown"),
        ("not encoded", call(&[]).header("Authorization", &raw(&format!("{NAME}:{SECRET}"))), "client_credentials_malformed"),
        ("no secret", call(&[]).header("Authorization", &raw(&format!("{}:", encoded(NAME)))), "client_credentials_malformed"),
        ("no colon", call(&[]).header("Authorization", &raw("robot")), "client_credentials_malformed"),
        ("no base64", call(&[]).header("Authorization", "Basic !"), "client_credentials_malformed"),
        ("not UTF-8", call(&[]).header("Authorization", &raw("a:%ff")), "client_credentials_malformed"),
        ("NUL", call(&[]).header("Authorization", &raw("a:b%00")), "client_credentials_malformed"),
        ("the other way", call(&[("client_id", NAME), ("client_secret", SECRET)]), "client_method_mismatch"),
        ("the other way round", call(&[]).header("Authorization", &basic("post", SECRET)), "client_method_mismatch"),
        ("nothing", call(&[("client_id", "post")]), "client_method_mismatch"),
        ("post, another secret", call(&[("client_id", "post"), ("client_secret", &wrong)]), "client_secret_mismatch"),
        ("post, no secret", call(&[("client_id", "post"), ("client_secret", "")]), "client_method_mismatch"),
        ("post, no name", call(&[("client_secret", SECRET)]), "client_id_absent"),
    ];
    for (what, call, reason) in table {
        let answer = ask(&stack, &call).await;
        let expected = match reason {
            "" => (200, String::new(), String::new()),
            reason => (401, "invalid_client".to_owned(), reason.to_owned()),
        };
        assert_eq!(stack.verdict(&answer).await, expected, "{what}: {}", answer.text());
        // §5.2: the challenge comes when, and only when, the header was used.
        let tried = call.headers.iter().any(|(name, _)| name == "Authorization");
        assert_eq!(answer.status == 401 && tried, !answer.challenge().is_empty(), "{what}");
    }
    // A resource server may introspect, and a client revoke, with its secret.
    for path in ["/introspect", "/revoke"] {
        let form = Call::form(path, &[("token", "abc")]).header("Authorization", &basic(NAME, SECRET));
        assert_eq!(ask(&stack, &form).await.status, 200, "{path}");
    }
    // The secret is nowhere to be read.
    let shown = symbolon(stack.dir.path(), &["client", "show", "post"]).await.ok();
    assert!(!shown.contains("p@ss") && !shown.contains("client_secret\""), "{shown}");
    for file in std::fs::read_dir(stack.dir.path()).expect("files").flatten() {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        let told = bytes.windows(10).any(|window| window == &SECRET.as_bytes()[..10]);
        assert!(!told || file.file_name() == "clients.json", "{:?}", file.path());
    }
}

#[tokio::test]
async fn a_secret_authenticates_the_registered_way_on_sqlite() {
    a_secret_authenticates_the_registered_way(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_secret_authenticates_the_registered_way_on_postgres() {
    a_secret_authenticates_the_registered_way(Engine::Postgres).await;
}

/// "The client MUST NOT use more than one authentication method in each request"; §5.2 `invalid_request`: "utilizes more than one mechanism
/// for authenticating the client". A certificate on the connection is none, and binds the token (RFC 8705 §3).
#[tokio::test]
async fn one_method_in_a_request() {
    let bound = json!({ "tls_client_certificate_bound_access_tokens": true });
    let clients = vec![client("basic", "client_secret_basic", bound)];
    let stack = Setup { without_gateway: true, clients, ..Setup::default() }.start().await;
    let header = basic("basic", SECRET);
    let invalid = |reason: &str| (400, "invalid_request".to_owned(), reason.to_owned());
    let table = [
        (call(&[("client_id", "basic"), ("client_secret", SECRET)]).header("Authorization", &header), "client_method_ambiguous"),
        (call(&[("client_assertion", "x")]).header("Authorization", &header), "client_method_ambiguous"),
        (call(&[]).header("Authorization", &header).header("Authorization", &header), "client_method_ambiguous"),
        (call(&[]).header("Authorization", &header).header("Authorization", "Bearer x"), "client_method_ambiguous"),
        (call(&[("client_id", "alice")]).header("Authorization", &header), "client_id_mismatch"),
        (call(&[]).header("Authorization", &header), "binding_required"),
    ];
    for (call, reason) in table {
        let answer = ask(&stack, &call).await;
        assert_eq!(stack.verdict(&answer).await, invalid(reason), "{call:?}");
    }
    let holder = Leaf::client("holder").self_signed();
    let call = call(&[]).header("Authorization", &header);
    let answer = stack.caller(&holder).send(&stack.mtls_authority, &call).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(token::claims(&token)["cnf"]["x5t#S256"], json!(holder.thumbprint()));
}

/// §2.3.1: "The authorization server MUST support the HTTP Basic authentication scheme for authenticating clients that were issued a client
/// password": issued by the command line, shown once, kept by `client apply` without it.
#[tokio::test]
async fn a_secret_is_made_and_shown_once() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let dir = stack.dir.path();
    let resource = stack.accounts.clone();
    let add =
        ["client", "add", "made", "--generate-secret", "client_secret_basic", "--danger-unbound-tokens", "--resource", &resource];
    let said = symbolon(dir, &add).await.ok();
    let secret = said.lines().find_map(|line| line.strip_prefix("client_secret ")).expect("the secret").to_owned();
    assert_eq!(secret.len(), 86);
    let shown = symbolon(dir, &["client", "show", "made"]).await.ok();
    assert!(!shown.contains(&secret), "{shown}");
    let works = async || {
        let started = std::time::Instant::now();
        loop {
            let answer = ask(&stack, &call(&[]).header("Authorization", &basic("made", &secret))).await;
            if answer.status == 200 || started.elapsed() > std::time::Duration::from_secs(10) {
                return answer.status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    assert_eq!(works().await, 200);
    // What is shown can be applied again: the secret stays.
    let mut document: Value = serde_json::from_str(&shown).expect("JSON");
    let said = stack.apply(std::slice::from_ref(&document)).await.ok();
    assert_eq!(said, "unchanged made\n");
    document["scope"] = json!("read");
    assert_eq!(stack.apply(std::slice::from_ref(&document)).await.ok(), "changed made\n");
    assert_eq!(works().await, 200);
    document["client_secret"] = json!("short");
    let said = stack.apply(std::slice::from_ref(&document)).await;
    assert!(said.failed().contains("`client_secret` is too short"));
    assert_eq!(works().await, 200);
}
