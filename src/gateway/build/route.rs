//! Routes, and what they share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, Method};

use super::answer::{answer_rules, concurrency, rate_limit};
use super::{AS_CLIENT, BuildError, Server, Surroundings, is_taken, setting};
use crate::binding::dpop::{Dpop, DpopChecked, NonceRule, Nonces};
use crate::binding::{Policy, ReplayCache};
use crate::config::settings::{
    AssertionReuseSetting, MatchHeaderSettings, ProofOfPossessionSetting, RequestHeaderSettings, RouteSettings, Settings,
    StaleRevocationsSetting, TokenVerificationSetting, UpstreamProtocolSetting,
};
use crate::domain::{Audience, Lifetime, Scope, Thumbprint};
use crate::gateway::assertion::{AssertionTerms, OWN_CLAIMS, Reuse};
use crate::gateway::certificate_rule::CertificateRules;
use crate::gateway::forward::{Again, Received};
use crate::gateway::metadata;
use crate::gateway::pattern::Conditions;
use crate::gateway::route::{Rewrite, RouteHost};
use crate::gateway::strip::Reserved;
use crate::gateway::template::Template;
use crate::gateway::upstream::{Protocol, Upstream, UpstreamSpec};
use crate::gateway::upstreams::{HealthRules, MAX_WEIGHTS, Upstreams};
use crate::gateway::{AccessToken, Route};
use crate::resource::{
    AcceptedIssuer, ClaimRule, DpopAcceptance, Protection, Requirements, RevocationCheck, Staleness, StepUp, Verification,
};
use crate::tls::{OutboundSpec, OutboundTls};

/// Failures in a row after which one of several upstreams is set aside, where nothing else is written.
pub(super) const DEFAULT_FAILURES: u32 = 5;
/// How often a request is tried again, at most.
const MAX_RETRIES: u32 = 5;

/// Every value of a list in its own type.
pub(super) fn parsed<T, L>(values: &[String], name: &str) -> Result<L, BuildError>
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
    let requirements = requirements(settings)?;
    let certificate_rules = CertificateRules {
        names: parsed(&settings.certificate_names, &at("certificate_names"))?,
        issuers: parsed(&settings.certificate_issuers, &at("certificate_issuers"))?,
        keys: parsed(&settings.certificate_keys, &at("certificate_keys"))?,
    };
    let methods = methods(&settings.methods, &at("methods"))?;
    let addresses = parsed(&settings.addresses, &at("addresses"))?;
    let staleness = staleness(settings.stale_revocations, settings.max_revocation_staleness_seconds);
    let issuers = issuers(settings, servers, verification, staleness)?;
    let binding = policy(settings)?;
    if settings.upstream_timeout_seconds == 0 {
        return Err(setting(at("upstream_timeout_seconds"), "must be at least 1"));
    }
    let of = format!("route.{name}");
    let tls = settings.upstream_ca_file.as_ref().map(|authorities| UpstreamTls {
        of: &of,
        authorities,
        certificate: settings.upstream_certificate_file.as_ref(),
        key: settings.upstream_key_file.as_ref(),
        keys: &settings.upstream_keys,
    });
    let tls = tls.map(|written| upstream_tls(written, surroundings)).transpose()?;
    if let (None, Some(name)) = (&tls, upstream_identity_setting(settings)) {
        return Err(setting(at(name), "is for `https` upstreams, which need `upstream_ca_file`"));
    }
    let protocol = match settings.upstream_protocol {
        UpstreamProtocolSetting::Http1 => Protocol::Http1,
        UpstreamProtocolSetting::Http2 => Protocol::Http2,
    };
    if settings.websocket && protocol == Protocol::Http2 {
        return Err(setting(at("websocket"), "needs an upstream that is spoken to in HTTP/1.1: `upstream_protocol = \"http1\"`"));
    }
    let rewrite = match &settings.upstream_path {
        None => None,
        Some(by) => Some(Rewrite::new(&settings.path, by).map_err(|error| setting(at("upstream_path"), error))?),
    };
    let upstreams = upstreams(settings, tls, protocol, surroundings)?;
    let host = RouteHost::parse(&settings.host).map_err(|error| setting(at("host"), error))?;
    if host.is_many() && settings.assertion_audience.is_none() {
        return Err(setting(at("assertion_audience"), "must be written where `host` is `*.…`: there is no single authority"));
    }
    if let Some(name) = settings.anchor_set.as_ref().filter(|name| surroundings.anchors.load().get(name).is_none()) {
        return Err(setting(at("anchor_set"), format!("there is no `[anchor_set.{name}]`")));
    }
    Ok(Route {
        name: name.clone(),
        place: format!("{host}{}", settings.path),
        methods,
        addresses,
        index,
        again: again(settings, &upstreams),
        upstreams,
        conditions: conditions(settings)?,
        protection: Protection {
            issuers,
            verification,
            binding,
            dpop: dpop.filter(|_| binding.takes_dpop()).map(Arc::clone),
            resource_metadata: metadata::url(requirements.audience.as_str(), &host),
            requirements,
        },
        anchor_set: settings.anchor_set.clone(),
        certificate_mode: settings.certificate_mode.map(Into::into),
        certificate_rules,
        assertion: assertion_terms(settings, &host)?,
        certificate_headers: settings.certificate_headers.clone(),
        request_headers: request_headers(settings)?,
        rewrite,
        websocket: settings.websocket,
        access_token: if settings.pass_access_token { AccessToken::Passed } else { AccessToken::Removed },
        rate_limit: rate_limit(settings, surroundings)?,
        concurrency: concurrency(settings)?,
        answer_rules: answer_rules(settings)?,
        sessions: None,
        metrics: OnceLock::new(),
    })
}

