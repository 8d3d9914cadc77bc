//! How a client signs what it asks for, and how it wants to be answered: request objects (RFC 9101 §10, OpenID Connect Registration §2),
//! authorization responses (JARM §3, FAPI 2.0 Message Signing §5.4), introspection (RFC 9701 §6).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::authorization::{algorithm, check_profile, named};
use super::metadata::{flag, strings};
use super::{MetadataError, Profile, Published, RegisteredKeys};
use crate::jose::Algorithm;
use crate::jose::jwe::{ContentEncryption, KeyManagement};

const REQUEST_ALGORITHM: &str = "request_object_signing_alg";
const REQUIRE_SIGNED: &str = "require_signed_request_object";
const RESPONSE_ALGORITHM: &str = "authorization_signed_response_alg";
const RESPONSE_MODES: &str = "response_modes";
const REQUEST_URIS: &str = "request_uris";
const INTROSPECTION_ALGORITHM: &str = "introspection_signed_response_alg";

/// The members that are read here.
pub(super) const NAMES: [&str; 14] = [
    REQUEST_ALGORITHM,
    REQUIRE_SIGNED,
    REQUEST_URIS,
    RESPONSE_ALGORITHM,
    RESPONSE_MODES,
    INTROSPECTION_ALGORITHM,
    "id_token_encrypted_response_alg",
    "id_token_encrypted_response_enc",
    "userinfo_encrypted_response_alg",
    "userinfo_encrypted_response_enc",
    "authorization_encrypted_response_alg",
    "authorization_encrypted_response_enc",
    "introspection_encrypted_response_alg",
    "introspection_encrypted_response_enc",
];

/// What can be encrypted to a client (OpenID Connect Registration §2, JARM §3, RFC 9701 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Message {
    /// ID tokens.
    IdToken,
    /// Userinfo answers.
    Userinfo,
    /// Authorization responses.
    Authorization,
    /// Introspection answers.
    Introspection,
}

impl Message {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::IdToken, Self::Userinfo, Self::Authorization, Self::Introspection];

    /// What its members and those of the server's metadata begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IdToken => "id_token",
            Self::Userinfo => "userinfo",
            Self::Authorization => "authorization",
            Self::Introspection => "introspection",
        }
    }

    /// The members for `alg` and `enc`.
    const fn members(self) -> [&'static str; 2] {
        match self {
            Self::IdToken => [NAMES[6], NAMES[7]],
            Self::Userinfo => [NAMES[8], NAMES[9]],
            Self::Authorization => [NAMES[10], NAMES[11]],
            Self::Introspection => [NAMES[12], NAMES[13]],
        }
    }
}

/// How a message is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// `…_encrypted_response_alg`.
    pub alg: KeyManagement,
    /// `…_encrypted_response_enc`.
    pub enc: ContentEncryption,
}

/// How request objects are signed (`request_object_signing_alg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestSigning {
    /// `none`: not at all (OpenID Connect Core §6.1).
    Unsigned,
    /// With this algorithm.
    Signed(Algorithm),
}

impl RequestSigning {
    /// Every value there is.
    const ALL: [Self; Algorithm::ALL.len() + 1] = {
        let mut all = [Self::Unsigned; Algorithm::ALL.len() + 1];
        let mut index = 0;
        while index < Algorithm::ALL.len() {
            all[index] = Self::Signed(Algorithm::ALL[index]);
            index += 1;
        }
        all
    };

    /// The value of `request_object_signing_alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsigned => "none",
            Self::Signed(algorithm) => algorithm.name(),
        }
    }
}

/// Where a client publishes a request object (`request_uris`, OpenID Connect Registration §2; RFC 9101 §5.2): an `https` URL without user
/// information.
#[derive(Clone, Debug)]
pub struct RequestUri {
    /// Without its fragment, which only tells versions of the document apart (OpenID Connect Core §6.2).
    url: Url,
    written: String,
}

/// The text is no `request_uri`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an `https` URL in ASCII of at most {} bytes without user information", RequestUri::MAX_LENGTH)]
pub struct RequestUriError;

impl RequestUri {
    /// The longest URL, in bytes: "The entire Request URI SHOULD NOT exceed 512 ASCII characters" (RFC 9101 §5.2).
    pub const MAX_LENGTH: usize = 512;

