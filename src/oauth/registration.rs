//! Clients that register themselves (RFC 7591, OpenID Connect Dynamic Client Registration 1.0), and manage their registration (RFC
//! 7592).
//!
//! What they ask for is read like an operator's registration, under a policy: the profile `openid`, the resources and scopes that the
//! configuration names, the grants of the code flow, no name in certificates. Members that are not understood are passed over, as the
//! standards have it; what is registered is told in the answer. What a software statement says (`software_statement`) cannot be said
//! otherwise.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::authorization::random_text;
use super::client_auth::{Throttle, ThrottleLimits};
use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::metadata::path;
use super::profiles::Demand;
use super::registration_token::{Management, PREFIX, Registrant, RegistrationBinding};
use super::server::AuthorizationServer;
use super::software_statement::{self, SoftwareStatementError, SoftwareStatements};
use crate::clients::{
    Authentication, Client, GrantType, LONGEST_TOKEN_LIFETIME, MetadataError, SubjectType, generate_secret, removal_window,
};
use crate::config::settings::{RegistrationModeSetting, RegistrationSettings};
use crate::domain::{ClientId, Scope, Timestamp, TokenId};
use crate::event::Reason;
use crate::jose::digest::sha256;
use crate::jose::json;
use crate::oidc::claims;
use crate::store::{KeptSecret, Registered, RegistrationReplaced, SecretRecord};

/// What a registration says of this server's own, which nobody sets for themselves.
const OURS: [&str; 8] = [
    "client_id",
    "client_secret",
    "profile",
    "resources",
    "anchor_set",
    "access_token_format",
    "refresh_token_grants",
    "refresh_token_rebinding",
];
/// Characters of a name that people are shown.
const LONGEST_NAME: usize = 200;
/// Lists of redirect URIs that are fetched at once.
const MOST_SECTOR_FETCHES: usize = 16;
/// What tokens are bound to.
const BOUND: [&str; 2] = ["tls_client_certificate_bound_access_tokens", "dpop_bound_access_tokens"];
/// How long an answer waits until this process knows the client, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// Who may register what.
#[derive(Debug)]
pub struct Registration {
    who: Who,
    token_binding: RegistrationBinding,
    scope: Scope,
    resources: Vec<String>,
    most: u32,
    redirect_errors: bool,
    throttle: Throttle,
    sector_fetches: Semaphore,
    statements: SoftwareStatements,
    statement: Demand,
}

#[derive(Debug)]
enum Who {
    Nobody,
    Holders(Vec<[u8; 32]>),
    Anybody,
}

/// Why the section cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationSettingsError {
    /// Not a digest.
    #[error("initial_access_token_sha256: `{0}` is not a SHA-256 digest in hexadecimal")]
    Digest(String),
    /// Nobody could register.
    #[error("mode = \"initial_access_token\" needs initial_access_token_sha256")]
    NoToken,
    /// Not a scope.
    #[error("scopes: `{0}` is not a scope")]
    Scope(String),
    /// An issuer of software statements.
    #[error("{0}")]
    SoftwareStatements(#[from] SoftwareStatementError),
    /// Nobody could register.
    #[error("require_software_statement needs a software_statement_issuer")]
    NoStatementIssuer,
    /// Out of range.
    #[error("per_address_per_minute must be from 1 to 60000")]
    Rate,
}

