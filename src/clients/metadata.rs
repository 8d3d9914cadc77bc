//! Client metadata as JSON (RFC 7591 §2, RFC 8705 §2.1.2, §2.2.2, §3.4, RFC 9449 §5.2).

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use url::Url;

use super::{
    Authentication, AuthenticationMethod, CertificateMatcher, Client, GrantType, JwksUriError, RegisteredCertificateError,
    RegisteredCertificates as Certificates, RegisteredKeysError, RequestUriError, SecretError,
};
use super::{RedirectUriError, about, authorization, logout, messages, refreshing};
use crate::binding::BindingPolicy;
use crate::domain::{ClientId, IdentifierError, Scope, ScopeError};
use crate::event::{Reason, TokenFormat};
use crate::jose::json::{self, JsonError};
use crate::jose::jwe::KeyManagement;
use crate::jose::{Algorithm, AlgorithmUnknown};
use crate::pki::DistinguishedName;
use crate::store::KeptSecret;

mod authentication;

/// The longest document that is read, in bytes.
const LIMIT_BYTES: usize = 131_072;
/// The most values that a list may have.
const LIMIT_VALUES: usize = 100;

const CLIENT_ID: &str = "client_id";
const CLIENT_NAME: &str = "client_name";
const METHOD: &str = "token_endpoint_auth_method";
const SUBJECT_DN: &str = "tls_client_auth_subject_dn";
const SAN_DNS: &str = "tls_client_auth_san_dns";
const SAN_URI: &str = "tls_client_auth_san_uri";
const SAN_IP: &str = "tls_client_auth_san_ip";
const SAN_EMAIL: &str = "tls_client_auth_san_email";
const JWKS: &str = "jwks";
const JWKS_URI: &str = "jwks_uri";
const SIGNING_ALG: &str = "token_endpoint_auth_signing_alg";
const SECRET: &str = "client_secret";
const BOUND: &str = "tls_client_certificate_bound_access_tokens";
const DPOP_BOUND: &str = "dpop_bound_access_tokens";
const GRANT_TYPES: &str = "grant_types";
const SCOPE: &str = "scope";
const ANCHOR_SET: &str = "anchor_set";
const RESOURCES: &str = "resources";
const FORMAT: &str = "access_token_format";

const SUBJECTS: [&str; 5] = [SUBJECT_DN, SAN_DNS, SAN_URI, SAN_IP, SAN_EMAIL];

const KNOWN: [&str; 19] = [
    FORMAT,
    CLIENT_ID,
    CLIENT_NAME,
    METHOD,
    SUBJECT_DN,
    SAN_DNS,
    SAN_URI,
    SAN_IP,
    SAN_EMAIL,
    JWKS,
    JWKS_URI,
    SIGNING_ALG,
    SECRET,
    BOUND,
    DPOP_BOUND,
    GRANT_TYPES,
    SCOPE,
    ANCHOR_SET,
    RESOURCES,
];

