//! Recompiles when a migration is added, and names the tools that building OpenSSL from source needs before it fails on them.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=migrations");
    if env::var_os("CARGO_FEATURE_VENDORED_OPENSSL").is_some() && env::var_os("CARGO_FEATURE_SERVER").is_some() {
        // Not PATH: a script that failed runs again anyway, and a shell's own PATH must not recompile everything.
        for variable in ["CC", "MAKE", "OPENSSL_NO_VENDOR"] {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        if env::var_os("OPENSSL_NO_VENDOR").is_none_or(|value| value == "0") {
            name_missing_tools();
        }
    }
}

/// Building OpenSSL from source (feature `vendored-openssl`) takes perl, make and a C compiler.
fn name_missing_tools() {
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|environment| environment == "msvc") {
        return; // Visual Studio's tools are found through the registry, not through PATH.
    }
    let compilers: Vec<String> = match env::var("CC").ok().filter(|compiler| !compiler.trim().is_empty()) {
        // `CC` may hold a wrapper and options: `ccache cc -m64`.
        Some(compiler) => vec![compiler.split_whitespace().next().unwrap_or_default().to_owned()],
        None => vec!["cc".into(), "gcc".into(), "clang".into()],
    };
    let make = env::var("MAKE").ok().filter(|make| !make.trim().is_empty());
    let needed = [
        ("perl", vec!["perl".to_owned()]),
        ("make", make.map_or_else(|| vec!["make".into(), "gmake".into()], |make| vec![make])),
        ("a C compiler (cc)", compilers),
    ];
    let missing: Vec<&str> =
        needed.iter().filter(|(_, names)| !names.iter().any(|name| is_in_path(name))).map(|(tool, _)| *tool).collect();
    if !missing.is_empty() {
        println!(
            "cargo::error={} not found in PATH: needed to build OpenSSL from source; install it (Debian: `apt-get install build-essential perl`) \
             or link the system's OpenSSL: `--no-default-features --features system-openssl`",
            missing.join(", ")
        );
    }
}

fn is_in_path(tool: &str) -> bool {
    if Path::new(tool).components().count() > 1 {
        return Path::new(tool).is_file();
    }
    let extension = env::consts::EXE_SUFFIX;
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(format!("{tool}{extension}")).is_file()))
}
