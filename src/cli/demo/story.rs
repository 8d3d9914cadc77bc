//! The story, in numbered steps. Each is a request that is really made; what is printed is what was observed; a step that did not
//! come out as told ends the story.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::StatusCode;
use rustls::{AlertDescription, ClientConfig};
use serde_json::Value;

use super::deployment::Deployment;
use super::exchange::{Call, Outcome, exchange};
use crate::cli::print;
use crate::cli::sample_upstream::Upstream;
use crate::domain::SystemClock;
use crate::jose::jws::Compact;
use crate::pki::pem;
use crate::telemetry::log::Colour;
use crate::tls::{self, ClientIdentity};

/// How often, and how many times, the gateway is asked whether a revocation has reached it.
const ASK_AGAIN: Duration = Duration::from_millis(50);
const ASKS: u32 = 100;

/// One telling.
pub struct Story<'a> {
    deployment: &'a Deployment,
    upstream: &'a Upstream,
    colour: Colour,
    step: u32,
}

/// What a step saw.
struct Answer {
    status: StatusCode,
    challenge: String,
    body: Value,
}

impl Answer {
    fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

impl<'a> Story<'a> {
    pub fn new(deployment: &'a Deployment, upstream: &'a Upstream, colour: Colour) -> Self {
        Self { deployment, upstream, colour, step: 0 }
    }

    pub async fn tell(mut self) -> anyhow::Result<()> {
        let (alice, mallory) = (self.identity("alice", "alice")?, self.identity("mallory", "mallory")?);
        let (accounts, reports) = (self.deployment.accounts(), self.deployment.reports());

        let jwt = self.alice_gets_a_jwt(&alice, &accounts).await?;
        self.the_gateway_admits_alice(&alice, &accounts, &jwt).await?;
        self.refused(
            "Mallory presents Alice's token with her own certificate",
            "a stolen token is worthless",
            &mallory,
            &accounts,
            &jwt,
        )
        .await?;
        let nobody = self.tls(None)?;
        self.refused(
            "Somebody presents it with no certificate at all",
            "without a certificate nothing is proven",
            &nobody,
            &accounts,
            &jwt,
        )
        .await?;
        self.a_certificate_without_its_key(&accounts, &jwt).await?;
        self.a_spoofed_header(&alice, &accounts, &jwt).await?;

        let opaque = self.alice_gets_an_opaque_token(&alice, &reports).await?;
        self.introspected(&opaque, &alice).await?;
        self.refused(
            "Mallory presents the opaque token",
            "the binding travels in the introspection answer",
            &mallory,
            &reports,
            &opaque,
        )
        .await?;
        self.revoked(&alice, &opaque, &reports, "The opaque token is revoked").await?;
        self.introspection_after_revocation(&opaque).await?;
        self.revoked(&alice, &jwt, &accounts, "The JWT is revoked too").await?;
        self.say(&format!("\n{}\n", self.green("Every step came out as told.")))
    }

    async fn alice_gets_a_jwt(&mut self, alice: &Arc<ClientConfig>, resource: &str) -> anyhow::Result<String> {
        self.title("Alice asks for a token over mutual TLS")?;
        let token = self.token(alice, resource).await?;
        let compact = Compact::parse(&token).context("the access token is no JWT")?;
        let claims: Value = serde_json::from_slice(compact.unverified_payload()).context("the JWT's payload")?;
        let cnf = claims.pointer("/cnf/x5t#S256").and_then(Value::as_str).unwrap_or_default();
        let thumbprint = self.deployment.certificate("alice.pem")?.thumbprint().to_string();
        self.line("token's cnf.x5t#S256", cnf)?;
        self.line("her certificate's", &thumbprint)?;
        ensure!(cnf == thumbprint, "the token names another certificate than Alice's");
        self.proves("the token is bound to her certificate (RFC 8705 section 3)")?;
        Ok(token)
    }

