//! The metrics of this crate. All labels have few values: queue names, error kinds.

use meter::{Counter, Gauge, Histogram, label};

use crate::names::WorkQueue;

/// `tracing` directives that every service's filter must contain: lapin logs whole returned messages at WARN, and these
/// contain payers' data.
pub const QUIET_TARGETS: &str = "lapin=error";

/// The work queues and the delay queues.
const QUEUES: &[&str] = &[
    "mint.submit.v1",
    "mint.execute.v1",
    "mint.refund.v1",
    "mint.outcome.v1",
    "mpesa.result.v1",
    "delay.1.v1",
    "delay.2.v1",
    "delay.3.v1",
    "delay.4.v1",
    "delay.5.v1",
];

/// The error classes under which services park messages.
const CLASSES: &[&str] = &[
    "seal_invalid",
    "malformed",
    "crash_loop",
    "unknown_key",
    "unsealable",
    "corrupt_row",
    "contention",
    "storage",
    "report_tampered",
    "other_deployment",
];

meter::declare! {
    RETRIES: Counter<1> = Counter::new(
        "fiatrails_retry_attempts_total", "Failed attempts after which a message was scheduled for a retry.",
        [label("operation", meter::names!(WorkQueue, operation))]);
    PARKED: Counter<2> = Counter::new(
        "fiatrails_parked_total", "Messages put on their dead-letter queue by a consumer.",
        [label("queue", meter::names!(WorkQueue)), label("class", CLASSES)]);
    SEAL_FAILURES: Counter<1> = Counter::new(
        "fiatrails_seal_failures_total", "Messages and stored commands with an invalid seal: forged or tampered.",
        [label("queue", meter::names!(WorkQueue))]);
    MESSAGES: Counter<2> = Counter::new(
        "fiatrails_messages_total", "Deliveries settled.",
        [
            label("queue", meter::names!(WorkQueue)),
            label("result", &["done", "retried", "parked", "returned", "crashed", "lost"]),
        ]);
    CRASHES: Counter<1> = Counter::new(
        "fiatrails_handler_crashes_total", "Handlers that panicked or broke their contract.",
        [label("queue", meter::names!(WorkQueue))]);
    PUBLISHED: Counter<1> = Counter::new(
        "fiatrails_publish_total", "Messages handed to the broker.",
        [label("result", &["ok", "not_sent", "unroutable", "refused", "unknown", "too_large"])]);
    PUBLISH_SECONDS: Histogram<0> = Histogram::new(
        "fiatrails_publish_duration_seconds", "Publish to confirm, one window of messages.", []);
    CONNECTS: Counter<2> = Counter::new(
        "fiatrails_broker_connects_total", "Attempts to connect to the broker.",
        [label("use", &["publish", "consume"]), label("result", &["ok", "failed"])]);
    QUEUE_DEPTH: Gauge<1> = Gauge::new(
        "fiatrails_queue_depth", "Messages that wait on a work or delay queue.", [label("queue", QUEUES)]);
    DLQ_DEPTH: Gauge<1> = Gauge::new(
        "fiatrails_dlq_depth", "Entries that wait for the on-call.",
        [label("queue", meter::names!(WorkQueue, dead_letter_name))]);
}

/// Of a work queue or a delay queue.
pub(crate) fn queue_depth(queue: &str, ready: u32) {
    QUEUE_DEPTH.set([queue], f64::from(ready));
}

pub(crate) fn dead_letter_depth(queue: &str, ready: u32) {
    DLQ_DEPTH.set([queue], f64::from(ready));
}

pub(crate) fn settled(queue: WorkQueue, result: &'static str) {
    MESSAGES.increment([queue.name(), result]);
}

pub(crate) fn retried(queue: WorkQueue) {
    RETRIES.increment([queue.operation()]);
}

pub(crate) fn parked(queue: WorkQueue, class: &'static str) {
    PARKED.increment([queue.name(), class]);
    if class == "seal_invalid" {
        seal_failed(queue);
    }
}

/// Also counts stored commands that left their queue earlier and whose seal no longer verifies.
pub fn seal_failed(queue: WorkQueue) {
    SEAL_FAILURES.increment([queue.name()]);
}

pub(crate) fn handler_crashed(queue: WorkQueue) {
    CRASHES.increment([queue.name()]);
}

pub(crate) fn published(result: &'static str, count: u64) {
    if count > 0 {
        PUBLISHED.add([result], count);
    }
}

pub(crate) fn publish_window(elapsed: std::time::Duration) {
    PUBLISH_SECONDS.record([], elapsed.as_secs_f64());
}

pub(crate) fn connected(purpose: &'static str, result: &'static str) {
    CONNECTS.increment([purpose, result]);
}
