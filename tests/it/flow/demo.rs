//! `symbolon demo`: the story that a newcomer sees first.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::harness::command::{run, symbolon};
use crate::harness::ports;
use crate::harness::process::BINARY;

/// 1. The story ends well.
/// 2. With alice's and mallory's certificates swapped it does not: it tells what it sees, not what it expects.
/// 3. Swapped back, in the same directory, it ends well again.
#[tokio::test]
async fn the_story_is_observed_and_not_recited() {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = dir.path().join("demo");
    let arguments = ["demo", "--once", "--dir", demo.to_str().expect("UTF-8")];
    let said = symbolon(dir.path(), &arguments).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "nothing but the story: {}", said.stdout);
    let told = said.stdout;
    assert!(!told.contains('\x1b'), "colours are for terminals: {told}");
    assert!(told.contains("Every step came out as told."), "{told}");
    for step in 1..=12 {
        assert!(told.contains(&format!("{step:>2}. ")), "step {step} is told: {told}");
    }
    // Neither standard output nor the trail has a token that anyone could use.
    for text in [told, std::fs::read_to_string(demo.join("symbolon-audit.jsonl")).expect("the trail")] {
        assert!(
            !text.split(|c: char| c.is_whitespace() || c == '"').any(|word| word.len() > 200 && word.matches('.').count() == 2)
        );
    }

    swap(&demo, "alice.pem", "mallory.pem");
    swap(&demo, "alice-key.pem", "mallory-key.pem");
    let said = symbolon(dir.path(), &arguments).await;
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stderr.contains("invalid_client"), "{}", said.stderr);
    assert!(!said.stdout.contains("Every step came out as told."));

    swap(&demo, "alice.pem", "mallory.pem");
    swap(&demo, "alice-key.pem", "mallory-key.pem");
    symbolon(dir.path(), &arguments).await.ok();
}

fn swap(dir: &Path, one: &str, other: &str) {
    let (one, other, between) = (dir.join(one), dir.join(other), dir.join("between"));
    std::fs::rename(&one, &between).expect("renamed");
    std::fs::rename(&other, &one).expect("renamed");
    std::fs::rename(&between, &other).expect("renamed");
}

