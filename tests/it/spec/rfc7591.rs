//! RFC 7591 §2.3: software statements.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::assertion::{Signer, now};
use crate::harness::{Answer, Call, Publisher, Setup, Stack};

const ISSUER: &str = "https://directory.example";
const CALLBACK: &str = "https://client.example.org/callback";
const CONFIGURATION: &str = "[registration]\nmode = \"open\"\nper_address_per_minute = 60000\n\n\
    [[registration.software_statement_issuer]]\nissuer = \"https://directory.example\"\njwks_file = \"directory.json\"\n";

async fn start(key: &Signer, configuration: &str) -> Stack {
    let setup = Setup { without_gateway: true, server: configuration.to_owned(), ..Setup::default() };
    let mut stack = setup.prepare_with("sqlite:symbolon.db".to_owned(), &[("directory.json", &key.jwks().to_string())]).await;
    stack.start_server().await;
    stack
}

async fn send(stack: &Stack, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
    let call = Call::new(method, path).header("Content-Type", "application/json").body(body.to_string());
    let call = match token {
        Some(token) => call.bearer(token),
        None => call,
    };
    stack.nobody().send(&stack.issuer_authority, &call).await
}

async fn register(stack: &Stack, statement: &Value) -> Answer {
    let body = json!({ "redirect_uris": [CALLBACK], "client_name": "said by the client", "software_statement": statement });
    send(stack, "POST", "/register", None, &body).await
}

fn good() -> Value {
    json!({
        "iss": ISSUER, "iat": now(), "exp": now() + 600, "software_id": "4NRB1-0XZABZI9E6-5SM3R", "client_name": "said by the directory",
        "client_uri": "https://client.example.org/",
    })
}

/// §2.3: "metadata values conveyed in the software statement MUST take precedence over those conveyed using plain JSON elements"; §3.2.1:
/// "its value MUST be returned unmodified in the response along with other metadata using the member name `software_statement`. Client
/// metadata elements used from the software statement MUST also be returned directly as top-level client metadata values". It stays so
/// when the registration is replaced (RFC 7592 §2.2).
#[tokio::test]
async fn a_statement_takes_precedence_and_stays() {
    let key = Signer::key("ES256", "1");
    let stack = start(&key, CONFIGURATION).await;
    let statement = key.sign(json!({}), &good());
    let answer = register(&stack, &json!(statement)).await;
    assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")), "{}", answer.text());
    let client = answer.json();
    assert_eq!(client["software_statement"], json!(statement));
    assert_eq!(
        (&client["client_name"], &client["software_id"]),
        (&json!("said by the directory"), &json!("4NRB1-0XZABZI9E6-5SM3R"))
    );
    assert_eq!(client["redirect_uris"], json!([CALLBACK]), "of which the statement says nothing");
    assert_eq!(client.get("iss"), None);
    let token = client["registration_access_token"].as_str().expect("one");
    let path = format!("/register/{}", client["client_id"].as_str().expect("one"));
    // Replaced with the statement, which wins again; without it, not.
    let mut next = json!({
        "client_id": client["client_id"], "redirect_uris": ["https://client.example.org/other"], "client_name": "another name",
        "software_statement": statement,
    });
    let answer = send(&stack, "PUT", &path, Some(token), &next).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!((&told["client_name"], &told["software_statement"]), (&json!("said by the directory"), &json!(statement)));
    assert_eq!(told["redirect_uris"], next["redirect_uris"]);
    next.as_object_mut().expect("an object").remove("software_statement");
    let answer = send(&stack, "PUT", &path, Some(token), &next).await;
    let refused = (400, "invalid_software_statement".to_owned(), "software_statement".to_owned());
    assert_eq!(stack.verdict(&answer).await, refused);
    let read = stack.nobody().send(&stack.issuer_authority, &Call::get(&path).bearer(token)).await.json();
    assert_eq!((&read["client_name"], &read["software_statement"]), (&json!("said by the directory"), &json!(statement)));
    // What an operator decides, no statement does.
    for (name, value) in [
        ("profile", json!("fapi2")),
        ("refresh_token_grants", json!(["urn:ietf:params:oauth:grant-type:jwt-bearer"])),
        ("refresh_token_rebinding", json!(true)),
        ("resources", json!(["https://other.example"])),
        ("client_id", json!("alice")),
    ] {
        let mut claims = good();
        claims[name] = value.clone();
        let told = register(&stack, &json!(key.sign(json!({}), &claims))).await.json();
        assert_ne!(told[name], value, "{name}");
        assert!(told["client_id"].is_string(), "{told}");
    }
    let mut claims = good();
    claims["token_endpoint_auth_method"] = json!("tls_client_auth");
    claims["tls_client_auth_subject_dn"] = json!("CN=alice");
    assert_eq!(register(&stack, &json!(key.sign(json!({}), &claims))).await.error(), "invalid_client_metadata");
}

