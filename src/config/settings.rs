//! The shape of the configuration file. The doc comments are the reference that users read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::listener::*;

mod admin;
mod assertion_issuer;
mod authorization;
mod browser_session;
mod certificate_sign_in;
mod client;
mod dpop;
mod gateway;
mod identity_provider;
mod operation;
mod passkey;
mod registration;
mod resource;
mod route;
mod tcp_route;

pub use admin::AdminSettings;
pub use assertion_issuer::{AssertionIssuerSettings, AssertionSubjectSettings};
pub use authorization::{AuthorizationSettings, ProfileSetting};
pub use browser_session::BrowserSessionSettings;
pub use certificate_sign_in::CertificateSignInSettings;
pub use client::{AssertionAudienceSetting, ClientAssertionSettings, OutboundSettings};
pub use dpop::DpopSettings;
pub use gateway::*;
pub use identity_provider::{GroupSettings, IdentityProviderSettings, ProviderAccountsSetting, RequiredClaimSettings};
pub use operation::*;
pub use passkey::PasskeySettings;
pub use registration::{
    RegistrationBindingSetting, RegistrationModeSetting, RegistrationSettings, SoftwareStatementIssuerSettings,
};
pub use resource::ResourceSettings;
pub use route::*;
pub use tcp_route::TcpRouteSettings;

/// The whole file. `symbolon serve` and `symbolon gateway` read the same shape; each ignores nothing and uses what it needs.
/// Paths are relative to the directory of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// The issuer identifier of the authorization server: an `https` URL without trailing slash (RFC 8414 §2).
    /// Required by `symbolon serve`.
    pub issuer: Option<String>,
    /// The base URL under which clients with certificates reach the authorization server. Published as
    /// `mtls_endpoint_aliases` (RFC 8705 §5). Leave it away when the issuer's own host asks for certificates.
    pub mtls_url: Option<String>,
    /// Where state lives.
    pub store: StoreSettings,
    /// The master keys that seal state.
    pub seal: SealSettings,
    /// Addresses to listen on.
    pub listener: Vec<ListenerSettings>,
    /// Named sets of certification authorities that client certificates may come from. None is built in, and the
    /// system's roots are never used.
    pub anchor_set: BTreeMap<String, AnchorSetSettings>,
    /// What tokens are issued for.
    pub resource: Vec<ResourceSettings>,
    /// Assertions of clients with `private_key_jwt` and `client_secret_jwt`.
    pub client_assertion: ClientAssertionSettings,
    /// Whose assertions are taken as authorization grants (RFC 7523 §2.1).
    pub assertion_issuer: Vec<AssertionIssuerSettings>,
    /// Where this server fetches what clients publish (`jwks_uri`, `sector_identifier_uri`), and sends them logout tokens.
    pub outbound: OutboundSettings,
    /// What is asked of DPoP proofs.
    pub dpop: DpopSettings,
    /// What is demanded of authorizations, and how long what they leave behind lives.
    pub authorization: AuthorizationSettings,
    /// Clients that register themselves.
    pub registration: RegistrationSettings,
    /// The administration API.
    pub admin: AdminSettings,
    /// Signing keys of the authorization server.
    pub signing: SigningSettings,
    /// Who may follow the revocation feed.
    pub revocation_feed: RevocationFeedSettings,
    /// Passwords of people.
    pub password: PasswordSettings,
    /// How often one may try to sign in.
    pub sign_in: SignInSettings,
    /// People who sign in with a certificate.
    pub certificate_sign_in: CertificateSignInSettings,
    /// Passkeys of people.
    pub passkeys: PasskeySettings,
    /// Other OpenID Providers that people sign in at.
    pub identity_provider: Vec<IdentityProviderSettings>,
    /// Sessions of people in browsers.
    pub session: SessionSettings,
    /// Pages for people.
    pub pages: PagesSettings,
    /// The gateway's own identity.
    pub gateway: GatewaySettings,
    /// Authorization servers whose tokens the gateway accepts, by a name that routes refer to.
    pub authorization_server: BTreeMap<String, AuthorizationServerSettings>,
    /// What the gateway protects.
    pub route: Vec<RouteSettings>,
    /// Where connections go that are not HTTP.
    pub tcp_route: Vec<TcpRouteSettings>,
    /// Places that have moved.
    pub redirect: Vec<RedirectSettings>,
    /// Limits on everything a peer can send or hold open.
    pub limits: LimitSettings,
    /// The audit trail.
    pub audit: AuditSettings,
    /// The log.
    pub log: LogSettings,
    /// The control socket.
    pub control: ControlSettings,
    /// Files that change while the process runs.
    pub reload: ReloadSettings,
}

