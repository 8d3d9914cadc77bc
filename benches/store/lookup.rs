//! What is looked up by a name or a keyed hash, among few rows and among many.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use sqlx::QueryBuilder;
use symbolon::domain::{FamilyId, RandomnessUnavailable};
use symbolon::seal::RowContext;
use symbolon::store::{Claimed, Store};

use crate::Options;
use crate::engine::{self, Engine, LATER, NOW, Place, Raw};
use crate::report::{Row, Spread, Unit};

/// Rows of the small case.
const FEW: u32 = 1_000;
/// Rows that are inserted by one statement, and statements in one transaction.
const CHUNK: usize = 500;
/// Rows that are sealed and looked up, if there are so many; the others are as long, stand between them, and are made by the engine itself.
const SEALED: u32 = 20_000;
/// Look-ups between two readings of the clock: one. In a round, each kind so often in each database.
const TRIES: usize = 400;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Code,
    RefreshToken,
    PushedRequest,
    Proof,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Code, Self::RefreshToken, Self::PushedRequest, Self::Proof];

    /// The word for it on the command line.
    const fn word(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::RefreshToken => "refresh",
            Self::PushedRequest => "pushed",
            Self::Proof => "proof",
        }
    }

    /// Fills its table with rows $1 to $2 of $3 whose keys ascend, spread over all that there can be.
    const fn filler(self, engine: Engine) -> &'static str {
        match (engine, self) {
            (Engine::Sqlite, Self::Code) => {
                "WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2) \
                 INSERT INTO authorization_code (code_index, family_id, state_sealed, expires) \
                 SELECT unhex(printf('%08x', i * 4294967296 / $3) || hex(randomblob(28))), printf('%010d', i) || 'fill', randomblob(270), 1900000000 FROM n"
            }
            (Engine::Sqlite, Self::RefreshToken) => {
                "WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2) \
                 INSERT INTO grant_family (family_id, client_id, subject, state_sealed, generation, rotated, created, expires) \
                 SELECT printf('%019d', i * (9223372036854775807 / $3)) || 'f', 'bench', 'bench', randomblob(270), 1, 0, 0, 1900000000 FROM n"
            }
            (Engine::Sqlite, Self::PushedRequest) => {
                "WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2) \
                 INSERT INTO pushed_request (uri_index, state_sealed, expires) \
                 SELECT unhex(printf('%08x', i * 4294967296 / $3) || hex(randomblob(28))), randomblob(270), 1900000000 FROM n"
            }
            (Engine::Sqlite, Self::Proof) => {
                "WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2) \
                 INSERT INTO replay (key_index, until) \
                 SELECT unhex(printf('%08x', i * 4294967296 / $3) || hex(randomblob(28))), 1900000000 FROM n"
            }
            (Engine::Postgres, Self::Code) => {
                "INSERT INTO authorization_code (code_index, family_id, state_sealed, expires) \
                 SELECT decode(lpad(to_hex(i * 4294967296 / $3), 8, '0') || substr(repeat(md5(CAST(i AS TEXT)), 2), 1, 56), 'hex'), \
                 lpad(CAST(i AS TEXT), 10, '0') || 'fill', decode(repeat(md5(CAST(i AS TEXT)), 17), 'hex'), 1900000000 \
                 FROM generate_series(CAST($1 AS BIGINT), CAST($2 AS BIGINT) - 1) AS i"
            }
            (Engine::Postgres, Self::RefreshToken) => {
                "INSERT INTO grant_family (family_id, client_id, subject, state_sealed, generation, rotated, created, expires) \
                 SELECT lpad(CAST(i * (9223372036854775807 / $3) AS TEXT), 19, '0') || 'f', 'bench', 'bench', \
                 decode(repeat(md5(CAST(i AS TEXT)), 17), 'hex'), 1, 0, 0, 1900000000 \
                 FROM generate_series(CAST($1 AS BIGINT), CAST($2 AS BIGINT) - 1) AS i"
            }
            (Engine::Postgres, Self::PushedRequest) => {
                "INSERT INTO pushed_request (uri_index, state_sealed, expires) \
                 SELECT decode(lpad(to_hex(i * 4294967296 / $3), 8, '0') || substr(repeat(md5(CAST(i AS TEXT)), 2), 1, 56), 'hex'), \
                 decode(repeat(md5(CAST(i AS TEXT)), 17), 'hex'), 1900000000 \
                 FROM generate_series(CAST($1 AS BIGINT), CAST($2 AS BIGINT) - 1) AS i"
            }
            (Engine::Postgres, Self::Proof) => {
                "INSERT INTO replay (key_index, until) \
                 SELECT decode(lpad(to_hex(i * 4294967296 / $3), 8, '0') || substr(repeat(md5(CAST(i AS TEXT)), 2), 1, 56), 'hex'), 1900000000 \
                 FROM generate_series(CAST($1 AS BIGINT), CAST($2 AS BIGINT) - 1) AS i"
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::RefreshToken => "refresh token",
            Self::PushedRequest => "pushed request",
            Self::Proof => "proof seen before",
        }
    }
}

