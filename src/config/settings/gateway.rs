//! The gateway: itself, the authorization servers whose tokens it takes, and its routes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{BrowserSessionSettings, CertificateModeSetting, CorsSettings, RateLimitSettings, ResponseHeaderSettings};

/// The gateway's own identity.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GatewaySettings {
    /// The `iss` of the gateway's assertions: an `https` URL. Its keys are published at `/.well-known/symbolon/jwks.json` on every
    /// host of the gateway.
    pub issuer: Option<String>,
    /// The header that carries the signed assertion to upstreams.
    pub assertion_header: String,
    /// How assertions are written.
    pub assertion_style: AssertionStyleSetting,
    /// Seconds that an assertion lives, at most 60.
    pub assertion_lifetime_seconds: u32,
    /// The private key that signs assertions, PKCS #8 PEM (P-256, P-384 or Ed25519). Without one a key is made at every start.
    pub assertion_key_file: Option<PathBuf>,
    /// Seconds for which browsers shall come back over HTTPS alone: `Strict-Transport-Security` (RFC 6797) in every answer to a request that
    /// came by a name (never `localhost` or an address), whatever upstreams say. Default: two years where the upstream says nothing.
    pub hsts_max_age_seconds: Option<u32>,
    /// Whether that counts for names below the host too.
    pub hsts_include_subdomains: bool,
    /// Gateways that answer for the same hosts. Each remembers used DPoP proofs alone, so that with more than one a proof must carry the
    /// nonce of the one it goes to: `dpop.require_nonce` and `affinity` are needed wherever a route takes DPoP.
    pub replicas: u32,
    /// Whether whatever is in front sends the requests of one client to the same replica. A proof with the nonce of another replica is
    /// refused, so that without it clients would be told to try again without end.
    pub affinity: bool,
    /// Sessions of people in browsers, by a name that routes refer to.
    pub sessions: BTreeMap<String, BrowserSessionSettings>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            issuer: None,
            assertion_header: "X-Symbolon-Assertion".into(),
            assertion_style: AssertionStyleSetting::Symbolon,
            assertion_lifetime_seconds: 60,
            assertion_key_file: None,
            hsts_max_age_seconds: None,
            hsts_include_subdomains: false,
            replicas: 1,
            affinity: false,
            sessions: BTreeMap::new(),
        }
    }
}

/// How assertions are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssertionStyleSetting {
    /// With a `typ` of their own, so that they can be taken for nothing else.
    #[default]
    Symbolon,
    /// As upstreams of Pomerium expect them: `typ` `JWT`, `iss` without `https://`, `user` beside `sub`. Name the header
    /// `X-Pomerium-Jwt-Assertion`; keys are published at `/.well-known/pomerium/jwks.json` too.
    Pomerium,
}

/// A dialect in which an upstream expects the client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateHeaderSetting {
    /// `Client-Cert` (RFC 9440).
    Rfc9440,
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    Rfc9440WithChain,
    /// `X-Forwarded-Client-Cert`, as Envoy writes it.
    Xfcc,
    /// `ssl-client-verify`, `-cert`, `-subject-dn`, `-issuer-dn`, `-serial` and `-fingerprint`, as behind nginx.
    Nginx,
    /// `X-Forwarded-Tls-Client-Cert` and `-Info`, as Traefik writes them.
    Traefik,
    /// `X-Amzn-Mtls-Clientcert-*`, as AWS load balancers write them when they verify.
    Alb,
    /// `X-SSL-Client-Cert`: PEM, percent-encoded.
    XSslClientCert,
}

/// Whether an assertion may be used for more than one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssertionReuseSetting {
    /// For requests with the same token, certificate, route and method, in the first half of its life.
    #[default]
    Reusable,
    /// Each request has its own, for upstreams that take each `jti` once.
    PerRequest,
}

