//! Who watches: a real Prometheus over the running services, with the committed rules as they are.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::wiring::SERVICES;
use testkit::{AutoReplay, Prometheus, dirs};

use super::outage::{Away, Outage};
use crate::chaos::Stage;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Scrapes, evaluations and a busy machine.
const GRACE: Duration = Duration::from_secs(15);
/// They tell of a month's tolerance, which any outage uses up: true, and lasting.
const BURNS: &str = "Burns";

#[derive(Debug)]
pub struct Tower {
    pub prometheus: Prometheus,
    rules: Vec<Value>,
    overview: Value,
    _replay: AutoReplay,
}

/// When the alert fired, counted from the outage, and what else fired meanwhile.
#[derive(Debug)]
pub struct Fired {
    pub after: Duration,
    pub promised: Duration,
    pub others: BTreeSet<String>,
}

impl Tower {
    /// The services keep their admin ports from here on, wherever they are started again.
    pub async fn build(stage: &mut Stage) -> Result<Self> {
        let mut targets = Vec::new();
        for name in SERVICES {
            let service = stage.app.service(name)?;
            let url = service.admin_url()?;
            service.set_env("ADMIN_ADDR", url.trim_start_matches("http://").to_owned());
            targets.push((name, url));
        }
        // Watched like the others, and in nobody's way: what is parked is the rehearsal's to find.
        let replay = AutoReplay::start(&stage.app.wiring, &["--dry-run"])?;
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

    /// The rule's own waiting time, and the time until its condition can be seen.
    fn promised(&self, outage: &Outage) -> Result<Duration> {
        let rule = self.rules.iter().find(|rule| rule["name"] == outage.alert);
        let held = rule.with_context(|| format!("no alert {}", outage.alert))?["duration"].as_f64();
        Ok(outage.noticed_within + Duration::from_secs_f64(held.unwrap_or_default()) + GRACE)
    }

    pub async fn fires(&self, outage: &Outage) -> Result<Fired> {
        let (begun, promised) = (Instant::now(), self.promised(outage)?);
        let mut others = BTreeSet::new();
        loop {
            let firing = self.firing().await?;
            let (wanted, rest): (Vec<_>, Vec<_>) = firing.into_iter().partition(|alert| is_of(outage, alert));
            others.extend(rest.iter().filter(|alert| !is_burn(alert)).map(shown));
            if !wanted.is_empty() {
                return Ok(Fired {
                    after: begun.elapsed(),
                    promised,
                    others,
                });
            }
            ensure!(
                begun.elapsed() < promised,
                "{} did not fire within {promised:?}; {others:?} did",
                outage.alert
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn firing(&self) -> Result<Vec<Value>> {
        let all = self.prometheus.alerts().await?;
        Ok(all
            .into_iter()
            .filter(|alert| alert["state"] == "firing")
            .collect())
    }

    /// Until nothing fires any more but what burns.
    pub async fn quiet(&self, within: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let firing = self.firing().await?;
            let loud: BTreeSet<String> = firing.iter().filter(|alert| !is_burn(alert)).map(shown).collect();
            if loud.is_empty() {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < within,
                "still firing after {within:?}: {loud:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The panel of the overview shows the trouble in what Grafana would draw of the last so many seconds.
    pub async fn sees(&self, outage: &Outage, seconds: u64) -> Result<()> {
        let panels = self.overview["panels"].as_array().context("no panels")?;
        let panel = panels.iter().find(|panel| panel["title"] == outage.panel);
        let panel = panel.with_context(|| format!("no panel {}", outage.panel))?;
        let query = panel["targets"][0]["expr"].as_str().context("no query")?;
        let query = query.replace("$__rate_interval", "10s");
        let drawn = self.prometheus.samples(&query, seconds).await?;
        ensure!(
            drawn.iter().flatten().any(|value| (outage.shows)(*value)),
            "the panel {} shows nothing of it: {drawn:?}",
            outage.panel
        );
        Ok(())
    }
}

fn is_of(outage: &Outage, alert: &Value) -> bool {
    let labels = &alert["labels"];
    let here = match outage.away {
        Away::Service(name) => labels["job"] == name,
        _ => true,
    };
    labels["alertname"] == outage.alert && here
}

fn is_burn(alert: &Value) -> bool {
    shown(alert).contains(BURNS)
}

fn shown(alert: &Value) -> String {
    let labels = &alert["labels"];
    let name = labels["alertname"].as_str().unwrap_or_default();
    let severity = labels["severity"].as_str().unwrap_or_default();
    match labels["job"].as_str() {
        Some(job) => format!("{name} of {job} ({severity})"),
        None => format!("{name} ({severity})"),
    }
}