/// Where state lives.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoreSettings {
    /// `sqlite:FILE` (relative to the configuration file), or `postgres://USER@HOST/DATABASE`. Beyond
    /// loopback and sockets the server's certificate is verified unless the URL says otherwise (`?sslmode=disable`); `sslrootcert` names its
    /// authority, and is `public` where Mozilla's public roots are meant; `sslcert` and `sslkey` name our own certificate.
    pub url: String,
    /// The database of people's keys, apart from what they open: its backups are kept for less long (see docs/people.md). As `url`.
    /// Default: `person-keys.db` beside a SQLite database; beside PostgreSQL's, in the schema `symbolon_person_keys` of the same
    /// database. On PostgreSQL it is always that schema.
    pub person_keys_url: Option<String>,
    /// Connections that read, at most.
    pub max_connections: u32,
    /// Seconds to wait for a free connection or a locked database before answering 503.
    pub wait_seconds: u32,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { url: "sqlite:symbolon.db".into(), person_keys_url: None, max_connections: 8, wait_seconds: 5 }
    }
}

/// The master keys that wrap the keys that state is sealed with.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SealSettings {
    /// The keys. The first one wraps; all of them unwrap. To change it, put the new one first and keep the old one until every
    /// process has started so.
    pub key: Vec<SealKeySettings>,
}

/// One master key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SealKeySettings {
    /// A name for the key, written beside everything it wraps: 1 to 32 characters of `a-z`, `0-9`, `-`.
    pub id: String,
    /// A file with the key, readable by its owner alone. A key is 32 random bytes in base64, as `openssl rand -base64 32` writes
    /// them. Exactly one of `file`, `variable`, `credential` and `command` says where the key is.
    pub file: Option<PathBuf>,
    /// The environment variable that holds the key.
    pub variable: Option<String>,
    /// The systemd credential that holds the key (`LoadCredential=` or `LoadCredentialEncrypted=`).
    pub credential: Option<String>,
    /// A program and its arguments that print the key, run without a shell: the way to a key management service.
    pub command: Option<Vec<String>>,
}

/// Signing keys of the authorization server. They are made, published ahead of their use, rotated and deleted by themselves; see also
/// `symbolon keys`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SigningSettings {
    /// What access tokens are signed with where their resource does not say otherwise: `ES256`, `ES384`, `ES512`, `PS256`, `PS384`,
    /// `PS512`, `RS256` or `EdDSA`.
    pub algorithm: String,
    /// Algorithms that keys are kept for beside it, for resources and clients that ask for them.
    pub more_algorithms: Vec<String>,
    /// Seconds that a key signs before the next one takes over. 0: until `symbolon keys rotate`.
    pub rotation_seconds: u32,
    /// Seconds that a key is published before it signs, at least 600.
    pub publish_ahead_seconds: u32,
}

impl Default for SigningSettings {
    fn default() -> Self {
        Self {
            algorithm: "ES256".into(),
            more_algorithms: Vec::new(),
            rotation_seconds: 90 * 86_400,
            publish_ahead_seconds: 86_400,
        }
    }
}

/// Who may follow the revocation feed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RevocationFeedSettings {
    /// Clients (gateways) that may read every revocation rule, by `client_id`.
    pub clients: Vec<String>,
}

/// Passwords of people: Argon2id, at least as the OWASP Password Storage Cheat Sheet has it. A hash that costs less than these is made
/// anew when its person signs in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PasswordSettings {
    /// Characters that a new password has at least: 15 where it is the only factor, 8 at the very least (NIST SP 800-63B-4 §3.1.1.2).
    pub min_length: u32,
    /// Memory for one hash, in KiB; 19456 at least.
    pub memory_kib: u32,
    /// Passes over it; 2 at least.
    pub iterations: u32,
    /// Lanes; 1 at least.
    pub parallelism: u32,
    /// Hashes under way at once.
    pub hashes: u32,
    /// Hashes that may wait for those. One more is answered with 503.
    pub waiting_hashes: u32,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        Self { min_length: 15, memory_kib: 19_456, iterations: 2, parallelism: 1, hashes: 4, waiting_hashes: 64 }
    }
}

