//! What a client may be: the metadata it was registered with, checked once and then held as types.
//!
//! Metadata is JSON in the words of RFC 7591 §2, OpenID Connect Registration §2 and RFC 8705 §2 and §3.4, with five members of ours: `anchor_set`, `resources`,
//! `access_token_format`, `refresh_token_grants` and `refresh_token_rebinding`.
//! Whatever is not understood is refused: a misspelt restriction would otherwise restrict nothing.
//!
//! The data plane looks clients up in a [`Directory`], an immutable snapshot that [`Clients`] replaces as the change feed tells.

use std::collections::BTreeSet;
use std::fmt;

use crate::binding::BindingPolicy;
use crate::domain::{ClientId, Lifetime, Scope, Timestamp};
use crate::event::TokenFormat;
use crate::store::{ClientRecord, KEEP_RETIRED, KeptSecret, RuleWindow, SETTLE};

mod about;
mod authentication;
mod authorization;
mod certificate_matcher;
mod client_keys;
mod directory;
mod logout;
mod messages;
mod metadata;
mod redirect_uri;
mod refreshing;
mod registered_certificate;
mod registered_keys;
mod secret;
mod secrets;
#[cfg(test)]
mod tests;

pub use about::AboutMetadata;
pub use authentication::{Authentication, AuthenticationMethod, AuthenticationMethodUnknown, JwksUri, JwksUriError, Published};
pub use authorization::{AuthorizationMetadata, Profile, SubjectType};
pub use certificate_matcher::{CertificateMatcher, MatchError, Matched};
pub use client_keys::{ClientKeys, ClientKeysError, KeysUnavailable};
pub use directory::{Clients, ClientsError, Directory, EndingCertificate};
pub use logout::{LogoutMetadata, SecureUri};
pub use messages::{Carrier, Encryption, Message, MessageMetadata, RequestSigning, RequestUri, RequestUriError, ResponseMode};
pub use metadata::MetadataError;
pub use redirect_uri::{AcceptedRedirectUri, ApplicationType, RedirectUri, RedirectUriError};
pub use refreshing::RefreshMetadata;
pub use registered_certificate::{RegisteredCertificate, RegisteredCertificateError, RegisteredCertificates};
pub use registered_keys::{RegisteredKeys, RegisteredKeysError};
pub use secret::{SecretError, SecretHash, SecretKnown, SecretMismatch, SharedSecret, generate_secret};
pub use secrets::{SecretChangeError, SecretLife, Secrets};

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `client_id`.
    pub client_id: ClientId,
    /// `client_name`: for people, never for decisions.
    pub name: Option<String>,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// To what its tokens must be bound (`tls_client_certificate_bound_access_tokens`, RFC 8705 §3.4, and `dpop_bound_access_tokens`,
    /// RFC 9449 §5.2): to the certificate unless it says otherwise.
    pub binding: BindingPolicy,
    /// The anchor set that its certificate must come from, beside the listener's.
    pub anchor_set: Option<String>,
    /// The grants it may use. None for a client that only introspects tokens or follows the revocation feed.
    pub grant_types: BTreeSet<GrantType>,
    /// The identifiers of the resources it may ask tokens for, in the order of preference: the first is the default.
    pub resources: Vec<String>,
    /// How its access tokens travel, whatever their resource says otherwise.
    pub access_token_format: Option<TokenFormat>,
    /// The scope it may ask for.
    pub scope: Scope,
    /// What it may do at the authorization endpoint.
    pub authorization: AuthorizationMetadata,
    /// How it signs what it asks for, and how it is answered.
    pub messages: MessageMetadata,
    /// The public keys it publishes without authenticating by them; see [`Client::keys`].
    pub other_keys: Option<Published<RegisteredKeys>>,
    /// How it takes part when people sign out.
    pub logout: LogoutMetadata,
    /// What it may do with refresh tokens.
    pub refreshing: RefreshMetadata,
    /// What it says of itself, for people.
    pub about: AboutMetadata,
}

/// A grant that a client may use (`grant_types`, RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantType {
    /// RFC 6749 §4.1.
    AuthorizationCode,
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 7523 §2.1.
    JwtBearer,
    /// RFC 8693 §2.1.
    TokenExchange,
    /// RFC 8628 §3.4.
    DeviceCode,
}

impl GrantType {
    /// Every grant there is.
    pub const ALL: [Self; 6] = [
        Self::AuthorizationCode,
        Self::ClientCredentials,
        Self::RefreshToken,
        Self::JwtBearer,
        Self::TokenExchange,
        Self::DeviceCode,
    ];

