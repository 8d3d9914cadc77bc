//! The refresh token grant (RFC 6749 §6, RFC 9700 §4.14).
//!
//! A refresh token is a sealed value that names its family and its generation. What it may do is kept with the family.
//!
//! - A confidential client's is bound to the client, which proves itself with each request, with whatever certificate or key it has by
//!   then (RFC 8705 §7.1). It is not rotated: rotation would only lose grants when answers are lost (FAPI 2.0 §5.3.2.1).
//! - A public client's is bound to the certificate or DPoP key that the first token was bound to (RFC 8705 §4, RFC 9449 §5). Not rotated
//!   either: a thief has no use for it. Where the registration allows it, the next certificate takes the place of the one it is bound to
//!   (`rebinding`).
//! - A public client's without such a key is rotated. Whoever presents one that was replaced ends the family, but for a short grace in
//!   which a client that lost the answer gets the present one again.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Approved;
use super::authorization_code::Granted;
use super::delegation::Delegated;
use super::rebinding::Rebinding;
use crate::binding::dpop::ProvenDpop;
use crate::clients::{Client, GrantType};
use crate::domain::{ClientId, Cnf, FamilyId, Issuer, Lifetime, RequestId, Scope, Timestamp};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::oauth::authorization::{from_json, to_json};
use crate::oauth::client_auth::RequestingClient;
use crate::oauth::error::{ErrorCode, Fault, OauthError, Refusal};
use crate::oauth::mint::Binding;
use crate::oauth::mint::IssuedToken;
use crate::oauth::parameters::Parameters;
use crate::oauth::server::AuthorizationServer;
use crate::seal::{BearerContext, KeyRing, Purpose};
use crate::store::{FamilyRecord, Rebound, Rotated};

/// What every refresh token begins with.
pub const PREFIX: &str = "sy_rt_";

/// What whoever presents one is told that counts for nothing (any more).
const UNKNOWN: &str = "the refresh token is unknown, has expired, was revoked, or is another client's";

/// What a refresh token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshToken {
    /// The grant it belongs to.
    pub family: FamilyId,
    /// Which of the tokens of this grant it is.
    pub generation: i64,
}

impl RefreshToken {
    /// Writes it down for its client.
    pub fn seal(&self, ring: &KeyRing, issuer: &Issuer, client_id: &ClientId, expires: Timestamp) -> Result<String, OauthError> {
        let context = BearerContext { purpose: Purpose::RefreshToken, issuer: issuer.as_str() };
        let sealed = ring.seal_bearer(&context, client_id.as_str(), expires, &to_json(self)?);
        Ok(format!("{PREFIX}{}", sealed.map_err(|error| Fault::Unavailable(error.reason()))?))
    }

    /// Reads what [`RefreshToken::seal`] wrote. Whose it is and whether it stands is for the database to say.
    pub fn open(text: &str, ring: &KeyRing, issuer: &Issuer) -> Option<Self> {
        let context = BearerContext { purpose: Purpose::RefreshToken, issuer: issuer.as_str() };
        let opened = ring.open_bearer(&context, text.strip_prefix(PREFIX)?).ok()?;
        serde_json::from_slice(&opened.plaintext).ok()
    }
}

/// What is kept of a grant. Sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyState {
    /// What was granted.
    pub granted: Origin,
    /// Whether there is a refresh token.
    pub refreshes: bool,
    /// The key that a public client must show.
    #[serde(with = "stored_cnf")]
    pub bound_to: Option<Cnf>,
}

/// By whom something was granted. Told apart by what is kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Origin {
    /// A person at the authorization endpoint.
    Person(Granted),
    /// Somebody whose assertion or token the client has presented.
    Delegation(Delegated),
}

/// A confirmation as it stands in a token.
mod stored_cnf {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{Cnf, Value};

