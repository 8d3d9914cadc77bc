//! What an authorization server says about itself (RFC 8414, RFC 8705 §5).

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};
use url::Url;

use crate::domain::Issuer;
use crate::fetch::{Client, FetchError};
use crate::jose::json::{self, JsonError};

/// The parts of a metadata document that a protected resource needs. Every URL is `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// `jwks_uri`.
    pub jwks_uri: Option<Url>,
    /// `introspection_endpoint` (RFC 7662), the one under `mtls_endpoint_aliases` where there is one.
    pub introspection_endpoint: Option<Url>,
    /// `introspection_endpoint` (RFC 7662) for whoever authenticates without a certificate.
    pub plain_introspection_endpoint: Option<Url>,
    /// `symbolon_revocation_feed_endpoint`, the one under `mtls_endpoint_aliases` where there is one.
    pub revocation_feed_endpoint: Option<Url>,
}

/// Why there is no metadata.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetadataError {
    /// It did not arrive.
    #[error("{0}")]
    Fetch(Arc<FetchError>),
    /// It arrived with another status than 200.
    #[error("`{url}` answered {status}")]
    Status {
        /// Where it was looked for.
        url: Url,
        /// The status.
        status: u16,
    },
    /// It is not a JSON object.
    #[error("the metadata is {0}")]
    Json(JsonError),
    /// `issuer` is not the one that was asked (RFC 8414 §3.3).
    #[error("the metadata is of another issuer: {0:?}")]
    Issuer(Option<String>),
    /// A member that is not an `https` URL.
    #[error("`{0}` is not an https URL")]
    Url(&'static str),
    /// The issuer's own URL has no place for metadata. Cannot happen with a checked issuer.
    #[error("the issuer has no metadata URL")]
    Location,
    /// Nothing was ever fetched, by configuration.
    #[error("this authorization server is not fetched from: it has no `ca_file`")]
    Unreachable,
}

impl Metadata {
    /// Reads a document that `issuer` was asked for.
    pub fn read(document: &[u8], issuer: &Issuer) -> Result<Self, MetadataError> {
        let members = json::parse_object(document).map_err(MetadataError::Json)?;
        let named = members.get("issuer").and_then(Value::as_str);
        if named != Some(issuer.as_str()) {
            return Err(MetadataError::Issuer(named.map(str::to_owned)));
        }
        let no_aliases = Map::new();
        let aliases = members.get("mtls_endpoint_aliases").and_then(Value::as_object).unwrap_or(&no_aliases);
        let endpoint = |name: &'static str| {
            let value = aliases.get(name).or_else(|| members.get(name));
            value.map(|value| https_url(value).ok_or(MetadataError::Url(name))).transpose()
        };
        let plain =
            |name: &'static str| members.get(name).map(|value| https_url(value).ok_or(MetadataError::Url(name))).transpose();
        Ok(Self {
            jwks_uri: plain("jwks_uri")?,
            plain_introspection_endpoint: plain("introspection_endpoint")?,
            introspection_endpoint: endpoint("introspection_endpoint")?,
            revocation_feed_endpoint: endpoint("symbolon_revocation_feed_endpoint")?,
        })
    }
}

fn https_url(value: &Value) -> Option<Url> {
    Url::parse(value.as_str()?).ok().filter(|url| url.scheme() == "https" && url.fragment().is_none())
}

/// An authorization server as a place to fetch from.
#[derive(Debug)]
pub struct AuthorizationServer {
    issuer: Issuer,
    client: Option<Client>,
    metadata: ArcSwapOption<Metadata>,
    ignored_cnf: Vec<String>,
}

impl AuthorizationServer {
    /// A server that `client` reaches; without a client, one that is known by static keys alone.
    pub fn new(issuer: Issuer, client: Option<Client>) -> Self {
        Self { issuer, client, metadata: ArcSwapOption::empty(), ignored_cnf: Vec::new() }
    }

    /// The same, which is known to put members of these names into `cnf` that say nothing about who may use a token: they are passed
    /// over (RFC 7800 §3.1). Any other member that is not understood refuses the token.
    pub fn ignoring_cnf_members(self, names: Vec<String>) -> Self {
        Self { ignored_cnf: names, ..self }
    }

    /// The members of `cnf` that are passed over.
    pub fn ignored_cnf_members(&self) -> &[String] {
        &self.ignored_cnf
    }

