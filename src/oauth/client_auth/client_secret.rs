//! `client_secret_basic` and `client_secret_post` (RFC 6749 §2.3.1), compared in constant time.

use super::invalid_client;
use crate::clients::{SecretHash, Secrets};
use crate::domain::{ClientId, Timestamp};
use crate::oauth::error::Refusal;

pub(super) fn check(
    registered: &Secrets<SecretHash>,
    client_id: &ClientId,
    presented: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    match registered.check(client_id, presented, now) {
        Ok(_) => Ok(()),
        Err(mismatch) => Err(invalid_client(mismatch.reason(), "client authentication failed")),
    }
}
