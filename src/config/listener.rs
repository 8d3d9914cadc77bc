//! Addresses, their TLS policies, and the authorities that certificates may come from, as written.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One address to listen on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListenerSettings {
    /// A name for logs and metrics.
    pub name: String,
    /// `IP:PORT`.
    pub address: SocketAddr,
    /// What is served here: `authorization_server`, `gateway`, `metrics`, `admin`; or `forward_auth` alone.
    pub services: Vec<ServiceSetting>,
    /// Where a client's certificate comes from.
    #[serde(default)]
    pub certificate_source: CertificateSourceSetting,
    /// Which proxies are trusted, and what they send, where `certificate_source` is `trusted_proxy_header`.
    #[serde(default)]
    pub trusted_proxy: Option<TrustedProxySettings>,
    /// Addresses of proxies that pass connections on unread: ranges such as `10.1.0.0/16`. Each connection from there must begin with a
    /// PROXY protocol header (version 2), and counts as one from the address that it tells. From elsewhere none is read.
    #[serde(default)]
    pub proxy_protocol: Vec<String>,
    /// An anchor set that client certificates must come from on every host of this listener, beside the host's own.
    #[serde(default)]
    pub anchor_set: Option<String>,
    /// What the gateway does with a certificate that is not good, unless a host or a route says otherwise.
    #[serde(default)]
    pub certificate_mode: Option<CertificateModeSetting>,
    /// The TLS policies of this address, told apart by the server name that the client asks for (SNI).
    pub host: Vec<HostSettings>,
    /// Server names whose connections are passed on unread: TLS ends at the other side, and no rule of this file applies to them.
    #[serde(default)]
    pub passthrough: Vec<PassthroughSettings>,
}

/// Where connections of some server names go, unread.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PassthroughSettings {
    /// Server names (SNI): exact (`db.example`), or one wildcard label (`*.example`) for those that are not served here.
    pub names: Vec<String>,
    /// `HOST:PORT`, which is connected to for each connection.
    pub upstream: String,
    /// Whether each connection to it begins with a PROXY protocol header (version 2) that tells the client's address: only where the other
    /// side expects one, and believes it from the gateway alone.
    #[serde(default)]
    pub send_proxy_protocol: bool,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceSetting {
    /// The endpoints of the authorization server.
    AuthorizationServer,
    /// The resource gateway.
    Gateway,
    /// Prometheus metrics at `/metrics`.
    Metrics,
    /// The administration API of `[admin]`, where this process is an authorization server.
    Admin,
    /// The gateway's word to proxies that forward by themselves, whether a request of their clients may go on: for the proxies of
    /// `trusted_proxy` alone, on a listener of its own.
    ForwardAuth,
}

/// Where a client's certificate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSourceSetting {
    /// The TLS handshake on this listener.
    #[default]
    Handshake,
    /// A header field of a proxy in front that ends the clients' TLS: from the proxies of `trusted_proxy` alone. The certificate of the
    /// connection itself never stands for a client here.
    TrustedProxyHeader,
}

/// Proxies in front that end the clients' TLS. What they send is removed from every request of the listener, and read where the connection
/// is one of these proxies' alone. A proxy must remove what its clients send under that name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TrustedProxySettings {
    /// What the proxies send.
    pub preset: ProxyPresetSetting,
    /// Their addresses: ranges such as `10.1.0.0/16`. Whoever has one is trusted, so that no client may have one.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The anchor set that the proxies' own certificates come from, shown in the handshake with this listener: one of its own, with no
    /// client's authority in it. Every host of the listener must ask for certificates then. With `addresses` beside it, both must fit.
    #[serde(default)]
    pub anchor_set: Option<String>,
    /// A Unix socket that is listened at beside `address`, with TLS as there. Whoever may open it (its user and its group) is trusted, and
    /// with `anchor_set` beside it must show a certificate too.
    #[serde(default)]
    pub unix_socket: Option<PathBuf>,
    /// How proxies tell the request that they ask about, where the listener's service is `forward_auth`. Default: `x_original` with the
    /// preset `nginx`, `x_forwarded` with every other.
    #[serde(default)]
    pub original_request: Option<OriginalRequestSetting>,
    /// The name of the field, where it is not the preset's.
    #[serde(default)]
    pub header: Option<String>,
    /// The name of the field with the chain, where it is not the preset's, or the preset has none.
    #[serde(default)]
    pub chain_header: Option<String>,
}

