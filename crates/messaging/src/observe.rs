//! What this room counts and logs. Labels are bounded: queue names, services, error kinds.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::topology::{QueueKind, WorkQueue};

/// `tracing` directives a service's default filter must contain: lapin logs whole returned messages, which name
/// payers, at WARN.
pub const QUIET_TARGETS: &str = "lapin=error";

/// Registers help texts; once per process.
pub fn describe() {
    describe_counter!(
        "fiatrails_retry_attempts_total",
        "delayed retries published, by operation"
    );
    describe_counter!(
        "fiatrails_parked_total",
        "messages parked, by queue and error class"
    );
    describe_counter!(
        "fiatrails_messages_total",
        "deliveries settled, by queue and result"
    );
    describe_counter!(
        "fiatrails_handler_crashes_total",
        "handlers that panicked or broke their contract, by queue"
    );
    describe_counter!("fiatrails_publish_total", "messages published, by result");
    describe_histogram!(
        "fiatrails_publish_duration_seconds",
        Unit::Seconds,
        "publish to confirm, one window"
    );
    describe_counter!(
        "fiatrails_broker_connects_total",
        "connection attempts, by use and result"
    );
    describe_gauge!("fiatrails_queue_depth", "messages ready, by queue");
    describe_gauge!("fiatrails_dlq_depth", "entries waiting for the on-call, by queue");
}

pub(crate) fn queue_depth(kind: QueueKind, queue: &str, ready: u32) {
    let name = if kind == QueueKind::Dead {
        "fiatrails_dlq_depth"
    } else {
        "fiatrails_queue_depth"
    };
    gauge!(name, "queue" => queue.to_owned()).set(f64::from(ready));
}

pub(crate) fn settled(queue: WorkQueue, result: &'static str) {
    counter!("fiatrails_messages_total", "queue" => queue.name(), "result" => result).increment(1);
}

pub(crate) fn retried(queue: WorkQueue) {
    counter!("fiatrails_retry_attempts_total", "operation" => queue.operation()).increment(1);
}

pub(crate) fn parked(queue: WorkQueue, class: &'static str) {
    counter!("fiatrails_parked_total", "queue" => queue.name(), "class" => class).increment(1);
}

pub(crate) fn handler_crashed(queue: WorkQueue) {
    counter!("fiatrails_handler_crashes_total", "queue" => queue.name()).increment(1);
}

pub(crate) fn published(result: &'static str, count: u64) {
    if count > 0 {
        counter!("fiatrails_publish_total", "result" => result).increment(count);
    }
}

pub(crate) fn publish_window(elapsed: std::time::Duration) {
    histogram!("fiatrails_publish_duration_seconds").record(elapsed.as_secs_f64());
}

pub(crate) fn connected(purpose: &'static str, result: &'static str) {
    counter!("fiatrails_broker_connects_total", "use" => purpose, "result" => result).increment(1);
}
