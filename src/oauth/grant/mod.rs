//! Grants: one file each (RFC 6749 §4).

pub mod authorization_code;
mod client_credentials;
pub mod refresh_token;

pub use client_credentials::approve as approve_client_credentials;

use super::error::{ErrorCode, Refusal};
use super::parameters::Parameters;
use super::resources::Selected;
use crate::clients::GrantType;
use crate::domain::{FamilyId, Scope, Subject};
use crate::event::Reason;

/// The grant that a request asks for: `grant_type`.
pub fn requested(parameters: &Parameters) -> Result<GrantType, Refusal> {
    let written = parameters.require("grant_type")?;
    GrantType::ALL.into_iter().find(|grant| grant.name() == written).ok_or_else(|| {
        Refusal::new(ErrorCode::UnsupportedGrantType, Reason::GrantUnsupported, "this grant_type is not supported")
    })
}

/// What a grant decided may be issued: to whom, for what, for how long. Made by the grants alone.
#[derive(Clone, Debug)]
pub struct Approved {
    grant: GrantType,
    subject: Subject,
    family: FamilyId,
    scope: Scope,
    selected: Selected,
}

impl Approved {
    /// What a person granted.
    fn by_person(grant: GrantType, subject: Subject, family: FamilyId, scope: Scope, selected: Selected) -> Self {
        Self { grant, subject, family, scope, selected }
    }

    /// The grant that approved, the subject, what the token will descend from, its scope, and its audience, lifetime and format.
    pub fn into_parts(self) -> (GrantType, Subject, FamilyId, Scope, Selected) {
        (self.grant, self.subject, self.family, self.scope, self.selected)
    }
}
