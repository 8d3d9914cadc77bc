//! Every sealed value put into every other sealed column and row of the live schema: none opens there.

use super::personal::{database_of, databases};
use super::reseal::{RowKey, page, put};
use super::sealed::{SealedColumn, Under};
use super::work::Work;
use super::*;

/// A value where it stands.
struct Value {
    column: &'static SealedColumn,
    row: RowKey,
    value: Vec<u8>,
}

/// Every sealed value of a database, by the schema's own word of what there is.
async fn values(store: &Store) -> Vec<Value> {
    let mut found = Vec::new();
    for (db, column) in
        databases(store).into_iter().flat_map(|(db, columns)| columns.iter().map(move |column| (db.clone(), column)))
    {
        // Every value differs in its first byte from one that there is not.
        let rows = page(&db, column, &RowKey::least(column.keyed), &[0], 1_000).await.expect("rows");
        found.extend(rows.into_iter().map(|(row, value)| Value { column, row, value }));
    }
    found
}

/// Opens what stands in the database now.
async fn open(store: &Store, place: &Value) -> Result<(), crate::seal::SealError> {
    let rows = page(&database_of(store, place.column), place.column, &RowKey::least(place.column.keyed), &[0], 1_000)
        .await
        .expect("rows");
    opened(store, place, &rows.iter().find(|(row, _)| *row == place.row).expect("the row is there").1)
}

/// Opens a value as if it stood there.
fn opened(store: &Store, place: &Value, value: &[u8]) -> Result<(), crate::seal::SealError> {
    let name = place.row.name();
    let context = place.column.context(store.deployment(), &name);
    match place.column.under {
        Under::Ring | Under::Person | Under::Lasting => store.ring().open_row(&context, value).map(drop),
        Under::Master => store.master_keys().unwrap(&context, value).map(drop),
    }
}

async fn replace(store: &Store, place: &Value, value: &[u8], instead_of: &[u8]) {
    let mut work = Work::begin(&*database_of(store, place.column)).await.expect("begun");
    let changed = put(&mut work, place.column, &place.row, value, instead_of).await.expect("put");
    assert_eq!(changed, 1, "{}", place.column.name());
    work.commit().await.expect("committed");
}

pub(super) async fn filled(place: &Place) -> Store {
    let store = place.open().await;
    // Two rows where there can be.
    for trial in super::trial::TRIALS {
        for number in 0..2 {
            (trial.write)(&store, &super::trial::Mark::new(format!("swapped-{}-{number}", trial.table))).await;
        }
    }
    store
}

