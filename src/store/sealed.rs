//! What is sealed, and where. Each sealed column is named here once; a value opens only in its own deployment, table, column
//! and row.
//!
//! To add one: a column named `*_sealed` in a migration, [`Store::seal`] and [`Store::unseal`] where it is written and read, the table's
//! trial beside them (`trial.rs`), and a line in `sealed_columns!`. Tests compare the schema with these lists, and from then on the
//! column is resealed after a change of keys, counted by `symbolon keys list`, swapped with every other, and searched for in dumps.

use zeroize::Zeroizing;

use super::{Store, StoreError};
use crate::domain::DeploymentId;
use crate::seal::{MasterKeys, PersonKey, Plaintext, RowContext, SealError};

/// One sealed column.
#[derive(Clone, Copy, Debug)]
pub(super) struct SealedColumn {
    pub(super) table: &'static str,
    pub(super) column: &'static str,
    pub(super) under: Under,
    pub(super) keyed: Keyed,
    pub(super) sql: Statements,
}

/// Whose keys seal a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Under {
    /// The ring's.
    Ring,
    /// The ring's, and within that the key of the person whom the row belongs to, as soon as that is known.
    Person,
    /// The lasting key: for what must open beside older backups of the rest.
    Lasting,
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
    /// A text, never empty: itself names the row. May be an expression, such as `subject || '\n' || client_id`.
    Text,
    /// An integer: its decimal digits name the row.
    Integer,
    /// Bytes, such as a blind index, never empty: [`row_name`] of them names the row.
    Bytes,
}

/// Each line: the keys that seal it, table, column, kind and SQL expression of the row's key, which is unique.
macro_rules! sealed_columns {
    ($(#[$listed:meta])* $list:ident: $($(#[$doc:meta])* $name:ident = $under:ident $table:literal $column:literal by $kind:ident $key:literal;)*) => {
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
            };
        )*
        $(#[$listed])*
        pub(super) static $list: &[SealedColumn] = &[$($name),*];
    };
}

sealed_columns! {
    /// All of them, in the deployment's database.
    SEALED_COLUMNS:
    /// Opens only with the deployment's own master keys.
    CANARY = Master "deployment" "canary_sealed" by Integer "id";
    /// A key of the ring, or the lasting key: 32 bytes.
    WRAPPED_KEY = Master "seal_key" "wrapped_sealed" by Text "id";
    /// An authority of an anchor set: JSON. Not secret, but nobody else's to write. Keys have one length.
    ANCHOR = Ring "anchor" "anchor_sealed" by Text "anchor_set || ' ' || spki";
    /// The private half of a signing key, PKCS #8.
    SIGNING_KEY = Ring "signing_key" "private_sealed" by Text "key_id";
    /// What is kept of a client's secret.
    CLIENT_SECRET = Ring "client_secret" "secret_sealed" by Text "client_id";
    /// What is known of a person: JSON.
    PROFILE = Person "account" "profile_sealed" by Text "subject";
    /// A person's password hash: a PHC string.
    PASSWORD = Person "account" "password_sealed" by Text "subject";
    /// The secret of a person's one-time passwords.
    TOTP = Person "totp" "secret_sealed" by Text "subject";
    /// What a person reads of a certificate that they sign in with.
    ACCOUNT_CERTIFICATE = Person "account_certificate" "label_sealed" by Text "link_id";
    /// A passkey with what its person calls it: JSON.
    PASSKEY = Person "passkey" "credential_sealed" by Text "passkey_id";
    /// What a browser was asked to have signed by a passkey: JSON.
    PASSKEY_CEREMONY = Ring "passkey_ceremony" "state_sealed" by Bytes "ceremony_index";
    /// What a person reads of an account elsewhere that they sign in with.
    LINKED_ACCOUNT = Person "linked_account" "label_sealed" by Text "link_id";
    /// When and how a session's person signed in, and from where: JSON.
    BROWSER_SESSION = Person "browser_session" "state_sealed" by Text "session_id";
    /// What a person at the authorization endpoint has asked for.
    INTERACTION = Person "interaction" "state_sealed" by Bytes "id_index";
    /// A pushed authorization request.
    PUSHED_REQUEST = Ring "pushed_request" "state_sealed" by Bytes "uri_index";
    /// What an authorization code stands for.
    AUTHORIZATION_CODE = Person "authorization_code" "state_sealed" by Bytes "code_index";
    /// What a device asks for.
    DEVICE_REQUEST = Person "device_authorization" "request_sealed" by Bytes "device_index";
    /// What a person has granted a device.
    DEVICE_GRANT = Person "device_authorization" "granted_sealed" by Bytes "device_index";
    /// What a refresh token stands for.
    GRANT_FAMILY = Person "grant_family" "state_sealed" by Text "family_id";
    /// What a person has allowed a client. No subject has a space in it.
    CONSENT = Person "consent" "state_sealed" by Text "subject || ' ' || client_id";
    /// A secret of the deployment that never changes.
    SECRET = Ring "secret" "value_sealed" by Text "name";
}

sealed_columns! {
    /// Those of the database of people's keys.
    PERSON_KEYS_SEALED_COLUMNS:
    /// A person's key, in the database of people's keys.
    PERSON_KEY = Lasting "person_key" "key_sealed" by Text "subject";
}

impl SealedColumn {
    pub(super) fn context<'a>(&'a self, deployment: &'a DeploymentId, row: &'a str) -> RowContext<'a> {
        RowContext { deployment, table: self.table, column: self.column, row }
    }

    /// Whether the value as it stands is the ring's.
    pub(super) fn is_under_the_ring(&self) -> bool {
        matches!(self.under, Under::Ring | Under::Person)
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

/// The name of a row that is found by bytes: they in hexadecimal.
pub(super) fn row_name(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

impl Store {
    pub(super) fn seal(&self, column: &SealedColumn, row: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let context = column.context(&self.inner.deployment, row);
        let ring = &self.inner.ring;
        let sealed = match column.under {
            Under::Lasting => ring.seal_lasting_row(&context, value),
            Under::Ring | Under::Person | Under::Master => ring.seal_row(&context, value),
        };
        sealed.map_err(|problem| column.broken(row, problem))
    }

    pub(super) fn unseal(&self, column: &SealedColumn, row: &str, sealed: &[u8]) -> Result<Plaintext, StoreError> {
        let context = column.context(&self.inner.deployment, row);
        self.inner.ring.open_row(&context, sealed).map_err(|problem| column.broken(row, problem))
    }

    /// Seals data of the person whom the row names: with the person's key, and what comes of that like every other value. Where the row does
    /// not say whose it is: [`Store::seal_of`].
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

    /// Every keyed hash that the value may have been written under.
    pub(super) fn indexes(&self, column: &str, value: &[u8]) -> Vec<Vec<u8>> {
        let indexes = self.inner.ring.blind_indexes(&self.index_purpose(column), value);
        indexes.into_iter().map(Vec::from).collect()
    }

    fn index_purpose(&self, column: &str) -> String {
        format!("{} {column}", self.inner.deployment)
    }
}