impl Registration {
    /// Checks the configuration's section. `read` gives the contents of a file that it names.
    ///
    /// # Errors
    /// See [`RegistrationSettingsError`].
    pub fn from_settings(
        settings: &RegistrationSettings,
        read: impl Fn(&std::path::Path) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, RegistrationSettingsError> {
        let statements = SoftwareStatements::from_settings(&settings.software_statement_issuer, read)?;
        let statement = match settings.require_software_statement {
            true if statements.is_empty() => return Err(RegistrationSettingsError::NoStatementIssuer),
            true => Demand::Required,
            false => Demand::Optional,
        };
        let digests = settings.initial_access_token_sha256.iter().map(|text| digest(text)).collect::<Result<Vec<_>, _>>()?;
        let who = match settings.mode {
            RegistrationModeSetting::Off => Who::Nobody,
            RegistrationModeSetting::Open => Who::Anybody,
            RegistrationModeSetting::InitialAccessToken if digests.is_empty() => return Err(RegistrationSettingsError::NoToken),
            RegistrationModeSetting::InitialAccessToken => Who::Holders(digests),
        };
        let mut scope = claims::scopes();
        for text in &settings.scopes {
            let more: Scope = text.parse().map_err(|_| RegistrationSettingsError::Scope(text.clone()))?;
            scope = scope.union(&more);
        }
        let per_minute = settings.per_address_per_minute;
        if !(1..=60_000).contains(&per_minute) {
            return Err(RegistrationSettingsError::Rate);
        }
        let limits = ThrottleLimits { address_failures_per_minute: per_minute, client_failures_per_minute: per_minute };
        let (resources, most) = (settings.resources.clone(), settings.max_clients);
        let redirect_errors = settings.redirect_errors;
        let (throttle, sector_fetches) = (Throttle::new(limits), Semaphore::new(MOST_SECTOR_FETCHES));
        let token_binding = settings.token_binding.into();
        Ok(Self { who, token_binding, scope, resources, most, redirect_errors, throttle, sector_fetches, statements, statement })
    }

    /// Whether anybody may register a client.
    pub const fn is_on(&self) -> bool {
        !matches!(self.who, Who::Nobody)
    }

    /// Whether registration access tokens may be bound to certificates.
    pub fn binds_tokens(&self) -> bool {
        self.token_binding != RegistrationBinding::Never
    }

    pub(super) const fn token_binding(&self) -> RegistrationBinding {
        self.token_binding
    }

    pub(super) const fn statements(&self) -> &SoftwareStatements {
        &self.statements
    }

    /// Whether redirect URIs may be anybody's, so that refusals are not sent there before a person is signed in.
    pub(super) const fn distrusts_redirects(&self) -> bool {
        matches!(self.who, Who::Anybody) && !self.redirect_errors
    }

    /// Whether whoever shows this may register a client.
    fn check(&self, bearer: Option<&str>) -> Result<(), Refusal> {
        match (&self.who, bearer) {
            (Who::Anybody, _) => Ok(()),
            (Who::Nobody, _) => Err(invalid_token("nobody may register clients here")),
            (Who::Holders(_), None) => Err(invalid_token("an initial access token is needed (RFC 7591 section 3)")),
            (Who::Holders(digests), Some(bearer)) => {
                let presented = sha256(bearer.as_bytes());
                let known = digests.iter().fold(subtle::Choice::from(0), |known, digest| known | digest.ct_eq(&presented));
                if known.into() { Ok(()) } else { Err(invalid_token("the initial access token is not one of this server's")) }
            }
        }
    }
}

fn digest(text: &str) -> Result<[u8; 32], RegistrationSettingsError> {
    let refused = || RegistrationSettingsError::Digest(text.to_owned());
    let mut digest = [0u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(refused());
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(refused)?;
    }
    Ok(digest)
}

pub(super) fn invalid_token(description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidToken, Reason::RegistrationToken, description)
}

fn invalid(description: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidClientMetadata, Reason::ClientMetadata, printable(&description.into()))
}

/// Words about metadata as `error_description` may have them (RFC 6749 §5.2).
fn printable(text: &str) -> String {
    text.replace('\u{a7}', "section ").replace(['`', '"', '\\'], "'").chars().filter(|c| matches!(c, ' '..='~')).collect()
}

impl From<MetadataError> for Refusal {
    fn from(error: MetadataError) -> Self {
        let about_redirect_uris = matches!(error, MetadataError::RedirectUri { .. } | MetadataError::RedirectUris);
        let code = if about_redirect_uris { ErrorCode::InvalidRedirectUri } else { ErrorCode::InvalidClientMetadata };
        Self::new(code, Reason::ClientMetadata, printable(&error.to_string()))
    }
}

