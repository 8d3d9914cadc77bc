//! What an OpenID Provider says of itself (OpenID Connect Discovery 1.0, RFC 8414), as far as a relying party needs it.

use serde_json::{Map, Value};
use url::Url;

use crate::domain::Issuer;
use crate::jose::json;

/// A provider's endpoints. Every URL is `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProviderMetadata {
    pub(super) authorization_endpoint: Url,
    /// Under `mtls_endpoint_aliases` (RFC 8705 §5) for a client with a certificate.
    pub(super) token_endpoint: Url,
    /// `pushed_authorization_request_endpoint` (RFC 9126), likewise.
    pub(super) pushed_requests: Option<Url>,
    pub(super) end_session_endpoint: Option<Url>,
    /// Likewise.
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) jwks_uri: Url,
    pub(super) names_itself: NamesItself,
}

/// Whether answers of the authorization endpoint carry `iss` (RFC 9207 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamesItself {
    No,
    Always,
}

/// Which of two spellings of an endpoint is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aliases {
    Unused,
    Used,
}

/// Why a document is no provider's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MetadataProblem {
    #[error("the metadata is not a JSON object")]
    Json,
    #[error("the metadata is of another issuer")]
    Issuer,
    #[error("`{0}` is missing, or not an https URL")]
    Endpoint(&'static str),
}

impl ProviderMetadata {
    /// Reads the document of `issuer`.
    pub(super) fn read(document: &[u8], issuer: &Issuer, aliases: Aliases) -> Result<Self, MetadataProblem> {
        let members = json::parse_object(document).map_err(|_| MetadataProblem::Json)?;
        if members.get("issuer").and_then(Value::as_str) != Some(issuer.as_str()) {
            return Err(MetadataProblem::Issuer);
        }
        let none = Map::new();
        let aliased = match aliases {
            Aliases::Used => members.get("mtls_endpoint_aliases").and_then(Value::as_object).unwrap_or(&none),
            Aliases::Unused => &none,
        };
        let there =
            |value: Option<&Value>, name| value.map(|value| https(value).ok_or(MetadataProblem::Endpoint(name))).transpose();
        let plain = |name: &'static str| there(members.get(name), name);
        let authenticated = |name: &'static str| there(aliased.get(name).or_else(|| members.get(name)), name);
        let wanted = |url: Option<Url>, name| url.ok_or(MetadataProblem::Endpoint(name));
        let says_iss = members.get("authorization_response_iss_parameter_supported").and_then(Value::as_bool);
        Ok(Self {
            authorization_endpoint: wanted(plain("authorization_endpoint")?, "authorization_endpoint")?,
            token_endpoint: wanted(authenticated("token_endpoint")?, "token_endpoint")?,
            pushed_requests: authenticated("pushed_authorization_request_endpoint")?,
            end_session_endpoint: plain("end_session_endpoint")?,
            userinfo_endpoint: authenticated("userinfo_endpoint")?,
            jwks_uri: wanted(plain("jwks_uri")?, "jwks_uri")?,
            names_itself: if says_iss == Some(true) { NamesItself::Always } else { NamesItself::No },
        })
    }
}

fn https(value: &Value) -> Option<Url> {
    Url::parse(value.as_str()?).ok().filter(|url| url.scheme() == "https" && url.fragment().is_none())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_are_read_as_the_client_uses_them() {
        let issuer: Issuer = "https://op.example".parse().expect("an issuer");
        let document = json!({
            "issuer": "https://op.example",
            "authorization_endpoint": "https://op.example/authorize",
            "token_endpoint": "https://op.example/token",
            "pushed_authorization_request_endpoint": "https://op.example/par",
            "jwks_uri": "https://op.example/jwks",
            "authorization_response_iss_parameter_supported": true,
            "mtls_endpoint_aliases": { "token_endpoint": "https://mtls.op.example/token" },
        });
        let read = |document: &Value, aliases| ProviderMetadata::read(document.to_string().as_bytes(), &issuer, aliases);
        let with = read(&document, Aliases::Used).expect("metadata");
        assert_eq!(with.token_endpoint.as_str(), "https://mtls.op.example/token");
        assert_eq!(with.pushed_requests.as_ref().map(Url::as_str), Some("https://op.example/par"));
        assert_eq!((with.end_session_endpoint.as_ref(), with.names_itself), (None, NamesItself::Always));
        let without = read(&document, Aliases::Unused).expect("metadata");
        assert_eq!(without.token_endpoint.as_str(), "https://op.example/token");

        let changed = |name: &str, value: Value| {
            let mut document = document.clone();
            document[name] = value;
            read(&document, Aliases::Unused)
        };
        assert_eq!(changed("issuer", json!("https://op.example/")), Err(MetadataProblem::Issuer));
        assert_eq!(changed("token_endpoint", json!("http://op.example/token")), Err(MetadataProblem::Endpoint("token_endpoint")));
        assert_eq!(changed("jwks_uri", Value::Null), Err(MetadataProblem::Endpoint("jwks_uri")));
        assert_eq!(ProviderMetadata::read(b"[]", &issuer, Aliases::Unused), Err(MetadataProblem::Json));
    }
}
