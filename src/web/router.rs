//! Every route of the authorization server, on one page.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get, post};
use bytes::Bytes;

use super::endpoint::EndpointMetrics;
use super::extract::BodyLimits;
use super::pages::{PageError, Pages};
use super::{
    account, account_certificates, account_data, account_links, account_passkeys, account_totp, assets, authorization,
    certificate_sign_in, consent, device, device_authorization, edge, end_session, jwks, liveness, metadata, not_found,
    passkey_sign_in, path as page, provider_sign_in, pushed_request, registration, revocation, revocation_feed, second_factor,
    sign_in, sign_out, userinfo,
};
use crate::config::Loaded;
use crate::oauth::AuthorizationServer;
use crate::oauth::metadata::path;

/// What the handlers share.
#[derive(Debug)]
pub struct Web {
    /// The authorization server.
    pub server: Arc<AuthorizationServer>,
    /// Pages for people.
    pub pages: Pages,
    /// The metadata document, written once.
    pub metadata: Bytes,
    /// Limits on request bodies.
    pub body_limits: BodyLimits,
    /// What is counted.
    pub metrics: EndpointMetrics,
    /// Header fields of a request, at most.
    pub max_headers: usize,
    /// Characters that a new password has at least.
    pub min_password_length: u32,
    /// Whether people may delete their own accounts.
    pub allows_deletion: bool,
}

impl Web {
    /// Prepares what the handlers share.
    pub fn new(server: Arc<AuthorizationServer>, loaded: &Loaded) -> Result<Self, PageError> {
        let (settings, limits) = (&loaded.settings, &loaded.settings.limits);
        let metadata = server.metadata().to_string().into();
        let body_limits = BodyLimits {
            bytes: limits.request_body_bytes as usize,
            time: Duration::from_secs(limits.request_body_seconds.into()),
        };
        let pages = Pages::load(&settings.pages, &loaded.base_dir, &server.issuer)?;
        Ok(Self {
            server,
            pages,
            metadata,
            body_limits,
            metrics: EndpointMetrics::default(),
            max_headers: limits.request_headers as usize,
            min_password_length: settings.password.min_length,
            allows_deletion: settings.pages.account_deletion,
        })
    }

    /// The path of the metadata document (RFC 8414 §3.1).
    pub fn metadata_path(&self) -> String {
        format!("/.well-known/oauth-authorization-server{}", self.server.issuer.path())
    }
}

