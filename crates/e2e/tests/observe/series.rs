//! No request and no message, however malformed, adds a time series.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use messaging::WorkQueue;
use meter::{OTHER, Values};
use serde_json::json;
use testkit::app::App;
use testkit::client::{Client, fresh_address, fresh_key, fresh_tx_ref};
use testkit::eventually;
use testkit::keys::random_hex;

use crate::{TIMEOUT, declared};

/// Odd messages on every queue.
const MESSAGES: usize = 10;
/// Metrics of keys of all kinds, which a sweep updates.
const LAST_USE: &str = "key_last_use_timestamp_seconds";

/// Every series of a service, as `name{labels}`.
async fn scrape(admin_url: &str) -> Result<BTreeSet<String>> {
    let text = testkit::http::client()?
        .get(format!("{admin_url}/metrics"))
        .send()
        .await?
        .text()
        .await?;
    let samples = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let series = samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    Ok(series.collect())
}

/// `name{a="x",b="y"}` taken apart.
fn parts(series: &str) -> (&str, BTreeMap<&str, &str>) {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels
        .trim_end_matches('}')
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""));
    (
        name,
        labels
            .map(|(key, value)| (key, value.trim_end_matches('"')))
            .collect(),
    )
}

/// Checks that every series of `service` is declared, with declared label values only.
fn all_declared(service: &str, series: &BTreeSet<String>) {
    let known = declared::of(service);
    for one in series {
        let (name, labels) = parts(one);
        let facts = known.iter().find(|facts| facts.name == declared::base(name));
        let Some(facts) = facts else {
            panic!("{service} shows {one}, which is not declared");
        };
        for (key, value) in labels.iter().filter(|(key, _)| **key != "le") {
            let label = facts.labels.iter().find(|label| label.name == *key);
            let Some(label) = label else {
                panic!("{service} shows {one}, whose label {key} is not declared");
            };
            if let Values::Fixed(values) = label.values {
                // Only the label of the route may have another value.
                let odd = *key == "route" && *value == OTHER;
                assert!(odd || values.contains(value), "{service} shows {one}");
            }
        }
    }
    let bound: usize = known
        .iter()
        .map(|facts| {
            facts
                .labels
                .iter()
                .map(meter::Label::max_series)
                .product::<usize>()
        })
        .sum();
    let shown = series
        .iter()
        .filter(|one| !one.contains("_bucket{") && !one.ends_with("_sum"))
        .count();
    assert!(
        shown <= bound,
        "{service} shows {shown} series, {bound} are declared"
    );
}

/// Publishes malformed messages on every queue until each is parked; returns the words in them.
async fn flood_queues(app: &App) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for queue in WorkQueue::ALL {
        for turn in 0..MESSAGES {
            let word = random_hex::<6>()?;
            let odd = if turn % 2 == 0 {
                word.clone()
            } else {
                json!({ "version": &word, "type": &word, "kid": &word, &word: &word }).to_string()
            };
            let headers =
                json!({ "x-fr-class": &word, "x-fr-attempt": &word, "traceparent": &word, &word: &word });
            let message = json!({
                "properties": { "delivery_mode": 2, "message_id": &word, "type": &word, "headers": headers },
                "routing_key": queue.name(), "payload": odd, "payload_encoding": "string",
            });
            let path = format!("exchanges/{}/fiatrails.work/publish", app.vhost.name());
            app.vhost.management().post(&path, &message).await?;
            words.push(word);
        }
    }
    for queue in WorkQueue::ALL.map(WorkQueue::dead_letter_name) {
        eventually(TIMEOUT, &format!("{queue} has them all"), async || {
            Ok((app.vhost.peek(queue, 100).await?.len() == MESSAGES).then_some(()))
        })
        .await?;
    }
    Ok(words)
}

/// Sends requests of all kinds this often; returns the words in them.
async fn flood(client: &Client, rounds: usize) -> Result<Vec<String>> {
    let http = testkit::http::client()?;
    let mut words = Vec::new();
    for _ in 0..rounds {
        let word = random_hex::<6>()?;
        words.push(word.clone());
        let method = reqwest::Method::from_bytes(word.to_uppercase().as_bytes())?;
        let odd = [
            http.get(format!("{}/{word}", client.base())),
            http.get(format!("{}/mint-intents/{word}?{word}={word}", client.base())),
            http.request(method, format!("{}/mint-intents", client.base())),
            http.post(format!("{}/callbacks/mpesa", client.base()))
                // Never digits alone, which would be a time that is over.
                .header("X-Request-Timestamp", format!("at {word}"))
                .header(
                    "X-Mpesa-Signature",
                    format!("kid=mk_{word},v1={}", "0".repeat(64)),
                ),
        ];
        for request in odd {
            request.header("X-Request-Id", &word).send().await?;
        }
        let mut stranger = client.clone();
        stranger.request_kid = format!("ik_{word}");
        // Letters alone, or the code would be well-formed in some rounds only; never KES.
        let country: String = word[..3].bytes().map(|hex| char::from(hex % 16 + b'A')).collect();
        let body = json!({
            "user": fresh_address()?, "amount": "1000000000000000000", "countryCode": &country,
            "txRef": fresh_tx_ref("ODD-")?,
        });
        stranger.create(&fresh_key()?, &body).await?;
        client.create(&fresh_key()?, &body).await?;
        client.create(&word, &json!({ &word: &country })).await?;
    }
    Ok(words)
}

#[tokio::test]
async fn odd_requests_and_messages_add_no_series_and_every_series_is_declared() -> Result<()> {
    let app = App::start().await?;
    let (client, user) = (app.client()?, fresh_address()?);
    app.make_compliant(&user).await?;
    let id = app.create_intent(&user, 10, "SERIES-1").await?;
    app.report_payment("SERIES-1", 10, "RCPT0000050").await?;
    app.until_status(&id, "executed", TIMEOUT).await?;
    let gateway = app.gateway.as_ref().context("the gateway runs")?.admin_url()?;

    flood(&client, 5).await?;
    // What is shown only now and then must be there before the count begins: the integrator's key, M-Pesa's, the one
    // that protects stored answers, and those that seal what goes to two queues.
    let before = eventually(TIMEOUT, "each key's last use is shown", async || {
        let series = scrape(&gateway).await?;
        let used = series.iter().filter(|one| one.contains(LAST_USE)).count();
        Ok((used == 5).then_some(series))
    })
    .await?;
    assert!(
        before.iter().any(|one| one.contains(r#"route="other""#)),
        "the flood was not seen"
    );
    let mut words = flood(&client, 40).await?;
    let after = scrape(&gateway).await?;
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");

    words.extend(flood_queues(&app).await?);
    for service in [&app.gateway, &app.executor, &app.callback] {
        let service = service.as_ref().context("the service runs")?;
        let shown = scrape(&service.admin_url()?).await?;
        all_declared(service.name(), &shown);
        let from_outside = |one: &&String| {
            let one = one.to_lowercase();
            words.iter().any(|word| one.contains(word.as_str()))
        };
        let from_outside: Vec<_> = shown.iter().filter(from_outside).collect();
        assert!(from_outside.is_empty(), "{}: {from_outside:?}", service.name());
    }
    Ok(())
}