/// What happens when a feed has not been heard for so long.
pub(super) fn staleness(written: StaleRevocationsSetting, seconds: u32) -> Staleness {
    match written {
        StaleRevocationsSetting::Refuse => Staleness::RefuseAfter(Lifetime::from_seconds(seconds)),
        StaleRevocationsSetting::Serve => Staleness::Serve,
    }
}

/// The first setting that only an `https` upstream can honour.
fn upstream_identity_setting(settings: &RouteSettings) -> Option<&'static str> {
    [
        ("upstream_certificate_file", settings.upstream_certificate_file.is_some()),
        ("upstream_key_file", settings.upstream_key_file.is_some()),
        ("upstream_server_name", settings.upstream_server_name.is_some()),
        ("upstream_keys", !settings.upstream_keys.is_empty()),
    ]
    .into_iter()
    .find_map(|(name, is_set)| is_set.then_some(name))
}

/// What a route says of the TLS of its upstreams.
#[derive(Clone, Copy)]
pub(super) struct UpstreamTls<'a> {
    /// Whose settings these are: `route.NAME`.
    pub(super) of: &'a str,
    pub(super) authorities: &'a Path,
    pub(super) certificate: Option<&'a PathBuf>,
    pub(super) key: Option<&'a PathBuf>,
    /// Public keys of which an upstream must have one.
    pub(super) keys: &'a [String],
}

/// Whom a route's upstream must prove to be, and who the gateway is to it.
pub(super) fn upstream_tls(written: UpstreamTls<'_>, surroundings: &Surroundings) -> Result<Arc<OutboundTls>, BuildError> {
    let at = |member: &str| format!("{}.{member}", written.of);
    let path = |file: &Path| surroundings.base_dir.join(file);
    let identity = match (written.certificate, written.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((path(certificate), path(key))),
        (Some(_), None) => return Err(setting(at("upstream_key_file"), "is missing beside `upstream_certificate_file`")),
        (None, Some(_)) => return Err(setting(at("upstream_certificate_file"), "is missing beside `upstream_key_file`")),
    };
    let keys: Vec<Thumbprint> = parsed(written.keys, &at("upstream_keys"))?;
    let spec = OutboundSpec { authorities: vec![path(written.authorities)], public_roots: false, identity, keys };
    let wrong = |error| BuildError::Tls { setting: at("upstream_ca_file"), error };
    surroundings.outbound.load(written.of, spec).map_err(wrong)
}

