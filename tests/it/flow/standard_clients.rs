//! Programs of others, with nothing of ours between: discovery, a token over mutual TLS, introspection, revocation. What they know of this
//! server is what its metadata says (RFC 8414, RFC 8705 §5).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType,
};
use openidconnect::{
    AccessToken, AdditionalProviderMetadata, AuthType, ClientId, HttpRequest, IntrospectionUrl, IssuerUrl,
    OAuth2TokenResponse as _, ProviderMetadata, RequestTokenError, RevocationUrl, Scope, TokenIntrospectionResponse as _,
    TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::harness::client::PATIENCE;
use crate::harness::{Identity, Setup, Stack, command, exchange, token};

/// `curl` in a deployment's directory, with the certificate and key of this name: status and body.
async fn curl(stack: &Stack, identity: Option<&str>, url: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let mut arguments = vec!["--silent", "--show-error", "--cacert", "server-ca.pem", "--write-out", "\n%{http_code}"];
    let shown = identity.map(|name| (format!("{name}.pem"), format!("{name}-key.pem")));
    if let Some((certificate, key)) = &shown {
        arguments.extend(["--cert", certificate, "--key", key]);
    }
    let fields: Vec<String> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for field in &fields {
        arguments.extend(["--data-urlencode", field]);
    }
    arguments.push(url);
    let said = command::run(stack.dir.path(), "curl", &arguments).await.ok();
    let (body, status) = said.rsplit_once('\n').expect("a status");
    (status.trim().parse().expect("a number"), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn curl_gets_a_token_asks_about_it_and_revokes_it() {
    let stack = Stack::start().await;
    let (alice, gateway) = (Some("alice"), Some("gateway"));
    let (status, metadata) = curl(&stack, None, &stack.fill("{issuer}/.well-known/oauth-authorization-server"), &[]).await;
    assert_eq!((status, &metadata["issuer"]), (200, &Value::from(stack.fill("{issuer}"))));
    let endpoint = |name: &str| metadata["mtls_endpoint_aliases"][name].as_str().expect("a URL").to_owned();
    let asked = [("grant_type", "client_credentials"), ("client_id", "alice"), ("scope", "read"), ("resource", &stack.accounts)];
    let (status, answer) = curl(&stack, alice, &endpoint("token_endpoint"), &asked).await;
    assert_eq!((status, &answer["token_type"]), (200, &Value::from("Bearer")), "{answer}");
    let token = answer["access_token"].as_str().expect("a token");
    // Somebody else's certificate, and none.
    for shown in [Some("mallory"), None] {
        let (status, answer) = curl(&stack, shown, &endpoint("token_endpoint"), &asked).await;
        assert_eq!((status, &answer["error"]), (401, &Value::from("invalid_client")));
    }
    let about = [("client_id", "gateway"), ("token", token)];
    let (status, answer) = curl(&stack, gateway, &endpoint("introspection_endpoint"), &about).await;
    assert_eq!((status, &answer["active"], &answer["client_id"]), (200, &Value::from(true), &Value::from("alice")), "{answer}");
    assert_eq!(answer["cnf"]["x5t#S256"], stack.alice.thumbprint());
    let given = [("client_id", "alice"), ("token", token)];
    assert_eq!(curl(&stack, alice, &endpoint("revocation_endpoint"), &given).await.0, 200);
    let (status, answer) = curl(&stack, gateway, &endpoint("introspection_endpoint"), &about).await;
    assert_eq!((status, answer), (200, serde_json::json!({ "active": false })));
}

/// RFC 8705 §2.2: a self-signed certificate is compared and not judged: as `openssl req -x509` makes one by default, it says that it is an
/// authority's and has no extended key usage.
#[tokio::test]
async fn a_certificate_of_openssls_making_authenticates() {
    let stack = Setup { without_gateway: true, ..Setup::default() }.start().await;
    let dir = stack.dir.path();
    let kinds =
        [("ec-robot", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..]), ("rsa-robot", &["-newkey", "rsa:2048"])];
    for (name, kind) in kinds {
        let (certificate, key, subject) = (format!("{name}.pem"), format!("{name}-key.pem"), format!("/CN={name}"));
        let made = ["req", "-x509", "-nodes", "-days", "30", "-subj", &subject, "-keyout", &key, "-out", &certificate];
        command::run(dir, "openssl", &[&made[..], kind].concat()).await.ok();
        let shown = ["x509", "-in", &certificate, "-noout", "-text", "-fingerprint", "-sha256"];
        let text = command::run(dir, "openssl", &shown).await.ok();
        assert!(text.contains("CA:TRUE") && !text.contains("Extended Key Usage"), "{text}");
        let hexadecimal =
            text.lines().find_map(|line| line.split_once("Fingerprint=")).expect("a fingerprint").1.replace(':', "");
        let digest: Vec<u8> = (0..hexadecimal.trim().len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).expect("hexadecimal"))
            .collect();
        let add =
            ["client", "add", name, "--self-signed-certificate", &certificate, "--resource", &stack.accounts, "--scope", "read"];
        command::symbolon(dir, &add).await.ok();
        let asked = [("grant_type", "client_credentials"), ("client_id", name)];
        let begun = std::time::Instant::now();
        let answer = loop {
            match curl(&stack, Some(name), &stack.token_url(), &asked).await {
                (200, answer) => break answer,
                (status, answer) => assert!(begun.elapsed() < PATIENCE, "{name}: {status} {answer}"),
            }
        };
        let claims = token::claims(answer["access_token"].as_str().expect("a token"));
        assert_eq!(claims["cnf"]["x5t#S256"], URL_SAFE_NO_PAD.encode(&digest), "{name}");
        let (status, answer) = curl(&stack, Some("alice"), &stack.token_url(), &asked).await;
        assert_eq!((status, &answer["error"]), (401, &Value::from("invalid_client")), "{name}");
    }
}

/// RFC 8705 §5, for a library that leaves room for what it does not know.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Aliases {
    mtls_endpoint_aliases: Endpoints,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Endpoints {
    token_endpoint: TokenUrl,
    introspection_endpoint: IntrospectionUrl,
    revocation_endpoint: RevocationUrl,
}

impl AdditionalProviderMetadata for Aliases {}

type Metadata = ProviderMetadata<
    Aliases,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// The crate `openidconnect`, over `oauth2`.
#[tokio::test]
async fn a_library_gets_a_token_asks_about_it_and_revokes_it() {
    let stack = Stack::start().await;
    let as_caller = |identity: &Identity| {
        let caller = stack.caller(identity);
        move |request: HttpRequest| exchange(caller.clone(), request)
    };
    let (alice, gateway) = (as_caller(&stack.alice), as_caller(&stack.gateway_identity));
    let issuer = IssuerUrl::new(stack.fill("{issuer}")).expect("an issuer");
    let metadata = Metadata::discover_async(issuer.clone(), &alice).await.expect("discovery");
    let endpoints = metadata.additional_metadata().mtls_endpoint_aliases.clone();
    let client = |client_id: &str| {
        CoreClient::new(ClientId::new(client_id.to_owned()), issuer.clone(), metadata.jwks().clone())
            .set_token_uri(endpoints.token_endpoint.clone())
            .set_introspection_url(endpoints.introspection_endpoint.clone())
            .set_revocation_url(endpoints.revocation_endpoint.clone())
            .set_auth_type(AuthType::RequestBody)
    };
    let own = client("alice");
    let asked =
        own.exchange_client_credentials().add_scope(Scope::new("read".into())).add_extra_param("resource", &stack.accounts);
    let token: AccessToken = asked.request_async(&alice).await.expect("a token").access_token().clone();
    let resource_server = client("gateway");
    let told = resource_server.introspect(&token).request_async(&gateway).await.expect("an answer");
    assert!(told.active());
    assert_eq!(told.client_id().map(|client_id| client_id.as_str()), Some("alice"));
    own.revoke_token(token.clone().into()).expect("a URL").request_async(&alice).await.expect("revoked");
    let told = resource_server.introspect(&token).request_async(&gateway).await.expect("an answer");
    assert!(!told.active());
    // Refusals are the standard's to it.
    let mallory = as_caller(&stack.mallory);
    match own.introspect(&token).request_async(&mallory).await {
        Err(RequestTokenError::ServerResponse(error)) => assert_eq!(error.error().to_string(), "invalid_client"),
        other => panic!("{other:?}"),
    }
}
