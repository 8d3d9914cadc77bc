//! Software statements (RFC 7591 §2.3): what somebody who is trusted says of a piece of software. Whoever registers it cannot say otherwise.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::client_auth::AssertionRules;
use super::error::{ErrorCode, Fault, OauthError, Refusal};
use super::server::AuthorizationServer;
use crate::clients::{ClientKeysError, JwksUriError, Published, RegisteredKeys};
use crate::config::settings::SoftwareStatementIssuerSettings;
use crate::domain::{Issuer, Timestamp};
use crate::event::Reason;
use crate::jose::json;
use crate::jose::jwk::JwkSet;
use crate::jose::jws::Compact;
use crate::jose::verify::VerifiedJws;

/// The member.
pub(super) const MEMBER: &str = "software_statement";
/// By how many seconds clocks may differ.
const LEEWAY: i64 = 60;

/// Whose software statements are taken, by `iss`.
#[derive(Debug, Default)]
pub struct SoftwareStatements(HashMap<String, Published<RegisteredKeys>>);

/// Why an issuer cannot be configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftwareStatementError {
    /// No name, or one that another has.
    #[error("software_statement_issuer: `{0}` must be there, and once")]
    Name(String),
    /// Its keys cannot be read.
    #[error("software_statement_issuer: `{0}`: jwks_file: {1}")]
    Keys(String, String),
    /// Neither or both places for keys.
    #[error("software_statement_issuer: `{0}`: exactly one of jwks_file and jwks_uri says what its statements are signed with")]
    Place(String),
    /// The place of its keys is malformed.
    #[error("software_statement_issuer: `{0}`: jwks_uri {1}")]
    JwksUri(String, JwksUriError),
}

impl SoftwareStatements {
    /// Checks the configuration's section. `read` gives the contents of a file that it names.
    ///
    /// # Errors
    /// See [`SoftwareStatementError`].
    pub fn from_settings(
        settings: &[SoftwareStatementIssuerSettings],
        read: impl Fn(&Path) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, SoftwareStatementError> {
        let mut issuers = HashMap::new();
        for written in settings {
            let issuer = || written.issuer.clone();
            let keys = match (&written.jwks_file, &written.jwks_uri) {
                (Some(file), None) => {
                    let broken = |problem: String| SoftwareStatementError::Keys(issuer(), problem);
                    let text = read(file).map_err(|problem| broken(problem.to_string()))?;
                    let set = JwkSet::from_json(&text).map_err(|problem| broken(problem.to_string()))?;
                    let keys = RegisteredKeys::of(set);
                    Published::Here(keys.ok_or_else(|| broken("a JWK Set with keys that verify signatures is wanted".into()))?)
                }
                (None, Some(uri)) => {
                    Published::At(uri.parse().map_err(|problem| SoftwareStatementError::JwksUri(issuer(), problem))?)
                }
                _ => return Err(SoftwareStatementError::Place(issuer())),
            };
            if written.issuer.is_empty() || issuers.insert(written.issuer.clone(), keys).is_some() {
                return Err(SoftwareStatementError::Name(written.issuer.clone()));
            }
        }
        Ok(Self(issuers))
    }

    /// Whether there is none, so that statements are passed over.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys of whoever says that it made a statement.
    ///
    /// # Errors
    /// `unapproved_software_statement` where nobody trusts them (RFC 7591 §3.2.2).
    fn keys_of(&self, issuer: &str) -> Result<&Published<RegisteredKeys>, Refusal> {
        self.0.get(issuer).ok_or_else(|| {
            let description = "whoever made the software statement is not trusted here";
            Refusal::new(ErrorCode::UnapprovedSoftwareStatement, Reason::SoftwareStatementIssuer, description)
        })
    }
}

impl AuthorizationServer {
    /// What a statement says, if it is to be believed.
    ///
    /// # Errors
    /// `invalid_software_statement`, `unapproved_software_statement`; a fault of ours where its issuer's keys cannot be fetched.
    pub(super) async fn read_statement(&self, text: &str, now: Timestamp) -> Result<Map<String, Value>, OauthError> {
        let statement = Compact::parse(text).map_err(|_| unreadable())?;
        AssertionRules::check_header(statement.header()).map_err(|_| unreadable())?;
        let unverified = json::parse_object(statement.unverified_payload()).map_err(|_| unreadable())?;
        let issuer = unverified.get("iss").and_then(Value::as_str).ok_or_else(unreadable)?;
        let verified = self.verify_statement(issuer, &statement).await?;
        check_dates(verified.claims(), now)?;
        check_audience(verified.claims(), &self.issuer)?;
        Ok(verified.claims().clone())
    }

    async fn verify_statement(&self, issuer: &str, statement: &Compact<'_>) -> Result<VerifiedJws, OauthError> {
        let verified = match self.registration.statements().keys_of(issuer)? {
            Published::Here(keys) => keys.verify(statement).map_err(ClientKeysError::from),
            Published::At(uri) => self.client_keys.verify_trusted(uri, statement, self.clock.monotonic()).await,
        };
        verified.map_err(|problem| match problem {
            ClientKeysError::Jws(_) | ClientKeysError::Certificate(_) => unreadable().into(),
            ClientKeysError::Unavailable(problem) => {
                tracing::warn!(issuer, %problem, "cannot fetch the keys of a software statement issuer");
                Fault::Unavailable(Reason::IssuerKeysUnavailable).into()
            }
        })
    }
}

fn unreadable() -> Refusal {
    refused(Reason::SoftwareStatement, "the software statement cannot be read or does not verify")
}

/// A statement may be for everybody; where it names an audience, that is us.
fn check_audience(claims: &Map<String, Value>, audience: &Issuer) -> Result<(), Refusal> {
    let is_ours = |value: &Value| value.as_str() == Some(audience.as_str());
    match claims.get("aud") {
        None => Ok(()),
        Some(Value::Array(list)) if list.iter().any(is_ours) => Ok(()),
        Some(value) if is_ours(value) => Ok(()),
        Some(_) => Err(refused(Reason::SoftwareStatement, "the software statement is for another server")),
    }
}

/// The refusal of a statement.
pub(super) fn refused(reason: Reason, description: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidSoftwareStatement, reason, description)
}

/// A statement may be for ever; where it has dates they count.
fn check_dates(claims: &Map<String, Value>, now: Timestamp) -> Result<(), Refusal> {
    let outside = || refused(Reason::SoftwareStatementDate, "the software statement has expired, or is not valid yet");
    for (name, is_end) in [("exp", true), ("nbf", false), ("iat", false)] {
        let Some(value) = claims.get(name) else { continue };
        let seconds = value.as_i64().ok_or_else(outside)?;
        let counts = match is_end {
            true => now.seconds() < seconds.saturating_add(LEEWAY),
            false => seconds <= now.seconds().saturating_add(LEEWAY),
        };
        if !counts {
            return Err(outside());
        }
    }
    Ok(())
}