    async fn alice_gets_an_opaque_token(&mut self, alice: &Arc<ClientConfig>, resource: &str) -> anyhow::Result<String> {
        self.title("Alice asks for a token for a resource whose tokens are opaque")?;
        let token = self.token(alice, resource).await?;
        ensure!(Compact::parse(&token).is_err(), "the token is a JWT");
        self.line("access_token", &shortened(&token))?;
        let answer = self.present(alice, resource, &token, vec![]).await?;
        ensure!(answer.status == StatusCode::OK, "the gateway refused Alice: {}", answer.challenge);
        self.proves("the gateway introspected it and found it bound to her certificate")?;
        Ok(token)
    }

    async fn the_gateway_admits_alice(&mut self, alice: &Arc<ClientConfig>, url: &str, token: &str) -> anyhow::Result<()> {
        self.title("Alice calls the gateway with it")?;
        let answer = self.present(alice, url, token, vec![]).await?;
        ensure!(answer.status == StatusCode::OK, "the gateway refused Alice: {}", answer.challenge);
        ensure!(
            answer.body.pointer("/assertion/verified") == Some(&Value::Bool(true)),
            "the upstream could not verify the gateway's assertion: {}",
            answer.text("/assertion/problem")
        );
        let claims = |name: &str| answer.text(&format!("/assertion/claims/{name}")).to_owned();
        self.line("upstream verified", &format!("iss={} aud={} sub={}", claims("iss"), claims("aud"), claims("sub")))?;
        ensure!(claims("sub") == "alice", "the assertion speaks of another subject");
        self.proves("she holds the certificate's key, and the upstream knows from the gateway's signature who she is")
    }

    async fn a_certificate_without_its_key(&mut self, url: &str, token: &str) -> anyhow::Result<()> {
        self.title("Mallory presents Alice's certificate too, without its key")?;
        let before = self.upstream.received();
        let thief = self.identity("alice", "mallory")?;
        let call = Call { method: "GET", url, headers: vec![bearer(token)], form: vec![] };
        self.request(&call)?;
        match exchange(thief, &call).await? {
            // RFC 8446 section 4.4.3: a signature that is not by the certificate's key, and no other reason.
            Outcome::HandshakeRefused(AlertDescription::DecryptError) => {
                self.line("handshake failed", "the server's alert: decrypt_error")?
            }
            Outcome::HandshakeRefused(alert) => bail!("the handshake failed for another reason: {alert:?}"),
            Outcome::Answer { status, .. } => bail!("the handshake succeeded, and the answer was {status}"),
        }
        self.nothing_arrived(before)?;
        self.proves("a certificate is public; only its key proves anything")
    }

    async fn a_spoofed_header(&mut self, alice: &Arc<ClientConfig>, url: &str, token: &str) -> anyhow::Result<()> {
        self.title("Alice adds identity headers of her own making")?;
        let forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.".to_owned();
        let headers = vec![
            ("X-Symbolon-Assertion", forged.clone()),
            ("X_SYMBOLON_ASSERTION", forged.clone()),
            ("Client-Cert", ":AAAA:".to_owned()),
            ("Connection", "x-symbolon-assertion".to_owned()),
        ];
        let answer = self.present(alice, url, token, headers).await?;
        ensure!(answer.status == StatusCode::OK, "the gateway refused Alice: {}", answer.challenge);
        ensure!(answer.body.pointer("/assertion/verified") == Some(&Value::Bool(true)), "the gateway's assertion did not arrive");
        let received = answer.body.get("headers").cloned().unwrap_or_default();
        let assertions = received.get("x-symbolon-assertion").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(assertions == 1, "{assertions} assertions reached the upstream");
        ensure!(!received.to_string().contains(&forged), "a forged assertion reached the upstream");
        ensure!(
            received.get("x_symbolon_assertion").is_none() && received.get("client-cert").is_none(),
            "a spoofed identity header reached the upstream"
        );
        self.line("upstream received", "one assertion, the gateway's; none of hers")?;
        self.proves("identity headers are the gateway's to set, in every spelling")
    }