impl AuthorizationServer {
    /// Registers a client (RFC 7591 §3.1).
    ///
    /// # Errors
    /// Those of RFC 7591 §3.2.2; `invalid_token` without a good initial access token where one is needed.
    pub async fn register(&self, body: &[u8], registrant: &Registrant<'_>) -> Result<Value, OauthError> {
        let now = self.clock.now()?;
        let rules = &self.registration;
        self.count_registration(registrant.address)?;
        rules.check(registrant.bearer)?;
        let certificate = self.confirm_registrant(registrant, now)?;
        let client_id: ClientId =
            TokenId::random(&*self.randomness)?.as_str().parse().map_err(|_| Fault::Defect(Reason::Defect))?;
        let secret = generate_secret(&*self.randomness)?;
        let read = self.read_metadata(body, &client_id, Secret::New(&secret), rules.statement, now).await?;
        let client = read.client;
        let token = random_text(PREFIX, &*self.randomness)?;
        match self.store.register_client(&client.to_record(), &token, certificate, rules.most, now).await? {
            Registered::Now => {}
            Registered::TooMany => return Err(Fault::Unavailable(Reason::Overloaded).into()),
            Registered::Exists => return Err(Fault::Defect(Reason::Defect).into()),
        }
        self.until_known(&client_id, Some(&client)).await?;
        let management = Management { token: &token, created: now, certificate };
        Ok(self.whole_registration(&client, &management, read.has_secret.then_some(&secret)))
    }

    /// Registrations and changes of them are few from each address. Each counts, whatever comes of it.
    fn count_registration(&self, address: IpAddr) -> Result<(), OauthError> {
        let (throttle, monotonic) = (&self.registration.throttle, self.clock.monotonic());
        throttle.check(address, None, monotonic).map_err(|throttled| OauthError::Throttled(throttled, None))?;
        throttle.failed(address, None, monotonic);
        Ok(())
    }

    /// A client's registration (RFC 7592 §2.1).
    ///
    /// # Errors
    /// `invalid_token`, also for a client that is gone.
    pub async fn registered(&self, client_id: &str, registrant: &Registrant<'_>) -> Result<Value, OauthError> {
        let client_id = named(client_id)?;
        let management = self.manager(&client_id, registrant).await?;
        let record = self.store.client(&client_id).await?.ok_or_else(foreign)?;
        let client = Client::from_record(&record).map_err(|_| Fault::Defect(Reason::Defect))?;
        Ok(self.whole_registration(&client, &management, None))
    }

    /// Replaces a client's registration (RFC 7592 §2.2). How it authenticates stays: that takes a new registration. Its keys stay too,
    /// unless it shows more than a bearer token: the certificate of a bound one, or a software statement that names them.
    ///
    /// # Errors
    /// `invalid_token`, and those of a registration.
    pub async fn update_registration(
        &self,
        client_id: &str,
        registrant: &Registrant<'_>,
        body: &[u8],
    ) -> Result<Value, OauthError> {
        self.count_registration(registrant.address)?;
        let client_id = named(client_id)?;
        let management = self.manager(&client_id, registrant).await?;
        let record = self.store.client(&client_id).await?.ok_or_else(foreign)?;
        let before = Client::from_record(&record).map_err(|_| Fault::Defect(Reason::Defect))?;
        let members = json::parse_object(body).map_err(|_| invalid("the body is not a JSON object"))?;
        if members.get("client_id").and_then(Value::as_str) != Some(client_id.as_str()) {
            return Err(invalid("client_id must be there and be this client's (RFC 7592 section 2.2)").into());
        }
        // What was registered with a statement is changed with one.
        let statement = if before.about.software_statement().is_some() { Demand::Required } else { self.registration.statement };
        let (secret, now) = (Secret::Kept(record.secret.as_ref(), &before), self.clock.now()?);
        let read = self.read_metadata(body, &client_id, secret, statement, now).await?;
        let client = read.client;
        if client.authentication.method() != before.authentication.method() {
            return Err(invalid("token_endpoint_auth_method stays as it is: register a new client").into());
        }
        keeps_its_names(&before, &client)?;
        if management.certificate.is_none() && !read.keys_are_vouched_for {
            keeps_its_keys(&before, &client)?;
        }
        match self.store.replace_registration(management.token, &record, &client.to_record(), self.clock.now()?).await? {
            RegistrationReplaced::Now => {}
            RegistrationReplaced::Foreign => return Err(foreign().into()),
            RegistrationReplaced::ChangedMeanwhile => return Err(Fault::Unavailable(Reason::RegistrationChanged).into()),
        }
        self.until_known(&client_id, Some(&client)).await?;
        Ok(self.whole_registration(&client, &management, None))
    }