/// The table of contents. Served behind [`edge::Edge`], which answers a POST to the token and the introspection endpoint itself.
pub fn router(web: Arc<Web>) -> Router {
    let endpoints = Router::new()
        .route(path::TOKEN, any(edge::only_post))
        .route(path::AUTHORIZATION, get(authorization::get).post(authorization::post).fallback(edge::get_or_post))
        .route(path::PUSHED_REQUEST, post(pushed_request::post).fallback(edge::only_post))
        .route(path::DEVICE_AUTHORIZATION, post(device_authorization::post).fallback(edge::only_post))
        .route(path::DEVICE, get(device::get).post(device::post).fallback(edge::get_or_post))
        .route(path::USERINFO, get(userinfo::serve).post(userinfo::serve).fallback(edge::get_or_post))
        .route(path::OPENID_CONFIGURATION, get(metadata::get).fallback(edge::only_get))
        .route(page::RESUME, get(authorization::resume).fallback(edge::only_get))
        .route(page::CONSENT, get(consent::get).post(consent::post).fallback(edge::get_or_post))
        .route(path::INTROSPECTION, any(edge::only_post))
        .route(path::REVOCATION, post(revocation::post).fallback(edge::only_post))
        .route(path::REVOCATION_FEED, get(revocation_feed::get).fallback(edge::only_get))
        .route(path::JWKS, get(jwks::get).fallback(edge::only_get))
        .route(page::SIGN_IN, get(sign_in::get).post(sign_in::post).fallback(edge::get_or_post))
        .route(page::SIGN_IN_CODE, get(second_factor::get).post(second_factor::post).fallback(edge::get_or_post))
        .route(
            page::SIGN_IN_CERTIFICATE,
            get(certificate_sign_in::returned).post(certificate_sign_in::begin).fallback(edge::get_or_post),
        )
        .route(page::SHOW_CERTIFICATE, get(certificate_sign_in::show).fallback(edge::only_get))
        .route(page::SIGN_IN_PASSKEY, get(passkey_sign_in::get).post(passkey_sign_in::post).fallback(edge::get_or_post))
        .route(page::SIGN_IN_PASSKEY_OPTIONS, post(passkey_sign_in::options).fallback(edge::only_post))
        .route(
            &format!("{}/{{name}}", page::SIGN_IN_AT),
            get(provider_sign_in::returned).post(provider_sign_in::begin).fallback(edge::get_or_post),
        )
        .route(page::SIGN_OUT, post(sign_out::post).fallback(edge::only_post))
        .route(page::SIGNED_OUT, get(sign_out::page).fallback(edge::only_get))
        .route(path::END_SESSION, get(end_session::get).post(end_session::post).fallback(edge::get_or_post))
        .route(page::CONFIRM_SIGN_OUT, get(end_session::resume).post(end_session::confirm).fallback(edge::get_or_post))
        .route(page::ACCOUNT, get(account::get).fallback(edge::only_get))
        .route(page::ACCOUNT_PASSWORD, post(account::change_password).fallback(edge::only_post))
        .route(page::ACCOUNT_TOTP, post(account_totp::begin).fallback(edge::only_post))
        .route(page::ACCOUNT_TOTP_CONFIRM, post(account_totp::confirm).fallback(edge::only_post))
        .route(page::ACCOUNT_TOTP_REMOVE, post(account_totp::remove).fallback(edge::only_post))
        .route(page::ACCOUNT_CERTIFICATES, post(account_certificates::begin).fallback(edge::only_post))
        .route(
            page::ACCOUNT_CERTIFICATES_ADD,
            get(account_certificates::returned).post(account_certificates::add).fallback(edge::get_or_post),
        )
        .route(page::ACCOUNT_CERTIFICATES_REMOVE, post(account_certificates::remove).fallback(edge::only_post))
        .route(page::ACCOUNT_PASSKEYS, post(account_passkeys::begin).fallback(edge::only_post))
        .route(page::ACCOUNT_PASSKEYS_ADD, post(account_passkeys::add).fallback(edge::only_post))
        .route(page::ACCOUNT_PASSKEYS_REMOVE, post(account_passkeys::remove).fallback(edge::only_post))
        .route(page::ACCOUNT_LINKED, post(account_links::begin).fallback(edge::only_post))
        .route(page::ACCOUNT_LINKED_ADD, post(account_links::add).fallback(edge::only_post))
        .route(page::ACCOUNT_LINKED_REMOVE, post(account_links::remove).fallback(edge::only_post))
        .route(page::ACCOUNT_APPLICATIONS, post(account_data::withdraw).fallback(edge::only_post))
        .route(page::ACCOUNT_EXPORT, post(account_data::export).fallback(edge::only_post))
        .route(page::ACCOUNT_DELETE, post(account_data::delete).fallback(edge::only_post))
        .route(page::ACCOUNT_SESSIONS, post(account::end_sessions).fallback(edge::only_post))
        .route(&format!("{}/{{name}}", page::ASSETS), get(assets::get).fallback(edge::only_get));
    let endpoints = match web.server.registration.is_on() {
        false => endpoints,
        true => endpoints.route(path::REGISTRATION, post(registration::post).fallback(edge::only_post)).route(
            &format!("{}/{{client_id}}", path::REGISTRATION),
            get(registration::get).put(registration::put).delete(registration::delete).fallback(edge::get_put_or_delete),
        ),
    };
    let base = web.server.issuer.path();
    let home = if base.is_empty() { "/" } else { base };
    let endpoints = if base.is_empty() { endpoints } else { Router::new().nest(base, endpoints) };
    endpoints
        .route(home, get(not_found::home).fallback(edge::only_get))
        .route(&web.metadata_path(), get(metadata::get).fallback(edge::only_get))
        .route("/livez", get(liveness::live).fallback(edge::only_get))
        .route("/readyz", get(liveness::ready).fallback(edge::only_get))
        .fallback(not_found::fallback)
        .with_state(web)
}
