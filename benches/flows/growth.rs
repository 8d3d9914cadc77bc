//! The same flows in a deployment of a hundred thousand clients, a thousand routes and a revocation list of a million entries, beside the
//! small one: what was measured in one round for both.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::json;

/// How large a deployment is, beside what is measured in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Registered clients that ask for nothing.
    pub clients: u32,
    /// Routes of the gateway in front of the one that is asked for.
    pub routes: u32,
    /// Certificates that the authority has revoked.
    pub revoked: u32,
}

/// What a large one has.
pub const LARGE: Size = Size { clients: 100_000, routes: 1_000, revoked: 1_000_000 };

/// Registrations in one file.
const IN_A_FILE: u32 = 20_000;

/// What every client of a large deployment is registered with.
pub fn registrations(size: Size, resource: &str) -> impl Iterator<Item = serde_json::Value> {
    let resource = resource.to_owned();
    let starts = (0..size.clients).step_by(IN_A_FILE as usize);
    starts.map(move |start| {
        let some = start..size.clients.min(start + IN_A_FILE);
        let one = |number: u32| {
            json!({
                "client_id": format!("service-{number}"),
                "token_endpoint_auth_method": "tls_client_auth",
                "tls_client_auth_subject_dn": format!("CN=service-{number},O=Example"),
                "scope": "read",
                "resources": [resource],
            })
        };
        some.map(one).collect()
    })
}

/// The lines of a gateway's configuration for routes that nobody asks for.
pub fn routes(size: Size, host: &str, upstream: &str, audience: &str) -> String {
    (0..size.routes).fold(String::new(), |mut text, number| {
        let _ = write!(
            text,
            r#"
[[route]]
name = "other-{number}"
host = "{host}"
path = "/other/{number}"
upstream = "http://{upstream}"
authorization_server = "bench"
audience = "{audience}"
token = "jwt"
proof_of_possession = "strict"
"#
        );
        text
    })
}

/// Has OpenSSL write the authority's revocation list. Its serial numbers are as long as real ones, and in no order.
pub fn revocation_list(size: Size, dir: &Path) -> anyhow::Result<()> {
    let mut index = String::new();
    for number in 1..=u64::from(size.revoked) {
        let serial = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 63 | u128::from(number);
        let _ = writeln!(index, "R\t361231235959Z\t260101000000Z\t{serial:032X}\tunknown\t/CN=revoked");
    }
    std::fs::write(dir.join("index.txt"), index)?;
    std::fs::write(dir.join("crlnumber"), "01\n")?;
    std::fs::write(
        dir.join("openssl.cnf"),
        "[ca]\ndefault_ca = here\n[here]\ndatabase = index.txt\ncrlnumber = crlnumber\ndefault_md = sha256\ndefault_crl_days = 30\ncrl_extensions = ext\n\
         [ext]\nauthorityKeyIdentifier = keyid:always\n",
    )?;
    let arguments = ["ca", "-config", "openssl.cnf", "-gencrl", "-keyfile", "ca-key.pem", "-cert", "ca.pem", "-out", "ca.crl"];
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().context("openssl")?;
    ensure!(output.status.success(), "openssl ca -gencrl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