    async fn introspected(&mut self, token: &str, alice: &Arc<ClientConfig>) -> anyhow::Result<()> {
        self.title("The gateway's own view: introspection (RFC 7662)")?;
        let answer = self.introspect(token).await?;
        ensure!(answer.body.get("active") == Some(&Value::Bool(true)), "the token is not active");
        let cnf = answer.text("/cnf/x5t#S256").to_owned();
        self.line("active, cnf.x5t#S256", &cnf)?;
        ensure!(cnf == self.deployment.certificate("alice.pem")?.thumbprint().to_string(), "cnf names another certificate");
        let url = format!("{}/introspect", self.deployment.mtls_url());
        let form = vec![("token", token), ("client_id", "alice")];
        let answer = self.call(alice, &Call { method: "POST", url: &url, headers: vec![], form }).await?;
        ensure!(answer.body.get("active") == Some(&Value::Bool(false)), "Alice, who is not listed, was told about the token");
        self.proves("resource servers that are listed learn the binding; anyone else learns `active: false`")
    }

    async fn revoked(&mut self, alice: &Arc<ClientConfig>, token: &str, resource: &str, title: &str) -> anyhow::Result<()> {
        self.title(&format!("{title} (RFC 7009)"))?;
        let url = format!("{}/revoke", self.deployment.mtls_url());
        let form = vec![("token", token), ("client_id", "alice")];
        let answer = self.call(alice, &Call { method: "POST", url: &url, headers: vec![], form }).await?;
        ensure!(answer.status == StatusCode::OK, "revocation answered {}", answer.status);
        let call = Call { method: "GET", url: resource, headers: vec![bearer(token)], form: vec![] };
        self.request(&call)?;
        for _ in 0..ASKS {
            let answer = observe(exchange(alice.clone(), &call).await?)?;
            if answer.status == StatusCode::UNAUTHORIZED {
                self.answer(&answer)?;
                return self.proves("the gateway refuses it from then on, though it is Alice who presents it");
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        bail!("the gateway still admits a revoked token")
    }

    async fn introspection_after_revocation(&mut self, token: &str) -> anyhow::Result<()> {
        self.title("And introspection says so")?;
        let answer = self.introspect(token).await?;
        ensure!(answer.body == serde_json::json!({ "active": false }), "the answer is {}", answer.body);
        self.line("answer", &answer.body.to_string())?;
        self.proves("nothing but `active: false` is told of a token that does not stand")
    }

    async fn refused(
        &mut self,
        title: &str,
        proves: &str,
        tls: &Arc<ClientConfig>,
        url: &str,
        token: &str,
    ) -> anyhow::Result<()> {
        self.title(title)?;
        let before = self.upstream.received();
        let answer = self.present(tls, url, token, vec![]).await?;
        ensure!(answer.status == StatusCode::UNAUTHORIZED, "the gateway answered {}", answer.status);
        ensure!(answer.challenge.contains(r#"error="invalid_token""#), "the challenge is {}", answer.challenge);
        self.nothing_arrived(before)?;
        self.proves(proves)
    }

    async fn token(&self, tls: &Arc<ClientConfig>, resource: &str) -> anyhow::Result<String> {
        let url = format!("{}/token", self.deployment.mtls_url());
        let form = vec![("grant_type", "client_credentials"), ("client_id", "alice"), ("resource", resource)];
        let answer = self.call(tls, &Call { method: "POST", url: &url, headers: vec![], form }).await?;
        ensure!(answer.status == StatusCode::OK, "the token endpoint answered {} {}", answer.status, answer.body);
        let token = answer.text("/access_token");
        ensure!(!token.is_empty(), "the answer has no access_token");
        Ok(token.to_owned())
    }

    async fn introspect(&self, token: &str) -> anyhow::Result<Answer> {
        let url = format!("{}/introspect", self.deployment.mtls_url());
        let form = vec![("token", token), ("client_id", "gateway")];
        let gateway = self.identity("gateway", "gateway")?;
        let answer = self.call(&gateway, &Call { method: "POST", url: &url, headers: vec![], form }).await?;
        ensure!(answer.status == StatusCode::OK, "introspection answered {} {}", answer.status, answer.body);
        Ok(answer)
    }

    async fn present(
        &self,
        tls: &Arc<ClientConfig>,
        url: &str,
        token: &str,
        mut headers: Vec<(&str, String)>,
    ) -> anyhow::Result<Answer> {
        headers.push(bearer(token));
        self.call(tls, &Call { method: "GET", url, headers, form: vec![] }).await
    }

    async fn call(&self, tls: &Arc<ClientConfig>, call: &Call<'_>) -> anyhow::Result<Answer> {
        self.request(call)?;
        let answer = observe(exchange(tls.clone(), call).await?)?;
        self.answer(&answer)?;
        Ok(answer)
    }

    fn nothing_arrived(&self, before: u64) -> anyhow::Result<()> {
        let more = self.upstream.received() - before;
        ensure!(more == 0, "{more} requests reached the upstream");
        self.line("upstream received", "nothing")
    }

    fn identity(&self, certificate: &str, key: &str) -> anyhow::Result<Arc<ClientConfig>> {
        let (certificate, key) = (format!("{certificate}.pem"), format!("{key}-key.pem"));
        self.tls(Some((&self.deployment.path(&certificate), &self.deployment.path(&key))))
    }

    fn tls(&self, identity: Option<(&Path, &Path)>) -> anyhow::Result<Arc<ClientConfig>> {
        let der = |path: &Path| -> anyhow::Result<Vec<_>> {
            Ok(pem::load_certificates(path)?.iter().map(|certificate| certificate.der().clone()).collect())
        };
        let authorities = der(&self.deployment.path("ca.pem"))?;
        let clock = Arc::new(SystemClock::new());
        Ok(match identity {
            None => tls::client_config(authorities, None, &[], clock)?,
            Some((certificate, key)) => {
                let identity = ClientIdentity { chain: der(certificate)?, key: pem::load_private_key(key)? };
                // Whether the key is the certificate's is for the server to find out.
                tls::danger_unmatched_client_config(authorities, identity, clock)?
            }
        })
    }

    fn title(&mut self, title: &str) -> anyhow::Result<()> {
        self.step += 1;
        self.say(&format!("\n{}\n", self.bold(&format!("{:>2}. {title}", self.step))))
    }

    fn request(&self, call: &Call<'_>) -> anyhow::Result<()> {
        let form: Vec<String> = call.form.iter().map(|(name, value)| format!("{name}={}", shortened(value))).collect();
        let headers: Vec<String> = call.headers.iter().map(|(name, value)| format!("{name}: {}", shortened(value))).collect();
        let parts = [format!("{} {}", call.method, call.url), headers.join(", "), form.join("&")];
        let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        self.say(&format!("    > {}\n", parts.join("  ")))
    }

    fn answer(&self, answer: &Answer) -> anyhow::Result<()> {
        let detail = match (answer.challenge.as_str(), answer.text("/error")) {
            ("", "") => String::new(),
            ("", error) => format!("  {error}"),
            (challenge, _) => format!("  WWW-Authenticate: {challenge}"),
        };
        self.say(&format!("    < {}{detail}\n", answer.status))
    }

    fn line(&self, what: &str, value: &str) -> anyhow::Result<()> {
        self.say(&format!("      {what:<22} {value}\n"))
    }

    fn proves(&self, what: &str) -> anyhow::Result<()> {
        self.say(&format!("    {} {what}\n", self.green("=>")))
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        print(text)
    }

    fn bold(&self, text: &str) -> String {
        if self.colour == Colour::On { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn green(&self, text: &str) -> String {
        if self.colour == Colour::On { format!("\x1b[1;32m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn observe(outcome: Outcome) -> anyhow::Result<Answer> {
    match outcome {
        Outcome::HandshakeRefused(alert) => bail!("the handshake failed: the server's alert {alert:?}"),
        Outcome::Answer { status, headers, body } => {
            let challenge = headers.get(http::header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
            Ok(Answer { status, challenge: challenge.unwrap_or_default().to_owned(), body })
        }
    }
}

fn bearer(token: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {token}"))
}

/// Tokens are long, and nobody reads them.
fn shortened(text: &str) -> String {
    let token = text.strip_prefix("Bearer ").unwrap_or(text);
    match (token.get(..12), token.get(token.len().saturating_sub(6)..)) {
        (Some(start), Some(end)) if token.len() > 64 && !token.contains("://") => {
            let scheme = if token.len() < text.len() { "Bearer " } else { "" };
            format!("{scheme}{start}…{end}")
        }
        _ => text.to_owned(),
    }
}