    /// Where to fetch from.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Whether both name one document.
    pub fn names_the_same_as(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl FromStr for RequestUri {
    type Err = RequestUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut url = Url::parse(text).map_err(|_| RequestUriError)?;
        let usable = text.len() <= Self::MAX_LENGTH
            && text.bytes().all(|byte| byte.is_ascii_graphic())
            && url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none();
        url.set_fragment(None);
        if usable { Ok(Self { url, written: text.to_owned() }) } else { Err(RequestUriError) }
    }
}

impl fmt::Display for RequestUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl PartialEq for RequestUri {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for RequestUri {}

/// How an answer is sent (`response_mode`, OAuth 2.0 Multiple Response Types §2.1, Form Post Response Mode, JARM §2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    /// In the query of the redirect URI.
    #[default]
    Query,
    /// In its fragment.
    Fragment,
    /// As a form that the browser posts to it.
    FormPost,
    /// As a signed JWT, in the way that the response type has by default: for a code, the query.
    Jwt,
    /// As a signed JWT in the query.
    QueryJwt,
    /// As a signed JWT in the fragment.
    FragmentJwt,
    /// As a signed JWT in a form.
    FormPostJwt,
}

/// The way an answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The query of the redirect URI.
    Query,
    /// Its fragment.
    Fragment,
    /// A form that the browser posts to it.
    FormPost,
}

impl ResponseMode {
    /// Every mode there is.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Fragment, Self::FormPost, Self::Jwt, Self::QueryJwt, Self::FragmentJwt, Self::FormPostJwt];

    /// The value of `response_mode`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Fragment => "fragment",
            Self::FormPost => "form_post",
            Self::Jwt => "jwt",
            Self::QueryJwt => "query.jwt",
            Self::FragmentJwt => "fragment.jwt",
            Self::FormPostJwt => "form_post.jwt",
        }
    }

    /// The way it travels.
    pub const fn carrier(self) -> Carrier {
        match self {
            Self::Query | Self::Jwt | Self::QueryJwt => Carrier::Query,
            Self::Fragment | Self::FragmentJwt => Carrier::Fragment,
            Self::FormPost | Self::FormPostJwt => Carrier::FormPost,
        }
    }

    /// Whether it is a signed JWT.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::Jwt | Self::QueryJwt | Self::FragmentJwt | Self::FormPostJwt)
    }
}

/// The messages of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageMetadata {
    /// How its request objects are signed: in no other way. Without it, with any algorithm that the profile knows.
    pub request_object_signing_alg: Option<RequestSigning>,
    /// Whether it must sign its requests.
    pub require_signed_request_object: bool,
    /// Where it publishes request objects: nothing else is fetched for it.
    pub request_uris: Vec<RequestUri>,
    /// The algorithm of authorization responses that are signed.
    pub authorization_signed_response_alg: Option<Algorithm>,
    /// The response modes it may use; every one, when empty.
    pub response_modes: Vec<ResponseMode>,
    /// The algorithm of introspection answers that are signed.
    pub introspection_signed_response_alg: Option<Algorithm>,
    /// What is encrypted to it, and how.
    pub encryption: BTreeMap<Message, Encryption>,
}

impl MessageMetadata {
    /// Whether the client may be answered so.
    pub fn allows(&self, mode: ResponseMode) -> bool {
        self.response_modes.is_empty() || self.response_modes.contains(&mode)
    }
}

/// Reads how messages are encrypted. There must be a key for it.
fn read_encryption(
    members: &Map<String, Value>,
    keys: Option<&Published<RegisteredKeys>>,
) -> Result<BTreeMap<Message, Encryption>, MetadataError> {
    let mut encryption = BTreeMap::new();
    for message in Message::ALL {
        let [alg_name, enc_name] = message.members();
        let alg = named(members, alg_name, &KeyManagement::ALL, KeyManagement::name)?;
        let enc = named(members, enc_name, &ContentEncryption::ALL, ContentEncryption::name)?;
        let Some(alg) = alg else {
            match enc {
                None => continue,
                Some(_) => return Err(MetadataError::EncryptionAlone { alg: alg_name, enc: enc_name }),
            }
        };
        match keys {
            Some(Published::At(_)) => {}
            Some(Published::Here(keys)) if keys.encryption_key(alg).is_some() => {}
            Some(Published::Here(_)) | None => return Err(MetadataError::NoEncryptionKey { name: alg_name, alg }),
        }
        encryption.insert(message, Encryption { alg, enc: enc.unwrap_or_default() });
    }
    Ok(encryption)
}

