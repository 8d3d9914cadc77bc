//! Routes, and what they share.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;

use super::{AS_CLIENT, BuildError, Server, Surroundings, setting};
use crate::binding::dpop::{Dpop, DpopChecked, NonceRule, Nonces};
use crate::binding::{Policy, ReplayCache};
use crate::config::settings::{
    ProofOfPossessionSetting, RouteSettings, Settings, StaleRevocationsSetting, TokenVerificationSetting,
};
use crate::domain::{Audience, Lifetime, Scope};
use crate::gateway::route::RouteHost;
use crate::gateway::upstream::Upstream;
use crate::gateway::{AccessToken, Route};
use crate::resource::{AcceptedIssuer, DpopAcceptance, Protection, Requirements, RevocationCheck, Staleness, Verification};
use crate::tls::load_client_config;

/// Every value of a list in its own type.
fn parsed<T, L>(values: &[String], name: &str) -> Result<L, BuildError>
where
    T: FromStr<Err: std::fmt::Display>,
    L: FromIterator<T> + IntoIterator<Item = T>,
{
    values.iter().map(|text| text.parse().map_err(|error: T::Err| setting(name, format!("`{text}` {error}")))).collect()
}

/// How a route has tokens proven.
fn policy(route: &RouteSettings) -> Result<Policy, BuildError> {
    use ProofOfPossessionSetting::{DangerOff, Dpop, Mtls, Optional, Strict};
    let written = &route.proof_of_possession;
    let has = |wanted| written.contains(&wanted);
    match written.as_slice() {
        [Strict] => Ok(Policy::Strict),
        [Optional] => Ok(Policy::Optional),
        [DangerOff] => Ok(Policy::DangerOff),
        [_, ..] if written.iter().all(|one| matches!(one, Mtls | Dpop)) => Ok(match (has(Mtls), has(Dpop)) {
            (true, true) => Policy::Strict,
            (true, false) => Policy::Certificate,
            (false, _) => Policy::Dpop,
        }),
        _ => {
            let problem = "must be `strict`, `optional` or `danger_off` alone, or a list of `mtls` and `dpop`";
            Err(setting(format!("route.{}.proof_of_possession", route.name), problem))
        }
    }
}

/// What takes DPoP proofs, for all routes together: one memory of what was used, and nonces that only this process knows.
pub(super) fn dpop_acceptance(
    settings: &Settings,
    surroundings: &Surroundings,
) -> Result<Option<Arc<DpopAcceptance>>, BuildError> {
    let DpopChecked { rules, nonce_lifetime, replay_entries } = DpopChecked::from_settings(&settings.dpop)?;
    let mut taking = None;
    for route in &settings.route {
        if policy(route)?.takes_dpop() {
            taking.get_or_insert(route.name.as_str());
        }
    }
    let Some(route) = taking else { return Ok(None) };
    let gateway = &settings.gateway;
    if gateway.replicas > 1 && !(rules.nonce == NonceRule::Required && gateway.affinity) {
        let problem = format!(
            "is {}, and route `{route}` takes DPoP: replicas share no memory of used proofs, so a stolen one would be good once at each; \
             set `dpop.require_nonce = true` and `gateway.affinity = true`, or `proof_of_possession = [\"mtls\"]` on the route",
            gateway.replicas
        );
        return Err(setting("gateway.replicas", problem));
    }
    let name = gateway.issuer.as_deref().unwrap_or_default();
    let nonces = Nonces::of_process(name, surroundings.randomness.as_ref(), nonce_lifetime)?;
    let dpop = Arc::new(Dpop::with_memory_since(surroundings.clock.now()?, rules, nonces));
    let memory = Arc::new(ReplayCache::new(replay_entries, Arc::clone(&surroundings.clock)));
    Ok(Some(Arc::new(DpopAcceptance { dpop, memory })))
}

