//! From a PostgreSQL URL to how its server is reached, and what it must prove.

use std::net::IpAddr;
use std::str::FromStr as _;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::StoreError;

/// Under which of its names the driver takes each parameter.
const MODE: [&str; 2] = ["sslmode", "ssl-mode"];
const AUTHORITY: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
/// What stands for Mozilla's public roots, in place of a file.
const PUBLIC: &str = "public";
/// What PostgreSQL's own library calls the roots of the system, which are never used here.
const SYSTEM: &str = "system";

/// How the server is reached. Over a network it proves itself unless the URL says in so many words that it need not; nothing is taken in
/// the clear for want of better, and where the URL names no authority none is asked.
///
/// The driver asks Mozilla's public roots beside a file that is named, and none of its features leaves them away: a name that no public
/// authority certifies (`db.internal`) makes the file's the only ones that count. docs/operations.md says so.
///
/// # Errors
/// [`StoreError::Url`], without the URL, which may hold a password.
pub(super) fn connect_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let refused = |problem: &str| Err(StoreError::Url(problem.to_owned()));
    let not_one = |problem: &dyn std::fmt::Display| {
        StoreError::Url(format!("not a PostgreSQL URL ({problem}): write `postgres://USER@HOST/DATABASE`"))
    };
    let mut url = Url::parse(url).map_err(|error| not_one(&error))?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let written =
        |names: &[&str]| pairs.iter().rev().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str());
    let (mode, authority) = (written(&MODE), written(&AUTHORITY));
    if authority == Some(SYSTEM) {
        return refused(
            "the system's roots are never used: `sslrootcert` names a file with the authority of the server, or `public`",
        );
    }
    if authority == Some(PUBLIC) {
        // To the driver it would be a file; where it is given none, it asks the public roots.
        let rest: Vec<_> = pairs.iter().filter(|(name, _)| !AUTHORITY.contains(&name.as_str())).collect();
        url.query_pairs_mut().clear().extend_pairs(rest);
    }
    let options = PgConnectOptions::from_str(url.as_str()).map_err(|error| not_one(&error))?;
    let options = options.application_name("symbolon").disable_statement_logging();
    let is_near = options.get_socket().is_some() || is_loopback(options.get_host());
    // The driver would take a connection in the clear where the server offers no other.
    let options = match mode {
        None if !is_near || authority.is_some() => options.ssl_mode(PgSslMode::VerifyFull),
        _ => options,
    };
    // The environment of PostgreSQL's own programs counts too.
    let has_authority = options.to_url_lossy().query_pairs().any(|(name, _)| AUTHORITY.contains(&&*name));
    match options.get_ssl_mode() {
        PgSslMode::Allow | PgSslMode::Prefer if !is_near => refused(
            "`sslmode=prefer` and `sslmode=allow` take a connection in the clear where nothing better is offered, also by somebody in \
             between: leave it out and name the server's authority with `sslrootcert`, or write `sslmode=disable` where clear is meant",
        ),
        PgSslMode::Allow | PgSslMode::Prefer | PgSslMode::Require | PgSslMode::Disable if authority.is_some() => refused(
            "`sslrootcert` names an authority that nobody asks with this `sslmode`: write `sslmode=verify-full`, or leave `sslmode` out",
        ),
        PgSslMode::VerifyCa | PgSslMode::VerifyFull if !has_authority && authority.is_none() => refused(
            "nothing says whose certificate the server must have: add `sslrootcert=FILE` with its authority's certificate, or \
             `sslrootcert=public` where Mozilla's public roots are meant (`sslmode=disable` where the connection may be in the clear)",
        ),
        _ => Ok(options),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    // A path is the directory of a socket.
    host == "localhost" || host.starts_with('/') || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> &'static str {
        match connect_options(url) {
            Ok(options) => match options.get_ssl_mode() {
                PgSslMode::Disable => "disable",
                PgSslMode::Allow => "allow",
                PgSslMode::Prefer => "prefer",
                PgSslMode::Require => "require",
                PgSslMode::VerifyCa => "verify-ca",
                PgSslMode::VerifyFull => "verify-full",
            },
            Err(StoreError::Url(problem)) => match problem.split_once(':').map(|(first, _)| first) {
                Some(text) if text.starts_with("nothing says whose") => "no authority",
                Some(text) if text.starts_with("`sslmode=prefer`") => "downgrade",
                Some(text) if text.starts_with("`sslrootcert` names") => "unasked",
                Some(text) if text.starts_with("the system's") => "system",
                _ => "another refusal",
            },
            Err(_) => "another error",
        }
    }

    #[test]
    fn a_connection_over_a_network_is_verified_unless_the_url_says_otherwise() {
        for host in ["db.example", "10.0.0.7", "[2001:db8::7]", "127.1", "localhost.example"] {
            let table = [
                ("", "no authority"),
                ("?sslrootcert=/ca.pem", "verify-full"),
                ("?ssl-ca=/ca.pem", "verify-full"),
                ("?sslrootcert=public", "verify-full"),
                ("?sslrootcert=system", "system"),
                ("?sslmode=verify-full", "no authority"),
                ("?sslmode=verify-ca", "no authority"),
                ("?sslmode=verify-ca&sslrootcert=/ca.pem", "verify-ca"),
                ("?sslmode=prefer", "downgrade"),
                ("?ssl-mode=allow", "downgrade"),
                ("?sslmode=prefer&sslrootcert=/ca.pem", "downgrade"),
                ("?sslmode=require&sslrootcert=/ca.pem", "unasked"),
                ("?sslmode=disable&sslrootcert=public", "unasked"),
                ("?sslmode=require", "require"),
                ("?sslmode=disable", "disable"),
                // Words elsewhere say nothing.
                ("?application_name=sslmode=disable", "no authority"),
                ("?options=-c%20sslmode=disable", "no authority"),
                // The last one counts, as it does to the driver.
                ("?sslmode=disable&sslmode=verify-full", "no authority"),
            ];
            for (query, expected) in table {
                let url = format!("postgres://me:sslmode=disable@{host}/state{query}");
                assert_eq!(mode(&url), expected, "{url}");
            }
        }
    }

    #[test]
    fn what_is_near_is_verified_where_an_authority_is_named() {
        for url in ["postgres://me@localhost/state", "postgres://me@127.0.0.1/state", "postgres://me@[::1]/state"] {
            assert_eq!(mode(url), "prefer", "{url}");
            assert_eq!(mode(&format!("{url}?sslrootcert=/ca.pem")), "verify-full", "{url}");
            assert_eq!(mode(&format!("{url}?sslmode=verify-full")), "no authority", "{url}");
        }
        assert_eq!(mode("postgres://me@localhost/state?host=/run/postgresql"), "prefer");
    }

    #[test]
    fn public_is_no_file_to_the_driver() {
        let options =
            connect_options("postgres://me:p%40ss@db.example/state?sslrootcert=public&sslcert=/me.pem").expect("options");
        let url = options.to_url_lossy();
        let has = |wanted: &str| url.query_pairs().any(|(name, _)| name == wanted);
        assert!(!has("sslrootcert") && has("sslcert"), "{:?}", url.query());
        assert_eq!((options.get_username(), url.password()), ("me", Some("p%40ss")));
    }
}
