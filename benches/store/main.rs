//! What sealed state costs, beside the least that the same would cost: sealing beside its primitive, redemptions beside the engine's own
//! commits, look-ups among many rows beside look-ups among few.
//!
//! `cargo bench --bench store` is a quick look; `cargo bench --bench store -- --rounds 7 --rows 10000000` is for figures to keep. The method
//! is told in docs/performance.md. Nothing here passes or fails by its speed: it fails when an answer is wrong.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod engine;
mod lookup;
mod redemption;
mod report;
mod sealing;

/// The throw-away server of the tests.
#[path = "../../tests/it/harness/postgres.rs"]
mod postgres;

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Parser;

use engine::Engine;
use report::{Conditions, Report, Row};

/// Measure the store beside its floors
#[derive(Debug, Parser)]
struct Options {
    /// How often each is measured; they take turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each is measured in a round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Who redeem at the same time
    #[arg(long, default_value_t = 16)]
    workers: usize,
    /// Rows of each table that is looked up in
    #[arg(long, default_value_t = 200_000)]
    rows: u32,
    /// Only these kinds of rows: code, refresh, pushed, proof. Each by itself takes a quarter of the disk
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// Seconds of redemptions without pause over which memory is watched
    #[arg(long, default_value_t = 5.0)]
    soak: f64,
    /// Only these: sealing, redemption, lookup
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only on these engines: sqlite, postgres
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// Write the report as JSON here too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn wants(list: &[String], name: &str) -> bool {
        list.is_empty() || list.iter().any(|one| one == name)
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // A commit that was answered is on the disk, on both engines.
    postgres::DURABLE.store(true, Ordering::Relaxed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rows = runtime.block_on(measure(&options))?;
    let report = Report { conditions: Conditions::here(&options), rows };
    println!("{}", report.table());
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if Options::wants(&options.only, "sealing") {
        told(&mut rows, sealing::measure(options.rounds)?);
    }
    for engine in Engine::ALL {
        if !Options::wants(&options.engines, engine.name()) {
            continue;
        }
        if Options::wants(&options.only, "redemption") {
            eprintln!("redemptions on {}", engine.name());
            told(&mut rows, redemption::measure(options, engine).await?);
        }
        if Options::wants(&options.only, "lookup") {
            eprintln!("look-ups on {}", engine.name());
            told(&mut rows, lookup::measure(options, engine).await?);
        }
    }
    Ok(rows)
}

/// Figures are told as they come: the last may be long in coming.
fn told(rows: &mut Vec<Row>, more: Vec<Row>) {
    more.iter().for_each(|row| eprintln!("{}", row.line()));
    rows.extend(more);
}
