//! The authorization code grant (RFC 6749 §4.1.3): a code becomes tokens, once.

use serde::{Deserialize, Serialize};

use super::Approved;
use super::refresh_token::{FamilyState, Origin, RefreshToken, narrowed_resources};
use crate::binding::dpop::ProvenDpop;
use crate::clients::{GrantType, removal_window};
use crate::domain::{ClientId, FamilyId, Lifetime, RequestId, Scope, SessionId, Subject, Thumbprint, Timestamp};
use crate::event::{AuditEvent, Reason, Trailed};
use crate::identity::SignedIn;
use crate::oauth::authorization::decision::told_acr;
use crate::oauth::authorization::{from_json, request::AuthorizationRequest, to_json};
use crate::oauth::client_auth::RequestingClient;
use crate::oauth::error::{ErrorCode, OauthError, Refusal};
use crate::oauth::mint::Binding;
use crate::oauth::mint::IssuedToken;
use crate::oauth::parameters::Parameters;
use crate::oauth::pkce::{self, CodeChallenge, CodeVerified};
use crate::oauth::resources::LONGEST_LIFETIME_SECONDS;
use crate::oauth::server::AuthorizationServer;
use crate::oidc::ClaimsRequest;
use crate::store::{CodeSpent, NewFamily};

/// What a person has granted a client: by whom, when and how they signed in, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Who granted it.
    pub subject: Subject,
    /// In which session.
    pub session_id: SessionId,
    /// When they signed in.
    pub auth_time: Timestamp,
    /// How.
    pub amr: Vec<String>,
    /// How far that can be relied upon.
    pub acr: Option<String>,
    /// What for.
    pub scope: Scope,
    /// At which resources.
    pub resources: Vec<String>,
    /// `claims`.
    pub claims: ClaimsRequest,
}

impl Granted {
    /// What a signed-in person grants by a request.
    pub fn new(login: &SignedIn, request: &AuthorizationRequest) -> Self {
        Self {
            subject: login.subject.clone(),
            session_id: login.session_id.clone(),
            auth_time: login.auth_time,
            amr: login.amr.iter().map(|method| method.as_str().to_owned()).collect(),
            acr: told_acr(request, login).map(|acr| acr.as_str().to_owned()),
            scope: request.scope.clone(),
            resources: request.resources.clone(),
            claims: request.claims.clone(),
        }
    }

    /// Whether an ID token goes with it.
    pub fn is_openid(&self) -> bool {
        self.scope.contains("openid")
    }
}

/// What a code stands for. Kept sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeState {
    /// Whose it is.
    pub client_id: ClientId,
    /// `redirect_uri`, where the authorization request named it (RFC 6749 §4.1.3).
    pub redirect_uri: Option<String>,
    /// `code_challenge`.
    pub code_challenge: Option<CodeChallenge>,
    /// `dpop_jkt` (RFC 9449 §10).
    pub dpop_jkt: Option<Thumbprint>,
    /// When it was issued; absent in codes of before this was noted.
    #[serde(default)]
    pub issued: Option<Timestamp>,
    /// When it ends.
    pub expires: Timestamp,
    /// `nonce`.
    pub nonce: Option<String>,
    /// What was granted.
    pub granted: Granted,
}

/// A code that its client may redeem: presented by whom it was issued to, in time, with its redirect URI and its verifier. Made here
/// alone; that it is the first time is seen when it is spent.
#[derive(Debug)]
pub struct Redeemable {
    code: String,
    family: FamilyId,
    state: CodeState,
    /// Those that the first token is for, of all that were granted.
    resources: Vec<String>,
    _verified: CodeVerified,
}

/// What tokens of a person's grant are minted on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grounds<'a> {
    /// By which grant.
    pub(super) grant: GrantType,
    /// What they descend from.
    pub(super) family: &'a FamilyId,
    /// What was granted.
    pub(super) granted: &'a Granted,
    /// At which of the granted resources the first token counts.
    pub(super) resources: &'a [String],
    /// `nonce`.
    pub(super) nonce: Option<&'a str>,
}

/// What is to be kept of a grant.
#[derive(Debug)]
pub(super) struct KeptFamily {
    state: Vec<u8>,
    expires: Timestamp,
}

