//! The night on call, rehearsed: each dependency is killed under load, the committed alert must fire on a real Prometheus,
//! its section of the runbook is run as it stands, and the ledger must agree at the end.

mod outage;
mod play;
mod tower;

pub use outage::{ALL, Outage};
pub use play::{Act, Params, play};