/// How a proxy in front tells the request that it asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginalRequestSetting {
    /// `X-Original-Method`, and `X-Original-URL`: a whole URL that begins with `https://`.
    XOriginal,
    /// `X-Forwarded-Method`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Uri`.
    XForwarded,
}

/// What a proxy in front sends, by default under these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyPresetSetting {
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    Rfc9440,
    /// `SSL-Client-Cert` with `$ssl_client_escaped_cert`, as ingress-nginx sends it too.
    Nginx,
    /// `X-SSL-Client-Der` with `ssl_c_der,base64`, and `X-SSL-Client-Chain-Der` with `ssl_c_chain_der,base64`.
    Haproxy,
    /// `SSL-Client-Cert` with `%{SSL_CLIENT_CERT}s`.
    Apache,
    /// `X-Forwarded-Client-Cert` of Envoy: `Cert` and `Chain` of the last element. A `Hash` without `Cert` proves that a token is bound to
    /// the certificate where no anchor set applies, and authenticates nobody.
    Xfcc,
    /// `X-Forwarded-Tls-Client-Cert`.
    Traefik,
    /// `Client-Cert` with `{http.request.tls.client.certificate_der_base64}`, with or without the colons of RFC 9440.
    Caddy,
    /// `X-Amzn-Mtls-Clientcert-Leaf` of AWS load balancers that verify.
    Alb,
    /// `X-Amzn-Mtls-Clientcert` of AWS load balancers that pass the chain on.
    AlbPassthrough,
    /// `X-ARR-ClientCert`.
    Azure,
    /// `Cf-Client-Cert-Der-Base64`.
    Cloudflare,
    /// `X-SSL-Client-Cert`: PEM, percent-encoded or with spaces, or base64 of DER.
    XSslClientCert,
}

impl ProxyPresetSetting {
    /// As the configuration has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc9440 => "rfc9440",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Apache => "apache",
            Self::Xfcc => "xfcc",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
            Self::Alb => "alb",
            Self::AlbPassthrough => "alb_passthrough",
            Self::Azure => "azure",
            Self::Cloudflare => "cloudflare",
            Self::XSslClientCert => "x_ssl_client_cert",
        }
    }
}

/// One TLS policy of a listener.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HostSettings {
    /// Server names this policy is for: exact (`as.example`), one wildcard label (`*.example`), an IP address, or `*` for every
    /// other name and for clients that send none. A request for an authority of another policy gets 421.
    pub names: Vec<String>,
    /// The server's certificate chain, PEM.
    pub certificate_file: PathBuf,
    /// The private key of the certificate, PEM, readable by its owner alone.
    pub key_file: PathBuf,
    /// Whether clients are asked for a certificate.
    #[serde(default)]
    pub client_certificate: ClientCertificateSetting,
    /// The anchor set that client certificates on this host must come from, where a certificate has to be judged.
    pub anchor_set: Option<String>,
    /// What the gateway does with a certificate that is not good, unless a route says otherwise.
    #[serde(default)]
    pub certificate_mode: Option<CertificateModeSetting>,
    /// Whether the responder that the certificate names is asked by OCSP, and its answer shown in handshakes to clients that want it (stapling). The
    /// issuer's certificate must follow in `certificate_file`. The responder may lie anywhere; limits are those of `[outbound]`.
    #[serde(default)]
    pub ocsp_stapling: bool,
    /// The `[[tcp_route]]` that connections under these names take: no HTTP is spoken on them. Each of `names` must be a name then, and
    /// `client_certificate` must ask.
    pub tcp_route: Option<String>,
    /// Protocols that clients may agree on (ALPN, RFC 7301) where there is a `tcp_route`: `postgresql`, for instance. A client that offers
    /// others alone fails its handshake, so that no browser can be led here; one that offers none is served.
    #[serde(default)]
    pub alpn: Vec<String>,
    /// Protocol versions and cipher suites.
    #[serde(default)]
    pub suites: SuiteProfileSetting,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificateSetting {
    /// Never, so that no browser shows a prompt.
    #[default]
    None,
    /// Asked; a client without one is served and refused where one is needed.
    Request,
    /// Asked; the handshake fails without one.
    Require,
}

/// What the gateway does with a certificate that is not good: of no accepted authority, out of its dates, revoked, or absent. At the
/// authorization server, certificates that authenticate are always judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateModeSetting {
    /// The certificate that a token is bound to must be good; others are not looked at.
    #[default]
    Bound,
    /// Nobody is let through without a good certificate.
    Enforce,
    /// Everybody is, and the upstream is told in `X-Symbolon-Client-Verify`: `SUCCESS`, `FAILED:reason` or `NONE`. A token's binding
    /// is proven all the same.
    Permissive,
}