/// An authorization server whose tokens the gateway accepts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuthorizationServerSettings {
    /// Its issuer identifier. Keys and endpoints come from its metadata (RFC 8414).
    pub issuer: String,
    /// PEM file with the certification authorities of its TLS certificate. Without one, the issuer cannot be reached and only
    /// `jwks_file` works: the system's roots are never used.
    pub ca_file: Option<PathBuf>,
    /// A file with the issuer's keys (a JWK Set), used instead of fetching them.
    pub jwks_file: Option<PathBuf>,
    /// The gateway's `client_id` at this server, for introspection and the revocation feed.
    pub client_id: Option<String>,
    /// How the gateway authenticates at this server.
    #[serde(default)]
    pub client_auth: ServerClientAuthSetting,
    /// The secret for `client_secret_basic` and `client_secret_post`: the content of a file that nobody else can read.
    pub client_secret_file: Option<PathBuf>,
    /// The key that signs assertions for `private_key_jwt`, PKCS #8 PEM (P-256, P-384 or Ed25519).
    pub client_key_file: Option<PathBuf>,
    /// The gateway's client certificate at this server, PEM.
    pub certificate_file: Option<PathBuf>,
    /// The private key of the certificate, PEM.
    pub key_file: Option<PathBuf>,
    /// Algorithms that this issuer's tokens may be signed with.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<String>,
    /// The `typ` of this issuer's access tokens, without `application/`. Any other than `at+jwt` (RFC 9068), `JWT` usually, is shared
    /// with ID tokens, which are then told by what they say, and refused.
    #[serde(default = "default_token_types")]
    pub token_types: Vec<String>,
    /// The claim that names the client in tokens of other types than `at+jwt`: `azp`, for instance.
    #[serde(default = "default_client_id_claim")]
    pub client_id_claim: String,
    /// The claim with the scope in tokens of other types than `at+jwt`: `scp`, for instance. A string or an array.
    #[serde(default = "default_scope_claim")]
    pub scope_claim: String,
    /// Members of `cnf` that this issuer is known to add and that say nothing about who may use a token. They are passed over; any
    /// other member that is not understood refuses the token.
    #[serde(default)]
    pub ignored_cnf_members: Vec<String>,
    /// Seconds by which the issuer's clock may differ from ours, at most 120.
    #[serde(default = "default_leeway_seconds")]
    pub leeway_seconds: u32,
    /// Whether to follow the server's revocation feed (a Symbolon server offers one).
    #[serde(default)]
    pub revocation_feed: bool,
    /// Seconds that a positive introspection answer is reused, at most. Zero asks every time.
    #[serde(default)]
    pub introspection_cache_seconds: u32,
    /// Seconds that a negative introspection answer is reused, at most. Zero asks every time.
    #[serde(default)]
    pub introspection_negative_cache_seconds: u32,
    /// What introspection is answered with.
    #[serde(default)]
    pub introspection_response: IntrospectionResponseSetting,
}

/// How the gateway authenticates as a client of an authorization server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerClientAuthSetting {
    /// With its certificate, from an authority that the server trusts (RFC 8705 §2.1).
    #[default]
    TlsClientAuth,
    /// With its certificate, which the server knows (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
    /// With a signed assertion (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// With a secret in `Authorization` (RFC 6749 §2.3.1).
    ClientSecretBasic,
    /// With a secret in the form (RFC 6749 §2.3.1).
    ClientSecretPost,
}

/// What introspection is answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntrospectionResponseSetting {
    /// JSON (RFC 7662).
    #[default]
    Json,
    /// A JWT that the server signs (RFC 9701); anything else is no answer.
    Jwt,
}

fn default_token_types() -> Vec<String> {
    vec!["at+jwt".into()]
}

fn default_client_id_claim() -> String {
    "client_id".into()
}

fn default_scope_claim() -> String {
    "scope".into()
}

fn default_algorithms() -> Vec<String> {
    vec!["ES256".into(), "ES384".into(), "PS256".into(), "EdDSA".into()]
}

fn default_leeway_seconds() -> u32 {
    5
}

