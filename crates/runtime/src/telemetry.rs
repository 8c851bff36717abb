//! Logs as JSON (or for eyes), and trace contexts that travel in messages, so that one trace leads from the HTTP
//! request to the receipt.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::settings::{LogFormat, LogSettings, SettingError};

const TRACEPARENT: &str = "traceparent";

/// Installs logging and tracing for the process; a second call changes nothing (several services in one test).
pub fn install(service: &'static str, log: &LogSettings) -> Result<(), SettingError> {
    // Quiet targets come last and win: lapin logs whole messages, which name payers.
    let wanted = log.filter.as_deref().unwrap_or("info");
    let directives = format!("{wanted},{}", messaging::observe::QUIET_TARGETS);
    let filter = EnvFilter::try_new(directives).map_err(|e| SettingError::invalid("RUST_LOG", e))?;
    // Spans are not exported yet; the provider gives them ids and carries them on.
    let tracer = SdkTracerProvider::builder().build().tracer(service);
    let trace = tracing_opentelemetry::layer().with_tracer(tracer);
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
        .with(filter)
        .with(lines)
        .with(trace)
        .try_init();
    if installed.is_ok() {
        tracing::info!(service, version = env!("CARGO_PKG_VERSION"), "starting");
    }
    Ok(())
}

/// Makes `span` continue the trace of a message or request, and fills its `trace_id` field if it has one. A
/// malformed or missing context starts a new trace.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
        // Fails only where no tracer is installed: then there is no trace to continue.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
    }
    if let Some(id) = trace_id(span) {
        span.record("trace_id", id);
    }
}

/// The W3C trace context of the current span, for a message that follows from it.
pub fn traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

pub fn traceparent_of(span: &Span) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// 32 hexadecimal digits, or `None` outside of a trace.
pub fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let span_context = context.span().span_context().clone();
    span_context
        .is_valid()
        .then(|| span_context.trace_id().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_through_a_message() {
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