    /// Removes a client that registered itself (RFC 7592 §2.3). Its tokens are revoked.
    ///
    /// # Errors
    /// `invalid_token`.
    pub async fn remove_registration(&self, client_id: &str, registrant: &Registrant<'_>) -> Result<(), OauthError> {
        let client_id = named(client_id)?;
        self.manager(&client_id, registrant).await?;
        let now = self.clock.now()?;
        if let Some(made) = self.store.remove_client(&client_id, removal_window(now, LONGEST_TOKEN_LIFETIME), now).await? {
            self.revocations.update(|rules| rules.with(made.clone()));
        }
        self.until_known(&client_id, None).await
    }

    /// Reads what a client asks for, under the policy.
    async fn read_metadata(
        &self,
        body: &[u8],
        client_id: &ClientId,
        secret: Secret<'_>,
        statement: Demand,
        now: Timestamp,
    ) -> Result<Read, OauthError> {
        let mut members = json::parse_object(body).map_err(|_| invalid("the body is not a JSON object"))?;
        let keys_are_vouched_for = self.apply_statement(&mut members, statement, now).await?;
        members.retain(|name, value| !value.is_null() && Client::knows(name) && !OURS.contains(&name.as_str()));
        if members.values().any(has_control) {
            return Err(invalid("a text has a control character").into());
        }
        if members.get("client_name").and_then(Value::as_str).is_some_and(|name| name.chars().count() > LONGEST_NAME) {
            return Err(invalid("client_name has more than 200 characters").into());
        }
        let has_secret = self.apply_policy(&mut members)?;
        if let Secret::Kept(_, before) = secret {
            keep_limits(&mut members, before)?;
        }
        // RFC 8705 §3.4, RFC 9449 §5.2: bearer tokens unless the client asks for better ones.
        if !BOUND.iter().any(|name| members.contains_key(*name)) {
            members.insert(BOUND[0].to_owned(), json!(false));
        }
        let kept = match secret {
            Secret::New(secret) if has_secret => {
                members.insert("client_secret".into(), json!(secret.as_str()));
                None
            }
            Secret::New(_) => None,
            Secret::Kept(kept, _) => kept,
        };
        let document = Zeroizing::new(Value::Object(members).to_string());
        let kept = KeptSecret { key: Some(&self.store.secret_key()), record: kept };
        let client = Client::from_metadata(document.as_bytes(), Some(client_id), kept).map_err(Refusal::from)?;
        let (of_people, of_messages) = (&client.authorization, &client.messages);
        let asked = [
            of_people.id_token_signed_response_alg,
            of_people.userinfo_signed_response_alg,
            of_messages.authorization_signed_response_alg,
            of_messages.introspection_signed_response_alg,
        ];
        if asked.into_iter().flatten().any(|algorithm| !self.key_plan.algorithms.contains(&algorithm)) {
            return Err(invalid("this server has no key for the algorithm that was asked for").into());
        }
        self.check_sector(&client).await?;
        Ok(Read { client, has_secret, keys_are_vouched_for })
    }

    /// RFC 7591 §2.3: what the statement says takes precedence. Gives whether it names the client's keys.
    async fn apply_statement(
        &self,
        members: &mut Map<String, Value>,
        demand: Demand,
        now: Timestamp,
    ) -> Result<bool, OauthError> {
        let statements = &self.registration.statements;
        let sent = match members.get(software_statement::MEMBER) {
            _ if statements.is_empty() && demand == Demand::Optional => {
                members.remove(software_statement::MEMBER);
                return Ok(false);
            }
            None | Some(Value::Null) if demand == Demand::Optional => return Ok(false),
            Some(Value::String(text)) => text,
            _ => {
                let description = "a software statement is needed, as a text";
                return Err(software_statement::refused(Reason::SoftwareStatement, description).into());
            }
        };
        let mut claims = self.read_statement(sent, now).await?;
        claims.retain(|name, value| !value.is_null() && name != software_statement::MEMBER && Client::knows(name));
        for (one, other) in [("jwks", "jwks_uri"), ("jwks_uri", "jwks")] {
            if claims.contains_key(one) {
                members.remove(other);
            }
        }
        let names_keys = claims.contains_key("jwks") || claims.contains_key("jwks_uri");
        members.extend(claims);
        Ok(names_keys)
    }