    pub fn serialize<S: Serializer>(cnf: &Option<Cnf>, serializer: S) -> Result<S::Ok, S::Error> {
        cnf.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cnf>, D::Error> {
        let value = Option::<Value>::deserialize(deserializer)?;
        value.map(|value| Cnf::from_json(&value).map_err(D::Error::custom)).transpose()
    }
}

/// What is to happen with the refresh token that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// It goes on as it is.
    Stays,
    /// The next one takes its place.
    Rotates,
    /// It was replaced a moment ago: its client gets the present one again.
    Repeats,
    /// It was replaced: somebody has a copy.
    Reused,
}

/// The rule of rotation. `rotates` is for public clients whose refresh tokens are bound to no key.
pub fn succession(presented: i64, family: &FamilyRecord, rotates: bool, grace_seconds: u32, now: Timestamp) -> Succession {
    let is_within_grace = now.seconds_since(family.rotated) < u64::from(grace_seconds);
    match family.generation.saturating_sub(presented) {
        0 if rotates => Succession::Rotates,
        0 => Succession::Stays,
        1 if is_within_grace => Succession::Repeats,
        _ => Succession::Reused,
    }
}

fn invalid_grant(reason: Reason, description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidGrant, reason, description)
}

/// A refresh token that its client may use, over a connection with no other certificate than the one that it is bound to, if it is bound.
#[derive(Debug)]
pub struct Refreshable {
    record: FamilyRecord,
    state: FamilyState,
    presented: RefreshToken,
}

impl Refreshable {
    /// The key that must be shown with it.
    pub const fn bound_to(&self) -> Option<&Cnf> {
        self.state.bound_to.as_ref()
    }
}