/// Something the gateway protects.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RouteSettings {
    /// A name for logs, metrics and audit events.
    pub name: String,
    /// The request's authority: `host` or `host:port`, matched without regard to case; `*.example.com` for every name with one label in
    /// the place of `*` that has no routes of its own.
    pub host: String,
    /// The path, or the part of it before `/`, that this route is for. `{name}` in the place of a segment fits any one segment. The
    /// longest match wins.
    #[serde(default = "default_path")]
    pub path: String,
    /// Whether `path` is the whole path of a request or its beginning.
    #[serde(default)]
    pub path_match: PathMatchSetting,
    /// Methods that this route is for: requests with others belong to another route for the same path, or to none. Empty: any.
    #[serde(default)]
    pub match_methods: Vec<String>,
    /// Header fields that requests must have to belong to this route. Of two routes for the same path the one that asks for more is
    /// looked at first.
    #[serde(default)]
    pub match_header: Vec<MatchHeaderSettings>,
    /// Where requests go: `http://HOST:PORT` or `https://HOST:PORT`, or a list of them that take turns. May be left out of a route that is
    /// there for questions of proxies alone (`forward_auth` of a listener): nothing passes here then.
    #[serde(default, deserialize_with = "one_or_more")]
    pub upstream: Vec<String>,
    /// How much of the requests each of several upstreams gets, in their order. Empty: all the same.
    #[serde(default)]
    pub upstream_weights: Vec<u32>,
    /// Failures in a row after which an upstream is set aside: no connection, no answer in time, or a connection that broke off before
    /// one. 0: never. Default: 5 for one of several, never for a single one.
    pub upstream_failures: Option<u32>,
    /// Seconds for which an upstream is set aside before it is tried again, with one request. Requests for which no upstream is left are
    /// answered with 503 at once.
    #[serde(default = "default_upstream_rest_seconds")]
    pub upstream_rest_seconds: u32,
    /// A path that every upstream is asked for (`GET`), again and again; one that does not answer with 2xx is set aside until it does.
    pub upstream_health_path: Option<String>,
    /// Seconds between two such questions, and for an answer.
    #[serde(default = "default_upstream_health_seconds")]
    pub upstream_health_seconds: u32,
    /// How often a request without a body is tried with another upstream, or with the same one again where there is no other: when nothing
    /// of it was sent, or when it is idempotent (RFC 9110 §9.2.2) and the connection broke off before the answer. Never after a timeout.
    /// Default: 1 where there are several upstreams.
    pub upstream_retries: Option<u32>,
    /// Seconds to connect to an upstream.
    #[serde(default = "default_upstream_connect_seconds")]
    pub upstream_connect_seconds: u32,
    /// Seconds for which the body of an upstream's answer may stand still before it is broken off. Default: as long as it likes.
    pub upstream_stall_seconds: Option<u32>,
    /// PEM file with the certification authorities of an `https` upstream.
    pub upstream_ca_file: Option<PathBuf>,
    /// The gateway's certificate at an `https` upstream, PEM.
    pub upstream_certificate_file: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    pub upstream_key_file: Option<PathBuf>,
    /// The name that an `https` upstream is asked for and must prove (SNI). Default: the host of `upstream`.
    pub upstream_server_name: Option<String>,
    /// SHA-256 of the public keys (SubjectPublicKeyInfo) of which the certificate of an `https` upstream must have one, in base64url.
    #[serde(default)]
    pub upstream_keys: Vec<String>,
    /// The authorization server whose tokens are accepted, by name, or a list of them. A JWT is verified with the keys of the one that
    /// its `iss` names, and only one of them may be asked about other tokens.
    #[serde(deserialize_with = "one_or_more")]
    pub authorization_server: Vec<String>,
    /// The audience that tokens must name, or a list of which they must name one. The first is the `realm` of challenges, and where it is
    /// an `https` URL on the route's host, metadata (RFC 9728) are published for it.
    #[serde(deserialize_with = "one_or_more")]
    pub audience: Vec<String>,
    /// Scopes that tokens must have, all of them.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Scopes of which tokens must have one.
    #[serde(default)]
    pub any_scopes: Vec<String>,
    /// Claims that tokens must have, all of them.
    #[serde(default)]
    pub claim: Vec<ClaimSettings>,
    /// Groups of which tokens must name one, in the claim `groups_claim`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The claim with groups.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Kinds of sign-in of which a token's `acr` must be one (RFC 9470). Empty: any.
    #[serde(default)]
    pub acr_values: Vec<String>,
    /// Seconds that may have passed since the sign-in that a token's `auth_time` tells (RFC 9470).
    pub max_age_seconds: Option<u32>,
    /// Names of which the certificate must have one: `dns:`, `uri:`, `email:` or `ip:` and the name as it stands in the certificate. Like
    /// `certificate_issuers`, for certificates that every anchor set that applies accepts.
    #[serde(default)]
    pub certificate_names: Vec<String>,
    /// Subjects of which one must have issued the certificate: `CN=Example CA,O=Example`.
    #[serde(default)]
    pub certificate_issuers: Vec<String>,
    /// SHA-256 of the public keys (SubjectPublicKeyInfo) of which the certificate must have one, in base64url.
    #[serde(default)]
    pub certificate_keys: Vec<String>,
    /// Clients whose tokens are taken, by `client_id`. Empty: any client's.
    #[serde(default)]
    pub client_ids: Vec<String>,
    /// Methods that are served: `GET`, `POST`. Empty: any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Addresses that may connect, as `192.0.2.7` or `10.0.0.0/8`. Empty: any.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// How tokens are verified.
    #[serde(default)]
    pub token: TokenVerificationSetting,
    /// Whether and how the token's key must be proven: one of these, or a list of `mtls` and `dpop`, any of which will do.
    #[serde(default = "default_proof_of_possession", deserialize_with = "one_or_more")]
    pub proof_of_possession: Vec<ProofOfPossessionSetting>,
    /// The browser sessions that people may come with instead of a token, by name: a browser without one is led to its sign-in.
    #[serde(default)]
    pub sessions: Option<String>,
    /// An anchor set that certificates must come from on this route, beside those of listener and host.
    #[serde(default)]
    pub anchor_set: Option<String>,
    /// What happens to a request whose certificate is not good. Default: what the host or the listener says, or else `bound`.
    #[serde(default)]
    pub certificate_mode: Option<CertificateModeSetting>,
    /// What happens when the revocation feed was last heard longer ago than `max_revocation_staleness_seconds`.
    #[serde(default)]
    pub stale_revocations: StaleRevocationsSetting,
    /// Seconds without word from the revocation feed after which it counts as stale, at least 3.
    #[serde(default = "default_staleness")]
    pub max_revocation_staleness_seconds: u32,
    /// The `aud` of the assertion. Default: the route's authority.
    pub assertion_audience: Option<String>,
    /// Claims of the token that the assertion repeats, where the token has them.
    #[serde(default)]
    pub assertion_claims: Vec<String>,
    /// Whether an assertion may be used for more than one request.
    #[serde(default)]
    pub assertion_reuse: AssertionReuseSetting,
    /// Dialects in which the upstream is told the client's certificate.
    #[serde(default)]
    pub certificate_headers: Vec<CertificateHeaderSetting>,
    /// Header fields that the upstream is sent. What clients send under their names is removed on every route.
    #[serde(default)]
    pub request_header: Vec<RequestHeaderSettings>,
    /// Whether the access token is passed to the upstream.
    #[serde(default)]
    pub pass_access_token: bool,
    /// What takes the place of `path` in requests to the upstream: with `path = "/api"` and `upstream_path = "/v1"`, `/api/x` becomes
    /// `/v1/x`. Default: paths stay as they are.
    pub upstream_path: Option<String>,
    /// What is spoken with the upstream.
    #[serde(default)]
    pub upstream_protocol: UpstreamProtocolSetting,
    /// Whether WebSocket connections are passed on. They end when the token expires or is revoked, and when the certificate is not good
    /// any more.
    #[serde(default)]
    pub websocket: bool,
    /// How much one caller may ask of this route: more is answered with 429. Counted behind the decision, by this process alone.
    pub rate_limit: Option<RateLimitSettings>,
    /// Requests that are served at once, to the last byte of their answers: more are answered with 503. Default: any number.
    pub max_concurrent: Option<u32>,
    /// For which pages of other origins this route is. Default: for none; what the upstream says of origins then passes.
    pub cors: Option<CorsSettings>,
    /// Header fields that every answer of this route has, whatever its upstream says.
    #[serde(default)]
    pub response_header: Vec<ResponseHeaderSettings>,
    /// Names of header fields that no answer of its upstream keeps.
    #[serde(default)]
    pub remove_response_headers: Vec<String>,
    /// Whether every answer has `x-fapi-interaction-id`: the request's, where it is one UUID, or a new one. The upstream is told it too.
    #[serde(default)]
    pub fapi_interaction_id: bool,
    /// Seconds to wait for the upstream's response head.
    #[serde(default = "default_upstream_timeout_seconds")]
    pub upstream_timeout_seconds: u32,
}

