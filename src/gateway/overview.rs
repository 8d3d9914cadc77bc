//! What each route requires, and which are open to whoever proves nothing: for `symbolon gateway check`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::assertion::Style;
use super::certificate_rule::CertificateRules;
use super::limits::PerCaller;
use super::session::{CertificateRule, PATH};
use super::tcp::{TcpRoute, TcpUpstream};
use super::{Gateway, JWKS_PATH, POMERIUM_JWKS_PATH, Route};
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
        for route in self.tcp_routes.values() {
            text.push_str(&of_tcp_route(route));
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
        for (route, sessions) in routes.iter().filter_map(|route| Some((route, route.sessions.as_ref()?))) {
            if sessions.certificate_rule() == CertificateRule::Optional {
                let _ = writeln!(
                    text,
                    "  {}: whoever has the cookie of a session of `{}` that was opened without a certificate",
                    route.name,
                    sessions.name()
                );
            }
        }
        if routes.iter().any(|route| route.sessions.is_some()) {
            let _ = writeln!(text, "  {PATH} on hosts with sessions: anybody (sign-in and sign-out)");
        }
        let mut moved: Vec<_> = self.redirects.routes().map(|redirect| redirect.place.as_str()).collect();
        moved.sort_unstable();
        for place in moved {
            let _ = writeln!(text, "  https://{place}: anybody (is told where it has moved)");
        }
        for (route, cors) in routes.iter().filter_map(|route| Some((route, route.answer_rules.cors.as_ref()?))) {
            let origins: Vec<_> = cors.origins.iter().filter_map(|origin| origin.to_str().ok()).collect();
            let _ = writeln!(text, "  {}: pages of {} (are told what they may send)", route.name, origins.join(", "));
        }
        for url in routes.iter().filter_map(|route| route.protection.resource_metadata.as_deref()).collect::<BTreeSet<_>>() {
            let _ = writeln!(text, "  {url}: anybody (what the resource asks for)");
        }
        if self.asserter.style() == Style::Pomerium {
            let _ = writeln!(text, "  {POMERIUM_JWKS_PATH} on every host: anybody (public keys alone)");
        }
        for line in &self.passed_on {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "  {JWKS_PATH} on every host: anybody (public keys alone)");
        text.push_str("Everything else: nobody (404).\n");
        text
    }
}

fn requirements(route: &Route) -> Vec<(&'static str, String)> {
    let protection = &route.protection;
    let asked = &protection.requirements;
    let scope = match (asked.scopes.to_string(), asked.any_scopes.tokens().collect::<Vec<_>>().join(" or ")) {
        (all, any) if all.is_empty() && any.is_empty() => "none needed".to_owned(),
        (all, any) if any.is_empty() => all,
        (all, any) if all.is_empty() => any,
        (all, any) => format!("{all}, and {any}"),
    };
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
    let mut lines = vec![
        ("issuer", list(protection.issuers.iter().map(|issuer| issuer.verifier.issuer().to_string()).collect())),
        (
            "audience",
            std::iter::once(&asked.audience)
                .chain(&asked.more_audiences)
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" or "),
        ),
        ("scope", scope),
        ("proof", proof.to_owned()),
        ("certificate", certificate),
        ("clients", list(protection.requirements.clients.iter().map(ToString::to_string).collect())),
        ("methods", list(route.methods.iter().map(ToString::to_string).collect())),
        ("addresses", list(route.addresses.iter().map(ToString::to_string).collect())),
    ];
    if let Some(sessions) = &route.sessions {
        let bound = match sessions.certificate_rule() {
            CertificateRule::Optional => "to the certificate that one was opened with, if there was one",
            CertificateRule::Required => "to the certificate that each was opened with",
        };
        lines.push(("sessions", format!("`{}`, bound {bound}", sessions.name())));
    }
    if !route.conditions.methods.is_empty() {
        let names: Vec<_> = route.conditions.methods.iter().map(ToString::to_string).collect();
        lines.push(("for", names.join(", ")));
    }
    for (name, value) in &route.conditions.headers {
        lines.push(("for", format!("{name}: {value}")));
    }
    if route.upstreams.members().next().is_none() {
        lines.push(("upstreams", "none: proxies in front ask about it (`forward_auth`)".to_owned()));
    }
    if route.upstreams.members().nth(1).is_some() {
        let members = route.upstreams.members();
        lines.push((
            "upstreams",
            members.map(|(one, weight)| format!("{} ({weight})", one.authority())).collect::<Vec<_>>().join(", "),
        ));
    }
    if let Some(limit) = &route.rate_limit {
        let per = match limit.per() {
            PerCaller::Client => "client",
            PerCaller::Certificate => "certificate",
        };
        let (requests, seconds) = limit.written;
        lines.push(("at most", format!("{requests} requests of one {per} in {seconds} seconds")));
    }
    if let Some(concurrency) = &route.concurrency {
        lines.push(("at once", format!("{} requests", concurrency.all)));
    }
    for rule in &asked.claims {
        let values = rule.values.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
        lines.push(("claim", format!("{} is {values}", rule.name)));
    }
    if let Some(step_up) = &asked.step_up {
        let acr = (!step_up.acr_values.is_empty()).then(|| format!("of the kind {}", step_up.acr_values.join(" or ")));
        let age = step_up.max_age.map(|age| format!("at most {} seconds ago", age.seconds()));
        lines.push(("sign-in", acr.into_iter().chain(age).collect::<Vec<_>>().join(", ")));
    }
    lines.extend(certificate_lines(&route.certificate_rules));
    lines
}