/// Why metadata is not a client's. Each message names the member and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Longer than is read.
    #[error("the client metadata is longer than {LIMIT_BYTES} bytes")]
    TooLong,
    /// Not an object in strict JSON.
    #[error("the client metadata is not usable: {0}")]
    Json(#[from] JsonError),
    /// A member that means nothing here.
    #[error("`{name}` is not known client metadata{}", .nearest.map(|nearest| format!(": did you mean `{nearest}`?")).unwrap_or_default())]
    Unknown {
        /// The member.
        name: String,
        /// The known name that resembles it.
        nearest: Option<&'static str>,
    },
    /// A member of another JSON type.
    #[error("`{name}` must be {wanted}")]
    Type {
        /// The member.
        name: &'static str,
        /// The type.
        wanted: &'static str,
    },
    /// A list longer than is read.
    #[error("`{0}` may have at most {LIMIT_VALUES} values")]
    TooMany(&'static str),
    /// `client_id` is missing.
    #[error("`client_id` is missing: name the client")]
    ClientIdAbsent,
    /// `client_id` is malformed.
    #[error("`client_id` {0}")]
    ClientId(#[from] IdentifierError),
    /// `client_id` is another one than was asked for.
    #[error("`client_id` is `{found}`, expected is `{expected}`")]
    OtherClient {
        /// The document's.
        found: ClientId,
        /// The one asked for.
        expected: ClientId,
    },
    /// Without a method there is no way to authenticate. RFC 7591's default, `client_secret_basic`, must be asked for.
    #[error("`{METHOD}` is missing: write {}", methods())]
    MethodAbsent,
    /// A method that is not supported.
    #[error("`{METHOD}` `{0}` is not supported: write {methods}", methods = methods())]
    Method(String),
    /// No expectation of the certificate.
    #[error(
        "`tls_client_auth` needs exactly one of `{SUBJECT_DN}`, `{SAN_DNS}`, `{SAN_URI}`, `{SAN_IP}`, `{SAN_EMAIL}` (RFC 8705 §2.1.2)"
    )]
    SubjectAbsent,
    /// More than one expectation of the certificate.
    #[error("`{0}` and `{1}` exclude each other: exactly one says what the certificate must name (RFC 8705 §2.1.2)")]
    SubjectTwice(&'static str, &'static str),
    /// A member that belongs to the other method.
    #[error("`{name}` has no meaning with `{method}`: remove it, or change `token_endpoint_auth_method`")]
    OtherMethod {
        /// The member.
        name: &'static str,
        /// The registered method.
        method: AuthenticationMethod,
    },
    /// An expectation that no certificate can meet, or that is not safe to compare.
    #[error("`{name}` {problem}")]
    Subject {
        /// The member.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// `self_signed_tls_client_auth` without certificates.
    #[error(
        "`self_signed_tls_client_auth` needs `jwks` with 1 to {} keys, each with the certificate in `x5c`, or `jwks_uri` (RFC 8705 §2.2.2)",
        Certificates::MAX
    )]
    CertificatesAbsent,
    /// One key of `jwks`.
    #[error("key {number} of `jwks`: {problem}")]
    Certificate {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong.
        problem: RegisteredCertificateError,
    },
    /// `private_key_jwt` without keys.
    #[error("`private_key_jwt` needs `jwks` with the client's public keys, or `jwks_uri` (RFC 7591 §2)")]
    KeysAbsent,
    /// The keys of `private_key_jwt`.
    #[error("{0}")]
    Keys(#[from] RegisteredKeysError),
    /// Both places for keys.
    #[error("`jwks` and `jwks_uri` exclude each other (RFC 7591 §2)")]
    KeysTwice,
    /// `jwks_uri` is malformed.
    #[error("`jwks_uri` {0}")]
    JwksUri(#[from] JwksUriError),
    /// `token_endpoint_auth_signing_alg` names no algorithm of the method.
    #[error("`{SIGNING_ALG}`: {0}")]
    SigningAlgorithm(String),
    /// None of the registered keys is for the one algorithm.
    #[error("`{SIGNING_ALG}` is {0}, and no key of `jwks` verifies it")]
    NoKeyFor(Algorithm),
    /// A method with a secret, and none.
    #[error(
        "`{0}` needs `client_secret`, and none that serves is kept: give one, or let `symbolon client add --generate-secret` make it"
    )]
    SecretAbsent(AuthenticationMethod),
    /// A secret that is not good enough.
    #[error("`client_secret` {0}")]
    Secret(#[from] SecretError),
    /// A grant that is not for clients that prove nothing.
    #[error("`grant_types`: `{0}` is not for a client whose `{METHOD}` is `none` (RFC 6749 §4.4)")]
    PublicGrant(GrantType),
    /// A grant that does not exist here.
    #[error(
        "`grant_types`: `{0}` is not supported: write {names}, or `[]` for a client that asks for no tokens",
        names = GrantType::ALL.map(|grant| format!("`{grant}`")).join(", ")
    )]
    Grant(String),
    /// `scope` is malformed.
    #[error("`scope`: {0}")]
    Scope(#[from] ScopeError),
    /// A resource identifier that is not an absolute URI without fragment.
    #[error("`resources`: `{0}` is not an absolute URI without fragment (RFC 8707 §2)")]
    Resource(String),
    /// A redirect URI that cannot be registered.
    #[error("`redirect_uris`: `{uri}` {problem}")]
    RedirectUri {
        /// The text.
        uri: String,
        /// What is wrong.
        problem: RedirectUriError,
    },
    /// A place to go after signing out that cannot be registered.
    #[error("`post_logout_redirect_uris`: `{uri}` {problem}")]
    PostLogoutRedirectUri {
        /// The text.
        uri: String,
        /// What is wrong.
        problem: RedirectUriError,
    },
    /// A place where the client cannot be told that somebody signed out.
    #[error("`{name}` {problem}")]
    SecureUri {
        /// The member.
        name: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A page of the client's that is none.
    #[error("`{name}` must be an absolute {schemes} URL of at most 2000 bytes")]
    Page {
        /// The member.
        name: &'static str,
        /// The schemes that are taken.
        schemes: &'static str,
    },
    /// Nobody signs in to this client.
    #[error("`{0}` has no meaning without the grant `authorization_code`")]
    LogoutWithoutCode(&'static str),
    /// Redirect URIs without the grant that uses them, or the grant without them.
    #[error("`redirect_uris` and the grant `authorization_code` in `grant_types` need each other")]
    RedirectUris,
    /// Nothing would issue the first refresh token.
    #[error(
        "`grant_types`: `refresh_token` needs `authorization_code` or the device grant, or another grant in `refresh_token_grants`, which issues the first one"
    )]
    RefreshTokenAlone,
    /// A grant that gives no refresh token, or is not the client's.
    #[error(
        "`refresh_token_grants`: `{0}` is not `{jwt}` or `{exchange}`, or `grant_types` does not have it and `refresh_token`",
        jwt = GrantType::JwtBearer,
        exchange = GrantType::TokenExchange
    )]
    RefreshTokenGrant(String),
    /// Rebinding where a refresh token is not bound to a certificate.
    #[error(
        "`refresh_token_rebinding` is for a client whose `{METHOD}` is `none`, with the grant `refresh_token` and tokens bound to its certificate"
    )]
    Rebinding,
    /// A response type that is not served (RFC 9700 §2.1.2).
    #[error("`response_types` must be `[\"code\"]` with the grant `authorization_code`, and `[]` or absent without it")]
    ResponseTypes,
    /// A profile that demands sender-constrained tokens beside leave for bearer tokens.
    #[error("the profile `{0}` needs sender-constrained tokens: remove `{BOUND}`")]
    ProfileBinding(&'static str),
    /// A profile that demands stronger authentication.
    #[error("the profile `{0}` needs `tls_client_auth`, `self_signed_tls_client_auth` or `private_key_jwt`")]
    ProfileMethod(&'static str),
    /// An algorithm that the profile does not know.
    #[error("`{name}`: `{algorithm}` is not for the profile `{profile}` (FAPI 2.0 Security Profile §5.4.1)")]
    ProfileAlgorithm {
        /// The member.
        name: &'static str,
        /// The algorithm.
        algorithm: Algorithm,
        /// The profile.
        profile: &'static str,
    },
    /// A place of request objects that nothing is fetched from.
    #[error("`request_uris`: `{uri}` {problem}")]
    RequestUri {
        /// The text.
        uri: String,
        /// What is wrong.
        problem: RequestUriError,
    },
    /// `…_enc` without `…_alg`.
    #[error("`{enc}` needs `{alg}`")]
    EncryptionAlone {
        /// The member that is missing.
        alg: &'static str,
        /// The one that is there.
        enc: &'static str,
    },
    /// Nothing to encrypt to.
    #[error("`{name}` is {alg}, and there is no key for it: `jwks` needs one, or `jwks_uri`")]
    NoEncryptionKey {
        /// The member.
        name: &'static str,
        /// The algorithm.
        alg: KeyManagement,
    },
    /// Unsigned request objects where they must be signed.
    #[error("`request_object_signing_alg`: `none` does not go with `{0}`")]
    UnsignedRequests(&'static str),
    /// A word outside a closed list.
    #[error("`{name}`: `{found}` is not one of {words}")]
    Word {
        /// The member.
        name: &'static str,
        /// What was written.
        found: String,
        /// The list.
        words: String,
    },
    /// Pairwise subjects without one sector.
    #[error("`subject_type` `pairwise` needs `redirect_uris` of one host, or `sector_identifier_uri` (OpenID Connect Core §8.1)")]
    Sector,
    /// The name of an anchor set is empty.
    #[error("`anchor_set` must name an anchor set of the configuration")]
    AnchorSet,
}

impl MetadataError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::ClientIdAbsent => Reason::ClientIdAbsent,
            Self::OtherClient { .. } => Reason::ClientUnknown,
            _ => Reason::ParameterMalformed,
        }
    }
}

