//! What each route requires, and which are open to whoever proves nothing: for `symbolon gateway check`.

use std::fmt::Write as _;

use super::{Gateway, JWKS_PATH, Route};
use crate::binding::Policy;

impl Gateway {
    /// The overview, for people to read. Everything it says is taken from what the gateway enforces.
    pub fn overview(&self) -> String {
        let mut routes: Vec<_> = self.routes.routes().collect();
        routes.sort_by_key(|route| route.index);
        let mut text = String::new();
        for route in &routes {
            let _ = writeln!(text, "{}  https://{}", route.name, route.place);
            for (what, value) in requirements(route) {
                let _ = writeln!(text, "  {what:<10} {value}");
            }
            text.push('\n');
        }
        text.push_str("Reachable without proof of a key:\n");
        for route in &routes {
            let by_whom = match route.protection.binding {
                Policy::Strict | Policy::Certificate | Policy::Dpop => continue,
                Policy::Optional => "whoever has an unbound token",
                Policy::DangerOff => "whoever has a token, also a stolen one",
            };
            let _ = writeln!(text, "  {}: {by_whom}", route.name);
        }
        let _ = writeln!(text, "  {JWKS_PATH} on every host: anybody (public keys alone)");
        text.push_str("Everything else: nobody (404).\n");
        text
    }
}

fn requirements(route: &Route) -> Vec<(&'static str, String)> {
    let protection = &route.protection;
    let list = |values: Vec<String>| if values.is_empty() { "any".to_owned() } else { values.join(", ") };
    let proof = match protection.binding {
        Policy::Strict => "of the certificate or the DPoP key that the token is bound to; of both where it is bound to both",
        Policy::Certificate => "of the certificate that the token is bound to",
        Policy::Dpop => "of the DPoP key that the token is bound to",
        Policy::Optional => "of what the token is bound to, if it is bound to anything",
        Policy::DangerOff => "none",
    };
    vec![
        ("issuer", protection.verifier.issuer().to_string()),
        ("audience", protection.requirements.audience.to_string()),
        ("scope", list(protection.requirements.scopes.tokens().map(str::to_owned).collect())),
        ("proof", proof.to_owned()),
        ("clients", list(protection.requirements.clients.iter().map(ToString::to_string).collect())),
        ("methods", list(route.methods.iter().map(ToString::to_string).collect())),
        ("addresses", list(route.addresses.iter().map(ToString::to_string).collect())),
    ]
}
