//! Observability: every metric is declared and bounded, every alert fires and has a section in the runbook, every panel
//! shows data.

mod alerts;
mod dashboards;
mod declared;
mod log_fields;
mod logs;
mod otlp;
mod series;
mod traces;
mod watchers;

use std::time::Duration;

/// Long enough for a busy machine; a test that needs this long has failed.
const TIMEOUT: Duration = Duration::from_secs(90);
