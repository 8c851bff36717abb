//! The metrics and logs of the gateway, as domain events. All labels have few values.

use std::time::Duration;

use domain::signature::KeyId;
use messaging::WorkQueue;
use meter::{Counter, Gauge, Histogram, dynamic_label, label, number};
use storage::StorageError;
use time::OffsetDateTime;

use crate::error::{Code, Problem};

const ROUTES: &[&str] = &[
    "/mint-intents",
    "/mint-intents/{intentId}",
    "/callbacks/mpesa",
    "/openapi.json",
    "/health",
    "/livez",
    "/readyz",
];
const STATUSES: &[&str] = &[
    "200", "201", "400", "401", "404", "405", "408", "409", "413", "415", "422", "429", "500", "503",
];
const CODES: [&str; Code::ALL.len()] = *meter::names!(Code, name);
const INTENT_STATUSES: &[&str] =
    &joined::<3, { CODES.len() }, { 3 + CODES.len() }>(["accepted", "replayed", "refused"], CODES);
const CALLBACK_STATUSES: &[&str] =
    &joined::<2, { CODES.len() }, { 2 + CODES.len() }>(["accepted", "already_processed"], CODES);
const INTAKE_ROUTES: &[&str] = &["/mint-intents", "/callbacks/mpesa"];
const STORAGE_ERRORS: &[&str] = &["unavailable", "conflict", "commit_unknown", "corrupt", "bug"];

meter::declare! {
    INTENTS: Counter<1> = Counter::new(
        "fiatrails_mint_intents_total", "Requests for a mint, by what was answered; refused: by policy, and stored.",
        [label("status", INTENT_STATUSES)]);
    CALLBACKS: Counter<2> = Counter::new(
        "fiatrails_callbacks_total", "Payment reports, by what was answered.",
        [label("source", &["mpesa"]), label("status", CALLBACK_STATUSES)]);
    REFUSALS: Counter<2> = Counter::new(
        "fiatrails_refusals_total", "Requests refused.", [label("route", ROUTES), label("code", &CODES)]);
    HTTP_SECONDS: Histogram<2> = Histogram::new(
        "fiatrails_http_request_duration_seconds", "From a request's head to its answer.",
        [label("route", ROUTES), label("status", STATUSES)]);
    BATCH_SIZE: Histogram<1> = Histogram::new(
        "fiatrails_intake_group_size", "Requests that shared a transaction.", [label("route", INTAKE_ROUTES)]);
    BATCH_SECONDS: Histogram<1> = Histogram::new(
        "fiatrails_intake_group_seconds", "One batch's transaction.", [label("route", INTAKE_ROUTES)]);
    SPLITS: Counter<2> = Counter::new(
        "fiatrails_intake_splits_total", "Batches whose requests ran one by one.",
        [label("route", INTAKE_ROUTES), label("reason", STORAGE_ERRORS)]);
    BATCH_FAILURES: Counter<2> = Counter::new(
        "fiatrails_intake_failures_total", "Batches that failed.",
        [label("route", INTAKE_ROUTES), label("reason", STORAGE_ERRORS)]);
    QUEUE_FULL: Counter<1> = Counter::new(
        "fiatrails_intake_full_total", "Requests turned away because too many wait for their batch.", [label("route", INTAKE_ROUTES)]);
    TAMPERED: Counter<1> = Counter::new(
        "fiatrails_tampered_rows_total", "Tampered rows, counted each time one is read. idempotency_keys: stored answers.",
        [label("table", &["idempotency_keys", "mint_intents", "mpesa_reports", "unreadable"])]);
    REDRIVEN: Counter<1> = Counter::new(
        "fiatrails_redriven_total", "Messages sent again because they had no effect.",
        [label("queue", meter::names!(WorkQueue))]);
    LATE_REPORTS: Counter<0> = Counter::new(
        "fiatrails_late_reports_total", "Authentic reports with a stale timestamp, kept for a person to accept.", []);
    KEY_LAST_USE: Gauge<1> = Gauge::new(
        "fiatrails_key_last_use_timestamp_seconds", "Unix time at which a key last signed for somebody, since our start.",
        [dynamic_label("key", "mounted keys", 256)]);
    KEY_EXPIRY: Gauge<1> = Gauge::new(
        "fiatrails_key_expiry_timestamp_seconds", "Unix time at which an active key stops to be valid; +Inf: never, or not mounted.",
        [dynamic_label("key", "mounted keys", 256)]);
    CERTIFICATE_EXPIRY: Gauge<0> = Gauge::new(
        "fiatrails_certificate_expiry_timestamp_seconds", "Unix time at which our TLS certificate stops to be valid.", []);
}

