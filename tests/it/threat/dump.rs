//! A copy of everything the deployment leaves on disk opens no door: database, its log, audit trails and logs are searched for every
//! token, code, cookie, password, key and personal datum that went over the wire. What that is, the callers of the harness collect by
//! themselves (`harness/wire.rs`), and every other deployment of a test is searched for what went over its wire when it ends.

use std::path::Path;

use base64::Engine as _;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use symbolon::app::open_store;
use symbolon::config::load;
use symbolon::domain::SystemClock;
use symbolon::jose::random::SystemRandomness;

use super::passed;
use crate::harness::browser::Browser;
use crate::harness::command::{symbolon, symbolon_told};
use crate::harness::passkey::{Passkey, ask as passkey_ask};
use crate::harness::search::Search;
use crate::harness::totp::{Authenticator, first_factor, second_factor};
use crate::harness::{App, Call, Engine, Prover, Setup, Stack};
use crate::spec::rfc8628::{ask, decide, television};

/// What a thief of the disk has: each part with its name.
async fn dumped(stack: &Stack) -> Vec<(String, Vec<u8>)> {
    let mut parts = stack.left_on_disk();
    let url = load(&stack.server_config(), []).expect("a configuration").settings.store.url;
    if url.starts_with("postgres") {
        parts.extend(tables(&url).await);
        if let Some((_, directory)) = url.split_once("?host=") {
            files(&url, Path::new(directory), &mut parts).await;
        }
    }
    parts
}

/// Every table of a PostgreSQL database, as its own text; bytes are in hex there.
async fn tables(url: &str) -> Vec<(String, Vec<u8>)> {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connected");
    let statement =
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let names: Vec<(String,)> = sqlx::query_as(statement).fetch_all(&mut connection).await.expect("tables");
    assert!(names.iter().any(|(name,)| name.contains("person_key")) && names.len() > 5, "{names:?}");
    let mut parts = Vec::new();
    for (name,) in names {
        let rows: Vec<(String,)> = sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT CAST(t AS TEXT) FROM {name} t")))
            .fetch_all(&mut connection)
            .await
            .expect("rows");
        let text = rows.into_iter().map(|(row,)| row).collect::<Vec<_>>().join("\n");
        parts.push((format!("table {name}"), text.into_bytes()));
    }
    parts
}

/// From the next connection on, a throw-away server logs every statement of this database, with what it was given.
async fn log_statements(stack: &Stack) {
    use sqlx::Connection as _;
    let url = stack.fill("{store}");
    if !url.contains("?host=") {
        return;
    }
    let mut connection = sqlx::PgConnection::connect(&url).await.expect("connected");
    let (name,): (String,) =
        sqlx::query_as("SELECT CAST(current_database() AS TEXT)").fetch_one(&mut connection).await.expect("a name");
    for setting in ["log_statement = 'all'", "log_min_messages = 'info'"] {
        let statement = sqlx::AssertSqlSafe(format!("ALTER DATABASE \"{name}\" SET {setting}"));
        sqlx::query(statement).execute(&mut connection).await.expect("set");
    }
}

/// The files of a throw-away server: those of the database, its write-ahead log, and what the server logged.
async fn files(url: &str, directory: &Path, parts: &mut Vec<(String, Vec<u8>)>) {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connected");
    sqlx::query("CHECKPOINT").execute(&mut connection).await.expect("everything is written");
    let (database,): (i64,) = sqlx::query_as("SELECT CAST(oid AS BIGINT) FROM pg_database WHERE datname = current_database()")
        .fetch_one(&mut connection)
        .await
        .expect("a database");
    let data = directory.join("data");
    for (name, folder, at_least) in [
        ("heap", data.join(format!("base/{database}")), 100),
        ("pg_wal", data.join("pg_wal"), 1),
        ("log", directory.to_owned(), 1),
    ] {
        let before = parts.len();
        for file in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
            let path = file.path();
            if !std::fs::metadata(&path).is_ok_and(|found| found.is_file()) {
                continue;
            }
            // A segment may be renamed while it is looked for.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            // Segments are made in full size, and what was not written is zero.
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            parts.push((format!("{name}/{}", file.file_name().to_string_lossy()), bytes[..end].to_vec()));
        }
        if name == "log" {
            let text = parts[before..].iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect::<String>();
            assert!(text.contains("INSERT INTO") && text.contains("$1 = "), "the server logs what it is told: {text}");
        }
        let read: usize = parts[before..].iter().filter(|(_, bytes)| !bytes.is_empty()).count();
        assert!(read >= at_least, "{read} files of {}", folder.display());
    }
}

