//! The committed dashboards over a real Prometheus that scraped a working stack: no panel is empty.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde_json::Value;
use testkit::app::App;
use testkit::client::{fresh_address, fresh_key, fresh_tx_ref, intent_body, paid_body};
use testkit::keys::random_hex;
use testkit::{AutoReplay, Prometheus, eventually};

use crate::{TIMEOUT, declared};

/// A panel's query, and the panel's name.
#[derive(Debug)]
struct Asked {
    place: String,
    query: String,
}

pub fn dashboards() -> Result<Vec<(String, Value)>> {
    let dir = testkit::dirs::workspace().join("deploy/grafana/dashboards");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&dir)? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        found.push((name, serde_json::from_slice(&std::fs::read(&path)?)?));
    }
    Ok(found)
}

fn queries() -> Result<Vec<Asked>> {
    let mut all = Vec::new();
    for (name, dashboard) in dashboards()? {
        let panels = dashboard["panels"].as_array().context("no panels")?;
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let targets = panel["targets"].as_array().context("a panel without targets")?;
            for target in targets {
                let query = target["expr"].as_str().context("a target without expr")?;
                all.push(Asked {
                    place: format!("{name}: {}", panel["title"]),
                    query: query.to_owned(),
                });
            }
        }
    }
    Ok(all)
}

#[test]
fn every_panel_asks_for_metrics_that_exist() -> Result<()> {
    let known: BTreeSet<&str> = declared::all().iter().map(|facts| facts.name).collect();
    let asked = queries()?;
    assert!(asked.len() > 40, "the dashboards were not read");
    for Asked { place, query } in asked {
        let metrics = declared::metrics_in(&query);
        assert!(!metrics.is_empty() || query.contains("up{"), "{place}: {query}");
        for metric in metrics {
            assert!(known.contains(declared::base(metric)), "{place}: {metric}");
        }
    }
    Ok(())
}

/// The on-call person may see a dashboard for the first time: each panel must have a description, a unit and legends.
#[test]
fn every_panel_explains_itself() -> Result<()> {
    for (name, dashboard) in dashboards()? {
        let panels = dashboard["panels"].as_array().context("no panels")?;
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let place = format!("{name}: {}", panel["title"]);
            let has_text = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
            assert!(has_text(&panel["description"]), "{place} has no description");
            let unit = &panel["fieldConfig"]["defaults"]["unit"];
            assert!(has_text(unit), "{place} has no unit");
            let targets = panel["targets"].as_array().context("no targets")?;
            for target in targets.iter().filter(|_| panel["type"] != "stat") {
                assert!(has_text(&target["legendFormat"]), "{place} has no legend");
            }
        }
    }
    Ok(())
}

/// A panel that overlaps another hides it.
#[test]
fn no_panel_lies_over_another_or_beyond_the_edge() -> Result<()> {
    for (name, dashboard) in dashboards()? {
        let mut taken = BTreeMap::new();
        for panel in dashboard["panels"].as_array().context("no panels")? {
            let place = |side: &str| panel["gridPos"][side].as_u64().context("no place");
            let (x, y, width, height) = (place("x")?, place("y")?, place("w")?, place("h")?);
            let title = panel["title"].to_string();
            assert!(x + width <= 24, "{name}: {title} leaves the grid");
            for cell in (y..y + height).flat_map(|row| (x..x + width).map(move |column| (column, row))) {
                let other = taken.insert(cell, title.clone());
                assert_eq!(other, None, "{name}: {title} lies over another");
            }
        }
    }
    Ok(())
}

/// Sends intents and payments for this long; the gateway refuses some of them and the chain others.
async fn work(app: &App, time: Duration) -> Result<()> {
    let (client, user, stranger) = (app.client()?, fresh_address()?, fresh_address()?);
    app.make_compliant(&user).await?;
    let end = Instant::now() + time;
    while Instant::now() < end {
        let one = async |user: &String| {
            let tx_ref = fresh_tx_ref("LOAD-")?;
            client
                .create(&fresh_key()?, &intent_body(user, 10, &tx_ref))
                .await?;
            let paid = paid_body(&tx_ref, 10, &random_hex::<5>()?.to_uppercase())?;
            client.callback(&paid).await?;
            client.create(&fresh_key()?, &intent_body(user, 0, &tx_ref)).await
        };
        try_join_all([&user, &user, &user, &stranger].map(one)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn no_panel_of_any_dashboard_is_empty() -> Result<()> {
    let app = App::start().await?;
    let mut targets = Vec::new();
    for service in [&app.gateway, &app.executor, &app.callback] {
        let service = service.as_ref().context("the service runs")?;
        targets.push((service.name(), service.admin_url()?));
    }
    let replay = AutoReplay::start(&app.wiring, &[])?;
    targets.push(("auto-replay", replay.admin_url()));
    let prometheus = Prometheus::start(&targets).await?;
    work(&app, Duration::from_secs(20)).await?;
    let left = RefCell::new(queries()?);
    // Finality and the gauges of slow sweeps take a little longer.
    let filled = eventually(TIMEOUT, "every panel shows something", || async {
        let queries: Vec<String> = left.borrow().iter().map(|asked| asked.query.clone()).collect();
        for query in queries {
            let now = query.replace("$__rate_interval", "10s");
            let series = prometheus.samples(&now, 60).await?;
            if series.iter().any(|samples| !samples.is_empty()) {
                left.borrow_mut().retain(|asked| asked.query != query);
            }
        }
        Ok(left.borrow().is_empty().then_some(()))
    })
    .await;
    filled.with_context(|| format!("{:#?}", left.borrow()))?;
    for rule in prometheus.rules().await? {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    Ok(())
}
