//! The callback service: from payment reports and chain outcomes it decides whether to execute, refund or hold. It never
//! sends a transaction, and it commands a mint only from a stored report whose MAC verifies at that moment.
//!
//! [`classify`] holds the pure rules; [`locked_decision`] is one locked decision row and the only code that changes it;
//! [`report`], [`outcome`] and [`sweep`] feed it new facts.

pub mod app;
mod batch;
pub mod classify;
pub mod locked_decision;
pub mod observe;
pub mod outcome;
pub mod reconcile;
pub mod report;
pub mod settings;
pub mod state;
pub mod sweep;

pub use app::App;
pub use state::AppState;