on_both_engines! {
    /// The columns that the schema has are the ones that are listed, and each was filled by real use.
    async fn every_sealed_column_is_listed_and_filled(place: &Place) {
        let store = filled(place).await;
        let mut listed: Vec<(String, String)> = Vec::new();
        for (db, _) in databases(&store) {
            listed.extend(match &*db {
            Db::Sqlite { reader, .. } => sqlx::query_as(
                "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
                 WHERE m.type = 'table' AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND (c.type = 'BLOB' OR c.name LIKE '%\\_sealed' ESCAPE '\\')",
            )
            .fetch_all(reader)
            .await,
            Db::Postgres(pool) => sqlx::query_as(
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name NOT LIKE '\\_%' AND (data_type = 'bytea' OR column_name LIKE '%\\_sealed')",
            )
            .fetch_all(pool)
            .await,
            }
            .expect("columns"));
        }
        let sealed: BTreeSet<String> = listed
            .into_iter()
            .filter(|(_, column)| !column.ends_with("_index"))
            .map(|(table, column)| {
                assert!(column.ends_with("_sealed"), "{table}.{column}: bytes are sealed (`*_sealed`) or a keyed hash (`*_index`)");
                format!("{table}.{column}")
            })
            .collect();
        let known: BTreeSet<String> = databases(&store).into_iter().flat_map(|(_, columns)| columns).map(SealedColumn::name).collect();
        assert_eq!(sealed, known, "the schema, and `sealed_columns!` in src/store/sealed.rs");
        let filled: BTreeSet<String> = values(&store).await.iter().map(|place| place.column.name()).collect();
        assert_eq!(filled, known, "columns that trials filled, and all");
    }

    async fn no_value_opens_in_another_place(place: &Place) {
        let store = filled(place).await;
        let places = values(&store).await;
        let mut swaps = 0;
        for target in &places {
            open(&store, target).await.expect("opens where it belongs");
            let mut stands = &target.value;
            for (index, source) in places.iter().enumerate().filter(|(_, source)| source.value != target.value) {
                let what = format!("{} {:?} in {} {:?}", source.column.name(), source.row, target.column.name(), target.row);
                assert!(opened(&store, target, &source.value).is_err(), "{what}");
                // In the database itself: one of each other column, and all of its own.
                let first = !places[..index].iter().any(|earlier| earlier.column.name() == source.column.name());
                if first || source.column.name() == target.column.name() {
                    replace(&store, target, &source.value, stands).await;
                    stands = &source.value;
                    assert!(open(&store, target).await.is_err(), "{what}");
                    swaps += 1;
                }
            }
            replace(&store, target, &target.value, stands).await;
            // The same column, a row of another name.
            let name = format!("{}x", target.row.name());
            let context = target.column.context(store.deployment(), &name);
            assert!(store.ring().open_row(&context, &target.value).is_err(), "{}", target.column.name());
            assert!(store.master_keys().unwrap(&context, &target.value).is_err(), "{}", target.column.name());
            open(&store, target).await.expect("put back");
        }
        assert!(swaps >= places.len() * (sealed::SEALED_COLUMNS.len() - 1), "{swaps} swaps of {} values", places.len());
    }

    /// Another deployment with the same master keys, as when a configuration was copied.
    async fn no_value_opens_in_another_deployment(place: &Place) {
        let store = filled(place).await;
        let elsewhere = Place::sqlite();
        let other = filled(&elsewhere).await;
        let (places, others) = tokio::join!(values(&store), values(&other));
        for target in &places {
            let name = target.row.name();
            let context = target.column.context(store.deployment(), &name);
            let same_column = others.iter().filter(|source| source.column.name() == target.column.name());
            for source in same_column {
                assert!(store.ring().open_row(&context, &source.value).is_err(), "{}", target.column.name());
                assert!(store.master_keys().unwrap(&context, &source.value).is_err(), "{}", target.column.name());
            }
        }
    }

    /// What travels does not open as a row, nor a row as what travels, even with its kind rewritten.
    async fn rows_and_bearers_are_strangers(place: &Place) {
        use crate::jose::base64url;
        use crate::seal::{BearerContext, Purpose};
        let store = filled(place).await;
        let contexts = [Purpose::AccessToken, Purpose::RefreshToken]
            .map(|purpose| BearerContext { purpose, issuer: "https://as.example" });
        let bearers = contexts.map(|context| {
            (context, store.ring().seal_bearer(&context, "", NOW, &[7; 64]).expect("sealed"))
        });
        for (context, bearer) in &bearers {
            for (other, text) in &bearers {
                assert_eq!(store.ring().open_bearer(context, text).is_ok(), context.purpose == other.purpose);
            }
            for target in values(&store).await {
                let name = target.row.name();
                let row = target.column.context(store.deployment(), &name);
                for kind in 1..=3 {
                    let mut as_row = base64url::decode(bearer).expect("base64url");
                    as_row[1] = kind;
                    assert!(store.ring().open_row(&row, &as_row).is_err() && store.master_keys().unwrap(&row, &as_row).is_err());
                    let mut as_bearer = target.value.clone();
                    as_bearer[1] = kind;
                    assert!(store.ring().open_bearer(context, &base64url::encode(&as_bearer)).is_err());
                }
            }
        }
    }
}