/// The private keys that the deployment made for itself, and those it was given.
async fn note_private_keys(stack: &Stack) {
    let wire = &stack.wire;
    for identity in [&stack.alice, &stack.mallory, &stack.gateway_identity] {
        let PrivateKeyDer::Pkcs8(key) = identity.key() else { panic!("PKCS #8") };
        note_pkcs8(stack, &identity.name, key.secret_pkcs8_der());
        for line in identity.key_pem.lines().filter(|line| !line.starts_with('-')) {
            wire.note("a line of a private key", line);
        }
    }
    let master = std::fs::read_to_string(stack.path("seal.key")).expect("the master key");
    wire.note("master key", master.trim());
    wire.note("master key", base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(master.trim()).expect("base64url"));
    let loaded = load(&stack.server_config(), []).expect("a configuration");
    let store = open_store(&loaded, &SystemClock::new(), &SystemRandomness).await.expect("opens");
    let keys = store.signing_keys().await.expect("keys");
    assert!(!keys.is_empty());
    for key in keys {
        note_pkcs8(stack, "signing key", &key.private_pkcs8);
    }
    store.close().await;
}

fn note_pkcs8(stack: &Stack, name: &str, pkcs8: &[u8]) {
    stack.wire.note(&format!("private key {name}"), pkcs8);
    // The private number of a key on P-256: an OCTET STRING of 32 bytes after the version of RFC 5915.
    if let Some(at) = pkcs8.windows(5).position(|window| window == [0x02, 0x01, 0x01, 0x04, 0x20]) {
        stack.wire.note(&format!("private number of {name}"), &pkcs8[at + 5..at + 37]);
        return;
    }
    // RFC 8017 Appendix A.1.2: the public numbers are the first quarter, the private exponent ends before the half, then comes a prime.
    assert!(pkcs8.len() > 1_000, "a key of RSA");
    for at in [pkcs8.len() * 35 / 100, pkcs8.len() * 52 / 100] {
        stack.wire.note(&format!("private numbers of {name}"), &pkcs8[at..at + 32]);
    }
}

/// Journeys through everything there is, then the search. The same search finds what is planted, in the same run.
async fn a_dump_opens_no_door(engine: Engine) {
    let setup = Setup {
        engine,
        server: "[log]\nfilter = \"debug\"\n[registration]\nmode = \"open\"\n".into(),
        gateway: "[log]\nfilter = \"debug\"\n".into(),
        clients: vec![
            App::metadata("app", json!({ "tls_client_auth_subject_dn": "CN=alice" })),
            television("television", json!({ "tls_client_auth_subject_dn": "CN=alice" })),
            json!({
                "client_id": "prover", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=alice",
                "scope": "read", "resources": ["{accounts}"], "dpop_bound_access_tokens": true,
            }),
        ],
        ..Setup::default()
    };
    let Some(mut stack) = setup.try_start().await else { return };
    log_statements(&stack).await;
    journeys(&stack).await;
    person(&stack).await;
    authorization(&stack).await;
    // Rows are resealed: neither the old nor the new value may give anything away.
    symbolon(stack.dir.path(), &["keys", "rotate-seal"]).await.ok();
    let gone = [stack.token(&stack.mallory).await, stack.opaque_token(&stack.mallory).await];
    for token in &gone {
        assert_eq!(stack.revoke(&stack.mallory, token).await.status, 200);
    }
    stack.server.take().expect("running").kill().await;
    stack.start_server().await;
    journeys(&stack).await;
    authorization(&stack).await;
    symbolon(stack.dir.path(), &["client", "remove", "mallory"]).await.ok();
    note_private_keys(&stack).await;
    for received in stack.upstream.requests() {
        stack.wire.headers(&received.headers);
    }

    // What is sealed was made on the way, so that there was something to find. (Columns that come later are searched for by the tests of
    // their own features, and each in src/store/tests/trials.rs.)
    let filled = stack.sealed_columns().await.into_iter().filter(|(_, values)| *values > 0).count();
    assert!(filled >= 16, "journeys leave something in {filled} sealed columns alone");
    let secrets = stack.wire.secrets();
    for kind in [
        "password",
        "username",
        "cookie",
        "access_token",
        "signature of access_token",
        "refresh_token",
        "code",
        "request_uri",
        "interaction",
        "client_secret",
        "registration_access_token",
        "private key signing key",
        "master key",
    ] {
        assert!(secrets.iter().any(|(name, _)| name == kind), "no {kind} went over the wire");
    }
    let search = Search::new(&secrets);
    let parts = dumped(&stack).await;
    let bytes: usize = parts.iter().map(|(_, part)| part.len()).sum();
    assert!(parts.len() >= 5 && bytes > 50_000, "{} parts, {bytes} bytes", parts.len());
    if engine == Engine::Sqlite {
        let log = parts.iter().find(|(name, _)| name == "symbolon.db-wal");
        assert!(log.is_some_and(|(_, bytes)| !bytes.is_empty()), "the write-ahead log is among what is searched");
    }
    for (name, part) in &parts {
        let found = search.find(part);
        assert!(found.is_empty(), "{name}: {found:?}");
    }
    for (name, secret) in &secrets {
        let planted = [parts[0].1.as_slice(), secret].concat();
        assert!(!search.find(&planted).is_empty(), "{name} would not be found");
    }
}