    /// Its issuer identifier.
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// How it is reached.
    pub fn client(&self) -> Result<&Client, MetadataError> {
        self.client.as_ref().ok_or(MetadataError::Unreachable)
    }

    /// Its metadata: as last fetched, or fetched now when there is none yet.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, MetadataError> {
        match self.metadata.load_full() {
            Some(metadata) => Ok(metadata),
            None => self.refresh().await,
        }
    }

    /// Fetches its metadata again.
    pub async fn refresh(&self) -> Result<Arc<Metadata>, MetadataError> {
        let client = self.client()?;
        let [standard, openid] = locations(&self.issuer)?;
        let metadata = match fetch(client, &standard, &self.issuer).await {
            // A server that knows only OpenID Connect Discovery.
            Err(error @ MetadataError::Status { status: 404, .. }) => {
                fetch(client, &openid, &self.issuer).await.map_err(|_| error)
            }
            answer => answer,
        }?;
        let metadata = Arc::new(metadata);
        self.metadata.store(Some(Arc::clone(&metadata)));
        Ok(metadata)
    }
}

/// Where the document may lie: RFC 8414 §3.1 inserts the well-known path before the issuer's, OpenID Connect Discovery 1.0 §4.1
/// appends it.
fn locations(issuer: &Issuer) -> Result<[Url; 2], MetadataError> {
    let authority = issuer.authority();
    let path = issuer.path();
    let url = |text: String| Url::parse(&text).map_err(|_| MetadataError::Location);
    Ok([
        url(format!("https://{authority}/.well-known/oauth-authorization-server{path}"))?,
        url(issuer.join("/.well-known/openid-configuration"))?,
    ])
}

async fn fetch(client: &Client, url: &Url, issuer: &Issuer) -> Result<Metadata, MetadataError> {
    let answer = client.get(url).await.map_err(|error| MetadataError::Fetch(Arc::new(error)))?;
    if answer.status != http::StatusCode::OK {
        return Err(MetadataError::Status { url: url.clone(), status: answer.status.as_u16() });
    }
    Metadata::read(&answer.body, issuer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn issuer() -> Issuer {
        "https://as.example/tenant".parse().expect("an issuer")
    }

    #[test]
    fn documents_lie_where_the_standards_put_them() {
        let [standard, openid] = locations(&issuer()).expect("locations");
        assert_eq!(standard.as_str(), "https://as.example/.well-known/oauth-authorization-server/tenant");
        assert_eq!(openid.as_str(), "https://as.example/tenant/.well-known/openid-configuration");
    }

    #[test]
    fn aliases_for_mutual_tls_win() {
        let document = json!({
            "issuer": "https://as.example/tenant",
            "jwks_uri": "https://as.example/jwks",
            "introspection_endpoint": "https://as.example/introspect",
            "mtls_endpoint_aliases": {
                "introspection_endpoint": "https://mtls.as.example/introspect",
                "symbolon_revocation_feed_endpoint": "https://mtls.as.example/revocation-feed",
                "jwks_uri": "https://not-an-endpoint.example/",
            },
        });
        let metadata = Metadata::read(document.to_string().as_bytes(), &issuer()).expect("metadata");
        let url = |url: &Option<Url>| url.as_ref().map(ToString::to_string);
        assert_eq!(url(&metadata.jwks_uri).as_deref(), Some("https://as.example/jwks"));
        assert_eq!(url(&metadata.introspection_endpoint).as_deref(), Some("https://mtls.as.example/introspect"));
        assert_eq!(url(&metadata.plain_introspection_endpoint).as_deref(), Some("https://as.example/introspect"));
        assert_eq!(url(&metadata.revocation_feed_endpoint).as_deref(), Some("https://mtls.as.example/revocation-feed"));
    }

    #[test]
    fn refuses_documents_of_others_and_plain_http() {
        let read = |document: Value| {
            Metadata::read(document.to_string().as_bytes(), &issuer()).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(
            read(json!({ "issuer": "https://evil.example" })),
            Err("the metadata is of another issuer: Some(\"https://evil.example\")".into())
        );
        assert_eq!(read(json!({})), Err("the metadata is of another issuer: None".into()));
        let plain = json!({ "issuer": "https://as.example/tenant", "jwks_uri": "http://as.example/jwks" });
        assert_eq!(read(plain), Err("`jwks_uri` is not an https URL".into()));
        assert!(matches!(Metadata::read(b"[]", &issuer()), Err(MetadataError::Json(_))));
    }
}
