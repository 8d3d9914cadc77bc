//! Authorization server metadata (RFC 8414, RFC 8705 §5, RFC 9449 §5.1). It lists what works, and nothing with no elements (RFC 8414 §3.2).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::authorization::request::{Prompt, ResponseMode};
use super::pkce;
use crate::binding::dpop::{ProofRules, TargetUri};
use crate::clients::{AuthenticationMethod, GrantType, Message, Profile, SubjectType};
use crate::domain::{Issuer, Scope};
use crate::identity::Acr;
use crate::jose::Algorithm;
use crate::jose::jwe::{ContentEncryption, KeyManagement};
use crate::jose::mac::MacAlgorithm;
use crate::oidc::claims;

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
    /// RFC 6749 §3.1.
    pub const AUTHORIZATION: &str = "/authorize";
    /// RFC 9126 §2.
    pub const PUSHED_REQUEST: &str = "/par";
    /// RFC 8628 §3.1.
    pub const DEVICE_AUTHORIZATION: &str = "/device-authorization";
    /// RFC 8628 §3.3: where a person types the code that their device shows.
    pub const DEVICE: &str = "/device";
    /// OpenID Connect Core §5.3.
    pub const USERINFO: &str = "/userinfo";
    /// RFC 7591 §3; below it each client's own place (RFC 7592 §2).
    pub const REGISTRATION: &str = "/register";
    /// OpenID Connect RP-Initiated Logout §2.
    pub const END_SESSION: &str = "/end-session";
    /// OpenID Connect Discovery §4.
    pub const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";
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

/// What a server can do beyond what every one can.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities<'a> {
    /// The scopes of its resources.
    pub scopes: &'a Scope,
    /// What it asks of DPoP proofs.
    pub dpop: &'a ProofRules,
    /// What it has signing keys for.
    pub signing: &'a BTreeSet<Algorithm>,
    /// The rules that every client is under at least.
    pub profile: Profile,
    /// Whether it can tell clients that sessions have ended.
    pub back_channel_logout: bool,
    /// Whether clients may register themselves.
    pub registration: bool,
    /// Whether registration access tokens may be bound to certificates.
    pub binds_registration: bool,
    /// Whether it trusts anybody's assertions as grants.
    pub jwt_bearer: bool,
    /// Whether every client must sign its authorization requests.
    pub require_signed_request_object: bool,
    /// Whether request objects are fetched from where clients publish them.
    pub fetches_requests: bool,
}

