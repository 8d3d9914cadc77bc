//! `private_key_jwt` (RFC 7523 §2.2, OpenID Connect Core §9): the assertion is signed with a registered key.

use serde_json::{Map, Value};

use super::presented::reason_of;
use super::{AssertionRules, failed, invalid_client};
use crate::clients::{Client, ClientKeys, ClientKeysError, Published, RegisteredKeys};
use crate::domain::Clock;
use crate::event::Reason;
use crate::jose::Algorithm;
use crate::jose::jws::Compact;
use crate::oauth::error::Refusal;

/// Verifies the signature; gives the claims.
pub(super) async fn verify(
    assertion: &Compact<'_>,
    client: &Client,
    keys: &Published<RegisteredKeys>,
    algorithm: Option<Algorithm>,
    fetched: &ClientKeys,
    clock: &dyn Clock,
) -> Result<Map<String, Value>, Refusal> {
    AssertionRules::check_header(assertion.header()).map_err(|error| failed(error.reason()))?;
    if algorithm.is_some_and(|registered| registered != assertion.algorithm()) {
        return Err(failed(Reason::AssertionAlgorithm));
    }
    let verified = match keys {
        Published::Here(keys) => keys.verify(assertion).map_err(ClientKeysError::from),
        Published::At(uri) => fetched.verify(&client.client_id, uri, assertion, clock.monotonic()).await,
    };
    match verified {
        Ok(verified) => Ok(verified.claims().clone()),
        Err(ClientKeysError::Jws(problem)) => Err(failed(reason_of(&problem))),
        Err(ClientKeysError::Unavailable(problem)) => {
            tracing::warn!(client_id = %client.client_id, %problem, "cannot fetch the keys of a client");
            Err(invalid_client(Reason::ClientKeysUnavailable, "the keys at the jwks_uri of this client could not be fetched"))
        }
        Err(ClientKeysError::Certificate(problem)) => Err(failed(problem.reason())),
    }
}
