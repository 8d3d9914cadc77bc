//! What operators do with the database: look, back up, restore, check, migrate.

use serde_json::json;

use crate::harness::command::symbolon;
use crate::harness::{Engine, Setup, Stack, postgres};

/// 1. A copy is made while the server runs and writes.
/// 2. More happens; then the database is lost.
/// 3. Restored, the deployment is the one of the copy's moment: keys, clients, revocations, tokens.
#[tokio::test]
async fn a_backup_is_restored() {
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let dir = stack.dir.path().to_owned();
    let (kept, revoked) = (stack.opaque_token(&stack.alice).await, stack.opaque_token(&stack.alice).await);
    assert_eq!(stack.revoke(&stack.alice, &revoked).await.status, 200);
    let (backup, ()) = tokio::join!(symbolon(&dir, &["db", "backup", "copy.db"]), async {
        for _ in 0..20 {
            let token = stack.opaque_token(&stack.mallory).await;
            assert_eq!(stack.revoke(&stack.mallory, &token).await.status, 200, "writers go on");
        }
    });
    backup.ok();
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(stack.path("copy.db")).expect("a copy").permissions().mode() & 0o077, 0, "its owner's alone");
    assert!(symbolon(&dir, &["db", "backup", "copy.db"]).await.failed().contains("copy.db"), "nothing is overwritten");
    symbolon(&dir, &["client", "remove", "alice"]).await.ok();
    assert!(symbolon(&dir, &["db", "restore", "copy.db"]).await.failed().contains("stop it"), "not under a running server");
    stack.server.take().expect("running").stop().await;

    let before = std::fs::read(stack.path("symbolon.db")).expect("a database");
    // Nothing that is wrong with a copy harms what is there.
    let copy = std::fs::read(stack.path("copy.db")).expect("a copy");
    std::fs::write(stack.path("cut.db"), &copy[..copy.len() / 2]).expect("written");
    std::fs::write(stack.path("other.db"), b"no database").expect("written");
    for (file, expected) in [("cut.db", "restore a backup"), ("other.db", "restore a backup"), ("absent.db", "there is no file")]
    {
        let words = symbolon(&dir, &["db", "restore", file]).await.failed();
        assert!(words.contains(expected), "{file}: {words}");
    }
    let key = std::fs::read_to_string(stack.path("seal.key")).expect("the key");
    std::fs::write(stack.path("seal.key"), key.chars().rev().collect::<String>().trim()).expect("written");
    let words = symbolon(&dir, &["db", "restore", "copy.db"]).await.failed();
    assert!(words.contains("master key") || words.contains("base64"), "{words}");
    std::fs::write(stack.path("seal.key"), key).expect("written");
    assert!(std::fs::read(stack.path("symbolon.db")).expect("a database") == before);

    let said = symbolon(&dir, &["db", "restore", "copy.db"]).await.ok();
    let aside = said.trim().rsplit_once("what was there is ").expect("its name").1.to_owned();
    assert!(std::fs::read(stack.path(&aside)).expect("kept") == before);
    assert!(symbolon(&dir, &["db", "check"]).await.ok().contains("every sealed value opens"));
    stack.start_server().await;
    assert_eq!(stack.introspect(&kept).await["active"], true, "alice is back, and her token opens");
    assert_eq!(stack.introspect(&revoked).await, json!({ "active": false }));
    stack.token(&stack.alice).await;
}

/// A damaged value is named; the rest is read.
#[tokio::test]
async fn a_check_opens_every_sealed_value() {
    use sqlx::Connection as _;
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    stack.server.take().expect("running").stop().await;
    let dir = stack.dir.path().to_owned();
    assert_eq!(symbolon(&dir, &["db", "check"]).await.ok(), "sound; every sealed value opens (5)\n");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(stack.path("symbolon.db"));
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("connected");
    sqlx::query("UPDATE signing_key SET key_id = 'another'").execute(&mut connection).await.expect("moved");
    connection.close().await.expect("closed");
    assert!(symbolon(&dir, &["db", "check"]).await.failed().contains("1 sealed values do not open, 4 do"));
}

