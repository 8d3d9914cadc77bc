//! Client metadata as JSON (RFC 7591 §2, RFC 8705 §2.1.2, §2.2.2, §3.4, RFC 9449 §5.2).

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use url::Url;

use super::{
    Authentication, CertificateMatcher, Client, GrantType, RegisteredCertificate, RegisteredCertificateError,
    RegisteredCertificates, SELF_SIGNED_TLS_CLIENT_AUTH, TLS_CLIENT_AUTH,
};
use super::{RedirectUriError, authorization};
use crate::binding::BindingPolicy;
use crate::domain::{ClientId, IdentifierError, Scope, ScopeError};
use crate::event::Reason;
use crate::jose::json::{self, JsonError};
use crate::pki::DistinguishedName;

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
const BOUND: &str = "tls_client_certificate_bound_access_tokens";
const DPOP_BOUND: &str = "dpop_bound_access_tokens";
const GRANT_TYPES: &str = "grant_types";
const SCOPE: &str = "scope";
const ANCHOR_SET: &str = "anchor_set";
const RESOURCES: &str = "resources";

const SUBJECTS: [&str; 5] = [SUBJECT_DN, SAN_DNS, SAN_URI, SAN_IP, SAN_EMAIL];

const KNOWN: [&str; 15] = [
    CLIENT_ID,
    CLIENT_NAME,
    METHOD,
    SUBJECT_DN,
    SAN_DNS,
    SAN_URI,
    SAN_IP,
    SAN_EMAIL,
    JWKS,
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
    /// Without a method there is no way to authenticate; RFC 7591's default, a shared secret, is not supported.
    #[error("`token_endpoint_auth_method` is missing: write `{TLS_CLIENT_AUTH}` or `{SELF_SIGNED_TLS_CLIENT_AUTH}`")]
    MethodAbsent,
    /// A method that is not supported.
    #[error("`token_endpoint_auth_method` `{0}` is not supported: write `{TLS_CLIENT_AUTH}` or `{SELF_SIGNED_TLS_CLIENT_AUTH}`")]
    Method(String),
    /// No expectation of the certificate.
    #[error(
        "`{TLS_CLIENT_AUTH}` needs exactly one of `{SUBJECT_DN}`, `{SAN_DNS}`, `{SAN_URI}`, `{SAN_IP}`, `{SAN_EMAIL}` (RFC 8705 §2.1.2)"
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
        method: &'static str,
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
        "`{SELF_SIGNED_TLS_CLIENT_AUTH}` needs `jwks` with 1 to {} keys, each with the certificate in `x5c` (RFC 8705 §2.2.2)",
        RegisteredCertificates::MAX
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
    /// `jwks_uri`.
    #[error("`jwks_uri` is not supported: put the keys themselves into `jwks`")]
    JwksUri,
    /// A grant that does not exist here.
    #[error(
        "`grant_types`: `{0}` is not supported: write `client_credentials`, `authorization_code`, `refresh_token`, or `[]` for a client that asks for no tokens"
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
    /// Redirect URIs without the grant that uses them, or the grant without them.
    #[error("`redirect_uris` and the grant `authorization_code` in `grant_types` need each other")]
    RedirectUris,
    /// Nothing would issue the first refresh token.
    #[error("`grant_types`: `refresh_token` needs `authorization_code`, which issues the first one")]
    RefreshTokenAlone,
    /// A response type that is not served (RFC 9700 §2.1.2).
    #[error("`response_types` must be `[\"code\"]` with the grant `authorization_code`, and `[]` or absent without it")]
    ResponseTypes,
    /// A profile that demands sender-constrained tokens beside leave for bearer tokens.
    #[error("the profile `{0}` needs sender-constrained tokens: remove `{BOUND}`")]
    ProfileBinding(&'static str),
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
    #[error("`subject_type` `pairwise` needs `redirect_uris` of one host (OpenID Connect Core §8.1)")]
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

pub(super) fn read(json: &[u8], expected: Option<&ClientId>) -> Result<Client, MetadataError> {
    if json.len() > LIMIT_BYTES {
        return Err(MetadataError::TooLong);
    }
    let members = json::parse_object(json)?;
    check_names(&members)?;
    let grants: Vec<String> =
        strings(&members, GRANT_TYPES)?.unwrap_or_else(|| vec![GrantType::ClientCredentials.name().to_owned()]);
    let grant_types = grants.into_iter().map(grant).collect::<Result<BTreeSet<_>, _>>()?;
    let binding = binding(flag(&members, BOUND)?, flag(&members, DPOP_BOUND)?);
    Ok(Client {
        authorization: authorization::read(&members, &grant_types, binding)?,
        client_id: client_id(&members, expected)?,
        name: text(&members, CLIENT_NAME)?.map(str::to_owned),
        authentication: authentication(&members)?,
        binding,
        anchor_set: match text(&members, ANCHOR_SET)? {
            Some("") => return Err(MetadataError::AnchorSet),
            name => name.map(str::to_owned),
        },
        grant_types,
        resources: resources(strings(&members, RESOURCES)?.unwrap_or_default())?,
        scope: text(&members, SCOPE)?.unwrap_or_default().parse::<Scope>()?,
    })
}

pub(super) fn write(client: &Client) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put(CLIENT_ID, client.client_id.as_str().into());
    if let Some(name) = &client.name {
        put(CLIENT_NAME, name.as_str().into());
    }
    put(METHOD, client.authentication.method().into());
    match &client.authentication {
        Authentication::TlsClientAuth(CertificateMatcher::SubjectDn(name)) => put(SUBJECT_DN, name.to_string().into()),
        Authentication::TlsClientAuth(CertificateMatcher::SanDns(name)) => put(SAN_DNS, name.as_str().into()),
        Authentication::TlsClientAuth(CertificateMatcher::SanUri(uri)) => put(SAN_URI, uri.as_str().into()),
        Authentication::TlsClientAuth(CertificateMatcher::SanIp(address)) => put(SAN_IP, address.to_string().into()),
        Authentication::TlsClientAuth(CertificateMatcher::SanEmail(address)) => put(SAN_EMAIL, address.as_str().into()),
        Authentication::SelfSignedTlsClientAuth(certificates) => {
            let keys: Vec<Value> = certificates.iter().map(|certificate| Value::Object(certificate.to_jwk())).collect();
            put(JWKS, Value::Object(Map::from_iter([("keys".to_owned(), Value::Array(keys))])))
        }
    };
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
    authorization::write(&client.authorization, |name, value| {
        members.insert(name.to_owned(), value);
    });
    Value::Object(members)
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

fn check_names(members: &Map<String, Value>) -> Result<(), MetadataError> {
    if members.contains_key("jwks_uri") {
        return Err(MetadataError::JwksUri);
    }
    match members.keys().find(|name| !known().any(|known| known == name.as_str())) {
        None => Ok(()),
        Some(name) => Err(MetadataError::Unknown { name: name.chars().take(100).collect(), nearest: nearest(name) }),
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    KNOWN.into_iter().chain(authorization::NAMES)
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

fn authentication(members: &Map<String, Value>) -> Result<Authentication, MetadataError> {
    match text(members, METHOD)?.ok_or(MetadataError::MethodAbsent)? {
        TLS_CLIENT_AUTH => {
            refuse_members(members, &[JWKS], TLS_CLIENT_AUTH)?;
            let mut present = SUBJECTS.into_iter().filter(|name| members.contains_key(*name));
            match (present.next(), present.next()) {
                (None, _) => Err(MetadataError::SubjectAbsent),
                (Some(one), Some(two)) => Err(MetadataError::SubjectTwice(one, two)),
                (Some(name), None) => subject(name, text(members, name)?.unwrap_or_default()).map(Authentication::TlsClientAuth),
            }
        }
        SELF_SIGNED_TLS_CLIENT_AUTH => {
            refuse_members(members, &SUBJECTS, SELF_SIGNED_TLS_CLIENT_AUTH)?;
            refuse_members(members, &[ANCHOR_SET], SELF_SIGNED_TLS_CLIENT_AUTH)?;
            certificates(members.get(JWKS)).map(Authentication::SelfSignedTlsClientAuth)
        }
        other => Err(MetadataError::Method(other.chars().take(100).collect())),
    }
}

fn refuse_members(members: &Map<String, Value>, names: &[&'static str], method: &'static str) -> Result<(), MetadataError> {
    match names.iter().find(|name| members.contains_key(**name)) {
        None => Ok(()),
        Some(name) => Err(MetadataError::OtherMethod { name, method }),
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

fn certificates(jwks: Option<&Value>) -> Result<RegisteredCertificates, MetadataError> {
    let wanted =
        MetadataError::Type { name: JWKS, wanted: "a JWK Set: an object whose `keys` is an array of objects (RFC 7517 §5)" };
    let keys = match jwks {
        None => return Err(MetadataError::CertificatesAbsent),
        Some(jwks) => jwks.get("keys").and_then(Value::as_array).ok_or_else(|| wanted.clone())?,
    };
    if keys.len() > RegisteredCertificates::MAX {
        return Err(MetadataError::CertificatesAbsent);
    }
    let mut certificates = Vec::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        let members = key.as_object().ok_or_else(|| wanted.clone())?;
        let certificate = RegisteredCertificate::from_jwk(members)
            .map_err(|problem| MetadataError::Certificate { number: index + 1, problem })?;
        certificates.push(certificate);
    }
    RegisteredCertificates::new(certificates).ok_or(MetadataError::CertificatesAbsent)
}

fn grant(name: String) -> Result<GrantType, MetadataError> {
    GrantType::ALL.into_iter().find(|grant| grant.name() == name).ok_or(MetadataError::Grant(name))
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
