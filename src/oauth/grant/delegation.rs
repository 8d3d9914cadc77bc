//! Refresh tokens without a person at a browser: for a service that is registered to go on acting (`refresh_token_grants`) after the
//! assertion (RFC 7523 §2.1) or the subject token (RFC 8693 §2.2.1) that let it act has ended. By default there are none.

use serde::{Deserialize, Serialize};

use super::refresh_token::{FamilyState, Origin, RefreshToken, narrowed_resources};
use super::{Approved, scope_within};
use crate::clients::{Client, GrantType};
use crate::domain::{Actors, ClientId, FamilyId, RequestId, Scope, Subject, Timestamp};
use crate::event::Reason;
use crate::oauth::authorization::to_json;
use crate::oauth::client_auth::RequestingClient;
use crate::oauth::error::{ErrorCode, OauthError, Refusal};
use crate::oauth::mint::{Binding, IssuedToken};
use crate::oauth::parameters::Parameters;
use crate::oauth::server::AuthorizationServer;
use crate::store::{Begun, NewFamily, Parent};

/// What lets a client act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActsBy {
    /// The word of an issuer of assertions about one of its subjects.
    Assertion {
        /// `iss`.
        issuer: String,
        /// `sub`, as the issuer calls them.
        sub: String,
    },
    /// A token that it was sent.
    Exchange,
}

impl ActsBy {
    const fn grant(&self) -> GrantType {
        match self {
            Self::Assertion { .. } => GrantType::JwtBearer,
            Self::Exchange => GrantType::TokenExchange,
        }
    }
}

/// What a client may go on doing in a subject's name. Kept sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegated {
    acts_by: ActsBy,
    subject: Subject,
    scope: Scope,
    resources: Vec<String>,
    #[serde(with = "stored_actors")]
    actors: Actors,
}

/// Actors as they stand in a token.
mod stored_actors {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::Value;

    use super::Actors;

    pub fn serialize<S: Serializer>(actors: &Actors, serializer: S) -> Result<S::Ok, S::Error> {
        actors.to_json().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Actors, D::Error> {
        let value = Option::<Value>::deserialize(deserializer)?;
        value.map_or_else(|| Ok(Actors::default()), |value| Actors::from_json(&value).map_err(D::Error::custom))
    }
}

/// The grant of the token that was given in exchange.
#[derive(Clone, Debug)]
pub(super) struct ParentGrant {
    pub(super) family: FamilyId,
    pub(super) client_id: ClientId,
    pub(super) issued: Timestamp,
}

/// That a refresh token goes with what was approved.
#[derive(Clone, Debug)]
pub(super) struct Lasting {
    pub(super) acts_by: ActsBy,
    pub(super) resources: Vec<String>,
    pub(super) parent: Option<ParentGrant>,
}

impl Approved {
    /// What is approved with a refresh token, if it is.
    pub(in crate::oauth) fn take_delegation(&mut self) -> Option<Delegation> {
        let Lasting { acts_by, resources, parent } = *self.lasting.take()?;
        let (subject, scope, actors) = (self.subject.clone(), self.scope.clone(), self.actors.clone());
        let delegated = Delegated { acts_by, subject, scope, resources, actors };
        Some(Delegation { family: self.family.clone(), delegated, parent })
    }
}

/// A refresh token to be.
#[derive(Debug)]
pub(in crate::oauth) struct Delegation {
    family: FamilyId,
    delegated: Delegated,
    parent: Option<ParentGrant>,
}

impl AuthorizationServer {
    /// Mints an access token and the refresh token that goes with it: given away only once the grant and the event are committed.
    pub(in crate::oauth) async fn issue_delegation(
        &self,
        client: &RequestingClient,
        approved: Approved,
        delegation: Delegation,
        binding: &Binding,
        now: Timestamp,
        request_id: &RequestId,
    ) -> Result<IssuedToken, OauthError> {
        let Delegation { family, delegated, parent } = delegation;
        let (mut issued, event) = self.mint_for(client, approved, binding, now, request_id)?;
        let expires = now.plus(self.lifetimes.refresh_token);
        let subject = delegated.subject.clone();
        // The client authenticates with each use.
        let state = to_json(&FamilyState { granted: Origin::Delegation(delegated), refreshes: true, bound_to: None })?;
        let token = RefreshToken { family: family.clone(), generation: 1 };
        issued.refresh_token = Some(token.seal(&self.ring, &self.issuer, client.client_id(), expires)?);
        let parent = parent.as_ref();
        let new = NewFamily {
            family: &family,
            client_id: client.client_id(),
            subject: &subject,
            session: None,
            state: &state,
            created: now,
            expires,
            parent: parent.map(|ParentGrant { family, client_id, issued }| Parent { family, client_id, issued: *issued }),
        };
        match self.store.begin_family(&new, &event).await? {
            Begun::Now => Ok(issued),
            Begun::ParentEnded => {
                let description = "the subject_token was revoked";
                let refusal = Refusal::new(ErrorCode::InvalidRequest, Reason::TokenRevoked, description);
                Err(refusal.of(client.client_id()).into())
            }
        }
    }

    /// Approves again what a client was let do, as far as that still stands: its registration, the issuer's word, what it asks for.
    pub(super) fn approve_again(
        &self,
        client: &Client,
        delegated: &Delegated,
        family: FamilyId,
        parameters: &Parameters,
    ) -> Result<Approved, Refusal> {
        let refused = |reason, description| Refusal::new(ErrorCode::InvalidGrant, reason, description);
        let Delegated { acts_by, subject, scope, resources, actors } = delegated;
        if !client.refreshing.grants.contains(&acts_by.grant()) {
            return Err(refused(
                Reason::GrantNotAllowed,
                "the grant that the refresh token came of is not this client's any more",
            ));
        }
        let trusted = match acts_by {
            ActsBy::Exchange => None,
            ActsBy::Assertion { issuer, sub } => {
                let issuer = self.assertion_issuers.get(issuer, &client.client_id);
                let issuer = issuer.filter(|issuer| issuer.subject(sub).as_ref() == Some(subject));
                let description = "the issuer of the assertion is not trusted any more, or not for this subject";
                Some(&issuer.ok_or_else(|| refused(Reason::AssertionIssuer, description))?.scope)
            }
        };
        let resources = narrowed_resources(parameters, resources)?;
        let selected = self.resources.select(client, resources.iter().map(String::as_str))?;
        let allowed = scope.intersection(&client.scope).intersection(&selected.scopes);
        let allowed = trusted.map_or_else(|| allowed.clone(), |trusted| allowed.intersection(trusted));
        let scope = scope_within(parameters, &allowed)?;
        Ok(Approved {
            grant: GrantType::RefreshToken,
            subject: subject.clone(),
            family,
            scope,
            selected,
            actors: actors.clone(),
            exchanged: None,
            lasting: None,
        })
    }
}