pub(super) fn build_route(
    index: usize,
    settings: &RouteSettings,
    servers: &BTreeMap<&str, Server>,
    dpop: Option<&Arc<DpopAcceptance>>,
    surroundings: &Surroundings,
) -> Result<Route, BuildError> {
    let name = &settings.name;
    let at = |member: &str| format!("route.{name}.{member}");
    let verification = match settings.token {
        TokenVerificationSetting::Auto => Verification::Auto,
        TokenVerificationSetting::Jwt => Verification::Jwt,
        TokenVerificationSetting::Introspection => Verification::Introspection,
    };
    let audience: Audience = settings.audience.parse().map_err(|error| setting(at("audience"), error))?;
    let scopes: Scope = settings.scopes.join(" ").parse().map_err(|error| setting(at("scopes"), error))?;
    let clients = parsed(&settings.client_ids, &at("client_ids"))?;
    let methods: Vec<Method> = parsed(&settings.methods, &at("methods"))?;
    if let Some(odd) = methods.iter().find(|method| method.as_str().bytes().any(|byte| byte.is_ascii_lowercase())) {
        return Err(setting(at("methods"), format!("`{odd}`: methods are written in capitals (RFC 9110 §9.1)")));
    }
    let addresses = parsed(&settings.addresses, &at("addresses"))?;
    let staleness = match settings.stale_revocations {
        StaleRevocationsSetting::Refuse => {
            Staleness::RefuseAfter(Lifetime::from_seconds(settings.max_revocation_staleness_seconds))
        }
        StaleRevocationsSetting::Serve => Staleness::Serve,
    };
    let issuers = issuers(settings, servers, verification, staleness)?;
    let binding = policy(settings)?;
    if settings.upstream_timeout_seconds == 0 {
        return Err(setting(at("upstream_timeout_seconds"), "must be at least 1"));
    }
    let tls = settings
        .upstream_ca_file
        .as_ref()
        .map(|file| {
            load_client_config(&surroundings.base_dir.join(file), None, &[], Arc::clone(&surroundings.clock))
                .map_err(|error| BuildError::Tls { setting: at("upstream_ca_file"), error })
        })
        .transpose()?;
    let timeout = Duration::from_secs(settings.upstream_timeout_seconds.into());
    let upstream =
        Upstream::new(&settings.upstream, tls, timeout).map_err(|error| BuildError::Upstream { name: name.clone(), error })?;
    let host = RouteHost::parse(&settings.host).map_err(|error| setting(at("host"), error))?;
    if let Some(name) = settings.anchor_set.as_ref().filter(|name| surroundings.anchors.load().get(name).is_none()) {
        return Err(setting(at("anchor_set"), format!("there is no `[anchor_set.{name}]`")));
    }
    Ok(Route {
        name: name.clone(),
        place: format!("{host}{}", settings.path),
        methods,
        addresses,
        index,
        upstream,
        protection: Protection {
            issuers,
            verification,
            binding,
            dpop: dpop.filter(|_| binding.takes_dpop()).map(Arc::clone),
            requirements: Requirements { audience, scopes, clients },
        },
        anchor_set: settings.anchor_set.clone(),
        certificate_mode: settings.certificate_mode.map(Into::into),
        assertion_audience: settings.assertion_audience.clone().unwrap_or_else(|| host.to_string()),
        access_token: if settings.pass_access_token { AccessToken::Passed } else { AccessToken::Removed },
        metrics: OnceLock::new(),
    })
}

/// Whose tokens a route accepts.
fn issuers(
    settings: &RouteSettings,
    servers: &BTreeMap<&str, Server>,
    verification: Verification,
    staleness: Staleness,
) -> Result<Vec<AcceptedIssuer>, BuildError> {
    let at = |member: &str| format!("route.{}.{member}", settings.name);
    let mut issuers: Vec<AcceptedIssuer> = Vec::with_capacity(settings.authorization_server.len());
    for name in &settings.authorization_server {
        let server = servers
            .get(name.as_str())
            .ok_or_else(|| setting(at("authorization_server"), format!("there is no `[authorization_server.{name}]`")))?;
        let issuer = server.verifier.issuer();
        if issuers.iter().any(|other| other.verifier.issuer() == issuer) {
            return Err(setting(at("authorization_server"), format!("`{issuer}` is named twice")));
        }
        let check = |revocations| RevocationCheck { revocations: Arc::clone(revocations), staleness };
        issuers.push(AcceptedIssuer {
            name: server.name.clone(),
            verifier: Arc::clone(&server.verifier),
            revocations: server.revocations.as_ref().map(check),
        });
    }
    if issuers.is_empty() {
        return Err(setting(at("authorization_server"), "must name at least one"));
    }
    let introspecting = issuers.iter().filter(|issuer| issuer.verifier.introspection().is_some()).count();
    match verification {
        Verification::Introspection if introspecting < issuers.len() => Err(setting(at("token"), AS_CLIENT)),
        Verification::Introspection | Verification::Auto if introspecting > 1 => {
            let problem = "several of its authorization servers could be asked about a token that is not a JWT, and it would be told \
                           to all of them: write `token = \"jwt\"`, or a route for each";
            Err(setting(at("authorization_server"), problem))
        }
        _ => Ok(issuers),
    }
}