/// A schema is made before any server starts, and a second time there is nothing to do.
#[tokio::test]
async fn a_schema_is_made_ahead_of_the_first_start() {
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.prepare("sqlite:symbolon.db".into()).await;
    let dir = stack.dir.path().to_owned();
    for part in ["symbolon.db", "symbolon.db-wal", "symbolon.db-shm"] {
        let _ = std::fs::remove_file(stack.path(part));
    }
    let status = symbolon(&dir, &["db", "status"]).await.ok();
    let known =
        status.split("this program brings it to ").nth(1).and_then(|rest| rest.lines().next()).expect("a version").to_owned();
    assert!(status.contains("schema      none yet") && !stack.path("symbolon.db").exists(), "{status}");
    assert_eq!(symbolon(&dir, &["db", "migrate"]).await.ok(), format!("schema version none -> {known}\n"));
    let status = symbolon(&dir, &["db", "status"]).await.ok();
    assert!(status.contains(&format!("schema      {known}, the newest this program knows")), "{status}");
    assert_eq!(symbolon(&dir, &["db", "migrate"]).await.ok(), format!("schema version {known} -> {known}\n"));
    stack.start_server().await;
    assert_eq!(symbolon(&dir, &["db", "status"]).await.ok(), status, "nothing was left to be done");
}

/// A database that a newer program migrated is left alone, by every command, with both versions named.
#[tokio::test]
async fn a_newer_database_is_refused() {
    use sqlx::Connection as _;
    let mut stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    stack.server.take().expect("running").stop().await;
    let dir = stack.dir.path().to_owned();
    let status = symbolon(&dir, &["db", "status"]).await.ok();
    assert!(status.contains("the newest this program knows"), "{status}");
    let known: i64 = status
        .split("schema      ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .expect("a version")
        .parse()
        .expect("a number");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(stack.path("symbolon.db"));
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("connected");
    let statement = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT version + 1, 'later', success, checksum, execution_time FROM _sqlx_migrations ORDER BY version DESC LIMIT 1";
    sqlx::query(statement).execute(&mut connection).await.expect("written");
    connection.close().await.expect("closed");
    for arguments in [
        &["db", "status"] as &[&str],
        &["db", "migrate"],
        &["db", "check"],
        &["client", "list"],
        &["keys", "list-seal"],
        &["serve"],
    ] {
        let words = symbolon(&dir, arguments).await.failed();
        assert!(
            words.contains(&format!("version {}", known + 1)) && words.contains(&format!("up to {known}")),
            "{arguments:?}: {words}"
        );
    }
}

/// Ten processes make one deployment: one schema, one ring.
async fn ten_processes_start_at_once(engine: Engine) {
    let store = match engine {
        Engine::Sqlite => "sqlite:fresh.db".to_owned(),
        Engine::Postgres => match postgres::database().await {
            Some(url) => url,
            None => return,
        },
    };
    let stack: Stack = Setup { without_gateway: true, ..Setup::default() }.prepare("sqlite:unused.db".to_owned()).await;
    let text = std::fs::read_to_string(stack.server_config()).expect("a configuration");
    std::fs::write(stack.path("fresh.toml"), text.replace("sqlite:unused.db", &store)).expect("written");
    let commands = (0..10).map(|_| symbolon(stack.dir.path(), &["keys", "list-seal", "--json", "--config", "fresh.toml"]));
    let said: Vec<String> = futures_util::future::join_all(commands).await.into_iter().map(|said| said.ok()).collect();
    assert!(said.iter().all(|list| *list == said[0]), "{said:?}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said[0]).expect("JSON").as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn ten_processes_start_at_once_on_sqlite() {
    ten_processes_start_at_once(Engine::Sqlite).await;
}

#[tokio::test]
async fn ten_processes_start_at_once_on_postgres() {
    ten_processes_start_at_once(Engine::Postgres).await;
}
