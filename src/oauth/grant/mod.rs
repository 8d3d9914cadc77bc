//! Grants: one file each (RFC 6749 §4).

pub mod authorization_code;
mod client_credentials;
pub mod delegation;
pub mod device_code;
pub mod jwt_bearer;
mod rebinding;
pub mod refresh_token;
pub mod token_exchange;

pub use client_credentials::approve as approve_client_credentials;

use delegation::Lasting;

use super::error::{ErrorCode, Refusal};
use super::parameters::Parameters;
use super::resources::Selected;
use crate::clients::GrantType;
use crate::domain::{Actors, FamilyId, Scope, Subject};
use crate::event::{Exchanged, Reason, TokenFormat};

/// The grant that a request asks for: `grant_type`.
///
/// `takes_assertions` is whether anybody's assertions are taken here.
pub fn requested(parameters: &Parameters, takes_assertions: bool) -> Result<GrantType, Refusal> {
    let written = parameters.require("grant_type")?;
    let known = GrantType::ALL.into_iter().filter(|grant| takes_assertions || *grant != GrantType::JwtBearer);
    known.into_iter().find(|grant| grant.name() == written).ok_or_else(|| {
        Refusal::new(ErrorCode::UnsupportedGrantType, Reason::GrantUnsupported, "this grant_type is not supported")
    })
}

/// The scope of a request, within what the client, the grant and the resources allow; without one, all of that.
fn scope_within(parameters: &Parameters, allowed: &Scope) -> Result<Scope, Refusal> {
    let Some(written) = parameters.get("scope") else { return Ok(allowed.clone()) };
    let requested: Scope = written.parse().map_err(|_| {
        Refusal::new(ErrorCode::InvalidScope, Reason::ParameterMalformed, "scope is malformed (RFC 6749 section 3.3)")
    })?;
    if requested.is_subset(allowed) {
        return Ok(requested);
    }
    let description = "the scope is unknown at this resource, not allowed for this client, or beyond what was granted";
    Err(Refusal::new(ErrorCode::InvalidScope, Reason::ScopeNotAllowed, description))
}

/// What a grant decided may be issued: to whom, for what, for how long. Made by the grants alone.
#[derive(Clone, Debug)]
pub struct Approved {
    grant: GrantType,
    subject: Subject,
    family: FamilyId,
    scope: Scope,
    selected: Selected,
    actors: Actors,
    exchanged: Option<Box<Exchanged>>,
    lasting: Option<Box<Lasting>>,
}

/// What [`Approved`] says, for the mint.
#[derive(Debug)]
pub struct ApprovedParts {
    /// The grant that approved.
    pub grant: GrantType,
    /// `sub`.
    pub subject: Subject,
    /// What the token will descend from.
    pub family: FamilyId,
    /// `scope`.
    pub scope: Scope,
    /// Audience, lifetime and format.
    pub selected: Selected,
    /// Who acts for the subject.
    pub actors: Actors,
    /// What was given for it in exchange.
    pub exchanged: Option<Box<Exchanged>>,
}

impl Approved {
    /// What a person granted.
    fn by_person(grant: GrantType, subject: Subject, family: FamilyId, scope: Scope, selected: Selected) -> Self {
        Self { grant, subject, family, scope, selected, actors: Actors::default(), exchanged: None, lasting: None }
    }

    /// How the token will travel.
    pub const fn format(&self) -> TokenFormat {
        self.selected.format
    }

    /// What it says.
    pub fn into_parts(self) -> ApprovedParts {
        let Self { grant, subject, family, scope, selected, actors, exchanged, lasting: _ } = self;
        ApprovedParts { grant, subject, family, scope, selected, actors, exchanged }
    }
}
