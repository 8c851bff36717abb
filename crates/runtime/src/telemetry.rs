//! Logs as JSON or as text, and trace contexts that travel in messages, so that one trace leads from the HTTP request to
//! the receipt.

mod export;

use std::collections::HashMap;
use std::sync::OnceLock;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

pub use export::ExportError;

use crate::settings::{Collector, LogFormat, LogSettings, SettingError};

const TRACEPARENT: &str = "traceparent";
/// The crates whose spans are part of our traces.
const OURS: [&str; 7] = [
    "gateway",
    "mint_executor",
    "callback",
    "runtime",
    "messaging",
    "chain",
    "storage",
];

/// The exporter of spans, if a collector is configured.
static EXPORTER: OnceLock<SdkTracerProvider> = OnceLock::new();

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Installs logging and tracing for the process. A second call changes nothing, for tests with several services. Must be
/// called inside a tokio runtime.
pub fn install(
    service: &'static str,
    log: &LogSettings,
    collector: Option<&Collector>,
) -> Result<(), TelemetryError> {
    // The quiet targets come last and so take precedence: lapin logs whole messages, which contain payers' data.
    let directives = format!("{},{}", log.filter, messaging::observe::QUIET_TARGETS);
    let filter = EnvFilter::try_new(directives).map_err(|e| SettingError::invalid("RUST_LOG", e))?;
    let provider = match collector {
        Some(collector) => export::provider(service, collector)?,
        // Without an exporter, the provider only assigns and propagates ids.
        None => SdkTracerProvider::builder().build(),
    };
    // Spans have their own filter, so that a stricter log filter does not break traces.
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(service))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_targets(OURS.map(|target| (target, LevelFilter::INFO))));
    let lines = match log.format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .boxed(),
        LogFormat::Pretty => fmt::layer().boxed(),
    };
    let installed = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init();
    if installed.is_ok() {
        if collector.is_some() {
            EXPORTER.get_or_init(|| provider);
        }
        tracing::info!(
            service,
            version = env!("CARGO_PKG_VERSION"),
            exports_spans = collector.is_some(),
            "starting"
        );
    }
    Ok(())
}

/// Whether spans are exported. Only then is a span per message worth its cost.
pub fn exports_spans() -> bool {
    EXPORTER.get().is_some()
}

/// Sends the remaining spans, at the end of the process.
pub async fn flush() {
    let Some(provider) = EXPORTER.get() else {
        return;
    };
    // The flush blocks on the exporter's thread, which in turn needs this runtime.
    let flushed = tokio::task::spawn_blocking(|| provider.force_flush()).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::warn!("the last spans were not sent");
    }
}

/// Makes `span` continue the trace of a message or request, and fills its `trace_id` field if it has one. A
/// malformed or missing context starts a new trace.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent {
        // Fails only where no tracer is installed: then there is no trace to continue.
        let _ = span.set_parent(extract(traceparent));
    }
    show_trace_id(span);
}

/// Makes `span` part of the trace of `traceparent`. If the current work belongs to another trace, links the two.
pub fn join_trace(span: &Span, traceparent: Option<&str>) {
    let here = context_of(&Span::current());
    if let Some(traceparent) = traceparent {
        let theirs = extract(traceparent);
        if theirs.span().span_context().trace_id() != here.trace_id() {
            let _ = span.set_parent(theirs);
            span.add_link(here);
        }
    }
    show_trace_id(span);
}

fn extract(traceparent: &str) -> opentelemetry::Context {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier)
}

fn context_of(span: &Span) -> SpanContext {
    span.context().span().span_context().clone()
}

fn show_trace_id(span: &Span) {
    if let Some(id) = trace_id(span) {
        span.record("trace_id", id);
    }
}

/// The W3C trace context of a span, for a message that the work sends.
pub fn traceparent_of(span: &Span) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// The trace id as 32 hexadecimal digits, or `None` outside of a trace.
pub fn trace_id(span: &Span) -> Option<String> {
    let span_context = context_of(span);
    span_context
        .is_valid()
        .then(|| span_context.trace_id().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_continues_through_a_message() {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let incoming = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let span = tracing::info_span!("work", trace_id = tracing::field::Empty);
            continue_trace(&span, Some(incoming));
            let outgoing = traceparent_of(&span).unwrap();
            assert_eq!(
                trace_id(&span).as_deref(),
                Some("0af7651916cd43dd8448eb211c80319c")
            );
            assert!(outgoing.contains("0af7651916cd43dd8448eb211c80319c") && outgoing != incoming);

            let there = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let decided = tracing::info_span!("decide", trace_id = tracing::field::Empty);
            span.in_scope(|| join_trace(&decided, Some(there)));
            assert_eq!(trace_id(&decided).as_deref(), Some(&there[3..35]));
            let same = span.in_scope(|| tracing::info_span!("decide"));
            span.in_scope(|| join_trace(&same, Some(incoming)));
            assert_eq!(trace_id(&same), trace_id(&span));

            let other = tracing::info_span!("work");
            continue_trace(&other, Some("rubbish"));
            assert!(
                !traceparent_of(&other)
                    .unwrap()
                    .contains("0af7651916cd43dd8448eb211c80319c")
            );
        });
    }
}
