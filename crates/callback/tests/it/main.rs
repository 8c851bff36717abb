//! The promises of the callback service over a real database and, where messages travel, a real broker.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod evidence;
mod holds;
mod payments;
mod races;
mod reconcile;
mod rig;
mod settling;
mod sweeps;
mod wire;
