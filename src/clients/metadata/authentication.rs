//! The members that say how a client authenticates. Each method has its own; one of another method restricts nothing and is refused.

use serde_json::{Map, Value};

use super::{
    ANCHOR_SET, JWKS, JWKS_URI, METHOD, MetadataError, SAN_DNS, SAN_EMAIL, SAN_IP, SAN_URI, SECRET, SIGNING_ALG, SUBJECT_DN,
    SUBJECTS, subject, text,
};
use crate::clients::secrets::SecretSource;
use crate::clients::{
    Authentication, AuthenticationMethod, CertificateMatcher, JwksUri, Published, RegisteredCertificate, RegisteredCertificates,
    RegisteredKeys, RegisteredKeysError,
};
use crate::domain::ClientId;
use crate::jose::Algorithm;
use crate::jose::mac::MacAlgorithm;
use crate::store::KeptSecret;

type Members = Map<String, Value>;

/// Every member that belongs to some methods and not to others.
const OWN: [&str; 8] = [SUBJECT_DN, SAN_DNS, SAN_URI, SAN_IP, SAN_EMAIL, ANCHOR_SET, SIGNING_ALG, SECRET];

/// Those that belong to this one. `jwks` and `jwks_uri` go with every method: request objects are signed by those keys too.
const fn own(method: AuthenticationMethod) -> &'static [&'static str] {
    match method {
        AuthenticationMethod::TlsClientAuth => &[SUBJECT_DN, SAN_DNS, SAN_URI, SAN_IP, SAN_EMAIL, ANCHOR_SET],
        AuthenticationMethod::SelfSignedTlsClientAuth | AuthenticationMethod::None => &[],
        AuthenticationMethod::PrivateKeyJwt => &[SIGNING_ALG],
        AuthenticationMethod::ClientSecretBasic | AuthenticationMethod::ClientSecretPost => &[SECRET],
        AuthenticationMethod::ClientSecretJwt => &[SECRET, SIGNING_ALG],
    }
}

pub(super) fn read(members: &Members, client_id: &ClientId, kept: KeptSecret<'_>) -> Result<Authentication, MetadataError> {
    let written = text(members, METHOD)?.ok_or(MetadataError::MethodAbsent)?;
    let method: AuthenticationMethod = written.parse().map_err(|_| MetadataError::Method(written.chars().take(100).collect()))?;
    let foreign = OWN.into_iter().find(|name| members.contains_key(*name) && !own(method).contains(name));
    if let Some(name) = foreign {
        return Err(MetadataError::OtherMethod { name, method });
    }
    let secret = SecretSource { given: text(members, SECRET)?, kept };
    let absent = MetadataError::SecretAbsent(method);
    Ok(match method {
        AuthenticationMethod::TlsClientAuth => Authentication::TlsClientAuth(certificate_matcher(members)?),
        AuthenticationMethod::SelfSignedTlsClientAuth => Authentication::SelfSignedTlsClientAuth(certificates(members)?),
        AuthenticationMethod::PrivateKeyJwt => {
            let algorithm = text(members, SIGNING_ALG)?.map(str::parse::<Algorithm>).transpose()?;
            Authentication::PrivateKeyJwt { keys: keys(members, algorithm, true)?, algorithm }
        }
        AuthenticationMethod::ClientSecretBasic => Authentication::ClientSecretBasic(secret.hashes(client_id).ok_or(absent)??),
        AuthenticationMethod::ClientSecretPost => Authentication::ClientSecretPost(secret.hashes(client_id).ok_or(absent)??),
        AuthenticationMethod::ClientSecretJwt => {
            let unknown = |_| MetadataError::SigningAlgorithm("write `HS256`, `HS384` or `HS512`".into());
            let algorithm = text(members, SIGNING_ALG)?.map(|name| name.parse::<MacAlgorithm>().map_err(unknown)).transpose()?;
            let secret = secret.shared(algorithm).ok_or(absent)??;
            Authentication::ClientSecretJwt { secret, algorithm }
        }
        AuthenticationMethod::None => Authentication::None,
    })
}

/// Keys of a client that authenticates by something else. Those of certificates are read as far as they are keys that sign.
pub(super) fn other_keys(
    members: &Members,
    authentication: &Authentication,
) -> Result<Option<Published<RegisteredKeys>>, MetadataError> {
    let Some(published) = published(members)? else { return Ok(None) };
    match (authentication, published) {
        (Authentication::PrivateKeyJwt { .. }, _) => Ok(None),
        (_, Published::At(uri)) => Ok(Some(Published::At(uri))),
        (Authentication::SelfSignedTlsClientAuth(_), Published::Here(keys)) => {
            Ok(RegisteredKeys::from_jwks(&keys).ok().map(Published::Here))
        }
        (_, Published::Here(_)) => keys(members, None, false).map(Some),
    }
}

