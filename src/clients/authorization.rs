//! What a client may do at the authorization endpoint, and how it wants to be told who signed in (RFC 7591 §2, RFC 9126 §6, OpenID
//! Connect Registration §2).

use serde_json::{Map, Value};

use super::metadata::{flag, strings, text};
use super::{ApplicationType, Authentication, GrantType, MetadataError, RedirectUri, SecureUri};
use crate::binding::BindingPolicy;
use crate::config::settings::ProfileSetting;
use crate::jose::Algorithm;

const REDIRECT_URIS: &str = "redirect_uris";
const RESPONSE_TYPES: &str = "response_types";
const APPLICATION_TYPE: &str = "application_type";
const PROFILE: &str = "profile";
const REQUIRE_PUSHED: &str = "require_pushed_authorization_requests";
const DEFAULT_MAX_AGE: &str = "default_max_age";
const REQUIRE_AUTH_TIME: &str = "require_auth_time";
const ID_TOKEN_ALGORITHM: &str = "id_token_signed_response_alg";
const USERINFO_ALGORITHM: &str = "userinfo_signed_response_alg";
const SUBJECT_TYPE: &str = "subject_type";
const SECTOR_IDENTIFIER_URI: &str = "sector_identifier_uri";

/// The members that are read here.
pub(super) const NAMES: [&str; 11] = [
    REDIRECT_URIS,
    RESPONSE_TYPES,
    APPLICATION_TYPE,
    PROFILE,
    REQUIRE_PUSHED,
    DEFAULT_MAX_AGE,
    REQUIRE_AUTH_TIME,
    ID_TOKEN_ALGORITHM,
    USERINFO_ALGORITHM,
    SUBJECT_TYPE,
    SECTOR_IDENTIFIER_URI,
];

/// The set of rules that a client's authorizations are under, from the loosest to the strictest. What each demands is written in
/// `oauth::profiles`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// OpenID Connect Core as it stands.
    Openid,
    /// OAuth 2.1: PKCE in every request.
    #[default]
    Oauth21,
    /// FAPI 2.0 Security Profile.
    Fapi2,
    /// FAPI 2.0 Message Signing: signed requests, on top of it.
    Fapi2MessageSigning,
}

impl From<ProfileSetting> for Profile {
    fn from(written: ProfileSetting) -> Self {
        match written {
            ProfileSetting::Openid => Self::Openid,
            ProfileSetting::Oauth21 => Self::Oauth21,
            ProfileSetting::Fapi2 => Self::Fapi2,
            ProfileSetting::Fapi2MessageSigning => Self::Fapi2MessageSigning,
        }
    }
}

impl Profile {
    /// Every profile there is.
    pub const ALL: [Self; 4] = [Self::Openid, Self::Oauth21, Self::Fapi2, Self::Fapi2MessageSigning];

    /// The value of `profile`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openid => "openid",
            Self::Oauth21 => "oauth2.1",
            Self::Fapi2 => "fapi2",
            Self::Fapi2MessageSigning => "fapi2-message-signing",
        }
    }

    /// The algorithms that JWTs between client and server are signed with. FAPI 2.0 Security Profile §5.4.1: "shall use PS256, ES256,
    /// or EdDSA (using the Ed25519 variant) algorithms".
    pub const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Openid | Self::Oauth21 => &Algorithm::ALL,
            Self::Fapi2 | Self::Fapi2MessageSigning => &[Algorithm::ES256, Algorithm::PS256, Algorithm::EdDSA],
        }
    }
}

/// How a client is told who signed in (`subject_type`, OpenID Connect Core §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubjectType {
    /// By the same name as everyone.
    #[default]
    Public,
    /// By a name that no client of another sector knows.
    Pairwise,
}

impl SubjectType {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Public, Self::Pairwise];

    /// The value of `subject_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Pairwise => "pairwise",
        }
    }
}

/// A client at the authorization endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationMetadata {
    /// Where answers may be sent.
    pub redirect_uris: Vec<RedirectUri>,
    /// What kind of application it is.
    pub application_type: ApplicationType,
    /// The rules it is under; the server may put it under stricter ones.
    pub profile: Profile,
    /// Whether it must push its requests (RFC 9126 §6), whatever its profile says.
    pub require_pushed_authorization_requests: bool,
    /// Seconds since the person signed in, at most, where a request does not say.
    pub default_max_age: Option<u32>,
    /// Whether ID tokens always say when the person signed in.
    pub require_auth_time: bool,
    /// The algorithm of its ID tokens.
    pub id_token_signed_response_alg: Option<Algorithm>,
    /// The algorithm of userinfo answers; they are plain JSON without one.
    pub userinfo_signed_response_alg: Option<Algorithm>,
    /// How it is told who signed in.
    pub subject_type: SubjectType,
    /// Names the sector of its pairwise subjects, and lists its redirect URIs; whoever registers it has looked.
    pub sector_identifier_uri: Option<SecureUri>,
}

impl AuthorizationMetadata {
    /// The sector of its pairwise subjects: the host of `sector_identifier_uri`, or that of its redirect URIs (OpenID Connect Core §8.1).
    pub fn sector(&self) -> Option<String> {
        if let Some(uri) = &self.sector_identifier_uri {
            return uri.url().host_str().map(str::to_owned);
        }
        self.redirect_uris.first().and_then(RedirectUri::host)
    }
}

