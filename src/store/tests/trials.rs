//! What is promised of every table, tried with each in turn: a dump gives nothing away, what was answered outlives SIGKILL, and what may be
//! used once is used once. Which tables there are the schema says, and how each is written its [`Trial`]; nothing here names one.
//!
//! Kills and races need other processes. They are this test binary, started again for the one test [`worker`].

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::personal::{database_of, databases};
use super::reseal::{RowKey, page, put};
use super::sealed::{SealedColumn, Under};
use super::trial::{Mark, TRIALS, Trial, Uses, WITH_OTHERS};
use super::work::Work;
use super::*;
use crate::seal::{PersonKey, named_person};

#[path = "../../../tests/it/harness/search.rs"]
mod search;

use super::postgres::left_out::tell;
use search::Search;

/// Who try to use one thing up at the same time, half of them at each process.
const TRIES: usize = 100;
/// Before what a worker says, in the midst of what the test harness prints.
const SAYS: &str = "worker: ";
/// Tells a worker where and what: the database's URL, the directory it is relative to, and `write RUN` or `spend`.
const TOLD: &str = "SYMBOLON_TEST_WORKER";

fn number_of(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Things that may be used once: how, and by which number uses are counted.
fn single_use() -> Vec<(&'static Trial, &'static str)> {
    let once = |trial: &'static Trial| match trial.uses {
        Uses::Once { used, .. } => Some((trial, used)),
        Uses::Many(why) => {
            assert!(!why.is_empty(), "{}", trial.table);
            None
        }
    };
    TRIALS.iter().filter_map(once).collect()
}

async fn spend(trial: &Trial, store: &Store, mark: &Mark) -> bool {
    match trial.uses {
        Uses::Once { spend, .. } => spend(store, mark).await,
        Uses::Many(_) => false,
    }
}

fn trial_of(table: &str) -> &'static Trial {
    TRIALS.iter().find(|trial| trial.table == table).expect("a trial")
}

/// Every table of the schema but those of the engine and of migrations.
async fn tables(db: &Db) -> BTreeSet<String> {
    let rows: Vec<(String,)> = match db {
        Db::Sqlite { reader, .. } => {
            sqlx::query_as(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'",
            )
            .fetch_all(reader)
            .await
        }
        Db::Postgres(pool) => {
            sqlx::query_as("SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema() AND tablename NOT LIKE '\\_%'")
                .fetch_all(pool)
                .await
        }
    }
    .expect("tables");
    rows.into_iter().map(|(name,)| name).collect()
}

async fn number(store: &Store, query: &'static str) -> i64 {
    let (value,): (i64,) = read!(&store.inner.db, fetch_one: sqlx::query_as(query)).expect("a number");
    value
}

/// What a thief of the disk has. A server's own files are searched by the dump test over sockets.
async fn dumped(place: &Place, store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    match &store.inner.db {
        Db::Sqlite { .. } => {
            for entry in std::fs::read_dir(place.directory.path()).expect("the directory").flatten() {
                bytes.extend(std::fs::read(entry.path()).expect("a file"));
            }
        }
        Db::Postgres(_) => {
            for (db, _) in databases(store) {
                for table in tables(&db).await {
                    let query = sqlx::AssertSqlSafe(format!("SELECT CAST(t AS TEXT) FROM {table} t"));
                    let rows: Vec<(String,)> = read!(&*db, fetch_all: sqlx::query_as(query)).expect("rows");
                    rows.iter().for_each(|(row,)| bytes.extend(row.as_bytes()));
                }
            }
        }
    }
    bytes
}

/// What stands sealed in a place, opened down to the last layer.
struct Opened {
    column: &'static SealedColumn,
    row: RowKey,
    sealed: Vec<u8>,
    plain: Vec<u8>,
}

