//! What a newcomer is told whose machine lacks what the build needs.

use std::path::Path;

use tokio::process::Command;

use crate::harness::command::run;

/// The build script, on a machine with these programs in its PATH, says what is missing and what to do; with all of them it says nothing.
#[tokio::test]
async fn a_missing_tool_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let script = script.to_str().expect("UTF-8");
    run(dir.path(), &compiler, &["--edition", "2024", "-o", "build-script", script]).await.ok();
    let tools = dir.path().join("tools");
    std::fs::create_dir(&tools).expect("a directory");
    let told = async |features: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(dir.path().join("build-script"));
        command.env_clear().env("PATH", &tools).envs(variables.iter().copied());
        command.envs(features.iter().map(|feature| (format!("CARGO_FEATURE_{feature}"), "1")));
        let output = command.output().await.expect("it runs");
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().filter_map(|line| line.strip_prefix("cargo::error=")).map(str::to_owned).collect::<Vec<_>>()
    };
    let vendored = ["VENDORED_OPENSSL", "SERVER"];
    let remedy = "not found in PATH: needed to build OpenSSL from source; install it (Debian: `apt-get install build-essential perl`) \
                  or link the system's OpenSSL: `--no-default-features --features system-openssl`";
    assert_eq!(told(&vendored, &[]).await, [format!("perl, make, a C compiler (cc) {remedy}")]);
    // Who does not build it needs none of them.
    for features in [&["SERVER", "SYSTEM_OPENSSL"][..], &["VERIFIER"]] {
        assert_eq!(told(features, &[]).await, [""; 0], "{features:?}");
    }
    assert_eq!(told(&vendored, &[("OPENSSL_NO_VENDOR", "1")]).await, [""; 0]);
    for tool in ["make", "clang"] {
        std::fs::write(tools.join(tool), "").expect("written");
    }
    assert_eq!(told(&vendored, &[]).await, [format!("perl {remedy}")]);
    assert_eq!(told(&vendored, &[("CC", "ccache cc")]).await, [format!("perl, a C compiler (cc) {remedy}")]);
    std::fs::write(tools.join("perl"), "").expect("written");
    assert_eq!(told(&vendored, &[]).await, [""; 0]);
}