/// Protocol versions and cipher suites of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuiteProfileSetting {
    /// TLS 1.2 and 1.3: AES-256-GCM, AES-128-GCM, then ChaCha20-Poly1305, all with ECDHE.
    #[default]
    Default,
    /// TLS 1.2 and 1.3 with the AES-GCM suites that FAPI 2.0 names.
    Fapi2,
    /// TLS 1.3 alone.
    Tls13,
}

/// A named set of certification authorities.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AnchorSetSettings {
    /// PEM files with the authorities' certificates. They are told apart by public key, never by name.
    pub files: Vec<PathBuf>,
    /// Whether the set takes authorities from the store too: those of `symbolon anchor add --set NAME`. Every server with the same database
    /// follows within a second. For the authorization server: a gateway alone has no store.
    pub stored: bool,
    /// PEM files with intermediate certificates that clients may leave out.
    pub intermediate_files: Vec<PathBuf>,
    /// What certificates must say about their use (extended key usage).
    pub extended_key_usage: ExtendedKeyUsageSetting,
    /// Kinds of keys that a path may rest on, from the client's to the authority's: `rsa`, `p256`, `p384`, `p521`, `ed25519`.
    pub keys: Vec<String>,
    /// Bits that every RSA key on the path must have, 2048 to 8192.
    pub min_rsa_bits: u32,
    /// Certificate revocation lists of these authorities: files, or folders of files, in PEM or DER. Every list must be complete and
    /// signed by one of `files` or `intermediate_files`. They are read again when they change. With `stored`, a list that none of the set's
    /// authorities has signed is left out, and the log says so.
    pub crl_files: Vec<PathBuf>,
    /// URLs (`http` or `https`) of more lists, fetched ahead of need under the limits of `[outbound]`, wherever they lie.
    pub crl_urls: Vec<String>,
    /// Whether the lists are fetched that certificates name (their distribution points): those of the set itself, and of a client once its
    /// chain has verified to one of the authorities, so that only these choose URLs. They are fetched from public addresses, or where
    /// `[outbound]` allows. The first request of such a certificate waits for its list, at most `outbound.total_seconds`.
    pub crl_fetch: bool,
    /// Seconds after which a fetched list is fetched again. It is earlier where its `nextUpdate` comes near.
    pub crl_refresh_seconds: u32,
    /// Whether responders are asked by OCSP about certificates that name them, once their chain has verified. Responders lie at public addresses, or
    /// where `[outbound]` allows. The first request of a certificate waits for the answer, at most `outbound.total_seconds`.
    pub ocsp: bool,
    /// The URL (`http` or `https`) of the responder that is asked about every certificate of the set, wherever it lies.
    pub ocsp_url: Option<String>,
    /// Seconds after which a responder is asked again. It is earlier where the answer's `nextUpdate` comes near.
    pub ocsp_refresh_seconds: u32,
    /// What a missing or outdated list or answer means. Default: `hard` where any of the above is set, or else `off`.
    pub revocation: Option<RevocationSetting>,
}

/// What it means that nobody knows whether a certificate is revoked: no list that is in force speaks of it, and no responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationSetting {
    /// Nobody is asked.
    Off,
    /// Only what a list or a responder names as revoked is refused.
    Soft,
    /// Every certificate on the path must be spoken of by a list or a responder's answer that is not past its `nextUpdate`.
    Hard,
}

impl Default for AnchorSetSettings {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            stored: false,
            intermediate_files: Vec::new(),
            extended_key_usage: ExtendedKeyUsageSetting::default(),
            keys: ["rsa", "p256", "p384", "p521", "ed25519"].map(str::to_owned).to_vec(),
            min_rsa_bits: 2_048,
            crl_files: Vec::new(),
            crl_urls: Vec::new(),
            crl_fetch: false,
            crl_refresh_seconds: 3_600,
            ocsp: false,
            ocsp_url: None,
            ocsp_refresh_seconds: 3_600,
            revocation: None,
        }
    }
}

/// What certificates must say about their use (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExtendedKeyUsageSetting {
    /// Where the extension is there, client authentication must be in it.
    #[default]
    ClientAuthIfPresent,
    /// The client's certificate must have the extension, and client authentication in it.
    ClientAuth,
    /// Nothing: for authorities that issue certificates for servers alone.
    Any,
}
