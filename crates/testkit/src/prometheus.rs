//! A private Prometheus that scrapes what it is told every second and evaluates the committed alerts.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client, dirs, http,
    ports::Port,
    process::{Launch, Lifetime, Process},
    wait::eventually,
};

/// Ends with its owner.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    port: Port,
    http: reqwest::Client,
    _dir: TempDir,
}

impl Prometheus {
    /// `targets`: a job's name and where it serves `/metrics`, as `http://host:port`.
    pub async fn start(targets: &[(&str, String)]) -> Result<Self> {
        let dir = dirs::private("prometheus")?;
        let port = Port::reserve()?;
        let config = dir.path().join("prometheus.yml");
        std::fs::write(&config, configuration(targets)?)?;
        let process = launch(dir.path(), &config, port.number()).spawn(Lifetime::Tied)?;
        let mut started = Self {
            process,
            port,
            http: http::client()?,
            _dir: dir,
        };
        let (url, client) = (format!("{}/-/ready", started.url()), started.http.clone());
        let ready = eventually(Duration::from_secs(30), "Prometheus is ready", || async {
            let answer = client.get(&url).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await;
        started.process.must_be_running()?;
        ready.map(|()| started)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// The numbers of every series that a query gives over the last so many seconds, NaN and infinities left out.
    pub async fn samples(&self, query: &str, seconds: u64) -> Result<Vec<Vec<f64>>> {
        let now = u64::try_from(client::now()?)?;
        let (start, end) = ((now - seconds).to_string(), now.to_string());
        let params = [("query", query), ("start", &start), ("end", &end), ("step", "1")];
        let data = self.get("query_range", &params).await?;
        let series = data["result"].as_array().context("no result")?;
        Ok(series.iter().map(|one| finite(&one["values"])).collect())
    }

    /// Every rule as Prometheus sees it.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.get("rules", &[]).await?;
        let groups = data["groups"].as_array().context("no groups")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        Ok(rules.flatten().cloned().collect())
    }

    /// Every alert that waits or fires.
    pub async fn alerts(&self) -> Result<Vec<Value>> {
        let data = self.get("alerts", &[]).await?;
        Ok(data["alerts"].as_array().context("no alerts")?.clone())
    }

    async fn get(&self, what: &str, params: &[(&str, &str)]) -> Result<Value> {
        let url = Url::parse_with_params(&format!("{}/api/v1/{what}", self.url()), params)?;
        let mut answer: Value = self.http.get(url).send().await?.json().await?;
        ensure!(answer["status"] == "success", "{params:?}: {answer}");
        Ok(answer["data"].take())
    }
}

fn finite(values: &Value) -> Vec<f64> {
    let numbers = values.as_array().into_iter().flatten();
    numbers
        .filter_map(|pair| pair[1].as_str()?.parse::<f64>().ok())
        .filter(|number| number.is_finite())
        .collect()
}

fn launch(dir: &Path, config: &Path, port: u16) -> Launch {
    Launch::new("prometheus", "prometheus", dir.join("prometheus.log")).args([
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--log.level=warn".to_owned(),
    ])
}

fn configuration(targets: &[(&str, String)]) -> Result<String> {
    let rules = dirs::workspace().join("deploy/prometheus/alerts");
    let mut text = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{}/*.yml']\nscrape_configs:\n",
        rules.display()
    );
    for (job, url) in targets {
        let target = url
            .strip_prefix("http://")
            .context("a target is an http:// URL")?;
        writeln!(
            text,
            "  - job_name: {job}\n    static_configs: [{{ targets: ['{target}'] }}]"
        )?;
    }
    Ok(text)
}
