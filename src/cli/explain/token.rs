//! `symbolon explain token`.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use super::super::cert::date;
use super::super::{ConfigArgument, print};
use super::Lines;
use super::cert::Asked;
use crate::app::open_store;
use crate::config::Loaded;
use crate::domain::{ClientId, Clock as _, Issuer, Lifetime, RuleKind, SystemClock, Thumbprint, Timestamp};
use crate::jose::jws::Compact;
use crate::jose::random::SystemRandomness;
use crate::keys::SigningKeys;
use crate::pki::{Certificate, pem};
use crate::token::{self, TokenFacts};
use crate::trust::revocation::RevocationRules;

/// The longest token that is read, in bytes.
const MAX_TOKEN: u64 = 64 << 10;
const PAGE: i64 = 1_000;

/// What an access token says, whether it stands, and whose certificate it is bound to
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon explain token --cert alice.pem < token.txt
  symbolon explain token --file token.txt --config gateway.toml

With an authorization server's configuration the token's signature or seal, its dates and the revocation rules are checked against the
database. With a gateway's, a JWT is only read. A token on the command line is seen by everybody on this machine: use standard input.")]
pub struct Token {
    /// The token itself
    #[arg(conflicts_with = "file", allow_hyphen_values = true)]
    token: Option<String>,
    /// A file with the token; without one and without a token, standard input is read
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A PEM file with the certificate that was shown with it
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgument,
}

impl Token {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let loaded = self.config.load()?;
        let now = SystemClock::new().now()?;
        let text = self.read()?;
        let chain = self.cert.as_ref().map(|file| pem::load_certificates(file)).transpose()?.unwrap_or_default();
        let mut lines = Lines::default();
        let said = match &loaded.settings.issuer {
            Some(issuer) => checked(&mut lines, &loaded, issuer, &text, now).await?,
            None => {
                lines.heading("token");
                lines.say("signature", "not checked: this is a gateway's configuration");
                Said { bound_to: unverified(&mut lines, &text, now)?, client: None }
            }
        };
        binding(&mut lines, said.bound_to, chain.first());
        if let Some(file) = &self.cert {
            let from = format!("{} (a file: nobody has shown that he holds the key)", file.display());
            let asked = Asked { loaded: &loaded, client: said.client.as_ref(), is_named: false, anchors: &[] };
            asked.explain(&mut lines, &from, &chain).await?;
        }
        print(lines.0)?;
        Ok(ExitCode::SUCCESS)
    }

    fn read(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        match (&self.token, &self.file) {
            (Some(token), _) => text.push_str(token),
            (None, Some(file)) => {
                let file = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
                file.take(MAX_TOKEN).read_to_string(&mut text)?;
            }
            (None, None) => {
                std::io::stdin().lock().take(MAX_TOKEN).read_to_string(&mut text).context("standard input")?;
            }
        }
        let token = text.trim();
        // As people copy it, with its scheme.
        let token = match token.split_once(' ') {
            Some((scheme, token)) if ["bearer", "dpop"].contains(&scheme.to_ascii_lowercase().as_str()) => token.trim(),
            _ => token,
        };
        if token.is_empty() {
            bail!("there is no token");
        }
        Ok(token.to_owned())
    }
}

/// What a token says that a certificate is put beside.
struct Said {
    /// The certificate that it is bound to. `Some(Err)` is a `cnf` that cannot be honoured.
    bound_to: Option<Result<Thumbprint, String>>,
    /// Whose it is, where that is verified.
    client: Option<ClientId>,
}

