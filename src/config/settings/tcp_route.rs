//! Routes of protocols that are not HTTP.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StaleRevocationsSetting;
use super::gateway::{default_staleness, default_upstream_connect_seconds, default_upstream_rest_seconds, one_or_more};

/// Where connections go whose TLS ends here and that are not HTTP: those of every host that names the route (`tcp_route`). There is no
/// token: the client's certificate is all that lets it in, judged for each connection and for as long as that is open.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TcpRouteSettings {
    /// A name for hosts, logs and metrics.
    pub name: String,
    /// `HOST:PORT`, or a list of them. They take turns; one that cannot be connected to is passed over.
    #[serde(deserialize_with = "one_or_more")]
    pub upstream: Vec<String>,
    /// An anchor set that certificates must come from on this route, beside those of listener and host. One of the three must name one.
    #[serde(default)]
    pub anchor_set: Option<String>,
    /// Names of which the certificate must have one: `dns:`, `uri:`, `email:` or `ip:` and the name as it stands in the certificate.
    #[serde(default)]
    pub certificate_names: Vec<String>,
    /// Subjects of which one must have issued the certificate: `CN=Example CA,O=Example`.
    #[serde(default)]
    pub certificate_issuers: Vec<String>,
    /// SHA-256 of the public keys (SubjectPublicKeyInfo) of which the certificate must have one, in base64url.
    #[serde(default)]
    pub certificate_keys: Vec<String>,
    /// Addresses that may connect, as `192.0.2.7` or `10.0.0.0/8`. Empty: any.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Authorization servers whose revocations of certificates count here (`symbolon cert revoke`), by name: each must have
    /// `revocation_feed`. Revocation lists and OCSP are those of the anchor sets.
    #[serde(default, deserialize_with = "one_or_more")]
    pub authorization_server: Vec<String>,
    /// What happens when such a feed was last heard longer ago than `max_revocation_staleness_seconds`. Streams that are open stay so.
    #[serde(default)]
    pub stale_revocations: StaleRevocationsSetting,
    /// Seconds without word from the revocation feed after which it counts as stale, at least 3.
    #[serde(default = "default_staleness")]
    pub max_revocation_staleness_seconds: u32,
    /// Seconds for which nothing may be said in either direction before a connection is closed.
    #[serde(default = "default_idle_seconds")]
    pub idle_seconds: u32,
    /// Connections that are open at once; one more is closed. Default: as many as the listener takes.
    pub max_concurrent: Option<u32>,
    /// Whether each connection to an upstream begins with a PROXY protocol header (version 2): the client's address, the server name, the
    /// protocol, the connection's id in the audit trail, and the certificate's common name. Only where the upstream expects one, and
    /// believes it from the gateway alone.
    #[serde(default)]
    pub send_proxy_protocol: bool,
    /// Seconds to connect to an upstream, its TLS handshake included.
    #[serde(default = "default_upstream_connect_seconds")]
    pub upstream_connect_seconds: u32,
    /// Failures to connect in a row after which an upstream is set aside. 0: never. Default: 5 where there are several upstreams, or else 0.
    pub upstream_failures: Option<u32>,
    /// Seconds for which it is set aside. Then one connection tries it.
    #[serde(default = "default_upstream_rest_seconds")]
    pub upstream_rest_seconds: u32,
    /// PEM file with the certification authorities of upstreams that speak TLS from the first byte on. Without it they get plain bytes.
    pub upstream_ca_file: Option<PathBuf>,
    /// The gateway's certificate at such an upstream, PEM.
    pub upstream_certificate_file: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    pub upstream_key_file: Option<PathBuf>,
    /// The name that such an upstream is asked for and must prove (SNI). Default: the host of `upstream`.
    pub upstream_server_name: Option<String>,
    /// SHA-256 of the public keys (SubjectPublicKeyInfo) of which the certificate of such an upstream must have one, in base64url.
    #[serde(default)]
    pub upstream_keys: Vec<String>,
}

fn default_idle_seconds() -> u32 {
    600
}
