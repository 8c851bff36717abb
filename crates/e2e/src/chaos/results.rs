//! The result of a scenario, as a row of the table and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::memory::Memory;
use crate::ledger::{Totals, Violation, ViolationKind};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioResult {
    pub scenario: &'static str,
    pub seed: u64,
    pub intents: usize,
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults that could not be done, and why.
    pub not_done: Vec<String>,
    /// Intents that reached their expected end, and those that are still in progress.
    pub recovered: usize,
    pub pending: usize,
    pub duplicates: usize,
    pub losses: usize,
    pub false_failures: usize,
    pub violations: Vec<Violation>,
    pub totals: Totals,
    /// From the end of the last fault to the end of the last intent.
    pub drained_seconds: f64,
    pub longest_stall_seconds: f64,
    pub took_seconds: f64,
    pub memory: BTreeMap<&'static str, Memory>,
}

impl ScenarioResult {
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.pending == 0 && self.recovered == self.intents
    }

    pub fn count(&self, which: impl Fn(ViolationKind) -> bool) -> usize {
        self.violations
            .iter()
            .filter(|violation| which(violation.kind))
            .count()
    }
}

/// Prints Markdown, ready for the docs. The runs of a scenario, each with its own seed, share one line.
pub fn table(rows: &[ScenarioResult]) -> String {
    let mut out = String::from(
        "| scenario | runs | intents | faults | recovered | duplicates | losses | false failures | other violations | \
         longest drain | longest stall |\n|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for runs in by_scenario(rows) {
        out.push_str(&line(&runs));
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

/// Groups the results by scenario, in the order of their first runs.
fn by_scenario(rows: &[ScenarioResult]) -> Vec<Vec<&ScenarioResult>> {
    let mut groups: Vec<Vec<&ScenarioResult>> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|group| group[0].scenario == row.scenario) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

fn line(runs: &[&ScenarioResult]) -> String {
    let sum = |of: fn(&ScenarioResult) -> usize| runs.iter().map(|row| of(row)).sum::<usize>();
    let longest = |of: fn(&ScenarioResult) -> f64| runs.iter().map(|row| of(row)).fold(0.0, f64::max);
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in runs.iter().flat_map(|row| &row.faults) {
        *faults.entry(kind).or_default() += count;
    }
    let faults: Vec<String> = faults
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let (duplicates, losses) = (sum(|row| row.duplicates), sum(|row| row.losses));
    let false_failures = sum(|row| row.false_failures);
    format!(
        "| {} | {} | {} | {} | {} | {duplicates} | {losses} | {false_failures} | {} | {:.0} s | {:.0} s |\n",
        runs[0].scenario,
        runs.len(),
        sum(|row| row.intents),
        faults.join(", "),
        sum(|row| row.recovered),
        sum(|row| row.violations.len()) - duplicates - losses - false_failures,
        longest(|row| row.drained_seconds),
        longest(|row| row.longest_stall_seconds),
    )
}

/// The worst run of each service; `--json` has all of them.
fn memory(rows: &[ScenarioResult]) -> String {
    let mut out =
        String::from("\n| memory | highest peak | steepest slope of a longest life |\n|---|---:|---:|\n");
    let services: BTreeSet<&str> = rows.iter().flat_map(|row| row.memory.keys().copied()).collect();
    for service in services {
        let of_service = || {
            rows.iter()
                .filter_map(|row| Some((row.scenario, row.memory.get(service)?)))
        };
        let peak = of_service().map(|(_, memory)| memory.peak_kib).max().unwrap_or(0) / 1024;
        let steepest = of_service()
            .filter_map(|(scenario, memory)| Some((scenario, memory.kib_per_minute?)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other));
        let slope = steepest.map_or_else(
            || "all too short".to_owned(),
            |(scenario, slope)| format!("{slope:+.0} KiB/min ({scenario})"),
        );
        let _ = writeln!(out, "| {service} | {peak} MiB | {slope} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(scenario: &'static str, seed: u64, kills: u64, slope: Option<f64>) -> ScenarioResult {
        let memory = Memory {
            peak_kib: 1024 * seed,
            kib_per_minute: slope,
            longest_life_seconds: 400.0,
        };
        ScenarioResult {
            scenario,
            seed,
            intents: 20,
            faults: BTreeMap::from([("kill -9", kills)]),
            not_done: Vec::new(),
            recovered: 19,
            pending: 1,
            duplicates: 0,
            losses: 0,
            false_failures: 0,
            violations: Vec::new(),
            totals: Totals::default(),
            drained_seconds: 3.0 * f64::from(u32::try_from(kills).unwrap()),
            longest_stall_seconds: 2.0,
            took_seconds: 9.0,
            memory: BTreeMap::from([("gateway", memory)]),
        }
    }

    #[test]
    fn the_runs_of_a_scenario_are_one_line_of_sums_and_worst_cases() {
        let rows = [
            row("kills", 7, 4, Some(-30.0)),
            row("connections", 7, 0, None),
            row("kills", 1007, 5, Some(12.4)),
        ];
        let table = table(&rows);
        let lines: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| kills | 2 | 40 | 9 kill -9 | 38 | 0 | 0 | 0 | 0 | 15 s | 2 s |",
                "| connections | 1 | 20 | 0 kill -9 | 19 | 0 | 0 | 0 | 0 | 0 s | 2 s |",
                "",
                "| memory | highest peak | steepest slope of a longest life |",
                "|---|---:|---:|",
                "| gateway | 1007 MiB | +12 KiB/min (kills) |",
            ]
        );
        assert!(super::table(&rows[1..2]).contains("all too short"));
    }
}