impl From<AlgorithmUnknown> for MetadataError {
    fn from(problem: AlgorithmUnknown) -> Self {
        Self::SigningAlgorithm(problem.to_string())
    }
}

/// The names of every method, as text.
fn methods() -> String {
    let names = AuthenticationMethod::ALL.map(|method| format!("`{method}`"));
    let (last, others) = names.split_last().map(|(last, others)| (last.as_str(), others.join(", "))).unwrap_or_default();
    format!("{others} or {last}")
}

/// Reads a registration. `kept` is what the store has of the client's secret.
pub(super) fn read(json: &[u8], expected: Option<&ClientId>, kept: KeptSecret<'_>) -> Result<Client, MetadataError> {
    if json.len() > LIMIT_BYTES {
        return Err(MetadataError::TooLong);
    }
    let members = json::parse_object(json)?;
    check_names(&members)?;
    let client_id = client_id(&members, expected)?;
    let authentication = authentication::read(&members, &client_id, kept)?;
    let grant_types = grants(&members, &authentication)?;
    let binding = binding(flag(&members, BOUND)?, flag(&members, DPOP_BOUND)?);
    let authorization = authorization::read(&members, &grant_types, binding, &authentication)?;
    let other_keys = authentication::other_keys(&members, &authentication)?;
    let keys = authentication.keys().or(other_keys.as_ref());
    Ok(Client {
        logout: logout::read(&members, &authorization)?,
        about: about::read(&members)?,
        refreshing: refreshing::read(&members, &grant_types, binding, &authentication)?,
        messages: messages::read(&members, authorization.profile, keys)?,
        other_keys,
        authorization,
        client_id,
        name: text(&members, CLIENT_NAME)?.map(str::to_owned),
        authentication,
        binding,
        anchor_set: match text(&members, ANCHOR_SET)? {
            Some("") => return Err(MetadataError::AnchorSet),
            name => name.map(str::to_owned),
        },
        grant_types,
        resources: resources(strings(&members, RESOURCES)?.unwrap_or_default())?,
        access_token_format: text(&members, FORMAT)?.map(format).transpose()?,
        scope: text(&members, SCOPE)?.unwrap_or_default().parse::<Scope>()?,
    })
}