async fn opened(store: &Store) -> Vec<Opened> {
    let mut found = Vec::new();
    for (db, column) in
        databases(store).into_iter().flat_map(|(db, columns)| columns.iter().map(move |column| (db.clone(), column)))
    {
        for (row, sealed) in page(&db, column, &RowKey::least(column.keyed), &[0], 1_000).await.expect("rows") {
            let name = row.name();
            let context = column.context(store.deployment(), &name);
            let outer = match column.under {
                Under::Master => store.master_keys().unwrap(&context, &sealed),
                Under::Ring | Under::Person | Under::Lasting => store.ring().open_row(&context, &sealed),
            };
            let outer = outer.expect("opens");
            // People's data has another layer, under the key of the person whom the value or the row names.
            let (named, own) = named_person(&outer).unwrap_or((&name, &outer));
            let key: PersonKey = Mark::new(named).key();
            let plain = key.open(&context, own).map_or_else(|_| outer.to_vec(), |inner| inner.to_vec());
            found.push(Opened { column, row, sealed, plain });
        }
    }
    found
}

async fn replace(store: &Store, place: &Opened, value: &[u8], instead_of: &[u8]) {
    let mut work = Work::begin(&*database_of(store, place.column)).await.expect("begun");
    assert_eq!(put(&mut work, place.column, &place.row, value, instead_of).await.expect("put"), 1);
    work.commit().await.expect("committed");
}

/// Writes each trial a few times, and uses half of what may be used up.
async fn written(store: &Store) -> Vec<Mark> {
    let mut marks = Vec::new();
    for trial in TRIALS {
        for number in 0..4 {
            let mark = Mark::new(format!("dumped-{}-{number}", trial.table));
            (trial.write)(store, &mark).await;
            assert!((trial.stands)(store, &mark).await, "{}", trial.table);
            if number % 2 == 1 && matches!(trial.uses, Uses::Once { .. }) {
                assert!(spend(trial, store, &mark).await, "{}", trial.table);
                assert!(!spend(trial, store, &mark).await, "{}: a second time", trial.table);
            }
            marks.push(mark);
        }
    }
    marks
}

/// Another process that works on the same database.
pub(super) struct Worker {
    child: Child,
    told: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
}

impl Worker {
    pub(super) fn start(place: &Place, task: &str) -> Self {
        let directory = place.directory.path().display();
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["store::tests::trials::worker", "--exact", "--nocapture", "--test-threads=1"])
            .env(TOLD, format!("{}\n{directory}\n{task}", place.settings.url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let told = child.stdin.take();
        let says = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, told, says }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.told.as_mut().expect("a pipe"), "{line}").expect("told");
    }

    /// The next thing that it says whole; nothing when it is gone.
    pub(super) fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.says.read_line(&mut line).expect("a pipe") == 0 {
                return None;
            }
            if let Some(said) = line.strip_suffix('\n').and_then(|line| line.strip_prefix(SAYS)) {
                return Some(said.to_owned());
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes every trial again and again, one task for each, and tells of each answer. Never ends.
async fn write_without_end(store: &Store, run: &str) {
    let works = TRIALS.iter().map(|trial| {
        let (store, run) = (store.clone(), run.to_owned());
        tokio::spawn(async move {
            for number in 0_usize.. {
                let (table, mark) = (trial.table, Mark::new(format!("run-{run}-{}-{number}", trial.table)));
                (trial.write)(&store, &mark).await;
                println!("{SAYS}wrote {table} {}", mark.name);
                // Every other one, beginning with the first in every other run: of some few are written in each.
                let other = run.bytes().map(usize::from).sum::<usize>();
                if (number + other) % 2 == 1 && matches!(trial.uses, Uses::Once { .. }) {
                    println!("{SAYS}spending {table} {}", mark.name);
                    assert!(spend(trial, &store, &mark).await, "{}", mark.name);
                    println!("{SAYS}spent {table} {}", mark.name);
                }
            }
        })
    });
    futures_util::future::join_all(works.collect::<Vec<_>>()).await;
}

/// Tries to use one thing up, many times at once; gives how many succeeded.
async fn try_at_once(store: &Store, trial: &'static Trial, mark: &Mark) -> usize {
    let tries = (0..TRIES / 2).map(|_| {
        let (store, mark) = (store.clone(), mark.clone());
        tokio::spawn(async move { spend(trial, &store, &mark).await })
    });
    let tries = futures_util::future::join_all(tries.collect::<Vec<_>>()).await;
    tries.into_iter().filter(|won| *won.as_ref().expect("joined")).count()
}

/// The other process. By itself it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let [url, directory, task] = told.split('\n').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let settings = StoreSettings { url: url.into(), person_keys_url: None, max_connections: 4, wait_seconds: 60 };
    let opened = Store::open(&settings, Path::new(directory), master("first", 1), &SystemRandomness, NOW).await;
    let store = opened.expect("opens");
    PersonKeys::open(&settings, Path::new(directory), &store, NOW).await.expect("the keys of people");
    println!("\n{SAYS}ready");
    if let Some(run) = task.strip_prefix("write ") {
        write_without_end(&store, run).await;
    }
    if task == "carry" {
        super::seal_key::give_away_a_refresh_token(&store).await.iter().for_each(|said| println!("{SAYS}{said}"));
    }
    let next = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    while let line = tokio::task::spawn_blocking(next).await.expect("joined").expect("a pipe")
        && let Some((table, name)) = line.trim().split_once(' ')
    {
        let won = try_at_once(&store, trial_of(table), &Mark::new(name)).await;
        println!("{SAYS}{won}");
    }
}

