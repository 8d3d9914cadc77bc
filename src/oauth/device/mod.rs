//! Devices without a browser of their own (RFC 8628).
//!
//! ```text
//! POST /device-authorization   client -> device code, user code
//! GET  /device                 signed in, the user code -> who asks, from where, for what: the person compares the code
//! POST /device                 allow or deny, once
//! POST /token                  the device code, again and again -> authorization_pending | slow_down | tokens, once
//! ```
//!
//! A person types the code on our page only when signed in, so that guessing codes takes an account and is counted by it (§5.1).

mod user_code;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use user_code::UserCode;

use super::authorization::request::scope_within_registration;
use super::authorization::{Decided, from_json, random_text, to_json};
use super::client_auth::{ClientRequest, RequestingClient, Throttled};
use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::grant::authorization_code::Granted;
use super::metadata::path;
use super::server::AuthorizationServer;
use crate::clients::{Client, GrantType, Profile};
use crate::domain::{ClientId, FamilyId, Lifetime, RequestId, Scope, Timestamp};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::identity::{FormChecked, Quota, SignedIn};
use crate::oidc::ClaimsRequest;
use crate::store::{DeviceAdded, DeviceState, NewDeviceAuthorization};

/// What every device code begins with, so that people and secret scanners recognise it.
pub const DEVICE_CODE_PREFIX: &str = "sy_dc_";
/// How long a person may take (§3.2: `expires_in`).
pub const LIFETIME: Lifetime = Lifetime::from_seconds(600);
/// Seconds that a device must leave between two questions, and by which it must leave more when it does not (§3.5).
pub const INTERVAL_SECONDS: u32 = 5;
/// How often one person may type codes that nobody waits under: with 20^8 codes nobody comes far (§5.1).
pub const GUESSES: Quota = Quota { burst: 10, every: Duration::from_secs(60) };

/// How much longer a request is remembered, so that its device is told that it is over, and a second redemption is noticed.
const MEMORY: Lifetime = Lifetime::from_seconds(3_600);
/// User codes that are tried until one is free.
const TRIES: usize = 8;

/// What a device is told (§3.2).
#[derive(Clone, Debug)]
pub struct DeviceAuthorization {
    /// `device_code`.
    pub device_code: String,
    /// `user_code`.
    pub user_code: UserCode,
    /// `verification_uri`.
    pub verification_uri: String,
    /// `verification_uri_complete`.
    pub verification_uri_complete: String,
    /// `expires_in`, seconds.
    pub expires_in: u32,
    /// `interval`, seconds.
    pub interval: u32,
}

/// What a device asked for. Kept sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// Whose it is.
    pub client_id: ClientId,
    /// What it asks for.
    pub scope: Scope,
    /// At which resources.
    pub resources: Vec<String>,
    /// From where.
    pub address: IpAddr,
    /// When.
    pub asked: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// What the page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePage {
    /// The client's name, for people.
    pub client_name: String,
    /// The code that the device shows.
    pub user_code: String,
    /// The scopes that are asked for, sorted.
    pub scopes: Vec<String>,
    /// Where the device asked from.
    pub address: IpAddr,
    /// When.
    pub asked: Timestamp,
}

/// A device that waits, found by the code that a person typed.
struct Waiting {
    user_code: UserCode,
    family: FamilyId,
    request: DeviceRequest,
    client_name: String,
}

/// Whether a client may use the grant. FAPI 2.0 knows the code flow alone.
///
/// # Errors
/// `unauthorized_client`.
pub fn check_grant(client: &Client, profile: Profile) -> Result<(), Refusal> {
    if client.grant_types.contains(&GrantType::DeviceCode) && profile < Profile::Fapi2 {
        return Ok(());
    }
    let description = "this client may not use the device grant";
    Err(Refusal::new(ErrorCode::UnauthorizedClient, Reason::GrantNotAllowed, description).of(&client.client_id))
}

impl AuthorizationServer {
    /// Takes a device's request in, and gives it its two codes (§3.1, §3.2).
    ///
    /// # Errors
    /// Those of the token endpoint.
    pub async fn authorize_device(&self, request: &ClientRequest<'_>) -> Result<DeviceAuthorization, OauthError> {
        let now = self.clock.now()?;
        let requesting = self.authenticate(request, now).await?;
        if let RequestingClient::Public(public) = &requesting {
            let address = request.presenter.address;
            self.admit_anonymous(address).map_err(|error| error.of(public.client_id()))?;
        }
        let client = requesting.client().clone();
        let of = |refusal: Refusal| refusal.of(&client.client_id);
        let rules = self.rules(&client);
        check_grant(&client, rules.profile)?;
        let (scope, resources) = scope_within_registration(request.parameters, &client, &rules, &self.resources).map_err(of)?;
        if scope.contains("openid") && self.id_token_algorithm(&client).is_none() {
            let description = "this server has no key for this client's id_token_signed_response_alg";
            return Err(of(Refusal::new(ErrorCode::ServerError, Reason::SigningKeyAbsent, description)).into());
        }
        let expires = now.plus(LIFETIME);
        let asked = DeviceRequest {
            client_id: client.client_id.clone(),
            scope,
            resources,
            address: request.presenter.address.to_canonical(),
            asked: now,
            expires,
        };
        let state = to_json(&asked)?;
        let device_code = random_text(DEVICE_CODE_PREFIX, &*self.randomness)?;
        let family = FamilyId::random(&*self.randomness)?;
        for _ in 0..TRIES {
            let user_code = UserCode::random(&*self.randomness)?;
            let new = NewDeviceAuthorization {
                device_code: &device_code,
                user_code: user_code.as_str(),
                family: &family,
                request: &state,
                pause: INTERVAL_SECONDS,
                expires: expires.plus(MEMORY),
            };
            if self.store.add_device_authorization(&new).await? == DeviceAdded::Added {
                let verification_uri = self.endpoints.page(path::DEVICE);
                return Ok(DeviceAuthorization {
                    verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
                    device_code,
                    user_code,
                    verification_uri,
                    expires_in: LIFETIME.seconds(),
                    interval: INTERVAL_SECONDS,
                });
            }
        }
        Err(Fault::Unavailable(Reason::Overloaded).into())
    }

