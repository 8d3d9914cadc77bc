//! From figures of rounds to a table: medians with their spread, and ratios between what was measured in the same round.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde::Serialize;

use crate::Options;

/// Median and spread.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let half = values.len() / 2;
        let median = if values.len().is_multiple_of(2) { (at(half.wrapping_sub(1)) + at(half)) / 2.0 } else { at(half) };
        Self { median, lowest: at(0), highest: at(values.len().wrapping_sub(1)) }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PerSecond,
    Microseconds,
    Mebibytes,
}

/// One thing measured, and its figure as a part or a multiple of its floors'.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub engine: &'static str,
    pub what: String,
    pub unit: Unit,
    pub figure: Spread,
    pub ratios: Vec<Ratio>,
    pub remark: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    pub floor: String,
    pub ratio: Spread,
}

impl Row {
    pub fn new(engine: &'static str, what: &str, unit: Unit, rounds: &[f64]) -> Self {
        let figure = Spread::of(rounds.iter().copied());
        Self { engine, what: what.to_owned(), unit, figure, ratios: Vec::new(), remark: String::new() }
    }

    /// Adds the ratio to a floor, round by round.
    pub fn beside(&mut self, floor: &str, own: &[f64], floors: &[f64]) {
        let ratio = Spread::of(own.iter().zip(floors).map(|(own, floor)| own / floor));
        self.ratios.push(Ratio { floor: floor.to_owned(), ratio });
    }

    /// One line of the table.
    pub fn line(&self) -> String {
        let Spread { median, lowest, highest } = self.figure;
        let unit = match self.unit {
            Unit::PerSecond => "a second",
            Unit::Microseconds => "µs",
            Unit::Mebibytes => "MiB",
        };
        let ratios = self.ratios.iter().map(|Ratio { floor, ratio }| {
            format!("{:.2} ({:.2} to {:.2}) of {floor}", ratio.median, ratio.lowest, ratio.highest)
        });
        let beside: Vec<String> = ratios.chain((!self.remark.is_empty()).then(|| self.remark.clone())).collect();
        let (engine, what, beside) = (self.engine, &self.what, beside.join("; "));
        format!("| {engine} | {what} | {median:.0} {unit} ({lowest:.0} to {highest:.0}) | {beside} |")
    }
}

/// Where and how it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    pub processors: usize,
    pub processor: String,
    pub load: String,
    pub rounds: usize,
    pub seconds: f64,
    pub workers: usize,
    pub rows: u32,
    pub build: String,
}

impl Conditions {
    pub fn here(options: &Options) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).and_then(|line| line.split_once(": "));
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            processor: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            load: load.split(' ').take(3).collect::<Vec<_>>().join(", "),
            rounds: options.rounds,
            seconds: options.seconds,
            workers: options.workers,
            rows: options.rows,
            build: format!("symbolon {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub conditions: Conditions,
    pub rows: Vec<Row>,
}

impl Report {
    /// A table in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let Conditions { processors, processor, load, rounds, seconds, workers, build, .. } = &self.conditions;
        let _ = writeln!(
            text,
            "{processors} cores ({processor}), load averages at the end {load}; {rounds} rounds of {seconds} s, {workers} workers; {build}\n"
        );
        text.push_str("| engine | what | figure | beside |\n|---|---|--:|---|\n");
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        text
    }
}

/// Resident memory of this process.
pub fn resident_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