/// How much of a path a route is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathMatchSetting {
    /// The path and everything below it.
    #[default]
    Prefix,
    /// The path alone.
    Exact,
}

/// A header field that requests must have.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MatchHeaderSettings {
    /// Its name.
    pub name: String,
    /// Its whole value.
    pub value: String,
}

/// A place that has moved. Whoever asks for it is told where to, token or no token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RedirectSettings {
    /// The request's authority, as in a route. Redirects are looked at before routes.
    pub host: String,
    /// The path, as in a route.
    #[serde(default = "default_path")]
    pub path: String,
    /// Whether `path` is the whole path of a request or its beginning.
    #[serde(default)]
    pub path_match: PathMatchSetting,
    /// An `https` URL without query: what stood behind `path`, and the query, is put behind it.
    pub to: String,
    /// 301, 302, 307 or 308.
    #[serde(default = "default_redirect_status")]
    pub status: u16,
}

/// What is spoken with an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocolSetting {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, for gRPC for instance. Without TLS the upstream must expect it from the first byte on.
    Http2,
}

/// A claim that tokens must have.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClaimSettings {
    /// Its name; where there is no claim of that name, dots lead into objects: `realm_access.roles`.
    pub name: String,
    /// The values that will do. A claim that is a list must have one of them in it.
    pub values: Vec<String>,
}