pub(super) fn write(client: &Client) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| {
        members.insert(name.to_owned(), value);
    };
    put(CLIENT_ID, client.client_id.as_str().into());
    if let Some(name) = &client.name {
        put(CLIENT_NAME, name.as_str().into());
    }
    authentication::write(&client.authentication, client.other_keys.as_ref(), &mut put);
    let (certificate, dpop) = match client.binding {
        BindingPolicy::Certificate => (true, false),
        BindingPolicy::Dpop => (false, true),
        BindingPolicy::CertificateAndDpop => (true, true),
        BindingPolicy::Unbound => (false, false),
    };
    put(BOUND, certificate.into());
    put(DPOP_BOUND, dpop.into());
    put(GRANT_TYPES, client.grant_types.iter().map(|grant| grant.name()).collect());
    if !client.scope.is_empty() {
        put(SCOPE, client.scope.to_string().into());
    }
    if let Some(name) = &client.anchor_set {
        put(ANCHOR_SET, name.as_str().into());
    }
    put(RESOURCES, client.resources.iter().map(String::as_str).collect());
    if let Some(format) = client.access_token_format {
        put(FORMAT, format.name().into());
    }
    authorization::write(&client.authorization, &mut put);
    messages::write(&client.messages, &mut put);
    about::write(&client.about, &mut put);
    refreshing::write(&client.refreshing, &mut put);
    logout::write(&client.logout, &mut put);
    Value::Object(members)
}

