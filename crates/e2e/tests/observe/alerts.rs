//! The alerts of `deploy/prometheus` and their sections of the runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use domain::exception::ExceptionKind;
use e2e::runbook::to_kebab_case;
use serde_json::Value;
use testkit::Prometheus;

use crate::declared;

fn files(folder: &str) -> Result<Vec<std::path::PathBuf>> {
    let dir = testkit::dirs::workspace().join("deploy").join(folder);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

fn check(program: &str, args: &[&str], files: &[std::path::PathBuf]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .args(files)
        .output()
        .context(program.to_owned())?;
    let printed = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
    Ok(())
}

#[test]
fn every_alert_fires_when_it_must_and_is_silent_when_it_must() -> Result<()> {
    check("promtool", &["check", "rules"], &files("prometheus/alerts")?)?;
    check("promtool", &["test", "rules"], &files("prometheus/tests")?)
}

#[test]
fn the_configurations_of_prometheus_and_alertmanager_are_sound() -> Result<()> {
    let deploy = testkit::dirs::workspace().join("deploy");
    check(
        "promtool",
        &["check", "config"],
        &[deploy.join("prometheus/prometheus.yml")],
    )?;
    check(
        "amtool",
        &["check-config"],
        &[deploy.join("alertmanager/alertmanager.yml")],
    )
}

/// The tests that promtool runs, by alert: whether one shows it firing and one shows it silent.
fn tested() -> Result<BTreeMap<String, (bool, bool)>> {
    let mut tested: BTreeMap<String, (bool, bool)> = BTreeMap::new();
    for file in files("prometheus/tests")? {
        let text = std::fs::read_to_string(file)?;
        for case in text.split("\n  - name: \"").skip(1) {
            let alert = case.split(' ').next().unwrap_or_default();
            let (fires, silent) = tested.entry(alert.to_owned()).or_default();
            *fires |= case.contains(" fires: ") && case.contains("exp_labels");
            *silent |= case.contains(" is silent: ") && !case.contains("exp_labels");
        }
    }
    Ok(tested)
}

#[tokio::test]
async fn every_alert_is_tested_and_leads_to_its_section_of_the_runbook() -> Result<()> {
    let prometheus = Prometheus::start(&[]).await?;
    let rules = prometheus.rules().await?;
    let alerts: Vec<&Value> = rules.iter().filter(|rule| rule["type"] == "alerting").collect();
    assert!(alerts.len() > 30, "the rules were not read");
    let tested = tested()?;
    let runbook = std::fs::read_to_string(testkit::dirs::workspace().join("docs/RUNBOOK.md"))?;
    let sections: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    for alert in alerts {
        let name = alert["name"].as_str().context("an alert without a name")?;
        assert_eq!(tested.get(name), Some(&(true, true)), "{name} lacks a test");
        let severity = &alert["labels"]["severity"];
        assert!(severity == "page" || severity == "ticket", "{name}: {severity}");
        let expected = format!("docs/RUNBOOK.md#{}", to_kebab_case(name));
        assert_eq!(alert["annotations"]["runbook_url"], expected.as_str(), "{name}");
        assert!(
            sections.contains(to_kebab_case(name).as_str()),
            "the runbook lacks {name}"
        );
    }
    Ok(())
}

/// `(alert, severity, anchor)` of the index.
fn index(runbook: &str) -> Result<BTreeSet<(String, String, String)>> {
    let (_, section) = runbook.split_once("\n## Alert index\n").context("no index")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut rows = section.lines().filter(|line| line.starts_with('|'));
    let cells = |row: &str| {
        row.split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let columns = cells(rows.next().context("no table")?);
    let mut listed = BTreeSet::new();
    for row in rows.skip(1) {
        for (severity, cell) in columns.iter().zip(cells(row)).skip(2) {
            for link in cell.split('[').skip(1) {
                let (name, rest) = link.split_once("](#").context(row.to_owned())?;
                let (anchor, _) = rest.split_once(')').context(row.to_owned())?;
                let new = listed.insert((name.into(), severity.clone(), anchor.into()));
                ensure!(new, "{name} is listed twice");
            }
        }
    }
    Ok(listed)
}

#[tokio::test]
async fn the_runbooks_index_lists_the_alerts_that_exist() -> Result<()> {
    let rules = Prometheus::start(&[]).await?.rules().await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = rules.iter().filter(|rule| rule["type"] == "alerting");
    let wanted: BTreeSet<_> = alerts
        .map(|rule| {
            let name = text(&rule["name"]);
            let anchor = to_kebab_case(&name);
            (name, text(&rule["labels"]["severity"]), anchor)
        })
        .collect();
    let listed = index(&std::fs::read_to_string(
        testkit::dirs::workspace().join("docs/RUNBOOK.md"),
    )?)?;
    let differ: Vec<_> = listed.symmetric_difference(&wanted).collect();
    ensure!(differ.is_empty(), "{differ:?}");
    Ok(())
}

#[tokio::test]
async fn every_alert_asks_for_metrics_that_exist() -> Result<()> {
    let known: BTreeSet<&str> = declared::all().iter().map(|facts| facts.name).collect();
    for rule in Prometheus::start(&[]).await?.rules().await? {
        let query = rule["query"].as_str().unwrap_or_default();
        for metric in declared::metrics_in(query) {
            assert!(
                known.contains(declared::base(metric)),
                "{}: {metric}",
                rule["name"]
            );
        }
    }
    Ok(())
}

/// Log lines page nobody, so every page in the code needs an alert.
#[tokio::test]
async fn every_exception_that_pages_has_an_alert_that_pages() -> Result<()> {
    let rules = Prometheus::start(&[]).await?.rules().await?;
    for kind in ExceptionKind::ALL.into_iter().filter(|kind| kind.pages()) {
        let asks = format!("fiatrails_exceptions_open{{kind=\"{}\"}}", kind.name());
        let pages = |rule: &&Value| rule["labels"]["severity"] == "page";
        let query = |rule: &Value| rule["query"].as_str().unwrap_or_default().contains(&asks);
        assert!(
            rules.iter().filter(pages).any(query),
            "no alert pages for {}",
            kind.name()
        );
    }
    Ok(())
}