/// A header field for the upstream.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RequestHeaderSettings {
    /// Its name.
    pub name: String,
    /// Its value, with places to fill: `${token.sub}`, `${ssl_client_s_dn}`. The field is left away where one of them cannot be filled.
    pub value: String,
}

fn default_groups_claim() -> String {
    "groups".into()
}

fn default_path() -> String {
    "/".into()
}

fn default_proof_of_possession() -> Vec<ProofOfPossessionSetting> {
    vec![ProofOfPossessionSetting::Strict]
}

/// A list that may be written as its only element.
pub(super) fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

pub(super) fn default_staleness() -> u32 {
    60
}

pub(super) fn default_upstream_rest_seconds() -> u32 {
    10
}

fn default_upstream_health_seconds() -> u32 {
    5
}

pub(super) fn default_upstream_connect_seconds() -> u32 {
    5
}

fn default_redirect_status() -> u16 {
    308
}

fn default_upstream_timeout_seconds() -> u32 {
    30
}

/// How a route verifies tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenVerificationSetting {
    /// JWTs with the issuer's keys; anything else is introspected where the issuer gave the gateway a `client_id`.
    #[default]
    Auto,
    /// JWTs alone.
    Jwt,
    /// Every token by introspection.
    Introspection,
}

/// Whether and how the token's key must be proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProofOfPossessionSetting {
    /// Every token must be bound, to a certificate or to a DPoP key, and the binding proven on every request; to both, both.
    #[default]
    Strict,
    /// A bound token must be proven; an unbound one is a plain bearer token.
    Optional,
    /// Every token must be bound to the certificate of the connection (RFC 8705 §3), and to nothing else.
    Mtls,
    /// Every token must be bound to the key of a DPoP proof (RFC 9449), and to nothing else.
    Dpop,
    /// Nothing is proven: whoever has a token can use it, whatever it is bound to.
    DangerOff,
}

/// What a route does when revocations may have been missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StaleRevocationsSetting {
    /// Answer 503 until the feed is heard again.
    #[default]
    Refuse,
    /// Go on with what is known.
    Serve,
}
