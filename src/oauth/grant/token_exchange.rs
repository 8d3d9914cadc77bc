//! Token exchange (RFC 8693): a service that was sent a token asks for one to call others with, in the name of the same subject.
//!
//! - Both tokens are access tokens of this server. The subject token was issued to the client itself, which then proves to hold its key,
//!   or it is for a resource whose `introspection_clients` list the client: whoever serves a resource is sent its clients' tokens, and
//!   has proven there and then that they were bound to the sender.
//! - Nobody poses as the subject (RFC 8693 §1.1): the client stands in `act`, before whoever acted before it. Only a token that a client
//!   narrows for itself keeps the actors that it has.
//! - What comes out is never more than what went in: scope, and lifetime; the client's own registration narrows both further, and says
//!   which resources there are. It is revoked with the grant of the subject token.

use super::delegation::{ActsBy, Lasting, ParentGrant};
use super::{Approved, scope_within};
use crate::binding::dpop::ProvenDpop;
use crate::binding::{self, Policy, Presenter};
use crate::clients::GrantType;
use crate::domain::{Actors, FamilyId, Lifetime, Scope, Subject, Timestamp};
use crate::event::{Exchanged, Reason};
use crate::oauth::client_auth::{AuthenticatedClient, RequestingClient};
use crate::oauth::error::{ErrorCode, OauthError, Refusal};
use crate::oauth::inspect::Recognised;
use crate::oauth::parameters::Parameters;
use crate::oauth::resources::Selected;
use crate::oauth::server::AuthorizationServer;
use crate::tls::PeerCertificate;
use crate::token::TokenFacts;

/// `urn:ietf:params:oauth:token-type:access_token` (RFC 8693 §3): what is taken and what is given.
pub const ISSUED_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Tokens that this client may exchange, and what for. The keys that they are bound to are still to be proven.
#[derive(Debug)]
pub struct Exchangeable {
    subject_token: Recognised,
    actor_token: Option<Recognised>,
    is_own: bool,
    scope: Scope,
    resources: Vec<String>,
    selected: Selected,
}

/// RFC 8693 §2.2.2: "If either the `subject_token` or `actor_token` are invalid for any reason, or are unacceptable based on policy",
/// the code is `invalid_request`.
fn unacceptable(reason: Reason, description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, reason, description)
}

