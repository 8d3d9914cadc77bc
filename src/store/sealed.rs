//! What is sealed, and where. Each sealed column is named here once; a value opens only in its own deployment, table, column
//! and row.

use zeroize::Zeroizing;

use super::{Store, StoreError};
use crate::domain::DeploymentId;
use crate::seal::{KeyRing, PersonKey, RowContext};

/// One sealed column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SealedColumn {
    pub(super) table: &'static str,
    pub(super) column: &'static str,
}

/// Opens only with the deployment's own master keys.
pub(super) const CANARY: SealedColumn = SealedColumn { table: "deployment", column: "canary_sealed" };
/// The private half of a signing key, PKCS #8.
pub(super) const SIGNING_KEY: SealedColumn = SealedColumn { table: "signing_key", column: "private_sealed" };
/// What is known of a person: JSON, sealed with the person's key.
pub(super) const PROFILE: SealedColumn = SealedColumn { table: "account", column: "profile_sealed" };
/// A person's password hash: a PHC string, sealed with the person's key.
pub(super) const PASSWORD: SealedColumn = SealedColumn { table: "account", column: "password_sealed" };
/// When and how a session's person signed in, and from where: JSON, sealed with the person's key.
pub(super) const BROWSER_SESSION: SealedColumn = SealedColumn { table: "browser_session", column: "state_sealed" };
/// A person's key, in the database of people's keys.
pub(super) const PERSON_KEY: SealedColumn = SealedColumn { table: "person_key", column: "key_sealed" };

/// What a person at the authorization endpoint has asked for.
pub(super) const INTERACTION: SealedColumn = SealedColumn { table: "interaction", column: "state_sealed" };
/// A pushed authorization request.
pub(super) const PUSHED_REQUEST: SealedColumn = SealedColumn { table: "pushed_request", column: "state_sealed" };
/// What an authorization code stands for.
pub(super) const AUTHORIZATION_CODE: SealedColumn = SealedColumn { table: "authorization_code", column: "state_sealed" };
/// What a refresh token stands for.
pub(super) const GRANT_FAMILY: SealedColumn = SealedColumn { table: "grant_family", column: "state_sealed" };
/// What a person has allowed a client.
pub(super) const CONSENT: SealedColumn = SealedColumn { table: "consent", column: "state_sealed" };

/// A secret of the deployment that never changes.
pub(super) const SECRET: SealedColumn = SealedColumn { table: "secret", column: "value_sealed" };

/// All of them: a test compares this list with the schema.
#[cfg(test)]
pub(super) const SEALED_COLUMNS: &[SealedColumn] = &[
    CANARY,
    SIGNING_KEY,
    PROFILE,
    PASSWORD,
    BROWSER_SESSION,
    INTERACTION,
    PUSHED_REQUEST,
    AUTHORIZATION_CODE,
    GRANT_FAMILY,
    CONSENT,
    SECRET,
];
/// Those of the database of people's keys.
#[cfg(test)]
pub(super) const PERSON_KEYS_SEALED_COLUMNS: &[SealedColumn] = &[PERSON_KEY];

impl SealedColumn {
    pub(super) fn context<'a>(&'a self, deployment: &'a DeploymentId, row: &'a str) -> RowContext<'a> {
        RowContext { deployment, table: self.table, column: self.column, row }
    }

    pub(super) fn seal(&self, ring: &KeyRing, deployment: &DeploymentId, row: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        ring.seal_row(&self.context(deployment, row), value).map_err(|problem| self.broken(row, problem))
    }

    fn broken(&self, row: &str, problem: crate::seal::SealError) -> StoreError {
        StoreError::Seal { column: format!("{}.{}", self.table, self.column), row: row.to_owned(), problem }
    }
}

/// The name of a row whose key is a keyed hash, for its seal: the hash in hexadecimal.
pub(super) fn row_name(index: &[u8]) -> String {
    use std::fmt::Write as _;
    index.iter().fold(String::with_capacity(index.len() * 2), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

impl Store {
    pub(super) fn seal(&self, column: &SealedColumn, row: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        column.seal(&self.inner.ring, &self.inner.deployment, row, value)
    }

    pub(super) fn unseal(&self, column: &SealedColumn, row: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let context = column.context(&self.inner.deployment, row);
        self.inner.ring.open_row(&context, sealed).map_err(|problem| column.broken(row, problem))
    }

    /// Seals a person's data: with the person's key, and what comes of that like every other value.
    pub(super) fn seal_for(
        &self,
        key: &PersonKey,
        column: &SealedColumn,
        row: &str,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let context = column.context(&self.inner.deployment, row);
        let sealed = key.seal(&context, value).map_err(|problem| column.broken(row, problem))?;
        self.seal(column, row, &sealed)
    }

    /// Opens what [`Store::seal_for`] sealed.
    pub(super) fn unseal_for(
        &self,
        key: &PersonKey,
        column: &SealedColumn,
        row: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let context = column.context(&self.inner.deployment, row);
        let opened = self.unseal(column, row, sealed)?;
        key.open(&context, &opened).map_err(|problem| column.broken(row, problem))
    }

    /// The keyed hash that a value is found by, for `column` of this deployment alone. To be written; for looking up there is
    /// [`Store::indexes`].
    pub(super) fn index(&self, column: &str, value: &[u8]) -> Vec<u8> {
        self.inner.ring.blind_index(&self.index_purpose(column), value).to_vec()
    }

    /// Every keyed hash that the value may have been written under, one for each master key.
    pub(super) fn indexes(&self, column: &str, value: &[u8]) -> Vec<Vec<u8>> {
        let indexes = self.inner.ring.blind_indexes(&self.index_purpose(column), value);
        indexes.into_iter().map(Vec::from).collect()
    }

    fn index_purpose(&self, column: &str) -> String {
        format!("{} {column}", self.inner.deployment)
    }
}
