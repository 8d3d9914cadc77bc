//! What a route limits, and what it says in its answers.

use std::sync::Arc;

use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RETRY_AFTER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Method};
use url::Url;

use super::route::methods;
use super::{BuildError, Surroundings, is_taken, setting};
use crate::config::settings::{CorsSettings, GatewaySettings, RateLimitKeySetting, RouteSettings};
use crate::gateway::REQUEST_ID;
use crate::gateway::answer_rules::{AnswerRules, Cors, Credentials, FAPI_INTERACTION_ID, Interactions, StrictTransport};
use crate::gateway::limits::{Concurrency, PerCaller, RateLimit};
use crate::gateway::strip::Reserved;

/// The most seconds that browsers remember the answer to a preflight (those that remember it longest).
const MAX_CORS_SECONDS: u32 = 86_400;

/// Seconds for which browsers come back over HTTPS alone unless told otherwise, as the preload list wants it.
const TWO_YEARS: u32 = 63_072_000;

pub(super) fn rate_limit(settings: &RouteSettings, surroundings: &Surroundings) -> Result<Option<RateLimit>, BuildError> {
    let Some(written) = &settings.rate_limit else { return Ok(None) };
    let per = match written.per {
        RateLimitKeySetting::Client => PerCaller::Client,
        RateLimitKeySetting::Certificate => PerCaller::Certificate,
    };
    let limit = RateLimit::new(per, written.requests, written.seconds, Arc::clone(&surroundings.clock));
    let none = || setting(format!("route.{}.rate_limit", settings.name), "must have at least 1 request and 1 second");
    Ok(Some(limit.ok_or_else(none)?))
}

pub(super) fn concurrency(settings: &RouteSettings) -> Result<Option<Concurrency>, BuildError> {
    match settings.max_concurrent {
        Some(0) => {
            Err(setting(format!("route.{}.max_concurrent", settings.name), "must be at least 1; leave it out for no limit"))
        }
        written => Ok(written.map(Concurrency::new)),
    }
}

pub(super) fn answer_rules(settings: &RouteSettings) -> Result<AnswerRules, BuildError> {
    let at = |member: &str| format!("route.{}.{member}", settings.name);
    let name = |text: &str, member: &str| {
        let name: HeaderName = text.parse().map_err(|_| setting(at(member), format!("`{text}` is not a header name")))?;
        let ours = [&REQUEST_ID, &FAPI_INTERACTION_ID, &WWW_AUTHENTICATE, &RETRY_AFTER, &LOCATION, &SET_COOKIE];
        let framing = [&CONTENT_LENGTH, &CONTENT_RANGE, &STRICT_TRANSPORT_SECURITY];
        let is_cors = name.as_str().starts_with("access-control-");
        let own = ours.iter().chain(&framing).any(|other| **other == name);
        if is_taken(&name) || own || is_cors || Reserved::new([]).covers(name.as_str()) {
            return Err(setting(at(member), format!("`{text}` has a meaning of its own: it is not for rules")));
        }
        Ok(name)
    };
    let mut set = Vec::with_capacity(settings.response_header.len());
    for header in &settings.response_header {
        let value = HeaderValue::try_from(&header.value)
            .map_err(|_| setting(at("response_header"), format!("`{}` is not a header value", header.value)))?;
        set.push((name(&header.name, "response_header")?, value));
    }
    let remove = settings.remove_response_headers.iter().map(|text| name(text, "remove_response_headers"));
    Ok(AnswerRules {
        cors: settings.cors.as_ref().map(|cors| page_rules(settings, cors)).transpose()?,
        set,
        remove: remove.collect::<Result<_, _>>()?,
        fapi: if settings.fapi_interaction_id { Interactions::Named } else { Interactions::Unnamed },
    })
}

fn page_rules(settings: &RouteSettings, written: &CorsSettings) -> Result<Cors, BuildError> {
    let at = |member: &str| format!("route.{}.cors.{member}", settings.name);
    if written.origins.is_empty() {
        return Err(setting(at("origins"), "must name at least one"));
    }
    let mut origins = Vec::with_capacity(written.origins.len());
    for text in &written.origins {
        let same = Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.origin().ascii_serialization() == *text);
        let origin = HeaderValue::try_from(text).ok().filter(|_| same);
        let problem = || setting(at("origins"), format!("`{text}` is not an origin as browsers name it: `https://app.example`"));
        origins.push(origin.ok_or_else(problem)?);
    }
    let allowed = match (written.methods.as_slice(), settings.methods.as_slice()) {
        ([], []) => vec![Method::GET, Method::HEAD, Method::POST],
        ([], of_route) => methods(of_route, &at("methods"))?,
        (own, _) => methods(own, &at("methods"))?,
    };
    let names = |texts: &[String], member: &str| {
        let name =
            |text: &String| text.parse::<HeaderName>().map_err(|_| setting(at(member), format!("`{text}` is not a header name")));
        texts.iter().map(name).collect::<Result<Vec<_>, _>>()
    };
    let value = |text: String| HeaderValue::try_from(text).map_err(|_| setting(at("headers"), "are too many"));
    let headers = names(&written.headers, "headers")?
        .iter()
        .fold("authorization, content-type, dpop".to_owned(), |text, name| format!("{text}, {name}"));
    let allow_methods = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    Ok(Cors {
        origins,
        methods: allowed,
        allow_methods: value(allow_methods)?,
        allow_headers: value(headers)?,
        expose_headers: value(Cors::exposing(&names(&written.expose_headers, "expose_headers")?))?,
        max_age: HeaderValue::from(written.max_age_seconds.min(MAX_CORS_SECONDS)),
        credentials: if written.credentials { Credentials::Included } else { Credentials::Omitted },
    })
}

/// `Strict-Transport-Security` (RFC 6797 §6.1) as the settings want it.
pub(super) fn strict_transport(settings: &GatewaySettings) -> Result<StrictTransport, BuildError> {
    let domains = if settings.hsts_include_subdomains { "; includeSubDomains" } else { "" };
    let seconds = settings.hsts_max_age_seconds.unwrap_or(TWO_YEARS);
    let value = HeaderValue::try_from(format!("max-age={seconds}{domains}"))
        .map_err(|_| setting("gateway.hsts_max_age_seconds", "is not a number of seconds"))?;
    Ok(match settings.hsts_max_age_seconds {
        Some(_) => StrictTransport::Always(value),
        None => StrictTransport::UnlessUpstreamSays(value),
    })
}
