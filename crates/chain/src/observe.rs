//! What this room counts. Labels are bounded: JSON-RPC method names that we call, error kinds.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

/// Registers help texts; once per process.
pub fn describe() {
    describe_counter!(
        "fiatrails_rpc_requests_total",
        "JSON-RPC requests, by method and status"
    );
    describe_histogram!(
        "fiatrails_rpc_duration_seconds",
        Unit::Seconds,
        "request to answer, one endpoint, by method"
    );
    describe_counter!(
        "fiatrails_rpc_errors_total",
        "failed JSON-RPC requests, by method and kind"
    );
    describe_counter!(
        "fiatrails_rpc_failovers_total",
        "requests that went on to another endpoint"
    );
}

/// One request to one endpoint; `error` is `None` when the node answered with a result.
pub(crate) fn request(method: &str, elapsed: Duration, error: Option<&'static str>) {
    let status = if error.is_none() { "ok" } else { "error" };
    counter!("fiatrails_rpc_requests_total", "method" => method.to_owned(), "status" => status).increment(1);
    histogram!("fiatrails_rpc_duration_seconds", "method" => method.to_owned()).record(elapsed.as_secs_f64());
    if let Some(kind) = error {
        counter!("fiatrails_rpc_errors_total", "method" => method.to_owned(), "error_type" => kind)
            .increment(1);
    }
}

pub(crate) fn failed_over(method: &str) {
    counter!("fiatrails_rpc_failovers_total", "method" => method.to_owned()).increment(1);
}
