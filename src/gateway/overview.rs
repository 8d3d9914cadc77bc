//! What each route requires, and which are open to whoever proves nothing: for `symbolon gateway check`.

use std::fmt::Write as _;

use super::{Gateway, JWKS_PATH, Route};
use crate::binding::Policy;
use crate::tls::CertificateMode;

impl Gateway {
    /// The overview, for people to read. Everything it says is taken from what the gateway enforces.
    pub fn overview(&self) -> String {
        let mut routes: Vec<_> = self.routes.routes().collect();
        routes.sort_by_key(|route| route.index);
        let mut text = String::new();
        for route in &routes {
            let _ = writeln!(text, "{}  https://{}", route.name, route.place);
            for (what, value) in requirements(route) {
                let _ = writeln!(text, "  {what:<11} {value}");
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
    let scope = protection.requirements.scopes.to_string();
    let list = |values: Vec<String>| if values.is_empty() { "any".to_owned() } else { values.join(", ") };
    let proof = match protection.binding {
        Policy::Strict => "of the certificate or the DPoP key that the token is bound to; of both where it is bound to both",
        Policy::Certificate => "of the certificate that the token is bound to",
        Policy::Dpop => "of the DPoP key that the token is bound to",
        Policy::Optional => "of what the token is bound to, if it is bound to anything",
        Policy::DangerOff => "none",
    };
    let certificate = match route.certificate_mode {
        None => "as its host and listener say",
        Some(CertificateMode::Bound) => "the one that a token is bound to must be good",
        Some(CertificateMode::Enforce) => "a good one from everybody",
        Some(CertificateMode::Permissive) => "any: the upstream is told what it is worth",
    };
    let certificate = match &route.anchor_set {
        None => certificate.to_owned(),
        Some(set) => format!("{certificate}; from `{set}` too"),
    };
    vec![
        ("issuer", list(protection.issuers.iter().map(|issuer| issuer.verifier.issuer().to_string()).collect())),
        ("audience", protection.requirements.audience.to_string()),
        ("scope", if scope.is_empty() { "none needed".to_owned() } else { scope }),
        ("proof", proof.to_owned()),
        ("certificate", certificate),
        ("clients", list(protection.requirements.clients.iter().map(ToString::to_string).collect())),
        ("methods", list(route.methods.iter().map(ToString::to_string).collect())),
        ("addresses", list(route.addresses.iter().map(ToString::to_string).collect())),
    ]
}
