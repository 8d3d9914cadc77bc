//! Software statements (RFC 7591 §2.3): what somebody who is trusted says of a piece of software. Whoever registers it cannot say otherwise.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::client_auth::AssertionRules;
use super::error::{ErrorCode, Refusal};
use crate::clients::RegisteredKeys;
use crate::config::settings::SoftwareStatementIssuerSettings;
use crate::domain::{Issuer, Timestamp};
use crate::event::Reason;
use crate::jose::json;
use crate::jose::jwk::JwkSet;
use crate::jose::jws::Compact;

/// The member.
pub(super) const MEMBER: &str = "software_statement";
/// By how many seconds clocks may differ.
const LEEWAY: i64 = 60;

/// Whose software statements are taken, by `iss`.
#[derive(Debug, Default)]
pub struct SoftwareStatements(HashMap<String, RegisteredKeys>);

/// Why an issuer cannot be configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftwareStatementError {
    /// No name, or one that another has.
    #[error("software_statement_issuer: `{0}` must be there, and once")]
    Name(String),
    /// Its keys cannot be read.
    #[error("software_statement_issuer: `{0}`: jwks_file: {1}")]
    Keys(String, String),
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
            let broken = |problem: String| SoftwareStatementError::Keys(written.issuer.clone(), problem);
            let text = read(&written.jwks_file).map_err(|problem| broken(problem.to_string()))?;
            let set = JwkSet::from_json(&text).map_err(|problem| broken(problem.to_string()))?;
            let keys =
                RegisteredKeys::of(set).ok_or_else(|| broken("a JWK Set with keys that verify signatures is wanted".into()))?;
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

    /// What a statement says, if it is to be believed.
    ///
    /// # Errors
    /// `invalid_software_statement`, or `unapproved_software_statement` where nobody trusts whoever made it (RFC 7591 §3.2.2).
    pub(super) fn read(&self, text: &str, audience: &Issuer, now: Timestamp) -> Result<Map<String, Value>, Refusal> {
        let invalid = |reason| refused(reason, "the software statement cannot be read or does not verify");
        let statement = Compact::parse(text).map_err(|_| invalid(Reason::SoftwareStatement))?;
        AssertionRules::check_header(statement.header()).map_err(|_| invalid(Reason::SoftwareStatement))?;
        let unverified = json::parse_object(statement.unverified_payload()).map_err(|_| invalid(Reason::SoftwareStatement))?;
        let issuer = unverified.get("iss").and_then(Value::as_str).ok_or_else(|| invalid(Reason::SoftwareStatement))?;
        let keys = self.0.get(issuer).ok_or_else(|| {
            let description = "whoever made the software statement is not trusted here";
            Refusal::new(ErrorCode::UnapprovedSoftwareStatement, Reason::SoftwareStatementIssuer, description)
        })?;
        let verified = keys.verify(&statement).map_err(|_| invalid(Reason::SoftwareStatement))?;
        check_dates(verified.claims(), now)?;
        let is_ours = |value: &Value| value.as_str() == Some(audience.as_str());
        match verified.claims().get("aud") {
            None => {}
            Some(Value::Array(list)) if list.iter().any(is_ours) => {}
            Some(value) if is_ours(value) => {}
            Some(_) => return Err(refused(Reason::SoftwareStatement, "the software statement is for another server")),
        }
        Ok(verified.claims().clone())
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