pub fn answered(route: &'static str, status: u16, took: Duration) {
    let status = status_label(status);
    HTTP_SECONDS.record([route, status], took.as_secs_f64());
}

pub fn refused(route: &'static str, problem: &Problem, request_id: &str) {
    let code = problem.code.name();
    REFUSALS.increment([route, code]);
    if problem.code.properties().status >= 500 {
        tracing::warn!(route, code, request_id, "refused");
    } else {
        tracing::debug!(route, code, request_id, "refused");
    }
}

/// `status` is `accepted`, `replayed`, or the code of the refusal.
pub fn mint_intent(status: &'static str) {
    INTENTS.increment([status]);
}

pub fn callback(status: &'static str) {
    CALLBACKS.increment(["mpesa", status]);
}

pub fn late_report(tx_ref: &str, request_id: &str) {
    LATE_REPORTS.increment([]);
    tracing::warn!(
        tx_ref,
        request_id,
        "an authentic report came with a stale timestamp"
    );
}

/// A stored row is not as we wrote it.
pub fn tampered(table: &'static str, request_id: &str) {
    TAMPERED.increment([table]);
    tracing::error!(
        table,
        request_id,
        "a stored row was changed by somebody else; it is not served"
    );
}

pub fn unreadable_row(error: &StorageError) {
    TAMPERED.increment(["unreadable"]);
    tracing::error!(error = %domain::error_chain(error), "a stored row cannot be decoded");
}

/// A batch of `size` requests was processed.
pub fn batch_committed(route: &'static str, size: usize, took: Duration) {
    BATCH_SIZE.record([route], number(size));
    BATCH_SECONDS.record([route], took.as_secs_f64());
}

pub fn batch_split(route: &'static str, error: &StorageError) {
    SPLITS.increment([route, error.kind()]);
    tracing::info!(route, error = %domain::error_chain(error), "the requests of a batch run one by one");
}

pub fn batch_failed(route: &'static str, error: &StorageError) {
    BATCH_FAILURES.increment([route, error.kind()]);
    tracing::warn!(route, error = %domain::error_chain(error), "a batch failed");
}

pub fn queue_full(route: &'static str) {
    QUEUE_FULL.increment([route]);
}

pub fn read_failed(error: &StorageError) {
    tracing::warn!(error = %domain::error_chain(error), kind = error.kind(), "an intent cannot be read");
}

pub fn redriven(queue: &'static str, count: usize) {
    REDRIVEN.add([queue], u64::try_from(count).unwrap_or_default());
    tracing::warn!(queue, count, "messages redriven because they had no effect");
}

pub fn key_used(key: &KeyId, at: OffsetDateTime) {
    KEY_LAST_USE.set([key.as_str()], unix(at));
}

/// `None` means that the key never expires, or is not valid any more.
pub fn key_expires(key: &KeyId, at: Option<OffsetDateTime>) {
    KEY_EXPIRY.set([key.as_str()], at.map_or(f64::INFINITY, unix));
}

pub fn certificate_expires(unix_seconds: i64) {
    CERTIFICATE_EXPIRY.set([], number(unix_seconds));
}

fn unix(at: OffsetDateTime) -> f64 {
    number(at.unix_timestamp())
}

const fn joined<const A: usize, const B: usize, const N: usize>(
    first: [&'static str; A],
    rest: [&'static str; B],
) -> [&'static str; N] {
    let mut all = [""; N];
    let mut i = 0;
    while i < N {
        all[i] = if i < A { first[i] } else { rest[i - A] };
        i += 1;
    }
    all
}

/// The label of a status; all unlisted statuses share one label.
fn status_label(status: u16) -> &'static str {
    STATUSES
        .iter()
        .copied()
        .find(|listed| listed.parse() == Ok(status))
        .unwrap_or(meter::OTHER)
}
