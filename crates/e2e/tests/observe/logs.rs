//! Every log line is JSON, and one intent can be followed through the logs of all services.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::ChildService;
use testkit::app::App;
use testkit::client::fresh_address;

use crate::TIMEOUT;
use crate::log_fields::listed;

pub const LOGGING: &str = include_str!("../../../../docs/LOGGING.md");

fn services(app: &App) -> Result<[&ChildService; 3]> {
    let [gateway, executor, callback] = [&app.gateway, &app.executor, &app.callback].map(Option::as_ref);
    let all = || Some([gateway?, executor?, callback?]);
    all().context("a service does not run")
}

/// Checks that every line is JSON with the common fields and with no field that the page does not list.
fn lines_about(tx_ref: &str, log: &str) -> Result<Vec<Value>> {
    let listed = listed()?;
    let mut about = Vec::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        for always in ["timestamp", "level", "target", "message"] {
            ensure!(line[always].is_string(), "{always}: {line}");
        }
        let unlisted = unlisted(&line, &listed);
        ensure!(
            unlisted.is_empty(),
            "{unlisted:?} are not in docs/LOGGING.md: {line}"
        );
        if fields(&line, "tx_ref").any(|named| named == tx_ref) {
            about.push(line);
        }
    }
    Ok(about)
}

/// Fields of the line and of its spans that the page does not list.
fn unlisted<'a>(line: &'a Value, listed: &BTreeSet<String>) -> Vec<&'a String> {
    let spans = line["spans"].as_array().into_iter().flatten();
    let names = spans
        .chain([line])
        .filter_map(Value::as_object)
        .flat_map(serde_json::Map::keys);
    names.filter(|name| !listed.contains(*name)).collect()
}

/// A field of the line and of all its spans.
fn fields<'a>(line: &'a Value, name: &'a str) -> impl Iterator<Item = &'a str> {
    let spans = line["spans"].as_array().into_iter().flatten();
    spans.chain([line]).filter_map(move |place| place[name].as_str())
}

#[tokio::test]
async fn an_intent_is_found_in_every_log_by_any_of_its_names() -> Result<()> {
    let app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let id = app.create_intent(&user, 10, "LOGGED-1").await?;
    app.until(&id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;
    app.report_payment("LOGGED-1", 10, "RCPT0000060").await?;
    app.until_status(&id, "executed", TIMEOUT).await?;

    let mut traces = Vec::new();
    for service in services(&app)? {
        let about = lines_about("LOGGED-1", &service.log())?;
        let all = |name| -> BTreeSet<String> {
            let named = about.iter().flat_map(|line| fields(line, name));
            named.map(str::to_owned).collect()
        };
        ensure!(all("intent_id").contains(&id), "{}: {about:#?}", service.name());
        let per_service: &[&str] = match service.name() {
            "gateway" => &["request_id"],
            "mint-executor" => &["message_id", "tx_hash"],
            _ => &["message_id"],
        };
        for name in per_service {
            ensure!(
                !all(name).is_empty(),
                "{} of {}: {about:#?}",
                name,
                service.name()
            );
        }
        traces.push(all("trace_id"));
    }
    // The request's trace is in all three.
    let common = traces
        .iter()
        .skip(1)
        .fold(traces[0].clone(), |common, more| &common & more);
    let trace = common.first().with_context(|| format!("{traces:?}"))?;
    the_page_finds_them(&app, trace)
}

/// The page's own commands, with this intent's names in place of the examples.
fn the_page_finds_them(app: &App, trace: &str) -> Result<()> {
    let dir = testkit::dirs::private("logs")?;
    for service in services(app)? {
        std::fs::write(dir.path().join(format!("{}.log", service.name())), service.log())?;
    }
    let block = LOGGING
        .split("```bash\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let commands: Vec<String> = block
        .context("no commands")?
        .lines()
        .map(|line| {
            line.replace("TX0000000001", "LOGGED-1")
                .replace("0af7651916cd43dd8448eb211c80319c", trace)
        })
        .collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    for command in commands {
        let found = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &command])
            .current_dir(dir.path())
            .output()?;
        let text = String::from_utf8(found.stdout)?;
        ensure!(
            found.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&found.stderr)
        );
        for target in ["gateway::", "mint_executor::", "callback::"] {
            ensure!(
                text.contains(&format!(r#""target":"{target}"#)),
                "{command} misses {target}: {text}"
            );
        }
    }
    Ok(())
}