impl AuthorizationServer {
    /// Finds the grant of a refresh token that this client presents.
    pub async fn refreshable(
        &self,
        client: &RequestingClient,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<Refreshable, OauthError> {
        let of = |refusal: Refusal| refusal.of(client.client_id());
        if !client.client().grant_types.contains(&GrantType::RefreshToken) {
            let description = "this client may not use the refresh_token grant";
            return Err(of(Refusal::new(ErrorCode::UnauthorizedClient, Reason::GrantNotAllowed, description)).into());
        }
        let text = parameters.require("refresh_token").map_err(of)?;
        let unknown = |reason| of(invalid_grant(reason, UNKNOWN));
        let presented = RefreshToken::open(text, &self.ring, &self.issuer).ok_or_else(|| unknown(Reason::RefreshTokenUnknown))?;
        let record = self.store.family(&presented.family, now).await?;
        let record = record.ok_or_else(|| unknown(Reason::RefreshTokenUnknown))?;
        if record.client_id != *client.client_id() {
            return Err(unknown(Reason::RefreshTokenForeign).into());
        }
        // Of a client of this name that was removed since; granted at the very moment of its removal.
        if let Err(revoked) = self.revocations.load().check_client(client.client_id(), record.created) {
            return Err(unknown(revoked.reason()).into());
        }
        let state: FamilyState = from_json(&record.state)?;
        if !state.refreshes {
            return Err(unknown(Reason::RefreshTokenUnknown).into());
        }
        if let (Some(bound_to), Some(certificate)) = (&state.bound_to, client.certificate()) {
            // Before the certificate is taken note of.
            prove_certificate(bound_to, certificate).map_err(of)?;
        }
        Ok(Refreshable { record, state, presented })
    }

    /// Issues new tokens for a refresh token.
    #[allow(clippy::too_many_arguments, reason = "one call, and each is a thing of its own")]
    pub async fn refresh(
        &self,
        client: &RequestingClient,
        refreshable: Refreshable,
        parameters: &Parameters,
        binding: &Binding,
        proven: Option<&ProvenDpop>,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<IssuedToken, OauthError> {
        let Refreshable { record, state, presented } = refreshable;
        let of = |refusal: Refusal| refusal.of(client.client_id());
        if let Some(bound_to) = &state.bound_to {
            prove(bound_to, client.certificate().map(AsRef::as_ref), proven).map_err(of)?;
        }
        let registration = client.client();
        let rotates = !registration.authentication.is_confidential() && state.bound_to.is_none();
        let grace = self.lifetimes.refresh_token_grace.seconds();
        let succession = succession(presented.generation, &record, rotates, grace, now);
        if succession == Succession::Reused {
            return Err(self.replayed(&record.family, client.client_id(), Reason::RefreshTokenReused, now, request_id).await);
        }
        // No access token outlives its grant.
        let lasts = Lifetime::from_seconds(u32::try_from(record.expires.seconds_since(now)).unwrap_or(u32::MAX));
        let rebinding = self.rebinding(registration, state.bound_to.as_ref(), parameters, now).map_err(of)?;
        let (approved, told) = match &state.granted {
            Origin::Delegation(delegated) => {
                let mut approved = self.approve_again(registration, delegated, record.family.clone(), parameters).map_err(of)?;
                approved.selected.lifetime = approved.selected.lifetime.min(lasts);
                (approved, None)
            }
            Origin::Person(granted) => {
                let scope = narrowed_scope(parameters, &granted.scope, registration).map_err(of)?;
                let resources = narrowed_resources(parameters, &granted.resources).map_err(of)?;
                let is_openid = scope.contains("openid");
                let resources = resources.iter().map(String::as_str);
                let mut selected = self.resources.select_for_person(registration, resources, is_openid).map_err(of)?;
                selected.lifetime = selected.lifetime.min(lasts);
                let subject = self.subject_for(registration, &granted.subject)?;
                // A scope counts only where it exists (RFC 8707 §2.2).
                let scope = scope.intersection(&selected.scopes);
                let approved = Approved::by_person(GrantType::RefreshToken, subject, record.family.clone(), scope, selected);
                (approved, is_openid.then_some(granted))
            }
        };
        let (mut issued, event) = self.mint_for(client, approved, binding, now, request_id)?;
        if let Some(granted) = told {
            issued.id_token = Some(self.id_token(registration, granted, None, &issued.access_token, now).await?);
        }
        let next = |generation| RefreshToken { family: record.family.clone(), generation };
        let seal = |token: RefreshToken| token.seal(&self.ring, &self.issuer, client.client_id(), record.expires);
        match succession {
            Succession::Stays => match &rebinding {
                None => self.record(event)?,
                Some(next) => self.rebind(client, &record, &state, next, event, request_id).await?,
            },
            Succession::Repeats => {
                issued.refresh_token = Some(seal(next(record.generation))?);
                self.record(event)?;
            }
            Succession::Rotates => {
                match self.store.rotate_family(&record.family, presented.generation, now, std::slice::from_ref(&event)).await? {
                    Rotated::To(generation) => issued.refresh_token = Some(seal(next(generation))?),
                    // Another request with the same token was faster: what it made is what a retry gets.
                    Rotated::NotCurrent => {
                        let (family, client_id) = (&record.family, client.client_id());
                        let Some(present) = self.store.family(family, now).await? else {
                            return Err(of(invalid_grant(Reason::RefreshTokenUnknown, UNKNOWN)).into());
                        };
                        // `invalid_grant` would make clients forget a grant that is theirs.
                        if self::succession(presented.generation, &present, rotates, grace, now) != Succession::Repeats {
                            return Err(self.replayed(family, client_id, Reason::RefreshTokenReused, now, request_id).await);
                        }
                        issued.refresh_token = Some(seal(next(present.generation))?);
                        self.record(event)?;
                    }
                }
            }
            Succession::Reused => return Err(Fault::Defect(Reason::Defect).into()),
        }
        if let Origin::Person(granted) = &state.granted
            && !granted.scope.contains("offline_access")
        {
            // The tokens are issued whatever becomes of this.
            if let Err(fault) = self.sessions.touch(&granted.session_id, now).await {
                tracing::warn!(reason = %fault.reason(), "the use of a session could not be noted");
            }
        }
        Ok(issued)
    }

    /// Binds a refresh token to the next certificate, in one transaction with the events. The token itself stays: a client that loses the
    /// answer finds out which certificate it is bound to by using it.
    async fn rebind(
        &self,
        client: &RequestingClient,
        record: &FamilyRecord,
        state: &FamilyState,
        next: &Rebinding,
        issued: Trailed,
        request_id: &RequestId,
    ) -> Result<(), OauthError> {
        let certificate = next.certificate().thumbprint();
        let before = state.bound_to.as_ref();
        let bound_to = match before.and_then(Cnf::jkt) {
            None => Cnf::certificate(certificate),
            Some(jkt) => Cnf::certificate_and_dpop(certificate, *jkt),
        };
        let event = AuditEvent::RefreshTokenRebound {
            request_id: request_id.clone(),
            client_id: client.client_id().clone(),
            family: record.family.clone(),
            certificate: before.and_then(Cnf::x5t_s256).copied(),
            next_certificate: certificate,
            not_after: next.certificate().not_after(),
        };
        let state = to_json(&FamilyState { bound_to: Some(bound_to), ..state.clone() })?;
        self.use_rebinding(next).await.map_err(|error| error.of(client.client_id()))?;
        let events = [Trailed { time: issued.time, event }, issued];
        match self.store.rebind_family(&record.family, record.rebound, &state, &events).await? {
            Rebound::Now => Ok(()),
            Rebound::Before => {
                let description = "the refresh token was bound to another certificate, or has ended, a moment ago";
                Err(invalid_grant(Reason::RebindingLate, description).of(client.client_id()).into())
            }
        }
    }

    fn record(&self, event: Trailed) -> Result<(), Fault> {
        self.audit.record(event).map_err(|_| Fault::Unavailable(Reason::AuditUnavailable))
    }
}

fn bound_elsewhere(reason: Reason) -> Refusal {
    invalid_grant(reason, "the refresh token is bound to another key")
}

/// The key that a public client's refresh token is bound to (RFC 8705 §4, RFC 9449 §5).
fn prove(bound_to: &Cnf, certificate: Option<&crate::tls::PeerCertificate>, proven: Option<&ProvenDpop>) -> Result<(), Refusal> {
    if bound_to.x5t_s256().is_some() {
        prove_certificate(bound_to, certificate.ok_or_else(|| bound_elsewhere(Reason::BindingCertificateAbsent))?)?;
    }
    match bound_to.jkt() {
        Some(expected) if !proven.is_some_and(|proven| expected.matches(proven.thumbprint())) => {
            Err(bound_elsewhere(Reason::DpopJkt))
        }
        _ => Ok(()),
    }
}

fn prove_certificate(bound_to: &Cnf, certificate: &crate::tls::PeerCertificate) -> Result<(), Refusal> {
    match bound_to.x5t_s256() {
        Some(expected) if !expected.matches(&certificate.thumbprint()) => {
            Err(bound_elsewhere(Reason::BindingCertificateMismatch))
        }
        _ => Ok(()),
    }
}

/// RFC 6749 §6: "The requested scope MUST NOT include any scope not originally granted". What the registration lost since is lost here
/// too.
fn narrowed_scope(parameters: &Parameters, granted: &Scope, client: &Client) -> Result<Scope, Refusal> {
    let standing = granted.intersection(&client.scope);
    let Some(written) = parameters.get("scope") else { return Ok(standing) };
    let requested: Scope = written.parse().map_err(|_| {
        Refusal::new(ErrorCode::InvalidScope, Reason::ParameterMalformed, "scope is malformed (RFC 6749 section 3.3)")
    })?;
    if requested.is_subset(&standing) {
        return Ok(requested);
    }
    Err(Refusal::new(ErrorCode::InvalidScope, Reason::ScopeNotAllowed, "the scope goes beyond what was granted"))
}

/// RFC 8707 §2.2: those that were granted, or some of them.
pub(super) fn narrowed_resources(parameters: &Parameters, granted: &[String]) -> Result<Vec<String>, Refusal> {
    let requested: Vec<String> = parameters.all("resource").map(str::to_owned).collect();
    if requested.is_empty() {
        return Ok(granted.to_vec());
    }
    if requested.iter().all(|resource| granted.contains(resource)) {
        return Ok(requested);
    }
    Err(Refusal::new(ErrorCode::InvalidTarget, Reason::ResourceNotAllowed, "the resource goes beyond what was granted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(generation: i64, rotated: i64) -> FamilyRecord {
        FamilyRecord {
            family: "f".parse().expect("a family"),
            client_id: "app".parse().expect("a client"),
            state: crate::seal::Plaintext::default(),
            generation,
            rotated: Timestamp::from_seconds(rotated),
            created: Timestamp::from_seconds(0),
            rebound: 0,
            expires: Timestamp::from_seconds(10_000),
        }
    }

    #[test]
    fn a_replaced_token_is_reuse_but_for_the_grace() {
        use Succession::*;
        let now = Timestamp::from_seconds(100);
        // Presented, current, rotated at, rotates, grace.
        let table = [
            (1, 1, 0, true, 10, Rotates),
            (1, 1, 0, false, 10, Stays),
            (1, 2, 95, true, 10, Repeats),
            (1, 2, 90, true, 10, Reused),
            (1, 2, 95, true, 0, Reused),
            (1, 3, 99, true, 10, Reused),
            (1, 2, 0, false, 10, Reused),
            (3, 2, 99, true, 10, Reused),
        ];
        for (presented, current, rotated, rotates, grace, expected) in table {
            let found = succession(presented, &family(current, rotated), rotates, grace, now);
            assert_eq!(found, expected, "{presented} of {current}, rotated at {rotated}, {rotates}, {grace}");
        }
    }

    #[test]
    fn scope_and_resources_are_narrowed_and_never_widened() {
        let client = serde_json::json!({
            "client_id": "app", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=app",
            "scope": "read write",
        });
        let client = Client::from_text(client.to_string().as_bytes()).expect("a client");
        let granted: Scope = "read write admin".parse().expect("a scope");
        let scope = |text: &str| {
            let parameters = Parameters::parse(text.as_bytes()).expect("parameters");
            narrowed_scope(&parameters, &granted, &client).map(|scope| scope.to_string()).map_err(|refusal| refusal.code)
        };
        assert_eq!(scope("").as_deref(), Ok("read write"), "what the registration lost is lost");
        assert_eq!(scope("scope=read").as_deref(), Ok("read"));
        assert_eq!(scope("scope=admin"), Err(ErrorCode::InvalidScope));
        let resources = |text: &str, granted: &[&str]| {
            let parameters = Parameters::parse(text.as_bytes()).expect("parameters");
            let granted: Vec<String> = granted.iter().map(|text| (*text).to_owned()).collect();
            narrowed_resources(&parameters, &granted).map_err(|refusal| refusal.code)
        };
        assert_eq!(resources("resource=a", &["a", "b"]), Ok(vec!["a".to_owned()]));
        assert_eq!(resources("", &["a", "b"]).map(|resources| resources.len()), Ok(2));
        assert_eq!(resources("resource=c", &["a", "b"]), Err(ErrorCode::InvalidTarget));
        assert_eq!(resources("resource=a", &[]), Err(ErrorCode::InvalidTarget), "granted for none");
    }

    #[test]
    fn a_refresh_token_opens_for_its_issuer_alone() {
        let key = ("k".parse().expect("a key id"), crate::domain::Redacted::new([7; 32]));
        let ring = KeyRing::from_keys(vec![key]).expect("a ring");
        let issuer: Issuer = "https://as.example".parse().expect("an issuer");
        let other: Issuer = "https://other.example".parse().expect("an issuer");
        let token = RefreshToken { family: "f".parse().expect("a family"), generation: 3 };
        let client = "app".parse().expect("a client");
        let text = token.seal(&ring, &issuer, &client, Timestamp::from_seconds(100)).expect("sealed");
        assert!(text.starts_with(PREFIX));
        assert_eq!(RefreshToken::open(&text, &ring, &issuer), Some(token));
        assert_eq!(RefreshToken::open(&text, &ring, &other), None);
        assert_eq!(RefreshToken::open(text.trim_start_matches(PREFIX), &ring, &issuer), None);
        assert_eq!(RefreshToken::open("sy_rt_AAAA", &ring, &issuer), None);
    }
}