    /// Whether it is for confidential clients alone.
    pub const fn is_confidential(self) -> bool {
        matches!(self, Self::ClientCredentials | Self::JwtBearer | Self::TokenExchange)
    }

    /// The value of `grant_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
        }
    }
}

impl fmt::Display for GrantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Client {
    /// Reads a registration. The document's `client_id` and the expected one must agree; one of them is enough. A document without
    /// `client_secret` leaves the one that is kept as it is.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub fn from_metadata(json: &[u8], expected: Option<&ClientId>, secret: KeptSecret<'_>) -> Result<Self, MetadataError> {
        metadata::read(json, expected, secret)
    }

    /// A registration of which nothing is kept yet.
    ///
    /// # Errors
    /// See [`MetadataError`].
    #[cfg(test)]
    pub fn from_text(json: &[u8]) -> Result<Self, MetadataError> {
        Self::from_text_keeping(std::str::from_utf8(json).expect("text"), None)
    }

    /// With this kept of its secret.
    ///
    /// # Errors
    /// See [`MetadataError`].
    #[cfg(test)]
    pub fn from_text_keeping(json: &str, record: Option<&crate::store::SecretRecord>) -> Result<Self, MetadataError> {
        let key = crate::store::SecretKey::new(crate::domain::Redacted::new([7; 32]));
        Self::from_metadata(json.as_bytes(), None, KeptSecret { key: Some(&key), record })
    }

    /// The public keys that it signs with, whatever it authenticates by.
    pub const fn keys(&self) -> Option<&Published<RegisteredKeys>> {
        match self.authentication.keys() {
            Some(keys) => Some(keys),
            None => self.other_keys.as_ref(),
        }
    }

    /// Whether a member of a registration is understood.
    pub fn knows(member: &str) -> bool {
        metadata::is_known(member)
    }

    /// The registration without its secret, as one line of JSON. The same for equal clients.
    pub fn to_metadata(&self) -> String {
        metadata::write(self).to_string()
    }

    /// As the store keeps it.
    pub fn to_record(&self) -> ClientRecord {
        let secret = match &self.authentication {
            Authentication::ClientSecretBasic(hashes) | Authentication::ClientSecretPost(hashes) => Some(hashes.to_record()),
            Authentication::ClientSecretJwt { secret, .. } => Some(secret.to_record()),
            Authentication::TlsClientAuth(_)
            | Authentication::SelfSignedTlsClientAuth(_)
            | Authentication::PrivateKeyJwt { .. }
            | Authentication::None => None,
        };
        ClientRecord { client_id: self.client_id.clone(), metadata_json: self.to_metadata(), secret }
    }

    /// Reads what the store kept.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub fn from_record(record: &ClientRecord) -> Result<Self, MetadataError> {
        let kept = record.secret.as_ref();
        let secret = KeptSecret { key: kept.and_then(|kept| kept.key()), record: kept };
        metadata::read(record.metadata_json.as_bytes(), Some(&record.client_id), secret)
    }
}

/// The longest that an access token may live.
pub const LONGEST_TOKEN_LIFETIME: Lifetime = Lifetime::from_seconds(86_400);
/// A ring key that was replaced is kept for longer than anything lives that others carry under it, refresh tokens excepted, whose rows keep it.
const _: () = assert!(KEEP_RETIRED.seconds() > LONGEST_TOKEN_LIFETIME.seconds() + SETTLE.seconds());

/// The window of the rules that the end of a session leaves behind, whose tokens may live as long as any.
pub fn session_window(now: Timestamp) -> RuleWindow {
    removal_window(now, LONGEST_TOKEN_LIFETIME)
}

/// A removed client may still get a token from a replica that has not heard of the removal: for at most a second, and as long again
/// for clocks that differ.
const REMOVAL_MARGIN: Lifetime = Lifetime::from_seconds(2);

/// How long a rule outlives the last token it can hit, for verifiers that allow for clocks that differ.
const RULE_SLACK: Lifetime = Lifetime::from_seconds(300);

/// The window of the rule that a client's removal leaves behind, when its tokens live at most `longest`. A client that is added
/// again at once gets tokens that last only after the first two seconds.
pub fn removal_window(now: Timestamp, longest: Lifetime) -> RuleWindow {
    let before = now.plus(REMOVAL_MARGIN);
    RuleWindow { before, expires: before.plus(longest).plus(RULE_SLACK) }
}
