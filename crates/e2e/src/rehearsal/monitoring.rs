//! A real Prometheus that scrapes the running services and evaluates the committed rules unchanged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::wiring::SERVICES;
use testkit::{AutoReplay, Prometheus, dirs};

use super::outage::{Outage, OutageTarget};
use crate::chaos::System;

const POLL_EVERY: Duration = Duration::from_millis(500);
/// Extra time for scrapes, evaluations and a busy machine.
const GRACE: Duration = Duration::from_secs(15);
/// The alerts on the error budget of a month: any outage uses it up, so they fire rightly and do not end.
const ERROR_BUDGET_ALERTS: &str = "Burns";

#[derive(Debug)]
pub struct Monitoring {
    pub prometheus: Prometheus,
    rules: Vec<Value>,
    overview: Value,
    _replay: AutoReplay,
}

/// When the alert fired, counted from the start of the outage, and what else fired until then.
#[derive(Debug)]
pub struct Firing {
    pub after: Duration,
    pub deadline: Duration,
    pub other_alerts: BTreeSet<String>,
}

impl Monitoring {
    /// Pins the admin port of each service, so that a restarted one is still scraped.
    pub async fn start(system: &mut System) -> Result<Self> {
        let mut targets = Vec::new();
        for name in SERVICES {
            let service = system.app.service(name)?;
            let url = service.admin_url()?;
            service.set_env("ADMIN_ADDR", url.trim_start_matches("http://").to_owned());
            targets.push((name, url));
        }
        // Scraped like the services. A dry run, so that parked messages stay for the audit to find.
        let replay = AutoReplay::start(&system.app.wiring, &["--dry-run"])?;
        targets.push(("auto-replay", replay.admin_url()));
        let prometheus = Prometheus::start(&targets).await?;
        let overview = dirs::workspace().join("deploy/grafana/dashboards/overview.json");
        Ok(Self {
            rules: prometheus.rules().await?,
            prometheus,
            overview: serde_json::from_slice(&std::fs::read(overview)?)?,
            _replay: replay,
        })
    }

    /// The rule's own waiting time, plus the time until its condition can be seen.
    fn deadline(&self, outage: &Outage) -> Result<Duration> {
        let rule = self.rules.iter().find(|rule| rule["name"] == outage.alert);
        let pending_for = rule.with_context(|| format!("no alert {}", outage.alert))?["duration"].as_f64();
        Ok(outage.noticed_within + Duration::from_secs_f64(pending_for.unwrap_or_default()) + GRACE)
    }

    pub async fn wait_until_firing(&self, outage: &Outage) -> Result<Firing> {
        let (started, deadline) = (Instant::now(), self.deadline(outage)?);
        let mut other_alerts = BTreeSet::new();
        loop {
            let firing = self.firing().await?;
            let (wanted, rest): (Vec<_>, Vec<_>) = firing
                .into_iter()
                .partition(|alert| matches_outage(outage, alert));
            other_alerts.extend(
                rest.iter()
                    .filter(|alert| !is_error_budget_alert(alert))
                    .map(describe),
            );
            if !wanted.is_empty() {
                return Ok(Firing {
                    after: started.elapsed(),
                    deadline,
                    other_alerts,
                });
            }
            ensure!(
                started.elapsed() < deadline,
                "{} did not fire within {deadline:?}; {other_alerts:?} did",
                outage.alert
            );
            testkit::wait::pause(POLL_EVERY).await;
        }
    }

    async fn firing(&self) -> Result<Vec<Value>> {
        let all = self.prometheus.alerts().await?;
        Ok(all
            .into_iter()
            .filter(|alert| alert["state"] == "firing")
            .collect())
    }

    /// Waits until nothing fires any more, except alerts on the error budget.
    pub async fn wait_until_resolved(&self, within: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            let firing = self.firing().await?;
            let remaining: BTreeSet<String> = firing
                .iter()
                .filter(|alert| !is_error_budget_alert(alert))
                .map(describe)
                .collect();
            if remaining.is_empty() {
                return Ok(());
            }
            ensure!(
                started.elapsed() < within,
                "still firing after {within:?}: {remaining:?}"
            );
            testkit::wait::pause(POLL_EVERY).await;
        }
    }

    /// Checks that the panel of the overview shows the outage in what Grafana would draw of the last `seconds`.
    pub async fn check_panel(&self, outage: &Outage, seconds: u64) -> Result<()> {
        let panels = self.overview["panels"].as_array().context("no panels")?;
        let panel = panels.iter().find(|panel| panel["title"] == outage.panel);
        let panel = panel.with_context(|| format!("no panel {}", outage.panel))?;
        let query = panel["targets"][0]["expr"].as_str().context("no query")?;
        let query = query.replace("$__rate_interval", "10s");
        let samples = self.prometheus.samples(&query, seconds).await?;
        ensure!(
            samples
                .iter()
                .flatten()
                .any(|value| (outage.indicates_outage)(*value)),
            "the panel {} shows nothing of it: {samples:?}",
            outage.panel
        );
        Ok(())
    }
}

fn matches_outage(outage: &Outage, alert: &Value) -> bool {
    let labels = &alert["labels"];
    let here = match outage.target {
        OutageTarget::Service(name) => labels["job"] == name,
        _ => true,
    };
    labels["alertname"] == outage.alert && here
}

fn is_error_budget_alert(alert: &Value) -> bool {
    describe(alert).contains(ERROR_BUDGET_ALERTS)
}

fn describe(alert: &Value) -> String {
    let labels = &alert["labels"];
    let name = labels["alertname"].as_str().unwrap_or_default();
    let severity = labels["severity"].as_str().unwrap_or_default();
    match labels["job"].as_str() {
        Some(job) => format!("{name} of {job} ({severity})"),
        None => format!("{name} ({severity})"),
    }
}
