//! Every metric that our processes can export, and `docs/METRICS.md`, which is generated from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use meter::{Label, Metric, MetricDescription, MetricKind, Values};

type Rooms = &'static [&'static [&'static dyn Metric]];

/// Which process exports the metrics of which crates.
pub const SERVICES: [(&str, Rooms); 5] = [
    (
        "every service",
        &[
            runtime::observe::METRICS,
            storage::observe::METRICS,
            messaging::observe::METRICS,
        ],
    ),
    ("gateway", &[gateway::observe::METRICS]),
    (
        "mint-executor",
        &[mint_executor::METRICS, chain::observe::METRICS],
    ),
    ("callback", &[callback::observe::METRICS]),
    ("fiatrails dlq auto", &[ops::observe::METRICS]),
];

/// The metrics that `service` may export, including those of every service.
pub fn of(service: &str) -> Vec<MetricDescription<'static>> {
    SERVICES
        .iter()
        .filter(|(name, _)| *name == service || *name == SERVICES[0].0)
        .flat_map(|(_, rooms)| rooms.iter().copied().flatten())
        .map(|metric| metric.description())
        .collect()
}

pub fn all() -> Vec<MetricDescription<'static>> {
    SERVICES
        .iter()
        .flat_map(|(_, rooms)| rooms.iter().copied().flatten())
        .map(|metric| metric.description())
        .collect()
}

/// The names of our metrics in an expression.
pub fn metrics_in(expression: &str) -> BTreeSet<&str> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("fiatrails_") || word.starts_with("process_"))
        .collect()
}

/// The declared name behind a series' name.
pub fn base(name: &str) -> &str {
    ["_bucket", "_count", "_sum"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .filter(|base| all().iter().any(|facts| facts.name == *base))
        .unwrap_or(name)
}

#[test]
fn the_reference_of_metrics_is_current() -> Result<()> {
    let path = testkit::dirs::workspace().join("docs/METRICS.md");
    let generated = reference();
    if std::env::var_os("FIATRAILS_WRITE_DOCS").is_some() {
        std::fs::write(&path, &generated)?;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(
        committed == generated,
        "docs/METRICS.md is out of date; renew it as its first lines say"
    );
    Ok(())
}

/// Other people's dashboards depend on these names and labels: none of them may be renamed.
#[test]
fn the_promised_metrics_are_there_with_their_labels() {
    let promised: [(&str, MetricKind, &[&str]); 8] = [
        (
            "fiatrails_rpc_requests_total",
            MetricKind::Counter,
            &["method", "status"],
        ),
        (
            "fiatrails_rpc_duration_seconds",
            MetricKind::Histogram,
            &["method"],
        ),
        (
            "fiatrails_rpc_errors_total",
            MetricKind::Counter,
            &["method", "error_type"],
        ),
        ("fiatrails_mint_intents_total", MetricKind::Counter, &["status"]),
        (
            "fiatrails_callbacks_total",
            MetricKind::Counter,
            &["source", "status"],
        ),
        ("fiatrails_dlq_depth", MetricKind::Gauge, &["queue"]),
        (
            "fiatrails_retry_attempts_total",
            MetricKind::Counter,
            &["operation"],
        ),
        (
            "fiatrails_compliance_checks_total",
            MetricKind::Counter,
            &["result"],
        ),
    ];
    let all = all();
    for (name, kind, labels) in promised {
        let found = all.iter().find(|facts| facts.name == name);
        let found = found.map(|facts| {
            (
                facts.kind,
                facts.labels.iter().map(|l| l.name).collect::<Vec<_>>(),
            )
        });
        assert_eq!(found, Some((kind, labels.to_vec())), "{name}");
    }
}

#[test]
fn no_service_declares_a_metric_twice() {
    for (service, _) in SERVICES {
        let mut names: Vec<_> = of(service).iter().map(|facts| facts.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{service}");
    }
}

fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Written from the declarations by the test that compares them; renew it with\n\
         `FIATRAILS_WRITE_DOCS=1 cargo nextest run -p e2e -E 'test(the_reference_of_metrics)'`.\n\n\
         Each service serves them at `/metrics` of its admin port. A label has the values listed and no other; whatever else\n\
         comes is shown as `other`. Counters of up to 128 series start at zero.\n",
    );
    for (service, rooms) in SERVICES {
        let _ = write!(
            page,
            "\n## {service}\n\n| metric | kind | labels | |\n|---|---|---|---|\n"
        );
        for metric in rooms.iter().copied().flatten() {
            let MetricDescription {
                name,
                kind,
                help,
                labels,
            } = metric.description();
            let labels: Vec<String> = labels.iter().map(shown).collect();
            let _ = writeln!(
                page,
                "| `{name}` | {} | {} | {help} |",
                kind.name(),
                labels.join("<br>")
            );
        }
    }
    page
}

fn shown(label: &Label) -> String {
    match &label.values {
        Values::Fixed(values) => format!("{}: {}", label.name, values.join(", ")),
        Values::Dynamic {
            description: what,
            limit: at_most,
            ..
        } => format!("{}: {what}, at most {at_most}", label.name),
    }
}