/// Endpoints that public clients may use: their grants (RFC 6749 §4.1, §6), pushed requests (RFC 9126 §2.1: "in the same way as a token
/// request"), and revocation (RFC 7009 §2.1).
const PUBLIC_ENDPOINTS: [&str; 3] = ["token", "revocation", "pushed_authorization_request"];

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

    /// The metadata document, of RFC 8414 and of OpenID Connect Discovery §3 in one.
    pub fn metadata(&self, can: &Capabilities<'_>) -> Value {
        let Capabilities { scopes, dpop, profile, back_channel_logout, registration, jwt_bearer, .. } = *can;
        let is_strict = profile >= Profile::Fapi2;
        let methods = AUTHENTICATION_METHODS.into_iter().filter(|method| !is_strict || method.is_strong());
        let methods: Vec<_> = methods.map(AuthenticationMethod::name).collect();
        let with_secrets: &[MacAlgorithm] = if is_strict { &[] } else { &MacAlgorithm::ALL };
        let algorithms: Vec<_> = (profile.algorithms().iter().map(|algorithm| algorithm.name()))
            .chain(with_secrets.iter().map(|algorithm| algorithm.name()))
            .collect();
        let grants: Vec<_> = GrantType::ALL
            .iter()
            .filter(|grant| jwt_bearer || **grant != GrantType::JwtBearer)
            .filter(|grant| !is_strict || **grant != GrantType::DeviceCode)
            .map(|grant| grant.name())
            .collect();
        let mut document = Map::new();
        document.insert("issuer".into(), json!(self.base));
        self.insert_endpoints(&self.base, is_strict, &mut document);
        document.insert("authorization_endpoint".into(), json!(format!("{}{}", self.base, path::AUTHORIZATION)));
        document.insert("jwks_uri".into(), json!(format!("{}{}", self.base, path::JWKS)));
        document.insert("grant_types_supported".into(), json!(grants));
        for endpoint in ["token", "introspection", "revocation", "pushed_authorization_request"] {
            document.insert(format!("{endpoint}_endpoint_auth_methods_supported"), json!(methods));
            document.insert(format!("{endpoint}_endpoint_auth_signing_alg_values_supported"), json!(algorithms));
        }
        document.insert("tls_client_certificate_bound_access_tokens".into(), json!(true));
        document.insert("dpop_signing_alg_values_supported".into(), json!(dpop.algorithms));
        let none = (!is_strict).then_some(AuthenticationMethod::None.name());
        let with_none: Vec<_> = methods.iter().copied().chain(none).collect();
        for endpoint in PUBLIC_ENDPOINTS {
            document.insert(format!("{endpoint}_endpoint_auth_methods_supported"), json!(with_none));
        }
        insert_authorization(&mut document, can);
        if registration {
            document.insert("registration_endpoint".into(), json!(format!("{}{}", self.base, path::REGISTRATION)));
        }
        document.insert("end_session_endpoint".into(), json!(format!("{}{}", self.base, path::END_SESSION)));
        for name in ["frontchannel_logout_supported", "frontchannel_logout_session_supported"] {
            document.insert(name.into(), json!(true));
        }
        for name in ["backchannel_logout_supported", "backchannel_logout_session_supported"] {
            document.insert(name.into(), json!(back_channel_logout));
        }
        let scopes = scopes.union(&claims::scopes());
        if !scopes.is_empty() {
            document.insert("scopes_supported".into(), json!(scopes.tokens().collect::<Vec<_>>()));
        }
        if let Some(base) = &self.mtls_base {
            let mut aliases = Map::new();
            self.insert_endpoints(base, is_strict, &mut aliases);
            if registration && can.binds_registration {
                aliases.insert("registration_endpoint".into(), json!(format!("{base}{}", path::REGISTRATION)));
            }
            document.insert("mtls_endpoint_aliases".into(), Value::Object(aliases));
        }
        Value::Object(document)
    }

    /// The names of the endpoint at `path`: what `htu` of a proof for it may be.
    pub fn targets(&self, path: &str) -> Vec<TargetUri> {
        let bases = std::iter::once(&self.base).chain(&self.mtls_base);
        bases.filter_map(|base| TargetUri::parse(&format!("{base}{path}")).ok()).collect()
    }

    /// The place at `path` for clients with certificates.
    pub fn mtls(&self, path: &str) -> String {
        format!("{}{path}", self.mtls_base.as_ref().unwrap_or(&self.base))
    }

    /// A place for people below the issuer.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Every endpoint that takes a client certificate, below `base`.
    fn insert_endpoints(&self, base: &str, is_strict: bool, document: &mut Map<String, Value>) {
        if !is_strict {
            document.insert("device_authorization_endpoint".into(), json!(format!("{base}{}", path::DEVICE_AUTHORIZATION)));
        }
        for (name, path) in [
            ("token_endpoint", path::TOKEN),
            ("pushed_authorization_request_endpoint", path::PUSHED_REQUEST),
            ("userinfo_endpoint", path::USERINFO),
            ("introspection_endpoint", path::INTROSPECTION),
            ("revocation_endpoint", path::REVOCATION),
            ("symbolon_revocation_feed_endpoint", path::REVOCATION_FEED),
        ] {
            document.insert(name.into(), json!(format!("{base}{path}")));
        }
    }
}

/// The authorization endpoint and OpenID Connect.
fn insert_authorization(document: &mut Map<String, Value>, can: &Capabilities<'_>) {
    let profile = can.profile;
    let answers = can.signing.iter().filter(|algorithm| profile.algorithms().contains(algorithm));
    let answers = json!(answers.map(|algorithm| algorithm.name()).collect::<Vec<_>>());
    let none = (profile == Profile::Openid && !can.require_signed_request_object).then_some("none");
    let requests: Vec<_> = profile.algorithms().iter().map(|algorithm| algorithm.name()).chain(none).collect();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("response_types_supported", json!(["code"]));
    put("response_modes_supported", json!(ResponseMode::ALL.map(ResponseMode::name)));
    put("code_challenge_methods_supported", json!([pkce::METHOD]));
    put("authorization_response_iss_parameter_supported", json!(true));
    put("prompt_values_supported", json!(Prompt::ALL.map(Prompt::name)));
    put("subject_types_supported", json!(SubjectType::ALL.map(SubjectType::name)));
    for message in Message::ALL.map(Message::name) {
        put(&format!("{message}_signing_alg_values_supported"), answers.clone());
        put(&format!("{message}_encryption_alg_values_supported"), json!(KeyManagement::ALL.map(KeyManagement::name)));
        put(&format!("{message}_encryption_enc_values_supported"), json!(ContentEncryption::ALL.map(ContentEncryption::name)));
    }
    put("acr_values_supported", json!(Acr::ALL.map(Acr::as_str)));
    put("claim_types_supported", json!(["normal"]));
    put("claims_supported", json!(claims::supported()));
    put("claims_parameter_supported", json!(true));
    put("request_parameter_supported", json!(true));
    put("request_object_signing_alg_values_supported", json!(requests));
    // It would be true by default (OpenID Connect Discovery §3).
    put("request_uri_parameter_supported", json!(can.fetches_requests));
    if can.fetches_requests {
        put("require_request_uri_registration", json!(true));
    }
    if can.require_signed_request_object || profile >= Profile::Fapi2MessageSigning {
        put("require_signed_request_object", json!(true));
    }
    if profile >= Profile::Fapi2 {
        put("require_pushed_authorization_requests", json!(true));
    }
    let profiles: Vec<_> = Profile::ALL.into_iter().filter(|known| *known >= profile).map(Profile::name).collect();
    put("symbolon_profiles_supported", json!(profiles));
}
