//! The files that the profile `observability` mounts into programs which no test can start: Grafana and the trace
//! collector. They are compared with each other, with compose.yaml and with the programs' documentation.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::dashboards::dashboards;
use crate::logs::LOGGING;

/// A YAML file of the repository.
fn yaml(path: &str) -> Result<Value> {
    const TO_JSON: &str = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let file = testkit::dirs::workspace().join(path);
    let read = Command::new("python3")
        .args(["-c", TO_JSON])
        .arg(file)
        .output()
        .context("python3")?;
    ensure!(
        read.status.success(),
        "{path}: {}",
        String::from_utf8_lossy(&read.stderr)
    );
    Ok(serde_json::from_slice(&read.stdout)?)
}

fn names(table: &Value) -> BTreeSet<&str> {
    table
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The path at which a service of compose.yaml mounts a file or folder of the repository.
fn mounted<'c>(compose: &'c Value, service: &str, source: &str) -> Option<&'c str> {
    let mounts = texts(&compose["services"][service]["volumes"]);
    mounts
        .into_iter()
        .find_map(|mount| mount.strip_prefix(source)?.strip_prefix(':')?.strip_suffix(":ro"))
}

/// The collector refuses to start over a name without a definition, and does nothing with a definition without a name.
#[test]
fn the_collectors_pipeline_is_made_of_what_is_defined() -> Result<()> {
    let collector = yaml("deploy/collector/config.yaml")?;
    // What the image that compose.yaml names is built with, of what we would use.
    let built_in = [
        ("receivers", ["otlp"].as_slice()),
        ("processors", &["memory_limiter", "batch"]),
        ("exporters", &["debug", "otlp", "otlphttp"]),
    ];
    let pipelines = collector["service"]["pipelines"]
        .as_object()
        .context("no pipelines")?;
    ensure!(pipelines.contains_key("traces"), "services send traces");
    for (kind, known) in built_in {
        let defined = names(&collector[kind]);
        let used: BTreeSet<&str> = pipelines
            .values()
            .flat_map(|pipeline| texts(&pipeline[kind]))
            .collect();
        assert!(!used.is_empty(), "no {kind}");
        assert_eq!(defined, used, "{kind}: defined and used");
        for name in defined {
            let component = name.split('/').next().unwrap_or(name);
            assert!(known.contains(&component), "{kind}: {name} is not in the image");
        }
    }
    // Memory is refused before anything is kept in it.
    for pipeline in pipelines.values() {
        assert_eq!(texts(&pipeline["processors"])[0], "memory_limiter");
    }
    Ok(())
}

#[test]
fn the_collector_listens_where_services_are_told_to_send_and_keeps_within_its_container() -> Result<()> {
    let (collector, compose) = (yaml("deploy/collector/config.yaml")?, yaml("compose.yaml")?);
    let service = &compose["services"]["collector"];
    let config = mounted(&compose, "collector", "./deploy/collector/config.yaml").context("not mounted")?;
    assert_eq!(texts(&service["command"]), [format!("--config={config}")]);

    let protocols = &collector["receivers"]["otlp"]["protocols"];
    let address = protocols["http"]["endpoint"].as_str().context("no address")?;
    let port = address
        .strip_prefix("0.0.0.0:")
        .context("reachable from inside alone")?;
    assert!(
        LOGGING.contains(&format!("`http://collector:{port}`")),
        "docs/LOGGING.md names another port"
    );
    for sender in ["gateway", "mint-executor", "callback"] {
        let networks = texts(&compose["services"][sender]["networks"]);
        let shared = texts(&service["networks"])
            .iter()
            .any(|net| networks.contains(net));
        assert!(shared, "{sender} cannot reach the collector");
    }

    // The heap's bound and what a process takes beside it.
    let limiter = &collector["processors"]["memory_limiter"];
    let heap = limiter["limit_mib"].as_u64().context("no bound")?;
    assert!(limiter["check_interval"].is_string(), "it never looks");
    let container = service["mem_limit"]
        .as_str()
        .and_then(|size| size.strip_suffix('m'));
    assert!(heap + 50 < container.context("no limit")?.parse()?, "{heap} MiB");
    let soft = service["environment"]["GOMEMLIMIT"].as_str();
    assert_eq!(soft, Some(format!("{}MiB", heap * 8 / 10).as_str()));
    Ok(())
}

#[test]
fn grafana_is_given_the_dashboards_and_the_source_that_they_ask() -> Result<()> {
    let compose = yaml("compose.yaml")?;
    let source = yaml("deploy/grafana/provisioning/datasources/prometheus.yml")?["datasources"][0].clone();
    assert_eq!(source["type"], "prometheus");
    let prometheus = texts(&compose["services"]["prometheus"]["networks"]);
    assert!(
        texts(&compose["services"]["grafana"]["networks"])
            .iter()
            .any(|net| prometheus.contains(net))
    );
    assert_eq!(
        source["url"], "http://prometheus:9090",
        "a service of compose.yaml, at its own port"
    );

    let provider = yaml("deploy/grafana/provisioning/dashboards/fiatrails.yml")?["providers"][0].clone();
    assert_eq!(
        provider["options"]["path"].as_str(),
        mounted(&compose, "grafana", "./deploy/grafana/dashboards"),
        "Grafana looks for dashboards where none are mounted"
    );
    assert_eq!(
        mounted(&compose, "grafana", "./deploy/grafana/provisioning"),
        Some("/etc/grafana/provisioning")
    );

    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards()? {
        let uid = dashboard["uid"].as_str().context("no uid")?.to_owned();
        assert!(uids.insert(uid), "{name}: its uid is another's too");
        let panels = dashboard["panels"].as_array().context("no panels")?;
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            assert_eq!(
                panel["datasource"]["uid"], source["uid"],
                "{name}: {}",
                panel["title"]
            );
        }
    }
    assert_eq!(uids.len(), 3, "{uids:?}");
    Ok(())
}

#[test]
fn what_runs_for_good_says_whether_it_is_well() -> Result<()> {
    let compose = yaml("compose.yaml")?;
    let images = std::fs::read_to_string(testkit::dirs::workspace().join("deploy/Dockerfile"))?;
    let services = compose["services"].as_object().context("no services")?;
    let mute: Vec<&str> = services
        .iter()
        .filter(|(_, service)| service["restart"] == "unless-stopped" && service["healthcheck"].is_null())
        .map(|(name, _)| name.as_str())
        .filter(|name| !images.contains(&format!("CMD [\"{name}\", \"--check-ready\"]")))
        .collect();
    assert_eq!(mute, ["collector"], "nothing in its image could ask it");
    Ok(())
}
