//! The on-call rehearsal: each dependency is killed under load, the committed alert must fire on a real Prometheus, its
//! section of the runbook is run as written, and the ledger must agree at the end.

mod monitoring;
mod outage;
mod run;

pub use outage::{ALL, Outage};
pub use run::{OutageResult, Params, run};