impl AuthorizationServer {
    /// Judges a token exchange request, but for the keys that its tokens are bound to.
    pub fn exchangeable(
        &self,
        requesting: &RequestingClient,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<Exchangeable, Refusal> {
        let client = match requesting {
            RequestingClient::Authenticated(client) if client.client().grant_types.contains(&GrantType::TokenExchange) => client,
            _ => {
                let description = "this client may not use the token exchange grant";
                return Err(Refusal::new(ErrorCode::UnauthorizedClient, Reason::GrantNotAllowed, description));
            }
        };
        check_type(parameters.require("subject_token_type")?)?;
        if let Some(requested) = parameters.get("requested_token_type") {
            check_type(requested)?;
        }
        let subject_token = self.standing_token(parameters.require("subject_token")?, now, SUBJECT_TOKEN)?;
        let is_own = self.may_exchange(client, subject_token.facts())?;
        let actor_token = self.actor_token(client, parameters, now)?;
        let resources = self.resources_of_exchange(client, parameters)?;
        let selected = self.resources.select(client.client(), resources.iter().map(String::as_str))?;
        let facts = subject_token.facts();
        let allowed = facts.scope.intersection(&client.client().scope).intersection(&selected.scopes);
        let scope = scope_within(parameters, &allowed)?;
        Ok(Exchangeable { subject_token, actor_token, is_own, scope, resources, selected })
    }

    /// Holds what the connection and the request have proven against the tokens that must be the presenter's own, and decides.
    pub fn exchange(
        &self,
        requesting: &RequestingClient,
        exchangeable: Exchangeable,
        certificate: Option<&PeerCertificate>,
        proven: Option<&ProvenDpop>,
        now: Timestamp,
    ) -> Result<Approved, OauthError> {
        let Exchangeable { subject_token, actor_token, is_own, scope, resources, mut selected } = exchangeable;
        let (subject, actor) = (subject_token.facts(), actor_token.as_ref().map(Recognised::facts));
        for own in is_own.then_some(subject).into_iter().chain(actor) {
            prove(own, certificate, proven)?;
        }
        let actors = match actor.and_then(|actor| actor.subject.clone()) {
            Some(actor) => acting(&subject.actors, actor)?,
            None if is_own => subject.actors.clone(),
            None => acting(&subject.actors, subject_of(requesting)?)?,
        };
        let lasts = std::iter::once(subject).chain(actor).map(|facts| facts.expires.seconds_since(now)).min().unwrap_or_default();
        selected.lifetime = selected.lifetime.min(Lifetime::from_seconds(u32::try_from(lasts).unwrap_or(u32::MAX)));
        let exchanged = Exchanged {
            subject_token: subject.token_id.clone(),
            subject_client: subject.client_id.clone(),
            subject_cnf: subject.cnf,
            actor_token: actor.and_then(|actor| actor.token_id.clone()),
            actor_cnf: actor.and_then(|actor| actor.cnf),
            actors: actors.clone(),
        };
        let lasting = self.lasting(requesting, subject, is_own, resources);
        let family = match &subject.family {
            // One with a refresh token is a grant of its own, which ends with the other.
            Some(family) if lasting.is_none() => family.clone(),
            _ => FamilyId::random(&*self.randomness)?,
        };
        Ok(Approved {
            grant: GrantType::TokenExchange,
            subject: subject.subject.clone().ok_or(unacceptable(Reason::TokenClaim, SUBJECT_TOKEN))?,
            family,
            scope,
            selected,
            actors,
            exchanged: Some(Box::new(exchanged)),
            lasting,
        })
    }

    /// The refresh token that goes with it, for a client that is registered for one and acts for somebody else.
    fn lasting(
        &self,
        requesting: &RequestingClient,
        subject: &TokenFacts,
        is_own: bool,
        resources: Vec<String>,
    ) -> Option<Box<Lasting>> {
        if is_own || !requesting.client().refreshing.grants.contains(&GrantType::TokenExchange) {
            return None;
        }
        let parent =
            ParentGrant { family: subject.family.clone()?, client_id: subject.client_id.clone()?, issued: subject.issued_at? };
        Some(Box::new(Lasting { acts_by: ActsBy::Exchange, resources, parent: Some(parent) }))
    }

    /// A token of ours that stands.
    fn standing_token(&self, text: &str, now: Timestamp, description: &'static str) -> Result<Recognised, Refusal> {
        let recognised = self.recognise(text).map_err(|reason| unacceptable(reason, description))?;
        self.standing(&recognised, now).map_err(|reason| unacceptable(reason, description))?;
        Ok(recognised)
    }

    /// Whether the client may exchange the token, and whether it is because the token is its own.
    fn may_exchange(&self, client: &AuthenticatedClient, facts: &TokenFacts) -> Result<bool, Refusal> {
        if facts.client_id.as_ref() == Some(client.client_id()) {
            return Ok(true);
        }
        match self.resources.introspection_right(client.client_id(), &facts.audience) {
            Some(_) => Ok(false),
            None => Err(unacceptable(Reason::ExchangeNotAllowed, SUBJECT_TOKEN)),
        }
    }

    /// The actor token, which must be the client's own and one in which nobody acts.
    fn actor_token(
        &self,
        client: &AuthenticatedClient,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<Option<Recognised>, Refusal> {
        let text = match (parameters.get("actor_token"), parameters.get("actor_token_type")) {
            (None, None) => return Ok(None),
            (Some(text), Some(kind)) => {
                check_type(kind)?;
                text
            }
            // RFC 8693 §2.1: "REQUIRED when the actor_token parameter is present ... but MUST NOT be included otherwise".
            (Some(_), None) | (None, Some(_)) => {
                let description = "actor_token and actor_token_type need each other (RFC 8693 section 2.1)";
                return Err(unacceptable(Reason::ExchangeTokenType, description));
            }
        };
        let token = self.standing_token(text, now, ACTOR_TOKEN)?;
        let facts = token.facts();
        if facts.client_id.as_ref() != Some(client.client_id()) || !facts.actors.is_empty() {
            return Err(unacceptable(Reason::ExchangeActor, ACTOR_TOKEN));
        }
        Ok(Some(token))
    }

    /// The resources that `resource` and `audience` name (RFC 8693 §2.1): by identifier, or by a value of `aud`.
    fn resources_of_exchange(&self, client: &AuthenticatedClient, parameters: &Parameters) -> Result<Vec<String>, Refusal> {
        let mut identifiers: Vec<&str> = parameters.all("resource").collect();
        for name in parameters.all("audience") {
            let identifier = self.resources.identifier_of(name).ok_or_else(|| {
                let description = "the audience is unknown or not allowed for this client";
                Refusal::new(ErrorCode::InvalidTarget, Reason::ResourceNotAllowed, description)
            })?;
            identifiers.push(identifier);
        }
        Ok(self.resources.meant(client.client(), identifiers.into_iter()))
    }
}

const SUBJECT_TOKEN: &str = "the subject_token is invalid, has expired, was revoked, or is not this client's to exchange";
const ACTOR_TOKEN: &str = "the actor_token is invalid, has expired, was revoked, or is not this client's own";

fn check_type(written: &str) -> Result<(), Refusal> {
    if written == ISSUED_TOKEN_TYPE {
        return Ok(());
    }
    let description = "only access tokens are exchanged: urn:ietf:params:oauth:token-type:access_token (RFC 8693 section 3)";
    Err(unacceptable(Reason::ExchangeTokenType, description))
}

/// A token that is the client's own is bound to a key that it has just shown, or to none.
fn prove(facts: &TokenFacts, certificate: Option<&PeerCertificate>, proven: Option<&ProvenDpop>) -> Result<(), Refusal> {
    // The request's proof may be for the token to come alone.
    let of_token = proven.filter(|_| facts.cnf.as_ref().is_some_and(|cnf| cnf.jkt().is_some()));
    let presenter = Presenter::connection(certificate).with_proof(of_token);
    match binding::prove(facts.clone(), &presenter, Policy::Optional) {
        Ok(_) => Ok(()),
        Err(problem) => Err(unacceptable(problem.reason(), "a token of the client's own is bound to another key than was shown")),
    }
}

fn acting(before: &Actors, actor: Subject) -> Result<Actors, Refusal> {
    before.followed_by(actor).map_err(|_| unacceptable(Reason::ExchangeActor, "too many have acted for this subject already"))
}

/// The client as the subject of a token.
fn subject_of(client: &RequestingClient) -> Result<Subject, Refusal> {
    let defect = |_| Refusal::new(ErrorCode::InvalidRequest, Reason::Defect, "this client cannot be the subject of a token");
    client.client_id().as_str().parse().map_err(defect)
}