/// While it stays up, the commands that it prints can be pasted: `demo.env` is sourced by a plain shell, alice is admitted, mallory is
/// not. Ctrl-C ends it and everything it started.
#[tokio::test]
async fn the_printed_commands_work() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = ports::row(4);
    let mut child = Command::new(BINARY)
        .args(["demo", "--dir", "demo", "--port-base", &base.to_string()])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut commands = Vec::new();
    let mut invited = false;
    let reading = async {
        while let Some(line) = lines.next_line().await.expect("a line") {
            if invited && line.starts_with("  ") {
                commands.push(line.to_owned());
                if line.contains("oauth-authorization-server") {
                    return;
                }
            }
            invited |= line.starts_with("Everything stays up until Ctrl-C");
        }
        panic!("the demonstration ended");
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it comes to its end");

    let script = format!("set -e\n{}\n", commands.join("\n"));
    let said = run(dir.path(), "sh", &["-c", &script]).await;
    let shown = said.clone().ok();
    // The upstream's words about alice, then the gateway's about mallory, then the metadata.
    assert!(shown.contains("X-Symbolon-Assertion") || shown.contains("x-symbolon-assertion"), "{shown}");
    assert!(shown.contains("\nHTTP/2 401") && shown.contains(r#"error="invalid_token""#), "{shown}");
    assert!(shown.contains("mtls_endpoint_aliases"), "{shown}");

    // The demonstration's person signs in, with what demo.env says.
    let sign_in = r#"set -e
. ./demo/demo.env
curl -s --cacert "$CA" -c jar -o page "$SIGN_IN"
CSRF=$(sed -n 's/.*name="csrf" value="\([^"]*\)".*/\1/p' page)
curl -s --cacert "$CA" -b jar -c jar --data-urlencode "csrf=$CSRF" --data-urlencode "username=$PERSON" \
  --data-urlencode "password=$PASSWORD" "$SIGN_IN"
curl -s --cacert "$CA" -b jar "$ISSUER/account"
"#;
    let page = run(dir.path(), "sh", &["-c", sign_in]).await.ok();
    assert!(page.contains("Ada Lovelace") && page.contains("this browser"), "{page}");

    everything_in_demo_env_works(dir.path()).await;

    let id = child.id().expect("running").to_string();
    run(dir.path(), "kill", &["-INT", &id]).await.ok();
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.expect("it stops").expect("a child");
    assert_eq!(status.code(), Some(0));
    for port in base..base + 4 {
        TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| panic!("port {port} is still taken: {error}"));
    }
}

/// What `demo.env` names is of the deployment that runs: a script can do with it whatever the sub-commands do.
async fn everything_in_demo_env_works(dir: &Path) {
    let script = r#"set -e
. ./demo/demo.env
token() { curl -s --cacert "$CA" --cert "$MALLORY_CERT" --key "$MALLORY_KEY" -d grant_type=client_credentials -d "client_id=$MALLORY_ID" "$MTLS_URL/token"; }
curl -s "$UPSTREAM"
echo "--- config"
"$SYMBOLON" config check "$CONFIG"
"$SYMBOLON" config check "$GATEWAY_CONFIG"
"$SYMBOLON" status --config "$CONFIG"
"$SYMBOLON" status --config "$GATEWAY_CONFIG"
"$SYMBOLON" client list --config "$CONFIG"
"$SYMBOLON" user show "$PERSON" --config "$CONFIG"
"$SYMBOLON" explain cert "$ALICE_CERT" --client "$ALICE_ID" --config "$CONFIG"
"$SYMBOLON" config print --config "$CONFIG" > /dev/null
"$SYMBOLON" client show "$ALICE_ID" --config "$CONFIG" > alice.json
"$SYMBOLON" client apply alice.json --config "$CONFIG"
"$SYMBOLON" keys list --config "$CONFIG"
"$SYMBOLON" keys list-seal --config "$CONFIG" > /dev/null
"$SYMBOLON" anchor list --config "$CONFIG" > /dev/null
"$SYMBOLON" db status --config "$CONFIG"
"$SYMBOLON" db check --config "$CONFIG"
"$SYMBOLON" reload --config "$CONFIG"
"$SYMBOLON" reload --config "$GATEWAY_CONFIG"
"$SYMBOLON" gateway check --config "$GATEWAY_CONFIG"
echo "--- metadata"
curl -s --cacert "$CA" "$MTLS_URL/.well-known/oauth-authorization-server"
echo
echo "$ISSUER"
echo "--- audience"
echo "$AUDIENCE"
echo "--- token"
token
echo
"$SYMBOLON" client remove "$MALLORY_ID" --config "$CONFIG"
sleep 1
echo "--- removed"
token
"#;
    let script = script.replace("$SYMBOLON", BINARY);
    let told = run(dir, "sh", &["-c", &script]).await.ok();
    let part =
        |from: &str| told.split(&format!("--- {from}\n")).nth(1).and_then(|rest| rest.split("\n--- ").next()).unwrap_or_default();
    assert!(told.starts_with('{') && told.contains("\"verified\": false"), "the upstream itself, with no assertion: {told}");
    let configured = part("config");
    for words in ["symbolon.toml: ok", "gateway.toml: ok", "alice", "mallory", "ada"] {
        assert!(configured.contains(words), "{words}: {told}");
    }
    for words in ["unchanged alice", "ES256", "the newest this program knows", "every sealed value opens"] {
        assert!(configured.contains(words), "{words}: {told}");
    }
    let (metadata, issuer) = part("metadata").split_once('\n').expect("two lines");
    let metadata: serde_json::Value = serde_json::from_str(metadata).expect("JSON");
    assert_eq!(metadata["issuer"].as_str(), Some(issuer), "at the host for certificates too");
    let answer: serde_json::Value = serde_json::from_str(part("token").lines().next().unwrap_or_default()).expect("an answer");
    let payload = answer["access_token"].as_str().and_then(|token| token.split('.').nth(1)).expect("a JWT");
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("claims");
    assert_eq!((claims["aud"].as_str(), claims["client_id"].as_str()), (Some(part("audience")), Some("mallory")));
    assert!(part("removed").contains("\"invalid_client\""), "in force within a second, from another process: {told}");
}

/// A port that is taken is named, with what to do about it, and nothing is started.
#[tokio::test]
async fn a_taken_port_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = ports::row(4);
    let _held = TcpListener::bind(("127.0.0.1", base + 2)).expect("bound");
    let said = symbolon(dir.path(), &["demo", "--once", "--dir", "demo", "--port-base", &base.to_string()]).await;
    assert_eq!(said.code, Some(1));
    let expected = format!(
        "error: port {} cannot be used (Address already in use (os error 98)): free it, choose another --port-base, or leave \
         --port-base away\n",
        base + 2
    );
    assert_eq!(said.stderr, expected);
    assert!(!dir.path().join("demo").exists());
}