/// Reads a token of this deployment with its own keys.
async fn checked(lines: &mut Lines, loaded: &Loaded, issuer: &str, text: &str, now: Timestamp) -> anyhow::Result<Said> {
    let issuer: Issuer = issuer.parse().map_err(|error| anyhow::anyhow!("`issuer`: {error}"))?;
    let store = open_store(loaded, &SystemClock::new(), &SystemRandomness).await?;
    let keys = SigningKeys::load(&store).await?;
    let facts = if text.starts_with(token::OPAQUE_PREFIX) {
        token::opaque::read(text, store.ring(), &issuer).map_err(|error| (error.reason(), error.to_string()))
    } else {
        Compact::parse(text)
            .and_then(|compact| keys.verify(&compact))
            .map_err(|error| (error.reason(), error.to_string()))
            .and_then(|verified| token::jwt::read(&verified).map_err(|error| (error.reason(), error.to_string())))
    };
    lines.heading("token");
    let result = match facts {
        Err((reason, problem)) => {
            lines.say("verdict", format!("refused: {reason}: {problem}"));
            // What it claims is worth nothing, and may still say where it came from.
            lines.say("it claims", "(none of this is verified)");
            Said { bound_to: unverified(lines, text, now).unwrap_or(None), client: None }
        }
        Ok(facts) => {
            tell(lines, &facts);
            let mut rules = RevocationRules::default();
            loop {
                let page = store.revocation_rules(rules.sequence(), PAGE).await?;
                if page.is_empty() {
                    break;
                }
                rules = rules.with(page);
            }
            let verdict = token::check_dates(&facts, now, Lifetime::from_seconds(0))
                .map_err(|error| (error.reason(), error.to_string()))
                .and_then(|_| {
                    if facts.issuer == issuer {
                        Ok(())
                    } else {
                        Err((crate::event::Reason::TokenIssuer, "another issuer's".into()))
                    }
                })
                .and_then(|()| rules.check(&facts).map_err(|revoked| (revoked.reason(), revoked.to_string())));
            lines.say(
                "verdict",
                match verdict {
                    Ok(_) => "it stands".to_owned(),
                    Err((reason, problem)) => format!("refused: {reason}: {problem}"),
                },
            );
            Said { bound_to: facts.certificate().map(|thumbprint| Ok(*thumbprint)), client: facts.client_id }
        }
    };
    store.close().await;
    Ok(result)
}

fn tell(lines: &mut Lines, facts: &TokenFacts) {
    lines.say("issuer", facts.issuer.as_str());
    let optional = [
        ("subject", facts.subject.as_ref().map(ToString::to_string)),
        ("client_id", facts.client_id.as_ref().map(ToString::to_string)),
        ("jti", facts.token_id.as_ref().map(ToString::to_string)),
        ("key", facts.key_id.as_ref().map(ToString::to_string)),
        ("issued", facts.issued_at.map(date)),
    ];
    for (name, value) in optional {
        lines.say(name, value.unwrap_or_else(|| "(none)".into()));
    }
    let audience: Vec<_> = facts.audience.iter().map(ToString::to_string).collect();
    lines.say("audience", audience.join(" "));
    lines.say("scope", facts.scope.to_string());
    lines.say("expires", date(facts.expires));
    lines.say("revoked by", RuleKind::ALL.map(RuleKind::name).join(", ") + ": any rule on one of these");
}

/// The members of a JWT that nobody has verified. `Some(Err)` is a `cnf` that cannot be honoured.
fn unverified(lines: &mut Lines, text: &str, now: Timestamp) -> anyhow::Result<Option<Result<Thumbprint, String>>> {
    let compact = Compact::parse(text).context("not a JWT, and only its authorization server can read another token")?;
    let claims: Value = serde_json::from_slice(compact.unverified_payload()).context("the payload is not JSON")?;
    lines.say("algorithm", compact.algorithm().to_string());
    lines.say("kid", compact.key_id().unwrap_or("(none)"));
    for name in ["iss", "sub", "client_id", "aud", "scope", "jti"] {
        if let Some(value) = claims.get(name) {
            lines.say(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    for name in ["iat", "nbf", "exp"] {
        if let Some(seconds) = claims.get(name).and_then(Value::as_i64) {
            let moment = Timestamp::from_seconds(seconds);
            let over = if name == "exp" && moment <= now { " (over)" } else { "" };
            lines.say(name, format!("{}{over}", date(moment)));
        }
    }
    // Read by hand, so that the common mistakes are named.
    let bound_to = claims.get("cnf").and_then(|cnf| cnf.get("x5t#S256")).and_then(Value::as_str);
    Ok(bound_to.map(|text| text.parse::<Thumbprint>().map_err(|error| format!("`{text}`: {error}"))))
}

fn binding(lines: &mut Lines, bound_to: Option<Result<Thumbprint, String>>, certificate: Option<&Certificate>) {
    lines.heading("binding");
    let bound_to = match bound_to {
        None => return lines.say("cnf", "no x5t#S256: it is bound to no certificate"),
        Some(Err(problem)) => return lines.say("cnf", format!("cannot be honoured: {problem}")),
        Some(Ok(bound_to)) => bound_to,
    };
    lines.say("cnf x5t#S256", bound_to.to_string());
    lines.say("in hexadecimal", bound_to.to_hex());
    let Some(certificate) = certificate else { return };
    lines.say("certificate", certificate.thumbprint().to_string());
    let fits = bound_to.matches(&certificate.thumbprint());
    lines.say("verdict", if fits {
        "the token is bound to this certificate"
    } else {
        "refused: binding_certificate_mismatch: the token is bound to another certificate; a renewed one needs a new token (RFC 8705 §6.3)"
    });
}
