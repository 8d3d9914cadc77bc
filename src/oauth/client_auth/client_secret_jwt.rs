//! `client_secret_jwt` (RFC 7523 §2.2, OpenID Connect Core §9): the assertion is authenticated with the client's secret.

use serde_json::{Map, Value};

use super::presented::reason_of;
use super::{AssertionRules, failed};
use crate::clients::SharedSecret;
use crate::event::Reason;
use crate::jose::mac::{MacAlgorithm, MacCompact};
use crate::oauth::error::Refusal;

/// Verifies the code; gives the claims.
pub(super) fn verify(
    assertion: &MacCompact<'_>,
    secret: &SharedSecret,
    algorithm: Option<MacAlgorithm>,
) -> Result<Map<String, Value>, Refusal> {
    AssertionRules::check_header(assertion.header()).map_err(|error| failed(error.reason()))?;
    if algorithm.is_some_and(|registered| registered != assertion.algorithm()) {
        return Err(failed(Reason::AssertionAlgorithm));
    }
    assertion.verify(secret.expose()).map_err(|problem| failed(reason_of(&problem)))
}
