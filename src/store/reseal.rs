//! Resealing: what older ring keys sealed is sealed again with the one that seals now, a few rows at a time.
//!
//! A row changes only if what was read still stands there, so that neither a writer nor another replica that does the same is
//! overwritten. Each batch is one transaction: a process that dies in the middle leaves rows that were resealed and rows that were not,
//! and both open.

use std::collections::BTreeMap;

use super::engine::{Db, read};
use super::personal::is_of_person;
use super::seal_key::{SETTLE, SealKeyState};
use super::sealed::{Keyed, SEALED_COLUMNS, SealedColumn, Under, row_name};
use super::work::{Work, within};
use super::{Store, StoreError, consent};
use crate::domain::Timestamp;
use crate::seal::{ROW_PREFIX_LENGTH, SealKeyId, row_key_id};

/// Rows that are resealed in one transaction.
const BATCH: i64 = 64;

/// The key of a row, in the order of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowKey {
    Text(String),
    Integer(i64),
    Bytes(Vec<u8>),
}

impl RowKey {
    /// Less than the key of any row.
    pub(super) fn least(keyed: Keyed) -> Self {
        match keyed {
            Keyed::Text => Self::Text(String::new()),
            Keyed::Integer => Self::Integer(i64::MIN),
            Keyed::Bytes => Self::Bytes(Vec::new()),
        }
    }

    /// The row's name, as values are sealed for it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Bytes(bytes) => row_name(bytes),
        }
    }
}

/// At most `limit` rows after `after` whose value does not begin with `prefix`.
pub(super) async fn page(
    db: &Db,
    column: &SealedColumn,
    after: &RowKey,
    prefix: &[u8],
    limit: i64,
) -> Result<Vec<(RowKey, Vec<u8>)>, StoreError> {
    let length = prefix_length(prefix.len());
    macro_rules! rows {
        ($after:expr, $kind:ident, $key:ty) => {{
            let rows: Vec<($key, Vec<u8>)> = read!(db, fetch_all: sqlx::query_as(column.sql.page)
                    .bind($after).bind(length).bind(prefix).bind(limit))?;
            rows.into_iter().map(|(key, value)| (RowKey::$kind(key), value)).collect()
        }};
    }
    Ok(match after {
        RowKey::Text(after) => rows!(after, Text, String),
        RowKey::Integer(after) => rows!(after, Integer, i64),
        RowKey::Bytes(after) => rows!(after, Bytes, Vec<u8>),
    })
}

/// Puts a value into a row if the other one still stands there; gives how many rows changed.
pub(super) async fn put(
    work: &mut Work,
    column: &SealedColumn,
    row: &RowKey,
    value: &[u8],
    instead_of: &[u8],
) -> Result<u64, StoreError> {
    let statement = column.sql.put;
    Ok(match row {
        RowKey::Text(key) => within!(work, execute: sqlx::query(statement).bind(value).bind(key).bind(instead_of))?,
        RowKey::Integer(key) => within!(work, execute: sqlx::query(statement).bind(value).bind(key).bind(instead_of))?,
        RowKey::Bytes(key) => within!(work, execute: sqlx::query(statement).bind(value).bind(key).bind(instead_of))?,
    })
}

/// The engines' lengths of bytes are small integers.
fn prefix_length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// One walk over every column that the ring seals.
#[derive(Debug)]
pub struct Pass {
    begun: Timestamp,
    prefix: Vec<u8>,
    columns: std::vec::IntoIter<&'static SealedColumn>,
    place: Option<(&'static SealedColumn, RowKey)>,
}

impl Pass {
    /// When it began.
    pub fn begun(&self) -> Timestamp {
        self.begun
    }
}

/// What a step of a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Rows that are now under the key that seals.
    pub rows: u64,
    /// Rows that do not open and were left as they are.
    pub broken: u64,
    /// Whether the pass is over.
    pub finished: bool,
}

