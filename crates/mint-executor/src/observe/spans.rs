//! The executor's spans; each continues the trace of the message or leg that it works on.

use domain::command::Command;
use domain::ids::{MessageId, Preimage};
use messaging::wire::Outcome;
use runtime::telemetry;
use storage::executor::legs::ChainLegRow;
use tracing::Span;

/// Covers a command from its queue to our rows.
pub fn consume_span(
    command: Command,
    intent: &Preimage,
    message: MessageId,
    traceparent: Option<&str>,
) -> Span {
    let span = tracing::info_span!(
        "executor.collect",
        otel.kind = "consumer",
        command = command.name(),
        tx_ref = %intent.tx_ref,
        intent_id = %intent.intent_id(),
        message_id = %message,
        trace_id = tracing::field::Empty,
    );
    telemetry::continue_trace(&span, traceparent);
    span
}

/// Covers one member of a batch until the batch is signed and stored.
pub fn sign_span(command: Command, message: MessageId, intent: &Preimage, traceparent: Option<&str>) -> Span {
    let span = tracing::info_span!(
        "executor.sign",
        command = command.name(),
        tx_ref = %intent.tx_ref,
        intent_id = %intent.intent_id(),
        message_id = %message,
        tx_hash = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    telemetry::continue_trace(&span, traceparent);
    span
}

/// Covers the publishing of an outcome.
pub fn outcome_span(leg: &ChainLegRow, outcome: Outcome) -> Span {
    let span = tracing::info_span!(
        "executor.outcome",
        otel.kind = "producer",
        outcome = outcome.name(),
        tx_ref = leg.tx_ref,
        intent_id = %leg.intent_id,
        trace_id = tracing::field::Empty,
    );
    telemetry::continue_trace(&span, leg.trace_parent.as_deref());
    span
}
