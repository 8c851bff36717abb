//! One intent, one trace: from the HTTP request to the settlement, over all services and the broker.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use testkit::app::{App, Options};
use testkit::client::fresh_address;
use testkit::eventually;

use crate::TIMEOUT;
use crate::otlp::{Collector, Span};

/// Settings that send spans to `collector` as soon as they end.
async fn traced(collector: &Collector) -> Result<App> {
    let mut options = Options::default();
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=test"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ] {
        options.extra.push((name.to_owned(), value.to_owned()));
    }
    App::start_with(options).await
}

/// `service name`, and what it is about.
fn label(span: &Span) -> String {
    let what = ["command", "outcome", "queue"]
        .iter()
        .find_map(|key| span.get(key));
    format!("{} {} {}", span.service, span.name, what.unwrap_or_default())
}

/// The spans of one trace, each with its parent.
fn tree(spans: &[Span], trace: &str) -> BTreeSet<(String, String)> {
    let of_trace: Vec<&Span> = spans.iter().filter(|span| span.trace == trace).collect();
    let parent = |span: &Span| {
        let parent = of_trace.iter().find(|other| other.id == span.parent);
        parent.map_or_else(|| "-".to_owned(), |parent| label(parent))
    };
    of_trace.iter().map(|span| (label(span), parent(span))).collect()
}

const CREATE: &str = "gateway gateway.mint_intents.create ";

/// Every span from the request to the settlement, each with its parent.
fn wanted() -> BTreeSet<(String, String)> {
    let decide = "callback callback.decide execute";
    let escrowed = "mint-executor executor.outcome escrowed";
    let executed = "mint-executor executor.outcome executed";
    let wanted: [(&str, &str); 16] = [
        (CREATE, "-"),
        ("gateway relay.publish mint.submit.v1", CREATE),
        ("mint-executor executor.collect submit", CREATE),
        ("mint-executor executor.sign submit", CREATE),
        ("mint-executor executor.mined submit", CREATE),
        (escrowed, CREATE),
        ("mint-executor relay.publish mint.outcome.v1", escrowed),
        ("callback callback.handle mint.outcome.v1", escrowed),
        (decide, CREATE),
        ("callback relay.publish mint.execute.v1", decide),
        ("mint-executor executor.collect execute", decide),
        ("mint-executor executor.sign execute", decide),
        ("mint-executor executor.mined execute", decide),
        (executed, CREATE),
        ("mint-executor relay.publish mint.outcome.v1", executed),
        ("callback callback.handle mint.outcome.v1", executed),
    ];
    wanted
        .iter()
        .map(|(span, parent)| ((*span).to_owned(), (*parent).to_owned()))
        .collect()
}

/// The attributes that a search starts from.
fn can_be_searched(spans: &[Span], trace: &str) {
    for span in spans
        .iter()
        .filter(|span| span.trace == trace && span.name != "relay.publish")
    {
        assert_eq!(span.get("tx_ref"), Some("TRACE-1"), "{span:?}");
    }
    let mined = spans.iter().filter(|span| span.name == "executor.mined");
    for span in mined {
        assert!(
            span.get("tx_hash").is_some_and(|hash| hash.len() == 66),
            "{span:?}"
        );
    }
}

#[tokio::test]
async fn one_trace_leads_from_the_request_to_the_settlement() -> Result<()> {
    let collector = Collector::start().await?;
    let app = traced(&collector).await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let id = app.create_intent(&user, 150, "TRACE-1").await?;
    app.until(&id, "escrowed", TIMEOUT, |intent| intent["stage"] == "escrowed")
        .await?;
    // The rows change before the message is acknowledged, so wait for the last span.
    eventually(TIMEOUT, "the callback service knows of the deposit", || async {
        let heard = |span: &Span| label(span) == "callback callback.handle mint.outcome.v1";
        Ok(collector.spans().iter().any(heard).then_some(()))
    })
    .await?;
    app.report_payment("TRACE-1", 150, "RCPT0000070").await?;
    app.until_status(&id, "executed", TIMEOUT).await?;

    let wanted = wanted();
    let whole = eventually(TIMEOUT, "the whole trace", || async {
        let spans = collector.spans();
        let root = spans
            .iter()
            .find(|span| label(span) == CREATE)
            .context("no request yet")?;
        let missing: Vec<_> = wanted.difference(&tree(&spans, &root.trace)).cloned().collect();
        anyhow::ensure!(
            missing.is_empty(),
            "missing {missing:?} in {:?}",
            tree(&spans, &root.trace)
        );
        Ok(Some((spans.clone(), root.clone())))
    });
    let (spans, root) = whole.await?;

    // M-Pesa's request is a trace of its own, and the decision is linked to it.
    let paid = spans.iter().find(|span| span.name == "gateway.callbacks.mpesa");
    let paid = paid.context("no callback")?;
    assert_ne!(paid.trace, root.trace);
    let decide = spans.iter().find(|span| span.name == "callback.decide");
    assert_eq!(
        decide.context("no decision")?.linked_traces,
        std::slice::from_ref(&paid.trace)
    );
    the_page_shows_it(&spans);
    can_be_searched(&spans, &root.trace);
    Ok(())
}

/// The trace drawn in docs/LOGGING.md must have exactly these spans.
fn the_page_shows_it(spans: &[Span]) {
    let page = crate::logs::LOGGING;
    let (_, traces) = page.split_once("## Traces").unwrap_or_default();
    let words = traces.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'));
    let drawn: BTreeSet<&str> = words
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| {
            ["gateway.", "relay.", "executor.", "callback."]
                .iter()
                .any(|room| word.starts_with(room))
        })
        .collect();
    let seen: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(drawn, seen);
}

/// Our trace must continue the caller's own.
#[tokio::test]
async fn a_request_continues_the_trace_that_it_names() -> Result<()> {
    let collector = Collector::start().await?;
    let app = traced(&collector).await?;
    let base = app.client()?.base().to_owned();
    for (route, theirs) in [
        ("mint-intents", "0af7651916cd43dd8448eb211c80319c"),
        ("callbacks/mpesa", "1af7651916cd43dd8448eb211c80319c"),
    ] {
        testkit::http::client()?
            .post(format!("{base}/{route}"))
            .header("traceparent", format!("00-{theirs}-b7ad6b7169203331-01"))
            .send()
            .await?;
        eventually(TIMEOUT, "a span of their trace", || async {
            let spans = collector.spans();
            let span = spans.iter().find(|span| span.trace == theirs);
            Ok(span.map(|span| assert_eq!(span.parent, "b7ad6b7169203331")))
        })
        .await?;
    }
    Ok(())
}
