//! How a client takes part when people sign out (OpenID Connect RP-Initiated Logout §3.1, Back-Channel Logout §2.2, Front-Channel
//! Logout §2).

use std::fmt;

use serde_json::{Map, Value};
use url::Url;

use super::metadata::{flag, strings, text};
use super::{AuthorizationMetadata, MetadataError, RedirectUri};

const POST_LOGOUT_REDIRECT_URIS: &str = "post_logout_redirect_uris";
const BACK_CHANNEL_URI: &str = "backchannel_logout_uri";
const BACK_CHANNEL_SESSION: &str = "backchannel_logout_session_required";
const FRONT_CHANNEL_URI: &str = "frontchannel_logout_uri";
const FRONT_CHANNEL_SESSION: &str = "frontchannel_logout_session_required";

/// The members that are read here.
pub(super) const NAMES: [&str; 5] =
    [POST_LOGOUT_REDIRECT_URIS, BACK_CHANNEL_URI, BACK_CHANNEL_SESSION, FRONT_CHANNEL_URI, FRONT_CHANNEL_SESSION];

/// The longest URI, in bytes.
const LONGEST: usize = 2_000;

/// A place that this server sends something to, or reads something from: an `https` URL without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureUri {
    url: Url,
    text: String,
}

impl SecureUri {
    pub(super) fn parse(name: &'static str, text: &str) -> Result<Self, MetadataError> {
        let refused = |problem| MetadataError::SecureUri { name, problem };
        let url = Url::parse(text).map_err(|_| refused("must be an absolute URL"))?;
        if text.len() > LONGEST || url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
            return Err(refused("must be an `https` URL of at most 2000 bytes without user information"));
        }
        if url.fragment().is_some() {
            return Err(refused("must have no fragment"));
        }
        Ok(Self { url, text: text.to_owned() })
    }

    /// The text as registered.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL.
    pub const fn url(&self) -> &Url {
        &self.url
    }
}

impl fmt::Display for SecureUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A client when people sign out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogoutMetadata {
    /// Where a browser may be led after the client signed its person out.
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// Where logout tokens are sent.
    pub back_channel: Option<SecureUri>,
    /// Whether logout tokens must name the session; they always do.
    pub back_channel_session_required: bool,
    /// What a browser in which somebody signs out loads in a frame.
    pub front_channel: Option<SecureUri>,
    /// Whether the frame's URL must name the session.
    pub front_channel_session_required: bool,
}

pub(super) fn read(members: &Map<String, Value>, authorization: &AuthorizationMetadata) -> Result<LogoutMetadata, MetadataError> {
    let named = NAMES.into_iter().find(|name| members.contains_key(*name));
    if let (Some(name), true) = (named, authorization.redirect_uris.is_empty()) {
        return Err(MetadataError::LogoutWithoutCode(name));
    }
    let mut post_logout_redirect_uris = Vec::new();
    for written in strings(members, POST_LOGOUT_REDIRECT_URIS)?.unwrap_or_default() {
        match RedirectUri::parse(&written, authorization.application_type) {
            Ok(uri) => post_logout_redirect_uris.push(uri),
            Err(problem) => return Err(MetadataError::PostLogoutRedirectUri { uri: written, problem }),
        }
    }
    let uri = |name| text(members, name)?.map(|text| SecureUri::parse(name, text)).transpose();
    let front_channel = uri(FRONT_CHANNEL_URI)?;
    // Front-Channel Logout §2: "The domain, port, and scheme of this URL MUST be the same as that of a registered Redirection URI value."
    if let Some(front_channel) = &front_channel {
        let origins = authorization.redirect_uris.iter().filter_map(|uri| Url::parse(uri.as_str()).ok());
        if !origins.map(|url| url.origin()).any(|origin| origin == front_channel.url.origin()) {
            let problem = "must have the scheme, host and port of one of `redirect_uris`";
            return Err(MetadataError::SecureUri { name: FRONT_CHANNEL_URI, problem });
        }
    }
    Ok(LogoutMetadata {
        post_logout_redirect_uris,
        back_channel: uri(BACK_CHANNEL_URI)?,
        back_channel_session_required: flag(members, BACK_CHANNEL_SESSION)?.unwrap_or_default(),
        front_channel,
        front_channel_session_required: flag(members, FRONT_CHANNEL_SESSION)?.unwrap_or_default(),
    })
}

pub(super) fn write(metadata: &LogoutMetadata, mut put: impl FnMut(&str, Value)) {
    if !metadata.post_logout_redirect_uris.is_empty() {
        put(POST_LOGOUT_REDIRECT_URIS, metadata.post_logout_redirect_uris.iter().map(RedirectUri::as_str).collect());
    }
    for (name, uri) in [(BACK_CHANNEL_URI, &metadata.back_channel), (FRONT_CHANNEL_URI, &metadata.front_channel)] {
        if let Some(uri) = uri {
            put(name, uri.text.as_str().into());
        }
    }
    for (name, required) in [
        (BACK_CHANNEL_SESSION, metadata.back_channel_session_required),
        (FRONT_CHANNEL_SESSION, metadata.front_channel_session_required),
    ] {
        if required {
            put(name, true.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::clients::Client;

    #[test]
    fn what_may_be_registered_for_the_end_of_sessions() {
        let read = |more: serde_json::Value| {
            let mut members = json!({
                "client_id": "app", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=app",
                "grant_types": ["authorization_code"], "redirect_uris": ["https://app.example/cb"],
            });
            members.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            Client::from_text(members.to_string().as_bytes()).map_err(|error| error.to_string())
        };
        let whole = json!({
            "post_logout_redirect_uris": ["https://app.example/bye?x=1"],
            "backchannel_logout_uri": "https://inside.app.example:8443/logout?tenant=1",
            "backchannel_logout_session_required": true,
            "frontchannel_logout_uri": "https://app.example/frame",
            "frontchannel_logout_session_required": true,
        });
        let client = read(whole.clone()).expect("a client");
        let written: serde_json::Value = serde_json::from_str(&client.to_metadata()).expect("JSON");
        for (name, value) in whole.as_object().expect("an object") {
            assert_eq!(&written[name], value, "{name}");
        }
        assert_eq!(Client::from_text(client.to_metadata().as_bytes()), Ok(client), "read as it was written");
        for (name, value) in [
            ("post_logout_redirect_uris", json!(["http://app.example/"])),
            ("post_logout_redirect_uris", json!(["https://app.example/#x"])),
            ("post_logout_redirect_uris", json!("https://app.example/")),
            ("backchannel_logout_uri", json!("http://app.example/")),
            ("backchannel_logout_uri", json!("https://app.example/#x")),
            ("backchannel_logout_uri", json!("https://me@app.example/")),
            ("backchannel_logout_uri", json!("/logout")),
            ("backchannel_logout_session_required", json!("true")),
            ("frontchannel_logout_uri", json!("https://app.example:8443/frame")),
            ("frontchannel_logout_uri", json!("https://other.example/frame")),
        ] {
            let error = read(json!({ name: value })).expect_err(name);
            assert!(error.contains(name), "{error}");
        }
        let error = read(json!({
            "grant_types": ["client_credentials"], "redirect_uris": [], "backchannel_logout_uri": "https://app.example/" }));
        assert!(error.expect_err("nobody signs in").contains("authorization_code"));
    }
}
