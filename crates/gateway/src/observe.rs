//! What happens at the door, as domain events: each logs and counts. Labels are bounded.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use storage::StorageError;

use crate::error::Problem;

/// Names and units for whoever reads `/metrics`.
pub fn describe() {
    describe_counter!(
        "fiatrails_mint_intents_total",
        "mint intents, by what was answered"
    );
    describe_counter!(
        "fiatrails_callbacks_total",
        "callbacks, by source and what was answered"
    );
    describe_counter!("fiatrails_refusals_total", "refused requests, by route and code");
    describe_histogram!(
        "fiatrails_http_request_duration_seconds",
        Unit::Seconds,
        "from the request's head to its answer, by route and status"
    );
    describe_histogram!(
        "fiatrails_intake_group_size",
        "requests that shared a transaction, by door"
    );
    describe_histogram!(
        "fiatrails_intake_group_seconds",
        Unit::Seconds,
        "one group's transaction, by door"
    );
    describe_counter!(
        "fiatrails_intake_splits_total",
        "groups that ran singly, by door and reason"
    );
    describe_counter!(
        "fiatrails_intake_failures_total",
        "groups that failed, by door and reason"
    );
    describe_counter!(
        "fiatrails_intake_full_total",
        "requests turned away at a full door"
    );
    describe_counter!(
        "fiatrails_tampered_rows_total",
        "rows that somebody else changed, by table: page"
    );
    describe_counter!(
        "fiatrails_redriven_total",
        "messages sent again because nothing came of them, by queue"
    );
    describe_counter!(
        "fiatrails_late_reports_total",
        "authentic reports with a stale timestamp"
    );
}

pub fn answered(route: &'static str, status: u16, took: Duration) {
    let status = status_label(status);
    histogram!("fiatrails_http_request_duration_seconds", "route" => route, "status" => status)
        .record(took.as_secs_f64());
}

pub fn refused(route: &'static str, problem: &Problem, request_id: &str) {
    let facts = problem.code.facts();
    counter!("fiatrails_refusals_total", "route" => route, "code" => facts.code).increment(1);
    if facts.status >= 500 {
        tracing::warn!(route, code = facts.code, request_id, "refused");
    } else {
        tracing::debug!(route, code = facts.code, request_id, "refused");
    }
}

/// `status`: accepted, replayed, or the code of the refusal.
pub fn mint_intent(status: &'static str) {
    counter!("fiatrails_mint_intents_total", "status" => status).increment(1);
}

pub fn callback(status: &'static str) {
    counter!("fiatrails_callbacks_total", "source" => "mpesa", "status" => status).increment(1);
}

pub fn late_report(tx_ref: &str, request_id: &str) {
    counter!("fiatrails_late_reports_total").increment(1);
    tracing::warn!(
        tx_ref,
        request_id,
        "an authentic report came with a stale timestamp"
    );
}

/// A row is not as we wrote it.
pub fn tampered(table: &'static str, request_id: &str) {
    counter!("fiatrails_tampered_rows_total", "table" => table).increment(1);
    tracing::error!(
        table,
        request_id,
        "a stored row was changed by somebody else; it is not served"
    );
}

pub fn unreadable_row(error: &StorageError) {
    counter!("fiatrails_tampered_rows_total", "table" => "unreadable").increment(1);
    tracing::error!(error = %runtime::chain(error), "a stored row does not read back");
}

pub fn group_split(door: &'static str, error: &StorageError) {
    counter!("fiatrails_intake_splits_total", "door" => door, "reason" => error.kind()).increment(1);
    tracing::info!(door, error = %runtime::chain(error), "a group runs singly");
}

pub fn group_failed(door: &'static str, error: &StorageError) {
    counter!("fiatrails_intake_failures_total", "door" => door, "reason" => error.kind()).increment(1);
    tracing::warn!(door, error = %runtime::chain(error), "a group failed");
}

pub fn door_full(door: &'static str) {
    counter!("fiatrails_intake_full_total", "door" => door).increment(1);
}

pub fn read_failed(error: &StorageError) {
    tracing::warn!(error = %runtime::chain(error), kind = error.kind(), "an intent cannot be read");
}

pub fn redriven(queue: &'static str, count: usize) {
    counter!("fiatrails_redriven_total", "queue" => queue)
        .increment(u64::try_from(count).unwrap_or_default());
    tracing::warn!(queue, count, "sent again: nothing came of it");
}

/// The statuses we answer with; anything else is one label.
fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        201 => "201",
        400 => "400",
        401 => "401",
        404 => "404",
        405 => "405",
        408 => "408",
        409 => "409",
        413 => "413",
        415 => "415",
        422 => "422",
        429 => "429",
        500 => "500",
        503 => "503",
        _ => "other",
    }
}
