//! `client_secret_jwt` (RFC 7523 §2.2, OpenID Connect Core §9): the assertion is authenticated with a secret of the client.

use serde_json::{Map, Value};

use super::presented::reason_of;
use super::{AssertionRules, failed};
use crate::clients::{Secrets, SharedSecret};
use crate::domain::Timestamp;
use crate::event::Reason;
use crate::jose::mac::{MacAlgorithm, MacCompact};
use crate::oauth::error::Refusal;

/// Verifies the code; gives the claims.
pub(super) fn verify(
    assertion: &MacCompact<'_>,
    secrets: &Secrets<SharedSecret>,
    algorithm: Option<MacAlgorithm>,
    now: Timestamp,
) -> Result<Map<String, Value>, Refusal> {
    AssertionRules::check_header(assertion.header()).map_err(|error| failed(error.reason()))?;
    if algorithm.is_some_and(|registered| registered != assertion.algorithm()) {
        return Err(failed(Reason::AssertionAlgorithm));
    }
    let mut outcome = Err(failed(Reason::AssertionSignature));
    for secret in secrets.live(now) {
        outcome = assertion.verify(secret.expose()).map_err(|problem| failed(reason_of(&problem)));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}