pub(super) fn read(
    members: &Map<String, Value>,
    grants: &std::collections::BTreeSet<GrantType>,
    binding: BindingPolicy,
    authentication: &Authentication,
) -> Result<AuthorizationMetadata, MetadataError> {
    let application_type = named(members, APPLICATION_TYPE, &ApplicationType::ALL, ApplicationType::name)?.unwrap_or_default();
    let mut redirect_uris = Vec::new();
    for written in strings(members, REDIRECT_URIS)?.unwrap_or_default() {
        match RedirectUri::parse(&written, application_type) {
            Ok(uri) => redirect_uris.push(uri),
            Err(problem) => return Err(MetadataError::RedirectUri { uri: written, problem }),
        }
    }
    let with_code = grants.contains(&GrantType::AuthorizationCode);
    if with_code == redirect_uris.is_empty() {
        return Err(MetadataError::RedirectUris);
    }
    if let Some(types) = strings(members, RESPONSE_TYPES)? {
        let expected: &[&str] = if with_code { &["code"] } else { &[] };
        if types != expected {
            return Err(MetadataError::ResponseTypes);
        }
    }
    let profile = named(members, PROFILE, &Profile::ALL, Profile::name)?.unwrap_or_default();
    if profile >= Profile::Fapi2 && binding == BindingPolicy::Unbound {
        return Err(MetadataError::ProfileBinding(profile.name()));
    }
    if profile >= Profile::Fapi2 && !authentication.method().is_strong() {
        return Err(MetadataError::ProfileMethod(profile.name()));
    }
    for name in [ID_TOKEN_ALGORITHM, USERINFO_ALGORITHM] {
        check_profile(profile, name, algorithm(members, name)?)?;
    }
    let metadata = AuthorizationMetadata {
        redirect_uris,
        application_type,
        profile,
        require_pushed_authorization_requests: flag(members, REQUIRE_PUSHED)?.unwrap_or_default(),
        default_max_age: seconds(members, DEFAULT_MAX_AGE)?,
        require_auth_time: flag(members, REQUIRE_AUTH_TIME)?.unwrap_or_default(),
        id_token_signed_response_alg: algorithm(members, ID_TOKEN_ALGORITHM)?,
        userinfo_signed_response_alg: algorithm(members, USERINFO_ALGORITHM)?,
        subject_type: named(members, SUBJECT_TYPE, &SubjectType::ALL, SubjectType::name)?.unwrap_or_default(),
        sector_identifier_uri: text(members, SECTOR_IDENTIFIER_URI)?
            .map(|text| SecureUri::parse(SECTOR_IDENTIFIER_URI, text))
            .transpose()?,
    };
    if metadata.subject_type == SubjectType::Pairwise && metadata.sector_identifier_uri.is_none() {
        let sector = metadata.sector();
        if sector.is_none() || metadata.redirect_uris.iter().any(|uri| uri.host() != sector) {
            return Err(MetadataError::Sector);
        }
    }
    Ok(metadata)
}

pub(super) fn write(metadata: &AuthorizationMetadata, mut put: impl FnMut(&str, Value)) {
    if !metadata.redirect_uris.is_empty() {
        put(REDIRECT_URIS, metadata.redirect_uris.iter().map(RedirectUri::as_str).collect());
        put(RESPONSE_TYPES, Value::from(vec!["code"]));
        put(APPLICATION_TYPE, metadata.application_type.name().into());
        put(SUBJECT_TYPE, metadata.subject_type.name().into());
    }
    // It also says how the client authenticates, whatever it asks for.
    if !metadata.redirect_uris.is_empty() || metadata.profile != Profile::default() {
        put(PROFILE, metadata.profile.name().into());
    }
    if let Some(uri) = &metadata.sector_identifier_uri {
        put(SECTOR_IDENTIFIER_URI, uri.as_str().into());
    }
    if metadata.require_pushed_authorization_requests {
        put(REQUIRE_PUSHED, true.into());
    }
    if let Some(seconds) = metadata.default_max_age {
        put(DEFAULT_MAX_AGE, seconds.into());
    }
    if metadata.require_auth_time {
        put(REQUIRE_AUTH_TIME, true.into());
    }
    for (name, algorithm) in
        [(ID_TOKEN_ALGORITHM, metadata.id_token_signed_response_alg), (USERINFO_ALGORITHM, metadata.userinfo_signed_response_alg)]
    {
        if let Some(algorithm) = algorithm {
            put(name, algorithm.name().into());
        }
    }
}

/// One of a closed list of words.
pub(super) fn named<T: Copy>(
    members: &Map<String, Value>,
    name: &'static str,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<Option<T>, MetadataError> {
    let Some(written) = text(members, name)? else { return Ok(None) };
    match all.iter().find(|one| word(**one) == written) {
        Some(one) => Ok(Some(*one)),
        None => {
            let words = all.iter().map(|one| format!("`{}`", word(*one))).collect::<Vec<_>>().join(" or ");
            Err(MetadataError::Word { name, found: written.chars().take(100).collect(), words })
        }
    }
}

pub(super) fn algorithm(members: &Map<String, Value>, name: &'static str) -> Result<Option<Algorithm>, MetadataError> {
    named(members, name, &Algorithm::ALL, Algorithm::name)
}

/// An algorithm must be one of the profile's.
pub(super) fn check_profile(profile: Profile, name: &'static str, found: Option<Algorithm>) -> Result<(), MetadataError> {
    match found {
        Some(algorithm) if !profile.algorithms().contains(&algorithm) => {
            Err(MetadataError::ProfileAlgorithm { name, algorithm, profile: profile.name() })
        }
        _ => Ok(()),
    }
}

fn seconds(members: &Map<String, Value>, name: &'static str) -> Result<Option<u32>, MetadataError> {
    let wanted = MetadataError::Type { name, wanted: "a number of seconds" };
    match members.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().and_then(|seconds| u32::try_from(seconds).ok()).map(Some).ok_or(wanted),
    }
}