fn format(written: &str) -> Result<TokenFormat, MetadataError> {
    let formats = [TokenFormat::Jwt, TokenFormat::Opaque];
    formats.into_iter().find(|format| format.name() == written).ok_or_else(|| MetadataError::Word {
        name: FORMAT,
        found: written.chars().take(100).collect(),
        words: formats.map(|format| format!("`{}`", format.name())).join(", "),
    })
}

/// RFC 8705 §3.4, RFC 9449 §5.2. Whoever says nothing gets tokens bound to the certificate; binding to both must be said of both.
const fn binding(certificate: Option<bool>, dpop: Option<bool>) -> BindingPolicy {
    match (certificate, dpop) {
        (None | Some(true), None | Some(false)) => BindingPolicy::Certificate,
        (None | Some(false), Some(true)) => BindingPolicy::Dpop,
        (Some(true), Some(true)) => BindingPolicy::CertificateAndDpop,
        (Some(false), None | Some(false)) => BindingPolicy::Unbound,
    }
}

pub(super) fn is_known(name: &str) -> bool {
    known().any(|known| known == name)
}

fn check_names(members: &Map<String, Value>) -> Result<(), MetadataError> {
    match members.keys().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(MetadataError::Unknown { name: name.chars().take(100).collect(), nearest: nearest(name) }),
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    KNOWN
        .into_iter()
        .chain(authorization::NAMES)
        .chain(messages::NAMES)
        .chain(logout::NAMES)
        .chain(about::NAMES)
        .chain(refreshing::NAMES)
}

/// The known name with the fewest edits, when they are few beside its length.
fn nearest(name: &str) -> Option<&'static str> {
    let short: Vec<char> = name.to_lowercase().chars().take(100).collect();
    let (edits, best) = known().map(|known| (edits(&short, known), known)).min()?;
    (edits * 3 <= best.len()).then_some(best)
}