/// A person is made by the command line, signs in and out, and gets a password wrong.
async fn person(stack: &Stack) {
    let personal = [
        ("--email", "alice.liddell@wonderland.example"),
        ("--name", "Alice Pleasance Liddell"),
        ("--group", "croquet-players-of-the-queen"),
    ];
    let mut arguments = vec!["user", "add", "alice-of-wonderland", "--password-stdin"];
    for (option, value) in personal {
        arguments.extend([option, value]);
        stack.wire.note(option, value);
    }
    symbolon_told(stack.dir.path(), &arguments, "lantern-orbit-velvet-fjord\n").await.ok();
    let mut browser = Browser::new(stack);
    assert_eq!(browser.sign_in("alice-of-wonderland", "not her password at all").await.status, 422);
    assert_eq!(browser.sign_in("alice-of-wonderland", "lantern-orbit-velvet-fjord").await.status, 303);
    assert!(browser.account().await.text().contains(personal[0].1));
    // A second time in the same browser, so that the cookie is sent in many ways.
    assert!(browser.is_signed_in().await);
    // Somebody with a second factor, who uses one of the codes for when it is lost.
    symbolon_told(stack.dir.path(), &["user", "add", "the-duchess", "--password-stdin"], "pepper-kitchen-baby-pig\n").await.ok();
    let mut browser = Browser::new(stack);
    assert_eq!(browser.sign_in("the-duchess", "pepper-kitchen-baby-pig").await.status, 303);
    let (_, codes) = Authenticator::set_up(&mut browser, "pepper-kitchen-baby-pig").await;
    for code in &codes {
        stack.wire.note("recovery code", code);
    }
    // And a passkey, whose id and public key would lead to the authenticator.
    let mut passkey = Passkey::registered(&stack.fill("{issuer}"), &mut browser, "the cook's pepper mill").await;
    assert_eq!(passkey.sign_in(&mut Browser::new(stack), "/sign-in").await.status, 303);
    passkey_ask(&mut Browser::new(stack), "/sign-in").await;
    stack.wire.note("passkey's id", &passkey.id);
    stack.wire.note("passkey's user", passkey.handle.as_ref().expect("one"));
    stack.wire.note("passkey's public key", &passkey.public_point()[1..33]);
    stack.wire.note("passkey's name", "the cook's pepper mill");
    let mut browser = Browser::new(stack);
    let page = first_factor(&mut browser, "the-duchess", "pepper-kitchen-baby-pig").await;
    assert_eq!(second_factor(&mut browser, &page, &codes[0]).await.status, 303);
}

