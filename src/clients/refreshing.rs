//! What a client may do with refresh tokens beyond the standards' defaults: two members of ours, both off unless an operator registers them.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::metadata::{flag, strings};
use super::{Authentication, GrantType, MetadataError};
use crate::binding::BindingPolicy;

const GRANTS: &str = "refresh_token_grants";
const REBINDING: &str = "refresh_token_rebinding";

/// The members that are read here.
pub(super) const NAMES: [&str; 2] = [GRANTS, REBINDING];

/// A client's refresh tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshMetadata {
    /// The grants without a person that give it a refresh token too: [`GrantType::JwtBearer`], [`GrantType::TokenExchange`].
    pub grants: BTreeSet<GrantType>,
    /// Whether a refresh token that is bound to its certificate may be bound to the next one.
    pub rebinding: bool,
}

pub(super) fn read(
    members: &Map<String, Value>,
    grants: &BTreeSet<GrantType>,
    binding: BindingPolicy,
    authentication: &Authentication,
) -> Result<RefreshMetadata, MetadataError> {
    let with_refresh = grants.contains(&GrantType::RefreshToken);
    let giving = [GrantType::JwtBearer, GrantType::TokenExchange];
    let mut lasting = BTreeSet::new();
    for name in strings(members, GRANTS)?.unwrap_or_default() {
        let grant = giving.into_iter().find(|grant| grant.name() == name).filter(|grant| with_refresh && grants.contains(grant));
        lasting.insert(grant.ok_or(MetadataError::RefreshTokenGrant(name))?);
    }
    let asks_people = grants.contains(&GrantType::AuthorizationCode) || grants.contains(&GrantType::DeviceCode);
    if with_refresh && lasting.is_empty() && !asks_people {
        return Err(MetadataError::RefreshTokenAlone);
    }
    let rebinding = flag(members, REBINDING)?.unwrap_or_default();
    let to_certificate = matches!(binding, BindingPolicy::Certificate | BindingPolicy::CertificateAndDpop);
    if rebinding && !(with_refresh && to_certificate && *authentication == Authentication::None) {
        return Err(MetadataError::Rebinding);
    }
    Ok(RefreshMetadata { grants: lasting, rebinding })
}

pub(super) fn write(metadata: &RefreshMetadata, mut put: impl FnMut(&str, Value)) {
    if !metadata.grants.is_empty() {
        put(GRANTS, metadata.grants.iter().map(|grant| grant.name()).collect());
    }
    if metadata.rebinding {
        put(REBINDING, true.into());
    }
}
