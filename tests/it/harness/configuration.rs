//! The two configurations of a deployment. Texts that a test adds may use the same `{placeholders}`.

/// The server: `localhost` never asks for a certificate; `127.0.0.1` and `as.example` on the other port do.
pub const SERVER: &str = r#"issuer = "{issuer}"
mtls_url = "{mtls_url}"

[store]
url = "{store}"

[[seal.key]]
id = "test"
file = "seal.key"

[[listener]]
name = "public"
address = "127.0.0.1:{issuer_port}"
services = ["authorization_server"]

[[listener.host]]
names = ["localhost"]
certificate_file = "server.pem"
key_file = "server-key.pem"

[[listener]]
name = "mtls"
address = "127.0.0.1:{mtls_port}"
services = ["authorization_server"]

[[listener.host]]
names = ["127.0.0.1"]
certificate_file = "server.pem"
key_file = "server-key.pem"
client_certificate = "request"
anchor_set = "clients"

[[listener.host]]
names = ["as.example"]
certificate_file = "server.pem"
key_file = "server-key.pem"
client_certificate = "request"
anchor_set = "clients"

[anchor_set.clients]
files = ["client-ca.pem"]

[[resource]]
identifier = "{accounts}"
scopes = ["read", "write"]
access_token_format = "jwt"
introspection_clients = ["gateway"]

[[resource]]
identifier = "{reports}"
scopes = ["read", "write"]
access_token_format = "opaque"
introspection_clients = ["gateway"]

[revocation_feed]
clients = ["gateway"]

[audit]
file = "server-audit.jsonl"
"#;

/// The gateway: `localhost` asks for a certificate, `public.example` never does.
///
/// Routes: `/accounts` (JWT, strict), `/accounts/write` (JWT, scope `write`), `/reports` (introspection, strict), `/optional` (JWT,
/// unbound tokens admitted), and `/accounts` on `public.example`.
pub const GATEWAY: &str = r#"[gateway]
issuer = "{gateway}"

[[listener]]
name = "gateway"
address = "127.0.0.1:{gateway_port}"
services = ["gateway"]

[[listener.host]]
names = ["localhost"]
certificate_file = "server.pem"
key_file = "server-key.pem"
client_certificate = "request"
anchor_set = "clients"

[[listener.host]]
names = ["public.example"]
certificate_file = "server.pem"
key_file = "server-key.pem"

[anchor_set.clients]
files = ["client-ca.pem"]

[authorization_server.test]
issuer = "{issuer}"
ca_file = "server-ca.pem"
client_id = "gateway"
certificate_file = "gateway.pem"
key_file = "gateway-key.pem"
revocation_feed = true

[[route]]
name = "accounts"
host = "{gateway_authority}"
path = "/accounts"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
scopes = ["read"]
token = "jwt"

[[route]]
name = "write"
host = "{gateway_authority}"
path = "/accounts/write"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
scopes = ["write"]
token = "jwt"

[[route]]
name = "reports"
host = "{gateway_authority}"
path = "/reports"
upstream = "{upstream}"
authorization_server = "test"
audience = "{reports}"
scopes = ["read"]
token = "introspection"

[[route]]
name = "optional"
host = "{gateway_authority}"
path = "/optional"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"
proof_of_possession = "optional"

[[route]]
name = "public"
host = "public.example:{gateway_port}"
path = "/accounts"
upstream = "{upstream}"
authorization_server = "test"
audience = "{accounts}"
token = "jwt"

[audit]
file = "gateway-audit.jsonl"
"#;

/// Puts values in the place of `{names}`.
pub fn fill(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}
