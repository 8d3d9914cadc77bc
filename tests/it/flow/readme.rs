//! The README's own commands, pasted into a shell.

use std::path::Path;

use crate::harness::{command, ports, process::BINARY};

/// The first `sh` block under a heading.
fn block<'a>(readme: &'a str, heading: &str) -> &'a str {
    let section = readme.split_once(heading).expect("the heading").1;
    section.split_once("```sh\n").expect("a block").1.split_once("```").expect("its end").0
}

/// "Run it", from an empty directory to a bound token.
#[tokio::test]
async fn the_commands_under_run_it_end_with_a_bound_token() {
    let readme = include_str!("../../../README.md");
    let dir = tempfile::tempdir().expect("a directory");
    let port = ports::free().to_string();
    // Only the port differs from what is printed, and the server is waited for and stopped.
    let commands = block(readme, "## Run it").replace("8443", &port);
    assert!(commands.contains("symbolon serve &\n"), "the block starts the server");
    let wait = "symbolon serve >serve.log 2>&1 & server=$!\ntrap 'kill $server' EXIT\nuntil symbolon status 2>/dev/null; do kill -0 $server && sleep 0.02; done\n";
    let script = format!("set -eu\n{}", commands.replace("symbolon serve &\n", wait).replace("curl ", "curl -s "));
    std::fs::write(dir.path().join("run.sh"), script).expect("written");
    let bin = Path::new(BINARY).parent().expect("a directory");
    let path = format!("PATH={}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
    let said = command::run(dir.path(), "env", &[&path, "sh", "run.sh"]).await;
    let last = said.clone().ok();
    let answer = last.lines().last().expect("an answer");
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!(answer["token_type"], "Bearer", "{answer}");
    let payload = answer["access_token"].as_str().and_then(|token| token.split('.').nth(1)).expect("a JWT");
    let claims = symbolon::jose::base64url::decode(payload).expect("base64url");
    let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
    let shown = command::symbolon(dir.path(), &["cert", "show", "pki/alice.pem"]).await.ok();
    let thumbprint = claims["cnf"]["x5t#S256"].as_str().expect("bound");
    assert!(shown.lines().any(|line| line.starts_with("x5t#S256") && line.ends_with(thumbprint)), "{shown}");
}

/// The first screen has the two commands that CI runs, spelled as CI spells them.
#[test]
fn ci_runs_the_two_commands_of_the_first_screen() {
    let readme = include_str!("../../../README.md");
    let ci = include_str!("../../../.ci/run");
    let screen: String = readme.lines().take(30).collect::<Vec<_>>().join("\n");
    assert!(screen.contains("```sh\ncargo run --release -- demo\n```"));
    assert!(screen.contains("```sh\ncargo test\n```"));
    assert!(ci.lines().any(|line| line.starts_with("cargo run --locked --release -- demo --once")));
    assert!(ci.lines().any(|line| line.ends_with("cargo test --locked")));
}
