//! What goes by itself: rows that nothing alive can need any more.

use super::{Store, StoreError};
use crate::domain::{Lifetime, Timestamp};

/// Changes that are kept for readers of the feed that come late; who comes later still reads everything anew.
const KEEP_CHANGES: u32 = 100_000;
/// How long events that were copied to the audit trail stay in the database.
const KEEP_RELAYED: Lifetime = Lifetime::from_seconds(7 * 86_400);

/// Kinds of rows that go.
const KINDS: usize = 11;

impl Store {
    /// Deletes at most `batch` rows of every kind that ends at a time, so that no writer waits long; gives how many of each. Sessions end with a
    /// word to those concerned, and elsewhere ([`Store::end_expired_sessions`]).
    pub async fn delete_expired(&self, now: Timestamp, batch: u32) -> Result<[u64; KINDS], StoreError> {
        Ok([
            self.delete_expired_rules(now, batch).await?,
            self.delete_expired_claims(now, batch).await?,
            self.delete_expired_interactions(now, batch).await?,
            self.delete_expired_pushed_requests(now, batch).await?,
            self.delete_expired_device_authorizations(now, batch).await?,
            self.delete_expired_passkey_ceremonies(now, batch).await?,
            self.delete_expired_codes(now, batch).await?,
            self.delete_expired_families(now, batch).await?,
            self.forget_certificates(now, batch).await?,
            self.delete_relayed_events(now.minus(KEEP_RELAYED), batch).await?,
            self.forget_changes(KEEP_CHANGES, batch).await?,
        ])
    }
}