/// The person allows an application, which uses what it gets; a pushed request, a half-finished authorization, and clients with secrets
/// are left behind.
async fn authorization(stack: &Stack) {
    let mut browser = Browser::new(stack);
    assert_eq!(browser.sign_in("alice-of-wonderland", "lantern-orbit-velvet-fjord").await.status, 303);
    let mut app = App::alice(stack);
    app.identity.name = "app".into();
    app.redirect_uri = "https://app.example/cb".into();
    let scope = ("scope", "openid profile email groups offline_access read");
    for _ in 0..2 {
        let tokens = app.tokens(stack, &mut browser, &[scope]).await;
        let token = |name: &str| tokens[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
        let userinfo = Call::get("/userinfo").bearer(&token("access_token"));
        let told = stack.caller(&stack.alice).send(&stack.mtls_authority, &userinfo).await;
        assert!(told.status == 200 && told.text().contains("alice.liddell@wonderland.example"), "{}", told.text());
        assert_eq!(app.refresh(stack, &token("refresh_token")).await.status, 200);
    }
    // A device that the person connects, and that has not come for its tokens.
    let mut device = stack.alice.clone();
    device.name = "television".into();
    let begun = ask(stack, &device, &[scope]).await.json();
    stack.wire.note("device code", begun["device_code"].as_str().expect("a code"));
    assert!(decide(&mut browser, begun["user_code"].as_str().expect("a code"), "allow").await.status < 400);
    let mut prover = stack.alice.clone();
    prover.name = "prover".into();
    stack.dpop_token(&prover, &Prover::new(), &stack.accounts).await;
    let request = app.request(&[scope]);
    let request: Vec<(&str, &str)> = request.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(stack.post(&stack.alice, "/par", &request).await.status, 201);
    let asked = Browser::new(stack).get(&app.url(&[])).await;
    let location = asked.header("location").expect("to the sign-in").to_owned();
    let (_, interaction) = location.split_once("interaction=").expect("an interaction");
    stack.wire.note("interaction", interaction);

    let metadata = json!({ "redirect_uris": ["https://another.example/cb"] }).to_string();
    let register = Call::new("POST", "/register").header("Content-Type", "application/json").body(metadata);
    let registered = stack.nobody().send(&stack.issuer_authority, &register).await;
    assert_eq!(registered.status, 201, "{}", registered.text());
    let client = registered.json();
    let text = |name: &str| client[name].as_str().unwrap_or_else(|| panic!("no {name}: {client}")).to_owned();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", text("client_id"), text("client_secret")));
    let form = [("grant_type", "authorization_code"), ("code", "none-such-code"), ("redirect_uri", "https://another.example/cb")];
    let spend = Call::form("/token", &form).header("Authorization", &format!("Basic {basic}"));
    assert_eq!(stack.nobody().send(&stack.issuer_authority, &spend).await.error(), "invalid_grant");
}

async fn journeys(stack: &Stack) {
    for _ in 0..3 {
        let (jwt, opaque) = (stack.token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
        for token in [&jwt, &opaque] {
            assert_eq!(stack.introspect(token).await["active"], true);
        }
        for (target, token) in [("/accounts", &jwt), ("/reports", &opaque)] {
            let get = Call::get(target).bearer(token);
            let answer = stack.caller(&stack.alice).send(&stack.gateway_authority, &get).await;
            assert_eq!(answer.status, 200);
            for received in stack.upstream.requests() {
                stack.wire.headers(&received.headers);
            }
            passed(stack, &answer, target);
            let answer = stack.caller(&stack.mallory).send(&stack.gateway_authority, &get).await;
            assert_eq!(answer.status, 401, "a refusal leaves traces too");
        }
        // Where it does not belong.
        let answer = stack.nobody().send(&stack.public_authority, &Call::get("/accounts").bearer(&jwt)).await;
        assert_eq!(answer.status, 401);
        let answer = stack.post(&stack.mallory, "/revoke", &[("token", &jwt), ("client_id", "mallory")]).await;
        assert_eq!(answer.status, 400);
        for token in [&jwt, &opaque] {
            assert_eq!(stack.revoke(&stack.alice, token).await.status, 200);
            assert_eq!(stack.introspect(token).await["active"], false);
        }
    }
}

#[tokio::test]
async fn a_dump_opens_no_door_on_sqlite() {
    a_dump_opens_no_door(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_dump_opens_no_door_on_postgres() {
    a_dump_opens_no_door(Engine::Postgres).await;
}
