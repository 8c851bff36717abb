//! The Prometheus recorder of the process, with the buckets our latencies need.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::lifecycle::Stop;

const SECONDS: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    3600.0,
];
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

#[derive(Debug, Clone, thiserror::Error)]
#[error("the metrics recorder cannot be installed: {0}")]
pub struct MetricsError(String);

/// Installs the recorder, once per process; later calls give the same handle (several services in one test).
pub fn install() -> Result<PrometheusHandle, MetricsError> {
    static HANDLE: OnceLock<Result<PrometheusHandle, MetricsError>> = OnceLock::new();
    HANDLE.get_or_init(build).clone()
}

fn build() -> Result<PrometheusHandle, MetricsError> {
    let of = |error: metrics_exporter_prometheus::BuildError| MetricsError(error.to_string());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .map_err(of)?
        .set_buckets_for_metric(Matcher::Suffix("_size".into()), &SIZES)
        .map_err(of)?
        .install_recorder()
        .map_err(of)?;
    describe();
    messaging::observe::describe();
    Ok(handle)
}

fn describe() {
    describe_histogram!(
        "fiatrails_db_pool_wait_seconds",
        Unit::Seconds,
        "wait for a database connection"
    );
    describe_gauge!("fiatrails_db_pool_in_use", "database connections in use");
    describe_counter!("fiatrails_db_errors_total", "database errors, by kind");
    describe_gauge!(
        "fiatrails_outbox_age_seconds",
        Unit::Seconds,
        "age of the oldest unsent message, by outbox"
    );
    describe_gauge!("fiatrails_outbox_rows", "unsent messages, by outbox");
    describe_counter!(
        "fiatrails_outbox_relayed_total",
        "messages relayed, by outbox and result"
    );
    describe_gauge!(
        "fiatrails_breaker_state",
        "0 closed, 1 half open, 2 open, by breaker"
    );
    describe_counter!("fiatrails_breaker_opened_total", "openings, by breaker");
    describe_gauge!("fiatrails_halted", "1 while an operator has halted it, by scope");
    describe_gauge!("fiatrails_keys", "secrets mounted, by purpose");
    describe_counter!(
        "fiatrails_key_files_refused_total",
        "key files that could not be read"
    );
    describe_gauge!(
        "fiatrails_clock_offset_seconds",
        Unit::Seconds,
        "our clock minus the database's"
    );
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "resident memory");
}

/// Keeps the recorder small and the process gauges fresh, until the stop.
pub async fn upkeep(handle: PrometheusHandle, stop: Stop) {
    loop {
        handle.run_upkeep();
        if let Some(bytes) = resident_bytes() {
            gauge!("process_resident_memory_bytes").set(bytes);
        }
        if !stop.sleep(Duration::from_secs(5)).await {
            return;
        }
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kib) * 1024.0)
}