on_both_engines! {
    async fn every_table_has_a_trial(place: &Place) {
        let store = place.open().await;
        let known: BTreeSet<String> =
            TRIALS.iter().map(|trial| trial.table).chain(WITH_OTHERS.iter().copied()).map(str::to_owned).collect();
        let mut there = BTreeSet::new();
        for (db, _) in databases(&store) {
            there.extend(tables(&db).await);
        }
        assert_eq!(there, known, "the schema, and the lists in src/store/trial.rs");
        assert_eq!(known.len(), TRIALS.len() + WITH_OTHERS.len(), "each is there once");
        written(&store).await;
        for table in &known {
            let mut rows = 0;
            for (db, _) in databases(&store) {
                if tables(&db).await.contains(table) {
                    let query = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
                    let (counted,): (i64,) = read!(&*db, fetch_one: sqlx::query_as(query)).expect("counted");
                    rows += counted;
                }
            }
            assert!(rows > 0, "{table}");
        }
    }

    /// Neither what is sealed nor what is found by its keyed hash can be found in any spelling; and any column, left unsealed, is noticed.
    async fn a_dump_gives_nothing_away(place: &Place) {
        let store = place.open().await;
        let marks = written(&store).await;
        let places = opened(&store).await;
        let mut secrets: Vec<(String, Vec<u8>)> =
            marks.iter().map(|mark| (mark.name.clone(), mark.secret.clone().into_bytes())).collect();
        secrets.extend(places.iter().map(|place| (place.column.name(), place.plain.clone())));
        for (name, secret) in &secrets {
            assert!(secret.len() >= 12, "{name}: too short to be told from chance");
        }
        let search = Search::new(&secrets);
        let bytes = dumped(place, &store).await;
        assert!(bytes.len() > 20_000, "{} bytes", bytes.len());
        assert_eq!(search.find(&bytes), Vec::<String>::new());
        let mut unsealed = BTreeSet::new();
        for one in &places {
            if unsealed.insert(one.column.name()) {
                replace(&store, one, &one.plain, &one.sealed).await;
                assert!(!search.find(&dumped(place, &store).await).is_empty(), "{} unsealed is not noticed", one.column.name());
                replace(&store, one, &one.sealed, &one.plain).await;
            }
        }
        let columns = databases(&store).into_iter().flat_map(|(_, columns)| columns).map(SealedColumn::name).collect();
        assert_eq!(unsealed, columns, "each column was left unsealed once");
    }

    /// `SYMBOLON_TEST_ROUNDS` is how often each thing is raced for; `100` makes it a hundred times of each.
    async fn of_a_hundred_at_two_processes_one_succeeds(place: &Place) {
        let store = place.open().await;
        let things = single_use();
        let rounds = number_of("SYMBOLON_TEST_ROUNDS", 100_usize.div_ceil(things.len()));
        let mut other = Worker::start(place, "spend");
        assert_eq!(other.hear().as_deref(), Some("ready"));
        let (mut races, mut at_other) = (0, 0);
        for (trial, used) in &things {
            for round in 0..rounds {
                let mark = Mark::new(format!("raced-{}-{round}", trial.table));
                (trial.write)(&store, &mark).await;
                let before = number(&store, used).await;
                other.tell(&format!("{} {}", trial.table, mark.name));
                let here = try_at_once(&store, trial, &mark).await;
                let there: usize = tokio::task::block_in_place(|| other.hear()).expect("an answer").parse().expect("a number");
                let counted = number(&store, used).await - before;
                assert_eq!((here + there, counted), (1, 1), "{}: {here} here, {there} there", trial.table);
                (races, at_other) = (races + 1, at_other + there);
            }
        }
        tell(&format!("{races} races of {TRIES} for {} kinds of things, {at_other} won by the other process", things.len()));
        assert!(races >= 100 || std::env::var_os("SYMBOLON_TEST_ROUNDS").is_some(), "{races}");
    }

    /// `SYMBOLON_TEST_KILLS` asks for more kills.
    async fn what_was_answered_outlives_a_kill(place: &Place) {
        let kills = number_of("SYMBOLON_TEST_KILLS", 12);
        let mut said: Vec<String> = Vec::new();
        for run in 0..kills {
            let mut worker = Worker::start(place, &format!("write {run}"));
            let mut random = [0u8; 2];
            SystemRandomness.fill(&mut random).expect("randomness");
            // However slow it is: each thing was written, and used up, in every run.
            let once = TRIALS.iter().filter(|trial| matches!(trial.uses, Uses::Once { .. })).map(|trial| format!("spent {} ", trial.table));
            let mut unheard: Vec<String> = TRIALS.iter().map(|trial| format!("wrote {} ", trial.table)).chain(once).collect();
            let mut more = usize::from(u16::from_be_bytes(random)) % (6 * TRIALS.len());
            tokio::task::block_in_place(|| {
                while !unheard.is_empty() || more > 0 {
                    let answer = worker.hear().expect("it goes on until it is killed");
                    more -= usize::from(unheard.is_empty());
                    unheard.retain(|beginning| !answer.starts_with(beginning));
                    said.push(answer);
                }
                worker.child.kill().expect("killed");
                // What was under way between the last answer and the end was answered too.
                said.extend(std::iter::from_fn(|| worker.hear()));
            });
        }
        let store = place.open().await;
        let told = |verb: &str, table: &str| -> BTreeSet<String> {
            let prefix = format!("{verb} {table} ");
            said.iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
        };
        let (mut lines, mut lost) = (Vec::new(), Vec::new());
        for trial in TRIALS {
            let table = trial.table;
            let [wrote, spending, spent] = ["wrote", "spending", "spent"].map(|verb| told(verb, table));
            for name in wrote.difference(&spending) {
                if !(trial.stands)(&store, &Mark::new(name)).await {
                    lost.push(format!("{table}: {name}"));
                }
            }
            for name in &spent {
                if spend(trial, &store, &Mark::new(name)).await {
                    lost.push(format!("{table}: the use of {name}"));
                }
            }
            lines.push(format!("{table} {}, used {}", wrote.len(), spent.len()));
            assert!(!wrote.is_empty(), "{table}: no write was answered");
            assert_eq!(!spent.is_empty(), matches!(trial.uses, Uses::Once { .. }), "{table}");
        }
        tell(&format!("kills {kills}; {}; lost {}", lines.join("; "), if lost.is_empty() { "nothing" } else { "something" }));
        assert_eq!(lost, Vec::<String>::new());
        // Numbers of changes commit in order and without gaps, and no family is there by half.
        let counter = number(&store, "SELECT value FROM change_counter").await;
        assert_eq!(number(&store, "SELECT COUNT(*) FROM change").await, counter);
        assert_eq!(number(&store, "SELECT MAX(sequence) FROM change").await, counter);
        let checked = store.check(&place.settings, place.directory.path()).await.expect("sound");
        assert!(checked.broken == 0 && checked.opened > 100, "{checked:?}");
    }
}