/// Levenshtein's distance.
fn edits(one: &[char], other: &str) -> usize {
    let mut row: Vec<usize> = (0..=one.len()).collect();
    for (index, wanted) in other.chars().enumerate() {
        let mut next = vec![index + 1];
        for ((found, above), diagonal) in one.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(*found != wanted)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

fn client_id(members: &Map<String, Value>, expected: Option<&ClientId>) -> Result<ClientId, MetadataError> {
    match (text(members, CLIENT_ID)?.map(str::parse::<ClientId>).transpose()?, expected) {
        (None, None) => Err(MetadataError::ClientIdAbsent),
        (None, Some(expected)) => Ok(expected.clone()),
        (Some(found), Some(expected)) if found != *expected => {
            Err(MetadataError::OtherClient { found, expected: expected.clone() })
        }
        (Some(found), _) => Ok(found),
    }
}

fn subject(name: &'static str, value: &str) -> Result<CertificateMatcher, MetadataError> {
    let refused = |problem: &str| MetadataError::Subject { name, problem: problem.to_owned() };
    let graphic = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    match name {
        SUBJECT_DN => match DistinguishedName::parse(value) {
            Ok(name) => Ok(CertificateMatcher::SubjectDn(name)),
            Err(problem) => Err(MetadataError::Subject { name, problem: format!("is not a name: {problem}") }),
        },
        SAN_DNS => {
            let is_label = |label: &str| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            };
            if value.contains('*') {
                Err(refused("may have no wildcard: it must be one client's name"))
            } else if value.len() <= 253 && value.split('.').all(is_label) {
                Ok(CertificateMatcher::SanDns(value.to_ascii_lowercase()))
            } else {
                Err(refused("must be a DNS name in ASCII without trailing dot, such as `client.example`"))
            }
        }
        SAN_URI if graphic && Url::parse(value).is_ok() => Ok(CertificateMatcher::SanUri(value.to_owned())),
        SAN_URI => Err(refused("must be an absolute URI in ASCII, such as `spiffe://example/client`")),
        SAN_IP => value
            .parse()
            .map(CertificateMatcher::SanIp)
            .map_err(|_| refused("must be an IPv4 or IPv6 address without prefix length")),
        _ => match value.rsplit_once('@') {
            Some((local, host)) if graphic && !local.is_empty() && !host.is_empty() && !local.contains('@') => {
                Ok(CertificateMatcher::SanEmail(value.to_owned()))
            }
            _ => Err(refused("must be one e-mail address in ASCII")),
        },
    }
}

/// The grants, by default the one that needs no person. A client that proves nothing may not speak for itself.
fn grants(members: &Map<String, Value>, authentication: &Authentication) -> Result<BTreeSet<GrantType>, MetadataError> {
    let is_public = *authentication == Authentication::None;
    let Some(names) = strings(members, GRANT_TYPES)? else {
        let default = (!is_public).then_some(GrantType::ClientCredentials);
        return Ok(default.into_iter().collect());
    };
    let known = |name: String| GrantType::ALL.into_iter().find(|grant| grant.name() == name).ok_or(MetadataError::Grant(name));
    let grants = names.into_iter().map(known).collect::<Result<BTreeSet<_>, _>>()?;
    match grants.iter().find(|grant| is_public && grant.is_confidential()) {
        Some(grant) => Err(MetadataError::PublicGrant(*grant)),
        None => Ok(grants),
    }
}

fn resources(identifiers: Vec<String>) -> Result<Vec<String>, MetadataError> {
    let is_resource = |text: &str| Url::parse(text).is_ok() && !text.contains('#');
    match identifiers.iter().find(|identifier| !is_resource(identifier)) {
        None => Ok(identifiers),
        Some(identifier) => Err(MetadataError::Resource(identifier.clone())),
    }
}

pub(super) fn text<'m>(members: &'m Map<String, Value>, name: &'static str) -> Result<Option<&'m str>, MetadataError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(MetadataError::Type { name, wanted: "a string" }),
    }
}

pub(super) fn flag(members: &Map<String, Value>, name: &'static str) -> Result<Option<bool>, MetadataError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(MetadataError::Type { name, wanted: "true or false, without quotation marks" }),
    }
}

pub(super) fn strings(members: &Map<String, Value>, name: &'static str) -> Result<Option<Vec<String>>, MetadataError> {
    let wanted = MetadataError::Type { name, wanted: "an array of strings" };
    let Some(value) = members.get(name) else { return Ok(None) };
    let values = value.as_array().ok_or_else(|| wanted.clone())?;
    if values.len() > LIMIT_VALUES {
        return Err(MetadataError::TooMany(name));
    }
    values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(|| wanted.clone())).collect::<Result<_, _>>().map(Some)
}
