//! What an operator registers, whichever way it comes in.

use std::collections::BTreeSet;

use crate::clients::{Authentication, Client, MetadataError, Published};
use crate::domain::ClientId;
use crate::oauth::resources::Resources;
use crate::store::KeptSecret;

/// What this deployment can serve of what a registration says.
#[derive(Clone, Debug)]
pub struct RegistrationRules {
    /// What tokens are issued for.
    pub resources: Resources,
    /// The names of the anchor sets.
    pub anchor_sets: BTreeSet<String>,
    /// Whether what clients publish is fetched.
    pub fetches: bool,
    /// Where what is missing has to be added, for people.
    pub place: String,
}

/// Why a registration cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// It is none.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Nothing is fetched.
    #[error("`jwks_uri` cannot be fetched: name whom to trust in [outbound] of {place} (`ca_files` or `public_roots`)")]
    JwksUri {
        /// Where to add it.
        place: String,
    },
    /// There is no such resource.
    #[error("resource `{resource}` is not configured: add a [[resource]] with this identifier to {place}")]
    Resource {
        /// As written.
        resource: String,
        /// Where to add it.
        place: String,
    },
    /// There is no such anchor set.
    #[error("anchor set `{anchor_set}` is not configured: add [anchor_set.{anchor_set}] to {place}")]
    AnchorSet {
        /// As written.
        anchor_set: String,
        /// Where to add it.
        place: String,
    },
}

impl RegistrationRules {
    /// Reads a registration that this deployment can serve. The document's `client_id` and the expected one must agree; one of them is
    /// enough. A document without a secret leaves the one that is kept as it is.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub fn check(
        &self,
        document: &[u8],
        expected: Option<&ClientId>,
        secret: KeptSecret<'_>,
    ) -> Result<Client, RegistrationError> {
        let client = Client::from_metadata(document, expected, secret)?;
        let place = || self.place.clone();
        let publishes = matches!(
            client.authentication,
            Authentication::PrivateKeyJwt { keys: Published::At(_), .. }
                | Authentication::SelfSignedTlsClientAuth(Published::At(_))
        );
        if publishes && !self.fetches {
            return Err(RegistrationError::JwksUri { place: place() });
        }
        if let Some(resource) = client.resources.iter().find(|identifier| self.resources.get(identifier).is_none()) {
            return Err(RegistrationError::Resource { resource: resource.clone(), place: place() });
        }
        if let Some(anchor_set) = client.anchor_set.as_ref().filter(|name| !self.anchor_sets.contains(*name)) {
            return Err(RegistrationError::AnchorSet { anchor_set: anchor_set.clone(), place: place() });
        }
        Ok(client)
    }
}
