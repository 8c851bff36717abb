//! The metrics and log events of this crate. Labels are bounded: JSON-RPC method names that we call, error kinds.

use std::time::Duration;

use meter::{Counter, Gauge, Histogram, dynamic_label, label};

use crate::endpoint_status::EndpointStatus;

/// Every method that this crate calls.
const METHODS: &[&str] = &[
    "eth_call",
    "eth_chainId",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getCode",
    "eth_getLogs",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_sendRawTransaction",
];

const ERRORS: &[&str] = &[
    "node_error",
    "connect",
    "timeout",
    "http_status",
    "too_large",
    "malformed",
    "broken",
    "rate_limited",
    "abandoned",
];

meter::declare! {
    REQUESTS: Counter<2> = Counter::new(
        "fiatrails_rpc_requests_total", "JSON-RPC requests, each to one endpoint.",
        [label("method", METHODS), label("status", &["ok", "error"])]);
    SECONDS: Histogram<1> = Histogram::new(
        "fiatrails_rpc_duration_seconds", "JSON-RPC request to answer, one endpoint.", [label("method", METHODS)]);
    FAILED: Counter<2> = Counter::new(
        "fiatrails_rpc_errors_total", "JSON-RPC requests without a result; node_error is mostly an answer too.",
        [label("method", METHODS), label("error_type", ERRORS)]);
    FAILOVERS: Counter<1> = Counter::new(
        "fiatrails_rpc_failovers_total", "JSON-RPC requests that went on to another endpoint.",
        [label("method", METHODS)]);
    LEVEL: Gauge<1> = Gauge::new(
        "fiatrails_rpc_endpoint_in_sync", "1 while the endpoint is in sync with the others; 0 while it lags, gives no answer or tells another story.",
        [dynamic_label("endpoint", "endpoints", 8)]);
}

/// One request to one endpoint; `error` is `None` when the node answered with a result.
pub(crate) fn request(method: &str, elapsed: Duration, error: Option<&'static str>) {
    let status = if error.is_none() { "ok" } else { "error" };
    REQUESTS.increment([method, status]);
    SECONDS.record([method], elapsed.as_secs_f64());
    if let Some(kind) = error {
        FAILED.increment([method, kind]);
    }
}

pub(crate) fn endpoint_status(endpoint: &str, status: EndpointStatus, changed: bool) {
    let in_sync = status == EndpointStatus::InSync;
    let value = if in_sync { 1.0 } else { 0.0 };
    LEVEL.set([endpoint], value);
    if changed && in_sync {
        tracing::info!(endpoint, "the RPC endpoint is in sync again");
    } else if changed {
        tracing::error!(endpoint, status = ?status, "the RPC endpoint is out of sync and avoided");
    }
}

pub(crate) fn failed_over(method: &str) {
    FAILOVERS.increment([method]);
}