/// §3.2.2: "invalid_software_statement: The software statement presented is invalid"; "unapproved_software_statement: The software statement
/// presented is not approved for use by this authorization server".
#[tokio::test]
async fn what_cannot_be_believed_is_refused() {
    let (key, other) = (Signer::key("ES256", "1"), Signer::key("ES256", "1"));
    let stack = start(&key, CONFIGURATION).await;
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        json!(key.sign(json!({}), &claims))
    };
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(good().to_string()));
    let mac = Signer::secret("HS256", key.public().to_string().as_bytes());
    let twice = format!(r#"{{"iss":"{ISSUER}","client_name":"one","client_name":"two"}}"#);
    let table = [
        ("another key", json!(other.sign(json!({}), &good())), "software_statement"),
        ("unsigned", json!(unsigned), "software_statement"),
        ("HMAC with a public key", json!(mac.sign(json!({}), &good())), "software_statement"),
        ("a key in the header", json!(key.sign(json!({ "jwk": other.public() }), &good())), "software_statement"),
        ("crit", json!(key.sign(json!({ "crit": ["x"], "x": 1 }), &good())), "software_statement"),
        ("another kind of JWT", json!(key.sign(json!({ "typ": "at+jwt" }), &good())), "software_statement"),
        ("a member twice", json!(key.sign_raw(r#"{"alg":"ES256","kid":"1"}"#, &twice)), "software_statement"),
        ("nonsense", json!("e30.e30.e30"), "software_statement"),
        ("no text", json!(1), "software_statement"),
        ("empty", json!(""), "software_statement"),
        ("for another server", with("aud", json!("https://other.example")), "software_statement"),
        ("expired", with("exp", json!(now() - 120)), "software_statement_date"),
        ("not yet", with("nbf", json!(now() + 600)), "software_statement_date"),
        ("a time as text", with("exp", json!("tomorrow")), "software_statement_date"),
    ];
    for (what, statement, reason) in table {
        let answer = register(&stack, &statement).await;
        let expected = (400, "invalid_software_statement".to_owned(), reason.to_owned());
        assert_eq!(stack.verdict(&answer).await, expected, "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    }
    let answer = register(&stack, &with("iss", json!("https://other.example"))).await;
    let expected = (400, "unapproved_software_statement".to_owned(), "software_statement_issuer".to_owned());
    assert_eq!(stack.verdict(&answer).await, expected);
    assert_eq!(register(&stack, &with("aud", json!([stack.fill("{issuer}")]))).await.status, 201);
    // Nobody has to have one, unless the configuration says so.
    let body = json!({ "redirect_uris": [CALLBACK] });
    assert_eq!(send(&stack, "POST", "/register", None, &body).await.status, 201);
    let required = CONFIGURATION.replace("mode = \"open\"\n", "mode = \"open\"\nrequire_software_statement = true\n");
    let stack = start(&key, &required).await;
    let answer = send(&stack, "POST", "/register", None, &body).await;
    assert_eq!(stack.verdict(&answer).await, (400, "invalid_software_statement".to_owned(), "software_statement".to_owned()));
    assert_eq!(register(&stack, &json!(key.sign(json!({}), &good()))).await.status, 201);
    // Where nobody is trusted, a statement is a member like any other that is not understood.
    let stack = start(&key, "[registration]\nmode = \"open\"\n").await;
    let told = register(&stack, &json!(key.sign(json!({}), &good()))).await.json();
    assert_eq!((told.get("software_statement"), &told["client_name"]), (None, &json!("said by the client")));
}

/// §2.3: "The means by which a client or developer obtains a software statement are outside the scope": where its issuer publishes its keys,
/// they are fetched within `[outbound]`, kept, and fetched again on a miss.
#[tokio::test]
async fn an_issuers_keys_are_fetched() {
    let (first, second) = (Signer::key("ES256", "1"), Signer::key("PS256", "2"));
    let publisher_ca = crate::harness::Authority::new("Publisher CA");
    let publisher = Publisher::start(&publisher_ca).await;
    publisher.publish(&first.jwks());
    let place = format!("jwks_uri = \"{}\"", publisher.url("/directory"));
    let configuration = CONFIGURATION.replace("jwks_file = \"directory.json\"", &place);
    let started = async |outbound: &str| {
        let setup = Setup { without_gateway: true, server: format!("{configuration}\n{outbound}"), ..Setup::default() };
        let files = [("publisher-ca.pem", publisher_ca.pem.as_str())];
        let mut stack = setup.prepare_with("sqlite:symbolon.db".to_owned(), &files).await;
        stack.start_server().await;
        stack
    };
    let unavailable = (503, "temporarily_unavailable".to_owned(), "issuer_keys_unavailable".to_owned());
    // Inside is out of reach, unless it is opened.
    for outbound in ["", "[outbound]\nca_files = [\"publisher-ca.pem\"]\n"] {
        let stack = started(outbound).await;
        let answer = register(&stack, &json!(first.sign(json!({}), &good()))).await;
        assert_eq!(stack.verdict(&answer).await, unavailable, "{outbound}");
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(publisher.connections(), 0);
    let stack = started("[outbound]\nca_files = [\"publisher-ca.pem\"]\nallow_ranges = [\"127.0.0.0/8\", \"::1/128\"]\n").await;
    for _ in 0..3 {
        let answer = register(&stack, &json!(first.sign(json!({}), &good()))).await;
        assert_eq!((answer.status, &answer.json()["client_name"]), (201, &json!("said by the directory")), "{}", answer.text());
    }
    assert_eq!(publisher.times("/directory"), 1, "known keys cost nothing");
    let refused = (400, "invalid_software_statement".to_owned(), "software_statement".to_owned());
    let answer = register(&stack, &json!(second.sign(json!({}), &good()))).await;
    assert_eq!(stack.verdict(&answer).await, refused);
    publisher.publish(&second.jwks());
    let begun = std::time::Instant::now();
    while register(&stack, &json!(second.sign(json!({}), &good()))).await.status != 201 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "the new key is not taken in");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(publisher.times("/directory"), 2);
    let answer = register(&stack, &json!(first.sign(json!({}), &good()))).await;
    assert_eq!(stack.verdict(&answer).await, refused, "the old key is gone");
    // Exactly one place for keys.
    for keys in [
        "",
        "jwks_file = \"a.json\"\njwks_uri = \"https://directory.example/jwks\"",
        "jwks_uri = \"http://directory.example/jwks\"",
    ] {
        let text = std::fs::read_to_string(stack.server_config()).expect("read").replace(&place, keys);
        std::fs::write(stack.path("other.toml"), text).expect("written");
        let said = crate::harness::command::symbolon(stack.dir.path(), &["config", "check", "other.toml"]).await.failed();
        assert!(said.contains("software_statement_issuer: `https://directory.example`"), "{said}");
    }
}