/// How often one may try to sign in. Nobody is locked out: attempts are counted by account and address, and by address, never by
/// account alone; those that succeed do not count. An IPv6 /64 is one address.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SignInSettings {
    /// Attempts at one account from one address that may be made at once.
    pub attempts_per_account: u32,
    /// Seconds after which one of those comes back.
    pub account_attempt_seconds: u32,
    /// Attempts from one address, at any account, that may be made at once.
    pub attempts_per_address: u32,
    /// Seconds after which one of those comes back.
    pub address_attempt_seconds: u32,
}

impl Default for SignInSettings {
    fn default() -> Self {
        Self { attempts_per_account: 10, account_attempt_seconds: 60, attempts_per_address: 100, address_attempt_seconds: 2 }
    }
}

/// Sessions of people in browsers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionSettings {
    /// Seconds without use after which a session ends.
    pub idle_seconds: u32,
    /// Seconds after signing in after which it ends, whatever happens.
    pub absolute_seconds: u32,
    /// Seconds after signing in within which a person may do at `/account` what asks for a sign-in of just now; at most 900.
    pub fresh_seconds: u32,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { idle_seconds: 3_600, absolute_seconds: 86_400, fresh_seconds: 300 }
    }
}

/// Pages for people.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PagesSettings {
    /// What the pages call this server.
    pub name: String,
    /// The colour of buttons and links, `#rrggbb`. Where it could not be read well it is made darker or lighter.
    pub colour: String,
    /// A logo: SVG, PNG, JPEG or WebP, at most 256 KiB.
    pub logo_file: Option<PathBuf>,
    /// A directory with templates that take the place of the built-in ones of the same name. See docs/people.md.
    pub templates_dir: Option<PathBuf>,
    /// Whether people may delete their own accounts at `/account`.
    pub account_deletion: bool,
}

impl Default for PagesSettings {
    fn default() -> Self {
        Self { name: "Symbolon".into(), colour: "#1f5d4c".into(), logo_file: None, templates_dir: None, account_deletion: true }
    }
}

/// Limits on everything a peer can send or hold open.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitSettings {
    /// Connections open at once, per listener.
    pub connections: u32,
    /// Connections that one address may have of them: an IPv4 address, or an IPv6 network of 64 bits. To be raised where all clients
    /// come through one address.
    pub connections_per_address: u32,
    /// Seconds for a TLS handshake.
    pub handshake_seconds: u32,
    /// Handshakes under way at once, per listener.
    pub handshakes: u32,
    /// Seconds for a request's head to arrive, and for a connection to stand idle.
    pub request_head_seconds: u32,
    /// Bytes of a request's head.
    pub request_head_bytes: u32,
    /// Header fields of a request.
    pub request_headers: u32,
    /// Bytes of a request body at the authorization server.
    pub request_body_bytes: u32,
    /// Seconds for a request body at the authorization server.
    pub request_body_seconds: u32,
    /// Requests under way at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Certificates in a client's chain.
    pub chain_certificates: u32,
    /// Bytes of one certificate of a client's chain.
    pub certificate_bytes: u32,
    /// Failed authentications of clients from one address (IPv6: one /64) in a minute, before more are answered 429.
    pub address_failures_per_minute: u32,
    /// Failed authentications of one client from one address in a minute. What others do in its name elsewhere does not count.
    pub client_failures_per_minute: u32,
    /// Authorization requests from one address (IPv6: one /64) in a minute that are kept for people who are not signed in yet, or pushed by
    /// public clients, before more are answered 429. To be raised where many people come through one address.
    pub anonymous_authorizations_per_minute: u32,
    /// Seconds that requests under way may still take at shutdown.
    pub shutdown_seconds: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: 5_000,
            handshake_seconds: 10,
            handshakes: 512,
            request_head_seconds: 30,
            request_head_bytes: 32_768,
            request_headers: 100,
            request_body_bytes: 65_536,
            request_body_seconds: 10,
            http2_streams: 100,
            chain_certificates: 10,
            certificate_bytes: 16_384,
            address_failures_per_minute: 300,
            client_failures_per_minute: 60,
            anonymous_authorizations_per_minute: 600,
            shutdown_seconds: 10,
        }
    }
}
