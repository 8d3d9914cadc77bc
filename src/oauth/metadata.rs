//! Authorization server metadata (RFC 8414, RFC 8705 §5, RFC 9449 §5.1). It lists what works, and nothing with no elements (RFC 8414 §3.2).

use serde_json::{Map, Value, json};

use crate::binding::dpop::{ProofRules, TargetUri};
use crate::clients::{AuthenticationMethod, GrantType};
use crate::domain::{Issuer, Scope};
use crate::jose::Algorithm;
use crate::jose::mac::MacAlgorithm;

/// Where the endpoints are.
#[derive(Clone, Debug)]
pub struct Endpoints {
    base: String,
    mtls_base: Option<String>,
}

/// Paths below the issuer or the mutual-TLS base.
pub mod path {
    /// RFC 6749 §3.2.
    pub const TOKEN: &str = "/token";
    /// RFC 7662 §2.
    pub const INTROSPECTION: &str = "/introspect";
    /// RFC 7009 §2.
    pub const REVOCATION: &str = "/revoke";
    /// RFC 7517 §5.
    pub const JWKS: &str = "/jwks";
    /// The revocation feed for gateways.
    pub const REVOCATION_FEED: &str = "/revocation-feed";
}

/// The methods by which a client may authenticate, as metadata lists them.
pub const AUTHENTICATION_METHODS: [AuthenticationMethod; 6] = [
    AuthenticationMethod::TlsClientAuth,
    AuthenticationMethod::SelfSignedTlsClientAuth,
    AuthenticationMethod::PrivateKeyJwt,
    AuthenticationMethod::ClientSecretBasic,
    AuthenticationMethod::ClientSecretPost,
    AuthenticationMethod::ClientSecretJwt,
];

impl Endpoints {
    /// Endpoints below the issuer, and for clients with certificates below `mtls_url` where that is another base.
    pub fn new(issuer: &Issuer, mtls_url: Option<&Issuer>) -> Self {
        Self {
            base: issuer.as_str().to_owned(),
            mtls_base: mtls_url.filter(|url| *url != issuer).map(|url| url.as_str().to_owned()),
        }
    }

    /// Whether `url` is the endpoint at `path`, below either base.
    pub fn are_at(&self, url: &str, path: &str) -> bool {
        let bases = [Some(self.base.as_str()), self.mtls_base.as_deref()];
        bases.into_iter().flatten().any(|base| url.strip_prefix(base) == Some(path))
    }

    /// The metadata document.
    pub fn metadata(&self, scopes: &Scope, dpop: &ProofRules) -> Value {
        let methods = json!(AUTHENTICATION_METHODS.map(AuthenticationMethod::name));
        let algorithms: Vec<_> =
            Algorithm::ALL.map(Algorithm::name).into_iter().chain(MacAlgorithm::ALL.map(MacAlgorithm::name)).collect();
        let grants: Vec<_> = GrantType::ALL.iter().map(|grant| grant.name()).collect();
        let mut document = Map::new();
        document.insert("issuer".into(), json!(self.base));
        self.insert_endpoints(&self.base, &mut document);
        document.insert("jwks_uri".into(), json!(format!("{}{}", self.base, path::JWKS)));
        document.insert("grant_types_supported".into(), json!(grants));
        for endpoint in ["token", "introspection", "revocation"] {
            document.insert(format!("{endpoint}_endpoint_auth_methods_supported"), methods.clone());
            document.insert(format!("{endpoint}_endpoint_auth_signing_alg_values_supported"), json!(algorithms));
        }
        document.insert("tls_client_certificate_bound_access_tokens".into(), json!(true));
        document.insert("dpop_signing_alg_values_supported".into(), json!(dpop.algorithms));
        if !scopes.is_empty() {
            document.insert("scopes_supported".into(), json!(scopes.tokens().collect::<Vec<_>>()));
        }
        if let Some(base) = &self.mtls_base {
            let mut aliases = Map::new();
            self.insert_endpoints(base, &mut aliases);
            document.insert("mtls_endpoint_aliases".into(), Value::Object(aliases));
        }
        Value::Object(document)
    }

    /// The names of the endpoint at `path`: what `htu` of a proof for it may be.
    pub fn targets(&self, path: &str) -> Vec<TargetUri> {
        let bases = std::iter::once(&self.base).chain(&self.mtls_base);
        bases.filter_map(|base| TargetUri::parse(&format!("{base}{path}")).ok()).collect()
    }

    /// Every endpoint that takes a client certificate, below `base`.
    fn insert_endpoints(&self, base: &str, document: &mut Map<String, Value>) {
        for (name, path) in [
            ("token_endpoint", path::TOKEN),
            ("introspection_endpoint", path::INTROSPECTION),
            ("revocation_endpoint", path::REVOCATION),
            ("symbolon_revocation_feed_endpoint", path::REVOCATION_FEED),
        ] {
            document.insert(name.into(), json!(format!("{base}{path}")));
        }
    }
}
