//! Clients that registered themselves: what their registration access tokens are found by (RFC 7592).

use super::engine::read;
use super::work::{NumberedWork, within};
use super::{ClientRecord, Put, PutMode, Store, StoreError};
use crate::domain::{ClientId, Thumbprint, Timestamp};

/// What the keyed hash of a registration access token is for.
const TOKEN: &str = "client_registration.token_index";

/// What became of a client that registers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is registered.
    Now,
    /// There are as many as there may be; nothing was written.
    TooMany,
    /// The name is taken; nothing was written.
    Exists,
}

/// What became of a client's change of its own registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationReplaced {
    /// It is kept, or was so already.
    Now,
    /// The client is gone, or the token is not its own; nothing was written.
    Foreign,
    /// Somebody else changed it first; nothing was written.
    ChangedMeanwhile,
}

/// What is kept of a registration access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrationToken {
    /// When it was issued.
    pub created: Timestamp,
    /// The certificate that it is bound to; none of a bearer token.
    pub certificate: Option<Thumbprint>,
}

impl Store {
    /// Registers a client that holds `token`, bound to this certificate where there is one, in one transaction with its event, unless
    /// there are `most` such clients already.
    pub async fn register_client(
        &self,
        client: &ClientRecord,
        token: &str,
        certificate: Option<Thumbprint>,
        most: u32,
        now: Timestamp,
    ) -> Result<Registered, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let (count,): (i64,) = within!(&mut unit.work, fetch_one: sqlx::query_as(COUNT))?;
        if count >= i64::from(most) {
            return Ok(Registered::TooMany);
        }
        let (put, event) = match self.write_client(&mut unit, client, PutMode::Add, now).await? {
            (Put::Added, Some(event)) => (Registered::Now, event),
            _ => return Ok(Registered::Exists),
        };
        within!(&mut unit.work, execute: sqlx::query(INSERT)
            .bind(client.client_id.as_str())
            .bind(self.index(TOKEN, token.as_bytes()))
            .bind(now.seconds())
            .bind(certificate.map(|certificate| certificate.to_string())))?;
        unit.commit(self, &event).await?;
        Ok(put)
    }

    /// Replaces the registration of the client that holds `token`, if it is `known` still, in one transaction with its event.
    pub async fn replace_registration(
        &self,
        token: &str,
        known: &ClientRecord,
        next: &ClientRecord,
        now: Timestamp,
    ) -> Result<RegistrationReplaced, StoreError> {
        let mut unit = NumberedWork::begin(self).await?;
        let mut is_its_own = false;
        for index in self.indexes(TOKEN, token.as_bytes()) {
            let row: Option<Row> = within!(&mut unit.work, fetch_optional:
                sqlx::query_as(ONE).bind(next.client_id.as_str()).bind(index))?;
            is_its_own |= row.is_some();
        }
        if !is_its_own {
            return Ok(RegistrationReplaced::Foreign);
        }
        if self.client_within(&mut unit, &next.client_id).await?.as_ref() != Some(known) {
            return Ok(RegistrationReplaced::ChangedMeanwhile);
        }
        let (_, event) = self.write_client(&mut unit, next, PutMode::AddOrChange, now).await?;
        if let Some(event) = event {
            unit.commit(self, &event).await?;
        }
        Ok(RegistrationReplaced::Now)
    }

    /// Whether a client registered itself.
    pub async fn is_self_registered(&self, client_id: &ClientId) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = read!(&self.inner.db, fetch_optional: sqlx::query_as(KNOWN).bind(client_id.as_str()))?;
        Ok(row.is_some())
    }

    /// What is known of a token, if it is the registration access token of this client.
    pub async fn registration(&self, client_id: &ClientId, token: &str) -> Result<Option<RegistrationToken>, StoreError> {
        for index in self.indexes(TOKEN, token.as_bytes()) {
            let row: Option<Row> = read!(&self.inner.db, fetch_optional:
                sqlx::query_as(ONE).bind(client_id.as_str()).bind(index))?;
            if let Some((created, certificate)) = row {
                let broken = |_| StoreError::Corrupt(format!("table client_registration: client_id {client_id:?}: certificate"));
                let certificate = certificate.map(|text| text.parse().map_err(broken)).transpose()?;
                return Ok(Some(RegistrationToken { created: Timestamp::from_seconds(created), certificate }));
            }
        }
        Ok(None)
    }
}

/// Forgets the token of a client that is removed.
pub(super) async fn forget(unit: &mut NumberedWork, client_id: &ClientId) -> Result<(), StoreError> {
    within!(&mut unit.work, execute: sqlx::query(DELETE).bind(client_id.as_str()))?;
    Ok(())
}

type Row = (i64, Option<String>);

const COUNT: &str = "SELECT COUNT(*) FROM client_registration";
const INSERT: &str = "INSERT INTO client_registration (client_id, token_index, created, certificate) VALUES ($1, $2, $3, $4)";
const ONE: &str = "SELECT created, certificate FROM client_registration WHERE client_id = $1 AND token_index = $2";
const KNOWN: &str = "SELECT created FROM client_registration WHERE client_id = $1";
const DELETE: &str = "DELETE FROM client_registration WHERE client_id = $1";

#[cfg(test)]
pub(super) const TRIAL: super::trial::Trial = super::trial::Trial {
    table: "client_registration",
    write: |store, mark| {
        Box::pin(async move {
            let client = ClientRecord { client_id: mark.id(), metadata_json: "{}".into(), secret: None };
            let registered = store.register_client(&client, &mark.secret, None, u32::MAX, super::trial::NOW).await;
            assert_eq!(registered.expect("answered"), Registered::Now);
        })
    },
    stands: |store, mark| {
        Box::pin(async move {
            store
                .registration(&mark.id(), &mark.secret)
                .await
                .expect("read")
                .is_some_and(|token| token.created == super::trial::NOW)
                && store.client(&mark.id()).await.expect("read").is_some()
        })
    },
    uses: super::trial::Uses::Many("the registration access token is for reading and changing, as often as the client likes"),
};