/// Where a route's requests go.
fn upstreams(
    settings: &RouteSettings,
    tls: Option<Arc<OutboundTls>>,
    protocol: Protocol,
    surroundings: &Surroundings,
) -> Result<Upstreams, BuildError> {
    let at = |member: &str| format!("route.{}.{member}", settings.name);
    let (urls, weights) = (&settings.upstream, &settings.upstream_weights);
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    if !weights.is_empty() && (weights.len() != urls.len() || weights.contains(&0) || sum > MAX_WEIGHTS.into()) {
        let problem = format!("must be one for each upstream, each at least 1, and together at most {MAX_WEIGHTS}");
        return Err(setting(at("upstream_weights"), problem));
    }
    if settings.upstream_connect_seconds == 0 {
        return Err(setting(at("upstream_connect_seconds"), "must be at least 1"));
    }
    if settings.upstream_stall_seconds == Some(0) {
        return Err(setting(at("upstream_stall_seconds"), "must be at least 1; leave it out for no limit"));
    }
    if settings.upstream_rest_seconds == 0 || settings.upstream_health_seconds == 0 {
        return Err(setting(at("upstream_rest_seconds"), "and `upstream_health_seconds` must be at least 1"));
    }
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let mut members = Vec::with_capacity(urls.len());
    for (index, url) in urls.iter().enumerate() {
        let spec = UpstreamSpec {
            url,
            tls: tls.clone(),
            server_name: settings.upstream_server_name.as_deref(),
            protocol,
            timeout: seconds(settings.upstream_timeout_seconds),
            connect_timeout: seconds(settings.upstream_connect_seconds),
            stall: settings.upstream_stall_seconds.map(seconds),
        };
        let upstream = Upstream::new(spec).map_err(|error| BuildError::Upstream { name: settings.name.clone(), error })?;
        members.push((upstream, weights.get(index).copied().unwrap_or(1)));
    }
    let check = settings.upstream_health_path.as_ref().map(|path| {
        let path: PathAndQuery = path
            .parse()
            .ok()
            .filter(|_| path.starts_with('/'))
            .ok_or_else(|| setting(at("upstream_health_path"), format!("`{path}` is not a path: it begins with a slash")))?;
        Ok::<_, BuildError>((path, seconds(settings.upstream_health_seconds)))
    });
    let several = members.len() > 1;
    let rules = HealthRules {
        failures: settings.upstream_failures.or(several.then_some(DEFAULT_FAILURES)).filter(|failures| *failures > 0),
        rest: seconds(settings.upstream_rest_seconds),
        check: check.transpose()?,
    };
    Ok(Upstreams::new(members, rules, Arc::clone(&surroundings.clock)))
}

/// How often a request may be tried again.
fn again(settings: &RouteSettings, upstreams: &Upstreams) -> Again {
    let several = upstreams.members().nth(1).is_some();
    Again {
        times: settings.upstream_retries.unwrap_or(u32::from(several)).min(MAX_RETRIES),
        received: match settings.assertion_reuse {
            AssertionReuseSetting::Reusable => Received::Idempotent,
            // An upstream that takes each assertion once would refuse the second.
            AssertionReuseSetting::PerRequest => Received::Never,
        },
    }
}

/// What else a request must have to belong to a route.
fn conditions(settings: &RouteSettings) -> Result<Conditions, BuildError> {
    let at = |member: &str| format!("route.{}.{member}", settings.name);
    let mut headers = Vec::with_capacity(settings.match_header.len());
    for MatchHeaderSettings { name: text, value } in &settings.match_header {
        let name: HeaderName = text.parse().map_err(|_| setting(at("match_header"), format!("`{text}` is not a header name")))?;
        if Reserved::new([]).covers(name.as_str()) || is_taken(&name) || headers.iter().any(|(other, _)| *other == name) {
            let problem =
                format!("`{text}` does not reach upstreams as it is sent, or has a meaning of its own, or is named twice");
            return Err(setting(at("match_header"), problem));
        }
        headers.push((name, value.clone()));
    }
    headers.sort_unstable_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    let mut methods = methods(&settings.match_methods, &at("match_methods"))?;
    methods.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    methods.dedup();
    Ok(Conditions { methods, headers })
}