/// Writes everything but secrets.
pub(super) fn write(
    authentication: &Authentication,
    other_keys: Option<&Published<RegisteredKeys>>,
    put: &mut impl FnMut(&str, Value),
) {
    put(METHOD, authentication.method().name().into());
    let mut put_keys = |keys: &Published<RegisteredKeys>| match keys {
        Published::Here(keys) => put(JWKS, keys.to_jwks()),
        Published::At(uri) => put(JWKS_URI, uri.url().as_str().into()),
    };
    match (authentication, other_keys) {
        (Authentication::PrivateKeyJwt { keys, .. }, _) => put_keys(keys),
        (Authentication::SelfSignedTlsClientAuth(_), _) | (_, None) => {}
        (_, Some(keys)) => put_keys(keys),
    }
    match authentication {
        Authentication::TlsClientAuth(CertificateMatcher::SubjectDn(name)) => put(SUBJECT_DN, name.to_string().into()),
        Authentication::TlsClientAuth(CertificateMatcher::SanDns(name)) => put(SAN_DNS, name.as_str().into()),
        Authentication::TlsClientAuth(CertificateMatcher::SanUri(uri)) => put(SAN_URI, uri.as_str().into()),
        Authentication::TlsClientAuth(CertificateMatcher::SanIp(address)) => put(SAN_IP, address.to_string().into()),
        Authentication::TlsClientAuth(CertificateMatcher::SanEmail(address)) => put(SAN_EMAIL, address.as_str().into()),
        Authentication::SelfSignedTlsClientAuth(Published::Here(certificates)) => {
            let keys: Vec<Value> = certificates.iter().map(|certificate| Value::Object(certificate.to_jwk())).collect();
            put(JWKS, Value::Object(Map::from_iter([("keys".to_owned(), Value::Array(keys))])));
        }
        Authentication::SelfSignedTlsClientAuth(Published::At(uri)) => put(JWKS_URI, uri.url().as_str().into()),
        Authentication::PrivateKeyJwt { algorithm: Some(algorithm), .. } => put(SIGNING_ALG, algorithm.name().into()),
        Authentication::ClientSecretJwt { algorithm: Some(algorithm), .. } => put(SIGNING_ALG, algorithm.name().into()),
        Authentication::PrivateKeyJwt { algorithm: None, .. }
        | Authentication::ClientSecretJwt { algorithm: None, .. }
        | Authentication::ClientSecretBasic(_)
        | Authentication::ClientSecretPost(_)
        | Authentication::None => {}
    }
}

fn certificate_matcher(members: &Members) -> Result<CertificateMatcher, MetadataError> {
    let mut present = SUBJECTS.into_iter().filter(|name| members.contains_key(*name));
    match (present.next(), present.next()) {
        (None, _) => Err(MetadataError::SubjectAbsent),
        (Some(one), Some(two)) => Err(MetadataError::SubjectTwice(one, two)),
        (Some(name), None) => subject(name, text(members, name)?.unwrap_or_default()),
    }
}

/// Where the keys are: their members, or their place.
fn published(members: &Members) -> Result<Option<Published<Vec<&Members>>>, MetadataError> {
    let wanted =
        || MetadataError::Type { name: JWKS, wanted: "a JWK Set: an object whose `keys` is an array of objects (RFC 7517 §5)" };
    match (members.get(JWKS), text(members, JWKS_URI)?) {
        (Some(_), Some(_)) => Err(MetadataError::KeysTwice),
        (None, None) => Ok(None),
        (None, Some(uri)) => Ok(Some(Published::At(uri.parse::<JwksUri>()?))),
        (Some(jwks), None) => {
            let keys = jwks.get("keys").and_then(Value::as_array).ok_or_else(wanted)?;
            let keys = keys.iter().map(|key| key.as_object().ok_or_else(wanted)).collect::<Result<_, _>>()?;
            Ok(Some(Published::Here(keys)))
        }
    }
}

fn certificates(members: &Members) -> Result<Published<RegisteredCertificates>, MetadataError> {
    let keys = match published(members)?.ok_or(MetadataError::CertificatesAbsent)? {
        Published::At(uri) => return Ok(Published::At(uri)),
        Published::Here(keys) => keys,
    };
    if keys.len() > RegisteredCertificates::MAX {
        return Err(MetadataError::CertificatesAbsent);
    }
    let read = |(index, key): (usize, &&Members)| {
        RegisteredCertificate::from_jwk(key).map_err(|problem| MetadataError::Certificate { number: index + 1, problem })
    };
    let certificates = keys.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    RegisteredCertificates::new(certificates).map(Published::Here).ok_or(MetadataError::CertificatesAbsent)
}

fn keys(
    members: &Members,
    algorithm: Option<Algorithm>,
    for_signatures: bool,
) -> Result<Published<RegisteredKeys>, MetadataError> {
    let keys = match published(members)?.ok_or(MetadataError::KeysAbsent)? {
        Published::At(uri) => return Ok(Published::At(uri)),
        Published::Here(keys) if keys.len() > RegisteredKeys::MAX => return Err(RegisteredKeysError::Number.into()),
        Published::Here(keys) => RegisteredKeys::from_jwks(&keys)?,
    };
    match algorithm {
        Some(algorithm) if !keys.fit(algorithm) => Err(MetadataError::NoKeyFor(algorithm)),
        None if for_signatures && !keys.verify_something() => Err(MetadataError::KeysAbsent),
        _ => Ok(Published::Here(keys)),
    }
}
