//! The Prometheus recorder of the process, with buckets that suit our latencies.

use std::convert::Infallible;
use std::future::ready;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::lifecycle::Tasks;
use crate::observe;

/// The bucket edges include the figures that service levels and benchmarks compare with: 50 ms, 300 ms, 1.5 s, 3 s.
const SECONDS: [f64; 23] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0,
    120.0, 300.0, 600.0, 1200.0, 3600.0,
];
const MAINTENANCE_PERIOD: Duration = Duration::from_secs(5);
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

#[derive(Debug, Clone, thiserror::Error)]
#[error("the metrics recorder cannot be installed: {0}")]
pub struct MetricsError(String);

/// Installs the recorder once per process. Later calls return the same handle, for tests with several services.
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
    for room in [
        observe::METRICS,
        storage::observe::METRICS,
        messaging::observe::METRICS,
    ] {
        meter::register(room);
    }
    Ok(handle)
}

/// Keeps the recorder small and the process gauges up to date.
pub fn maintain(handle: PrometheusHandle, tasks: &mut Tasks) {
    tasks.every("metrics", MAINTENANCE_PERIOD, move || {
        handle.run_upkeep();
        if let Some(bytes) = resident_bytes() {
            observe::MEMORY.set([], bytes);
        }
        ready(Ok::<_, Infallible>(()))
    });
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kib) * 1024.0)
}
