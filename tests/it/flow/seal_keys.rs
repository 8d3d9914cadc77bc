//! The life of the keys that seal state: rotated under load, resealed through any end of the process, master keys changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use symbolon::app::{Question, ask, open_store};
use symbolon::config::load;
use symbolon::domain::{Clock as _, Lifetime, SystemClock, Timestamp};
use symbolon::jose::Algorithm;
use symbolon::jose::random::SystemRandomness;
use symbolon::jose::sign::SigningKey;
use symbolon::store::{ACTIVATION_DELAY, SigningKeyRecord, SigningKeyState, Store};

use crate::harness::authority::write_private;
use crate::harness::command::symbolon;
use crate::harness::process::Process;
use crate::harness::{Call, Engine, Setup, Stack, ports};

const WAIT: Duration = Duration::from_secs(30);

async fn sealing(config: &Path) -> Value {
    let loaded = load(config, []).expect("a configuration");
    ask(&loaded, &Question::Status).await.expect("ready")["sealing"].clone()
}

/// Waits until the process says of its ring what is wanted.
async fn until(config: &Path, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let status = sealing(config).await;
        if is_so(&status) {
            return status;
        }
        assert!(started.elapsed() < WAIT, "{what}: {status:#}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn listed(stack: &Stack) -> Vec<Value> {
    let text = symbolon(stack.dir.path(), &["keys", "list-seal", "--json"]).await.ok();
    serde_json::from_str(&text).expect("JSON")
}

/// Another server of the same deployment: its configuration and its mutual-TLS host.
async fn replica(stack: &Stack) -> (PathBuf, String, Process) {
    let port = |authority: &str| authority.rsplit_once(':').expect("a port").1.to_owned();
    let (issuer_port, mtls_port) = (ports::free(), ports::free());
    let text = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    let changed = text
        .replace(
            &format!("address = \"127.0.0.1:{}\"", port(&stack.issuer_authority)),
            &format!("address = \"127.0.0.1:{issuer_port}\""),
        )
        .replace(
            &format!("address = \"127.0.0.1:{}\"", port(&stack.mtls_authority)),
            &format!("address = \"127.0.0.1:{mtls_port}\""),
        )
        .replace("server-audit.jsonl", "replica-audit.jsonl");
    let config = stack.path("replica.toml");
    std::fs::write(&config, changed).expect("written");
    let process = Process::start("serve", &config).await;
    (config, format!("127.0.0.1:{mtls_port}"), process)
}

/// 1. Two servers on one database; tokens sealed before.
/// 2. `symbolon keys rotate-seal`: both know the key within a second, and seal with it after the delay.
/// 3. All the while each opens what the other seals, old and new.
/// 4. What the old key sealed is resealed; `symbolon keys list` and the audit trail tell.
async fn a_key_is_rotated_under_two_servers(engine: Engine) {
    let setup = Setup { engine, without_gateway: true, ..Setup::default() };
    let Some(stack) = setup.try_start().await else { return };
    let (replica_config, replica_authority, _replica) = replica(&stack).await;
    let configs = [stack.server_config(), replica_config];
    let authorities = [stack.mtls_authority.clone(), replica_authority];
    let old = sealing(&configs[0]).await["active"].clone();
    assert_eq!(sealing(&configs[1]).await["active"], old);

    let issue = async |authority: &str| {
        let form = [("grant_type", "client_credentials"), ("client_id", "alice"), ("resource", stack.reports.as_str())];
        let answer = stack.caller(&stack.alice).send(authority, &Call::form("/token", &form)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    };
    let is_active = async |authority: &str, token: &str| {
        let form = [("token", token), ("client_id", "gateway")];
        let answer = stack.caller(&stack.gateway_identity).send(authority, &Call::form("/introspect", &form)).await;
        answer.json()["active"] == json!(true)
    };
    let mut tokens = vec![issue(&authorities[0]).await];

    let said = symbolon(stack.dir.path(), &["keys", "rotate-seal"]).await.ok();
    let started = Instant::now();
    for config in &configs {
        until(config, "known", |status| status["keys"] == json!(2)).await;
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let fresh = json!(said.split(' ').nth(2).expect("a key"));

    let mut sealed_by = std::collections::BTreeSet::new();
    loop {
        for authority in &authorities {
            let token = issue(authority).await;
            for other in &authorities {
                assert!(is_active(other, &token).await, "what one sealed, the other opens");
            }
            tokens.push(token);
        }
        let active = [sealing(&configs[0]).await["active"].clone(), sealing(&configs[1]).await["active"].clone()];
        sealed_by.extend(active.iter().map(Value::to_string));
        if active.iter().all(|key| *key == fresh) {
            break;
        }
        assert!(started.elapsed() < ACTIVATION_DELAY.as_duration() + Duration::from_secs(5), "{active:?}");
    }
    assert_eq!(sealed_by.len(), 2, "tokens were sealed before and after");
    for token in tokens.iter().chain([&issue(&authorities[1]).await]) {
        assert!(is_active(&authorities[0], token).await && is_active(&authorities[1], token).await);
    }

    for config in &configs {
        until(config, "resealed", |status| status["resealing"] == json!(false) && status["rows_behind"] == json!(0)).await;
    }
    let keys = listed(&stack).await;
    let told: Vec<_> = keys.iter().map(|key| (&key["id"], &key["state"], key["rows"].as_i64())).collect();
    assert_eq!(
        told,
        [(&old, &json!("retired"), Some(0)), (&fresh, &json!("active"), Some(2))],
        "the signing key, and what names pairwise subjects"
    );
    assert!(keys[0]["can_go"].as_i64() > keys[0]["retired"].as_i64());
    let table = symbolon(stack.dir.path(), &["keys", "list-seal"]).await.ok();
    assert!(table.contains("retired") && table.contains("from 2"), "{table}");
    let told = || [stack.events("server-audit.jsonl"), stack.events("replica-audit.jsonl")].concat();
    while !told().iter().any(|event| event["event"] == "seal_key_created" && event["seal_key"] == fresh) {
        assert!(started.elapsed() < WAIT, "no event");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_key_is_rotated_under_two_servers_on_sqlite() {
    a_key_is_rotated_under_two_servers(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_key_is_rotated_under_two_servers_on_postgres() {
    a_key_is_rotated_under_two_servers(Engine::Postgres).await;
}

async fn opened(stack: &Stack) -> (Store, Timestamp) {
    let loaded = load(&stack.server_config(), []).expect("a configuration");
    let clock = SystemClock::new();
    (open_store(&loaded, &clock, &SystemRandomness).await.expect("opens"), clock.now().expect("a time"))
}

/// Many rows to reseal: signing keys that were retired.
async fn with_many_rows(stack: &Stack, rows: usize) {
    use sqlx::Connection as _;
    let (store, now) = opened(stack).await;
    let url = load(&stack.server_config(), []).expect("a configuration").settings.store.url;
    for _ in 0..rows {
        let key = SigningKey::generate(Algorithm::ES256, &SystemRandomness).expect("a key");
        let record = SigningKeyRecord {
            key_id: key.key_id().clone(),
            algorithm: "ES256".into(),
            state: SigningKeyState::Current,
            public_jwk: Value::Object(key.public_jwk().to_members()).to_string(),
            private_pkcs8: key.to_pkcs8().expect("PKCS #8"),
            created: now,
            activated: Some(now),
            retired: None,
        };
        let retire = "UPDATE signing_key SET state = 'retired', retired = 4000000000";
        if url.starts_with("sqlite") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(stack.path("symbolon.db")).busy_timeout(WAIT);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("connected");
            sqlx::query(retire).execute(&mut connection).await.expect("retired");
        } else {
            let mut connection = sqlx::PgConnection::connect(&url).await.expect("connected");
            sqlx::query(retire).execute(&mut connection).await.expect("retired");
        }
        store.add_signing_key(&record).await.expect("added");
    }
    store.close().await;
}

/// 1. Many rows, and another key.
/// 2. The server is killed (SIGKILL) while it reseals, again and again.
/// 3. Every row is there and opens after each kill; in the end none is left under an older key.
async fn killed_while_resealing(engine: Engine) {
    const ROWS: usize = 700;
    const ROUNDS: usize = 3;
    let setup = Setup { engine, without_gateway: true, ..Setup::default() };
    let Some(mut stack) = setup.try_start().await else { return };
    stack.server.take().expect("running").stop().await;
    with_many_rows(&stack, ROWS - 1).await;
    let halves = async |stack: &Stack| {
        let (store, _) = opened(stack).await;
        let keys = store.signing_keys().await.expect("every one opens");
        let (halves, rows) = (keys.into_iter().map(|key| key.private_pkcs8).collect::<Vec<_>>(), store.sealed_rows().await);
        store.close().await;
        (halves, rows.expect("counted"))
    };
    let (before, _) = halves(&stack).await;
    assert_eq!(before.len(), ROWS);

    let mut killed_between = 0;
    for round in 0..ROUNDS {
        // Made long enough ago to seal at once.
        let (store, now) = opened(&stack).await;
        let long_ago = now.minus(Lifetime::from_seconds(ACTIVATION_DELAY.seconds() + 1));
        let key = store.rotate_seal_key(&SystemRandomness, long_ago).await.expect("rotated");
        store.close().await;
        stack.start_server().await;
        let config = stack.server_config();
        let key_id = json!(key.id.as_str());
        until(&config, "resealing", |status| {
            let behind = status["rows_behind"].as_u64().unwrap_or(u64::MAX);
            status["active"] == key_id && status["resealing"] == json!(true) && behind < (ROWS - 64 * round) as u64
        })
        .await;
        stack.server.take().expect("running").kill().await;
        let (after, rows) = halves(&stack).await;
        assert!(after == before, "round {round}: nothing lost, nothing altered");
        let moved = rows.get(&key.id).copied().unwrap_or_default();
        assert!(moved > 0, "round {round}: {rows:?}");
        killed_between += usize::from(moved < ROWS as u64);
    }
    assert!(killed_between > 0, "no kill came in the middle");
    stack.start_server().await;
    // Progress can be seen, and goes one way.
    let seen = std::cell::RefCell::new(Vec::new());
    until(&stack.server_config(), "resealed", |status| {
        seen.borrow_mut().extend(status["rows_behind"].as_u64());
        status["resealing"] == json!(false) && status["rows_behind"] == json!(0)
    })
    .await;
    let mut seen = seen.into_inner();
    seen.dedup();
    assert!(seen.len() > 3 && seen.is_sorted_by(|one, next| one > next), "{seen:?}");
    let (after, rows) = halves(&stack).await;
    assert!(after == before);
    let active = sealing(&stack.server_config()).await["active"].clone();
    // One more: what names pairwise subjects.
    assert_eq!(rows.iter().map(|(id, rows)| (json!(id.as_str()), *rows)).collect::<Vec<_>>(), [(active, ROWS as u64 + 1)]);
    stack.token(&stack.alice).await;
}

#[tokio::test]
async fn killed_while_resealing_on_sqlite() {
    killed_while_resealing(Engine::Sqlite).await;
}

#[tokio::test]
async fn killed_while_resealing_on_postgres() {
    killed_while_resealing(Engine::Postgres).await;
}

/// 1. The new master key first, the old one second: a start wraps everything by the new one.
/// 2. The old one is taken away: everything opens.
/// 3. With the old one alone, or another one, nothing starts, the key is named, and not a byte of the database changes.
#[tokio::test]
async fn a_master_key_is_changed() {
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let token = stack.opaque_token(&stack.alice).await;
    stack.server.take().expect("running").stop().await;
    let text = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    let old = "[[seal.key]]\nid = \"test\"\nfile = \"seal.key\"\n";
    let new = "[[seal.key]]\nid = \"next\"\nfile = \"next.key\"\n";
    assert!(text.contains(old));
    use base64::Engine as _;
    write_private(&stack.path("next.key"), &base64::engine::general_purpose::STANDARD.encode([0x5a; 32]));
    let config = stack.server_config();
    let configure = |keys: &str| std::fs::write(&config, text.replace(old, keys)).expect("written");

    configure(&format!("{new}{old}"));
    let said = symbolon(stack.dir.path(), &["keys", "rewrap"]).await.ok();
    assert!(
        said.contains("`next` wraps every seal key (1)") && said.contains("no longer needed") && said.contains("`test`"),
        "{said}"
    );
    stack.start_server().await;
    assert_eq!(sealing(&stack.server_config()).await["master_key"], "next");
    assert_eq!(stack.introspect(&token).await["active"], true);
    let started = Instant::now();
    while !stack.events("server-audit.jsonl").iter().any(|event| event["event"] == "seal_keys_rewrapped") {
        assert!(started.elapsed() < WAIT, "no event");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stack.server.take().expect("running").stop().await;

    configure(new);
    stack.start_server().await;
    assert_eq!(stack.introspect(&token).await["active"], true);
    stack.server.take().expect("running").stop().await;

    let before = stack.databases();
    for keys in [old.to_owned(), new.replace("next.key", "seal.key"), old.replace("id = \"test\"", "id = \"other\"")] {
        configure(&keys);
        let words = Process::try_start("serve", &stack.server_config()).await.expect_err("it refuses");
        assert!(
            words.contains("do not open deployment") && words.contains("`next`") && words.contains("nothing was written"),
            "{words}"
        );
        assert!(stack.databases() == before, "not a byte");
    }
    configure(new);
    stack.start_server().await;
    assert_eq!(stack.introspect(&token).await["active"], true);
}

/// One key from every place that a master key can come from: each opens what the file's made, and a key that opens nothing is named as such.
/// A file that others can read is refused, and nothing is written.
#[tokio::test]
async fn a_master_key_comes_from_every_source() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let token = stack.opaque_token(&stack.alice).await;
    stack.server.take().expect("running").stop().await;
    let text = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    let key = std::fs::read_to_string(stack.path("seal.key")).expect("the key");
    let credentials = stack.path("credentials");
    std::fs::create_dir(&credentials).expect("made");
    std::fs::write(credentials.join("symbolon-master"), &key).expect("written");
    let list = async |source: &str, variables: &[(&str, &str)]| {
        std::fs::write(stack.server_config(), text.replace("file = \"seal.key\"", source)).expect("written");
        let output = tokio::process::Command::new(crate::harness::process::BINARY)
            .args(["keys", "list-seal", "--json"])
            .current_dir(stack.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(variables.iter().copied())
            .output();
        crate::harness::command::Said::from(output.await.expect("it runs"))
    };
    let from_file = list("file = \"seal.key\"", &[]).await.ok();
    let directory = credentials.display().to_string();
    let (variable, credential) = ("variable = \"MASTER_KEY\"", "credential = \"symbolon-master\"");
    let command = "command = [\"sh\", \"-c\", \"cat seal.key\"]";
    for (source, variables) in [
        (variable, &[("MASTER_KEY", key.trim())][..]),
        (credential, &[("CREDENTIALS_DIRECTORY", directory.as_str())]),
        (command, &[]),
    ] {
        assert_eq!(list(source, variables).await.ok(), from_file, "{source}");
    }
    let before = stack.databases();
    let other = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [0x5a; 32]);
    for (source, variables, expected) in [
        (variable, &[("MASTER_KEY", other.as_str())][..], "do not open deployment"),
        (variable, &[], "the environment variable MASTER_KEY is not set"),
        (credential, &[], "$CREDENTIALS_DIRECTORY is not set"),
        ("command = [\"sh\", \"-c\", \"exit 3\"]", &[], "exit status: 3"),
    ] {
        let words = list(source, variables).await.failed();
        assert!(words.contains(expected), "{source}: {words}");
    }
    for mode in [0o640, 0o604, 0o620] {
        std::fs::set_permissions(stack.path("seal.key"), std::fs::Permissions::from_mode(mode)).expect("changed");
        let words = list("file = \"seal.key\"", &[]).await.failed();
        assert!(words.contains("seal.key") && words.contains("chmod 600"), "{mode:o}: {words}");
    }
    assert!(stack.databases() == before, "not a byte");
    std::fs::set_permissions(stack.path("seal.key"), std::fs::Permissions::from_mode(0o600)).expect("changed");

    // The server itself, with a command's output.
    std::fs::write(
        stack.server_config(),
        text.replace("file = \"seal.key\"", "command = [\"/bin/cat\", \"{file}\"]")
            .replace("{file}", &stack.path("seal.key").display().to_string()),
    )
    .expect("written");
    stack.start_server().await;
    assert_eq!(stack.introspect(&token).await["active"], true);
}
