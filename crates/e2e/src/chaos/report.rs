//! What a story came to, as a row of the table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::memory::Memory;
use crate::ledger::{Sort, Totals, Violation};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub scenario: &'static str,
    pub seed: u64,
    pub intents: usize,
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults that could not be done, and why.
    pub not_done: Vec<String>,
    /// Intents that are where they must be, and those still on their way.
    pub recovered: usize,
    pub pending: usize,
    pub duplicates: usize,
    pub losses: usize,
    pub false_failures: usize,
    pub violations: Vec<Violation>,
    pub totals: Totals,
    /// From the end of the last fault to the last intent's.
    pub drained_seconds: f64,
    pub longest_stall_seconds: f64,
    pub took_seconds: f64,
    pub memory: BTreeMap<&'static str, Memory>,
}

impl Row {
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.pending == 0 && self.recovered == self.intents
    }

    pub fn count(&self, which: impl Fn(Sort) -> bool) -> usize {
        self.violations.iter().filter(|found| which(found.sort)).count()
    }
}

/// Markdown, so that a run can be kept as it is.
pub fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| scenario | seed | intents | faults | recovered | duplicates | losses | false failures | other violations | \
         drained in | longest stall | took |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let faults: Vec<String> = row
            .faults
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let counted = row.duplicates + row.losses + row.false_failures;
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} s | {:.0} s | {:.0} s |",
            row.scenario,
            row.seed,
            row.intents,
            faults.join(", "),
            row.recovered,
            row.duplicates,
            row.losses,
            row.false_failures,
            row.violations.len() - counted,
            row.drained_seconds,
            row.longest_stall_seconds,
            row.took_seconds,
        );
    }
    for row in rows {
        for line in row.violations.iter().take(20) {
            let _ = writeln!(out, "\n{} (seed {}): {line}", row.scenario, row.seed);
        }
        for line in &row.not_done {
            let _ = writeln!(out, "\n{} (seed {}): not done: {line}", row.scenario, row.seed);
        }
    }
    out + &memory(rows)
}

fn memory(rows: &[Row]) -> String {
    let mut out =
        String::from("\n| memory | service | peak | slope of its longest life |\n|---|---|---|---|\n");
    for row in rows {
        for (service, memory) in &row.memory {
            let slope = memory
                .kib_per_minute
                .map_or_else(|| "too short".to_owned(), |slope| format!("{slope:+.0} KiB/min"));
            let _ = writeln!(
                out,
                "| {} | {service} | {} MiB | {slope} |",
                row.scenario,
                memory.peak_kib / 1024
            );
        }
    }
    out
}