    /// The page for a code that somebody typed.
    ///
    /// # Errors
    /// When no device waits under it, and when too many such codes were typed.
    pub async fn device_page(&self, typed: &str, login: &SignedIn) -> Result<DevicePage, OauthError> {
        let Waiting { user_code, request, client_name, .. } = self.waiting(typed, login).await?;
        Ok(DevicePage {
            client_name,
            user_code: user_code.to_string(),
            scopes: request.scope.tokens().map(str::to_owned).collect(),
            address: request.address,
            asked: request.asked,
        })
    }

    /// Goes on with what the person said; gives the client's name. `_form` proves that they said it on our own page.
    ///
    /// # Errors
    /// When no device waits under the code, or somebody has decided already.
    pub async fn decide_device(
        &self,
        typed: &str,
        decided: Decided,
        _form: &FormChecked,
        login: &SignedIn,
        request_id: &RequestId,
    ) -> Result<String, OauthError> {
        let Waiting { user_code, family, request, client_name } = self.waiting(typed, login).await?;
        let now = self.clock.now()?;
        let (request_id, client_id) = (request_id.clone(), request.client_id.clone());
        let (subject, session_id) = (login.subject.clone(), login.session_id.clone());
        let decision = match decided {
            Decided::Deny => {
                let event = AuditEvent::AuthorizationDenied { request_id, client_id, subject, session_id };
                self.store.decide_device(user_code.as_str(), &login.subject, None, now, &Trailed { time: now, event }).await?
            }
            Decided::Allow => {
                let granted = to_json(&granted(login, &request))?;
                let scope = request.scope.clone();
                let event = AuditEvent::AuthorizationGranted { request_id, client_id, subject, session_id, family, scope };
                let granted = Some((granted.as_slice(), &login.session_id));
                self.store.decide_device(user_code.as_str(), &login.subject, granted, now, &Trailed { time: now, event }).await?
            }
        };
        if decision { Ok(client_name) } else { Err(nobody_waits().of(&request.client_id).into()) }
    }

    async fn waiting(&self, typed: &str, login: &SignedIn) -> Result<Waiting, OauthError> {
        let guess = self.device_guesses.count(&login.subject, self.clock.monotonic()).map_err(|throttled| {
            OauthError::Throttled(Throttled { retry_after_seconds: throttled.retry_after.as_secs().saturating_add(1) }, None)
        })?;
        let now = self.clock.now()?;
        let user_code = UserCode::typed(typed).ok_or_else(nobody_waits)?;
        let record = self.store.device_authorization_of(user_code.as_str(), now).await?.ok_or_else(nobody_waits)?;
        let request: DeviceRequest = from_json(&record.request)?;
        let client = self.clients.client(&request.client_id).ok_or_else(nobody_waits)?;
        if record.state != DeviceState::Pending || now >= request.expires {
            return Err(nobody_waits().of(&request.client_id).into());
        }
        check_grant(&client, self.rules(&client).profile)?;
        self.device_guesses.forgive(guess);
        let client_name = client.name.clone().unwrap_or_else(|| client.client_id.as_str().to_owned());
        Ok(Waiting { user_code, family: record.family, request, client_name })
    }
}

fn granted(login: &SignedIn, request: &DeviceRequest) -> Granted {
    Granted {
        subject: login.subject.clone(),
        session_id: login.session_id.clone(),
        auth_time: login.auth_time,
        amr: login.amr.iter().map(|method| method.as_str().to_owned()).collect(),
        acr: login.acr.map(|acr| acr.as_str().to_owned()),
        scope: request.scope.clone(),
        resources: request.resources.clone(),
        claims: ClaimsRequest::default(),
    }
}

fn nobody_waits() -> Refusal {
    let description = "No device is waiting under this code: it may be mistyped, older than ten minutes, or used already.";
    Refusal::new(ErrorCode::InvalidRequest, Reason::UserCodeUnknown, description)
}