pub(super) fn read(
    members: &Map<String, Value>,
    profile: Profile,
    keys: Option<&Published<RegisteredKeys>>,
) -> Result<MessageMetadata, MetadataError> {
    let request = named(members, REQUEST_ALGORITHM, &RequestSigning::ALL, RequestSigning::name)?;
    match request {
        Some(RequestSigning::Unsigned) if profile != Profile::Openid => {
            return Err(MetadataError::UnsignedRequests(profile.name()));
        }
        Some(RequestSigning::Signed(algorithm)) => check_profile(profile, REQUEST_ALGORITHM, Some(algorithm))?,
        Some(RequestSigning::Unsigned) | None => {}
    }
    let require = flag(members, REQUIRE_SIGNED)?.unwrap_or_default();
    if require && request == Some(RequestSigning::Unsigned) {
        return Err(MetadataError::UnsignedRequests(REQUIRE_SIGNED));
    }
    let mut request_uris = Vec::new();
    for uri in strings(members, REQUEST_URIS)?.unwrap_or_default() {
        match uri.parse() {
            Ok(parsed) => request_uris.push(parsed),
            Err(problem) => return Err(MetadataError::RequestUri { uri: uri.chars().take(100).collect(), problem }),
        }
    }
    let mut response_modes = Vec::new();
    for written in strings(members, RESPONSE_MODES)?.unwrap_or_default() {
        let mode = ResponseMode::ALL.into_iter().find(|mode| mode.name() == written);
        let words = || ResponseMode::ALL.map(|mode| format!("`{}`", mode.name())).join(" or ");
        response_modes.push(mode.ok_or_else(|| MetadataError::Word {
            name: RESPONSE_MODES,
            found: written.chars().take(100).collect(),
            words: words(),
        })?);
    }
    let signed = |name| {
        let found = algorithm(members, name)?;
        check_profile(profile, name, found).map(|()| found)
    };
    Ok(MessageMetadata {
        request_object_signing_alg: request,
        require_signed_request_object: require,
        request_uris,
        authorization_signed_response_alg: signed(RESPONSE_ALGORITHM)?,
        response_modes,
        introspection_signed_response_alg: signed(INTROSPECTION_ALGORITHM)?,
        encryption: read_encryption(members, keys)?,
    })
}

pub(super) fn write(metadata: &MessageMetadata, mut put: impl FnMut(&str, Value)) {
    if let Some(signing) = metadata.request_object_signing_alg {
        put(REQUEST_ALGORITHM, signing.name().into());
    }
    if metadata.require_signed_request_object {
        put(REQUIRE_SIGNED, true.into());
    }
    for (message, encryption) in &metadata.encryption {
        let [alg_name, enc_name] = message.members();
        put(alg_name, encryption.alg.name().into());
        put(enc_name, encryption.enc.name().into());
    }
    if !metadata.request_uris.is_empty() {
        put(REQUEST_URIS, metadata.request_uris.iter().map(ToString::to_string).collect());
    }
    if !metadata.response_modes.is_empty() {
        put(RESPONSE_MODES, metadata.response_modes.iter().map(|mode| mode.name()).collect());
    }
    for (name, algorithm) in [
        (RESPONSE_ALGORITHM, metadata.authorization_signed_response_alg),
        (INTROSPECTION_ALGORITHM, metadata.introspection_signed_response_alg),
    ] {
        if let Some(algorithm) = algorithm {
            put(name, algorithm.name().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_uris_are_compared_without_their_fragment() {
        let uri = |text: &str| text.parse::<RequestUri>();
        let registered = uri("https://app.example/r?x=1#abc").expect("usable");
        for (text, same) in [
            ("https://app.example/r?x=1", true),
            ("https://app.example/r?x=1#other", true),
            ("https://APP.example:443/r?x=1", true),
            ("https://app.example/r?x=2", false),
            ("https://app.example/r", false),
            ("https://app.example:8443/r?x=1", false),
            ("https://app.example.evil.example/r?x=1", false),
        ] {
            assert_eq!(uri(text).expect(text).names_the_same_as(&registered), same, "{text}");
        }
        let long = format!("https://app.example/{}", "a".repeat(500));
        for text in ["http://app.example/r", "https://u@app.example/r", "/r", "", "https://app.example/ r", "urn:x", &long] {
            assert_eq!(uri(text).err(), Some(RequestUriError), "{text}");
        }
    }
}
