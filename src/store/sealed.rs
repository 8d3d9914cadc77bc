//! What is sealed, and where. Each sealed column is named here once; a value opens only in its own deployment, table, column
//! and row.
//!
//! To add one: a column named `*_sealed` in a migration, [`Store::seal`] and [`Store::unseal`] where it is written and read, beside them a
//! `sample` for tests that writes a few rows by real use, and a line in `sealed_columns!`. Tests compare the schema with that list, and
//! from then on the column is resealed after a change of keys, counted by `symbolon keys list`, and swapped with every other.

use zeroize::Zeroizing;

use super::{Store, StoreError};
use crate::domain::DeploymentId;
use crate::seal::{MasterKeys, RowContext, SealError};

/// One sealed column.
#[derive(Clone, Copy, Debug)]
pub(super) struct SealedColumn {
    pub(super) table: &'static str,
    pub(super) column: &'static str,
    pub(super) under: Under,
    pub(super) keyed: Keyed,
    pub(super) sql: Statements,
    #[cfg(test)]
    pub(super) sample: Sample,
}

/// Writes rows with a value in the column by real use, as many as that allows.
#[cfg(test)]
pub(super) type Sample = for<'a> fn(&'a Store) -> futures_util::future::BoxFuture<'a, ()>;

/// Whose keys seal a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Under {
    /// The ring's.
    Ring,
    /// The master keys.
    Master,
}

/// What is asked of every sealed column alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statements {
    /// Rows after key $1 whose first $2 bytes are not $3, at most $4: key and value.
    pub(super) page: &'static str,
    /// Puts value $1 into row $2 if $3 still stands there.
    pub(super) put: &'static str,
    /// How many rows there are of each first $1 bytes.
    pub(super) count: &'static str,
}

/// What a table's rows are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyed {
    /// A text, never empty: itself names the row.
    Text,
    /// An integer: its decimal digits name the row.
    Integer,
    /// Bytes, such as a blind index, never empty: their base64url names the row.
    #[allow(dead_code, reason = "for rows that are found by a blind index alone")]
    Bytes,
}

/// Each line: the keys that seal it, table, column, kind and SQL expression of the row's key, which is unique, and the sample.
macro_rules! sealed_columns {
    ($($(#[$doc:meta])* $name:ident = $under:ident $table:literal $column:literal by $kind:ident $key:literal, $sample:path;)*) => {
        $(
            $(#[$doc])*
            pub(super) const $name: SealedColumn = SealedColumn {
                table: $table,
                column: $column,
                under: Under::$under,
                keyed: Keyed::$kind,
                sql: Statements {
                    page: concat!("SELECT ", $key, ", ", $column, " FROM ", $table, " WHERE ", $key, " > $1 AND substr(", $column,
                        ", 1, $2) <> $3 ORDER BY 1 LIMIT $4"),
                    put: concat!("UPDATE ", $table, " SET ", $column, " = $1 WHERE ", $key, " = $2 AND ", $column, " = $3"),
                    count: concat!("SELECT substr(", $column, ", 1, $1), COUNT(*) FROM ", $table, " WHERE ", $column,
                        " IS NOT NULL GROUP BY 1"),
                },
                #[cfg(test)]
                sample: $sample,
            };
        )*
        /// All of them.
        pub(super) static SEALED_COLUMNS: &[SealedColumn] = &[$($name),*];
    };
}

sealed_columns! {
    /// Opens only with the deployment's own master keys.
    CANARY = Master "deployment" "canary_sealed" by Integer "id", super::sample;
    /// A key of the ring, or the index key: 32 bytes.
    WRAPPED_KEY = Master "seal_key" "wrapped_sealed" by Text "id", super::seal_key::sample;
    /// The private half of a signing key, PKCS #8.
    SIGNING_KEY = Ring "signing_key" "private_sealed" by Text "key_id", super::signing_key::sample;
}

impl SealedColumn {
    pub(super) fn context<'a>(&'a self, deployment: &'a DeploymentId, row: &'a str) -> RowContext<'a> {
        RowContext { deployment, table: self.table, column: self.column, row }
    }

    /// `table.column`.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.table, self.column)
    }

    pub(super) fn broken(&self, row: &str, problem: SealError) -> StoreError {
        StoreError::Seal { column: self.name(), row: row.to_owned(), problem }
    }

    /// Wraps a value that is under the master keys.
    pub(super) fn wrap(
        &self,
        masters: &MasterKeys,
        deployment: &DeploymentId,
        row: &str,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        masters.wrap(&self.context(deployment, row), value).map_err(|problem| self.broken(row, problem))
    }
}

impl Store {
    pub(super) fn seal(&self, column: &SealedColumn, row: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let context = column.context(&self.inner.deployment, row);
        self.inner.ring.seal_row(&context, value).map_err(|problem| column.broken(row, problem))
    }

    pub(super) fn unseal(&self, column: &SealedColumn, row: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let context = column.context(&self.inner.deployment, row);
        self.inner.ring.open_row(&context, sealed).map_err(|problem| column.broken(row, problem))
    }
}
