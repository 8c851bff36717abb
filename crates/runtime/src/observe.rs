//! The metrics that all our processes have.

use messaging::WorkQueue;
use meter::{Counter, Gauge, dynamic_label, label};
use storage::halts::HaltScope;

const OUTBOXES: &[&str] = &["gateway", "callback", "executor"];

meter::declare! {
    MEMORY: Gauge<0> = Gauge::new("process_resident_memory_bytes", "Resident memory.", []);
    OUTBOX_AGE: Gauge<1> = Gauge::new(
        "fiatrails_outbox_age_seconds", "Age of the oldest message that is not sent.", [label("outbox", OUTBOXES)]);
    OUTBOX_ROWS: Gauge<1> = Gauge::new(
        "fiatrails_outbox_rows", "Messages that are not sent, counted up to 100000.", [label("outbox", OUTBOXES)]);
    OUTBOX_RELAYED: Counter<2> = Counter::new(
        "fiatrails_outbox_relayed_total", "Outbox messages handed to the broker.",
        [label("outbox", OUTBOXES), label("result", &["ok", "failed"])]);
    BREAKER_STATE: Gauge<1> = Gauge::new(
        "fiatrails_breaker_state", "0 closed, 1 half open, 2 open: work waits.",
        [dynamic_label("breaker", "the service's breakers", 64)]);
    BREAKER_OPENED: Counter<1> = Counter::new(
        "fiatrails_breaker_opened_total", "Times that a breaker opened.", [dynamic_label("breaker", "the service's breakers", 64)]);
    HALTED: Gauge<1> = Gauge::new(
        "fiatrails_halted", "1 while an operator has halted it.", [label("scope", meter::names!(HaltScope))]);
    KEYS: Gauge<1> = Gauge::new(
        "fiatrails_keys", "Secrets mounted.",
        [label("purpose", &["integrator", "mpesa", "stored-answer", "pipeline"])]);
    KEY_FILES_REFUSED: Counter<0> = Counter::new(
        "fiatrails_key_files_refused_total", "Key files that could not be read, counted at each attempt.", []);
    PIPELINE_KEY_LAST_USE: Gauge<2> = Gauge::new(
        "fiatrails_pipeline_key_last_use_timestamp_seconds",
        "Unix time at which a pipeline key last sealed or opened a message here, since our start.",
        [label("queue", meter::names!(WorkQueue)), dynamic_label("key", "mounted keys", 64)]);
    DATABASE_LOGINS: Counter<1> = Counter::new(
        "fiatrails_db_logins_total", "Times that a new database login was found in its file.",
        [label("result", &["taken_up", "refused"])]);
    TASK_LAST_SUCCESS: Gauge<1> = Gauge::new(
        "fiatrails_task_last_success_timestamp_seconds",
        "Unix time at which a periodic task last succeeded; at first our start.",
        [dynamic_label("task", "the service's periodic tasks", 32)]);
    TASK_PERIOD: Gauge<1> = Gauge::new(
        "fiatrails_task_period_seconds", "Time from the end of a periodic task to its next run.",
        [dynamic_label("task", "the service's periodic tasks", 32)]);
    TASK_FAILURES: Counter<1> = Counter::new(
        "fiatrails_task_failures_total", "Failed runs of a periodic task.",
        [dynamic_label("task", "the service's periodic tasks", 32)]);
    CLOCK_OFFSET: Gauge<0> = Gauge::new(
        "fiatrails_clock_offset_seconds", "Our clock minus the database's; beyond 2 s we are not ready.", []);
}

/// `at`: unix seconds.
pub fn task_succeeded(task: &'static str, at: i64) {
    TASK_LAST_SUCCESS.set([task], meter::number(at));
}

/// `in_a_row`: how often it has failed since it last succeeded. Only the first failure is a warning.
pub fn task_failed(task: &'static str, in_a_row: u32, error: &dyn std::error::Error) {
    TASK_FAILURES.increment([task]);
    let error = domain::error_chain(error);
    if in_a_row == 1 {
        tracing::warn!(
            task,
            error,
            "a periodic task failed and runs again after its period"
        );
    } else {
        tracing::debug!(task, error, failed = in_a_row, "a periodic task failed again");
    }
}
