//! From counts to figures: medians over rounds with their spread, and ratios between what ran in the same round.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use crate::load::Counted;

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

/// The machine and the run, so that figures are not read without them.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    pub processors: usize,
    pub processor: String,
    pub pinned: bool,
    pub rounds: usize,
    pub seconds: f64,
    pub connections: usize,
    pub build: String,
}

/// One row: something measured, and its ratio to its floors.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub mode: String,
    /// Requests per second of the server's processor time.
    pub per_processor_second: Spread,
    /// Requests per second of the clock.
    pub per_second: Spread,
    /// Cores in use.
    pub server_cores: f64,
    pub load_cores: f64,
    pub p50_milliseconds: f64,
    pub p99_milliseconds: f64,
    pub answers_checked: u64,
    pub tls: String,
    pub ratios: Vec<Ratio>,
}

/// Requests per processor second as a part of a floor's, round by round.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    pub floor: String,
    pub ratio: Spread,
}

pub fn rate(counted: &Counted) -> f64 {
    counted.requests as f64 / counted.server_processor_seconds.max(0.01)
}

impl Row {
    pub fn new(name: &str, mode: String, rounds: &[Counted]) -> Self {
        let median = |value: fn(&Counted) -> f64| Spread::of(rounds.iter().map(value)).median;
        Self {
            name: name.to_owned(),
            mode,
            per_processor_second: Spread::of(rounds.iter().map(rate)),
            per_second: Spread::of(rounds.iter().map(|counted| counted.requests as f64 / counted.seconds)),
            server_cores: median(|counted| counted.server_processor_seconds / counted.seconds),
            load_cores: median(|counted| counted.load_processor_seconds / counted.seconds),
            p50_milliseconds: median(|counted| counted.p50),
            p99_milliseconds: median(|counted| counted.p99),
            answers_checked: rounds.iter().map(|counted| counted.requests).sum(),
            tls: rounds.first().map(|counted| counted.tls.clone()).unwrap_or_default(),
            ratios: Vec::new(),
        }
    }

    pub fn beside(mut self, floor: &str, own: &[Counted], floors: &[Counted]) -> Self {
        let ratio = Spread::of(own.iter().zip(floors).map(|(own, floor)| rate(own) / rate(floor)));
        self.ratios.push(Ratio { floor: floor.to_owned(), ratio });
        self
    }

    /// The slowest hundredth beside another's, at the same pace.
    pub fn slowest_beside(mut self, other: &str, own: &[Counted], others: &[Counted]) -> Self {
        let ratio = Spread::of(own.iter().zip(others).map(|(own, other)| own.p99 / other.p99.max(0.001)));
        self.ratios.push(Ratio { floor: format!("the p99 of {other}"), ratio });
        self
    }
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub conditions: Conditions,
    pub rows: Vec<Row>,
    /// Resident memory after the load, MiB.
    pub resident_mib: BTreeMap<&'static str, f64>,
}

impl Report {
    /// A table in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let Conditions { processors, processor, pinned, rounds, seconds, connections, build } = &self.conditions;
        let _ = writeln!(
            text,
            "{processors} cores ({processor}), {}; {rounds} rounds of {seconds} s, {connections} connections; {build}\n",
            if *pinned { "server and load generator on a core each" } else { "not pinned" },
        );
        text.push_str("| what | connections | requests per processor second | ratio to its floor | requests/s | server, load cores | p50, p99 ms |\n");
        text.push_str("|---|---|--:|---|--:|--:|--:|\n");
        for row in &self.rows {
            let ratios: Vec<String> = row
                .ratios
                .iter()
                .map(|Ratio { floor, ratio }| {
                    format!("{:.2} ({:.2} to {:.2}) of {floor}", ratio.median, ratio.lowest, ratio.highest)
                })
                .collect();
            let _ = writeln!(
                text,
                "| {} | {} | {:.0} ({:.0} to {:.0}) | {} | {:.0} | {:.2}, {:.2} | {:.2}, {:.2} |",
                row.name,
                row.mode,
                row.per_processor_second.median,
                row.per_processor_second.lowest,
                row.per_processor_second.highest,
                ratios.join("; "),
                row.per_second.median,
                row.server_cores,
                row.load_cores,
                row.p50_milliseconds,
                row.p99_milliseconds,
            );
        }
        let checked: u64 = self.rows.iter().map(|row| row.answers_checked).sum();
        let tls: BTreeSet<&str> = self.rows.iter().map(|row| row.tls.as_str()).collect();
        let resident: Vec<String> = self.resident_mib.iter().map(|(name, mib)| format!("{name} {mib:.0} MiB")).collect();
        let _ = writeln!(
            text,
            "\n{checked} answers checked; {}; memory after the load: {}",
            Vec::from_iter(tls).join(", "),
            resident.join(", "),
        );
        text
    }
}