pub(super) fn methods(written: &[String], name: &str) -> Result<Vec<Method>, BuildError> {
    let methods: Vec<Method> = parsed(written, name)?;
    match methods.iter().find(|method| method.as_str().bytes().any(|byte| byte.is_ascii_lowercase())) {
        Some(odd) => Err(setting(name, format!("`{odd}`: methods are written in capitals (RFC 9110 §9.1)"))),
        None => Ok(methods),
    }
}

/// What a route wants of assertions.
fn assertion_terms(settings: &RouteSettings, host: &RouteHost) -> Result<AssertionTerms, BuildError> {
    if let Some(name) = settings.assertion_claims.iter().find(|name| OWN_CLAIMS.contains(&name.as_str())) {
        let problem = format!("`{name}` is a claim of the assertion's own");
        return Err(setting(format!("route.{}.assertion_claims", settings.name), problem));
    }
    Ok(AssertionTerms {
        audience: settings.assertion_audience.clone().unwrap_or_else(|| host.to_string()),
        claims: settings.assertion_claims.clone(),
        reuse: match settings.assertion_reuse {
            AssertionReuseSetting::Reusable => Reuse::Allowed,
            AssertionReuseSetting::PerRequest => Reuse::Never,
        },
    })
}

/// Header fields that a route sets.
fn request_headers(settings: &RouteSettings) -> Result<Vec<(HeaderName, Template)>, BuildError> {
    let at = |name: &str| format!("route.{}.request_header.{name}", settings.name);
    let mut headers = Vec::with_capacity(settings.request_header.len());
    for RequestHeaderSettings { name: text, value: template } in &settings.request_header {
        let name: HeaderName = text.parse().map_err(|_| setting(at(text), "is not a header name"))?;
        if is_taken(&name) {
            return Err(setting(at(text), "has a meaning of its own: choose another name"));
        }
        headers.push((name, template.parse().map_err(|error| setting(at(text), format!("`{template}` {error}")))?));
    }
    Ok(headers)
}

/// What a route asks of tokens.
fn requirements(settings: &RouteSettings) -> Result<Requirements, BuildError> {
    let at = |member: &str| format!("route.{}.{member}", settings.name);
    let mut audiences: Vec<Audience> = parsed(&settings.audience, &at("audience"))?;
    if audiences.is_empty() {
        return Err(setting(at("audience"), "must name at least one"));
    }
    let audience = audiences.remove(0);
    let scope = |member: &str, names: &[String]| names.join(" ").parse::<Scope>().map_err(|error| setting(at(member), error));
    let mut claims = Vec::with_capacity(settings.claim.len() + 1);
    let groups = (!settings.groups.is_empty()).then_some((&settings.groups_claim, &settings.groups));
    for (name, values) in settings.claim.iter().map(|claim| (&claim.name, &claim.values)).chain(groups) {
        if name.is_empty() || values.is_empty() {
            return Err(setting(at("claim"), format!("`{name}` must be a name with the values that will do")));
        }
        claims.push(ClaimRule { name: name.clone(), values: values.iter().cloned().collect() });
    }
    let wrong_acr = |value: &&String| value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(value) = settings.acr_values.iter().find(wrong_acr) {
        return Err(setting(at("acr_values"), format!("`{value}` is not one value: ASCII without spaces")));
    }
    let step_up =
        StepUp { acr_values: settings.acr_values.clone(), max_age: settings.max_age_seconds.map(Lifetime::from_seconds) };
    Ok(Requirements {
        audience,
        more_audiences: audiences,
        scopes: scope("scopes", &settings.scopes)?,
        any_scopes: scope("any_scopes", &settings.any_scopes)?,
        clients: parsed(&settings.client_ids, &at("client_ids"))?,
        claims,
        step_up: Some(step_up).filter(|step_up| *step_up != StepUp::default()),
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