impl KeptFamily {
    /// The row. Without `offline_access` it ends with its session.
    pub(super) fn family<'a>(&'a self, grounds: &Grounds<'a>, client_id: &'a ClientId, created: Timestamp) -> NewFamily<'a> {
        let granted = grounds.granted;
        NewFamily {
            family: grounds.family,
            client_id,
            subject: &granted.subject,
            session: (!granted.scope.contains("offline_access")).then_some(&granted.session_id),
            state: &self.state,
            created,
            expires: self.expires,
            parent: None,
        }
    }
}

fn invalid_grant(reason: Reason, description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidGrant, reason, description)
}

impl AuthorizationServer {
    /// Finds the code of a token request, and holds the request against it.
    ///
    /// A code that its own client presents wrongly is spent by that: nobody gets to try verifiers.
    pub async fn redeemable(
        &self,
        client: &RequestingClient,
        parameters: &Parameters,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<Redeemable, OauthError> {
        let of = |refusal: Refusal| refusal.of(client.client_id());
        if !client.client().grant_types.contains(&GrantType::AuthorizationCode) {
            let description = "this client may not use the authorization_code grant";
            return Err(of(Refusal::new(ErrorCode::UnauthorizedClient, Reason::GrantNotAllowed, description)).into());
        }
        let code = parameters.require("code").map_err(of)?;
        let unknown = || of(invalid_grant(Reason::CodeUnknown, "the code is unknown, was used, or is another client's"));
        let record = self.store.code(code, now).await?.ok_or_else(unknown)?;
        let state: CodeState = from_json(&record.state)?;
        if state.client_id != *client.client_id() {
            // Not spent: or else anybody could spoil other clients' codes.
            return Err(of(Refusal { reason: Reason::CodeForeign, ..unknown() }).into());
        }
        if record.redeemed.is_some() {
            return Err(self.replayed(&record.family, client.client_id(), Reason::CodeReplayed, now, request_id).await);
        }
        // Of a client of this name that was removed since.
        let issued = state.issued.unwrap_or(Timestamp::from_seconds(0));
        if let Err(revoked) = self.revocations.load().check_client(client.client_id(), issued) {
            return Err(of(Refusal { reason: revoked.reason(), ..unknown() }).into());
        }
        if now >= state.expires {
            return Err(of(invalid_grant(Reason::CodeExpired, "the code has expired")).into());
        }
        let named = parameters.get("redirect_uri");
        let checked = match (&state.redirect_uri, named) {
            (Some(expected), Some(named)) if named == expected => pkce::check(state.code_challenge.as_ref(), parameters),
            (None, None) => pkce::check(state.code_challenge.as_ref(), parameters),
            (Some(_), None) => Err(invalid_grant(Reason::RedirectUriAbsent, "redirect_uri is missing (RFC 6749 section 4.1.3)")),
            (Some(_), Some(_)) | (None, Some(_)) => Err(invalid_grant(
                Reason::RedirectUriMismatch,
                "redirect_uri is not the one of the authorization request (RFC 6749 section 4.1.3)",
            )),
        };
        match checked {
            Ok(verified) => {
                let resources = narrowed_resources(parameters, &state.granted.resources).map_err(of)?;
                Ok(Redeemable { code: code.to_owned(), family: record.family, state, resources, _verified: verified })
            }
            Err(refusal) => {
                self.store.redeem_code(code, now, None, &[]).await?;
                Err(of(refusal).into())
            }
        }
    }

    /// Spends a code: tokens are minted, and given away only once the code, the grant they descend from and the events are
    /// committed.
    pub async fn redeem(
        &self,
        client: &RequestingClient,
        redeemable: Redeemable,
        binding: &Binding,
        proven: Option<&ProvenDpop>,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<IssuedToken, OauthError> {
        let Redeemable { code, family, state, resources, .. } = redeemable;
        let of = |refusal: Refusal| refusal.of(client.client_id());
        if let Some(jkt) = &state.dpop_jkt
            && !proven.is_some_and(|proven| jkt.matches(proven.thumbprint()))
        {
            let description = "the code is bound to another DPoP key (RFC 9449 section 10)";
            return Err(of(invalid_grant(Reason::DpopJkt, description)).into());
        }
        let nonce = state.nonce.as_deref();
        let (grant, granted) = (GrantType::AuthorizationCode, &state.granted);
        let grounds = Grounds { grant, family: &family, granted, resources: &resources, nonce };
        let (issued, event, kept) = self.mint_granted(client, &grounds, binding, now, request_id).await?;
        let new = kept.family(&grounds, client.client_id(), now);
        let issued_at = state.issued.unwrap_or(Timestamp::from_seconds(0));
        match self.store.redeem_code_of_consent(&code, issued_at, now, &new, &[event]).await? {
            CodeSpent::Now => Ok(issued),
            CodeSpent::SessionEnded => Err(of(invalid_grant(Reason::SessionAbsent, "the person has signed out since")).into()),
            CodeSpent::AccountEnded => {
                Err(of(invalid_grant(Reason::AccountDisabled, "the person may not sign in any more")).into())
            }
            CodeSpent::ConsentWithdrawn => {
                Err(of(invalid_grant(Reason::ConsentWithdrawn, "the person has taken this back since")).into())
            }
            CodeSpent::Before => Err(self.replayed(&family, client.client_id(), Reason::CodeReplayed, now, request_id).await),
        }
    }

    /// Mints the tokens of a person's grant. They are given away once the family that comes with them is committed with the event.
    pub(super) async fn mint_granted(
        &self,
        client: &RequestingClient,
        grounds: &Grounds<'_>,
        binding: &Binding,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<(IssuedToken, Trailed, KeptFamily), OauthError> {
        let Grounds { grant, family, granted, resources, nonce } = *grounds;
        let registration = client.client();
        let named = resources.iter().map(String::as_str);
        let selected = self.resources.select_for_person(registration, named, granted.is_openid());
        let mut selected = selected.map_err(|refusal| refusal.of(client.client_id()))?;
        let refreshes = registration.grant_types.contains(&GrantType::RefreshToken)
            && (!granted.is_openid() || granted.scope.contains("offline_access"));
        // No access token outlives its grant: as long as it counts, the end of the session or of the account finds the grant and ends it.
        if refreshes {
            selected.lifetime = selected.lifetime.min(self.lifetimes.refresh_token);
        }
        let expires = now.plus(if refreshes { self.lifetimes.refresh_token } else { selected.lifetime });
        let subject = self.subject_for(registration, &granted.subject)?;
        let scope = granted.scope.intersection(&selected.scopes);
        let approved = Approved::by_person(grant, subject, family.clone(), scope, selected);
        let (mut issued, event) = self.mint_for(client, approved, binding, now, request_id)?;
        if granted.is_openid() {
            issued.id_token = Some(self.id_token(registration, granted, nonce, &issued.access_token, now).await?);
        }
        // A confidential client proves itself each time, whatever certificate it has by then; a public one is the key it shows now
        // (RFC 8705 §4, RFC 9449 §5).
        let bound_to = if registration.authentication.is_confidential() { None } else { binding.cnf() };
        let state = to_json(&FamilyState { granted: Origin::Person(granted.clone()), refreshes, bound_to })?;
        if refreshes {
            let token = RefreshToken { family: family.clone(), generation: 1 };
            issued.refresh_token = Some(token.seal(&self.ring, &self.issuer, client.client_id(), expires)?);
        }
        Ok((issued, event, KeptFamily { state, expires }))
    }

    /// Something that may be used once came again: everything that descends from its grant is revoked (RFC 6749 §4.1.2, RFC 9700
    /// §4.14.2). Gives the refusal, or the fault that kept the revocation from lasting.
    pub async fn replayed(
        &self,
        family: &FamilyId,
        client_id: &ClientId,
        reason: Reason,
        now: Timestamp,
        request_id: &RequestId,
    ) -> OauthError {
        let event = AuditEvent::FamilyRevoked {
            request_id: request_id.clone(),
            client_id: client_id.clone(),
            family: family.clone(),
            reason,
        };
        let window = removal_window(now, Lifetime::from_seconds(LONGEST_LIFETIME_SECONDS));
        match self.store.end_family(family, window, &Trailed { time: now, event }).await {
            Err(error) => error.into(),
            Ok(ended) => {
                self.revocations.update(|rules| rules.with(ended.clone()));
                let description = match reason {
                    Reason::CodeReplayed => "the code is unknown, was used, or is another client's",
                    _ => "the refresh token was replaced; everything that came of its grant is revoked",
                };
                invalid_grant(reason, description).of(client_id).into()
            }
        }
    }
}