    fn apply_policy(&self, members: &mut Map<String, Value>) -> Result<bool, Refusal> {
        let method = members.entry("token_endpoint_auth_method").or_insert_with(|| json!("client_secret_basic"));
        let method = method.as_str().unwrap_or_default().to_owned();
        if method == "tls_client_auth" {
            return Err(invalid("tls_client_auth is registered by this server's operator"));
        }
        // What means nothing is not kept (RFC 7591 §2): a set without keys, an algorithm of a method that signs nothing.
        if members.get("jwks").is_some_and(|jwks| jwks.get("keys").and_then(Value::as_array).is_some_and(Vec::is_empty)) {
            members.remove("jwks");
        }
        if !matches!(method.as_str(), "private_key_jwt" | "client_secret_jwt") {
            members.remove("token_endpoint_auth_signing_alg");
        }
        let code = GrantType::AuthorizationCode.name();
        let grants = members.entry("grant_types").or_insert_with(|| json!([code]));
        let served = [code, GrantType::RefreshToken.name()];
        if grants.as_array().is_some_and(|grants| grants.iter().any(|grant| !served.iter().any(|served| grant == served))) {
            return Err(invalid("grant_types may have authorization_code and refresh_token"));
        }
        let rules = &self.registration;
        let scope = match members.get("scope").and_then(Value::as_str) {
            None => rules.scope.clone(),
            Some(written) => match written.parse::<Scope>() {
                Ok(asked) => asked.intersection(&rules.scope),
                Err(_) => return Err(invalid("scope is malformed (RFC 6749 section 3.3)")),
            },
        };
        members.insert("scope".into(), json!(scope.to_string()));
        members.insert("profile".into(), json!("openid"));
        members.insert("resources".into(), json!(rules.resources));
        Ok(method.starts_with("client_secret_"))
    }

    /// OpenID Connect Registration §5: the redirect URIs "MUST be included in the elements of the array".
    async fn check_sector(&self, client: &Client) -> Result<(), OauthError> {
        let Some(uri) = &client.authorization.sector_identifier_uri else { return Ok(()) };
        let permit = self.registration.sector_fetches.try_acquire();
        let _permit = permit.map_err(|_| Fault::Unavailable(Reason::Overloaded))?;
        let listed = self.fetch_sector(uri.url()).await.map_err(|problem| {
            tracing::info!(problem, "a sector_identifier_uri cannot be read");
            invalid("sector_identifier_uri cannot be read, or is not an array of URIs")
        })?;
        let all = client.authorization.redirect_uris.iter().all(|uri| listed.iter().any(|listed| listed == uri.as_str()));
        if all { Ok(()) } else { Err(invalid("sector_identifier_uri does not list every one of redirect_uris").into()) }
    }

    async fn fetch_sector(&self, url: &url::Url) -> Result<Vec<String>, String> {
        let outbound = self.outbound.as_ref().ok_or("nothing is fetched: name whom to trust in [outbound]")?;
        let answer = outbound.get(url).await.map_err(|error| error.to_string())?;
        if answer.status != http::StatusCode::OK {
            return Err(format!("the server answered with {}", answer.status.as_u16()));
        }
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
    }

    /// Waits until requests of the client find what was registered.
    async fn until_known(&self, client_id: &ClientId, wanted: Option<&Client>) -> Result<(), OauthError> {
        let known = async {
            while self.clients.client(client_id).as_deref() != wanted {
                tokio::time::sleep(LOOK).await;
            }
        };
        // The registration lasts; only this process is late.
        Ok(tokio::time::timeout(PATIENCE, known).await.map_err(|_| Fault::Unavailable(Reason::StoreUnavailable))?)
    }

    /// The whole registration (RFC 7591 §3.2.1).
    fn whole_registration(&self, client: &Client, management: &Management<'_>, secret: Option<&Zeroizing<String>>) -> Value {
        let mut members: Map<String, Value> = serde_json::from_str(&client.to_metadata()).unwrap_or_default();
        members.retain(|name, _| name == "client_id" || !OURS.contains(&name.as_str()));
        if let Some(algorithm) = self.id_token_algorithm(client) {
            members.insert("id_token_signed_response_alg".into(), json!(algorithm.name()));
        }
        members.insert("client_id_issued_at".into(), json!(management.created));
        if let Some(secret) = secret {
            members.insert("client_secret".into(), json!(secret.as_str()));
            members.insert("client_secret_expires_at".into(), json!(0));
        }
        members.insert("registration_access_token".into(), json!(management.token));
        let mut base = self.issuer.join(path::REGISTRATION);
        if let Some(certificate) = management.certificate {
            base = self.endpoints.mtls(path::REGISTRATION);
            members.insert("symbolon_registration_access_token_cnf".into(), json!({ "x5t#S256": certificate }));
        }
        members.insert("registration_client_uri".into(), json!(format!("{base}/{}", client.client_id)));
        Value::Object(members)
    }
}