/// The name of one row of a kind. It is guessable, which nothing here depends on.
fn name(number: u32) -> String {
    format!("{:020}", u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A row as it is inserted: its key, as text or bytes, and its sealed state.
struct Filled {
    index: [u8; 32],
    number: u32,
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Rows that the engine makes by itself, as long as those that are sealed: a million in a transaction.
async fn pad(raw: &Raw, engine: Engine, kind: Kind, rows: u32) -> anyhow::Result<()> {
    let (rows, mut from) = (i64::from(rows), 0);
    while from < rows {
        let to = rows.min(from + 1_000_000);
        match raw {
            Raw::Sqlite(pool) => sqlx::query(kind.filler(engine)).bind(from).bind(to).bind(rows).execute(pool).await.map(drop),
            Raw::Postgres(pool) => sqlx::query(kind.filler(engine)).bind(from).bind(to).bind(rows).execute(pool).await.map(drop),
        }
        .with_context(|| kind.filler(engine))?;
        from = to;
    }
    Ok(())
}

/// Rows sealed as the store seals them: what is found must open.
async fn fill(place: &Place, raw: &Raw, kind: Kind, rows: u32) -> anyhow::Result<()> {
    let (store, state) = (&place.store, [b'x'; 200]);
    let (table, purpose) = match kind {
        Kind::Code => ("authorization_code", "authorization_code"),
        Kind::RefreshToken => ("grant_family", ""),
        Kind::PushedRequest => ("pushed_request", "request_uri"),
        Kind::Proof => ("replay", "bench"),
    };
    let mut all: Vec<Filled> =
        (0..rows).map(|number| Filled { index: store.ring().blind_index(purpose, name(number).as_bytes()), number }).collect();
    match kind {
        Kind::RefreshToken => all.sort_unstable_by_key(|row| name(row.number)),
        _ => all.sort_unstable_by_key(|row| row.index),
    }
    let seal = |row: &str| {
        let context = RowContext { deployment: store.deployment(), table, column: "state_sealed", row };
        store.ring().seal_row(&context, &state)
    };
    let start = match kind {
        Kind::Code => "INSERT INTO authorization_code (code_index, family_id, state_sealed, expires) ",
        Kind::RefreshToken => {
            "INSERT INTO grant_family (family_id, client_id, subject, state_sealed, generation, rotated, created, expires) "
        }
        Kind::PushedRequest => "INSERT INTO pushed_request (uri_index, state_sealed, expires) ",
        Kind::Proof => "INSERT INTO replay (key_index, until) ",
    };
    macro_rules! insert {
        ($engine:ty, $unit:expr, $chunk:expr) => {{
            let mut query = QueryBuilder::<$engine>::new(start);
            let mut sealed = Vec::with_capacity($chunk.len());
            for row in $chunk {
                let text = name(row.number);
                let value = match kind {
                    Kind::Proof => Vec::new(),
                    Kind::RefreshToken => seal(&text)?,
                    Kind::Code | Kind::PushedRequest => seal(&hex(&row.index))?,
                };
                sealed.push((row.index.to_vec(), text, value));
            }
            query.push_values(sealed, |mut row, (index, text, value)| {
                match kind {
                    Kind::Code => row.push_bind(index).push_bind(text).push_bind(value),
                    Kind::RefreshToken => {
                        row.push_bind(text).push("'bench'").push("'bench'").push_bind(value).push("1").push("0").push("0")
                    }
                    Kind::PushedRequest => row.push_bind(index).push_bind(value),
                    Kind::Proof => row.push_bind(index),
                };
                row.push_bind(LATER.seconds());
            });
            query.build().execute(&mut *$unit).await?;
        }};
    }
    for chunks in all.chunks(CHUNK * 40) {
        match raw {
            Raw::Sqlite(pool) => {
                let mut unit = pool.begin().await?;
                for chunk in chunks.chunks(CHUNK) {
                    insert!(sqlx::Sqlite, unit, chunk);
                }
                unit.commit().await?;
            }
            Raw::Postgres(pool) => {
                let mut unit = pool.begin().await?;
                for chunk in chunks.chunks(CHUNK) {
                    insert!(sqlx::Postgres, unit, chunk);
                }
                unit.commit().await?;
            }
        }
    }
    Ok(())
}

/// Looks one row up, which must be found and must open; gives the microseconds it took.
async fn look_up(store: &Store, kind: Kind, number: u32) -> anyhow::Result<f64> {
    let name = name(number);
    let family: FamilyId = name.parse().map_err(|_| anyhow::anyhow!("a family"))?;
    let started = Instant::now();
    let found = match kind {
        Kind::Code => store.code(&name, NOW).await?.map(|record| record.state.len()),
        Kind::RefreshToken => store.family(&family, NOW).await?.map(|record| record.state.len()),
        Kind::PushedRequest => store.pushed_request(&name, NOW).await?.map(|state| state.len()),
        Kind::Proof => (store.claim("bench", name.as_bytes(), LATER).await? == Claimed::Seen).then_some(200),
    };
    let took = started.elapsed().as_secs_f64() * 1e6;
    ensure!(found == Some(200), "{} {number}: {found:?}", kind.name());
    Ok(took)
}

pub async fn measure(options: &Options, engine: Engine) -> anyhow::Result<Vec<Row>> {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| Options::wants(&options.kinds, kind.word())).collect();
    let mut places = Vec::new();
    for rows in [FEW, options.rows] {
        let Some(place) = engine::place(engine, 4).await? else { return Ok(vec![]) };
        let raw = place.raw(1).await?;
        for &kind in &kinds {
            let started = Instant::now();
            pad(&raw, engine, kind, rows.saturating_sub(SEALED)).await?;
            fill(&place, &raw, kind, rows.min(SEALED)).await?;
            eprintln!("{}: {rows} rows of {} in {:.0} s", engine.name(), kind.name(), started.elapsed().as_secs_f64());
        }
        // Both engines plan by what they know of their tables, and the log is written back.
        // Each by itself: PostgreSQL does not vacuum within a transaction, and several statements at once are one.
        let settling = match engine {
            Engine::Sqlite => ["PRAGMA optimize", "PRAGMA wal_checkpoint(TRUNCATE)"],
            Engine::Postgres => ["VACUUM ANALYZE", "CHECKPOINT"],
        };
        for statement in settling {
            raw.run(statement).await?;
        }
        places.push((place, rows));
    }
    let [(few, _), (many, rows)] = places.as_slice() else { anyhow::bail!("two databases") };
    let mut table = Vec::new();
    for kind in kinds {
        let mut figures = [Vec::new(), Vec::new()];
        for round in 0..=options.rounds {
            let mut took = [Vec::new(), Vec::new()];
            for _ in 0..TRIES {
                let random = random()?;
                took[0].push(look_up(&few.store, kind, random % FEW).await?);
                took[1].push(look_up(&many.store, kind, random % SEALED.min(*rows)).await?);
            }
            // The first round is for caches to fill.
            if round > 0 {
                for (figures, took) in figures.iter_mut().zip(took) {
                    figures.push(Spread::of(took).median);
                }
            }
        }
        let [small, large] = figures;
        let of = |rows: u32| format!("look-up of a {} among {rows}", kind.name());
        let mut row = Row::new(engine.name(), &of(*rows), Unit::Microseconds, &large);
        row.beside(&format!("{FEW} rows"), &large, &small);
        table.push(row);
        table.push(Row::new(engine.name(), &of(FEW), Unit::Microseconds, &small));
    }
    for (place, _) in &places {
        place.store.close().await;
    }
    Ok(table)
}

fn random() -> anyhow::Result<u32> {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    let four = bytes.first_chunk::<4>().context(RandomnessUnavailable)?;
    Ok(u32::from_be_bytes(*four))
}