impl Store {
    /// How many rows there are under each ring key.
    pub async fn sealed_rows(&self) -> Result<BTreeMap<SealKeyId, u64>, StoreError> {
        let mut rows = BTreeMap::new();
        for column in SEALED_COLUMNS.iter().filter(|column| column.is_under_the_ring()) {
            let length = prefix_length(ROW_PREFIX_LENGTH);
            let counts: Vec<(Vec<u8>, i64)> = read!(&self.inner.db, fetch_all: sqlx::query_as(column.sql.count).bind(length))?;
            for (prefix, count) in counts {
                let id = row_key_id(&prefix)
                    .ok_or_else(|| StoreError::Corrupt(format!("{}: a value that is not sealed", column.name())))?;
                *rows.entry(id).or_default() += u64::try_from(count).unwrap_or_default();
            }
        }
        Ok(rows)
    }

    /// How many rows there are under other keys than the one that seals now.
    pub async fn rows_behind(&self) -> Result<u64, StoreError> {
        let active = self.inner.ring.active_key_id();
        Ok(self.sealed_rows().await?.into_iter().filter(|(id, _)| *id != active).map(|(_, rows)| rows).sum())
    }

    /// Begins a walk over every sealed column.
    pub fn begin_pass(&self, now: Timestamp) -> Pass {
        let columns: Vec<_> = SEALED_COLUMNS.iter().filter(|column| column.is_under_the_ring()).collect();
        Pass { begun: now, prefix: self.inner.ring.row_prefix(), columns: columns.into_iter(), place: None }
    }

    /// Reseals the next few rows. After an error the same step may be tried again.
    pub async fn step_pass(&self, pass: &mut Pass) -> Result<Resealed, StoreError> {
        if pass.place.is_none() {
            pass.place = pass.columns.next().map(|column| (column, RowKey::least(column.keyed)));
        }
        let Some((column, after)) = &pass.place else { return Ok(Resealed { finished: true, ..Resealed::default() }) };
        let column = *column;
        let rows = page(&self.inner.db, column, after, &pass.prefix, BATCH).await?;
        let Some((last, _)) = rows.last() else {
            pass.place = None;
            return Ok(Resealed::default());
        };
        let last = last.clone();
        let mut done = Resealed::default();
        let mut fresh = Vec::with_capacity(rows.len());
        for (row, sealed) in &rows {
            let name = row.name();
            match self.unseal(column, &name, sealed) {
                Ok(value) => fresh.push((row, self.renewed(column, &name, &value).await?, sealed)),
                Err(problem) => {
                    tracing::error!(%problem, "a sealed value cannot be resealed and is left as it is");
                    done.broken += 1;
                }
            }
        }
        let mut work = Work::begin(self).await?;
        for (row, value, sealed) in fresh {
            // None when it was written or deleted meanwhile: then it is not ours to change.
            done.rows += put(&mut work, column, row, &value, sealed).await?;
        }
        work.commit().await?;
        pass.place = Some((column, last));
        Ok(done)
    }

    /// Seals anew what was opened: as it is, but for what an earlier version sealed without the key of the person whom it belongs to. What lives
    /// for minutes stays as it is.
    async fn renewed(&self, column: &SealedColumn, row: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        if column.under == Under::Person && !is_of_person(value) {
            let subject = match column.table {
                "grant_family" => self.owner_of_family(row).await?.map(|owner| owner.subject),
                "consent" => consent::subject_of_row(row),
                _ => None,
            };
            let person = match subject {
                Some(subject) => self.person(&subject).await?,
                None => None,
            };
            if person.is_some() {
                return self.seal_of(person.as_ref(), column, row, value);
            }
        }
        self.seal(column, row, value)
    }

    /// After a pass: notes which retired keys have no row left. Only those count that nobody sealed with any more when the pass began.
    pub async fn finish_pass(&self, pass: &Pass, now: Timestamp) -> Result<(), StoreError> {
        let rows = self.sealed_rows().await?;
        for key in self.seal_keys().await? {
            let settled = key.retired.is_some_and(|retired| retired.plus(SETTLE) <= pass.begun);
            if settled && key.state(now) == SealKeyState::Retired && key.resealed.is_none() && !rows.contains_key(&key.id) {
                self.mark_resealed(&key.id, now).await?;
            }
        }
        Ok(())
    }
}