/// What a registration asks for, as it is granted.
struct Read {
    client: Client,
    /// Whether it authenticates with a secret.
    has_secret: bool,
    /// Whether a software statement names its keys.
    keys_are_vouched_for: bool,
}

/// Whether a text within has a control character: nothing that an operator's terminal should meet.
fn has_control(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().any(char::is_control),
        Value::Array(values) => values.iter().any(has_control),
        Value::Object(members) => members.iter().any(|(name, value)| name.chars().any(char::is_control) || has_control(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The client of a place.
fn named(client_id: &str) -> Result<ClientId, Refusal> {
    client_id.parse().map_err(|_| foreign())
}

pub(super) fn foreign() -> Refusal {
    invalid_token("the registration access token is not this client's, or there is no such client")
}

/// How a client is told who signed in stays: a client that could change it would learn by which names another sector knows people
/// (OpenID Connect Core §8.1).
fn keeps_its_names(before: &Client, after: &Client) -> Result<(), Refusal> {
    let (before, after) = (&before.authorization, &after.authorization);
    if before.subject_type != after.subject_type {
        return Err(invalid("subject_type stays as it is: register a new client"));
    }
    if after.subject_type == SubjectType::Pairwise && before.sector() != after.sector() {
        return Err(invalid("the sector of a client with pairwise subjects stays as it is: register a new client"));
    }
    Ok(())
}

/// The keys that a client proves itself with, or signs with, are who it is: whoever has come by its bearer token alone puts no others in
/// their place. Where it publishes them, it changes them there.
fn keeps_its_keys(before: &Client, after: &Client) -> Result<(), Refusal> {
    let certificates = |client: &Client| match &client.authentication {
        Authentication::SelfSignedTlsClientAuth(certificates) => Some(certificates.clone()),
        _ => None,
    };
    let had_none = before.keys().is_none();
    if (had_none || before.keys() == after.keys()) && certificates(before) == certificates(after) {
        return Ok(());
    }
    Err(invalid(
        "jwks and jwks_uri stay as they are, unless the registration access token is bound to a certificate or a software statement \
         names them: register a new client, or change what jwks_uri publishes",
    ))
}

/// A client that changes its registration keeps what was narrowed since: its profile, its anchor set, what its tokens are bound to where it
/// does not say; its resources and its scope only become less.
fn keep_limits(members: &mut Map<String, Value>, before: &Client) -> Result<(), Refusal> {
    let known: Map<String, Value> = serde_json::from_str(&before.to_metadata()).unwrap_or_default();
    let is_bound_anew = BOUND.iter().any(|name| members.contains_key(*name));
    let kept = BOUND.iter().filter(|_| !is_bound_anew).chain(&["profile", "anchor_set", "access_token_format"]);
    for name in kept {
        match known.get(*name) {
            Some(value) => drop(members.insert((*name).to_owned(), value.clone())),
            None => drop(members.remove(*name)),
        }
    }
    if let Some(resources) = members.get_mut("resources").and_then(Value::as_array_mut) {
        resources.retain(|resource| before.resources.iter().any(|kept| resource == kept));
    }
    let scope = members.get("scope").and_then(Value::as_str).unwrap_or_default();
    let scope: Scope = scope.parse().map_err(|_| invalid("scope is malformed (RFC 6749 section 3.3)"))?;
    members.insert("scope".into(), json!(scope.intersection(&before.scope).to_string()));
    Ok(())
}

/// What a client's secret is to be.
#[derive(Clone, Copy)]
enum Secret<'a> {
    /// This one.
    New(&'a Zeroizing<String>),
    /// What was kept, of a client that was this before.
    Kept(Option<&'a SecretRecord>, &'a Client),
}