/// What is asked of certificates beside that they are good.
fn certificate_lines(rules: &CertificateRules) -> Vec<(&'static str, String)> {
    let any = |values: Vec<String>| values.join(" or ");
    let mut lines = Vec::new();
    if !rules.names.is_empty() {
        lines.push(("named", any(rules.names.iter().map(ToString::to_string).collect())));
    }
    if !rules.issuers.is_empty() {
        lines.push(("issued by", any(rules.issuers.iter().map(ToString::to_string).collect())));
    }
    if !rules.keys.is_empty() {
        lines.push(("with key", any(rules.keys.iter().map(ToString::to_string).collect())));
    }
    lines
}

/// A route that is not for HTTP: its certificate is all that a client has there.
fn of_tcp_route(route: &TcpRoute) -> String {
    let places: Vec<_> = route.places.iter().map(|place| format!("tls://{}", place.name)).collect();
    let mut text = format!("{}  {}\n", route.name, places.join(", "));
    let list = |values: Vec<String>| if values.is_empty() { "any".to_owned() } else { values.join(", ") };
    let mut lines = vec![("proof", "of the certificate's key, in the handshake; there is no token".to_owned())];
    for place in &route.places {
        let sets = place.anchor_sets.iter().map(|set| format!("`{set}`")).collect::<Vec<_>>().join(" and ");
        lines.push(("certificate", format!("a good one from everybody at {}, by {sets}", place.name)));
    }
    lines.extend(certificate_lines(&route.certificate_rules));
    let feeds = route.revocations.len();
    lines.push(("revocation", format!("lists and OCSP as the sets say; rules of {feeds} authorization servers")));
    lines.push(("addresses", list(route.addresses.iter().map(ToString::to_string).collect())));
    let tls = |upstream: &TcpUpstream| if upstream.tls.is_some() { " (TLS)" } else { "" };
    let members = route.upstreams.members().map(|(one, _)| format!("{}{}", one.place, tls(one)));
    lines.push(("upstreams", members.collect::<Vec<_>>().join(", ")));
    if let Some(concurrency) = &route.concurrency {
        lines.push(("at once", format!("{} connections", concurrency.all)));
    }
    lines.push(("silence", format!("{} seconds at most", route.idle.as_secs())));
    for (what, value) in lines {
        let _ = writeln!(text, "  {what:<11} {value}");
    }
    text
}
